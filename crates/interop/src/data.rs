//! A member of a room that uses data channels only.

use std::time::{Duration, Instant};

use model::SessionId;
use str0m::{
    Event,
    channel::{ChannelConfig, ChannelId, Reliability},
};

use crate::{Node, Peer};

/// A message that a member got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Label of the channel.
    pub topic: String,
    /// Text or bytes.
    pub binary: bool,
    /// The message as it came.
    pub bytes: Vec<u8>,
}

impl Got {
    /// The message as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A member with data channels.
pub struct DataMember {
    /// The peer connection.
    pub peer: Peer,
    /// The session.
    pub session: SessionId,
    /// The channel that it opened itself.
    pub own: ChannelId,
    /// Channels that are open, with their labels.
    pub open: Vec<(ChannelId, String)>,
    /// The messages that came.
    pub got: Vec<Got>,
}

/// The configuration of a channel.
pub fn channel(topic: &str, protocol: &str, lossy: bool) -> ChannelConfig {
    let reliability = match lossy {
        true => Reliability::MaxRetransmits { retransmits: 0 },
        false => Reliability::Reliable,
    };
    ChannelConfig {
        label: topic.into(),
        ordered: !lossy,
        reliability,
        protocol: protocol.into(),
        ..ChannelConfig::default()
    }
}

impl DataMember {
    /// Joins a room with an offer that has nothing but data channels.
    pub fn join(node: &Node, room: &str, who: &str, config: ChannelConfig) -> Self {
        let mut peer = Peer::new(|config| config);
        let (offer, own) = peer.offer(|api| api.add_channel_with_config(config));
        let accepted = node.join(room, who, &offer).expect("the offer is accepted");
        peer.accept(&accepted.answer);
        Self { peer, session: accepted.session, own, open: Vec::new(), got: Vec::new() }
    }

    /// Runs the peer's timers and I/O.
    pub fn poll(&mut self) {
        let Self { peer, open, got, .. } = self;
        peer.poll(|_, event| match event {
            Event::ChannelOpen(id, label) => open.push((id, label)),
            Event::ChannelClose(id) => open.retain(|(open, _)| *open != id),
            Event::ChannelData(data) => {
                let topic = open.iter().find(|(id, _)| *id == data.id);
                let topic = topic.map(|(_, label)| label.clone()).unwrap_or_default();
                got.push(Got { topic, binary: data.binary, bytes: data.data });
            }
            _ => {}
        });
    }

    /// Whether its own channel is open.
    pub fn is_open(&self) -> bool {
        self.open.iter().any(|(id, _)| *id == self.own)
    }

    /// Sends in its own channel. `false`: the channel is full.
    pub fn send(&mut self, binary: bool, bytes: &[u8]) -> bool {
        let channel = self.peer.rtc.channel(self.own);
        channel.is_some_and(|mut channel| channel.write(binary, bytes).expect("it is open"))
    }
}

/// Runs the node and its members until `done`, for at most `limit`. Returns whether it was done.
pub fn drive_data(
    node: &Node,
    members: &mut [&mut DataMember],
    limit: Duration,
    mut done: impl FnMut(&mut [&mut DataMember]) -> bool,
) -> bool {
    let until = Instant::now() + limit;
    loop {
        members.iter_mut().for_each(|member| member.poll());
        node.pump();
        if done(members) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

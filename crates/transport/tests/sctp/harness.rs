//! An association, `dcsctp`, and a network between them that loses packets by a seed.

use std::time::{Duration, Instant};

use dcsctp::api::{
    DcSctpSocket, Message, Options, PpId, SendOptions, SocketEvent, SocketTime, StreamId,
};
use model::{DataPlan, Delivery, DtlsRole, Mid, Payload};
use transport::sctp::{Association, ChannelId, DataEvent};

const DELAY: Duration = Duration::from_millis(20);

pub(crate) const DCEP: PpId = PpId(50);
pub(crate) const TEXT: PpId = PpId(51);
pub(crate) const BINARY: PpId = PpId(53);

#[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn data_plan() -> DataPlan {
    DataPlan { mid: Mid::parse("data").unwrap(), sctp_port: 5000, max_message_size: 262_144 }
}

/// An OPEN as RFC 8832 section 5.1 has it.
pub(crate) fn open(kind: u8, parameter: u32, label: &str, protocol: &str) -> Vec<u8> {
    let mut bytes = vec![3, kind, 1, 0];
    bytes.extend_from_slice(&parameter.to_be_bytes());
    bytes.extend_from_slice(&(label.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&(protocol.len() as u16).to_be_bytes());
    bytes.extend_from_slice(label.as_bytes());
    bytes.extend_from_slice(protocol.as_bytes());
    bytes
}

struct Flight {
    arrives: Instant,
    to_node: bool,
    packet: Vec<u8>,
}

pub(crate) struct Net {
    start: Instant,
    pub(crate) now: Instant,
    pub(crate) node: Association,
    pub(crate) peer: Box<dyn DcSctpSocket>,
    /// Whether the node takes its events.
    pub(crate) takes: bool,
    /// Whether the peer takes its messages.
    pub(crate) peer_takes: bool,
    pub(crate) events: Vec<DataEvent>,
    pub(crate) messages: Vec<Message>,
    /// Streams that the node reset.
    pub(crate) resets: Vec<StreamId>,
    /// Loss in percent, in both directions.
    pub(crate) loss_percent: u64,
    /// Packets that the node dropped by a bound.
    pub(crate) dropped: usize,
    pub(crate) longest_packet: usize,
    wire: Vec<Flight>,
    random: u64,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_role(seed, DtlsRole::Passive)
    }

    pub(crate) fn with_role(seed: u64, role: DtlsRole) -> Self {
        let now = start();
        let mut peer = dcsctp::new_socket("peer", &Options { mtu: 1_160, ..Options::default() });
        peer.connect();
        Self {
            start: now,
            now,
            node: Association::new(now, &data_plan(), role),
            peer,
            takes: true,
            peer_takes: true,
            events: Vec::new(),
            messages: Vec::new(),
            resets: Vec::new(),
            loss_percent: 0,
            dropped: 0,
            longest_packet: 0,
            wire: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// With an association that stands.
    pub(crate) fn connected(seed: u64) -> Self {
        let mut net = Self::new(seed);
        net.run_for(Duration::from_millis(500));
        assert_eq!(net.events, [DataEvent::Open]);
        net.events.clear();
        net
    }

    /// With a channel that the peer opened.
    pub(crate) fn with_channel(seed: u64, kind: u8, parameter: u32) -> (Self, ChannelId) {
        let mut net = Self::connected(seed);
        net.peer_sends(0, DCEP, open(kind, parameter, "chat", ""));
        net.run_for(Duration::from_millis(100));
        let delivery = if kind & 0x7f == 0 { Delivery::Reliable } else { Delivery::Lossy };
        let opened = DataEvent::ChannelOpened {
            channel: ChannelId(0),
            label: "chat".into(),
            protocol: "".into(),
            delivery,
        };
        assert_eq!(net.events, [opened]);
        net.events.clear();
        assert_eq!(net.messages.pop().unwrap().payload, [2], "an ACK");
        (net, ChannelId(0))
    }

    pub(crate) fn peer_sends(&mut self, stream: u16, ppid: PpId, bytes: Vec<u8>) {
        let message = Message::new(StreamId(stream), ppid, bytes);
        self.peer.send(message, &SendOptions::default()).unwrap();
    }

    /// The payloads of the messages that the node got so far.
    pub(crate) fn payloads(&self) -> Vec<Payload> {
        let payload = |event: &DataEvent| match event {
            DataEvent::Message { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        self.events.iter().filter_map(payload).collect()
    }

    /// Gives the node a packet, as if the peer had sent it.
    pub(crate) fn inject(&mut self, packet: &[u8]) -> bool {
        let taken = self.node.handle(self.now, packet);
        self.flush();
        taken
    }

    /// Takes packets and events of both sides.
    pub(crate) fn flush(&mut self) {
        while self.takes
            && let Some(event) = self.node.poll_event(self.now)
        {
            self.events.push(event);
        }
        self.node.flush(self.now);
        while let Some(packet) = self.node.poll_transmit() {
            self.longest_packet = self.longest_packet.max(packet.len());
            self.send(false, packet.to_vec());
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                SocketEvent::SendPacket(packet) => self.send(true, packet),
                SocketEvent::OnIncomingStreamReset(streams) => self.resets.extend(streams),
                _ => {}
            }
        }
        while self.peer_takes
            && let Some(message) = self.peer.get_next_message()
        {
            self.messages.push(message);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush();
            let wire = self.wire.iter().map(|flight| flight.arrives).min();
            let peer = self.peer.poll_timeout();
            let peer = (peer != SocketTime::infinite_future())
                .then(|| self.start + (peer - SocketTime::zero()));
            let next = wire.into_iter().chain(peer).chain(self.node.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                self.peer.advance_time(SocketTime::zero() + (end - self.start));
                return;
            };
            // Time goes on by a tenth of a millisecond at least, so that a deadline in the past is no endless loop.
            self.now = next.max(self.now + Duration::from_micros(100));
            self.peer.advance_time(SocketTime::zero() + (self.now - self.start));
            self.node.handle_timeout(self.now);
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.wire).into_iter().partition(|flight| flight.arrives <= now);
        self.wire = later;
        for flight in due {
            if flight.to_node {
                self.dropped += usize::from(!self.node.handle(now, &flight.packet));
                while self.takes
                    && let Some(event) = self.node.poll_event(now)
                {
                    self.events.push(event);
                }
            } else {
                self.peer.handle_input(&flight.packet);
            }
        }
    }

    fn send(&mut self, to_node: bool, packet: Vec<u8>) {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random % 100 >= self.loss_percent {
            self.wire.push(Flight { arrives: self.now + DELAY, to_node, packet });
        }
    }
}

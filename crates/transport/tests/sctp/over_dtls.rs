//! Data channels through a whole `Peer`: SCTP in DTLS records, with `dimpl` and `dcsctp` as the client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcsctp::api::{DcSctpSocket, Message, Options, SendOptions, SocketEvent, SocketTime, StreamId};
use dimpl::{Config, Dtls, Output};
use model::{
    DataPlan, Delivery, DtlsRole, ExtensionMap, Fingerprint, IceCredentials, Path, Payload,
    SessionId, SessionPlan,
};
use transport::dtls::Certificate;
use transport::sctp::{ChannelId, DataEvent};
use transport::{Peer, PeerEvent};

use crate::harness::{DCEP, TEXT, data_plan, open, start};

fn path() -> Path {
    Path {
        remote: SocketAddr::from(([192, 0, 2, 1], 40_000)),
        local: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    }
}

fn plan(role: DtlsRole, data: Option<DataPlan>, fingerprint: Vec<u8>) -> SessionPlan {
    let text = |text: &str| text.to_owned();
    SessionPlan {
        id: SessionId(1),
        ice: IceCredentials {
            local_ufrag: text("node"),
            local_pwd: text("node-password-of-22-characters"),
            remote_ufrag: text("peer"),
            remote_pwd: text("peer-password-of-22-characters"),
        },
        dtls_role: role,
        fingerprints: vec![Fingerprint { algorithm: text("sha-256"), bytes: fingerprint }],
        extensions: ExtensionMap::new(),
        up: Vec::new(),
        down: Vec::new(),
        data,
        rtcp_reduced_size: false,
        cname: String::new(),
        remote_candidates: Vec::new(),
    }
}

/// A node's peer and a client, connected without delay.
struct Pair {
    begin: Instant,
    now: Instant,
    node: Peer,
    dtls: Dtls,
    sctp: Box<dyn DcSctpSocket>,
    connected: bool,
    events: Vec<DataEvent>,
    messages: Vec<Message>,
    longest: usize,
}

impl Pair {
    fn new(role: DtlsRole, data: Option<DataPlan>) -> Self {
        let now = start();
        let identity = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let fingerprint = dimpl::certificate::calculate_fingerprint(&identity.certificate);
        let certificate = Arc::new(Certificate::generate().unwrap());
        let mut node = Peer::new(now, &plan(role, data, fingerprint.to_vec()), &certificate);
        node.adopt_path(now, path(), true).unwrap();
        let config = Config::builder().use_server_cookie(false).build().unwrap();
        let mut dtls = Dtls::new_12(Arc::new(config), identity, now);
        dtls.set_active(role == DtlsRole::Passive);
        let sctp = dcsctp::new_socket("client", &Options::default());
        Self {
            begin: now,
            now,
            node,
            dtls,
            sctp,
            connected: false,
            events: Vec::new(),
            messages: Vec::new(),
            longest: 0,
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            self.dtls.handle_timeout(self.now).unwrap();
            self.sctp.advance_time(SocketTime::zero() + (self.now - self.begin));
            if self.node.poll_timeout().is_some_and(|due| self.now >= due) {
                self.node.handle_timeout(self.now);
            }
            while self.step() {}
        }
    }

    /// Moves what waits from one side to the other. Returns whether something moved.
    fn step(&mut self) -> bool {
        let mut moved = false;
        let mut buffer = vec![0; 65_536];
        let mut to_node = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => to_node.push(packet.to_vec()),
                Output::ApplicationData(packet) => self.sctp.handle_input(packet),
                Output::KeyingMaterial(..) => {
                    self.connected = true;
                    self.sctp.connect();
                }
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        while let Some(event) = self.sctp.poll_event() {
            if let SocketEvent::SendPacket(packet) = event
                && self.connected
            {
                self.dtls.send_application_data(&packet).unwrap();
                moved = true;
            }
        }
        self.messages.extend(std::iter::from_fn(|| self.sctp.get_next_message()));
        for datagram in to_node {
            moved = true;
            let _ = self.node.handle_dtls(self.now, path(), &datagram);
        }
        while let Some(event) = self.node.poll_data(self.now) {
            self.events.push(event);
        }
        self.node.flush_data(self.now);
        let mut datagram = Vec::new();
        while self.node.poll_transmit(&mut datagram).is_some() {
            moved = true;
            self.longest = self.longest.max(datagram.len());
            self.dtls.handle_packet(&datagram).unwrap();
        }
        while let Some(event) = self.node.poll_event() {
            assert!(!matches!(event, PeerEvent::Closed(_)), "{event:?}");
        }
        moved
    }

    fn send(&mut self, stream: u16, ppid: dcsctp::api::PpId, bytes: Vec<u8>) {
        let message = Message::new(StreamId(stream), ppid, bytes);
        self.sctp.send(message, &SendOptions::default()).unwrap();
    }
}

#[test]
fn messages_go_both_ways_over_dtls_in_either_role() {
    for (role, theirs, ours) in [(DtlsRole::Passive, 0, 1), (DtlsRole::Active, 1, 0)] {
        let mut pair = Pair::new(role, Some(data_plan()));
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.events, [DataEvent::Open], "{role:?}");
        pair.send(theirs, DCEP, open(0, 0, "chat", "sfumato"));
        pair.send(theirs, TEXT, b"hello".to_vec());
        let channel =
            pair.node.open_channel(pair.now, "news", "sfumato", Delivery::Reliable).unwrap();
        assert_eq!(channel, ChannelId(ours));
        let long: Payload = Payload::Binary(vec![5; 60_000].into());
        pair.node.send_data(pair.now, channel, &long).unwrap();
        pair.run_for(Duration::from_secs(2));
        let [_, DataEvent::ChannelOpened { label, .. }, DataEvent::Message { payload, .. }] =
            &pair.events[..]
        else {
            panic!("{:?}", pair.events)
        };
        assert_eq!((&**label, payload), ("chat", &Payload::Text("hello".into())));
        let lens: Vec<_> = pair.messages.iter().map(|m| m.payload.len()).collect();
        assert!(lens.contains(&60_000), "{lens:?}");
        assert!(pair.longest <= 1_200, "{} bytes", pair.longest);
        assert_eq!(pair.node.data_waiting(), (0, 0));
    }
}

#[test]
fn a_session_without_data_in_its_plan_drops_application_data_until_it_is_renegotiated() {
    let mut pair = Pair::new(DtlsRole::Passive, None);
    pair.run_for(Duration::from_secs(1));
    assert!(pair.connected && pair.events.is_empty() && !pair.node.has_data());
    let opened = pair.node.open_channel(pair.now, "news", "", Delivery::Reliable);
    assert!(opened.is_err());
    pair.node.allow_data(data_plan());
    // The client's INIT is repeated.
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.events, [DataEvent::Open]);
}

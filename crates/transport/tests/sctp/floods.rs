//! What a peer may not do: each packet that causes an answer, holds memory or costs time is bounded (threats row 37).

use std::time::Duration;

use crc::{CRC_32_ISCSI, Crc};
use model::Payload;
use transport::sctp::{DataEvent, STREAMS_MAX};

use crate::harness::{Net, TEXT};

const SECOND: Duration = Duration::from_secs(1);

/// An SCTP packet of the peer with this verification tag.
fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [5000_u16.to_be_bytes(), 5000_u16.to_be_bytes()].concat();
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for chunk in chunks {
        bytes.extend_from_slice(chunk);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let sum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let len = (value.len() + 4) as u16;
    [&[kind, flags][..], &len.to_be_bytes(), value].concat()
}

fn data(tsn: u32, stream: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend_from_slice(&stream.to_be_bytes());
    value.extend_from_slice(&[0, 0]);
    value.extend_from_slice(&53_u32.to_be_bytes());
    value.extend_from_slice(payload);
    chunk(0, flags, &value)
}

fn init(tag: u32, tsn: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend_from_slice(&100_000_u32.to_be_bytes());
    value.extend_from_slice(&[1, 0, 1, 0]);
    value.extend_from_slice(&tsn.to_be_bytes());
    // FORWARD TSN and RE-CONFIG are supported (RFC 5061 section 4.2.7).
    value.extend_from_slice(&[0x80, 8, 0, 6, 192, 130, 0, 0]);
    chunk(1, 0, &value)
}

/// An association with a peer that is written here byte by byte.
struct Raw {
    net: Net,
    /// The tag that the node expects.
    tag: u32,
    /// The next TSN of the peer.
    tsn: u32,
}

impl Raw {
    fn connect() -> Self {
        let mut net = Net::new(1);
        net.peer = dcsctp::new_socket("silent", &dcsctp::api::Options::default());
        net.discard();
        assert!(net.node.handle(net.now, &packet(0, &[init(7, 1_000)])));
        let answer = net.answer();
        assert_eq!(answer[12], 2, "an INIT ACK");
        let tag = u32::from_be_bytes(answer[16..20].try_into().unwrap());
        let cookie = parameter(&answer[32..], 7).unwrap();
        let echo = chunk(10, 0, &cookie);
        assert!(net.node.handle(net.now, &packet(tag, &[echo])));
        assert_eq!(net.answer()[12], 11, "a COOKIE ACK");
        assert_eq!(net.node.poll_event(net.now), Some(DataEvent::Open));
        Self { net, tag, tsn: 1_000 }
    }

    fn give(&mut self, chunks: &[Vec<u8>]) -> bool {
        let taken = self.net.node.handle(self.net.now, &packet(self.tag, chunks));
        self.net.node.flush(self.net.now);
        taken
    }

    fn next(&mut self) -> u32 {
        self.tsn += 1;
        self.tsn - 1
    }

    /// Packets of the node that wait.
    fn answers(&mut self) -> usize {
        self.net.node.flush(self.net.now);
        std::iter::from_fn(|| self.net.node.poll_transmit()).count()
    }

    /// Sends a message, and whether the node got it.
    fn works(&mut self) -> bool {
        let tsn = self.next();
        self.give(&[data(tsn, 0, 3, b"x")]);
        // There is no channel: the stream is reset, and the association stays.
        self.net.node.poll_event(self.net.now).is_none() && self.net.node.is_open()
    }
}

impl Net {
    fn discard(&mut self) {
        self.node.flush(self.now);
        while self.node.poll_transmit().is_some() {}
    }

    fn answer(&mut self) -> Vec<u8> {
        self.node.flush(self.now);
        self.node.poll_transmit().unwrap().to_vec()
    }
}

fn parameter(mut bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    while bytes.len() >= 4 {
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        if u16::from_be_bytes([bytes[0], bytes[1]]) == kind {
            return Some(bytes[4..len].to_vec());
        }
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    None
}

#[test]
fn a_wrong_tag_cookie_or_init_is_discarded() {
    let mut net = Net::new(1);
    net.discard();
    // Before an association: nothing but INIT is answered, and a COOKIE that the node did not make opens nothing.
    assert!(net.inject(&packet(9, &[data(1, 0, 3, b"x")])));
    assert!(net.inject(&packet(9, &[chunk(10, 0, &[1; 32])])));
    assert_eq!((net.node.poll_transmit(), net.node.is_open()), (None, false));
    let mut raw = Raw::connect();
    for tag in [0, 1, raw.tag ^ 1] {
        let tsn = raw.tsn;
        raw.net.node.handle(raw.net.now, &packet(tag, &[data(tsn, 0, 3, b"x")]));
        raw.net.node.handle(raw.net.now, &packet(tag, &[chunk(6, 0, &[])]));
        raw.net.node.handle(raw.net.now, &packet(tag, &[chunk(7, 0, &[0; 4])]));
        assert_eq!(raw.answers(), 0, "tag {tag}");
        assert_eq!(raw.net.node.poll_event(raw.net.now), None);
    }
    raw.give(&[chunk(10, 0, &[1; 32])]);
    // INIT again, with the same tag and with another one, as a packet that was late and as an attempt to begin anew.
    for tag in [7, 8] {
        assert!(!raw.net.node.handle(raw.net.now, &packet(0, &[init(tag, 5)])));
    }
    // A changed checksum.
    let mut changed = packet(raw.tag, &[chunk(6, 0, &[])]);
    changed[9] ^= 1;
    raw.net.node.handle(raw.net.now, &changed);
    // An ERROR says something about one chunk (RFC 9260 section 3.3.10), and ends nothing.
    raw.give(&[chunk(9, 0, &[0, 6, 0, 4])]);
    assert_eq!(raw.answers(), 0);
    assert!(raw.works());
}

#[test]
fn floods_of_inits_resets_and_heartbeats_are_answered_at_a_bounded_rate() {
    let mut net = Net::new(1);
    net.discard();
    for tag in 1..1_000 {
        net.node.handle(net.now, &packet(0, &[init(tag, 1)]));
    }
    net.node.flush(net.now);
    assert_eq!(std::iter::from_fn(|| net.node.poll_transmit()).count(), 1);
    let mut raw = Raw::connect();
    for kind in [4, 130, 2, 10, 11] {
        let heartbeat = chunk(kind, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
        for _ in 0..1_000 {
            raw.give(std::slice::from_ref(&heartbeat));
        }
        assert!(raw.answers() <= 64, "chunks of kind {kind}");
    }
    // Once it is over, the association is as before.
    raw.net.now += 10 * SECOND;
    raw.give(&[chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4])]);
    assert_eq!(raw.answers(), 1);
    assert!(raw.works());
}

#[test]
fn resets_of_streams_that_do_not_exist_and_resets_ahead_of_data_hold_nothing() {
    let mut raw = Raw::connect();
    let reset = |number: u32, last: u32| {
        let mut value = vec![0, 13, 0, 18];
        for word in [number, 0, last] {
            value.extend_from_slice(&word.to_be_bytes());
        }
        value.extend_from_slice(&[0, 2, 0, 0]);
        chunk(130, 0, &value)
    };
    // The data before it did not come: the request is not taken, and data after it is not kept apart.
    let ahead = reset(1_000, raw.tsn + 5);
    assert!(!raw.give(&[ahead]));
    for number in 0..100 {
        let last = raw.tsn.wrapping_sub(1);
        raw.net.now += Duration::from_millis(50);
        raw.give(&[reset(1_000 + number, last)]);
    }
    assert!(raw.answers() <= 200);
    assert!(raw.works());
}

#[test]
fn tiny_fragments_and_gaps_hold_a_bounded_number_of_chunks() {
    // Fragments of one byte of a message that never ends.
    let mut raw = Raw::connect();
    let first = raw.next();
    raw.give(&[data(first, 0, 2, b"x")]);
    let mut taken = 0;
    for _ in 0..20_000 {
        let tsn = raw.next();
        taken += usize::from(raw.give(&[data(tsn, 0, 0, b"x")]));
        raw.answers();
    }
    assert!((2_000..=4_096).contains(&taken), "{taken} fragments were taken");
    // Every second number, in single packets.
    let mut raw = Raw::connect();
    let mut taken = 0;
    for at in 1..20_000 {
        let tsn = raw.tsn + 2 * at;
        taken += usize::from(raw.give(&[data(tsn, 0, 3, b"x")]));
        raw.answers();
    }
    assert!((200..=512).contains(&taken), "{taken} chunks behind gaps were taken");
    // The same after the oldest number, which is repeated in each packet.
    let mut raw = Raw::connect();
    let old = raw.next();
    let mut taken = 0;
    for at in 1..20_000 {
        let tsn = raw.tsn + 2 * at;
        taken += usize::from(raw.give(&[data(old, 0, 3, b"x"), data(tsn, 0, 3, b"x")]));
        raw.answers();
    }
    assert!(taken <= 2 * 4_096, "{taken} packets were taken");
}

#[test]
fn streams_and_numbers_out_of_range_end_the_association_or_are_dropped() {
    let mut raw = Raw::connect();
    let tsn = raw.tsn;
    // Numbers given up far ahead; gap blocks that overlap.
    assert!(!raw.give(&[chunk(192, 0, &(tsn + 1_000_000).to_be_bytes())]));
    let mut sack = [0_u32.to_be_bytes(), 100_000_u32.to_be_bytes()].concat();
    sack.extend_from_slice(&[0, 2, 0, 0, 0, 2, 0, 9, 0, 3, 0, 9]);
    assert!(!raw.give(&[chunk(3, 0, &sack)]));
    assert!(raw.works());
    let tsn = raw.next();
    assert!(!raw.give(&[data(tsn, STREAMS_MAX, 3, b"x")]));
    assert_eq!(raw.net.node.poll_event(raw.net.now), Some(DataEvent::Closed));
    assert!(!raw.net.node.is_open());
}

#[test]
fn a_message_that_never_ends_costs_the_peer_its_association_and_a_bounded_amount_of_memory() {
    let mut raw = Raw::connect();
    let first = raw.next();
    raw.give(&[data(first, 0, 2, &[0; 1_000])]);
    let mut taken = 0;
    while raw.net.node.is_open() {
        let tsn = raw.next();
        raw.give(&[data(tsn, 0, 0, &[0; 1_000])]);
        taken += 1_000;
        assert!(taken < 300_000, "the association goes on after {taken} bytes");
    }
    assert_eq!(raw.net.node.poll_event(raw.net.now), Some(DataEvent::Closed));
}

#[test]
fn changed_packets_break_nothing() {
    for seed in 1..=20 {
        let (mut net, channel) = Net::with_channel(seed, 0, 0);
        let mut random = seed;
        for round in 0..200_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
            let tag = [0, 1, random as u32][round as usize % 3];
            let kind = [0, 1, 3, 4, 6, 9, 10, 14, 130, 192][(random >> 33) as usize % 10];
            let value: Vec<u8> =
                (0..(random >> 40) % 60).map(|at| (random >> (at % 50)) as u8).collect();
            net.inject(&packet(tag, &[chunk(kind, (random >> 20) as u8, &value)]));
        }
        net.peer_sends(0, TEXT, b"after".to_vec());
        let sent = net.node.send(net.now, channel, &Payload::Text("back".into()));
        net.run_for(5 * SECOND);
        assert_eq!(sent, Ok(()), "seed {seed}");
        assert_eq!(net.payloads(), [Payload::Text("after".into())], "seed {seed}");
    }
}

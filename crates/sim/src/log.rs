//! The log of a run: the last events as text, and a digest of every datagram with its time.

use std::{collections::VecDeque, fmt::Display, net::SocketAddr, time::Duration};

/// Events that are kept when not all are.
const KEPT: usize = 60;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Log {
    events: VecDeque<String>,
    all: bool,
    /// FNV-1a over words of eight bytes (Fowler, Noll, Vo): not for secrets, only to tell two runs apart.
    pub(crate) digest: u64,
    pub(crate) datagrams: u64,
}

impl Log {
    /// `all`: keep every event, not only the last ones.
    pub(crate) fn new(all: bool) -> Self {
        Self { events: VecDeque::new(), all, digest: 0xcbf2_9ce4_8422_2325, datagrams: 0 }
    }

    pub(crate) fn event(&mut self, now: Duration, what: impl Display) {
        if !self.all && self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(format!("{:10.6} {what}", now.as_secs_f64()));
    }

    /// A datagram to the node, or from it.
    pub(crate) fn datagram(&mut self, now: Duration, inward: bool, peer: SocketAddr, bytes: &[u8]) {
        self.datagrams += 1;
        self.word(now.as_micros() as u64);
        self.word(u64::from(inward) << 32 | u64::from(peer.port()));
        if let SocketAddr::V4(v4) = peer {
            self.word(u64::from(v4.ip().to_bits()));
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.word(u64::from_be_bytes(*w)));
        rest.iter().for_each(|b| self.word(u64::from(*b)));
        self.word(bytes.len() as u64);
    }

    fn word(&mut self, word: u64) {
        self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn into_events(self) -> Vec<String> {
        self.events.into()
    }
}

/// A datagram in a few words, as far as it can be read without keys.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let len = bytes.len();
    match bytes {
        [0..=3, ..] => format!("STUN, {len} bytes"),
        [20..=63, ..] => format!("handshake, {len} bytes"),
        [_, 192..=223, ..] => format!("RTCP, {len} bytes"),
        _ => match rtp::parse_header_unprotected(bytes) {
            Ok(h) => {
                format!("RTP {} #{} at {}, {len} bytes", h.ssrc(), h.sequence(), h.timestamp())
            }
            Err(_) => format!("{len} bytes of nothing known"),
        },
    }
}

//! What is kept for each open channel, and how much of it waits for the peer's acknowledgement.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Delivery;
use sctp_proto::{ReliabilityType, Stream};

use super::dcep::{Open, Reliability};

/// An open data channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) label: Arc<str>,
    pub(super) protocol: Arc<str>,
    pub(super) delivery: Delivery,
    unordered: bool,
    reliability: Reliability,
    /// Bytes sent so far.
    sent: u64,
    /// Where each message that waits for its acknowledgement ends, counted in bytes sent.
    ends: VecDeque<u64>,
}

impl Channel {
    pub(super) fn new(open: Open) -> Self {
        Self {
            delivery: open.delivery(),
            label: open.label.into(),
            protocol: open.protocol.into(),
            unordered: open.unordered,
            reliability: open.reliability,
            sent: 0,
            ends: VecDeque::new(),
        }
    }

    /// Makes the stream send as the channel asks. Both directions of a channel have the same kind (RFC 8832 section 5.1).
    /// `answered`: the peer knows the channel. Before that, messages have to be ordered, so that none overtakes the OPEN
    /// (RFC 8832 section 6).
    pub(super) fn configure(&self, stream: &mut Stream<'_>, answered: bool) {
        let (kind, value) = match self.reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::Retransmissions(times) => (ReliabilityType::Rexmit, times),
            Reliability::Lifetime(millis) => (ReliabilityType::Timed, millis),
        };
        // It fails for a stream that is closed, to which nothing can be sent anyway.
        let _ = stream.set_reliability_params(self.unordered && answered, kind, value);
    }

    /// Takes note of a message of this many bytes.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.ends.push_back(self.sent);
    }

    /// Takes note of how many bytes wait.
    pub(super) fn waits(&mut self, bytes: usize) {
        let done = self.sent.saturating_sub(bytes as u64);
        while self.ends.front().is_some_and(|end| *end <= done) {
            self.ends.pop_front();
        }
        if self.ends.is_empty() {
            self.ends = VecDeque::new();
        }
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> usize {
        self.ends.len()
    }
}

//! Counters and times, and how they are summed: each thread counts for itself, and hands over a [`Sample`] every
//! second.

pub mod histogram;

use std::collections::BTreeMap;

pub use histogram::Histogram;
use serde::Serialize;

/// Makes the struct of all counters with sums over it.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the start; they only grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The sum of both.
            pub fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }

            /// The increase since `earlier`; never below 0.
            pub fn since(&self, earlier: &Counters) -> Counters {
                Counters { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

counters! {
    /// Media packets sent for the first time.
    sent_packets,
    /// Bytes of datagrams that carried them.
    sent_bytes,
    /// Media packets resent because the server asked.
    resent_packets,
    /// Media packets received, each once.
    received_packets,
    /// Bytes of all datagrams with media, retransmissions and duplicates too.
    received_bytes,
    /// Media packets that were sent to the bots, by their sequence numbers.
    expected_packets,
    /// Received by retransmission.
    recovered_packets,
    /// Received more than once.
    duplicates,
    /// Received after a later one, not by retransmission.
    reordered,
    /// Stamped packets whose bytes are not those that were sent, or frames that were assembled wrongly.
    corrupted,
    /// Packets without a stamp of this run: media of others.
    foreign,
    /// Datagrams that could not be decrypted, or whose content is not RTP.
    undecryptable,
    /// Complete frames of video.
    frames,
    /// Incomplete frames between complete ones.
    frames_lost,
    /// Gaps between pictures of more than max(3 x average, average + 150 ms).
    freezes,
    /// Microseconds of freezes.
    freeze_us,
    /// Packets that the bots requested by generic NACK.
    nacks_sent,
    /// Key frames that the bots requested.
    plis_sent,
    /// Packets that the server requested.
    nacks_received,
    /// Key frames that the server requested.
    plis_received,
    /// Key frames sent.
    key_frames_sent,
    /// Feedback of the server's transport-wide congestion control.
    transport_feedback,
    /// Packets that this feedback reports as missing.
    upstream_missing,
    /// Datagrams that our own kernel did not take.
    unsendable,
    /// Datagrams dropped by the faults of a bad line.
    dropped_by_fault,
    /// Messages over the events of room sessions.
    event_messages,
    /// Renegotiations of room sessions that were answered.
    renegotiations,
    /// Choices of another track of which nothing came before the next choice.
    unswitched,
}

/// Times.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// From the sender's stamp to the receiver's read, for each stamped packet.
    pub delay: Histogram,
    /// The same of those packets that are part of a key frame.
    pub key_delay: Histogram,
    /// One sample for each viewer that has left, at the end for all: the p99 of its own delays.
    pub viewer_p99: Histogram,
    /// The same: its longest delay.
    pub viewer_worst: Histogram,
    /// From the request to the end of the DTLS handshake.
    pub join: Histogram,
    /// From the request (or the publisher's start, if later) to the first picture, or sound where
    /// there are no pictures.
    pub first_frame: Histogram,
    /// From the request (or the publisher's start, if later) to the first stamped packet of any kind.
    pub first_packet: Histogram,
    /// From a command that chooses another track for a slot to the first packet of that track.
    pub switch: Histogram,
    /// From the need of a key frame to its arrival.
    pub key_wait: Histogram,
    /// Interarrival jitter (RFC 3550 section 6.4.1), one sample per stream and report.
    pub jitter: Histogram,
    /// How late the swarm's own timers were: when this is large, the swarm measured itself.
    pub lag: Histogram,
}

impl Times {
    /// Restarts what describes the course of the run; what each bot has once stays.
    pub(crate) fn begin_anew(&mut self) {
        let Times { join, first_frame, key_wait, .. } = std::mem::take(self);
        *self = Times { join, first_frame, key_wait, ..Times::default() };
    }

    /// Adds the delays of a viewer that leaves.
    pub(crate) fn end_viewer(&mut self, delays: &Histogram) {
        if let Some((p99, worst)) = delays.quantile(0.99).zip(delays.max()) {
            self.viewer_p99.record(p99);
            self.viewer_worst.record(worst);
        }
    }

    /// Share of the viewers whose longest delay is at least half of the longest of all: whether one viewer was late,
    /// or all. `None` without viewers.
    pub fn viewers_near_worst(&self) -> Option<f64> {
        self.viewer_worst.share_from(self.viewer_worst.max()? / 2)
    }

    /// Adds all samples of another.
    pub fn merge(&mut self, other: &Times) {
        self.delay.merge(&other.delay);
        self.key_delay.merge(&other.key_delay);
        self.viewer_p99.merge(&other.viewer_p99);
        self.viewer_worst.merge(&other.viewer_worst);
        self.join.merge(&other.join);
        self.first_frame.merge(&other.first_frame);
        self.first_packet.merge(&other.first_packet);
        self.switch.merge(&other.switch);
        self.key_wait.merge(&other.key_wait);
        self.jitter.merge(&other.jitter);
        self.lag.merge(&other.lag);
    }
}

/// Counters and times together.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// In a thread: since the start.
    pub counters: Counters,
    /// In a thread: since the last sample.
    pub times: Times,
}

/// What a thread saw until the end of a second.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) thread: usize,
    /// The number of the second.
    pub(crate) tick: u64,
    /// Of all bots: the counters since the start, the times since the last sample.
    pub(crate) all: Tally,
    /// Of the bystanders, who are in `all` too.
    pub(crate) bystanders: Tally,
}

/// Reasons, and how often each came. Bounded, so that a server that invents reasons does not fill the memory.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Reasons(BTreeMap<String, u64>);

/// Different reasons that are kept apart.
const MAX_REASONS: usize = 64;
/// Longest text of one.
const MAX_REASON: usize = 160;

impl Reasons {
    /// Counts one.
    pub fn add(&mut self, reason: &str) {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        let is_new = !self.0.contains_key(&reason);
        let key = if is_new && self.0.len() >= MAX_REASONS { "other".to_owned() } else { reason };
        *self.0.entry(key).or_default() += 1;
    }

    /// Reasons with their counts, the most frequent first.
    pub fn sorted(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.0.iter().map(|(r, n)| (r.as_str(), *n)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counters_add_and_subtract_field_by_field() {
        let one = Counters { frames: 3, freezes: 1, ..Counters::default() };
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.frames, sum.freezes), (6, 2));
        assert_eq!(sum.since(&one), one);
        assert_eq!(one.since(&sum), Counters::default());
    }

    #[test]
    fn viewers_are_told_apart_by_their_longest_delay() {
        let (mut times, ms) = (Times::default(), Duration::from_millis);
        assert_eq!(times.viewers_near_worst(), None);
        times.end_viewer(&Histogram::default());
        for worst in [10, 12, 60, 100] {
            let mut delays = Histogram::default();
            (0..1_000).for_each(|_| delays.record(ms(1)));
            (0..5).for_each(|_| delays.record(ms(worst)));
            times.end_viewer(&delays);
        }
        assert_eq!((times.viewer_worst.count(), times.viewer_worst.max()), (4, Some(ms(100))));
        assert!(times.viewer_p99.max().is_some_and(|p99| p99 < ms(2)));
        assert_eq!(times.viewers_near_worst(), Some(0.5));
    }

    #[test]
    fn reasons_are_bounded_and_sorted() {
        let mut reasons = Reasons::default();
        for n in 0..1_000 {
            reasons.add(&format!("reason {n}"));
            reasons.add("the usual\u{1b}[31m one");
        }
        let sorted = reasons.sorted();
        assert_eq!(sorted.len(), MAX_REASONS + 1);
        assert_eq!(sorted[0], ("the usual[31m one", 1_000));
        assert_eq!(reasons.total(), 2_000);
        reasons.add(&"x".repeat(10_000));
        assert!(reasons.sorted().iter().all(|(reason, _)| reason.len() <= MAX_REASON));
    }
}

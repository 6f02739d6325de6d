//! The round trip to a publisher, to which an ICE-lite agent sends no checks that would tell.
//!
//! Two sources, the better one first:
//!
//! - Extended reports (RFC 3611): a receiver reference time goes out with each receiver report (section 4.4), and the peer
//!   says how long it kept it (DLRR, section 4.5). Stacks built on libwebrtc answer.
//! - Repairs: the time from a NACK to the retransmission. It holds the sender's own delay too, so it counts only as long
//!   as no extended report was answered.

use std::time::{Duration, Instant};

/// Reference times that are remembered; an answer to an older one says nothing.
const REMEMBERED: usize = 8;
/// Longer round trips than this are not believed.
const LONGEST: Duration = Duration::from_secs(1);

/// Smoothed as RFC 6298 section 2 does it.
#[derive(Debug, Default)]
pub struct RoundTrip {
    /// Middle 32 bits of the reference times sent last, and when.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    smoothed: Option<Duration>,
    variation: Duration,
    /// An extended report was answered.
    exact: bool,
}

impl RoundTrip {
    /// A reference time with these middle 32 bits goes out now.
    pub fn sent(&mut self, now: Instant, middle: u32) {
        self.sent[self.next] = Some((middle, now));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The peer answers a reference time, which it kept for `delay` 65,536ths of a second. An answer to what was not asked lately, or
    /// one that took less time than the peer kept it, changes nothing.
    pub fn answered(&mut self, now: Instant, middle: u32, delay: u32) {
        let sent = self.sent.iter_mut().find(|s| s.is_some_and(|(m, _)| m == middle));
        // Each reference time is answered once: libwebrtc answers from its audio and its video side.
        let Some((_, at)) = sent.and_then(Option::take) else { return };
        let kept = Duration::from_micros(u64::from(delay) * 1_000_000 / 65_536);
        let Some(trip) = now.saturating_duration_since(at).checked_sub(kept) else { return };
        if !self.exact {
            self.exact = true;
            self.smoothed = None;
        }
        self.take(trip);
    }

    /// A packet came so long after the only NACK that asked for it.
    pub fn repaired(&mut self, after: Duration) {
        if !self.exact {
            self.take(after);
        }
    }

    /// The round trip; `None` before anything told it.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long to wait for an answer before asking again (RFC 6298 section 2: the round trip and four times its variation),
    /// a second at most; `None` before anything told it.
    pub fn retry_after(&self) -> Option<Duration> {
        Some((self.smoothed? + 4 * self.variation).min(LONGEST))
    }

    fn take(&mut self, trip: Duration) {
        let trip = trip.min(LONGEST);
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(trip), trip / 2),
            Some(before) => {
                self.variation = (3 * self.variation + before.abs_diff(trip)) / 4;
                self.smoothed = Some((7 * before + trip) / 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// So many milliseconds in 65,536ths of a second.
    fn kept(millis: u32) -> u32 {
        millis * 65_536 / 1_000
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_the_peer_kept_is_no_part_of_the_round_trip() {
        let (now, mut trip) = (start(), RoundTrip::default());
        trip.sent(now, 7);
        trip.answered(now + ms(540), 7, kept(500));
        assert_eq!(trip.smoothed().map(|t| t.as_millis()), Some(40));
        assert_eq!(trip.retry_after().map(|t| t.as_millis()), Some(120));
    }

    #[test]
    fn a_steady_round_trip_leaves_little_to_wait_for() {
        let (mut now, mut trip) = (start(), RoundTrip::default());
        for second in 0..30 {
            trip.sent(now, second);
            trip.answered(now + ms(60), second, 0);
            now += ms(1_000);
        }
        assert_eq!(trip.smoothed(), Some(ms(60)));
        assert!(trip.retry_after() < Some(ms(61)), "{:?}", trip.retry_after());
    }

    #[test]
    fn answers_to_nothing_and_answers_twice_change_nothing() {
        let (now, mut trip) = (start(), RoundTrip::default());
        trip.answered(now, 0, 0);
        assert_eq!(trip.smoothed(), None);
        for middle in 1..=9 {
            trip.sent(now, middle);
        }
        trip.answered(now + ms(10), 1, 0);
        assert_eq!(trip.smoothed(), None, "forgotten since");
        trip.answered(now + ms(10), 2, kept(11));
        assert_eq!(trip.smoothed(), None, "kept for longer than it took");
        trip.answered(now + ms(10), 3, 0);
        trip.answered(now + ms(900), 3, 0);
        assert_eq!(trip.smoothed(), Some(ms(10)));
        trip.answered(now + Duration::from_secs(600), 4, 0);
        assert!(trip.retry_after() <= Some(ms(1_000)), "{:?}", trip.retry_after());
    }

    #[test]
    fn repairs_tell_until_an_extended_report_is_answered() {
        let (now, mut trip) = (start(), RoundTrip::default());
        trip.repaired(ms(80));
        trip.repaired(ms(80));
        assert_eq!(trip.smoothed(), Some(ms(80)));
        trip.sent(now, 1);
        trip.answered(now + ms(30), 1, 0);
        trip.repaired(ms(500));
        assert_eq!(trip.smoothed(), Some(ms(30)));
    }
}

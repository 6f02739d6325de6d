//! The round trip time to a publisher. An ICE-lite agent cannot measure it, since it sends no checks.
//!
//! Two sources, the more accurate one first:
//!
//! - Extended reports (RFC 3611): a receiver reference time is sent with each receiver report (section 4.4), and the
//!   peer answers with the time that it held it (DLRR, section 4.5). Stacks built on libwebrtc answer.
//! - Repairs: the time from a NACK to the retransmission. It includes the sender's own delay, so it is used only until
//!   the first extended report is answered.

use std::time::{Duration, Instant};

/// Reference times that are remembered; an answer to an older one is ignored.
const REMEMBERED: usize = 8;
/// Longer round trips are limited to this.
const LONGEST: Duration = Duration::from_secs(1);

/// Smoothed as in RFC 6298 section 2.
#[derive(Debug, Default)]
pub struct RoundTrip {
    /// Middle 32 bits and send times of the last reference times.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    smoothed: Option<Duration>,
    variation: Duration,
    /// An extended report was answered.
    exact: bool,
}

impl RoundTrip {
    /// A reference time with these middle 32 bits is sent now.
    pub fn sent(&mut self, now: Instant, middle: u32) {
        self.sent[self.next] = Some((middle, now));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The peer answers a reference time, which it held for `delay` 65,536ths of a second. An answer to an unknown
    /// reference time, or one with a longer delay than the time that passed, is ignored.
    pub fn answered(&mut self, now: Instant, middle: u32, delay: u32) {
        let sent = self.sent.iter_mut().find(|s| s.is_some_and(|(m, _)| m == middle));
        // Each reference time is answered once: libwebrtc answers from both its audio and its video side.
        let Some((_, at)) = sent.and_then(Option::take) else { return };
        let kept = Duration::from_micros(u64::from(delay) * 1_000_000 / 65_536);
        let Some(trip) = now.saturating_duration_since(at).checked_sub(kept) else { return };
        if !self.exact {
            self.exact = true;
            self.smoothed = None;
        }
        self.take(trip);
    }

    /// A packet arrived this long after the only NACK that requested it.
    pub fn repaired(&mut self, after: Duration) {
        if !self.exact {
            self.take(after);
        }
    }

    /// The round trip time; `None` before the first measurement.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Time until a request is repeated (RFC 6298 section 2: the round trip and four times its variation), at most one
    /// second; `None` before the first measurement.
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

    /// Milliseconds in 65,536ths of a second.
    fn kept(millis: u32) -> u32 {
        millis * 65_536 / 1_000
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_delay_at_the_peer_is_not_part_of_the_round_trip() {
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
    fn answers_to_unknown_reference_times_and_second_answers_change_nothing() {
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
    fn repairs_are_used_until_an_extended_report_is_answered() {
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

//! The bitrate limit that a publisher without transport-wide feedback is sent (REMB, draft-alvestrand-rmcat-remb-03).
//!
//! It is not an estimate of the line. It follows the received rate and leaves room above it, so that a sender that
//! starts low or got no limit can grow; a sender that sends too much learns it from the losses in its receiver
//! reports. An estimate from delay would replace it.

use std::time::{Duration, Instant};

/// The lowest limit: below it a video sender turns its picture off, and could not show any more that there is room.
const FLOOR: u64 = 300_000;
/// The highest limit: no publisher of a browser or camera needs more, and a lost report must not let a sender grow
/// without end.
const CEILING: u64 = 20_000_000;
/// Shortest time that a rate is measured over.
const SHORTEST: Duration = Duration::from_millis(100);

/// Received bytes of one publisher, and its last limit.
#[derive(Debug)]
pub struct Receiver {
    since: Instant,
    bytes: u64,
    /// The last limit in bits per second.
    limit: u64,
}

impl Receiver {
    /// A receiver that has counted no bytes.
    pub fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, limit: FLOOR }
    }

    /// Counts a received packet of this many bytes.
    #[inline]
    pub fn record(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The new limit in bits per second: 1.5 times the rate received since the last call, between 300 kbit/s and 20
    /// Mbit/s. It falls by at most a twentieth per second: a still picture takes few bits, and the next moving one
    /// must not start from the lowest limit. Call it about once a second.
    pub fn bitrate(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since);
        if passed < SHORTEST {
            return self.limit;
        }
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let received = (self.bytes.saturating_mul(8_000_000)) / micros;
        let fall = u128::from(self.limit) * u128::from(micros) / (20 * 1_000_000);
        let slowest = self.limit.saturating_sub(u64::try_from(fall).unwrap_or(u64::MAX));
        self.limit = (received + received / 2).max(slowest).clamp(FLOOR, CEILING);
        (self.since, self.bytes) = (now, 0);
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    /// The limit after a second at this rate.
    fn limit_after_a_second(receiver: &mut Receiver, now: &mut Instant, bits: usize) -> u64 {
        receiver.record(bits / 8);
        *now += SECOND;
        receiver.bitrate(*now)
    }

    #[test]
    fn the_limit_is_half_above_the_received_rate() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        assert_eq!(limit_after_a_second(&mut receiver, &mut now, 1_000_000), 1_500_000);
        assert_eq!(limit_after_a_second(&mut receiver, &mut now, 2_000_000), 3_000_000);
        // A second call at once gives the same limit.
        assert_eq!(receiver.bitrate(now), 3_000_000);
    }

    #[test]
    fn a_sender_that_follows_the_limit_reaches_any_rate_in_seconds() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        let mut rate = 300_000;
        for _ in 0..8 {
            rate = limit_after_a_second(&mut receiver, &mut now, rate as usize);
        }
        assert!(rate > 7_000_000, "{rate}");
    }

    #[test]
    fn the_limit_falls_slowly_and_not_below_the_lowest() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        limit_after_a_second(&mut receiver, &mut now, 4_000_000);
        assert_eq!(limit_after_a_second(&mut receiver, &mut now, 50_000), 5_700_000);
        for _ in 0..200 {
            limit_after_a_second(&mut receiver, &mut now, 0);
        }
        assert_eq!(limit_after_a_second(&mut receiver, &mut now, 0), FLOOR);
        now += 1_000 * SECOND;
        assert_eq!(limit_after_a_second(&mut receiver, &mut now, usize::MAX), CEILING);
    }
}

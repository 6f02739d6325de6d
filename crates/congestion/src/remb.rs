//! What a publisher without transport-wide feedback is told that it may send (REMB, draft-alvestrand-rmcat-remb-03).
//!
//! It is no estimate of the line. It follows what arrives and leaves room above it, so that a sender that starts low or was told
//! nothing can grow; a sender that sends too much hears so from the losses in its receiver reports. An estimate from delay would
//! take its place.

use std::time::{Duration, Instant};

/// Never less: below it a video sender turns its picture off, and could not show any more that there is room.
const FLOOR: u64 = 300_000;
/// Never more: no publisher of a browser or camera needs it, and a lost report must not let a sender grow without end.
const CEILING: u64 = 20_000_000;
/// What came in less time than this says little about a rate.
const SHORTEST: Duration = Duration::from_millis(100);

/// Received bytes of one publisher, and what it was told last.
#[derive(Debug)]
pub struct Receiver {
    since: Instant,
    bytes: u64,
    /// Bits per second.
    told: u64,
}

impl Receiver {
    /// Nothing came yet.
    pub fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, told: FLOOR }
    }

    /// Counts a packet of so many bytes that came.
    #[inline]
    pub fn record(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// What to tell, in bits per second: 1.5 times what came since the last call, between 300 kbit/s and 20 Mbit/s. It goes down
    /// by a twentieth for a second at most: a still picture takes few bits, and the next moving one must not start from the floor.
    /// Call it about once a second.
    pub fn bitrate(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since);
        if passed < SHORTEST {
            return self.told;
        }
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let received = (self.bytes.saturating_mul(8_000_000)) / micros;
        let slowest =
            self.told - (self.told / 20).saturating_mul(passed.as_secs().max(1)).min(self.told);
        self.told = (received + received / 2).max(slowest).clamp(FLOOR, CEILING);
        (self.since, self.bytes) = (now, 0);
        self.told
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

    /// What is told after a second at this rate.
    fn tell(receiver: &mut Receiver, now: &mut Instant, bits: usize) -> u64 {
        receiver.record(bits / 8);
        *now += SECOND;
        receiver.bitrate(*now)
    }

    #[test]
    fn it_leaves_half_as_much_again_above_what_arrives() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        assert_eq!(tell(&mut receiver, &mut now, 1_000_000), 1_500_000);
        assert_eq!(tell(&mut receiver, &mut now, 2_000_000), 3_000_000);
        // Told again at once: the same.
        assert_eq!(receiver.bitrate(now), 3_000_000);
    }

    #[test]
    fn a_sender_that_does_what_it_is_told_reaches_any_rate_in_seconds() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        let mut rate = 300_000;
        for _ in 0..8 {
            rate = tell(&mut receiver, &mut now, rate as usize);
        }
        assert!(rate > 7_000_000, "{rate}");
    }

    #[test]
    fn it_goes_down_slowly_and_not_below_its_floor() {
        let mut now = start();
        let mut receiver = Receiver::new(now);
        tell(&mut receiver, &mut now, 4_000_000);
        assert_eq!(tell(&mut receiver, &mut now, 50_000), 5_700_000);
        for _ in 0..200 {
            tell(&mut receiver, &mut now, 0);
        }
        assert_eq!(tell(&mut receiver, &mut now, 0), FLOOR);
        now += 1_000 * SECOND;
        assert_eq!(tell(&mut receiver, &mut now, usize::MAX), CEILING);
    }
}

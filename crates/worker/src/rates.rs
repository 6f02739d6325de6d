//! Limits on what a session may send: token buckets (RFC 2697 section 3 has the idea), on the clock that the loop has
//! read already. A bucket holds one second's worth, so that bursts pass. Only authentic packets are taken from it, so
//! that an attacker who forges packets of a participant uses up nothing of the participant's rate.

use std::time::Instant;

/// The most that one session may send per second; 0: no limit. A whole second's worth may arrive at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Bits of RTP datagrams of one publisher.
    pub media_bits: u64,
    /// RTP packets of one publisher.
    pub media_packets: u64,
    /// RTCP packets of one session.
    pub rtcp_packets: u64,
    /// Sequence numbers that one viewer reports missing (NACK).
    pub nacks: u64,
    /// Data messages of one session.
    pub data_messages: u64,
    /// Bits of data messages of one session.
    pub data_bits: u64,
}

impl Default for RateLimits {
    /// 100 Mbit/s and 20,000 packets of media: several times what 4K at 60 pictures takes. 1,000 RTCP packets: a
    /// browser with 50 videos sends some 200. 4,000 missing packets: a fifth of 20,000.
    /// 100 data messages and 2 Mbit/s of them: what a room takes of a member (its own limits), so that nothing is read that the room
    /// would refuse.
    fn default() -> Self {
        Self {
            media_bits: 100_000_000,
            media_packets: 20_000,
            rtcp_packets: 1_000,
            nacks: 4_000,
            data_messages: 100,
            data_bits: 2_000_000,
        }
    }
}

impl RateLimits {
    /// No limits.
    pub const NONE: RateLimits = RateLimits {
        media_bits: 0,
        media_packets: 0,
        rtcp_packets: 0,
        nacks: 0,
        data_messages: 0,
        data_bits: 0,
    };
}

const NANOS: u64 = 1_000_000_000;
/// The highest rate: a bucket counts in billionths of its unit, and 2^63 of them are this many units.
const RATE_MAX: u64 = i64::MAX as u64 / NANOS;

/// A limit per second. The last packet taken may overdraw it.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Billionths of a unit.
    tokens: i64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: i64::MAX, at: now }
    }

    /// Fills the bucket for the time that has passed. Returns whether something is left; always if there is no limit.
    #[inline]
    fn allows(&mut self, now: Instant, per_second: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let rate = per_second.min(RATE_MAX);
        let passed = now.saturating_duration_since(self.at);
        self.at = now.max(self.at);
        let full = (rate * NANOS) as i64;
        let passed = if passed.as_secs() > 0 { NANOS } else { u64::from(passed.subsec_nanos()) };
        self.tokens = self.tokens.min(full).saturating_add((passed * rate) as i64).min(full);
        self.tokens > 0
    }

    #[inline]
    fn take(&mut self, units: u64) {
        let units = i64::try_from(units.min(RATE_MAX) * NANOS).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(units);
    }
}

/// The buckets of the data messages of one session.
#[derive(Debug)]
pub(crate) struct DataRates {
    messages: Bucket,
    bytes: Bucket,
}

impl DataRates {
    pub(crate) fn new(now: Instant) -> Self {
        Self { messages: Bucket::full(now), bytes: Bucket::full(now) }
    }

    /// Whether a message may be taken now.
    pub(crate) fn allow(&mut self, now: Instant, limits: &RateLimits) -> bool {
        self.messages.allows(now, limits.data_messages)
            && self.bytes.allows(now, limits.data_bits / 8)
    }

    /// Takes a message of this many bytes from the buckets.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.messages.take(1);
        self.bytes.take(bytes as u64);
    }
}

/// The buckets of one session.
#[derive(Debug)]
pub(crate) struct Rates {
    bytes: Bucket,
    packets: Bucket,
    rtcp: Bucket,
    nacks: Bucket,
}

impl Rates {
    pub(crate) fn new(now: Instant) -> Self {
        let full = Bucket::full(now);
        Self { bytes: full, packets: full, rtcp: full, nacks: full }
    }

    /// Whether an RTP packet may be taken now. Checked before the cost of decryption.
    #[inline]
    pub(crate) fn allow_media(&mut self, now: Instant, limits: &RateLimits) -> bool {
        self.bytes.allows(now, limits.media_bits / 8)
            && self.packets.allows(now, limits.media_packets)
    }

    /// Takes an RTP datagram of this many bytes, which was authentic, from the buckets.
    #[inline]
    pub(crate) fn took_media(&mut self, bytes: usize) {
        self.bytes.take(bytes as u64);
        self.packets.take(1);
    }

    /// Whether an RTCP packet may be taken now.
    pub(crate) fn allow_rtcp(&mut self, now: Instant, limits: &RateLimits) -> bool {
        self.rtcp.allows(now, limits.rtcp_packets)
    }

    /// Takes an RTCP packet, which was authentic, from the bucket.
    pub(crate) fn took_rtcp(&mut self) {
        self.rtcp.take(1);
    }

    /// Takes one missing packet. `false`: too many were reported.
    pub(crate) fn take_nack(&mut self, now: Instant, limits: &RateLimits) -> bool {
        let allowed = self.nacks.allows(now, limits.nacks);
        if allowed {
            self.nacks.take(1);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many units are allowed at this rate, when one is requested every `every`, `count` times.
    fn allowed(rate: u64, every: Duration, count: u32) -> u64 {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut allowed = 0;
        for n in 0..count {
            if bucket.allows(start + every * n, rate) {
                bucket.take(1);
                allowed += 1;
            }
        }
        allowed
    }

    #[test]
    fn a_rate_is_kept_and_a_seconds_worth_passes_at_once() {
        assert_eq!(allowed(1_000, Duration::ZERO, 5_000), 1_000);
        // Ten times too fast, for ten seconds: the bucket's content at once, and ten times the rate.
        assert_eq!(allowed(1_000, Duration::from_micros(100), 100_000), 11_000);
        // A microsecond is worth less than a unit, but the parts add up.
        assert_eq!(allowed(3, Duration::from_micros(1), 2_000_000), 9);
        assert_eq!(allowed(1_000, Duration::from_millis(1), 10_000), 10_000, "nothing at the rate");
    }

    #[test]
    fn no_limit_is_no_limit_and_the_highest_is_one() {
        assert_eq!(allowed(0, Duration::ZERO, 10_000), 10_000);
        assert_eq!(allowed(u64::MAX, Duration::from_secs(1), 10_000), 10_000);
    }

    #[test]
    fn bytes_and_packets_are_limited_each() {
        let (start, limits) = (Instant::now(), RateLimits::default());
        let taken = |bytes: usize| {
            let mut rates = Rates::new(start);
            let mut taken = 0;
            while rates.allow_media(start, &limits) {
                rates.took_media(bytes);
                taken += 1;
            }
            taken
        };
        assert_eq!(taken(100), 20_000);
        assert_eq!(taken(1_250), 10_000);
    }
}

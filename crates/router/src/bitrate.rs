//! Bitrate measurement, and conversion of times in RTP clock units. The results are in `model::stats`.

use std::time::{Duration, Instant};

/// Time over which bitrates are measured.
const WINDOW: Duration = Duration::from_secs(1);

/// Converts a time in units of an RTP clock.
pub(crate) fn duration(units: u32, clock_rate: u32) -> Duration {
    let micros = u64::from(units) * 1_000_000;
    Duration::from_micros(micros.checked_div(u64::from(clock_rate)).unwrap_or(0))
}

/// Measures a bitrate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    /// When the present window began.
    since: Option<Instant>,
    octets: u64,
    /// Rate of the last whole window, in bits per second.
    rate: u64,
}

impl Meter {
    /// Counts bytes.
    #[inline]
    pub(crate) fn count(&mut self, now: Instant, octets: u64) {
        let since = *self.since.get_or_insert(now);
        let spent = now.saturating_duration_since(since);
        if spent >= WINDOW {
            *self = Self { since: Some(now), octets: 0, rate: rate(self.octets, spent) };
        }
        self.octets += octets;
    }

    /// Bits per second. It falls during a pause.
    pub(crate) fn rate(&self, now: Instant) -> u64 {
        let Some(since) = self.since else { return 0 };
        let spent = now.saturating_duration_since(since);
        if spent >= WINDOW { rate(self.octets, spent) } else { self.rate }
    }
}

fn rate(octets: u64, spent: Duration) -> u64 {
    let bits = u128::from(octets) * 8 * 1_000_000;
    bits.checked_div(spent.as_micros()).unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_is_that_of_the_last_second_and_falls_in_a_pause() {
        let t = crate::fixtures::start();
        let at = |millis| t + Duration::from_millis(millis);
        let mut meter = Meter::default();
        assert_eq!(meter.rate(t), 0);
        // 1 Mbit/s, then 3 Mbit/s.
        for i in 0..400 {
            meter.count(at(i * 10), if i < 200 { 1_250 } else { 3_750 });
        }
        assert_eq!(meter.rate(at(3_999)), 3_000_000);
        meter.count(at(4_000), 3_750);
        assert_eq!(meter.rate(at(4_500)), 3_000_000);
        assert_eq!(meter.rate(at(7_000)), 10_000);
        assert!(meter.rate(at(60_000)) < 1_000);
    }

    #[test]
    fn units_of_a_clock_are_converted_to_time() {
        assert_eq!(duration(900, 90_000), Duration::from_millis(10));
        assert_eq!(duration(u32::MAX, 48_000).as_secs(), 89_478);
        assert_eq!(duration(7, 0), Duration::ZERO);
    }
}

//! Bitrate measurement, and conversion of times in RTP clock units. The results are in `model::stats`.

use std::time::{Duration, Instant};

/// Time over which bitrates are measured.
const WINDOW: Duration = Duration::from_secs(1);

/// Converts a time in units of an RTP clock.
pub(crate) fn duration(units: u32, clock_rate: u32) -> Duration {
    let micros = u64::from(units) * 1_000_000;
    Duration::from_micros(micros.checked_div(u64::from(clock_rate)).unwrap_or(0))
}

/// Measures a bitrate from a count of bytes that is kept elsewhere, so that a packet costs one comparison.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    window: Option<Window>,
    /// Rate of the last whole window, in bits per second.
    rate: u64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    /// When the window is over.
    end: Instant,
    /// The count at its beginning.
    octets: u64,
}

impl Meter {
    /// To be called with each packet. `octets`: the count of bytes without this packet.
    #[inline]
    pub(crate) fn look(&mut self, now: Instant, octets: u64) {
        if self.window.is_none_or(|window| now >= window.end) {
            self.begin(now, octets);
        }
    }

    #[cold]
    fn begin(&mut self, now: Instant, octets: u64) {
        self.rate = self.rate(now, octets);
        self.window = Some(Window { since: now, end: now + WINDOW, octets });
    }

    /// Bits per second. It falls during a pause. `octets`: the count of bytes now.
    pub(crate) fn rate(&self, now: Instant, octets: u64) -> u64 {
        match self.window {
            Some(window) if now >= window.end => {
                let spent = now.saturating_duration_since(window.since);
                rate(octets.saturating_sub(window.octets), spent)
            }
            _ => self.rate,
        }
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
        let (mut meter, mut octets) = (Meter::default(), 0);
        assert_eq!(meter.rate(t, octets), 0);
        // 1 Mbit/s, then 3 Mbit/s.
        for i in 0..400 {
            meter.look(at(i * 10), octets);
            octets += if i < 200 { 1_250 } else { 3_750 };
        }
        assert_eq!(meter.rate(at(3_999), octets), 3_000_000);
        meter.look(at(4_000), octets);
        octets += 3_750;
        assert_eq!(meter.rate(at(4_500), octets), 3_000_000);
        assert_eq!(meter.rate(at(7_000), octets), 10_000);
        assert!(meter.rate(at(60_000), octets) < 1_000);
    }

    #[test]
    fn units_of_a_clock_are_converted_to_time() {
        assert_eq!(duration(900, 90_000), Duration::from_millis(10));
        assert_eq!(duration(u32::MAX, 48_000).as_secs(), 89_478);
        assert_eq!(duration(7, 0), Duration::ZERO);
    }
}

//! The wall clock beside the monotonic one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// NTP timestamp: seconds since 1900 in 32.32 fixed point (RFC 3550 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits, as in the LSR field of a report block (RFC 3550 section 6.4.1).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// 24 bits of 6.18 fixed point seconds, as in the abs-send-time header extension.
    pub fn abs_send_time(self) -> u32 {
        ((self.0 >> 14) & 0x00ff_ffff) as u32
    }

    /// This time, `by` later.
    pub fn after(self, by: Duration) -> NtpTime {
        NtpTime(self.0.wrapping_add(to_fixed(by)))
    }

    /// The time since `earlier`, zero when it lies in the future.
    pub fn since(self, earlier: NtpTime) -> Duration {
        let fixed = self.0.saturating_sub(earlier.0);
        let nanos = ((fixed & 0xffff_ffff) * 1_000_000_000) >> 32;
        Duration::new(fixed >> 32, nanos as u32)
    }
}

fn to_fixed(d: Duration) -> u64 {
    (d.as_secs() << 32) | ((u64::from(d.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// Ties monotonic instants to NTP time. Made once by the shell; the cores only convert.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    base: Instant,
    ntp: NtpTime,
}

impl WallClock {
    /// A clock in which `base` and `wall` are the same moment.
    pub fn new(base: Instant, wall: SystemTime) -> Self {
        let unix = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base, ntp: NtpTime(to_fixed(unix).wrapping_add(NTP_UNIX_OFFSET << 32)) }
    }

    /// NTP time of an instant. Instants before the base give the base.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        self.ntp.after(now.saturating_duration_since(self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_counts_from_1900() {
        let ntp = NtpTime((NTP_UNIX_OFFSET << 32) | 0x8000_0000);
        assert_eq!(ntp.after(Duration::from_millis(250)).since(ntp).as_millis(), 250);
        assert_eq!(ntp.middle(), ((NTP_UNIX_OFFSET as u32 & 0xffff) << 16) | 0x8000);
        assert_eq!(NtpTime(1 << 32).abs_send_time(), 1 << 18);
    }
}

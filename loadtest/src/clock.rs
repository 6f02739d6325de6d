//! The clock of all bots: instants, nanoseconds of the system's monotonic clock (the same in all processes of a
//! machine, so that one swarm can send what another receives), and NTP time for sender reports. Also which publishers
//! are live.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use model::{NtpTime, WallClock};
use rustix::time::{ClockId, clock_gettime};

/// Converts between instants and nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
    base_ns: u64,
    wall: WallClock,
}

impl Clock {
    /// A clock.
    pub(crate) fn new() -> Clock {
        let base = Instant::now();
        let now = clock_gettime(ClockId::Monotonic);
        let base_ns = Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_nanos() as u64;
        Clock { base, base_ns, wall: WallClock::new(base, SystemTime::now()) }
    }

    /// Nanoseconds of the monotonic clock.
    #[inline]
    pub(crate) fn ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        self.base_ns + since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }

    /// Time since then; zero for times ahead.
    #[inline]
    pub(crate) fn since(&self, now: Instant, sent_ns: u64) -> Duration {
        Duration::from_nanos(self.ns(now).saturating_sub(sent_ns))
    }

    pub(crate) fn ntp(&self, at: Instant) -> NtpTime {
        self.wall.ntp(at)
    }
}

/// Which publishers send, and since when: a picture that stops because its publisher left is not a freeze.
#[derive(Debug)]
pub(crate) struct Directory(Box<[AtomicU64]>);

/// Publishers that are told apart; ids wrap.
const PLACES: usize = 1 << 16;

impl Directory {
    pub(crate) fn new() -> Directory {
        Directory((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// This publisher sends from now on.
    pub(crate) fn begin(&self, publisher: u32, now_ns: u64) {
        self.place(publisher).store(now_ns, Ordering::Relaxed);
    }

    /// This publisher has stopped sending.
    pub(crate) fn end(&self, publisher: u32) {
        self.place(publisher).store(0, Ordering::Relaxed);
    }

    /// Since when a publisher sends; `None` when it does not.
    pub(crate) fn live_since(&self, publisher: u32) -> Option<u64> {
        Some(self.place(publisher).load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    fn place(&self, publisher: u32) -> &AtomicU64 {
        &self.0[publisher as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_those_of_the_system() {
        let clock = Clock::new();
        let system = clock_gettime(ClockId::Monotonic);
        let system = Duration::new(system.tv_sec as u64, system.tv_nsec as u32).as_nanos() as u64;
        assert!(system.abs_diff(clock.ns(Instant::now())) < 50_000_000);
        assert_eq!(clock.since(Instant::now(), u64::MAX), Duration::ZERO);
    }

    #[test]
    fn publishers_come_and_go() {
        let directory = Directory::new();
        assert_eq!(directory.live_since(70_000), None);
        directory.begin(70_000, 5);
        assert_eq!(directory.live_since(70_000), Some(5));
        directory.end(70_000);
        assert_eq!(directory.live_since(70_000), None);
    }
}

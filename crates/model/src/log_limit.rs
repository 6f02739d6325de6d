//! How often a line of the log may be written that somebody outside can cause. Without a limit a stranger fills the disk, and
//! slows down what writes the line.

use std::time::{Duration, Instant};

/// So many lines in each interval; the others are counted, and the next line says how many there were.
#[derive(Debug)]
pub struct LogLimit {
    lines: u32,
    interval: Duration,
    begun: Option<Instant>,
    written: u32,
    hidden: u64,
}

impl LogLimit {
    /// `lines` in each `interval`.
    pub const fn new(lines: u32, interval: Duration) -> Self {
        Self { lines, interval, begun: None, written: 0, hidden: 0 }
    }

    /// Whether a line may be written now, and how many were not since the last one that was.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= self.interval) {
            self.begun = Some(now);
            self.written = 0;
        }
        if self.written >= self.lines {
            self.hidden += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test stands outside of the core")]
    fn lines_beyond_the_limit_are_counted_and_told_with_the_next() {
        let start = Instant::now();
        let mut limit = LogLimit::new(2, Duration::from_secs(1));
        let mut pass = |millis| limit.pass(start + Duration::from_millis(millis));
        assert_eq!((pass(0), pass(10)), (Some(0), Some(0)));
        assert!((20..999).all(|millis| pass(millis).is_none()));
        assert_eq!((pass(1_000), pass(1_001), pass(1_002)), (Some(979), Some(0), None));
        assert_eq!(pass(60_000), Some(1));
    }
}

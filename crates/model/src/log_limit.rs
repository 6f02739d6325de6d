//! A limit for log lines that a peer can cause. Without it a stranger can fill the disk, and slow down the thread that
//! writes the line.

use std::time::{Duration, Instant};

/// Allows a number of lines per interval. Further lines are counted, and the next allowed line reports their number.
#[derive(Debug)]
pub struct LogLimit {
    lines: u32,
    interval: Duration,
    begun: Option<Instant>,
    written: u32,
    hidden: u64,
}

impl LogLimit {
    /// Allows `lines` in each `interval`.
    pub const fn new(lines: u32, interval: Duration) -> Self {
        Self { lines, interval, begun: None, written: 0, hidden: 0 }
    }

    /// Whether a line may be written now; if so, the number of lines that were left out since the last one.
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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test stands outside of the core")]
    fn a_line_is_written_once_a_second_and_says_how_many_were_left_out() {
        let (start, mut limit) = (Instant::now(), LogLimit::new(1, Duration::from_secs(1)));
        let written: Vec<_> =
            (0..25).filter_map(|i| limit.pass(start + Duration::from_millis(100) * i)).collect();
        assert_eq!(written, [0, 9, 9]);
    }
}

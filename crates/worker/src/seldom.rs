//! Log lines that are written at most once a second, because a peer can cause them, or each turn does.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// The state of one kind of line.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    skipped: u64,
}

impl Seldom {
    /// Whether to write the line now; if so, how many lines were left out since the last one.
    pub(crate) fn may_log(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            self.skipped += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_once_a_second_and_says_how_many_were_left_out() {
        let (start, mut seldom) = (Instant::now(), Seldom::default());
        let written: Vec<_> = (0..25)
            .filter_map(|i| seldom.may_log(start + Duration::from_millis(100) * i))
            .collect();
        assert_eq!(written, [0, 9, 9]);
    }
}

//! A token bucket: how often a member may do something. Time comes in as an argument.

use std::time::{Duration, Instant};

/// A bucket that fills at a steady rate up to a bound. What does not fit into it is refused and costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    /// Tokens that it gains each second.
    rate: u64,
    /// Tokens that it holds at most.
    burst: u64,
    /// Millionths of a token, so that the remainders of short intervals are kept.
    left: u64,
    filled: Option<Instant>,
}

const PARTS: u64 = 1_000_000;

impl Budget {
    /// A full bucket.
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, left: burst * PARTS, filled: None }
    }

    /// Whether it holds this many tokens now.
    pub(crate) fn has(&mut self, now: Instant, tokens: u64) -> bool {
        self.fill(now);
        self.left >= tokens.saturating_mul(PARTS)
    }

    /// Takes tokens that [`Budget::has`] found.
    pub(crate) fn take(&mut self, tokens: u64) {
        self.left = self.left.saturating_sub(tokens.saturating_mul(PARTS));
    }

    fn fill(&mut self, now: Instant) {
        let since = self.filled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.filled.is_none_or(|at| now > at) {
            self.filled = Some(now);
        }
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(self.rate);
        self.left = self.left.saturating_add(gained).min(self.burst * PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut now = Instant::now();
        let mut budget = Budget::new(100, 200);
        let mut given = 0;
        // Ten seconds, asked a thousand times each second.
        for _ in 0..10_000 {
            while budget.has(now, 1) {
                budget.take(1);
                given += 1;
            }
            now += Duration::from_millis(1);
        }
        assert!((1_199..=1_200).contains(&given), "{given}");
        assert!(!budget.has(now, 201), "more than the burst never fits");
    }
}

//! A log-linear histogram of durations: fixed memory, any number of samples, quantiles exact to 1.6 %. No decay and no
//! windows: for intervals use a new one for each.

use std::time::Duration;

/// Buckets in each power of two of microseconds: a bucket is at most 1/64 of its value wide.
const SUB: u64 = 64;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// The longest time that is distinguished: 2^32 µs, over an hour.
const MAX_BITS: u32 = 32;
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) * SUB as usize;

/// Durations from 1 µs to an hour; longer ones count as an hour.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Grows with the largest sample; empty until the first.
    buckets: Vec<u32>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    /// Adds a sample.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let us = duration.as_secs().saturating_mul(1_000_000);
        let us = us.saturating_add(u64::from(duration.subsec_micros())).min((1 << MAX_BITS) - 1);
        let at = bucket(us);
        if at >= self.buckets.len() {
            self.buckets.resize((at + 1).next_multiple_of(SUB as usize).min(BUCKETS), 0);
        }
        self.buckets[at] = self.buckets[at].saturating_add(1);
        self.count += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all samples of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that a share `q` (0 to 1) of the samples does not exceed; `None` without samples.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(Duration::from_micros(top(at).min(self.max_us)));
            }
        }
        Some(Duration::from_micros(self.max_us))
    }

    /// The share (0 to 1) of the samples that are as long as this or longer, to the width of a bucket; `None` without
    /// samples.
    pub fn share_from(&self, duration: Duration) -> Option<f64> {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min((1 << MAX_BITS) - 1);
        let from = self.buckets.iter().skip(bucket(us));
        let longer: u64 = from.map(|count| u64::from(*count)).sum();
        (self.count > 0).then(|| longer as f64 / self.count as f64)
    }

    /// The longest sample, to the microsecond.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max_us))
    }

    /// The mean, to the microsecond.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.count).map(Duration::from_micros)
    }
}

/// Values below 2 × SUB have a bucket each; above, each power of two has SUB.
#[inline]
fn bucket(us: u64) -> usize {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(SUB_BITS + 1);
    (u64::from(shift) * SUB + (us >> shift)) as usize
}

/// The largest value of a bucket.
fn top(at: usize) -> u64 {
    let at = at as u64;
    let shift = (at / SUB).saturating_sub(1);
    ((at - shift * SUB + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let mut values: Vec<u64> = (0..5_000).collect();
        values.extend((12..32).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        for value in values {
            let at = bucket(value);
            assert!(at < BUCKETS);
            assert!(top(at) >= value, "{value}");
            assert!(top(at) - value <= value / SUB, "{value}");
            assert!(at == 0 || top(at - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles_are_close_to_the_true_ones() {
        let mut histogram = Histogram::default();
        for n in 1..=10_000 {
            histogram.record(us(n * 7));
        }
        for (q, exact) in [(0.5, 35_000.0), (0.99, 69_300.0), (0.999, 69_930.0)] {
            let got = histogram.quantile(q).unwrap().as_micros() as f64;
            assert!((got / exact - 1.0).abs() < 0.02, "{q}: {got}");
        }
        assert_eq!(histogram.max(), Some(us(70_000)));
        assert_eq!(histogram.quantile(1.0), Some(us(70_000)));
        assert_eq!(histogram.mean(), Some(us(35_003)));
        assert!((histogram.share_from(us(63_000)).unwrap() - 0.1).abs() < 0.01);
        assert_eq!(histogram.share_from(us(0)), Some(1.0));
        assert_eq!(histogram.share_from(us(1 << 40)), Some(0.0));
    }

    #[test]
    fn nothing_has_no_quantile() {
        let histogram = Histogram::default();
        assert_eq!(
            (histogram.quantile(0.5), histogram.max(), histogram.mean()),
            (None, None, None)
        );
        assert_eq!(histogram.share_from(us(1)), None);
    }

    #[test]
    fn merging_is_as_recording_all_in_one() {
        let (mut a, mut b, mut all) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..1_000_u64 {
            let sample = us(n * n);
            if n % 3 == 0 {
                a.record(sample)
            } else {
                b.record(sample)
            }
            all.record(sample);
        }
        a.merge(&b);
        assert_eq!(a.count(), all.count());
        for q in [0.0, 0.1, 0.5, 0.9, 1.0] {
            assert_eq!(a.quantile(q), all.quantile(q));
        }
    }

    #[test]
    fn more_than_an_hour_is_an_hour() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(100_000));
        assert_eq!(histogram.max(), Some(us((1 << 32) - 1)));
        assert_eq!(histogram.quantile(0.5), histogram.max());
    }
}

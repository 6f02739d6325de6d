//! The network between the peers and the node. Each peer has a line with two directions; each direction delays, loses,
//! doubles, reorders and throttles datagrams.

use std::time::Duration;

use crate::rng::Rng;

/// How good the lines of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Delay and jitter; nothing is lost, doubled or reordered.
    Calm,
    /// A few percent lost or reordered, some doubled.
    Breezy,
    /// Up to a tenth lost, with rates that are only just enough.
    Stormy,
}

/// What one direction of a line does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    pub(crate) delay: Duration,
    /// Up to this much more delay.
    pub(crate) jitter: Duration,
    /// Whether a later datagram may arrive earlier.
    pub(crate) reorders: bool,
    /// Lost, of a thousand.
    pub(crate) loss: u32,
    /// Doubled, of a thousand.
    pub(crate) doubles: u32,
    /// Bytes per second, and how long a datagram may wait in the queue.
    pub(crate) rate: Option<(u64, Duration)>,
}

impl Conditions {
    pub(crate) fn roll(weather: Weather, rng: &mut Rng) -> Self {
        let delay = rng.millis(1, 60);
        let calm = Self {
            delay,
            jitter: rng.micros(0, 5_000),
            reorders: false,
            loss: 0,
            doubles: 0,
            rate: None,
        };
        match weather {
            Weather::Calm => calm,
            Weather::Breezy => Self {
                jitter: rng.millis(0, 20),
                reorders: rng.chance(500),
                loss: rng.between(0, 30) as u32,
                doubles: rng.between(0, 10) as u32,
                ..calm
            },
            Weather::Stormy => Self {
                jitter: rng.millis(0, 40),
                reorders: rng.chance(700),
                loss: rng.between(0, 100) as u32,
                doubles: rng.between(0, 30) as u32,
                rate: rng.chance(300).then(|| (rng.between(60_000, 200_000), rng.millis(50, 200))),
                ..calm
            },
        }
    }
}

/// One direction of a line.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) conditions: Conditions,
    /// When the queue has sent everything that entered it.
    free_at: Duration,
    /// When the last datagram arrived.
    last: Duration,
    /// Datagrams that were lost.
    pub(crate) lost: u64,
}

impl Way {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self { conditions, free_at: Duration::ZERO, last: Duration::ZERO, lost: 0 }
    }

    /// When a datagram that enters now arrives: never, once or twice.
    pub(crate) fn pass(&mut self, now: Duration, len: usize, rng: &mut Rng) -> Vec<Duration> {
        let Conditions { delay, jitter, reorders, loss, doubles, rate } = self.conditions;
        let mut leaves = now;
        if let Some((rate, queue)) = rate {
            leaves = leaves.max(self.free_at);
            if leaves - now > queue {
                self.lost += 1;
                return Vec::new();
            }
            leaves += Duration::from_micros(len as u64 * 1_000_000 / rate);
            self.free_at = leaves;
        }
        if rng.chance(loss) {
            self.lost += 1;
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.chance(doubles));
        let mut out = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut at = leaves + delay + rng.micros(0, jitter.as_micros() as u64);
            if !reorders {
                at = at.max(self.last);
                self.last = at;
            }
            out.push(at);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> Conditions {
        Conditions::roll(Weather::Calm, &mut Rng::new(1))
    }

    fn passed(way: &mut Way, count: u64, rng: &mut Rng) -> Vec<Duration> {
        (0..count).flat_map(|n| way.pass(Duration::from_millis(n), 100, rng)).collect()
    }

    #[test]
    fn a_calm_way_keeps_everything_in_order() {
        let mut way = Way::new(conditions());
        let out = passed(&mut way, 1_000, &mut Rng::new(2));
        assert_eq!((out.len(), way.lost), (1_000, 0));
        assert!(out.is_sorted());
    }

    #[test]
    fn loss_doubling_and_reordering_happen_as_often_as_they_are_meant_to() {
        let mut way = Way::new(Conditions {
            loss: 100,
            doubles: 100,
            reorders: true,
            jitter: Duration::from_millis(20),
            ..conditions()
        });
        let out = passed(&mut way, 10_000, &mut Rng::new(3));
        assert!((900..1_100).contains(&way.lost), "{}", way.lost);
        let doubled = out.len() as u64 + way.lost - 10_000;
        assert!((800..1_000).contains(&doubled), "{doubled}");
        assert!(!out.is_sorted());
    }

    #[test]
    fn a_narrow_way_lets_through_what_its_rate_allows() {
        let queue = Duration::from_millis(50);
        let mut way = Way::new(Conditions { rate: Some((50_000, queue)), ..conditions() });
        // Twice its rate.
        let out = passed(&mut way, 1_000, &mut Rng::new(4));
        assert!((500..550).contains(&out.len()), "{}", out.len());
    }
}

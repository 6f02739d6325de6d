//! How good a peer's connection is for people who talk over it, as one of three words (`model::Quality`): from the loss before repair
//! in both directions, and the round trip. It is shown to the members of a room; nothing is decided by it.
//!
//! | | loss | round trip |
//! |---|---|---|
//! | good | below 2 % | below 250 ms |
//! | fair | below 8 % | below 500 ms |
//! | poor | more | more |
//!
//! The worse of the two directions counts, and the worse of loss and round trip. 2 % is what retransmission repairs unnoticed; from 8 % on
//! repairs come too late for sound. ITU-T G.114 has conversations suffer from 150 ms one way on, of which the line to the node is
//! one half.

use std::time::{Duration, Instant};

use model::Quality;

/// Time between two judgements, and so between two changes.
const EVERY: Duration = Duration::from_secs(2);
/// Fewer expected packets than this in the last judgements tell nothing about loss: of twenty packets one is 5 %.
const PACKETS_MIN: u64 = 40;
/// Judgements in a row that must agree before the quality changes.
const AGREE: u8 = 2;
/// Losses in 1/1000, and round trips, from which on a connection is fair, and poor.
const FAIR: (u64, Duration) = (20, Duration::from_millis(250));
const POOR: (u64, Duration) = (80, Duration::from_millis(500));

/// Packets of one direction: old ones fade by half with each judgement.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    expected: u64,
    lost: u64,
    /// A report came since the last judgement.
    fresh: bool,
}

/// Judges one peer's connection.
#[derive(Debug, Default)]
pub struct QualityMeter {
    from_peer: Counts,
    to_peer: Counts,
    round_trip: Option<Duration>,
    due: Option<Instant>,
    told: Option<Quality>,
    /// What the last judgements said, and how many in a row.
    seen: Option<(Quality, u8)>,
}

impl QualityMeter {
    /// Of the packets that the peer sent, so many were expected and so many of them did not arrive at first, since the last call.
    pub fn from_peer(&mut self, expected: u64, lost: u64) {
        self.from_peer.add(expected, lost);
    }

    /// The same of the packets that the peer was sent, by its report.
    pub fn to_peer(&mut self, expected: u64, lost: u64) {
        self.to_peer.add(expected, lost);
    }

    /// The round trip to the peer now.
    pub fn round_trip(&mut self, trip: Duration) {
        self.round_trip = Some(trip);
    }

    /// The quality, if it is known and another one than was returned last. At most one each two seconds. Call it about once a
    /// second.
    pub fn poll(&mut self, now: Instant) -> Option<Quality> {
        let due = *self.due.get_or_insert(now + EVERY);
        if now < due || !(self.from_peer.fresh || self.to_peer.fresh) {
            return None;
        }
        self.due = Some(now + EVERY);
        let judged = self.judge();
        self.from_peer.fade();
        self.to_peer.fade();
        let judged = judged?;
        let times = match self.seen {
            Some((quality, times)) if quality == judged => times.saturating_add(1),
            _ => 1,
        };
        self.seen = Some((judged, times));
        if times < AGREE || self.told == Some(judged) {
            return None;
        }
        self.told = Some(judged);
        Some(judged)
    }

    /// `None`: too few packets, and no round trip.
    fn judge(&self) -> Option<Quality> {
        let of_loss = [self.from_peer, self.to_peer].into_iter().filter_map(Counts::permille);
        let of_loss = of_loss.map(|permille| grade(permille, FAIR.0, POOR.0));
        let of_trip = self.round_trip.map(|trip| grade(trip, FAIR.1, POOR.1));
        of_loss.chain(of_trip).min()
    }
}

fn grade<T: PartialOrd>(value: T, fair: T, poor: T) -> Quality {
    match value {
        value if value >= poor => Quality::Poor,
        value if value >= fair => Quality::Fair,
        _ => Quality::Good,
    }
}

impl Counts {
    fn add(&mut self, expected: u64, lost: u64) {
        self.expected = self.expected.saturating_add(expected);
        self.lost = self.lost.saturating_add(lost.min(expected));
        self.fresh |= expected > 0;
    }

    fn fade(&mut self) {
        *self = Self { expected: self.expected / 2, lost: self.lost / 2, fresh: false };
    }

    fn permille(self) -> Option<u64> {
        (self.expected >= PACKETS_MIN).then(|| self.lost.saturating_mul(1_000) / self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Reports once a second from `from` to `to`; returns the changes with their seconds.
    fn run(
        meter: &mut QualityMeter,
        start: Instant,
        (from, to): (u64, u64),
        mut each: impl FnMut(&mut QualityMeter, u64),
    ) -> Vec<(u64, Quality)> {
        let second = |second| {
            each(meter, second);
            meter.poll(start + Duration::from_secs(second)).map(|quality| (second, quality))
        };
        (from..to).filter_map(second).collect()
    }

    #[test]
    fn loss_in_either_direction_makes_it_worse_and_it_recovers() {
        for down in [false, true] {
            let (mut meter, start) = (QualityMeter::default(), start());
            let mut lose = |range, lost: u64| {
                run(&mut meter, start, range, |meter, _| match down {
                    true => meter.to_peer(100, lost),
                    false => meter.from_peer(100, lost),
                })
            };
            assert_eq!(lose((0, 60), 1), [(4, Quality::Good)]);
            let worse = lose((60, 90), 5);
            assert!(matches!(worse[..], [(60..=66, Quality::Fair)]), "{worse:?}");
            let worse = lose((90, 120), 12);
            assert!(matches!(worse[..], [(90..=100, Quality::Poor)]), "{worse:?}");
            let better = lose((120, 180), 0);
            assert_eq!(better.last().map(|b| b.1), Some(Quality::Good), "{better:?}");
            assert!(better[0].0 <= 130 && better.len() <= 2, "{better:?}");
        }
    }

    #[test]
    fn a_long_round_trip_counts_like_loss() {
        let (mut meter, start) = (QualityMeter::default(), start());
        let trips = [(100, Quality::Good), (300, Quality::Fair), (600, Quality::Poor)];
        for (part, (millis, quality)) in trips.into_iter().enumerate() {
            let from = part as u64 * 20;
            let told = run(&mut meter, start, (from, from + 20), |meter, _| {
                meter.from_peer(50, 0);
                meter.round_trip(Duration::from_millis(millis));
            });
            assert_eq!(told.iter().map(|t| t.1).collect::<Vec<_>>(), [quality]);
        }
    }

    #[test]
    fn one_bad_second_changes_nothing_and_changes_are_two_seconds_apart() {
        let (mut meter, start) = (QualityMeter::default(), start());
        let once = run(&mut meter, start, (0, 60), |meter, second| {
            meter.from_peer(100, if second == 30 { 6 } else { 0 });
        });
        assert_eq!(once, [(4, Quality::Good)]);
        let swings = run(&mut meter, start, (60, 600), |meter, second| {
            meter.from_peer(100, if second / 7 % 2 == 0 { 30 } else { 0 });
        });
        assert!(swings.windows(2).all(|w| w[1].0 - w[0].0 >= 2 && w[0].1 != w[1].1), "{swings:?}");
    }

    #[test]
    fn a_few_packets_tell_nothing_of_loss() {
        let (mut meter, start) = (QualityMeter::default(), start());
        // Discontinuous transmission: two or three packets a second, and every tenth of them lost.
        let told = run(&mut meter, start, (0, 60), |meter, second| {
            meter.from_peer(3, u64::from(second % 3 == 0));
        });
        assert_eq!(told, []);
        assert_eq!(
            run(&mut meter, start, (60, 200), |_, _| ()),
            [],
            "without reports nothing is said"
        );
    }

    #[test]
    fn numbers_that_lie_do_not_overflow() {
        let (mut meter, start) = (QualityMeter::default(), start());
        run(&mut meter, start, (0, 10), |meter, _| {
            meter.to_peer(u64::MAX, u64::MAX);
            meter.from_peer(0, u64::MAX);
        });
    }
}

//! Requests missing packets from a publisher (RFC 4585 section 6.2.1): which ones, when, and how often. Numbers are
//! raw ones. The caller writes the message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::numbering::WINDOW;

/// A missing packet is requested after this time or after [`GRACE_PACKETS`] later packets, whichever comes first:
/// before that it may only be out of order.
const GRACE: Duration = Duration::from_millis(10);
/// See [`GRACE`].
const GRACE_PACKETS: u64 = 2;
/// Times that a packet is requested.
const MAX_TRIES: u8 = 10;
/// The same for packets before the last key frame: only subscribers that are behind it still need them.
const MAX_TRIES_SUPERSEDED: u8 = 3;
/// Least time between two requests for a packet, however short the round trip is.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// Requests that follow each other at the pace of the round trip; later ones are at least [`SLOW_RETRY`] apart.
const QUICK_TRIES: u8 = 4;
/// Least time between later requests. With a short round trip, ten quick ones would be over before a line that fails
/// for half a second is back.
const SLOW_RETRY: Duration = Duration::from_millis(100);
/// Most packets requested in one message: at most 512 bytes of it.
pub(crate) const PER_MESSAGE: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Missing {
    raw: u64,
    /// The earliest time of the next request; the first one may be sooner, see [`GRACE_PACKETS`].
    due: Instant,
    /// When it was last requested.
    asked: Option<Instant>,
    tries: u8,
}

/// What was known of a packet that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repair {
    /// It was missing and had been requested.
    pub(crate) was_asked_for: bool,
    /// Time since the request, if there was exactly one. After several requests it is not known which one was
    /// answered.
    pub(crate) after: Option<Duration>,
}

/// The missing packets of one source.
#[derive(Debug)]
pub(crate) struct Nacks {
    /// In ascending order.
    missing: VecDeque<Missing>,
    limit: usize,
    highest: u64,
    /// First number of the last key frame.
    key_frame: u64,
    /// Not later than the earliest due packet.
    wake: Option<Instant>,
    /// Entries that were never requested.
    unasked: usize,
    /// Packets given up so far.
    lost: u64,
    /// A packet was given up that pictures since the last key frame need.
    broken: bool,
}

impl Nacks {
    /// No packets missing; at most `limit` are tracked.
    pub(crate) fn new(limit: usize, highest: u64) -> Self {
        Self {
            missing: VecDeque::new(),
            limit,
            highest,
            key_frame: 0,
            wake: None,
            unasked: 0,
            lost: 0,
            broken: false,
        }
    }

    /// A packet arrived.
    pub(crate) fn arrived(&mut self, now: Instant, raw: u64) -> Repair {
        if raw <= self.highest {
            return self.found(now, raw);
        }
        self.advance(now, raw);
        Repair::default()
    }

    /// A packet arrived that is newer than all before: the numbers that it skipped are missing.
    fn advance(&mut self, now: Instant, raw: u64) {
        let gap = self.highest + 1..raw;
        self.highest = raw;
        if gap.is_empty() {
            if self.unasked > 0 {
                // One more later packet: the grace of an unrequested one may be over.
                self.wake_at(now);
            }
            return;
        }
        // If a gap is larger than the table, only its newest part is tracked.
        let from = gap.start.max(gap.end.saturating_sub(self.limit as u64));
        self.lose(from - gap.start, true);
        for number in from..gap.end {
            if self.missing.len() == self.limit {
                self.drop_oldest();
            }
            self.missing.push_back(Missing {
                raw: number,
                due: now + GRACE,
                asked: None,
                tries: 0,
            });
            self.unasked += 1;
        }
        self.wake_at(if self.unasked > 0 && gap.start + GRACE_PACKETS <= raw {
            now
        } else {
            now + GRACE
        });
    }

    /// A key frame arrived. It begins at this number, packets that lead to it included.
    pub(crate) fn key_frame(&mut self, raw: u64) {
        self.key_frame = self.key_frame.max(raw);
        self.broken = false;
    }

    /// The packets to request now, ascending, at most [`PER_MESSAGE`]. Call [`Nacks::asked`] when the message was
    /// written.
    pub(crate) fn due(&self, now: Instant) -> impl Iterator<Item = u16> + Clone + '_ {
        let highest = self.highest;
        self.missing
            .iter()
            .filter(move |m| is_due(m, now, highest))
            .take(PER_MESSAGE)
            .map(|m| m.raw as u16)
    }

    /// Notes that the packets of [`Nacks::due`] were requested; the next request is due after `retry`. Returns their
    /// number.
    pub(crate) fn asked(&mut self, now: Instant, retry: Duration) -> usize {
        let (highest, quick) = (self.highest, retry.max(MIN_RETRY));
        let mut asked = 0;
        for m in self.missing.iter_mut().filter(|m| is_due(m, now, highest)).take(PER_MESSAGE) {
            self.unasked -= usize::from(m.tries == 0);
            m.tries += 1;
            m.asked = Some(now);
            m.due = now + if m.tries < QUICK_TRIES { quick } else { quick.max(SLOW_RETRY) };
            asked += 1;
        }
        self.plan(now);
        asked
    }

    /// Gives up packets that were requested often enough or are too old. Returns `true`, once, if pictures cannot be
    /// decoded any more without a key frame.
    pub(crate) fn give_up(&mut self, now: Instant) -> bool {
        let oldest = self.highest.saturating_sub(WINDOW);
        let (key_frame, before) = (self.key_frame, self.missing.len());
        let (mut needed, mut unasked) = (false, 0);
        self.missing.retain(|m| {
            let tries = if m.raw < key_frame { MAX_TRIES_SUPERSEDED } else { MAX_TRIES };
            let keep = m.raw > oldest && (m.tries < tries || m.due > now);
            needed |= !keep && m.raw >= key_frame;
            unasked += usize::from(keep && m.tries == 0);
            keep
        });
        self.unasked = unasked;
        let gone = (before - self.missing.len()) as u64;
        self.lose(gone, needed);
        self.plan(now);
        std::mem::take(&mut self.broken)
    }

    /// When to call [`Nacks::give_up`] and [`Nacks::due`] again.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Packets given up so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn found(&mut self, now: Instant, raw: u64) -> Repair {
        let found = self.missing.binary_search_by_key(&raw, |m| m.raw).ok();
        let Some(missing) = found.and_then(|at| self.missing.remove(at)) else {
            return Repair::default();
        };
        let was_asked_for = missing.tries > 0;
        self.unasked -= usize::from(!was_asked_for);
        if self.missing.is_empty() {
            self.wake = None;
        }
        let asked = missing.asked.filter(|_| missing.tries == 1);
        Repair { was_asked_for, after: asked.map(|at| now.saturating_duration_since(at)) }
    }

    fn drop_oldest(&mut self) {
        if let Some(m) = self.missing.pop_front() {
            self.unasked -= usize::from(m.tries == 0);
            self.lose(1, m.raw >= self.key_frame);
        }
    }

    fn lose(&mut self, count: u64, needed: bool) {
        self.lost += count;
        self.broken |= count > 0 && needed;
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    fn plan(&mut self, now: Instant) {
        let highest = self.highest;
        self.wake =
            self.missing.iter().map(|m| if is_due(m, now, highest) { now } else { m.due }).min();
    }
}

fn is_due(m: &Missing, now: Instant, highest: u64) -> bool {
    m.due <= now || (m.tries == 0 && m.raw + GRACE_PACKETS <= highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn due(n: &Nacks, now: Instant) -> Vec<u16> {
        n.due(now).collect()
    }

    #[test]
    fn a_gap_is_asked_for_after_two_later_packets_or_ten_milliseconds() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 100);
        n.arrived(t, 102);
        assert_eq!(due(&n, t), [0u16; 0]);
        assert_eq!(n.wake(), Some(t + GRACE));
        assert_eq!(due(&n, t + GRACE), [101]);
        n.arrived(t, 103);
        assert_eq!(n.wake(), Some(t));
        assert_eq!(due(&n, t), [101]);
    }

    #[test]
    fn reordered_packets_are_not_asked_for() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 100);
        n.arrived(t, 102);
        assert_eq!(n.arrived(t, 101), Repair::default());
        n.arrived(t, 103);
        assert_eq!(due(&n, t + RTT), [0u16; 0]);
        assert_eq!(n.wake(), None);
    }

    #[test]
    fn a_packet_is_asked_for_at_the_pace_of_the_round_trip_then_slower_and_given_up_after_ten() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 100);
        n.arrived(t, 103);
        n.arrived(t, 104);
        let mut now = t;
        for tries in 1..=10 {
            assert_eq!(due(&n, now), [101, 102]);
            assert_eq!(n.asked(now, RTT), 2);
            assert_eq!(due(&n, now + RTT / 2), [0u16; 0]);
            assert!(!n.give_up(now));
            let retry = n.wake().expect("a retry is planned");
            assert_eq!(retry - now, if tries < 4 { RTT } else { SLOW_RETRY });
            now = retry;
        }
        assert!(n.give_up(now), "a key frame is needed");
        assert!(!n.give_up(now), "said once");
        assert_eq!((n.lost(), n.wake()), (2, None));
    }

    #[test]
    fn packets_before_a_key_frame_are_asked_for_three_times_and_break_nothing() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 100);
        n.arrived(t, 103);
        n.arrived(t, 104);
        n.key_frame(103);
        let mut now = t;
        for _ in 0..3 {
            assert_eq!(n.asked(now, RTT), 2);
            now += RTT;
        }
        assert!(!n.give_up(now));
        assert_eq!(n.lost(), 2);
    }

    #[test]
    fn a_flood_of_gaps_keeps_the_table_bounded() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 0);
        for i in 1..10_000 {
            n.arrived(t, i * 3);
            assert!(n.missing.len() <= 64);
        }
        n.arrived(t, 60_000);
        assert_eq!(n.missing.len(), 64);
        assert!(n.give_up(t));
        assert_eq!(n.unasked, n.missing.len());
    }

    #[test]
    fn a_recovered_packet_is_distinguished_from_one_out_of_order() {
        let t = crate::fixtures::start();
        let mut n = Nacks::new(64, 100);
        n.arrived(t, 103);
        n.asked(t, RTT);
        let repaired = Repair { was_asked_for: true, after: Some(RTT / 2) };
        assert_eq!(n.arrived(t + RTT / 2, 101), repaired);
        assert_eq!(n.arrived(t, 101), Repair::default());
        assert_eq!(due(&n, t + RTT), [102]);
        n.asked(t + RTT, RTT);
        n.asked(t + RTT * 2, RTT);
        // It is not known which of the two requests was answered (Karn's rule, RFC 6298 section 3).
        let repaired = Repair { was_asked_for: true, after: None };
        assert_eq!(n.arrived(t + RTT * 3, 102), repaired);
    }
}

//! Numbers the packets of one source: extends sequence numbers, detects duplicates, stale packets and a restarted
//! source, and closes the gaps of packets that are not forwarded. It keeps no packets.
//!
//! There are two numberings. The *raw* one is the publisher's; losses are counted and requested in it. The *compact*
//! one is what subscribers see: packets that are not forwarded (padding, payload types that were not negotiated) are
//! cut out, so that their gaps are not taken for losses.

use std::collections::VecDeque;

use model::DropReason;

/// How many packets back duplicates are detected: the depth of a video cache.
pub(crate) const WINDOW: u64 = 1_024;
/// RFC 3550 appendix A.1 (MAX_DROPOUT): after a larger jump the source has restarted.
const MAX_DROPOUT: u16 = 3_000;
/// Runs of cut-out packets that are remembered, to number late packets.
const MAX_RUNS: usize = 32;

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Raw extended sequence number.
    pub(crate) raw: u64,
    /// It is newer than all before it.
    pub(crate) advances: bool,
}

/// What a sequence number means for the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A new packet.
    Fresh(Place),
    /// The packet is to be dropped.
    Drop(DropReason),
    /// Too far from all before: the source is numbered anew, with this packet as its first.
    Restart,
}

/// A place where the difference between the two numberings changes.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Raw numbers above this one are shifted.
    start: u64,
    /// Raw numbers that are cut out from `start` on; negative: that many compact numbers are inserted after `start`.
    len: i64,
}

impl Run {
    /// Raw numbers below this one can no longer be numbered once the run is forgotten.
    fn end(&self) -> u64 {
        self.start + self.len.max(1).unsigned_abs()
    }
}

/// The numbering of one source.
#[derive(Debug)]
pub(crate) struct Numbering {
    highest: u64,
    /// One bit for each of the last [`WINDOW`] raw numbers, by number modulo the window.
    seen: [u64; (WINDOW / 64) as usize],
    runs: VecDeque<Run>,
    /// Numbers cut out in all, minus those inserted.
    cut: i64,
    /// The same for runs that are no longer remembered.
    cut_forgotten: i64,
    /// Packets before this one can no longer be numbered.
    forgotten_before: u64,
}

impl Numbering {
    /// A source whose first packet has this number. The packet itself is not yet marked.
    pub(crate) fn new(first: u16) -> Self {
        // It starts one wrap up, so that packets older than the first one have a number.
        Self {
            highest: 0xffff + u64::from(first),
            seen: [0; (WINDOW / 64) as usize],
            runs: VecDeque::new(),
            cut: 0,
            cut_forgotten: 0,
            forgotten_before: 0,
        }
    }

    /// Highest raw number so far.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Places a sequence number. `original` is false for retransmissions, which never restart a source.
    pub(crate) fn place(&mut self, sequence: u16, original: bool) -> Verdict {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead != 0 && ahead <= MAX_DROPOUT {
            return Verdict::Fresh(Place { raw: self.highest + u64::from(ahead), advances: true });
        }
        let behind = u64::from(ahead.wrapping_neg());
        if behind < WINDOW {
            let raw = self.highest.saturating_sub(behind);
            return match self.is_seen(raw) {
                true => Verdict::Drop(DropReason::Duplicate),
                false if raw < self.forgotten_before => Verdict::Drop(DropReason::TooOld),
                false => Verdict::Fresh(Place { raw, advances: false }),
            };
        }
        // RFC 3550 appendix A.1 waits for a second packet, since the first might be stray or forged. Here every packet
        // passed SRTP's authentication and its replay window, which is as deep as this one: a packet far away is the
        // publisher's newest. Waiting would lose it, and it may be the first of a key frame.
        match original {
            true => Verdict::Restart,
            false => Verdict::Drop(DropReason::TooOld),
        }
    }

    /// Marks a packet as seen.
    pub(crate) fn mark(&mut self, place: Place) {
        if place.advances {
            let step = place.raw - self.highest;
            if step >= WINDOW {
                self.seen = [0; (WINDOW / 64) as usize];
            } else {
                for number in self.highest + 1..place.raw {
                    self.seen[word(number)] &= !bit(number);
                }
            }
            self.highest = place.raw;
        }
        self.seen[word(place.raw)] |= bit(place.raw);
    }

    /// Marks a packet that is not forwarded as seen. `true`: its number is cut out. `false`: later packets were
    /// already numbered, so its gap stays, and only an empty packet closes it.
    pub(crate) fn cut(&mut self, place: Place) -> bool {
        self.mark(place);
        if !place.advances {
            return false;
        }
        self.cut += 1;
        match self.runs.back_mut() {
            Some(run) if run.len > 0 && run.end() == place.raw => run.len += 1,
            _ => self.shift(Run { start: place.raw, len: 1 }),
        }
        true
    }

    /// Inserts compact numbers before a packet that was placed and marked. `false`: later packets were already
    /// numbered.
    pub(crate) fn make_room(&mut self, place: Place, count: usize) -> bool {
        let Some(start) = place.raw.checked_sub(1).filter(|_| place.raw == self.highest) else {
            return false;
        };
        let len = -(count as i64);
        self.cut += len;
        self.shift(Run { start, len });
        true
    }

    fn shift(&mut self, run: Run) {
        if self.runs.len() == MAX_RUNS
            && let Some(run) = self.runs.pop_front()
        {
            self.cut_forgotten += run.len;
            self.forgotten_before = run.end();
        }
        self.runs.push_back(run);
    }

    /// The compact number of a packet that was placed.
    pub(crate) fn compact(&self, raw: u64) -> u64 {
        let cut = match self.runs.back() {
            Some(last) if raw <= last.start => {
                let before = self.runs.iter().take_while(|r| r.start < raw);
                self.cut_forgotten + before.map(|r| r.len).sum::<i64>()
            }
            _ => self.cut,
        };
        raw.saturating_add_signed(-cut)
    }

    fn is_seen(&self, raw: u64) -> bool {
        self.seen[word(raw)] & bit(raw) != 0
    }
}

fn word(number: u64) -> usize {
    (number % WINDOW / 64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(n: &mut Numbering, sequence: u16) -> Place {
        match n.place(sequence, true) {
            Verdict::Fresh(place) => place,
            other => panic!("{sequence}: {other:?}"),
        }
    }

    fn take(n: &mut Numbering, sequence: u16) -> u64 {
        let place = fresh(n, sequence);
        n.mark(place);
        n.compact(place.raw)
    }

    #[test]
    fn numbers_go_on_over_the_wrap() {
        let mut n = Numbering::new(65_534);
        let first = take(&mut n, 65_534);
        assert_eq!(first & 0xffff, 65_534);
        assert_eq!(take(&mut n, 1), first + 3);
        assert_eq!(take(&mut n, 65_535), first + 1);
        assert_eq!(n.place(65_535, true), Verdict::Drop(DropReason::Duplicate));
        assert_eq!(n.place(65_534, false), Verdict::Drop(DropReason::Duplicate));
    }

    #[test]
    fn padding_in_order_leaves_no_gap() {
        let mut n = Numbering::new(10);
        let first = take(&mut n, 10);
        for padding in [12, 13] {
            let place = fresh(&mut n, padding);
            assert!(n.cut(place));
        }
        assert_eq!(take(&mut n, 14), first + 2);
        // The packet that was lost before the padding still has its number.
        assert_eq!(take(&mut n, 11), first + 1);
        assert_eq!(n.place(12, true), Verdict::Drop(DropReason::Duplicate));
    }

    #[test]
    fn late_padding_keeps_its_number() {
        let mut n = Numbering::new(10);
        let first = take(&mut n, 10);
        take(&mut n, 12);
        let place = fresh(&mut n, 11);
        assert!(!n.cut(place));
        assert_eq!(n.compact(place.raw), first + 1);
    }

    #[test]
    fn numbers_are_put_in_before_the_newest_packet() {
        let mut n = Numbering::new(10);
        let place = fresh(&mut n, 10);
        n.mark(place);
        assert!(n.make_room(place, 2), "before the very first");
        let first = n.compact(place.raw);
        assert_eq!(first, 0x1_0000 + 10 + 2);
        let place = fresh(&mut n, 12);
        n.mark(place);
        assert!(n.make_room(place, 3));
        assert_eq!(n.compact(place.raw), first + 2 + 3);
        // The packet that was lost before them has its own number.
        let late = fresh(&mut n, 11);
        n.mark(late);
        assert_eq!(n.compact(late.raw), first + 1);
        assert!(!n.make_room(late, 1), "others were numbered behind it");
        let place = fresh(&mut n, 13);
        assert!(n.cut(place));
        assert_eq!(take(&mut n, 14), first + 2 + 3 + 1);
    }

    #[test]
    fn padding_runs_are_bounded_and_packets_before_forgotten_runs_are_too_old() {
        let mut n = Numbering::new(0);
        take(&mut n, 0);
        // Number 1 is lost; then every other packet is padding.
        let mut last = 0;
        for i in 1..=100u16 {
            let place = fresh(&mut n, 2 * i);
            assert!(n.cut(place));
            last = take(&mut n, 2 * i + 1);
        }
        assert_eq!(n.runs.len(), MAX_RUNS);
        assert_eq!(last, 0x1_0000 + 201 - 100);
        assert_eq!(n.place(1, false), Verdict::Drop(DropReason::TooOld));
    }

    #[test]
    fn a_packet_far_away_restarts_the_source_at_once() {
        for far in [100 + MAX_DROPOUT + 1, 40_000, 100_u16.wrapping_sub(WINDOW as u16)] {
            let mut n = Numbering::new(100);
            take(&mut n, 100);
            assert_eq!(n.place(far, false), Verdict::Drop(DropReason::TooOld), "resent");
            assert_eq!(n.place(far, true), Verdict::Restart, "{far}");
        }
        let mut n = Numbering::new(100);
        take(&mut n, 100);
        assert_eq!(take(&mut n, 100 + MAX_DROPOUT), 0x1_0000 + 100 + u64::from(MAX_DROPOUT));
    }

    #[test]
    fn a_long_jump_forgets_what_was_seen() {
        let mut n = Numbering::new(0);
        take(&mut n, 0);
        take(&mut n, 2_000);
        assert!(matches!(n.place(1_500, true), Verdict::Fresh(Place { advances: false, .. })));
        assert_eq!(n.place(2_000, true), Verdict::Drop(DropReason::Duplicate));
    }
}

//! Maps sequence numbers of the subscriber back to packets of the publisher, for NACKs. Within a segment both count
//! alike, so a few segments cover all packets; which numbers were used is one bit each.

use std::collections::VecDeque;

use super::splice::Segment;

/// Numbers up to the newest that can be requested: as many as a video cache holds.
pub(crate) const WINDOW: u64 = 1_024;
/// Segments that are remembered. If a subscriber switches more often than this in a second, packets of older segments
/// are not retransmitted.
const SEGMENTS: usize = 8;

/// The subscriber's recent sequence numbers.
#[derive(Debug)]
pub(crate) struct SeqMap {
    highest: u64,
    used: [u64; (WINDOW / 64) as usize],
    /// The oldest first; empty before the first packet, and after another track was bound.
    segments: VecDeque<Segment>,
}

impl SeqMap {
    /// A map whose first number will be `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            highest: first.saturating_sub(1),
            used: [0; (WINDOW / 64) as usize],
            segments: VecDeque::new(),
        }
    }

    /// Adds a segment that begins after all numbers so far.
    pub(crate) fn begin(&mut self, segment: Segment) {
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    /// Forgets the segments, since their packets can no longer be resent. Used numbers stay used.
    pub(crate) fn forget(&mut self) {
        self.segments.clear();
    }

    /// Whether a number is unused; `None` if it is too old to tell.
    pub(crate) fn is_free(&self, seq: u64) -> Option<bool> {
        if seq > self.highest {
            return Some(true);
        }
        (seq + WINDOW > self.highest).then(|| self.used[word(seq)] & bit(seq) == 0)
    }

    /// Marks a number as used. `true` if it is the highest.
    pub(crate) fn mark(&mut self, seq: u64) -> bool {
        let advances = seq > self.highest;
        if advances {
            if seq - self.highest >= WINDOW {
                self.used = [0; (WINDOW / 64) as usize];
            } else {
                for number in self.highest + 1..seq {
                    self.used[word(number)] &= !bit(number);
                }
            }
            self.highest = seq;
        }
        self.used[word(seq)] |= bit(seq);
        advances
    }

    /// The segment, the publisher's number and the extended subscriber's number of a sequence number that the
    /// subscriber requests.
    pub(crate) fn find(&self, sequence: u16) -> Option<(Segment, u64, u64)> {
        let behind = u64::from((self.highest as u16).wrapping_sub(sequence));
        let seq = self.highest.checked_sub(behind).filter(|_| behind < WINDOW)?;
        let segment = self.segments.iter().rev().find(|s| s.out_start <= seq)?;
        Some((*segment, segment.in_start + (seq - segment.out_start), seq))
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

    fn segment(in_start: u64, out_start: u64) -> Segment {
        Segment {
            stream: crate::StreamId::new(0, 0),
            in_start,
            begins: in_start,
            out_start,
            timestamp: 0,
            live_from: None,
            picture: 0,
            tl0: 0,
            frame: 0,
        }
    }

    #[test]
    fn numbers_lead_back_to_the_segment_they_were_made_in() {
        let mut map = SeqMap::new(65_530);
        map.begin(segment(1_000, 65_530));
        for seq in 65_530..65_540 {
            map.mark(seq);
        }
        map.begin(segment(77_000, 65_540));
        map.mark(65_540);
        map.mark(65_545);
        assert_eq!(
            map.find(65_535).map(|(s, n, f)| (s.in_start, n, f)),
            Some((1_000, 1_005, 65_535))
        );
        assert_eq!(map.find(8).map(|(s, n, f)| (s.in_start, n, f)), Some((77_000, 77_004, 65_544)));
        assert_eq!(map.find(10), None, "not sent yet");
        assert_eq!(map.find(65_529), None, "before the first");
        map.forget();
        assert_eq!(map.find(8), None);
    }

    #[test]
    fn a_number_is_used_once() {
        let mut map = SeqMap::new(100);
        assert!(map.mark(100));
        assert!(map.mark(105));
        assert_eq!(map.is_free(103), Some(true));
        assert!(!map.mark(103));
        assert_eq!(map.is_free(103), Some(false));
        assert_eq!(map.is_free(100), Some(false));
        map.mark(100 + WINDOW);
        assert_eq!(map.is_free(100), None, "too old to know");
        assert_eq!(map.is_free(101), Some(true));
        map.mark(10 * WINDOW);
        assert_eq!(map.is_free(10 * WINDOW - 1), Some(true));
    }

    #[test]
    fn segments_are_bounded() {
        let mut map = SeqMap::new(1);
        for i in 1..100 {
            map.begin(segment(i * 1_000, i));
            map.mark(i);
        }
        assert_eq!(map.segments.len(), SEGMENTS);
        assert_eq!(map.find(5), None);
    }
}

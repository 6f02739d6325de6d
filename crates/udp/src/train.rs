//! Trains: adjacent datagrams of one path that can be sent as one message.

use model::Path;

/// UDP_MAX_SEGMENTS of Linux before 6.9; later kernels take 128.
const MAX_SEGMENTS: usize = 64;
/// The most bytes in a train: an IP packet with its headers has at most 65,535, and some devices take a bit less.
const MAX_TRAIN: usize = 65_000;

/// Adjacent datagrams of one path: all of one size, but the last may be shorter. With GSO they are one message.
#[derive(Debug)]
pub(crate) struct Train {
    pub(crate) path: Path,
    /// Its offset in the arena.
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// The size of all segments except the last.
    pub(crate) segment: usize,
    pub(crate) segments: usize,
    /// The last segment is shorter than the others, so nothing can follow.
    closed: bool,
    /// The kernel refused it as one message: it is sent segment by segment.
    pub(crate) split: bool,
}

impl Train {
    pub(crate) fn new(path: Path, start: usize, len: usize) -> Train {
        Train { path, start, len, segment: len, segments: 1, closed: false, split: false }
    }

    /// Appends a datagram of `len` bytes that lies right behind; `false` if it cannot join.
    #[inline]
    pub(crate) fn join(&mut self, len: usize) -> bool {
        let fits = !self.closed
            && len <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.len + len <= MAX_TRAIN;
        if fits {
            self.len += len;
            self.segments += 1;
            self.closed = len < self.segment;
        }
        fits
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.path.remote.is_ipv4()
    }

    /// Removes the first `segments`, which are fewer than it has.
    fn advance(&mut self, segments: usize) {
        let bytes = segments * self.segment;
        self.start += bytes;
        self.len -= bytes;
        self.segments -= segments;
    }
}

/// A place in the trains of one family: everything before it is sent or dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) train: usize,
    pub(crate) segment: usize,
}

/// Removes what was sent or dropped: everything before `v4` in IPv4 trains and before `v6` in the others; `None` is
/// the end.
pub(crate) fn keep_from(trains: &mut Vec<Train>, v4: Option<Cursor>, v6: Option<Cursor>) {
    let mut index = 0;
    trains.retain_mut(|train| {
        let at = index;
        index += 1;
        match if train.is_ipv4() { v4 } else { v6 } {
            Some(from) if at == from.train => {
                train.advance(from.segment);
                true
            }
            from => from.is_some_and(|from| at > from.train),
        }
    });
}

/// The used length of the arena with the trains that are left in it: up to the end of the last one.
///
/// Moves the trains to the front, one behind the other, if they leave at least as many bytes unused as they have. Each
/// copied byte is thus matched by one that was sent (or dropped) since the last move: copying costs at most one byte
/// for each byte sent. If the trains are not moved, more than half of the used length is waiting.
pub(crate) fn reclaim(trains: &mut [Train], arena: &mut [u8]) -> usize {
    let waiting: usize = trains.iter().map(|train| train.len).sum();
    let end = trains.last().map_or(0, |train| train.start + train.len);
    if end - waiting < waiting {
        return end;
    }
    let mut to = 0;
    for train in trains {
        arena.copy_within(train.start..train.start + train.len, to);
        train.start = to;
        to += train.len;
    }
    to
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4() -> Path {
        Path { remote: (Ipv4Addr::LOCALHOST, 9).into(), local: Ipv4Addr::UNSPECIFIED.into() }
    }

    fn v6() -> Path {
        Path { remote: (Ipv6Addr::LOCALHOST, 9).into(), local: Ipv6Addr::UNSPECIFIED.into() }
    }

    #[test]
    fn trains_take_what_one_message_can_carry() {
        let mut train = Train::new(v4(), 0, 1000);
        assert!(!train.join(1001), "longer than the first");
        for _ in 1..MAX_SEGMENTS {
            assert!(train.join(1000));
        }
        assert!(!train.join(1000), "too many");
        let mut train = Train::new(v4(), 0, 40_000);
        assert!(!train.join(40_000), "too long");
        assert!(train.join(10));
        assert!(!train.join(10), "behind a shorter one nothing follows");
        assert_eq!((train.len, train.segments), (40_010, 2));
    }

    /// Trains of three datagrams of 10, 10 and 4 bytes, of the families in turn.
    fn six() -> (Vec<Train>, Vec<u8>) {
        let mut trains = Vec::new();
        for index in 0..6 {
            let path = if index % 2 == 0 { v4() } else { v6() };
            let mut train = Train::new(path, index * 24, 10);
            assert!(train.join(10) && train.join(4));
            trains.push(train);
        }
        (trains, (0..6 * 24).collect())
    }

    #[test]
    fn what_is_kept_begins_in_the_middle_of_a_train_of_each_family() {
        let (mut trains, _) = six();
        let v4 = Cursor { train: 2, segment: 1 };
        let v6 = Cursor { train: 3, segment: 2 };
        keep_from(&mut trains, Some(v4), Some(v6));
        let left: Vec<_> = trains.iter().map(|t| (t.start, t.len, t.segments)).collect();
        assert_eq!(left, [(58, 14, 2), (92, 4, 1), (96, 24, 3), (120, 24, 3)]);

        keep_from(&mut trains, None, Some(Cursor { train: 3, segment: 0 }));
        let left: Vec<_> = trains.iter().map(|t| (t.start, t.len, t.segments)).collect();
        assert_eq!(left, [(120, 24, 3)]);
    }

    #[test]
    fn trains_move_when_at_least_as_much_room_is_won_as_is_copied() {
        let (mut trains, mut arena) = six();
        // 72 of 144 bytes are left.
        trains.drain(..3);
        let end = reclaim(&mut trains, &mut arena);
        assert_eq!(end, 72);
        for (train, before) in trains.iter().zip([72u8, 96, 120]) {
            assert_eq!(arena[train.start], before);
            assert_eq!(arena[train.start + 23], before + 23);
        }
        // 48 of 72.
        trains.remove(1);
        assert_eq!(reclaim(&mut trains, &mut arena), 72);
        trains.remove(1);
        assert_eq!(reclaim(&mut trains, &mut arena), 24, "nothing behind the last one is used");
        trains.clear();
        assert_eq!(reclaim(&mut trains, &mut arena), 0);
    }
}

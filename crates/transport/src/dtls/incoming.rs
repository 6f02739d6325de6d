//! Handshake messages of the peer, assembled from fragments and put in order (RFC 6347 sections 4.2.2 and 4.2.3).
//!
//! The memory per peer is bounded by [`MAX_BYTES`], whatever it sends: a fragment beyond the bound is refused, and the
//! peer sends it again.

use std::collections::VecDeque;

use super::wire::{Reader, put_u16, put_u24};
use super::{MAX_DATAGRAM, MAX_QUEUED_DATAGRAMS};

/// Type, length, message number, offset and length of the fragment.
pub(super) const HEADER_LEN: usize = 12;
/// Most bytes of incomplete messages, by the lengths that they claim.
const MAX_BYTES: usize = MAX_DATAGRAM * MAX_QUEUED_DATAGRAMS;
/// Most messages that may arrive before the awaited one. The longest flight, a server's, has six.
const MAX_AHEAD: usize = 8;
/// Most separate pieces of one message. Fragments that arrive in order are one piece.
const MAX_PIECES: usize = 32;

/// A message with a header as if it had arrived unfragmented, which is how it is hashed (RFC 6347 section 4.2.6).
#[derive(Debug)]
pub(super) struct Message {
    pub(super) raw: Vec<u8>,
}

impl Message {
    pub(super) fn kind(&self) -> u8 {
        self.raw[0]
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.raw[HEADER_LEN..]
    }
}

/// The header of a message that is not fragmented.
pub(super) fn put_header(out: &mut Vec<u8>, kind: u8, len: usize, number: u16) {
    out.push(kind);
    put_u24(out, len);
    put_u16(out, number);
    put_u24(out, 0);
    put_u24(out, len);
}

/// A piece of a message.
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    len: usize,
    number: u16,
    offset: usize,
    body: &'a [u8],
}

/// The fragments in a record's content. If the last one is cut off, the iterator ends with `None` for it.
pub(super) fn fragments(content: &[u8]) -> impl Iterator<Item = Option<Fragment<'_>>> {
    let mut reader = Reader::new(content);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || reader.is_empty() {
            return None;
        }
        let fragment = read_fragment(&mut reader);
        broken = fragment.is_none();
        Some(fragment)
    })
}

fn read_fragment<'a>(reader: &mut Reader<'a>) -> Option<Fragment<'a>> {
    let (kind, len, number, offset) = (reader.u8()?, reader.u24()?, reader.u16()?, reader.u24()?);
    let body = reader.vector24()?;
    Some(Fragment { kind, len, number, offset, body })
}

/// What was done with a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    Kept,
    /// It belongs to a message that was already complete: the peer repeats a flight.
    Old,
    /// Too long, too far ahead, or in contradiction to earlier fragments.
    Refused,
}

/// The peer's messages that are not complete yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Number of the next message.
    next: u16,
    /// That message and later ones, as far as fragments of them arrived.
    partial: VecDeque<Option<Partial>>,
}

#[derive(Debug)]
struct Partial {
    message: Message,
    /// The parts of the body that arrived: ranges in order, with gaps between.
    pieces: Vec<(usize, usize)>,
}

impl Incoming {
    /// How many messages were complete so far.
    pub(super) fn taken(&self) -> u16 {
        self.next
    }

    pub(super) fn insert(&mut self, fragment: &Fragment<'_>) -> Inserted {
        let Some(ahead) = fragment.number.checked_sub(self.next).map(usize::from) else {
            return Inserted::Old;
        };
        let end = fragment.offset + fragment.body.len();
        if ahead >= MAX_AHEAD || fragment.len > MAX_BYTES || end > fragment.len {
            return Inserted::Refused;
        }
        if self.partial.get(ahead).is_none_or(Option::is_none) {
            if self.held() + fragment.len > MAX_BYTES {
                if ahead > 0 {
                    return Inserted::Refused;
                }
                // The awaited message has priority; the peer repeats the others.
                self.partial.clear();
            }
            if self.partial.len() <= ahead {
                self.partial.resize_with(ahead + 1, || None);
            }
        }
        let partial = self.partial[ahead].get_or_insert_with(|| Partial::new(fragment));
        partial.insert(fragment, end)
    }

    fn held(&self) -> usize {
        self.partial.iter().flatten().map(|partial| partial.message.raw.len()).sum()
    }

    /// The next message, if it is complete.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.partial.front()?.as_ref()?.is_complete().then_some(())?;
        let partial = self.partial.pop_front()??;
        // The handshake ends long before message numbers wrap.
        self.next = self.next.checked_add(1)?;
        Some(partial.message)
    }

    /// Drops incomplete messages.
    pub(super) fn clear(&mut self) {
        self.partial = VecDeque::new();
    }
}

impl Partial {
    fn new(fragment: &Fragment<'_>) -> Self {
        let mut raw = Vec::with_capacity(HEADER_LEN + fragment.len);
        put_header(&mut raw, fragment.kind, fragment.len, fragment.number);
        raw.resize(HEADER_LEN + fragment.len, 0);
        Self { message: Message { raw }, pieces: Vec::new() }
    }

    fn len(&self) -> usize {
        self.message.body().len()
    }

    fn is_complete(&self) -> bool {
        self.len() == 0 || self.pieces == [(0, self.len())]
    }

    fn insert(&mut self, fragment: &Fragment<'_>, end: usize) -> Inserted {
        if self.message.kind() != fragment.kind || self.len() != fragment.len {
            return Inserted::Refused;
        }
        if fragment.body.is_empty() || self.is_complete() {
            return Inserted::Kept;
        }
        let start = fragment.offset;
        // The pieces that the new one touches are merged with it.
        let first = self.pieces.partition_point(|piece| piece.1 < start);
        let last = self.pieces.partition_point(|piece| piece.0 <= end);
        if first == last && self.pieces.len() == MAX_PIECES {
            return Inserted::Refused;
        }
        let mut merged = (start, end);
        for piece in &self.pieces[first..last] {
            merged = (merged.0.min(piece.0), merged.1.max(piece.1));
        }
        self.pieces.splice(first..last, [merged]);
        self.message.raw[HEADER_LEN + start..HEADER_LEN + end].copy_from_slice(fragment.body);
        Inserted::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(number: u16, len: usize, offset: usize, body: &[u8]) -> Fragment<'_> {
        Fragment { kind: 1, len, number, offset, body }
    }

    #[test]
    fn fragments_in_any_order_make_the_message() {
        let body: Vec<u8> = (0..100).collect();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut incoming = Incoming::default();
            for part in order {
                assert!(incoming.pop().is_none());
                // Each overlaps its neighbours.
                let (start, end) = ((part * 25usize).saturating_sub(3), part * 25 + 25);
                let inserted = incoming.insert(&fragment(0, 100, start, &body[start..end]));
                assert_eq!(inserted, Inserted::Kept);
            }
            let message = incoming.pop().unwrap();
            assert_eq!((message.kind(), message.body()), (1, &body[..]));
            assert_eq!(message.raw[..12], [1, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 100]);
            assert_eq!(incoming.insert(&fragment(0, 100, 0, &body)), Inserted::Old);
        }
    }

    #[test]
    fn messages_come_out_in_order() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.insert(&fragment(1, 1, 0, b"b")), Inserted::Kept);
        assert!(incoming.pop().is_none());
        assert_eq!(incoming.insert(&fragment(0, 1, 0, b"a")), Inserted::Kept);
        assert_eq!(incoming.pop().unwrap().body(), b"a");
        assert_eq!(incoming.pop().unwrap().body(), b"b");
        assert_eq!(incoming.taken(), 2);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.insert(&fragment(0, MAX_BYTES + 1, 0, b"a")), Inserted::Refused);
        assert_eq!(incoming.insert(&fragment(8, 1, 0, b"a")), Inserted::Refused);
        assert_eq!(incoming.insert(&fragment(0, 2, 1, b"ab")), Inserted::Refused);
        for number in 1..8 {
            incoming.insert(&fragment(number, MAX_BYTES / 2, 0, b"a"));
            assert!(incoming.held() <= MAX_BYTES + MAX_AHEAD * HEADER_LEN);
        }
        // The awaited message always finds room.
        assert_eq!(incoming.insert(&fragment(0, MAX_BYTES, 0, &[1])), Inserted::Kept);
        // Every other byte: pieces up to the bound, and none beyond it.
        let refused = (1..1000).filter(|turn| {
            incoming.insert(&fragment(0, MAX_BYTES, turn * 2, &[1])) == Inserted::Refused
        });
        assert_eq!(refused.count(), 999 - (MAX_PIECES - 1));
    }

    #[test]
    fn a_fragment_at_odds_with_the_message_is_refused() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.insert(&fragment(0, 4, 0, b"ab")), Inserted::Kept);
        assert_eq!(incoming.insert(&fragment(0, 5, 2, b"cde")), Inserted::Refused);
        let other = Fragment { kind: 2, ..fragment(0, 4, 2, b"cd") };
        assert_eq!(incoming.insert(&other), Inserted::Refused);
        assert_eq!(incoming.insert(&fragment(0, 4, 2, b"cd")), Inserted::Kept);
        assert_eq!(incoming.pop().unwrap().body(), b"abcd");
    }

    #[test]
    fn a_cut_off_fragment_is_reported() {
        let mut raw = Vec::new();
        put_header(&mut raw, 1, 3, 0);
        raw.extend_from_slice(b"abc");
        let two = [&raw[..], &raw[..14]].concat();
        let read: Vec<bool> = fragments(&two).map(|fragment| fragment.is_some()).collect();
        assert_eq!(read, [true, false]);
    }
}

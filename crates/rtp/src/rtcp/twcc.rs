//! The wire format of transport-wide congestion feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section
//! 3.1), read and written. The congestion crate keeps the arrival times.

use model::Ssrc;

use super::write::NoRoom;
use super::{FMT_TRANSPORT_CC, Feedback, PT_RTPFB, RtcpError, take_u32};

/// Length of everything before the chunks: RTCP header, two SSRCs, and the eight bytes of [`TwccHeader`].
pub(crate) const PREFIX: usize = 20;

/// The fields before the statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwccHeader {
    /// The sender of the feedback.
    pub sender: Ssrc,
    /// Any stream of the transport: the numbers are those of the transport.
    pub media: Ssrc,
    /// Transport-wide number of the first status.
    pub base: u16,
    /// The time that the first delta counts from, 24 bits in units of 64 ms since an epoch of the receiver's choice;
    /// it wraps.
    pub reference_time: u32,
    /// Counts the receiver's feedback packets; it wraps.
    pub feedback_count: u8,
}

/// The status of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwccStatus {
    /// Transport-wide number.
    pub sequence: u16,
    /// Arrival in units of 250 µs since the reference time; `None` if the packet has not arrived.
    pub arrival: Option<i32>,
}

/// Symbols of packet status (section 3.1.1).
const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Feedback as a view.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'a> {
    /// The fields before the statuses.
    pub header: TwccHeader,
    count: u16,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(crate) fn parse(feedback: Feedback<'a>) -> Result<Self, RtcpError> {
        let (first, rest) = take_u32(feedback.fci)?;
        let (second, rest) = take_u32(rest)?;
        let header = TwccHeader {
            sender: feedback.sender,
            media: feedback.media,
            base: (first >> 16) as u16,
            reference_time: second >> 8,
            feedback_count: second as u8,
        };
        // The loops are bounded by the packet: a chunk is two bytes, and a run is counted instead of iterated.
        let count = first as u16;
        let (words, _) = rest.as_chunks::<2>();
        let mut left = count;
        let mut used = 0;
        let mut delta_bytes = 0;
        while left > 0 {
            let chunk = words.get(used).copied().map(Chunk::from_bytes).ok_or(RtcpError::Count)?;
            let taken = chunk.len().min(left);
            delta_bytes += chunk.delta_bytes(taken);
            left -= taken;
            used += 1;
        }
        let (chunks, _) = words.split_at(used);
        let deltas = rest.get(2 * used..2 * used + delta_bytes).ok_or(RtcpError::Count)?;
        Ok(Self { header, count, chunks, deltas })
    }

    /// Number of statuses.
    #[inline]
    pub fn status_count(&self) -> u16 {
        self.count
    }

    /// The statuses of the packets, in the order of their numbers; at most 65,535.
    pub fn statuses(&self) -> impl Iterator<Item = TwccStatus> + 'a {
        let mut deltas = self.deltas;
        let mut arrival = 0i32;
        let base = self.header.base;
        let chunks = self.chunks.iter().copied().map(Chunk::from_bytes);
        let symbols = chunks.flat_map(|chunk| (0..chunk.len()).map(move |i| chunk.symbol(i)));
        symbols.zip(0..self.count).map(move |(symbol, index)| {
            let delta = match symbol {
                SMALL_DELTA => deltas.split_first().map(|(&d, rest)| (i32::from(d), rest)),
                LARGE_DELTA => deltas
                    .split_first_chunk::<2>()
                    .map(|(&d, rest)| (i32::from(i16::from_be_bytes(d)), rest)),
                _ => None,
            };
            let arrival = delta.map(|(delta, rest)| {
                deltas = rest;
                arrival = arrival.saturating_add(delta);
                arrival
            });
            TwccStatus { sequence: base.wrapping_add(index), arrival }
        })
    }
}

/// A packet status chunk (sections 3.1.3 and 3.1.4).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run { symbol: u8, len: u16 },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    #[inline]
    fn from_bytes(bytes: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Chunk::Run { symbol: (word >> 13 & 3) as u8, len: word & 0x1fff },
            2 => Chunk::OneBit(word & 0x3fff),
            _ => Chunk::TwoBit(word & 0x3fff),
        }
    }

    #[inline]
    fn len(self) -> u16 {
        match self {
            Chunk::Run { len, .. } => len,
            Chunk::OneBit(_) => 14,
            Chunk::TwoBit(_) => 7,
        }
    }

    /// The symbol at `index`, which is below `len`.
    #[inline]
    fn symbol(self, index: u16) -> u8 {
        match self {
            Chunk::Run { symbol, .. } => symbol,
            Chunk::OneBit(bits) => (bits >> 13u16.saturating_sub(index) & 1) as u8,
            Chunk::TwoBit(bits) => (bits >> 12u16.saturating_sub(2 * index) & 3) as u8,
        }
    }

    /// Bytes of deltas that its first `taken` statuses have.
    #[inline]
    fn delta_bytes(self, taken: u16) -> usize {
        match self {
            Chunk::Run { symbol, .. } => usize::from(taken) * delta_len(symbol),
            _ => (0..taken).map(|i| delta_len(self.symbol(i))).sum(),
        }
    }
}

/// Length of the delta of a symbol. 3 is reserved and has none.
#[inline]
fn delta_len(symbol: u8) -> usize {
    match symbol {
        SMALL_DELTA => 1,
        LARGE_DELTA => 2,
        _ => 0,
    }
}

/// The symbol for a delta in units of 250 µs.
#[inline]
fn symbol_of(delta: Option<i16>) -> u8 {
    match delta {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    }
}

/// Symbols that wait to become a chunk. The longest possible chunk is used: a run while all are alike, else 14 of one
/// bit, else 7 of two bits.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    symbols: [u8; 14],
    len: u16,
    mixed: bool,
    large: bool,
}

impl Pending {
    /// Longest run that a chunk can hold.
    const MAX_RUN: u16 = 0x1fff;

    /// Adds a symbol. Returns the chunk that has to be written before it, if there was no room for it.
    fn push(&mut self, symbol: u8) -> Option<[u8; 2]> {
        let chunk = if self.takes(symbol) { None } else { Some(self.emit(false)) };
        self.append(symbol);
        chunk
    }

    fn append(&mut self, symbol: u8) {
        self.mixed |= self.len > 0 && symbol != self.symbols[0];
        self.large |= symbol == LARGE_DELTA;
        // Of a run longer than 14 only the first symbols are stored; all are alike.
        if let Some(place) = self.symbols.get_mut(usize::from(self.len)) {
            *place = symbol;
        }
        self.len += 1;
    }

    fn takes(&self, symbol: u8) -> bool {
        let alike = !self.mixed && (self.len == 0 || symbol == self.symbols[0]);
        self.len < 7
            || (self.len < 14 && !self.large && symbol != LARGE_DELTA)
            || (alike && self.len < Self::MAX_RUN)
    }

    /// Makes a chunk of as many symbols as fit in one, and keeps the others. `all` is set if no symbol follows: then
    /// one chunk takes all.
    fn emit(&mut self, all: bool) -> [u8; 2] {
        let (word, taken) = if !self.mixed {
            (u16::from(self.symbols[0]) << 13 | self.len, self.len)
        } else if !self.large && (all || self.len == 14) {
            let bits = self.symbols.iter().fold(0, |word, &s| word << 1 | u16::from(s));
            (0x8000 | bits, self.len)
        } else {
            let bits = self.symbols.iter().take(7).fold(0, |word, &s| word << 2 | u16::from(s));
            (0xc000 | bits, self.len.min(7))
        };
        let kept = self.symbols.get(usize::from(taken)..usize::from(self.len)).unwrap_or_default();
        let mut rest = Pending::default();
        for &symbol in kept {
            rest.append(symbol);
        }
        *self = rest;
        word.to_be_bytes()
    }
}

/// The part of the statuses that fits in a packet.
#[derive(Debug, Clone, Copy)]
struct Plan {
    count: u16,
    chunks: usize,
    delta_bytes: usize,
}

impl Plan {
    /// Plans for `room` bytes; `None` if not even one status fits or there is none.
    fn new(room: usize, statuses: impl Iterator<Item = Option<i16>>) -> Option<Self> {
        let mut plan = Plan { count: 0, chunks: 1, delta_bytes: 0 };
        let mut pending = Pending::default();
        for delta in statuses.take(usize::from(u16::MAX)) {
            let symbol = symbol_of(delta);
            let next = Plan {
                count: plan.count + 1,
                chunks: plan.chunks + usize::from(pending.push(symbol).is_some()),
                delta_bytes: plan.delta_bytes + delta_len(symbol),
            };
            if next.len().next_multiple_of(4) > room {
                break;
            }
            plan = next;
        }
        (plan.count > 0).then_some(plan)
    }

    /// Length of the packet in bytes, before padding.
    fn len(&self) -> usize {
        PREFIX + 2 * self.chunks + self.delta_bytes
    }
}

/// Writes feedback to the start of `out`: the statuses of as many packets as fit, in the order of their numbers, each
/// with the time since the previous arrived one in units of 250 µs. Returns the length of the packet in bytes and the
/// number of its statuses.
pub(crate) fn write(
    out: &mut [u8],
    header: &TwccHeader,
    statuses: impl Iterator<Item = Option<i16>> + Clone,
) -> Result<(usize, usize), NoRoom> {
    let plan = Plan::new(out.len(), statuses.clone()).ok_or(NoRoom)?;
    let unpadded = plan.len();
    let len = unpadded.next_multiple_of(4);
    let padding = len - unpadded;
    let words = u16::try_from(len / 4 - 1).map_err(|_| NoRoom)?;

    let out = out.get_mut(..len).ok_or(NoRoom)?;
    let (prefix, rest) = out.split_first_chunk_mut::<PREFIX>().ok_or(NoRoom)?;
    let fields = [
        u32::from(0x80 | u8::from(padding != 0) << 5 | FMT_TRANSPORT_CC) << 24
            | u32::from(PT_RTPFB) << 16
            | u32::from(words),
        header.sender.0,
        header.media.0,
        u32::from(header.base) << 16 | u32::from(plan.count),
        header.reference_time << 8 | u32::from(header.feedback_count),
    ];
    for (place, field) in prefix.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
        *place = field.to_be_bytes();
    }

    let (chunks, rest) = rest.split_at_mut_checked(2 * plan.chunks).ok_or(NoRoom)?;
    let (mut deltas, pad) = rest.split_at_mut_checked(plan.delta_bytes).ok_or(NoRoom)?;
    let mut chunks = chunks.as_chunks_mut::<2>().0.iter_mut();
    let mut pending = Pending::default();
    for delta in statuses.take(usize::from(plan.count)) {
        if let Some(chunk) = pending.push(symbol_of(delta))
            && let Some(place) = chunks.next()
        {
            *place = chunk;
        }
        if let Some(delta) = delta {
            let [high, low] = delta.to_be_bytes();
            let bytes: &[u8] = if high == 0 { &[low] } else { &[high, low] };
            let (place, rest) = deltas.split_at_mut_checked(bytes.len()).ok_or(NoRoom)?;
            place.copy_from_slice(bytes);
            deltas = rest;
        }
    }
    if let Some(place) = chunks.next() {
        *place = pending.emit(true);
    }
    // RFC 3550 section 6.4.1: the last octet of the padding counts it.
    pad.fill(0);
    if let Some(last) = pad.last_mut() {
        *last = padding as u8;
    }
    Ok((len, usize::from(plan.count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{CompoundIter, RtcpPacket, RtcpWriter};
    use proptest::prelude::*;

    const HEADER: TwccHeader = TwccHeader {
        sender: Ssrc(1),
        media: Ssrc(2),
        base: 65_530,
        reference_time: 0xab_cdef,
        feedback_count: 255,
    };

    fn chunks(symbols: &[Option<i16>]) -> Vec<u16> {
        let mut buf = [0; 2000];
        let mut w = RtcpWriter::new(&mut buf);
        assert_eq!(w.transport_cc(&HEADER, symbols.iter().copied()), Ok(symbols.len()));
        match CompoundIter::new(w.as_bytes()).next() {
            Some(Ok(RtcpPacket::TransportCc(twcc))) => {
                twcc.chunks.iter().map(|&c| u16::from_be_bytes(c)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_shortest_chunk_is_chosen() {
        assert_eq!(chunks(&[Some(1); 100]), [0x2000 | 100], "a run");
        assert_eq!(chunks(&[Some(-1); 9]), [0x4000 | 9], "a run of large deltas");
        let mut mixed = [Some(1); 14];
        mixed[13] = None;
        assert_eq!(chunks(&mixed), [0xbffe], "14 of one bit");
        assert_eq!(chunks(&mixed[12..]), [0x8000 | 0b10 << 12], "2 of one bit");
        assert_eq!(chunks(&[Some(1), Some(300), None]), [0xc000 | 0b01_10_00 << 8], "two bits");
        let mut late = [Some(1); 12];
        late[1] = None;
        late[11] = Some(256);
        // A large delta after eleven symbols of one bit: a chunk of seven symbols of two bits, and the others with the
        // large one.
        let expected = [0xc000 | 0b01_00_01_01_01_01_01, 0xc000 | 0b01_01_01_01_10_00_00];
        assert_eq!(chunks(&late), expected);
    }

    #[test]
    fn runs_end_at_the_longest_that_a_chunk_holds() {
        let mut symbols = vec![None; 9000];
        symbols.push(Some(0));
        assert_eq!(chunks(&symbols), [0x1fff, 9000 - 0x1fff, 0x2001]);
    }

    #[test]
    fn a_delta_is_small_up_to_255_ticks() {
        assert_eq!(chunks(&[Some(0), Some(255)]), [0x2002]);
        assert_eq!(chunks(&[Some(256), Some(-1)]), [0x4002]);
    }

    #[test]
    fn what_has_no_room_is_left_for_the_next_packet() {
        let symbols = [Some(1); 100];
        for room in 0..200 {
            let mut buf = vec![0; room];
            let mut w = RtcpWriter::new(&mut buf);
            match w.transport_cc(&HEADER, symbols.iter().copied()) {
                Ok(count) => {
                    assert_eq!(count, 100.min(room / 4 * 4 - 22));
                    assert_eq!(crate::rtcp::validate(w.as_bytes()), Ok(1));
                }
                Err(NoRoom) => assert!(room < 24),
            }
        }
    }

    fn delta() -> impl Strategy<Value = Option<i16>> {
        prop_oneof![
            4 => Just(None),
            8 => (0i16..256).prop_map(Some),
            1 => any::<i16>().prop_map(Some),
        ]
    }

    fn deltas() -> impl Strategy<Value = Vec<Option<i16>>> {
        // Runs of equal statuses besides single ones.
        let run = (delta(), prop_oneof![3 => Just(1usize), 1 => 1usize..60]);
        prop::collection::vec(run, 1..120).prop_map(|runs| {
            runs.into_iter().flat_map(|(d, n)| std::iter::repeat_n(d, n)).collect()
        })
    }

    proptest! {
        #[test]
        fn feedback_reads_back(deltas in deltas(), room in 24usize..1500) {
            let mut buf = vec![0xee; room];
            let mut w = RtcpWriter::new(&mut buf);
            let count = w.transport_cc(&HEADER, deltas.iter().copied()).unwrap();
            let len = w.len();
            let Some(Ok(RtcpPacket::TransportCc(twcc))) = CompoundIter::new(w.as_bytes()).next() else {
                panic!()
            };
            prop_assert_eq!(twcc.header, HEADER);
            prop_assert_eq!(usize::from(twcc.status_count()), count);
            let mut arrival = 0;
            let expected: Vec<TwccStatus> = deltas[..count].iter().enumerate().map(|(i, delta)| {
                TwccStatus {
                    sequence: HEADER.base.wrapping_add(i as u16),
                    arrival: delta.map(|d| { arrival += i32::from(d); arrival }),
                }
            }).collect();
            prop_assert_eq!(twcc.statuses().collect::<Vec<_>>(), expected);
            prop_assert!(buf[len..].iter().all(|&b| b == 0xee));
        }
    }
}

//! Which packets of the peer the protocol library gets to see (threats row 37).
//!
//! A packet that is dropped here is lost for the peer as if the network had lost it: a correct peer sends its data again, and only
//! one that exceeds these bounds is slowed down. The bounds are on what the library does not bound:
//!
//! - how many DATA chunks are held, since each costs memory and time however short it is;
//! - how far numbers may be ahead of what was received without a gap;
//! - how many chunks of other kinds come, each of which causes an answer;
//! - stream numbers, since the library keeps state for each;
//! - INIT after the association stands, and ERROR, at which the library would end the association (RFC 9260 section 5.2.2 and
//!   section 3.3.10 ask for neither).

use std::time::{Duration, Instant};

use super::{RECEIVE_WINDOW, STREAMS_MAX};

/// Most DATA chunks that are held: fragments of incomplete messages, chunks behind a gap, messages that were not taken. A full
/// receive window of messages of one packet each is 230. Up to twice as many are held where each fills the oldest gap, since
/// nothing could be taken otherwise.
const HELD_MAX: u32 = 2_048;
/// Most numbers that a DATA chunk may be ahead of what was received without a gap. A SACK has to name every second of them, and to
/// fit in a packet.
const AHEAD_MAX: u32 = 512;
/// Most numbers that the peer may give up at once (FORWARD TSN, RFC 3758 section 3.6).
const FORWARD_MAX: u32 = 16_384;
/// Most chunks other than DATA, SACK and FORWARD TSN at once, and the time after which one more may come.
const CONTROL_BURST: u32 = 64;
const CONTROL_EVERY: Duration = Duration::from_millis(50);

const COMMON_HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const SACK: u8 = 3;
    pub(super) const ERROR: u8 = 9;
    pub(super) const RE_CONFIG: u8 = 130;
    pub(super) const FORWARD_TSN: u8 = 192;
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The library takes it.
    Pass,
    /// It is dropped.
    Drop,
    /// No correct peer sends it: the association ends.
    Abort,
}

/// The counts of one association.
#[derive(Debug)]
pub(super) struct Guard {
    /// The verification tag of the peer's packets, which the node chose in its INIT ACK.
    tag: u32,
    /// All numbers up to this one were received (or given up by the peer).
    received: u32,
    /// DATA chunks that the library holds, at most. Repeated chunks are counted again until the library says that it holds nothing.
    held: u32,
    /// Streams that the peer takes (RFC 9260 section 3.3.2, Number of Inbound Streams), at most [`STREAMS_MAX`].
    streams: u16,
    /// Control chunks that may still come.
    control: u32,
    control_at: Instant,
}

impl Guard {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tag: 0,
            received: 0,
            held: 0,
            streams: STREAMS_MAX,
            control: CONTROL_BURST,
            control_at: now,
        }
    }

    /// Decides on a packet of the peer. `established`: INIT and COOKIE were exchanged. `caught_up`: the caller took all messages.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        packet: &[u8],
        established: bool,
        caught_up: bool,
    ) -> Verdict {
        if established && word(packet, 4) != Some(self.tag) {
            // RFC 9260 section 8.5: the verification tag.
            return Verdict::Drop;
        }
        self.fill(now);
        let known = Known { established, caught_up };
        let mut draft =
            Draft { received: self.received, held: self.held, control: self.control, first: true };
        for chunk in chunks(packet) {
            let Some((kind, value)) = chunk else { return Verdict::Drop };
            match draft.take(known, kind, value) {
                Some(Verdict::Pass) => {}
                Some(refused) => {
                    // Chunks of a refused packet count too.
                    self.control = draft.control;
                    return refused;
                }
                None => return Verdict::Drop,
            }
            if kind == kind::INIT {
                self.streams = half(value, 10).unwrap_or(0).min(STREAMS_MAX);
            }
        }
        (self.held, self.received, self.control) = (draft.held, draft.received, draft.control);
        Verdict::Pass
    }

    /// Takes note of a packet to the peer: a SACK in it says what the library received and holds.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        for (kind, value) in chunks(packet).flatten() {
            if kind == kind::SACK
                && let (Some(received), Some(window)) = (word(value, 0), word(value, 4))
            {
                self.received = received;
                if window >= RECEIVE_WINDOW {
                    self.held = 0;
                }
            } else if kind == kind::INIT_ACK
                && let Some(tag) = word(value, 0)
            {
                self.tag = tag;
            }
        }
    }

    /// Stream numbers that both sides take, exclusive.
    pub(super) fn streams(&self) -> u16 {
        self.streams
    }

    /// A message of this many chunks was taken.
    pub(super) fn took(&mut self, chunks: usize) {
        self.held = self.held.saturating_sub(u32::try_from(chunks).unwrap_or(u32::MAX));
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.control_at);
        let more = passed.as_millis() / CONTROL_EVERY.as_millis();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.control = self.control.saturating_add(more).min(CONTROL_BURST);
            self.control_at = now;
        }
    }
}

/// What is known before a packet.
#[derive(Clone, Copy)]
struct Known {
    established: bool,
    caught_up: bool,
}

/// The counts as they are if the library takes the packet.
struct Draft {
    received: u32,
    held: u32,
    control: u32,
    /// No DATA chunk of the packet was looked at yet.
    first: bool,
}

impl Draft {
    /// Decides on a chunk; `None` if it is malformed.
    fn take(&mut self, known: Known, kind: u8, value: &[u8]) -> Option<Verdict> {
        match kind {
            kind::DATA => return self.take_data(value),
            kind::FORWARD_TSN => return self.take_forward(value),
            kind::SACK if !gaps_rise(value) => return None,
            kind::SACK => return Some(Verdict::Pass),
            kind::ERROR => return Some(Verdict::Drop),
            kind::INIT if known.established => return Some(Verdict::Drop),
            _ if self.control == 0 => return Some(Verdict::Drop),
            _ => self.control -= 1,
        }
        match kind {
            kind::INIT => self.received = word(value, 12)?.wrapping_sub(1),
            // A reset that overtook data would make the library keep that data apart, and look through all of it at each chunk. The
            // peer asks again (RFC 6525 section 5.1.1).
            kind::RE_CONFIG if !known.caught_up || resets_ahead(value, self.received) => {
                return Some(Verdict::Drop);
            }
            _ => {}
        }
        Some(Verdict::Pass)
    }

    fn take_data(&mut self, value: &[u8]) -> Option<Verdict> {
        let (tsn, stream) = data(value)?;
        if stream >= STREAMS_MAX {
            return Some(Verdict::Abort);
        }
        let ahead = tsn.wrapping_sub(self.received);
        // Only the first one decides: a sender that repeats what is missing may add what is too far ahead.
        let too_far = is_ahead(ahead) && ahead > AHEAD_MAX;
        let too_many = self.held >= HELD_MAX && ahead != 1;
        if self.first && (too_far || too_many) || self.held >= 2 * HELD_MAX {
            return Some(Verdict::Drop);
        }
        self.first = false;
        self.held += u32::from(is_ahead(ahead));
        self.received = if ahead == 1 { tsn } else { self.received };
        Some(Verdict::Pass)
    }

    fn take_forward(&mut self, value: &[u8]) -> Option<Verdict> {
        let to = word(value, 0)?;
        let ahead = to.wrapping_sub(self.received);
        if is_ahead(ahead) && ahead > FORWARD_MAX {
            return Some(Verdict::Drop);
        }
        // The streams that it names must be ones that may exist.
        if value[4..].chunks_exact(4).any(|s| half(s, 0) >= Some(STREAMS_MAX)) {
            return Some(Verdict::Abort);
        }
        self.received = if is_ahead(ahead) { to } else { self.received };
        Some(Verdict::Pass)
    }
}

/// Serial number arithmetic (RFC 9260 section 1.6).
fn is_ahead(distance: u32) -> bool {
    distance != 0 && distance < 1 << 31
}

fn half(value: &[u8], at: usize) -> Option<u16> {
    value.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn word(value: &[u8], at: usize) -> Option<u32> {
    value.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Number and stream of a DATA chunk (RFC 9260 section 3.3.1).
fn data(value: &[u8]) -> Option<(u32, u16)> {
    Some((word(value, 0)?, half(value, 4)?))
}

/// Whether the gap blocks of a SACK rise and do not overlap (RFC 9260 section 3.3.4). The library walks through each of them.
fn gaps_rise(value: &[u8]) -> bool {
    let (Some(count), Some(blocks)) = (half(value, 8), value.get(12..)) else { return false };
    let mut last = 0;
    blocks.chunks_exact(4).take(count.into()).all(|block| {
        let (start, end) = (half(block, 0).unwrap_or(0), half(block, 2).unwrap_or(0));
        let rises = start > last && end >= start;
        last = end;
        rises
    })
}

/// Whether a RE-CONFIG asks for a reset after data that did not arrive yet (RFC 6525 section 4.1, Sender's Last Assigned TSN).
fn resets_ahead(value: &[u8], received: u32) -> bool {
    const OUTGOING_RESET: u16 = 13;
    let mut rest = value;
    // Bounded: each turn takes at least the four bytes of a parameter's header.
    while let (Some(kind), Some(len)) = (half(rest, 0), half(rest, 2)) {
        if kind == OUTGOING_RESET
            && word(rest, 12).is_none_or(|last| is_ahead(last.wrapping_sub(received)))
        {
            return true;
        }
        let padded = usize::from(len).max(CHUNK_HEADER).next_multiple_of(4);
        rest = rest.get(padded..).unwrap_or_default();
    }
    false
}

/// Kind and value of each chunk; `None` for the first one that is malformed, and then the end.
fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut rest = packet.get(COMMON_HEADER..);
    if rest.is_none_or(<[u8]>::is_empty) {
        // A packet without chunks.
        rest = Some(&[0]);
    }
    std::iter::from_fn(move || {
        let bytes = rest.take_if(|bytes| !bytes.is_empty())?;
        let len = usize::from(half(bytes, 2).unwrap_or(0));
        if len < CHUNK_HEADER || len > bytes.len() {
            rest = None;
            return Some(None);
        }
        rest = Some(bytes.get(len.next_multiple_of(4)..).unwrap_or_default());
        Some(Some((bytes[0], &bytes[CHUNK_HEADER..len])))
    })
}

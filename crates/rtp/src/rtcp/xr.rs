//! Extended reports (RFC 3611). All blocks are checked; only receiver reference times and DLRR are read.

use model::{NtpTime, Ssrc};

use super::{Raw, RtcpError, take_ssrc};

/// Receiver reference time (RFC 3611 section 4.4).
pub(crate) const BLOCK_RRTR: u8 = 4;
/// Delay since last receiver report (RFC 3611 section 4.5).
pub(crate) const BLOCK_DLRR: u8 = 5;

/// XR as a view.
#[derive(Debug, Clone, Copy)]
pub struct Xr<'a> {
    /// The sender of the report.
    pub ssrc: Ssrc,
    blocks: &'a [u8],
}

/// One block of an extended report.
#[derive(Debug, Clone, Copy)]
pub enum XrBlock<'a> {
    /// The reporter's wall clock.
    ReceiverReferenceTime(NtpTime),
    /// Answers to reference times.
    Dlrr(Dlrr<'a>),
    /// A block that the node ignores.
    Other {
        /// Block type.
        kind: u8,
        /// Its contents.
        data: &'a [u8],
    },
}

/// DLRR sub-blocks as a view.
#[derive(Debug, Clone, Copy)]
pub struct Dlrr<'a> {
    entries: &'a [[u8; 12]],
}

/// When a receiver's reference time arrived, and how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlrrEntry {
    /// The receiver.
    pub ssrc: Ssrc,
    /// Middle 32 bits of the reference time.
    pub last_rr: u32,
    /// Time since it arrived, in 65,536ths of a second.
    pub delay_since_last_rr: u32,
}

impl<'a> Dlrr<'a> {
    /// The sub-blocks.
    pub fn entries(&self) -> impl Iterator<Item = DlrrEntry> + 'a {
        self.entries.iter().map(|b| {
            let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            DlrrEntry { ssrc: Ssrc(word(0)), last_rr: word(4), delay_since_last_rr: word(8) }
        })
    }
}

impl<'a> Xr<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (ssrc, blocks) = take_ssrc(raw.body)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            (_, rest) = block(rest)?;
        }
        Ok(Self { ssrc, blocks })
    }

    /// The blocks.
    pub fn blocks(&self) -> impl Iterator<Item = XrBlock<'a>> + 'a {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (block, behind) = block(rest).ok()?;
            rest = behind;
            Some(block)
        })
    }
}

/// Splits off a block: type, a byte that depends on it, 16 bits of length in words, contents (RFC 3611 section 3).
fn block(data: &[u8]) -> Result<(XrBlock<'_>, &[u8]), RtcpError> {
    let Some((&[kind, _, l0, l1], rest)) = data.split_first_chunk::<4>() else {
        return Err(RtcpError::TooShort);
    };
    let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
    let (data, rest) = rest.split_at_checked(len).ok_or(RtcpError::Length)?;
    let block = match kind {
        BLOCK_RRTR => {
            let ntp = data.try_into().map_err(|_| RtcpError::Length)?;
            XrBlock::ReceiverReferenceTime(NtpTime(u64::from_be_bytes(ntp)))
        }
        BLOCK_DLRR => {
            let (entries, []) = data.as_chunks::<12>() else { return Err(RtcpError::Length) };
            XrBlock::Dlrr(Dlrr { entries })
        }
        kind => XrBlock::Other { kind, data },
    };
    Ok((block, rest))
}

//! Sender and receiver reports (RFC 3550 section 6.4).

use model::{NtpTime, Ssrc};

use super::{Raw, RtcpError, take_ssrc};

/// Length of a report block in bytes.
pub(crate) const BLOCK: usize = 24;

/// A sender's statement about its stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock time of the report.
    pub ntp: NtpTime,
    /// The same moment in units of the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far, wrapping.
    pub packet_count: u32,
    /// Payload bytes sent so far, without headers and padding, wrapping.
    pub octet_count: u32,
}

/// A receiver's statistics of one stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits with sign: duplicates can make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the number of wraps in the high 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR, 0 before the first.
    pub last_sr: u32,
    /// Time since that SR arrived, in 65,536ths of a second.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// The stream.
    #[inline]
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.ssrc)
    }

    #[inline]
    fn from_bytes(b: &[u8; BLOCK]) -> Self {
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: b[4],
            // 24 bits with sign: shifted up and down again to extend the sign.
            cumulative_lost: (word(4) << 8) as i32 >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; BLOCK] {
        // RFC 3550 appendix A.3: the loss is clamped to 24 bits.
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut bytes = [0; BLOCK];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        bytes
    }
}

/// SR as a view.
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'a> {
    /// The sender.
    pub ssrc: Ssrc,
    /// The sender's statement about its own stream.
    pub info: SenderInfo,
    blocks: &'a [u8],
}

/// RR as a view.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'a> {
    /// The sender of the report.
    pub ssrc: Ssrc,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (ssrc, rest) = take_ssrc(raw.body)?;
        let Some((b, rest)) = rest.split_first_chunk::<20>() else {
            return Err(RtcpError::TooShort);
        };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let info = SenderInfo {
            ntp: NtpTime(u64::from(word(0)) << 32 | u64::from(word(4))),
            rtp_timestamp: word(8),
            packet_count: word(12),
            octet_count: word(16),
        };
        Ok(Self { ssrc, info, blocks: blocks(raw.count, rest)? })
    }

    /// The sender's statistics of the streams that it receives, at most 31.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        each_block(self.blocks)
    }
}

impl<'a> ReceiverReport<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (ssrc, rest) = take_ssrc(raw.body)?;
        Ok(Self { ssrc, blocks: blocks(raw.count, rest)? })
    }

    /// The statistics of the streams that the sender of the report receives, at most 31.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        each_block(self.blocks)
    }
}

/// The report blocks; a profile-specific extension may follow them (RFC 3550 section 6.4.3).
fn blocks(count: u8, rest: &[u8]) -> Result<&[u8], RtcpError> {
    rest.get(..usize::from(count) * BLOCK).ok_or(RtcpError::Count)
}

#[inline]
fn each_block(blocks: &[u8]) -> impl Iterator<Item = ReportBlock> + '_ {
    blocks.as_chunks::<BLOCK>().0.iter().map(ReportBlock::from_bytes)
}

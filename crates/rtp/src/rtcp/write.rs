//! Writes RTCP packets one behind the other into a buffer: a compound packet (RFC 3550 section 6.1), or a reduced-size
//! one (RFC 5506). What belongs into it, and in which order, is the caller's choice.

use std::fmt;

use model::Ssrc;

use super::feedback::REMB_NAME;
use super::report::BLOCK;
use super::source::ITEM_CNAME;
use super::xr::DlrrEntry;
use super::{
    FMT_AFB, FMT_FIR, FMT_NACK, FMT_PLI, FirEntry, PT_BYE, PT_PSFB, PT_RR, PT_RTPFB, PT_SDES,
    PT_SR, PT_XR, ReportBlock, SenderInfo, TwccHeader, twcc,
};

/// The packet did not fit into what is left of the buffer. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the RTCP packet")
    }
}

impl std::error::Error for NoRoom {}

/// Most entries that the five bits of a count can tell.
const MAX_COUNT: usize = 31;

/// Appends packets to a buffer of the caller's. Every method writes its packet as a whole or not at all.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// A writer that begins at the start of `buf`. Leave room behind it for the trailer of SRTCP.
    #[inline]
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing was written yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are left.
    #[inline]
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// What was written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Forgets what was written.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Sender report. Blocks over 31 go into receiver reports behind it.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn sr(
        &mut self,
        ssrc: Ssrc,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), NoRoom> {
        let (first, others) = blocks.split_at(blocks.len().min(MAX_COUNT));
        self.whole(|w| {
            w.head(PT_SR, first.len(), 24 + BLOCK * first.len())?;
            let ntp = info.ntp.0;
            w.words([
                ssrc.0,
                (ntp >> 32) as u32,
                ntp as u32,
                info.rtp_timestamp,
                info.packet_count,
                info.octet_count,
            ])?;
            first.iter().try_for_each(|block| w.bytes(&block.to_bytes()))?;
            others.chunks(MAX_COUNT).try_for_each(|blocks| w.one_rr(ssrc, blocks))
        })
    }

    /// Receiver report; more than one when there are over 31 blocks. Without blocks it is an empty report, which
    /// may lead a compound packet (RFC 3550 section 6.1).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn rr(&mut self, sender: Ssrc, blocks: &[ReportBlock]) -> Result<(), NoRoom> {
        if blocks.is_empty() {
            return self.whole(|w| w.one_rr(sender, &[]));
        }
        self.whole(|w| blocks.chunks(MAX_COUNT).try_for_each(|blocks| w.one_rr(sender, blocks)))
    }

    /// Source description with a canonical name of at most 255 bytes (a longer one has no room).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn sdes_cname(&mut self, ssrc: Ssrc, cname: &str) -> Result<(), NoRoom> {
        let size = u8::try_from(cname.len()).map_err(|_| NoRoom)?;
        // SSRC, type, length, text, and at least one zero byte.
        let len = 7 + cname.len();
        self.whole(|w| {
            w.head(PT_SDES, 1, len.next_multiple_of(4))?;
            w.words([ssrc.0])?;
            w.bytes(&[ITEM_CNAME, size])?;
            w.bytes(cname.as_bytes())?;
            w.bytes([0; 4].get(..1 + len.next_multiple_of(4) - len).unwrap_or_default())
        })
    }

    /// Goodbye of these sources; nothing when there are none.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn bye(&mut self, sources: &[Ssrc]) -> Result<(), NoRoom> {
        self.whole(|w| {
            sources.chunks(MAX_COUNT).try_for_each(|sources| {
                w.head(PT_BYE, sources.len(), 4 * sources.len())?;
                sources.iter().try_for_each(|ssrc| w.words([ssrc.0]))
            })
        })
    }

    /// Generic NACK of these sequence numbers (RFC 4585 section 6.2.1). Ascending numbers, wraps included, share
    /// entries; any others are right as well, but longer. Nothing is written when there are none.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn nack(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        lost: &mut dyn Iterator<Item = u16>,
    ) -> Result<(), NoRoom> {
        let Some(mut pid) = lost.next() else { return Ok(()) };
        let mut mask = 0u16;
        self.whole(|w| {
            let start = w.len;
            w.feedback(PT_RTPFB, FMT_NACK, sender, media, 0)?;
            for sequence in lost {
                match sequence.wrapping_sub(pid) {
                    0 => {}
                    distance @ 1..=16 => mask |= 1 << (distance - 1),
                    _ => {
                        w.words([u32::from(pid) << 16 | u32::from(mask)])?;
                        (pid, mask) = (sequence, 0);
                    }
                }
            }
            w.words([u32::from(pid) << 16 | u32::from(mask)])?;
            w.set_length(start)
        })
    }

    /// Picture loss indication (RFC 4585 section 6.3.1).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn pli(&mut self, sender: Ssrc, media: Ssrc) -> Result<(), NoRoom> {
        self.whole(|w| w.feedback(PT_PSFB, FMT_PLI, sender, media, 0))
    }

    /// Full intra request (RFC 5104 section 4.3.1); nothing when there are no entries.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn fir(&mut self, sender: Ssrc, entries: &[FirEntry]) -> Result<(), NoRoom> {
        if entries.is_empty() {
            return Ok(());
        }
        self.whole(|w| {
            // RFC 5104 section 4.3.1.2: the media source of the header is 0, the entries name the streams.
            w.feedback(PT_PSFB, FMT_FIR, sender, Ssrc(0), 8 * entries.len())?;
            entries.iter().try_for_each(|e| w.words([e.ssrc.0, u32::from(e.sequence) << 24]))
        })
    }

    /// Receiver estimated maximum bitrate in bits per second (draft-alvestrand-rmcat-remb-03), rounded down to the 18
    /// bits of its mantissa. At most 255 streams (more have no room).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn remb(&mut self, sender: Ssrc, bitrate: u64, ssrcs: &[Ssrc]) -> Result<(), NoRoom> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| NoRoom)?;
        let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate >> exponent) as u32;
        self.whole(|w| {
            w.feedback(PT_PSFB, FMT_AFB, sender, Ssrc(0), 8 + 4 * ssrcs.len())?;
            w.bytes(&REMB_NAME)?;
            w.words([u32::from(count) << 24 | exponent << 18 | mantissa])?;
            ssrcs.iter().try_for_each(|ssrc| w.words([ssrc.0]))
        })
    }

    /// Transport-wide feedback: the packets from `header.base` on, each with the time since the one that came before
    /// it (the first: since the reference time) in units of 250 µs, or `None` when it has not come. Takes as many as
    /// fit and returns how many; the others belong into another packet with another header.
    ///
    /// # Errors
    /// [`NoRoom`] when not even one fits, or there is none.
    pub fn transport_cc(
        &mut self,
        header: &TwccHeader,
        statuses: impl Iterator<Item = Option<i16>> + Clone,
    ) -> Result<usize, NoRoom> {
        let out = self.buf.get_mut(self.len..).ok_or(NoRoom)?;
        let (len, count) = twcc::write(out, header, statuses)?;
        self.len += len;
        Ok(count)
    }

    /// Extended report that answers reference times (RFC 3611 section 4.5); nothing when there are no entries.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn dlrr(&mut self, sender: Ssrc, entries: &[DlrrEntry]) -> Result<(), NoRoom> {
        if entries.is_empty() {
            return Ok(());
        }
        let words = u16::try_from(3 * entries.len()).map_err(|_| NoRoom)?;
        self.whole(|w| {
            w.head(PT_XR, 0, 8 + 12 * entries.len())?;
            w.words([sender.0, u32::from(super::xr::BLOCK_DLRR) << 24 | u32::from(words)])?;
            entries.iter().try_for_each(|e| w.words([e.ssrc.0, e.last_rr, e.delay_since_last_rr]))
        })
    }

    /// Packets that are whole already.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn raw(&mut self, packets: &[u8]) -> Result<(), NoRoom> {
        self.bytes(packets)
    }

    fn one_rr(&mut self, sender: Ssrc, blocks: &[ReportBlock]) -> Result<(), NoRoom> {
        self.head(PT_RR, blocks.len(), 4 + BLOCK * blocks.len())?;
        self.words([sender.0])?;
        blocks.iter().try_for_each(|block| self.bytes(&block.to_bytes()))
    }

    /// Takes everything back when a part has no room.
    fn whole(&mut self, put: impl FnOnce(&mut Self) -> Result<(), NoRoom>) -> Result<(), NoRoom> {
        let start = self.len;
        let result = put(self);
        if result.is_err() {
            self.len = start;
        }
        result
    }

    /// Header of a packet whose body will be `body` bytes, a multiple of four.
    fn head(&mut self, packet_type: u8, count: usize, body: usize) -> Result<(), NoRoom> {
        let words = u16::try_from(body / 4).map_err(|_| NoRoom)?;
        let [l0, l1] = words.to_be_bytes();
        self.bytes(&[0x80 | count as u8 & 0x1f, packet_type, l0, l1])
    }

    /// Header and the two SSRCs of feedback with `fci` bytes behind them.
    fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        sender: Ssrc,
        media: Ssrc,
        fci: usize,
    ) -> Result<(), NoRoom> {
        self.head(packet_type, usize::from(format), 8 + fci)?;
        self.words([sender.0, media.0])
    }

    /// Sets the length field of the packet that began at `start` and ends here.
    fn set_length(&mut self, start: usize) -> Result<(), NoRoom> {
        let words = u16::try_from((self.len - start) / 4 - 1).map_err(|_| NoRoom)?;
        let place = self.buf.get_mut(start + 2..start + 4).ok_or(NoRoom)?;
        place.copy_from_slice(&words.to_be_bytes());
        Ok(())
    }

    fn words<const N: usize>(&mut self, words: [u32; N]) -> Result<(), NoRoom> {
        words.into_iter().try_for_each(|word| self.bytes(&word.to_be_bytes()))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.len + bytes.len();
        self.buf.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

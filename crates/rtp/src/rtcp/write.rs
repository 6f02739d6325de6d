//! Writes RTCP packets one after the other into a buffer: a compound packet (RFC 3550 section 6.1), or a reduced-size
//! one (RFC 5506). The caller chooses the packets and their order.

use std::fmt;

use model::{NtpTime, Ssrc};

use super::feedback::REMB_NAME;
use super::report::BLOCK;
use super::source::ITEM_CNAME;
use super::xr::DlrrEntry;
use super::{
    FMT_AFB, FMT_FIR, FMT_NACK, FMT_PLI, FirEntry, PT_BYE, PT_PSFB, PT_RR, PT_RTPFB, PT_SDES,
    PT_SR, PT_XR, ReportBlock, SenderInfo, TwccHeader, twcc,
};

/// The packet did not fit in the rest of the buffer. No part of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the RTCP packet")
    }
}

impl std::error::Error for NoRoom {}

/// Most entries that the five bits of a count can express.
const MAX_COUNT: usize = 31;

/// Appends packets to the caller's buffer. Every method writes its packet completely or not at all.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// A writer that begins at the start of `buf`. Leave room after it for the trailer of SRTCP.
    #[inline]
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are left.
    #[inline]
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// The packets that were written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Discards everything that was written.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Sender report. Blocks beyond the first 31 are written into receiver reports after it.
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

    /// Receiver report; more than one if there are over 31 blocks. Without blocks it is an empty report, which may
    /// begin a compound packet (RFC 3550 section 6.1).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn rr(&mut self, sender: Ssrc, blocks: &[ReportBlock]) -> Result<(), NoRoom> {
        if blocks.is_empty() {
            return self.whole(|w| w.one_rr(sender, &[]));
        }
        self.whole(|w| blocks.chunks(MAX_COUNT).try_for_each(|blocks| w.one_rr(sender, blocks)))
    }

    /// Source description with a canonical name of at most 255 bytes (a longer one returns [`NoRoom`]).
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

    /// Goodbye of these sources. Writes nothing if there are none.
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
    /// entries; other orders are correct too, but longer. Writes nothing if there are none.
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

    /// Full intra request (RFC 5104 section 4.3.1). Writes nothing if there are no entries.
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
    /// bits of its mantissa. At most 255 streams (more return [`NoRoom`]).
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

    /// Transport-wide feedback: the packets from `header.base` on, each with the time since the previous arrived one
    /// (the first: since the reference time) in units of 250 µs, or `None` if it has not arrived. Writes as many as
    /// fit and returns their number; the others need another packet with another header.
    ///
    /// # Errors
    /// [`NoRoom`] if not even one fits, or there is none.
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

    /// Extended report that answers reference times (RFC 3611 section 4.5). Writes nothing if there are no entries.
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

    /// Extended report with the node's wall clock, which requests an answer by DLRR (RFC 3611 section 4.4).
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn reference_time(&mut self, sender: Ssrc, ntp: NtpTime) -> Result<(), NoRoom> {
        self.whole(|w| {
            w.head(PT_XR, 0, 16)?;
            w.words([sender.0, u32::from(super::xr::BLOCK_RRTR) << 24 | 2])?;
            w.words([(ntp.0 >> 32) as u32, ntp.0 as u32])
        })
    }

    /// Packets that are already complete.
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

    /// Discards the packet if a part of it has no room.
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

    /// Header and the two SSRCs of feedback, with `fci` bytes after them.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{CompoundIter, RtcpPacket, Sdes, XrBlock, validate};
    use proptest::prelude::*;

    const INFO: SenderInfo = SenderInfo {
        ntp: NtpTime(0x0102_0304_0506_0708),
        rtp_timestamp: 9,
        packet_count: 10,
        octet_count: 11,
    };

    fn block(ssrc: u32) -> ReportBlock {
        ReportBlock {
            ssrc,
            fraction_lost: 12,
            cumulative_lost: -13,
            highest_sequence: 14,
            jitter: 15,
            last_sr: 16,
            delay_since_last_sr: 17,
        }
    }

    fn cname(sdes: &Sdes<'_>) -> Option<Vec<u8>> {
        sdes.chunks().next().and_then(|c| c.cname()).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_compound_reads_back() {
        let mut buf = [0xee; 1200];
        let mut w = RtcpWriter::new(&mut buf);
        w.sr(Ssrc(1), &INFO, &[block(2), block(3)]).unwrap();
        w.sdes_cname(Ssrc(1), "someone").unwrap();
        w.pli(Ssrc(1), Ssrc(2)).unwrap();
        w.fir(Ssrc(1), &[FirEntry { ssrc: Ssrc(3), sequence: 200 }]).unwrap();
        w.remb(Ssrc(1), 1_000_000, &[Ssrc(2), Ssrc(3)]).unwrap();
        let entry = DlrrEntry { ssrc: Ssrc(5), last_rr: 6, delay_since_last_rr: 7 };
        w.dlrr(Ssrc(1), &[entry]).unwrap();
        w.reference_time(Ssrc(1), NtpTime(0x1122_3344_5566_7788)).unwrap();
        w.bye(&[Ssrc(1), Ssrc(4)]).unwrap();

        let mut packets = CompoundIter::new(w.as_bytes()).map(Result::unwrap);
        let Some(RtcpPacket::SenderReport(sr)) = packets.next() else { panic!() };
        assert_eq!((sr.ssrc, sr.info), (Ssrc(1), INFO));
        assert_eq!(sr.blocks().collect::<Vec<_>>(), [block(2), block(3)]);
        let Some(RtcpPacket::Sdes(sdes)) = packets.next() else { panic!() };
        assert_eq!(cname(&sdes).as_deref(), Some(&b"someone"[..]));
        let Some(RtcpPacket::Pli { sender, media }) = packets.next() else { panic!() };
        assert_eq!((sender, media), (Ssrc(1), Ssrc(2)));
        let Some(RtcpPacket::Fir(fir)) = packets.next() else { panic!() };
        assert!(fir.entries().eq([FirEntry { ssrc: Ssrc(3), sequence: 200 }]));
        let Some(RtcpPacket::Remb(remb)) = packets.next() else { panic!() };
        assert_eq!(remb.bitrate, 1_000_000);
        assert!(remb.ssrcs().eq([Ssrc(2), Ssrc(3)]));
        let Some(RtcpPacket::Xr(xr)) = packets.next() else { panic!() };
        let Some(XrBlock::Dlrr(dlrr)) = xr.blocks().next() else { panic!() };
        assert!(dlrr.entries().eq([entry]));
        let Some(RtcpPacket::Xr(xr)) = packets.next() else { panic!() };
        let time = NtpTime(0x1122_3344_5566_7788);
        assert!(matches!(xr.blocks().next(), Some(XrBlock::ReceiverReferenceTime(t)) if t == time));
        let Some(RtcpPacket::Bye(bye)) = packets.next() else { panic!() };
        assert!(bye.sources().eq([Ssrc(1), Ssrc(4)]));
        assert!(packets.next().is_none());
    }

    #[test]
    fn more_than_31_blocks_make_more_reports() {
        let blocks: Vec<_> = (0..70).map(block).collect();
        let mut buf = [0; 2000];
        let mut w = RtcpWriter::new(&mut buf);
        w.sr(Ssrc(1), &INFO, &blocks).unwrap();
        let read: Vec<_> = CompoundIter::new(w.as_bytes())
            .flat_map(|p| match p.unwrap() {
                RtcpPacket::SenderReport(sr) => sr.blocks().collect::<Vec<_>>(),
                RtcpPacket::ReceiverReport(rr) => rr.blocks().collect(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(read, blocks);
        assert_eq!(validate(w.as_bytes()), Ok(3));
    }

    #[test]
    fn losses_are_clamped_to_24_bits() {
        let lost = |cumulative_lost| {
            let mut buf = [0; 32];
            let mut w = RtcpWriter::new(&mut buf);
            w.rr(Ssrc(1), &[ReportBlock { cumulative_lost, ..block(2) }]).unwrap();
            match CompoundIter::new(w.as_bytes()).next() {
                Some(Ok(RtcpPacket::ReceiverReport(rr))) => rr.blocks().next().unwrap(),
                other => panic!("{other:?}"),
            }
            .cumulative_lost
        };
        assert_eq!(lost(i32::MAX), 0x7f_ffff);
        assert_eq!(lost(i32::MIN), -0x80_0000);
        assert_eq!(lost(-1), -1);
    }

    #[test]
    fn a_packet_without_room_leaves_no_trace() {
        for room in 0..56 {
            let mut buf = vec![0; room];
            let mut w = RtcpWriter::new(&mut buf);
            w.pli(Ssrc(1), Ssrc(2)).ok();
            let before = w.len();
            assert_eq!(w.sr(Ssrc(1), &INFO, &[block(2)]), Err(NoRoom));
            assert_eq!(w.nack(Ssrc(1), Ssrc(2), &mut (0..400).step_by(20)), Err(NoRoom));
            assert_eq!(w.sdes_cname(Ssrc(1), &"x".repeat(60)), Err(NoRoom));
            assert_eq!(w.bye(&[Ssrc(1); 40]), Err(NoRoom));
            assert_eq!(w.len(), before);
        }
        let mut buf = [0; 2000];
        assert_eq!(RtcpWriter::new(&mut buf).sdes_cname(Ssrc(1), &"x".repeat(256)), Err(NoRoom));
    }

    #[test]
    fn without_entries_nothing_is_written() {
        let mut buf = [0; 64];
        let mut w = RtcpWriter::new(&mut buf);
        w.nack(Ssrc(1), Ssrc(2), &mut std::iter::empty()).unwrap();
        w.fir(Ssrc(1), &[]).unwrap();
        w.bye(&[]).unwrap();
        assert!(w.is_empty());
        w.rr(Ssrc(1), &[]).unwrap();
        assert_eq!(w.len(), 8, "but an empty receiver report can lead a compound");
    }

    #[test]
    fn cnames_of_every_length_are_padded_with_zeros() {
        for len in 0..=255 {
            let mut buf = [0xee; 300];
            let mut w = RtcpWriter::new(&mut buf);
            let name = "c".repeat(len);
            w.sdes_cname(Ssrc(1), &name).unwrap();
            assert_eq!(w.len() % 4, 0);
            let Some(Ok(RtcpPacket::Sdes(sdes))) = CompoundIter::new(w.as_bytes()).next() else {
                panic!("{len}")
            };
            assert_eq!(cname(&sdes), Some(name.into_bytes()));
        }
    }

    proptest! {
        #[test]
        fn the_set_of_a_nack_reads_back(start: u16, steps in prop::collection::vec(1u16..40, 1..200)) {
            let mut next = start;
            let lost: Vec<u16> = steps.iter().map(|s| { next = next.wrapping_add(*s); next }).collect();
            let mut buf = [0; 1500];
            let mut w = RtcpWriter::new(&mut buf);
            w.nack(Ssrc(1), Ssrc(2), &mut lost.iter().copied()).unwrap();
            let Some(Ok(RtcpPacket::Nack(nack))) = CompoundIter::new(w.as_bytes()).next() else {
                panic!()
            };
            prop_assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
        }

        #[test]
        fn remb_loses_at_most_what_the_mantissa_cannot_hold(bitrate: u64) {
            let mut buf = [0; 64];
            let mut w = RtcpWriter::new(&mut buf);
            w.remb(Ssrc(1), bitrate, &[]).unwrap();
            let Some(Ok(RtcpPacket::Remb(remb))) = CompoundIter::new(w.as_bytes()).next() else {
                panic!()
            };
            prop_assert!(remb.bitrate <= bitrate);
            prop_assert!(bitrate - remb.bitrate <= bitrate >> 17);
        }
    }
}

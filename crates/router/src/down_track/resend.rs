//! Writes packets again that a subscriber lost: as RTX (RFC 4588) if that was negotiated, else exactly as they were.

use model::DropReason;
use rtp::sequence::ExtSeq;

use super::rewrite::{Address, Lengths};
use super::{DownTrack, Leave, Written, payload_for};
use crate::{StreamId, TrackMirror};

impl DownTrack {
    /// Answers a NACK for one sequence number of the slot's media SSRC.
    ///
    /// # Errors
    /// `RtxExpired` (never sent, no longer cached, or missing itself), `RtxTooSoon`, `RtxLimit`, `TooLarge`,
    /// `NoSubscriber`, `CodecMismatch`.
    pub fn retransmit(
        &mut self,
        leave: &Leave,
        mirror: &TrackMirror,
        sequence: u16,
        out: &mut [u8],
    ) -> Result<Written, DropReason> {
        self.stats.nacked += 1;
        if self.track() != Some(mirror.track()) {
            return Err(DropReason::NoSubscriber);
        }
        let (segment, in_seq, seq) = self.map.find(sequence).ok_or(DropReason::RtxExpired)?;
        let found = mirror.find(segment.stream, ExtSeq(in_seq));
        let packet = found.filter(|p| segment.has(&p.meta)).ok_or(DropReason::RtxExpired)?;
        let mapping = self.find_mapping(packet.meta.pt).ok_or(DropReason::CodecMismatch)?;
        let payload = payload_for(&mapping, packet)?;
        self.rtx.allow(leave.now, sequence, payload.len(), self.stats.rtt)?;
        let mut address = self.address(leave, &mapping, sequence);
        let mut full = ExtSeq(seq);
        let rtx = self.rtx_address(&mapping);
        if let Some((ssrc, pt)) = rtx {
            // RFC 4588 section 4: a sequence number of its own, and the original one in front of the payload.
            full = self.rtx_seq;
            let original = Some(sequence);
            address = Address { pt, ssrc, sequence: full.low(), original, ..address };
        }
        let Lengths { header, all: len } =
            self.template.write(&address, &segment, packet, payload, out)?;
        let exact = rtx.is_none();
        if exact {
            self.map.mark(seq);
        } else {
            self.rtx_seq = full.next();
        }
        self.bitrate.look(leave.now, self.octets());
        self.stats.rtx_packets += 1;
        self.stats.rtx_octets += payload.len() as u64;
        Ok(Written {
            header_len: header,
            len,
            ssrc: address.ssrc,
            seq: full,
            exact,
            transport_cc: address.transport_cc.is_some(),
        })
    }

    /// The packet of a sequence number that could not be resent because this worker's mirror lacks it. The worker that
    /// receives the track may have it.
    pub fn missing(&self, mirror: &TrackMirror, sequence: u16) -> Option<(StreamId, ExtSeq)> {
        if self.track() != Some(mirror.track()) {
            return None;
        }
        let (segment, in_seq, _) = self.map.find(sequence)?;
        let (stream, seq) = (segment.stream, ExtSeq(in_seq));
        mirror.find(stream, seq).is_none().then_some((stream, seq))
    }
}

//! What one peer is sent through one slot: selection, rewriting, retransmissions and sender reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Binding, DownMedia, DropReason, ExtensionMap, Ssrc, TrackId, WallClock};
use rtp::rtcp::{ReportBlock, RtcpWriter};
use rtp::sequence::ExtSeq;

use crate::{Packet, TrackMirror};

/// A plain packet that was written and is to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the RTP header, extensions included.
    pub header_len: usize,
    /// Bytes of the whole packet.
    pub len: usize,
    /// SSRC that it is sent with: the slot's, or that of its retransmissions.
    pub ssrc: Ssrc,
    /// Extended sequence number under that SSRC; `seq.0 >> 16` is SRTP's rollover counter (RFC 3711 section 3.3.1).
    pub seq: ExtSeq,
}

/// How far back a new subscriber may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUpLimits {
    /// Age of the key frame.
    pub max_age: Duration,
    /// Packets since its start.
    pub max_packets: usize,
}

impl Default for CatchUpLimits {
    /// 300 ms, 64 packets.
    fn default() -> Self {
        Self { max_age: Duration::from_millis(300), max_packets: 64 }
    }
}

/// Packets out of a mirror's cache, oldest first.
#[derive(Debug)]
pub struct CatchUp<'m> {
    mirror: &'m TrackMirror,
}

impl<'m> Iterator for CatchUp<'m> {
    type Item = &'m Arc<Packet>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.mirror;
        todo!()
    }
}

/// Counts of one down-track, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DownStats {
    /// Packets written, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes written, retransmissions not counted.
    pub octets: u64,
    /// Retransmissions written.
    pub rtx_packets: u64,
    /// Payload bytes of retransmissions.
    pub rtx_octets: u64,
    /// Crossings to another layer or track, the start included.
    pub splices: u64,
    /// Round trip time by the last receiver report that answers a sender report of ours.
    pub rtt: Option<Duration>,
    /// Share of packets lost by the last receiver report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, by the last receiver report.
    pub cumulative_lost: i32,
    /// Jitter by the last receiver report, in timestamp units.
    pub jitter: u32,
}

/// One slot of a subscriber.
#[derive(Debug)]
pub struct DownTrack {}

impl DownTrack {
    /// A slot as agreed, with nothing bound to it. `extensions` are the subscriber's ids.
    pub fn new(_media: &DownMedia, _extensions: &ExtensionMap, _clock: WallClock) -> Self {
        todo!()
    }

    /// Takes a renegotiated media section; the SSRC, the numbering and the binding stay.
    pub fn update(&mut self, _media: &DownMedia, _extensions: &ExtensionMap) {
        todo!()
    }

    /// Binds a track, or pauses with `None`. The next packet is spliced on: for video a key frame.
    pub fn bind(&mut self, _binding: Option<Binding>) {
        todo!()
    }

    /// The track that is bound.
    pub fn track(&self) -> Option<TrackId> {
        todo!()
    }

    /// SSRCs that the slot sends with: media, retransmissions.
    pub fn ssrcs(&self) -> model::StreamSsrc {
        todo!()
    }

    /// Highest layer wanted, counted from 0 = lowest quality; `None`: no limit (the start).
    pub fn set_max_rank(&mut self, _rank: Option<u8>) {
        todo!()
    }

    /// Writes `packet` as this subscriber gets it into `out`, header and payload in one pass. `mirror` is this
    /// worker's mirror of the track and has received the packet already.
    ///
    /// # Errors
    /// The reason for which the subscriber does not get it.
    pub fn forward(
        &mut self,
        _now: Instant,
        _mirror: &TrackMirror,
        _packet: &Packet,
        _out: &mut [u8],
    ) -> Result<Written, DropReason> {
        todo!()
    }

    /// Answers a NACK for one sequence number of the slot's media SSRC.
    ///
    /// # Errors
    /// `RtxTooSoon`, `RtxLimit`, `RtxExpired`, `TooLarge`, `NoSubscriber`.
    pub fn retransmit(
        &mut self,
        _now: Instant,
        _mirror: &TrackMirror,
        _seq: u16,
        _out: &mut [u8],
    ) -> Result<Written, DropReason> {
        todo!()
    }

    /// Packets to forward right after binding, if the last key frame is young: pass each to
    /// [`DownTrack::forward`]. Empty when there is nothing to catch up with, and for audio.
    pub fn catch_up<'m>(
        &self,
        _now: Instant,
        _mirror: &'m TrackMirror,
        _limits: CatchUpLimits,
    ) -> CatchUp<'m> {
        todo!()
    }

    /// The layer of which a key frame is wanted, to be passed to [`crate::UpTrack::request_keyframe`]. Repeats
    /// itself twice a second until the key frame comes; cheap enough to be asked after each batch of packets.
    pub fn wants_keyframe(&mut self, _now: Instant, _mirror: &TrackMirror) -> Option<u8> {
        todo!()
    }

    /// The subscriber sent PLI or FIR.
    pub fn keyframe_requested(&mut self) {
        todo!()
    }

    /// Takes a report block of the subscriber about the slot's media SSRC; blocks about other SSRCs are ignored.
    pub fn report_block(&mut self, _now: Instant, _block: &ReportBlock) {
        todo!()
    }

    /// Writes a sender report when one is due. `Ok(true)` when written; the caller adds SDES.
    ///
    /// # Errors
    /// `NoRoom` from the writer: the report stays due.
    pub fn poll_report(
        &mut self,
        _now: Instant,
        _mirror: Option<&TrackMirror>,
        _rtcp: &mut RtcpWriter<'_>,
    ) -> Result<bool, rtp::rtcp::NoRoom> {
        todo!()
    }

    /// When the next sender report is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Counts.
    pub fn stats(&self) -> &DownStats {
        todo!()
    }
}

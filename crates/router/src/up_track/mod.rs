//! What a peer sends: numbering, loss, key frame requests and reports of one track with all its layers. Not here:
//! the cache and what else down-tracks need, which is in [`mirror`], since each worker keeps one.

pub mod cache;
pub mod mirror;
pub mod report;
pub mod streams;

use std::time::{Duration, Instant};

use model::{DropReason, ExtensionMap, MediaKind, NtpTime, Ssrc, TrackId, UpMedia};
use rtp::rtcp::{ReportBlock, RtcpWriter};

use crate::{PacketBuf, SenderInfo, StreamRef};

/// A packet that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its layer.
    pub layer: u8,
    /// It is the first of the track: time for `model::Event::TrackActive`.
    pub first_of_track: bool,
    /// A key frame begins in it.
    pub keyframe_start: bool,
}

/// Counts of one layer, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerStats {
    /// Packets accepted.
    pub packets: u64,
    /// Payload bytes accepted.
    pub octets: u64,
    /// Packets that came as retransmissions and were missing.
    pub recovered: u64,
    /// Packets asked for again, each time counted.
    pub nacked: u64,
    /// Packets given up.
    pub lost: u64,
    /// Key frame requests sent.
    pub keyframe_requests: u64,
    /// Interarrival jitter in timestamp units (RFC 3550 section 6.4.1).
    pub jitter: u32,
}

/// One track of a publisher.
#[derive(Debug)]
pub struct UpTrack {}

impl UpTrack {
    /// A track as agreed.
    pub fn new(_media: &UpMedia, _extensions: &ExtensionMap) -> Self {
        todo!()
    }

    /// Takes a renegotiated media section; layers that stay keep their state.
    pub fn update(&mut self, _media: &UpMedia, _extensions: &ExtensionMap) {
        todo!()
    }

    /// The track's id.
    pub fn track(&self) -> TrackId {
        todo!()
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        todo!()
    }

    /// Takes a decrypted packet of `len` bytes in `buf`, as it came; a retransmission is unwrapped in place. On
    /// success `buf` is ready to be shared.
    ///
    /// # Errors
    /// The reason for which the packet ends here: `RtpMalformed`, `UnknownPayloadType`, `Duplicate`, `TooOld`,
    /// `RtxUnmatched`, `PaddingOnly`, `UnknownStream`.
    pub fn ingest(&mut self, _now: Instant, _stream: StreamRef, _buf: &mut PacketBuf, _len: usize) -> Result<Accepted, DropReason> {
        todo!()
    }

    /// Takes a sender report of one of the track's SSRCs in. Gives layer, epoch and what each mirror of the track
    /// has to be told ([`crate::TrackMirror::sender_report`]); `None` when the SSRC sent no media yet.
    pub fn sender_report(&mut self, _now: Instant, _ssrc: Ssrc, _ntp: NtpTime, _rtp_timestamp: u32) -> Option<(u8, u8, SenderInfo)> {
        todo!()
    }

    /// Asks for a key frame of a layer. The request goes out with [`UpTrack::poll_feedback`], at most one per layer
    /// and second, the first at once, and again each second until a key frame comes.
    pub fn request_keyframe(&mut self, _now: Instant, _layer: u8) {
        todo!()
    }

    /// Tells the round trip time to the publisher; 100 ms until then.
    pub fn set_rtt(&mut self, _rtt: Duration) {
        todo!()
    }

    /// Writes the NACKs, PLIs and FIRs that are due, with `sender` as the sender SSRC. `Ok(true)` when something was
    /// written.
    ///
    /// # Errors
    /// `NoRoom` from the writer: what did not fit stays due.
    pub fn poll_feedback(&mut self, _now: Instant, _sender: Ssrc, _rtcp: &mut RtcpWriter<'_>) -> Result<bool, rtp::rtcp::NoRoom> {
        todo!()
    }

    /// Appends a report block for each media SSRC that was heard since the last call (RFC 3550 section 6.4.1).
    /// Call it once per report interval.
    pub fn report_blocks(&mut self, _now: Instant, _blocks: &mut Vec<ReportBlock>) {
        todo!()
    }

    /// When [`UpTrack::poll_feedback`] has something to write next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Counts of a layer.
    pub fn stats(&self, _layer: u8) -> Option<LayerStats> {
        todo!()
    }
}

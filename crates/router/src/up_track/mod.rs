//! Receives one track of a publisher with all its layers: numbering, loss, key frame requests and reports. The cache
//! and everything else that down-tracks read is in [`mirror`], since each worker keeps its own.

pub mod cache;

mod descriptor;
mod keyframe;
mod layer;
mod lead;
pub mod level;
pub mod mirror;
mod nack;
mod numbering;
mod offered_sets;
pub mod report;
mod rtx;
pub mod streams;
pub mod watch;

use std::time::{Duration, Instant};

use model::{
    Codec, CodecSpec, DropReason, Loudness, MediaKind, NtpTime, Pt, Ssrc, TrackId, UpMedia,
};
use rtp::rtcp::{NoRoom, ReportBlock, RtcpWriter};
use rtp::sequence::ExtSeq;
use rtp::{ParsedExtensions, RtpPacket};

use crate::{
    LEAD_MAX, MAX_LAYERS, PacketBuf, PacketMeta, Relayed, SenderInfo, StreamId, StreamRef, UpStats,
};
use layer::{Asks, Incoming, Layer};
use level::LevelMeter;
use offered_sets::OfferedSets;
use rtx::Layout;

/// A track without media for this long is silent. Opus with DTX sends every 400 ms (RFC 7587 section 3.1.3); browsers
/// send a still screen once a second.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Time until a retransmission is requested again, as long as the round trip to the publisher is not known.
const DEFAULT_RETRY: Duration = Duration::from_millis(100);

/// Result of an accepted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// It is the first of the track, or the first after silence: the caller emits `model::Event::TrackActive`.
    pub first_of_track: bool,
    /// The packets of [`UpTrack::lead`] are to be sent before it.
    pub has_lead: bool,
    /// How loud the track is, if it is to be told now: the caller emits `model::Event::AudioLevel`.
    pub level: Option<Loudness>,
}

/// One track of a publisher.
#[derive(Debug)]
pub struct UpTrack {
    track: TrackId,
    kind: MediaKind,
    formats: Vec<Format>,
    offered: OfferedSets,
    asks: Asks,
    layers: Vec<Layer>,
    /// When the last media packet arrived; `None` before the first one and after silence.
    heard: Option<Instant>,
    /// For audio.
    level: Option<Box<LevelMeter>>,
    retry: Duration,
}

/// One codec of the track: the parts that are needed to read its packets.
#[derive(Debug, Clone, Copy)]
struct Format {
    pt: Pt,
    rtx_pt: Option<Pt>,
    codec: Codec,
    clock_rate: u32,
}

/// The parsed header. It borrows nothing, so the buffer can be changed.
struct Header {
    pt: Pt,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    layout: Layout,
}

impl UpTrack {
    /// A track as negotiated.
    pub fn new(media: &UpMedia) -> Self {
        let mut track = Self {
            track: media.track,
            kind: media.kind,
            formats: Vec::new(),
            offered: OfferedSets::default(),
            asks: Asks::default(),
            layers: Vec::new(),
            heard: None,
            level: level::meter(media.kind),
            retry: DEFAULT_RETRY,
        };
        track.update(media);
        track
    }

    /// Applies a renegotiated media section; layers that stay keep their state.
    pub fn update(&mut self, media: &UpMedia) {
        self.track = media.track;
        self.formats = media.codecs.iter().map(Format::new).collect();
        self.offered = OfferedSets::new(&media.codecs);
        self.asks = Asks {
            nack: media.codecs.iter().any(|c| c.feedback.nack),
            pli: media.codecs.iter().any(|c| c.feedback.pli),
            fir: media.codecs.iter().any(|c| c.feedback.fir),
        };
        self.layers.resize_with(layer_count(media), || Layer::new(media.kind));
    }

    /// The track's id.
    pub fn track(&self) -> TrackId {
        self.track
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Takes a decrypted packet of `len` bytes in `buf`, with its header extensions `ext`, resolved with the publisher's ids; a
    /// retransmission is unwrapped in place. On success `buf` is
    /// ready to be shared.
    ///
    /// # Errors
    /// The reason why the packet is not forwarded: `RtpMalformed`, `UnknownPayloadType`, `Duplicate`, `TooOld`,
    /// `RtxUnmatched`, `PaddingOnly`, `UnknownStream`.
    pub fn ingest(
        &mut self,
        now: Instant,
        stream: StreamRef,
        buf: &mut PacketBuf,
        len: usize,
        ext: &ParsedExtensions,
    ) -> Result<Accepted, DropReason> {
        let packet = buf.packet_mut().ok_or(DropReason::PoolExhausted)?;
        let mut header = read_header(packet.space(), len)?;
        let layer =
            self.layers.get_mut(usize::from(stream.layer)).ok_or(DropReason::UnknownStream)?;
        let (ssrc, format) = if stream.is_rtx {
            let format = self.formats.iter().find(|f| f.rtx_pt == Some(header.pt));
            let format = *format.ok_or(DropReason::UnknownPayloadType)?;
            let ssrc = layer.ssrc().ok_or(DropReason::RtxUnmatched)?;
            (header.sequence, header.layout) =
                rtx::unwrap(packet.space(), header.layout, format.pt, ssrc)?;
            header.pt = format.pt;
            (ssrc, Some(format))
        } else {
            (stream.ssrc, self.formats.iter().find(|f| f.pt == header.pt).copied())
        };
        let incoming = Incoming {
            ssrc,
            sequence: header.sequence,
            timestamp: header.timestamp,
            clock_rate: format.map_or(90_000, |f| f.clock_rate),
            is_retransmission: stream.is_rtx,
        };
        let place = layer.place(now, &incoming)?;
        let Some(format) = format else {
            // A payload type that was not negotiated (comfort noise, for example). Its number is cut out: subscribers
            // must not take the gap for a loss.
            layer.end(now, &incoming, place);
            return Err(DropReason::UnknownPayloadType);
        };
        if header.layout.payload_len == 0 && layer.end(now, &incoming, place) {
            return Err(DropReason::PaddingOnly);
        }
        let seq = ExtSeq(layer.accept(now, &incoming, place, header.layout.payload_len as u16));

        let meta = &mut packet.meta;
        meta.track = self.track;
        meta.stream = StreamId::new(stream.layer, layer.source_number());
        meta.seq = seq;
        meta.timestamp = header.timestamp;
        meta.marker = header.marker;
        meta.pt = format.pt;
        meta.clock_rate = format.clock_rate;
        meta.header_len = header.layout.header_len as u16;
        meta.payload_len = header.layout.payload_len as u16;
        meta.arrival = now;
        meta.is_retransmission = stream.is_rtx;
        meta.ext = *ext;
        let dd = packet.meta.ext.dependency_descriptor(packet.bytes());
        let told = dd.map(rtp::dependency_descriptor::starts_key_frame);
        packet.meta.info = rtp::payload::inspect(format.codec, packet.payload(), dd);

        let mut has_lead = false;
        let info = &mut packet.meta.info;
        if let Some(told) = told {
            layer.correct_by_descriptor(told, info);
        }
        if info.parameter_sets {
            layer.sends_parameter_sets();
        } else if info.lacks_parameter_sets() {
            let count = self.offered.count(format.pt);
            if count > 0 && !layer.does_send_parameter_sets() {
                match layer.make_room(place, count) {
                    Some(seq) => (has_lead, packet.meta.seq) = (true, ExtSeq(seq)),
                    // The packet arrived late, and no numbers are left before it for the parameter sets. A subscriber
                    // that began here could not decode, so it is no start, and another key frame is requested.
                    None => info.keyframe_start = false,
                }
            }
        }
        let keyframe_start = packet.meta.info.keyframe_start && self.kind == MediaKind::Video;
        if keyframe_start {
            // Parameter sets in front of it that are still missing are part of it.
            let lead = if packet.meta.info.lacks_parameter_sets() { LEAD_MAX as u64 } else { 0 };
            layer.key_frame(place.raw.saturating_sub(lead));
        }
        let first_of_track = self.heard.replace(now).is_none();
        let level = match &mut self.level {
            Some(meter) if !stream.is_rtx => {
                meter.packet(now, packet.meta.ext.audio_level.map(|l| l.level))
            }
            _ => None,
        };
        Ok(Accepted { first_of_track, has_lead, level })
    }

    /// The packets to send before one that was accepted with [`Accepted::has_lead`]: parameter sets that the publisher
    /// named in its offer and does not send. They are made by [`crate::PacketPool::enter`], and have the numbers in
    /// front of that packet. At most [`LEAD_MAX`].
    pub fn lead(&self, key: &PacketMeta) -> impl Iterator<Item = (Relayed, &[u8])> {
        self.offered.before(key)
    }

    /// Whether the track became silent since the last call: no media for two seconds. Reported once; the next packet
    /// is again the first of the track.
    pub fn fell_silent(&mut self, now: Instant) -> bool {
        self.heard.take_if(|last| now.saturating_duration_since(*last) >= SILENT_AFTER).is_some()
    }

    /// Whether an audio track whose level was told sends no packets any more: its level is 127 now. Reported once. To be
    /// called about once a second.
    pub fn level_fell_silent(&mut self, now: Instant) -> bool {
        self.level.as_mut().is_some_and(|meter| meter.fell_silent(now))
    }

    /// Takes a sender report of one of the track's SSRCs. Returns the stream and the report, which each mirror of the
    /// track needs ([`crate::TrackMirror::sender_report`]) once [`crate::PublisherClock::tell`] converted it to the
    /// node's clock; `None` if the SSRC sent no media yet.
    pub fn sender_report(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        ntp: NtpTime,
        rtp_timestamp: u32,
    ) -> Option<(StreamId, SenderInfo)> {
        // RFC 3550 section 6.4.1: a sender without a wall clock sends zero.
        if ntp == NtpTime(0) {
            return None;
        }
        let info = SenderInfo { ntp, rtp_timestamp, arrival: now };
        let at = self.layers.iter_mut().position(|l| l.sender_report(ssrc, info))?;
        Some((StreamId::new(at as u8, self.layers[at].source_number()), info))
    }

    /// Requests a key frame of a layer. The request is sent with [`UpTrack::poll_feedback`]: the first at once, then
    /// once a second until a key frame arrives, and at most one per layer and second.
    pub fn request_keyframe(&mut self, now: Instant, layer: u8) {
        if let Some(layer) = self.layers.get_mut(usize::from(layer)) {
            layer.want_key_frame(now);
        }
    }

    /// Sets the time until a retransmission is requested again: the round trip to the publisher and its variation. 100
    /// ms before the first call.
    pub fn set_retry(&mut self, retry: Duration) {
        self.retry = retry;
    }

    /// The last time between a NACK and its retransmission, returned once: an upper bound of the round trip.
    pub fn take_repair_time(&mut self) -> Option<Duration> {
        self.layers.iter_mut().find_map(Layer::take_repair_time)
    }

    /// Writes the NACKs, PLIs and FIRs that are due, with `sender` as the sender SSRC. `Ok(true)` when something was
    /// written.
    ///
    /// # Errors
    /// `NoRoom` from the writer: feedback that did not fit stays due.
    pub fn poll_feedback(
        &mut self,
        now: Instant,
        sender: Ssrc,
        rtcp: &mut RtcpWriter<'_>,
    ) -> Result<bool, NoRoom> {
        let mut wrote = false;
        for layer in &mut self.layers {
            wrote |= layer.poll_feedback(now, sender, self.asks, self.retry, rtcp)?;
        }
        Ok(wrote)
    }

    /// Appends a report block for each media SSRC that sent packets since the last call (RFC 3550 section 6.4.1). Call
    /// it once per report interval.
    pub fn report_blocks(&mut self, now: Instant, blocks: &mut Vec<ReportBlock>) {
        blocks.extend(self.layers.iter_mut().filter_map(|l| l.report_block(now)));
    }

    /// How many packets were expected between the last two calls of [`UpTrack::report_blocks`], and how many of them did
    /// not arrive (retransmissions do not count).
    pub fn reported_loss(&self) -> (u64, u64) {
        let layers = self.layers.iter().map(Layer::reported_loss);
        layers.fold((0, 0), |(expected, lost), (e, l)| (expected + e, lost + l))
    }

    /// When [`UpTrack::poll_feedback`] has something to write.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.layers.iter().filter_map(|l| l.poll_timeout(self.asks)).min()
    }

    /// Reception statistics of the track.
    pub fn stats(&self, now: Instant) -> UpStats {
        UpStats { layers: self.layers.iter().map(|l| l.stats(now)).collect() }
    }
}

impl Format {
    fn new(spec: &CodecSpec) -> Self {
        Self { pt: spec.pt, rtx_pt: spec.rtx_pt, codec: spec.codec, clock_rate: spec.clock_rate }
    }
}

/// Layers of a media section: by its rids, else by its SSRC lines, else one.
pub(crate) fn layer_count(media: &UpMedia) -> usize {
    let count = if media.rids.is_empty() { media.ssrcs.len() } else { media.rids.len() };
    count.clamp(1, MAX_LAYERS)
}

fn read_header(buf: &mut [u8], len: usize) -> Result<Header, DropReason> {
    let raw = buf.get(..len).ok_or(DropReason::RtpMalformed)?;
    let packet = RtpPacket::parse(raw)?;
    let header = Header {
        pt: packet.pt(),
        sequence: packet.sequence(),
        timestamp: packet.timestamp(),
        marker: packet.marker(),
        layout: Layout { header_len: packet.header_len(), payload_len: packet.payload().len() },
    };
    if let Some(first) = buf.first_mut() {
        // The padding is removed, so the bit that announces it is cleared (RFC 3550 section 5.1).
        *first &= !0x20;
    }
    Ok(header)
}

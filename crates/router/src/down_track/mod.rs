//! Sends one track to one subscriber through one slot: selection, rewriting, retransmissions and sender reports.
//!
//! A packet passes two steps, between which the caller may queue it. When it arrives, [`DownTrack::select`] decides
//! whether the subscriber gets it (`select`). When it leaves, [`DownTrack::write`] numbers and writes it: `splice`
//! joins the numberings of layers and tracks, `rewrite` writes header and payload, mostly from blocks that are
//! `prepared`. `resend` answers NACKs, with `seq_map` (which number was which packet) and `rtx` (which packets may be
//! resent); `report` handles sender and receiver reports. The subscriber's bandwidth is not estimated here.

mod join;
mod picture_loss;
mod prepared;
mod report;
mod resend;
mod rewrite;
mod rtx;
mod select;
mod seq_map;
mod splice;

use std::time::Instant;

use model::{
    Binding, DownMedia, DropReason, ExtensionMap, MediaKind, Pt, PtMapping, Ssrc, StreamSsrc,
    TrackId, WallClock,
};
use rtp::payload::red;
use rtp::rtcp::{NoRoom, ReportBlock, RtcpWriter};
use rtp::sequence::ExtSeq;

use crate::bitrate::Meter;
use crate::up_track::watch::bit;
use crate::{DownStats, Packet, StreamId, TrackMirror};
pub use report::LineReport;
use report::Reports;
use rewrite::{Address, Lengths, Template};
use rtx::Retransmissions;
use select::Selection;
use seq_map::SeqMap;
use splice::{Pictures, Segment, Tail};

/// A plain packet that was written and is to be sealed (encrypted and authenticated).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the RTP header, extensions included.
    pub header_len: usize,
    /// Bytes of the whole packet.
    pub len: usize,
    /// The SSRC of the packet: the slot's, or that of its retransmissions.
    pub ssrc: Ssrc,
    /// Extended sequence number under that SSRC; `seq.0 >> 16` is SRTP's rollover counter (RFC 3711 section 3.3.1).
    pub seq: ExtSeq,
    /// The packet may be written again under the same number, since the subscriber has no stream for retransmissions.
    /// Seal it exactly as it is, without padding: other bytes under the same number would use a nonce twice
    /// (threats row 19).
    pub exact: bool,
    /// The packet contains [`Leave::transport_cc`].
    pub transport_cc: bool,
}

/// A packet that a slot will send: the result of [`DownTrack::select`], which [`DownTrack::write`] takes. Packets of
/// one slot leave in the order in which they were selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The splice of the slot that the packet follows.
    splice: u32,
}

/// When a packet leaves, and its transport-wide number.
#[derive(Debug, Clone, Copy)]
pub struct Leave {
    /// The time of sending.
    pub now: Instant,
    /// The next transport-wide sequence number of the session (draft-holmer-rmcat-transport-wide-cc-extensions-01). It
    /// is used if [`Written::transport_cc`] is set.
    pub transport_cc: u16,
}

/// One slot of a subscriber.
#[derive(Debug)]
pub struct DownTrack {
    kind: MediaKind,
    ssrc: StreamSsrc,
    clock: WallClock,
    template: Template,
    binding: Option<Binding>,
    selection: Selection,
    /// At selection: the number of splices so far. Packets after the last one are being selected.
    splices: u32,
    /// The number of splices when the present binding was made: packets that were selected before it no longer leave.
    bound_at: u32,
    /// At selection: the newest packet that was selected.
    newest: Option<(TrackId, StreamId, ExtSeq)>,
    /// At the exit: the present segment, and the splice that it follows; `None` before the first packet, and after
    /// another track was bound.
    segment: Option<Segment>,
    spliced: u32,
    /// The mapping of the last packet's payload type.
    mapping: Option<PtMapping>,
    tail: Option<Tail>,
    map: SeqMap,
    first: u64,
    rtx: Retransmissions,
    rtx_seq: ExtSeq,
    reports: Reports,
    stats: DownStats,
    bitrate: Meter,
}

impl DownTrack {
    /// A slot as negotiated, with no track bound. `extensions` are the subscriber's ids.
    pub fn new(media: &DownMedia, extensions: &ExtensionMap, clock: WallClock) -> Self {
        let first = first_sequence(media.ssrc.media);
        Self {
            kind: media.kind,
            ssrc: media.ssrc,
            clock,
            template: Template::new(media.mid, extensions),
            binding: None,
            selection: Selection::new(media.kind),
            splices: 0,
            bound_at: 0,
            newest: None,
            segment: None,
            spliced: 0,
            mapping: None,
            tail: None,
            map: SeqMap::new(first),
            first,
            rtx: Retransmissions::new(media.kind),
            rtx_seq: ExtSeq(media.ssrc.rtx.map_or(0, first_sequence)),
            reports: Reports::new(media.kind),
            stats: DownStats::default(),
            bitrate: Meter::default(),
        }
    }

    /// Applies a renegotiated media section; the SSRC, the numbering and the binding stay.
    pub fn update(&mut self, media: &DownMedia, extensions: &ExtensionMap) {
        self.template = Template::new(media.mid, extensions);
        let all_rtx = self
            .binding
            .iter()
            .flat_map(|b| b.payload_types.iter())
            .all(|m| self.rtx_address(m).is_some());
        if !all_rtx {
            // A packet that is resent now might look different under its old number.
            self.map.forget();
            // Packets that leave from now on can be requested again.
            if let Some(segment) = self.segment {
                let tail = self.tail.as_ref().filter(|tail| tail.segment == segment);
                let from = tail.map_or((segment.in_start, segment.out_start), |tail| {
                    (tail.in_seq + 1, tail.out_seq + 1)
                });
                self.map.begin(Segment { in_start: from.0, out_start: from.1, ..segment });
            }
        }
    }

    /// Binds a track, or pauses with `None`. The slot begins with the next packet, for video with a key frame. Binding
    /// the same track again changes nothing.
    pub fn bind(&mut self, binding: Option<Binding>) {
        let same = match (&self.binding, &binding) {
            (Some(a), Some(b)) => a.track == b.track && a.payload_types == b.payload_types,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.selection.reset();
        self.mapping = None;
        self.segment = None;
        self.map.forget();
        self.reports.pause();
        self.bound_at = self.splices;
        self.binding = binding;
    }

    /// The track that is bound.
    pub fn track(&self) -> Option<TrackId> {
        self.binding.as_ref().map(|b| b.track)
    }

    /// The SSRCs of the slot: media and retransmissions.
    pub fn ssrcs(&self) -> StreamSsrc {
        self.ssrc
    }

    /// Sets the highest layer wanted, counted from 0, the lowest quality. `None`, the initial value, is no limit.
    pub fn set_max_rank(&mut self, rank: Option<u8>) {
        self.selection.set_max_rank(rank);
    }

    /// Whether the subscriber gets a packet. `mirror` is this worker's mirror of the track and has received the packet
    /// already. A packet that was selected must be written, or given up with [`DownTrack::interrupt`].
    ///
    /// # Errors
    /// The reason why the subscriber does not get it: `NoSubscriber` (another track or none is bound),
    /// `CodecMismatch`, `LayerNotSelected`, `AwaitingKeyFrame`, `BeforeSplice`.
    #[inline]
    pub fn select(&mut self, mirror: &TrackMirror, packet: &Packet) -> Result<Pick, DropReason> {
        let meta = &packet.meta;
        if self.track() != Some(meta.track) {
            return Err(DropReason::NoSubscriber);
        }
        let flows = self.selection.current() == Some(meta.stream);
        let Some(mapping) = self.mapping_of(meta.pt) else {
            if flows {
                // This packet is missing at the subscriber, so later ones cannot be decoded.
                self.selection.interrupt();
            }
            return Err(DropReason::CodecMismatch);
        };
        self.mapping = Some(mapping);
        if !flows {
            self.splice_onto(mirror, packet)?;
        }
        if meta.info.keyframe_start {
            self.selection.key_frame();
        }
        match &mut self.newest {
            Some((track, stream, seq)) if (*track, *stream) == (meta.track, meta.stream) => {
                *seq = meta.seq.max(*seq);
            }
            newest => *newest = Some((meta.track, meta.stream, meta.seq)),
        }
        Ok(Pick { splice: self.splices })
    }

    /// Writes a selected packet into `out` for this subscriber, header and payload in one pass. Numbers and send times
    /// are those of the moment it leaves.
    ///
    /// # Errors
    /// The reason why it is not sent: `NoSubscriber` (another track was bound meanwhile), `CodecMismatch`,
    /// `BeforeSplice`, `Duplicate`, `TooOld`, `TooLarge`, or `RtpMalformed` for invalid RED.
    #[inline]
    pub fn write(
        &mut self,
        leave: &Leave,
        mirror: &TrackMirror,
        packet: &Packet,
        pick: Pick,
        out: &mut [u8],
    ) -> Result<Written, DropReason> {
        let meta = &packet.meta;
        // If the slot left this track and came back, some of the packets that waited are missing: the rest of their
        // picture cannot be decoded.
        let is_stale = pick.splice.wrapping_sub(self.bound_at) as i32 <= 0;
        if is_stale || self.track() != Some(meta.track) {
            return Err(DropReason::NoSubscriber);
        }
        let mapping = self.mapping_of(meta.pt).ok_or(DropReason::CodecMismatch)?;
        let payload = payload_for(&mapping, packet)?;
        let segment = match self.segment {
            Some(segment) if self.spliced == pick.splice => segment,
            _ => self.begin_segment(mirror, packet, pick),
        };
        let seq = segment.out_seq(meta).ok_or(DropReason::BeforeSplice)?;
        match self.map.is_free(seq) {
            Some(true) => {}
            Some(false) => return Err(DropReason::Duplicate),
            None => return Err(DropReason::TooOld),
        }
        let address = self.address(leave, &mapping, seq as u16);
        let Lengths { header, all: len } =
            self.template.write(&address, &segment, packet, payload, out)?;
        self.sent(leave.now, packet, seq, len, payload.len());
        let exact = self.rtx_address(&mapping).is_none();
        Ok(Written {
            header_len: header,
            len,
            ssrc: self.ssrc.media,
            seq: ExtSeq(seq),
            exact,
            transport_cc: address.transport_cc.is_some(),
        })
    }

    /// [`DownTrack::select`] and [`DownTrack::write`] in one call, for a packet that leaves as soon as it arrives.
    ///
    /// # Errors
    /// Those of both.
    #[inline]
    pub fn forward(
        &mut self,
        leave: &Leave,
        mirror: &TrackMirror,
        packet: &Packet,
        out: &mut [u8],
    ) -> Result<Written, DropReason> {
        let pick = self.select(mirror, packet)?;
        self.write(leave, mirror, packet, pick, out)
    }

    /// Selected packets will not be written, since they waited too long or were too many. Later ones cannot be decoded
    /// without them: video waits for a key frame, and its numbers then continue without a gap.
    pub fn interrupt(&mut self) {
        self.selection.interrupt();
    }

    /// The layers that the slot wants, one bit each: the layer that it should show, and until it is spliced the layer
    /// that it still shows.
    pub fn wanted_layers(&mut self, mirror: &TrackMirror) -> u8 {
        if self.track() != Some(mirror.track()) {
            return 0;
        }
        let target = self.selection.target(mirror).map_or(0, bit);
        target | self.selection.current().map_or(0, |stream| bit(stream.layer()))
    }

    /// The layer of which a key frame is wanted; pass it to [`crate::UpTrack::request_keyframe`]. Repeated twice a
    /// second until the key frame arrives; cheap enough to be called after each batch of packets.
    pub fn wants_keyframe(&mut self, now: Instant, mirror: &TrackMirror) -> Option<u8> {
        if self.track() != Some(mirror.track()) {
            return None;
        }
        self.selection.wants_key_frame(now, mirror)
    }

    /// The subscriber sent PLI or FIR. [`DownTrack::wants_keyframe`] passes the request on: the first one at once,
    /// later ones with growing delay.
    pub fn keyframe_requested(&mut self) {
        self.stats.keyframe_requests += 1;
        self.selection.lost_picture();
    }

    /// Whether the subscriber sent PLI or FIR and the request is delayed.
    pub fn keyframe_deferred(&self, now: Instant) -> bool {
        self.selection.is_deferred(now)
    }

    /// Takes the subscriber's report block about the slot's media SSRC; blocks about other SSRCs are ignored. Returns what
    /// it says of the line.
    pub fn report_block(&mut self, now: Instant, block: &ReportBlock) -> LineReport {
        if block.ssrc() != self.ssrc.media {
            return LineReport::default();
        }
        let clock_rate = self.mapping.map_or(90_000, |m| m.clock_rate);
        self.reports.received(now, block, clock_rate, &mut self.stats)
    }

    /// Writes a sender report if one is due. `Ok(true)` if written; the caller adds SDES. `mirror` is that of the
    /// bound track, if this worker has it.
    ///
    /// # Errors
    /// `NoRoom` from the writer: the report stays due.
    pub fn poll_report(
        &mut self,
        now: Instant,
        mirror: Option<&TrackMirror>,
        rtcp: &mut RtcpWriter<'_>,
    ) -> Result<bool, NoRoom> {
        let Some(tail) = &self.tail else { return Ok(false) };
        let publisher = mirror
            .filter(|m| self.segment.is_some() && m.track() == tail.track)
            .and_then(|m| m.sender(tail.segment.stream));
        let clock_rate = self.mapping.map_or(90_000, |m| m.clock_rate);
        let Some((ntp, rtp_timestamp)) =
            self.reports.tie(now, &self.clock, tail, clock_rate, publisher)
        else {
            return Ok(false);
        };
        let info = rtp::rtcp::SenderInfo {
            ntp,
            rtp_timestamp,
            packet_count: self.stats.packets as u32,
            octet_count: self.stats.octets as u32,
        };
        rtcp.sr(self.ssrc.media, &info, &[])?;
        self.reports.sent(now, ntp);
        Ok(true)
    }

    /// When the next sender report is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reports.due()
    }

    /// Send statistics of the slot.
    pub fn stats(&self, now: Instant) -> DownStats {
        DownStats {
            track: self.track(),
            layer: self.selection.current().map(StreamId::layer),
            bitrate: self.bitrate.rate(now, self.octets()),
            ..self.stats
        }
    }

    #[inline]
    fn mapping_of(&self, up: Pt) -> Option<PtMapping> {
        match self.mapping {
            Some(mapping) if mapping.up == up => Some(mapping),
            _ => self.find_mapping(up),
        }
    }

    fn find_mapping(&self, up: Pt) -> Option<PtMapping> {
        self.binding.as_ref()?.payload_types.iter().find(|m| m.up == up).copied()
    }

    /// SSRC and payload type of retransmissions; `None` if a packet is resent as the original was sent.
    fn rtx_address(&self, mapping: &PtMapping) -> Option<(Ssrc, Pt)> {
        Some((self.ssrc.rtx?, mapping.down_rtx?))
    }

    fn address(&self, leave: &Leave, mapping: &PtMapping, sequence: u16) -> Address {
        let varies = self.rtx_address(mapping).is_some();
        let timed = varies && self.template.tells_send_time();
        let numbered = varies && self.template.tells_transport_number();
        Address {
            pt: mapping.down,
            ssrc: self.ssrc.media,
            sequence,
            original: None,
            sent_at: timed.then(|| self.clock.ntp(leave.now)),
            transport_cc: numbered.then_some(leave.transport_cc),
        }
    }

    /// Switches the selection to the stream of `packet`, if it is admitted.
    fn splice_onto(&mut self, mirror: &TrackMirror, packet: &Packet) -> Result<(), DropReason> {
        let meta = &packet.meta;
        self.selection.admit(mirror, meta)?;
        if self.saw(meta.track, meta.stream, meta.seq) {
            // After a pause the same stream continues, but not with packets that were already selected.
            return Err(DropReason::BeforeSplice);
        }
        self.selection.switch(meta.stream);
        self.splices = self.splices.wrapping_add(1);
        self.stats.splices += 1;
        Ok(())
    }

    /// Begins a new segment, after everything sent so far, with the first packet of a splice that leaves.
    fn begin_segment(&mut self, mirror: &TrackMirror, packet: &Packet, pick: Pick) -> Segment {
        let segment = splice::begin(self.tail.as_ref(), self.first, mirror, packet);
        self.map.begin(segment);
        self.segment = Some(segment);
        self.spliced = pick.splice;
        segment
    }

    /// Whether this packet, or a later one of the same stream, was selected.
    fn saw(&self, track: TrackId, stream: StreamId, seq: ExtSeq) -> bool {
        self.newest.is_some_and(|(t, s, newest)| (t, s) == (track, stream) && seq <= newest)
    }

    /// Updates numbering, reports and statistics with a packet that was written.
    fn sent(&mut self, now: Instant, packet: &Packet, seq: u64, len: usize, octets: usize) {
        if self.map.mark(seq)
            && let Some(segment) = self.segment
        {
            let tail = self.tail.get_or_insert_with(|| Tail {
                track: packet.meta.track,
                segment,
                in_seq: packet.meta.seq.0,
                out_seq: seq,
                timestamp: segment.out_timestamp(packet),
                arrival: packet.meta.arrival,
                pictures: Pictures::default(),
            });
            tail.track = packet.meta.track;
            tail.segment = segment;
            tail.advance(packet, seq);
        }
        self.rtx.earn(len);
        self.reports.flowing(now);
        self.bitrate.look(now, self.octets());
        self.stats.packets += 1;
        self.stats.octets += octets as u64;
        self.stats.key_frames +=
            u64::from(packet.meta.info.keyframe_start && self.kind == MediaKind::Video);
    }

    /// Payload bytes written, with those of retransmissions.
    fn octets(&self) -> u64 {
        self.stats.octets + self.stats.rtx_octets
    }
}

/// The part of the payload that the subscriber gets.
fn payload_for<'p>(mapping: &PtMapping, packet: &'p Packet) -> Result<&'p [u8], DropReason> {
    let payload = packet.payload();
    if !mapping.unwrap_red || payload.is_empty() {
        return Ok(payload);
    }
    red::primary(payload).map(|(_, primary)| primary).ok_or(DropReason::RtpMalformed)
}

/// The first sequence number of an SSRC: as random as the SSRC is (RFC 3550 section 5.1), and in the lower half, so that
/// losses at the start cannot make the receiver guess a wrong rollover counter (RFC 3711 section 3.3.1).
fn first_sequence(ssrc: Ssrc) -> u64 {
    u64::from(ssrc.0.wrapping_mul(0x9e37_79b1) >> 17).max(1)
}

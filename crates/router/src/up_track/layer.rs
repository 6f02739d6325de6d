//! One simulcast layer of an up-track (the whole track without simulcast): its source and numbering, missing packets,
//! feedback and reports.

use std::time::{Duration, Instant};

use model::{DropReason, MediaKind, Ssrc};
use rtp::payload::PayloadInfo;
use rtp::rtcp::{FirEntry, NoRoom, ReportBlock, RtcpWriter};

use super::descriptor::Descriptors;
use super::keyframe::KeyframeRequests;
use super::nack::{Nacks, Repair};
use super::numbering::{Numbering, Place, Verdict};
use super::report::{Reception, SenderInfo};
use crate::LayerStats;
use crate::bitrate::{Meter, duration};

/// Most missing packets that are tracked per layer of video.
const NACKS_VIDEO: usize = 512;
/// Most missing packets that are tracked per audio track.
const NACKS_AUDIO: usize = 64;
/// Sender reports of a layer are accepted at most this often. RFC 3550 section 6.2 has them seconds apart. Each one
/// that is accepted is sent to every worker with subscribers, and a compound packet can hold dozens.
const SENDER_REPORT_EVERY: Duration = Duration::from_millis(20);

/// Kinds of feedback that the publisher accepts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asks {
    pub(crate) nack: bool,
    pub(crate) pli: bool,
    pub(crate) fir: bool,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer {
    kind: MediaKind,
    source: Option<Source>,
    /// Number of sources before the present one.
    sources: u64,
    keyframes: KeyframeRequests,
    stats: LayerStats,
    bitrate: Meter,
    /// Packets of earlier sources that were given up as lost.
    lost_before: u64,
    /// The last time between a NACK and its retransmission, until it is taken.
    repair_time: Option<Duration>,
}

/// State of the present SSRC of a layer.
#[derive(Debug)]
struct Source {
    ssrc: Ssrc,
    /// RTP clock of its last packet in hertz.
    clock_rate: u32,
    numbering: Numbering,
    nacks: Nacks,
    reception: Reception,
    sender: Option<SenderInfo>,
    /// The source sent parameter sets. Then those of the offer may be stale and are not used.
    parameter_sets: bool,
    descriptors: Descriptors,
}

/// A packet on its way through ingest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) clock_rate: u32,
    pub(crate) is_retransmission: bool,
}

impl Layer {
    pub(crate) fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            source: None,
            sources: 0,
            keyframes: KeyframeRequests::default(),
            stats: LayerStats::default(),
            bitrate: Meter::default(),
            lost_before: 0,
            repair_time: None,
        }
    }

    /// The media SSRC, once it sent a packet.
    pub(crate) fn ssrc(&self) -> Option<Ssrc> {
        self.source.as_ref().map(|s| s.ssrc)
    }

    /// The number of the present source of the layer, counted from 0.
    pub(crate) fn source_number(&self) -> u64 {
        self.sources
    }

    /// Says where a packet belongs. Begins a new source if the packet shows that there is one.
    pub(crate) fn place(&mut self, now: Instant, packet: &Incoming) -> Result<Place, DropReason> {
        let known = self.source.as_ref().is_some_and(|s| s.ssrc == packet.ssrc);
        if !known {
            if packet.is_retransmission {
                return Err(DropReason::RtxUnmatched);
            }
            self.begin(now, packet);
        }
        for _ in 0..2 {
            let Some(source) = &mut self.source else { break };
            match source.numbering.place(packet.sequence, !packet.is_retransmission) {
                Verdict::Fresh(place) => return Ok(place),
                Verdict::Drop(reason) => return Err(reason),
                // RFC 3550 appendix A.1: the source is numbered anew, and the packet is placed as its first.
                Verdict::Restart => self.begin(now, packet),
            }
        }
        Err(DropReason::TooOld)
    }

    /// Takes a placed packet, and returns its compact number.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        packet: &Incoming,
        place: Place,
        octets: u16,
    ) -> u64 {
        self.bitrate.look(now, self.stats.octets);
        self.stats.packets += 1;
        self.stats.octets += u64::from(octets);
        let Some(source) = &mut self.source else { return place.raw };
        source.numbering.mark(place);
        let repair = source.seen(now, packet, place);
        let compact = source.numbering.compact(place.raw);
        self.stats.recovered += u64::from(repair.was_asked_for);
        // Without RTX the answer to the NACK cannot be told from the original packet arriving late.
        if packet.is_retransmission && repair.after.is_some() {
            self.repair_time = repair.after;
        }
        compact
    }

    /// Corrects what the payload said by the packet's dependency descriptor; see [`Descriptors::correct`].
    pub(crate) fn correct_by_descriptor(&mut self, told: Option<bool>, info: &mut PayloadInfo) {
        if let Some(source) = &mut self.source {
            source.descriptors.correct(told, info);
        }
    }

    /// Notes that the present source sends parameter sets.
    pub(crate) fn sends_parameter_sets(&mut self) {
        if let Some(source) = &mut self.source {
            source.parameter_sets = true;
        }
    }

    /// Whether the present source sent parameter sets.
    pub(crate) fn does_send_parameter_sets(&self) -> bool {
        self.source.as_ref().is_some_and(|s| s.parameter_sets)
    }

    /// Inserts `count` numbers before an accepted packet, and returns its new compact number; `None` if later packets
    /// were already numbered.
    pub(crate) fn make_room(&mut self, place: Place, count: usize) -> Option<u64> {
        let numbering = &mut self.source.as_mut()?.numbering;
        numbering.make_room(place, count).then(|| numbering.compact(place.raw))
    }

    /// Takes a placed packet that is not forwarded. `false`: it arrived too late to close its gap.
    pub(crate) fn end(&mut self, now: Instant, packet: &Incoming, place: Place) -> bool {
        let Some(source) = &mut self.source else { return true };
        if !source.numbering.cut(place) {
            return false;
        }
        source.seen(now, packet, place);
        true
    }

    /// A key frame arrived. It begins at this raw number, packets that lead to it included.
    pub(crate) fn key_frame(&mut self, raw: u64) {
        self.keyframes.arrived();
        self.stats.key_frames += 1;
        if let Some(source) = &mut self.source {
            source.nacks.key_frame(raw);
        }
    }

    /// A subscriber needs a key frame.
    pub(crate) fn want_key_frame(&mut self, now: Instant) {
        if self.kind == MediaKind::Video {
            self.keyframes.want(now);
        }
    }

    /// Takes a sender report of this layer's SSRC; `false` if it is of another SSRC, or too soon after the last one.
    pub(crate) fn sender_report(&mut self, ssrc: Ssrc, info: SenderInfo) -> bool {
        match &mut self.source {
            Some(source) if source.ssrc == ssrc && source.may_report(info.arrival) => {
                source.sender = Some(info);
                true
            }
            _ => false,
        }
    }

    /// Writes the feedback that is due. `Ok(true)` if something was written.
    pub(crate) fn poll_feedback(
        &mut self,
        now: Instant,
        sender: Ssrc,
        asks: Asks,
        retry: Duration,
        rtcp: &mut RtcpWriter<'_>,
    ) -> Result<bool, NoRoom> {
        let Some(source) = &mut self.source else { return Ok(false) };
        let mut wrote = false;
        if asks.nack && source.nacks.wake().is_some_and(|at| at <= now) {
            if source.nacks.give_up(now) && self.kind == MediaKind::Video {
                self.keyframes.want(now);
            }
            let mut due = source.nacks.due(now).peekable();
            if due.peek().is_some() {
                rtcp.nack(sender, source.ssrc, &mut due)?;
                drop(due);
                self.stats.nacked += source.nacks.asked(now, retry) as u64;
                wrote = true;
            }
        }
        if self.keyframes.due().is_some_and(|at| at <= now) {
            if asks.pli {
                rtcp.pli(sender, source.ssrc)?;
            } else if asks.fir {
                let sequence = self.keyframes.fir_sequence();
                rtcp.fir(sender, &[FirEntry { ssrc: source.ssrc, sequence }])?;
            }
            self.keyframes.sent(now);
            let asked = asks.pli || asks.fir;
            self.stats.keyframe_requests += u64::from(asked);
            wrote |= asked;
        }
        Ok(wrote)
    }

    /// The last time between a NACK and its retransmission, returned once.
    pub(crate) fn take_repair_time(&mut self) -> Option<Duration> {
        self.repair_time.take()
    }

    /// When [`Layer::poll_feedback`] has something to write.
    pub(crate) fn poll_timeout(&self, asks: Asks) -> Option<Instant> {
        let source = self.source.as_ref()?;
        let nack = if asks.nack { source.nacks.wake() } else { None };
        [nack, self.keyframes.due()].into_iter().flatten().min()
    }

    /// A report block, if packets arrived since the last one.
    pub(crate) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        source.reception.block(now, source.ssrc, source.sender.as_ref())
    }

    /// Expected and lost packets of the last report block.
    pub(crate) fn reported_loss(&self) -> (u64, u64) {
        self.source.as_ref().map_or((0, 0), |source| source.reception.reported())
    }

    /// Reception statistics of the layer.
    pub(crate) fn stats(&self, now: Instant) -> LayerStats {
        let mut stats = self.stats;
        stats.bitrate = self.bitrate.rate(now, stats.octets);
        stats.lost = self.lost_before;
        if let Some(source) = &self.source {
            stats.ssrc = Some(source.ssrc);
            stats.lost += source.nacks.lost();
            stats.jitter = duration(source.reception.jitter(), source.clock_rate);
        }
        stats
    }

    fn begin(&mut self, now: Instant, packet: &Incoming) {
        if let Some(old) = &self.source {
            self.lost_before += old.nacks.lost();
            self.sources += 1;
        }
        let numbering = Numbering::new(packet.sequence);
        let limit = match self.kind {
            MediaKind::Video => NACKS_VIDEO,
            MediaKind::Audio => NACKS_AUDIO,
        };
        self.source = Some(Source {
            ssrc: packet.ssrc,
            clock_rate: packet.clock_rate,
            nacks: Nacks::new(limit, numbering.highest()),
            reception: Reception::new(now, numbering.highest() + 1),
            numbering,
            sender: None,
            parameter_sets: false,
            descriptors: Descriptors::default(),
        });
    }
}

impl Source {
    /// Whether the last accepted sender report is long enough ago.
    fn may_report(&self, now: Instant) -> bool {
        self.sender
            .is_none_or(|last| now.saturating_duration_since(last.arrival) >= SENDER_REPORT_EVERY)
    }

    /// Updates reception statistics and missing packets with a packet.
    fn seen(&mut self, now: Instant, packet: &Incoming, place: Place) -> Repair {
        if !packet.is_retransmission {
            self.clock_rate = packet.clock_rate;
            self.reception.record(now, place.raw, packet.timestamp, packet.clock_rate);
        }
        self.nacks.arrived(now, place.raw)
    }
}

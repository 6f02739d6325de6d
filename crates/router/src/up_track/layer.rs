//! One simulcast layer of an up-track (or all of a track without simulcast): its source, the source's numbering, what
//! is missing, what was asked for, what is reported.

use std::time::{Duration, Instant};

use model::{DropReason, MediaKind, Ssrc};
use rtp::rtcp::{FirEntry, NoRoom, ReportBlock, RtcpWriter};

use super::keyframe::KeyframeRequests;
use super::nack::{Nacks, Repair};
use super::numbering::{Numbering, Place, Verdict};
use super::report::{Reception, SenderInfo};
use crate::LayerStats;
use crate::bitrate::{Meter, duration};

/// Missing packets tracked per layer of video.
const NACKS_VIDEO: usize = 512;
/// Missing packets tracked of audio.
const NACKS_AUDIO: usize = 64;
/// Sender reports of a layer are taken at most this often. RFC 3550 section 6.2 means seconds; each one that is taken is
/// told to every worker with subscribers, and a compound packet holds dozens.
const SENDER_REPORT_EVERY: Duration = Duration::from_millis(20);

/// Feedback that the publisher takes.
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
    /// Sources before the present one.
    sources: u64,
    keyframes: KeyframeRequests,
    stats: LayerStats,
    bitrate: Meter,
    /// Given up by sources before the present one.
    lost_before: u64,
    /// The last time from a NACK to its retransmission that nobody took.
    repair_time: Option<Duration>,
}

/// What is known of the present SSRC of a layer.
#[derive(Debug)]
struct Source {
    ssrc: Ssrc,
    /// RTP clock in hertz of its last packet.
    clock_rate: u32,
    numbering: Numbering,
    nacks: Nacks,
    reception: Reception,
    sender: Option<SenderInfo>,
    /// Parameter sets came in it. Where they come, those of the offer may be stale.
    parameter_sets: bool,
}

/// A packet on its way in.
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

    /// The media SSRC, once a packet of it came.
    pub(crate) fn ssrc(&self) -> Option<Ssrc> {
        self.source.as_ref().map(|s| s.ssrc)
    }

    /// Which of the layer's sources is the present one, counted from 0.
    pub(crate) fn source_number(&self) -> u64 {
        self.sources
    }

    /// Says where a packet belongs; a new source is begun when the packet proves that there is one.
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
                // RFC 3550 appendix A.1: numbered anew, then placed as the first packet.
                Verdict::Restart => self.begin(now, packet),
            }
        }
        Err(DropReason::TooOld)
    }

    /// Takes a placed packet in, and gives its compact number.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        packet: &Incoming,
        place: Place,
        octets: u16,
    ) -> u64 {
        self.stats.packets += 1;
        self.stats.octets += u64::from(octets);
        self.bitrate.count(now, u64::from(octets));
        let Some(source) = &mut self.source else { return place.raw };
        source.numbering.mark(place);
        let repair = source.seen(now, packet, place);
        let compact = source.numbering.compact(place.raw);
        self.stats.recovered += u64::from(repair.was_asked_for);
        // Without RTX it may be the packet itself, which was only late.
        if packet.is_retransmission && repair.after.is_some() {
            self.repair_time = repair.after;
        }
        compact
    }

    /// The present source sends parameter sets.
    pub(crate) fn sends_parameter_sets(&mut self) {
        if let Some(source) = &mut self.source {
            source.parameter_sets = true;
        }
    }

    /// Whether the present source sent parameter sets.
    pub(crate) fn does_send_parameter_sets(&self) -> bool {
        self.source.as_ref().is_some_and(|s| s.parameter_sets)
    }

    /// Puts so many numbers in before an accepted packet, and gives its compact number then; `None` when others were numbered
    /// behind it already.
    pub(crate) fn make_room(&mut self, place: Place, count: usize) -> Option<u64> {
        let numbering = &mut self.source.as_mut()?.numbering;
        numbering.make_room(place, count).then(|| numbering.compact(place.raw))
    }

    /// Takes a placed packet in that ends here. `false`: it comes too late for its gap to be closed.
    pub(crate) fn end(&mut self, now: Instant, packet: &Incoming, place: Place) -> bool {
        let Some(source) = &mut self.source else { return true };
        if !source.numbering.cut(place) {
            return false;
        }
        source.seen(now, packet, place);
        true
    }

    /// A key frame came, with all that belongs to it from this raw number on.
    pub(crate) fn key_frame(&mut self, raw: u64) {
        self.keyframes.arrived();
        self.stats.key_frames += 1;
        if let Some(source) = &mut self.source {
            source.nacks.key_frame(raw);
        }
    }

    /// Somebody needs a key frame.
    pub(crate) fn want_key_frame(&mut self, now: Instant) {
        if self.kind == MediaKind::Video {
            self.keyframes.want(now);
        }
    }

    /// Takes a sender report of this layer's SSRC; false when it is of another, or comes too soon after the last one.
    pub(crate) fn sender_report(&mut self, ssrc: Ssrc, info: SenderInfo) -> bool {
        match &mut self.source {
            Some(source) if source.ssrc == ssrc && source.may_report(info.arrival) => {
                source.sender = Some(info);
                true
            }
            _ => false,
        }
    }

    /// Writes what is due. `Ok(true)` when something was written.
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

    /// The last time from a NACK to its retransmission, once.
    pub(crate) fn take_repair_time(&mut self) -> Option<Duration> {
        self.repair_time.take()
    }

    /// When there is something to write.
    pub(crate) fn poll_timeout(&self, asks: Asks) -> Option<Instant> {
        let source = self.source.as_ref()?;
        let nack = if asks.nack { source.nacks.wake() } else { None };
        [nack, self.keyframes.due()].into_iter().flatten().min()
    }

    /// A report block, if something was heard since the last one.
    pub(crate) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        source.reception.block(now, source.ssrc, source.sender.as_ref())
    }

    /// How it comes in.
    pub(crate) fn stats(&self, now: Instant) -> LayerStats {
        let mut stats = self.stats;
        stats.bitrate = self.bitrate.rate(now);
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
        });
    }
}

impl Source {
    /// Whether a sender report at this time is not one of a flood.
    fn may_report(&self, now: Instant) -> bool {
        self.sender
            .is_none_or(|last| now.saturating_duration_since(last.arrival) >= SENDER_REPORT_EVERY)
    }

    /// Books a packet.
    fn seen(&mut self, now: Instant, packet: &Incoming, place: Place) -> Repair {
        if !packet.is_retransmission {
            self.clock_rate = packet.clock_rate;
            self.reception.record(now, place.raw, packet.timestamp, packet.clock_rate);
        }
        self.nacks.arrived(now, place.raw)
    }
}

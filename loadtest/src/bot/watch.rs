//! The receiving side of a bot: which stream a packet belongs to, retransmissions, and the reports and requests that a
//! receiver sends.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use congestion::twcc;
use model::{Codec, Extension, ExtensionMap, MediaKind, Pt, Ssrc};
use rtp::{
    ParsedExtensions, RtpPacket,
    rtcp::{RtcpPacket, RtcpWriter},
};
use transport::srtp::Sender;

use super::{
    frames::{Arrived, Context},
    outlet::Outlet,
    track::Track,
};
use crate::describe::Answer;

/// Interval of receiver reports, as in browsers: every second with video, every five with audio alone.
const REPORT_VIDEO: Duration = Duration::from_secs(1);
const REPORT_AUDIO: Duration = Duration::from_secs(5);
/// Most streams of one bot; further ones are ignored.
const MAX_TRACKS: usize = 256;
/// Longest compound packet.
const MAX_RTCP: usize = 1_200;

/// The meaning of a payload type.
#[derive(Debug, Clone, Copy)]
struct Meaning {
    pt: Pt,
    codec: Codec,
    is_rtx: bool,
    nack: bool,
    pli: bool,
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Watcher {
    own: Ssrc,
    cname: String,
    tracks: Vec<Track>,
    meanings: Vec<Meaning>,
    /// Retransmission SSRCs and the media SSRC that each repairs, as the answer or a packet said.
    repairs: Vec<(Ssrc, Ssrc)>,
    extensions: ExtensionMap,
    transport_cc: Option<Box<twcc::Receiver>>,
    report_every: Duration,
    next_report: Instant,
    numbers: Vec<u16>,
}

impl Watcher {
    /// A receiver of the streams that the answer names.
    pub(crate) fn new(now: Instant, own: Ssrc, cname: String, answer: &Answer) -> Watcher {
        let mut watcher = Watcher {
            own,
            cname,
            tracks: Vec::new(),
            meanings: Vec::new(),
            repairs: Vec::new(),
            extensions: answer.extensions.clone(),
            transport_cc: None,
            report_every: REPORT_AUDIO,
            next_report: now,
            numbers: Vec::new(),
        };
        watcher.learn(answer);
        let has_cc = answer.extensions.id(Extension::TransportCc).is_some();
        watcher.transport_cc = has_cc.then(|| Box::new(twcc::Receiver::new(now)));
        watcher.next_report = now + watcher.report_every;
        watcher
    }

    /// Takes note of payload types and streams that an answer names, the first one or a later one. Its sections are
    /// those that receive.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        let codecs = answer.sections.iter().flat_map(|section| &section.codecs);
        for codec in codecs {
            let (nack, pli) = (codec.feedback.nack, codec.feedback.pli);
            let media = Meaning { pt: codec.pt, codec: codec.codec, is_rtx: false, nack, pli };
            let rtx = codec.rtx_pt.map(|pt| Meaning { pt, is_rtx: true, ..media });
            for meaning in [Some(media), rtx].into_iter().flatten() {
                if !self.meanings.iter().any(|known| known.pt == meaning.pt) {
                    self.meanings.push(meaning);
                }
            }
        }
        let is_video = |meaning: &Meaning| meaning.codec.kind() == MediaKind::Video;
        if self.meanings.iter().any(is_video) {
            self.report_every = REPORT_VIDEO;
        }
        let streams = answer.sections.iter().flat_map(|section| &section.streams);
        for (rtx, media) in streams.filter_map(|s| s.rtx.map(|rtx| (rtx, s.media))) {
            if !self.repairs.contains(&(rtx, media)) && self.repairs.len() < MAX_TRACKS {
                self.repairs.push((rtx, media));
            }
        }
    }

    /// When [`Watcher::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let asks = self.tracks.iter().filter_map(Track::poll_timeout).min();
        let feedback = self.transport_cc.as_ref().and_then(|cc| cc.poll_timeout());
        let takes_pli = |track: &&Track| self.takes_pli(track.codec);
        let keys = self.tracks.iter().filter(takes_pli).filter_map(Track::key_due).min();
        [asks, feedback, keys].into_iter().flatten().fold(self.next_report, Instant::min)
    }

    /// Packets that are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.tracks.iter().map(Track::missing).sum()
    }

    /// Takes a decrypted packet.
    pub(crate) fn handle_rtp(&mut self, context: &mut Context<'_>, bytes: &[u8]) {
        let Ok(packet) = RtpPacket::parse(bytes) else {
            context.tally.counters.undecryptable += 1;
            return;
        };
        if let Some(cc) = &mut self.transport_cc
            && let Ok(extensions) = ParsedExtensions::parse(&packet, &self.extensions)
            && let Some(number) = extensions.transport_cc
        {
            cc.record(number, context.now);
        }
        let Some(meaning) = self.meanings.iter().find(|m| m.pt == packet.pt()).copied() else {
            context.tally.counters.foreign += 1;
            return;
        };
        let mut payload = packet.payload();
        let (mut ssrc, mut number) = (packet.ssrc(), packet.sequence());
        if meaning.is_rtx {
            // RFC 4588 section 4: the original number, then the payload. A packet of padding that probes the line has
            // neither.
            let Some((original, rest)) = payload.split_first_chunk::<2>() else { return };
            let Some(media) = self.repaired_by(ssrc, meaning.codec) else { return };
            (ssrc, number, payload) = (media, u16::from_be_bytes(*original), rest);
        }
        let Some(track) = self.track(context.now, ssrc, &meaning) else { return };
        let counters = &mut context.tally.counters;
        let timestamp = packet.timestamp();
        let accepted = track.accept(context.now, number, timestamp, meaning.is_rtx, counters);
        if let Some(sequence) = accepted
            && !payload.is_empty()
        {
            track.frames.take(context, Arrived { sequence, timestamp, payload });
        }
    }

    /// Takes an RTCP packet of the server.
    pub(crate) fn handle_rtcp(&mut self, now: Instant, packet: &RtcpPacket<'_>) {
        if let RtcpPacket::SenderReport(report) = packet
            && let Some(track) = self.tracks.iter_mut().find(|t| t.ssrc == report.ssrc)
        {
            track.note_report(now, report.info.ntp);
        }
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        let now = outlet.now;
        if now >= self.next_report {
            self.report(now, to, sender, outlet);
            self.next_report = now + self.report_every;
        }
        self.ask(now, to, sender, outlet);
        if self.transport_cc.as_ref().is_some_and(|cc| cc.poll_timeout().is_some_and(|d| d <= now))
        {
            self.feed_back(to, sender, outlet);
        }
    }

    /// Looks for frozen pictures, and for jitter; every second.
    pub(crate) fn sample(&mut self, context: &mut Context<'_>) {
        for track in &mut self.tracks {
            track.frames.check(context);
            context.tally.times.jitter.record(track.jitter());
        }
    }

    fn report(
        &mut self,
        now: Instant,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        let blocks: Vec<_> = self.tracks.iter_mut().filter_map(|t| t.report(now)).collect();
        // RFC 3550 section 6.1: a compound packet begins with a report, which may be empty, and names its source.
        for blocks in blocks.chunks(31).chain(blocks.is_empty().then_some(&[][..])) {
            write(to, sender, outlet, |writer| {
                writer.rr(self.own, blocks).ok()?;
                writer.sdes_cname(self.own, &self.cname).ok()
            });
        }
    }

    fn ask(&mut self, now: Instant, to: SocketAddr, sender: &mut Sender, outlet: &mut Outlet<'_>) {
        for track in &mut self.tracks {
            let ssrc = track.ssrc;
            if track.poll_timeout().is_some_and(|due| due <= now) {
                track.ask(now, &mut self.numbers);
                outlet.counters.nacks_sent += self.numbers.len() as u64;
                if !self.numbers.is_empty() {
                    write(to, sender, outlet, |writer| {
                        writer.rr(self.own, &[]).ok()?;
                        writer.nack(self.own, ssrc, &mut self.numbers.iter().copied()).ok()
                    });
                }
            }
            let takes_pli = self.meanings.iter().any(|m| m.codec == track.codec && m.pli);
            if takes_pli && track.ask_key(now) {
                outlet.counters.plis_sent += 1;
                write(to, sender, outlet, |writer| {
                    writer.rr(self.own, &[]).ok()?;
                    writer.pli(self.own, ssrc).ok()
                });
            }
        }
    }

    fn takes_pli(&self, codec: Codec) -> bool {
        self.meanings.iter().any(|meaning| meaning.codec == codec && meaning.pli)
    }

    fn feed_back(&mut self, to: SocketAddr, sender: &mut Sender, outlet: &mut Outlet<'_>) {
        let media = self.tracks.first().map_or(Ssrc(0), |track| track.ssrc);
        let Some(cc) = &mut self.transport_cc else { return };
        // The feedback covers at most 2,048 packets, so it fits into a few RTCP packets.
        for _ in 0..8 {
            let mut more = false;
            write(to, sender, outlet, |writer| {
                writer.rr(self.own, &[]).ok()?;
                more = cc.write_feedback(self.own, media, writer).ok()?;
                Some(())
            });
            if !more {
                return;
            }
        }
    }

    fn track(&mut self, now: Instant, ssrc: Ssrc, meaning: &Meaning) -> Option<&mut Track> {
        let at = match self.tracks.iter().position(|track| track.ssrc == ssrc) {
            Some(at) => at,
            None if self.tracks.len() == MAX_TRACKS => return None,
            None => {
                self.tracks.push(Track::new(ssrc, meaning.codec, meaning.nack, now));
                self.tracks.len() - 1
            }
        };
        self.tracks.get_mut(at)
    }

    /// The media stream that a retransmission stream repairs: as announced, else the only one of its codec that has
    /// none.
    fn repaired_by(&mut self, rtx: Ssrc, codec: Codec) -> Option<Ssrc> {
        if let Some((_, media)) = self.repairs.iter().find(|(known, _)| *known == rtx) {
            return Some(*media);
        }
        let free = |track: &&Track| {
            track.codec == codec && !self.repairs.iter().any(|(_, media)| *media == track.ssrc)
        };
        let mut candidates = self.tracks.iter().filter(free);
        let media = candidates.next()?.ssrc;
        if candidates.next().is_some() {
            return None;
        }
        self.repairs.push((rtx, media));
        Some(media)
    }
}

/// Sends one compound packet, unless `fill` finds no room.
fn write(
    to: SocketAddr,
    sender: &mut Sender,
    outlet: &mut Outlet<'_>,
    fill: impl FnOnce(&mut RtcpWriter<'_>) -> Option<()>,
) {
    outlet.write(to, |out| {
        let room = out.len().min(MAX_RTCP);
        let mut writer = RtcpWriter::new(&mut out[..room]);
        fill(&mut writer)?;
        let len = writer.len();
        sender.seal_rtcp(out, len).ok()
    });
}

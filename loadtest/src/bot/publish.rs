//! The sending side of a bot: frames as an encoder makes them, packets as a pacer spreads them, retransmissions, key
//! frames on request, sender reports.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Extension, ExtensionMap, MediaKind, Mid, Pt, Rid, Ssrc};
use rtp::{
    AudioLevel, HeaderWriter,
    rtcp::{RtcpPacket, RtcpWriter, SenderInfo},
};
use transport::srtp::Sender;

use super::{member::Turns, outlet::Outlet};
use crate::{
    clock::Clock,
    media::{Feed, Frame, Piece},
    stats::Counters,
};

/// Interval between bursts of packets of a frame, as in the pacer of a browser.
const BURST_EVERY: Duration = Duration::from_millis(5);
/// Packets of a burst. A usual frame is one burst, as in browsers, whose pacers work in steps of 40 ms. Or a sixth of
/// the frame if that is more, so that a key frame has left before the next frame.
const BURST: usize = 16;
/// Packets kept for retransmission: three seconds at 3 Mbit/s.
const HISTORY: usize = 1_024;
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The first sender report is sent early, because receivers need it for lip sync.
const FIRST_REPORT: Duration = Duration::from_millis(200);
/// An encoder that was late by more than this skips frames.
const MAX_BEHIND: Duration = Duration::from_millis(200);

/// Levels of a voice and of silence, in -dBov (RFC 6464 section 3).
const LOUD: u8 = 25;
const SILENT: u8 = 127;

/// One stream of a publisher: audio, video, or one simulcast layer.
#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) feed: Feed,
    pub(crate) mid: Mid,
    pub(crate) rid: Option<Rid>,
    pub(crate) ssrc: Ssrc,
    /// SSRC and payload type of retransmissions (RFC 4588).
    pub(crate) rtx: Option<(Ssrc, Pt)>,
    pub(crate) pt: Pt,
}

/// What all streams of a publisher share.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) run: u32,
    pub(crate) publisher: u32,
    pub(crate) cname: String,
    pub(crate) extensions: ExtensionMap,
    pub(crate) clock: Clock,
    /// When it speaks, where sound says how loud it is; `None`: never.
    pub(crate) turns: Option<Turns>,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Publisher {
    identity: Arc<Identity>,
    streams: Vec<Stream>,
    /// Packets of a burst, if set.
    burst: Option<usize>,
    /// Transport-wide number of the next packet.
    transport_cc: u16,
    next_report: Instant,
    muted: bool,
}

#[derive(Debug)]
struct Stream {
    plan: StreamPlan,
    /// Extended sequence number of the next packet, and of the next retransmission.
    next: u64,
    next_rtx: u64,
    timestamp_base: u32,
    number: u32,
    picture: Option<u16>,
    due: Instant,
    burst_due: Instant,
    wants_key: bool,
    /// Packets of the present frame that wait, and the size of a burst.
    waiting: VecDeque<Packet>,
    burst: usize,
    /// The last packets sent, by extended sequence number.
    history: VecDeque<Packet>,
    packets: u32,
    octets: u32,
    last_timestamp: u32,
}

/// Everything that is needed to make a packet.
#[derive(Debug, Clone, Copy)]
struct Packet {
    sequence: u64,
    timestamp: u32,
    number: u32,
    frame: Frame,
    index: u16,
    sent_ns: u64,
}

impl Publisher {
    /// Begins to send at `now`. `burst` packets of a frame leave at once; `None`: as a browser's pacer does it. `first` gives the first sequence numbers and timestamps.
    pub(crate) fn new(
        now: Instant,
        identity: Identity,
        plans: Vec<StreamPlan>,
        burst: Option<u16>,
        mut first: impl FnMut() -> u32,
    ) -> Publisher {
        // Layers of one picture share their time line.
        let timestamp_base = first();
        let streams = plans.into_iter().map(|plan| Stream {
            plan,
            // Low numbers: a receiver has to guess the rollover counter of a stream that begins just before its wrap.
            next: u64::from(first() & 0x7fff),
            next_rtx: u64::from(first() & 0x7fff),
            timestamp_base,
            number: 0,
            picture: None,
            due: now,
            burst_due: now,
            wants_key: true,
            waiting: VecDeque::new(),
            burst: BURST,
            history: VecDeque::new(),
            packets: 0,
            octets: 0,
            last_timestamp: timestamp_base,
        });
        Publisher {
            identity: Arc::new(identity),
            streams: streams.collect(),
            burst: burst.map(usize::from),
            transport_cc: 0,
            next_report: now + FIRST_REPORT,
            muted: false,
        }
    }

    /// No new frames from now on; retransmissions and reports continue.
    pub(crate) fn mute(&mut self) {
        self.muted = true;
    }

    /// When [`Publisher::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let streams = self.streams.iter().filter_map(|stream| match stream.waiting.is_empty() {
            false => Some(stream.burst_due),
            true => (!self.muted).then_some(stream.due),
        });
        streams.fold(self.next_report, Instant::min)
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        let now = outlet.now;
        for at in 0..self.streams.len() {
            let stream = &mut self.streams[at];
            if stream.waiting.is_empty() && now >= stream.due && !self.muted {
                stream.make_frame(now, self.burst, outlet.counters);
            }
            if stream.waiting.is_empty() || now < stream.burst_due {
                continue;
            }
            for _ in 0..stream.burst.min(stream.waiting.len()) {
                self.send_next(at, to, sender, outlet);
            }
            self.streams[at].burst_due = now + BURST_EVERY;
        }
        if now >= self.next_report {
            self.report(to, sender, outlet);
            self.next_report = now + REPORT_EVERY;
        }
    }

    /// Takes an RTCP packet of the server.
    pub(crate) fn handle_rtcp(
        &mut self,
        packet: &RtcpPacket<'_>,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        match packet {
            RtcpPacket::Nack(nack) => {
                for sequence in nack.lost() {
                    outlet.counters.nacks_received += 1;
                    self.resend(nack.media, sequence, to, sender, outlet);
                }
            }
            RtcpPacket::Pli { media, .. } => self.want_key(*media, outlet.counters),
            RtcpPacket::Fir(fir) => {
                for entry in fir.entries() {
                    self.want_key(entry.ssrc, outlet.counters);
                }
            }
            RtcpPacket::TransportCc(feedback) => {
                outlet.counters.transport_feedback += 1;
                let missing = feedback.statuses().filter(|status| status.arrival.is_none());
                outlet.counters.upstream_missing += missing.count() as u64;
            }
            _ => {}
        }
    }

    /// RTCP BYE for all streams (RFC 3550 section 6.6).
    pub(crate) fn bye(&mut self, to: SocketAddr, sender: &mut Sender, outlet: &mut Outlet<'_>) {
        let sources: Vec<Ssrc> = self.streams.iter().map(|stream| stream.plan.ssrc).collect();
        let Some(&first) = sources.first() else { return };
        outlet.write(to, |out| {
            let room = out.len().min(1_200);
            let mut writer = RtcpWriter::new(&mut out[..room]);
            writer.rr(first, &[]).ok()?;
            writer.sdes_cname(first, &self.identity.cname).ok()?;
            writer.bye(&sources).ok()?;
            let len = writer.len();
            sender.seal_rtcp(out, len).ok()
        });
    }

    fn want_key(&mut self, media: Ssrc, counters: &mut Counters) {
        counters.plis_received += 1;
        for stream in &mut self.streams {
            stream.wants_key |= stream.plan.ssrc == media;
        }
    }

    fn send_next(
        &mut self,
        at: usize,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        let stream = &mut self.streams[at];
        let Some(mut packet) = stream.waiting.pop_front() else { return };
        packet.sequence = stream.next;
        packet.sent_ns = self.identity.clock.ns(Instant::now());
        let number = self.transport_cc;
        let mut octets = 0;
        let len = outlet.write(to, |out| {
            let header = stream.header(&self.identity, &packet, number, None, out)?;
            let payload = stream.payload(&self.identity, &packet, out.get_mut(header..)?)?;
            octets = payload as u32;
            sender.seal_rtp(out, header, header + payload, (packet.sequence >> 16) as u32).ok()
        });
        stream.next += 1;
        self.transport_cc = self.transport_cc.wrapping_add(1);
        outlet.counters.sent_packets += 1;
        outlet.counters.sent_bytes += len as u64;
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(octets);
        stream.last_timestamp = packet.timestamp;
        if stream.plan.rtx.is_some() {
            if stream.history.len() == HISTORY {
                stream.history.pop_front();
            }
            stream.history.push_back(packet);
        }
    }

    /// RFC 4588 section 4: the same payload behind its original number, in a stream of its own. Without that stream
    /// nothing is resent: the transport-wide number would differ, and SRTP must not seal two different packets under
    /// one number.
    fn resend(
        &mut self,
        media: Ssrc,
        sequence: u16,
        to: SocketAddr,
        sender: &mut Sender,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(stream) = self.streams.iter_mut().find(|s| s.plan.ssrc == media) else { return };
        let (Some(rtx), Some(first)) = (stream.plan.rtx, stream.history.front()) else { return };
        let behind = sequence.wrapping_sub(first.sequence as u16);
        let Some(&packet) = stream.history.get(usize::from(behind)) else { return };
        let number = self.transport_cc;
        let own = stream.next_rtx;
        let len = outlet.write(to, |out| {
            let again = Some((rtx, own));
            let header = stream.header(&self.identity, &packet, number, again, out)?;
            out.get_mut(header..header + 2)?.copy_from_slice(&sequence.to_be_bytes());
            let payload = stream.payload(&self.identity, &packet, out.get_mut(header + 2..)?)?;
            sender.seal_rtp(out, header, header + 2 + payload, (own >> 16) as u32).ok()
        });
        stream.next_rtx += 1;
        self.transport_cc = self.transport_cc.wrapping_add(1);
        outlet.counters.resent_packets += 1;
        outlet.counters.sent_bytes += len as u64;
    }

    fn report(&mut self, to: SocketAddr, sender: &mut Sender, outlet: &mut Outlet<'_>) {
        let now = outlet.now;
        for stream in self.streams.iter().filter(|stream| stream.packets > 0) {
            outlet.write(to, |out| {
                let room = out.len().min(1_200);
                let mut writer = RtcpWriter::new(&mut out[..room]);
                let info = SenderInfo {
                    ntp: self.identity.clock.ntp(now),
                    rtp_timestamp: stream.timestamp_at(now),
                    packet_count: stream.packets,
                    octet_count: stream.octets,
                };
                writer.sr(stream.plan.ssrc, &info, &[]).ok()?;
                writer.sdes_cname(stream.plan.ssrc, &self.identity.cname).ok()?;
                let len = writer.len();
                sender.seal_rtcp(out, len).ok()
            });
        }
    }
}

impl Stream {
    fn make_frame(&mut self, now: Instant, burst: Option<usize>, counters: &mut Counters) {
        let feed = &self.plan.feed;
        let frame = feed.frame(self.number, self.picture, self.wants_key);
        self.wants_key &= !frame.key;
        counters.key_frames_sent += u64::from(frame.key);
        let timestamp = self.timestamp_of(self.number);
        let (number, sent_ns, sequence) = (self.number, 0, 0);
        self.waiting.extend((0..frame.packets).map(|index| Packet {
            sequence,
            timestamp,
            number,
            frame,
            index,
            sent_ns,
        }));
        self.burst = burst.unwrap_or_else(|| BURST.max(self.waiting.len().div_ceil(6)));
        self.burst_due = now;
        self.picture = Some(frame.picture);
        self.number = self.number.wrapping_add(1);
        let interval = feed.interval();
        self.due += interval;
        if self.due + MAX_BEHIND < now {
            self.due = now + interval;
        }
    }

    fn clock_rate(&self) -> u64 {
        if self.plan.feed.codec().kind() == MediaKind::Audio { 48_000 } else { 90_000 }
    }

    fn timestamp_of(&self, number: u32) -> u32 {
        let interval = self.plan.feed.interval().as_nanos() as u64;
        let ticks = u64::from(number) * (interval * self.clock_rate() / 1_000) / 1_000_000;
        self.timestamp_base.wrapping_add(ticks as u32)
    }

    /// RFC 3550 section 6.4.1: the timestamp at the moment of the report, counted on from the next frame's.
    fn timestamp_at(&self, now: Instant) -> u32 {
        let ahead = self.due.saturating_duration_since(now).as_nanos() as u64;
        let behind = now.saturating_duration_since(self.due).as_nanos() as u64;
        let ticks = |ns: u64| (ns * self.clock_rate() / 1_000_000_000) as u32;
        self.timestamp_of(self.number).wrapping_sub(ticks(ahead)).wrapping_add(ticks(behind))
    }

    /// Writes the header of a packet, or of its retransmission.
    fn header(
        &self,
        identity: &Identity,
        packet: &Packet,
        transport_cc: u16,
        again: Option<((Ssrc, Pt), u64)>,
        out: &mut [u8],
    ) -> Option<usize> {
        let ((ssrc, pt), sequence) =
            again.unwrap_or(((self.plan.ssrc, self.plan.pt), packet.sequence));
        let id = |extension| identity.extensions.id(extension).unwrap_or(0);
        let rid = self.plan.rid.as_ref().map_or(&[][..], Rid::as_bytes);
        let rid_extension = if again.is_some() { Extension::RepairedRid } else { Extension::Rid };
        let rid_id = if rid.is_empty() { 0 } else { id(rid_extension) };
        let number = transport_cc.to_be_bytes();
        let is_audio = self.plan.feed.codec().kind() == MediaKind::Audio;
        let speaks = identity.turns.is_some_and(|turns| turns.speaks_at(packet.sent_ns));
        let level =
            [AudioLevel { voice: speaks, level: if speaks { LOUD } else { SILENT } }.to_byte()];
        let extensions = [
            (if is_audio { id(Extension::AudioLevel) } else { 0 }, &level[..]),
            (id(Extension::TransportCc), &number[..]),
            (id(Extension::Mid), self.plan.mid.as_bytes()),
            (rid_id, rid),
        ];
        let marker = packet.index + 1 == packet.frame.packets && !is_audio;
        let (sequence, timestamp) = (sequence as u16, packet.timestamp);
        HeaderWriter { marker, pt, sequence, timestamp, ssrc }.write(out, &extensions).ok()
    }

    fn payload(&self, identity: &Identity, packet: &Packet, out: &mut [u8]) -> Option<usize> {
        let piece = Piece {
            run: identity.run,
            publisher: identity.publisher,
            number: packet.number,
            frame: packet.frame,
            index: packet.index,
            sent_ns: packet.sent_ns,
        };
        self.plan.feed.write(&piece, out)
    }
}

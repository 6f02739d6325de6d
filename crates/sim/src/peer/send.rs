//! What a peer sends: sounds, and pictures in one or several layers, sealed; and retransmissions.

use std::{collections::VecDeque, time::Duration};

use model::{MediaKind, NtpTime, Pt, Rid, Ssrc};
use rtp::{
    HeaderWriter,
    rtcp::{RtcpWriter, SenderInfo},
};
use transport::srtp::Sender;

use super::describe::{Answered, Offered, ssrc};
use crate::{Fault, rng::Rng, stamp::Stamp};

/// Packets of a stream that can be sent again.
const HISTORY: usize = 256;
/// Between sender reports.
const REPORT_EVERY: Duration = Duration::from_millis(1_000);
/// Ids of header extensions, as in [`super::describe::EXTENSIONS`].
const ABS_SEND_TIME: u8 = 2;
const TRANSPORT_CC: u8 = 3;
const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;

/// How a peer makes pictures and sounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) picture_every: Duration,
    pub(crate) sound_every: Duration,
    /// Packets of a picture, of a key frame, and bytes in each.
    pub(crate) packets: u16,
    pub(crate) key_packets: u16,
    pub(crate) bytes: usize,
    /// Writes the mid into every packet, or relies on the SSRCs of its offer.
    pub(crate) says_mid: bool,
    /// The first sequence number.
    pub(crate) first_sequence: u16,
}

impl Habits {
    pub(crate) fn roll(rng: &mut Rng) -> Self {
        let packets = rng.between(1, 3) as u16;
        let key_packets = match rng.below(10) {
            // More packets than leave in one go.
            0 => rng.between(33, 80) as u16,
            _ => rng.between(1, 6) as u16,
        };
        let first_sequence = match rng.below(4) {
            // The sequence number wraps during the run.
            0 => rng.between(65_300, 65_500) as u16,
            _ => rng.between(1, 30_000) as u16,
        };
        Self {
            picture_every: Duration::from_millis(rng.pick(&[40, 66, 100]).unwrap_or(66)),
            sound_every: Duration::from_millis(rng.pick(&[20, 40, 60]).unwrap_or(40)),
            packets,
            key_packets: key_packets.max(packets),
            bytes: rng.between(60, 240) as usize,
            says_mid: rng.chance(700),
            first_sequence,
        }
    }
}

struct Sent {
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    /// The packet as it left.
    sealed: Vec<u8>,
}

struct Stream {
    ssrc: Ssrc,
    rtx: Option<(Ssrc, Pt)>,
    rid: Option<Rid>,
    sequence: u64,
    rtx_sequence: u64,
    history: VecDeque<Sent>,
    key_wanted: bool,
    /// Pictures so far; a layer that pauses continues its count.
    pictures: u32,
    first_timestamp: u32,
    packets: u32,
    octets: u32,
}

/// One section that sends.
pub(crate) struct Track {
    pub(crate) kind: MediaKind,
    /// The mid of its section.
    pub(crate) number: u8,
    mid: model::Mid,
    pt: Pt,
    nack: bool,
    transport_cc: bool,
    streams: Vec<Stream>,
    /// The next picture or sound.
    picture: u32,
    next: Duration,
    /// Since when the camera or microphone is on, or off.
    pub(crate) on: bool,
    pub(crate) on_since: Duration,
    /// Number of layers that are sent, from the lowest on.
    layers: usize,
    /// Whether the number of layers changed at `on_since`.
    pub(crate) other_layers: bool,
}

/// Everything that one peer sends.
pub(crate) struct Out {
    peer: u16,
    sender: Sender,
    habits: Habits,
    pub(crate) tracks: Vec<Track>,
    /// SSRCs of tracks that were stopped; reports about them may still be on their way.
    stopped: Vec<Ssrc>,
    transport_cc: u16,
    report_at: Duration,
    /// Packets sent, and retransmissions.
    pub(crate) packets: u64,
    pub(crate) again: u64,
    /// Key frames that were requested.
    pub(crate) asked: u64,
    /// The fault that this peer has, if any.
    pub(crate) fault: Option<Fault>,
}

/// One stream of the peer: the index of its track, and the layer.
type Address = (usize, usize);

/// A packet about to be sealed.
struct Packet<'a> {
    ssrc: Ssrc,
    pt: Pt,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    extensions: Vec<(u8, Vec<u8>)>,
    payload: &'a [u8],
}

impl Track {
    /// Turns the camera or the microphone on, or off.
    pub(crate) fn switch(&mut self, now: Duration) {
        (self.on, self.on_since) = (!self.on, now);
    }

    /// Sends this many layers from now on, as an encoder does when its line becomes narrower or wider. A layer that
    /// begins again begins with a key frame. Returns the number of layers.
    pub(crate) fn set_layers(&mut self, now: Duration, layers: usize) -> usize {
        let layers = layers.clamp(1, self.streams.len());
        if layers != self.layers {
            self.streams.iter_mut().skip(self.layers).for_each(|s| s.key_wanted = true);
            (self.layers, self.on_since, self.other_layers) = (layers, now, true);
        }
        layers
    }
}

impl Out {
    /// Begins with what was offered and accepted.
    pub(crate) fn new(
        now: Duration,
        peer: u16,
        sender: Sender,
        habits: Habits,
        sections: &[(Offered, Answered)],
        rng: &mut Rng,
    ) -> Self {
        let mut out = Self {
            peer,
            sender,
            habits,
            tracks: Vec::new(),
            stopped: Vec::new(),
            transport_cc: rng.next() as u16,
            report_at: now + rng.millis(20, 300),
            packets: 0,
            again: 0,
            asked: 0,
            fault: None,
        };
        out.update(now, sections, rng);
        out
    }

    /// Takes the renegotiated sections; those that stay go on.
    pub(crate) fn update(
        &mut self,
        now: Duration,
        sections: &[(Offered, Answered)],
        rng: &mut Rng,
    ) {
        let wanted = |mid| sections.iter().any(|(o, a)| o.mid == mid && !o.stopped && a.receives);
        let stopped = self.tracks.iter().filter(|t| !wanted(t.mid)).flat_map(|t| &t.streams);
        self.stopped.extend(stopped.map(|s| s.ssrc));
        self.tracks.retain(|t| wanted(t.mid));
        for (offered, answered) in sections.iter().filter(|(o, a)| !o.stopped && a.receives) {
            if !self.tracks.iter().any(|t| t.mid == offered.mid) {
                let track = self.track(now, offered, answered, rng);
                self.tracks.push(track);
            }
        }
    }

    fn track(&self, now: Duration, offered: &Offered, answered: &Answered, rng: &mut Rng) -> Track {
        // A layer that the node does not take is not sent.
        let rids = offered.rids.iter().filter(|r| answered.rids.contains(r)).copied().map(Some);
        let rids: Vec<Option<Rid>> = rids.collect();
        let rids = if rids.is_empty() { vec![None] } else { rids };
        let layers = rids.len();
        // No section of the peer's has the same.
        let base = 100 + 8 * u32::from(offered.number);
        let streams = rids.into_iter().enumerate().map(|(layer, rid)| {
            let named = offered.ssrcs.get(layer).copied();
            let own = |nth| ssrc(self.peer, base + 2 * layer as u32 + nth, rng.clone().next());
            let rtx = named.map_or(Some(own(1)), |n| n.rtx);
            Stream {
                ssrc: named.map_or(own(0), |n| n.media),
                rtx: rtx.zip(answered.rtx_pt),
                rid,
                sequence: u64::from(self.habits.first_sequence),
                rtx_sequence: 7,
                history: VecDeque::new(),
                key_wanted: true,
                pictures: 0,
                first_timestamp: rng.next() as u32,
                packets: 0,
                octets: 0,
            }
        });
        Track {
            kind: offered.kind,
            number: offered.number,
            mid: offered.mid,
            pt: answered.pt,
            nack: answered.nack,
            transport_cc: answered.transport_cc,
            streams: streams.collect(),
            picture: 1,
            next: now + Duration::from_millis(u64::from(offered.number) * 3),
            on: true,
            on_since: now,
            layers,
            other_layers: false,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Duration {
        let tracks = self.tracks.iter().filter(|t| t.on).map(|t| t.next);
        tracks.min().map_or(self.report_at, |at| at.min(self.report_at))
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        for at in 0..self.tracks.len() {
            if self.tracks[at].on && self.tracks[at].next <= now {
                self.send_next(now, at, out);
            }
        }
        if self.report_at <= now {
            self.report_at = now + REPORT_EVERY;
            self.report(now, out);
        }
    }

    fn send_next(&mut self, now: Duration, at: usize, out: &mut Vec<Vec<u8>>) {
        let Habits { picture_every, sound_every, packets, key_packets, bytes, .. } = self.habits;
        let track = &mut self.tracks[at];
        let (kind, every) = match track.kind {
            MediaKind::Audio => (MediaKind::Audio, sound_every),
            MediaKind::Video => (MediaKind::Video, picture_every),
        };
        // What could not be sent while the peer was not connected is not sent later.
        track.next = (track.next + every).max(now + every / 2);
        let number = track.picture;
        track.picture += 1;
        for layer in 0..self.tracks[at].layers {
            let stream = &mut self.tracks[at].streams[layer];
            let key = kind == MediaKind::Video && std::mem::take(&mut stream.key_wanted);
            stream.pictures += 1;
            let picture = stream.pictures;
            let of = match kind {
                MediaKind::Audio => 1,
                MediaKind::Video if key => key_packets,
                MediaKind::Video => packets,
            };
            let len = bytes * (layer + 1);
            let clock = clock_rate(kind);
            let timestamp = stream.first_timestamp.wrapping_add(ticks(now, clock));
            let stamp = Stamp {
                peer: self.peer,
                track: self.tracks[at].number,
                layer: layer as u8,
                number,
                index: 0,
                of,
                key,
            };
            for index in 0..of {
                // Encoders split a picture into packets of nearly one size.
                let payload =
                    Stamp { index, ..stamp }.write(kind, picture, len + usize::from(index % 2));
                let marker = index + 1 == of;
                out.extend(self.send(now, (at, layer), (timestamp, marker), payload));
            }
        }
    }

    fn send(
        &mut self,
        now: Duration,
        to: Address,
        (timestamp, marker): (u32, bool),
        payload: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let extensions = self.extensions(now, to, RID);
        let track = &mut self.tracks[to.0];
        let stream = &mut track.streams[to.1];
        let sequence = stream.sequence;
        stream.sequence += 1;
        stream.packets += 1;
        stream.octets += payload.len() as u32;
        let (ssrc, pt) = (stream.ssrc, track.pt);
        let packet =
            Packet { ssrc, pt, sequence, timestamp, marker, extensions, payload: &payload };
        self.packets += 1;
        let sealed = seal(&mut self.sender, &packet)?;
        if stream.history.len() == HISTORY {
            stream.history.pop_front();
        }
        let sent = Sent { sequence, timestamp, marker, payload, sealed: sealed.clone() };
        stream.history.push_back(sent);
        Some(sealed)
    }

    /// `rid` is the id under which a stream says its layer.
    fn extensions(&mut self, now: Duration, (at, layer): Address, rid: u8) -> Vec<(u8, Vec<u8>)> {
        let track = &self.tracks[at];
        let stream = &track.streams[layer];
        let mut extensions = Vec::with_capacity(4);
        let seconds = ntp(now).abs_send_time().to_be_bytes();
        extensions.push((ABS_SEND_TIME, seconds[1..].to_vec()));
        if self.habits.says_mid || stream.rid.is_some() {
            extensions.push((MID, track.mid.as_bytes().to_vec()));
        }
        if let Some(name) = stream.rid {
            extensions.push((rid, name.as_bytes().to_vec()));
        }
        if track.transport_cc {
            extensions.push((TRANSPORT_CC, self.transport_cc.to_be_bytes().to_vec()));
            self.transport_cc = self.transport_cc.wrapping_add(1);
        }
        extensions
    }

    /// The node requests missing packets.
    pub(crate) fn missing(
        &mut self,
        now: Duration,
        media: Ssrc,
        lost: impl Iterator<Item = u16>,
        out: &mut Vec<Vec<u8>>,
    ) {
        let Some(from) = self.find(media).filter(|(at, _)| self.tracks[*at].nack) else { return };
        out.extend(lost.filter_map(|sequence| self.send_again(now, from, sequence)));
    }

    fn send_again(&mut self, now: Duration, from: Address, sequence: u16) -> Option<Vec<u8>> {
        let rtx = self.tracks[from.0].streams[from.1].rtx;
        let extensions = rtx.map(|_| self.extensions(now, from, REPAIRED_RID));
        let stream = &mut self.tracks[from.0].streams[from.1];
        let sent = stream.history.iter().rev().find(|s| s.sequence as u16 == sequence)?;
        self.again += 1;
        let forges = self.fault == Some(Fault::ForgedRetransmissions);
        let (Some((ssrc, pt)), Some(extensions)) = (rtx, extensions) else {
            // The same number needs the very same bytes (RFC 7714 section 8.4).
            return Some(sent.sealed.clone());
        };
        // RFC 4588 section 4: the original sequence number in front of the payload.
        let mut payload = [&sequence.to_be_bytes()[..], &sent.payload].concat();
        if let Some(last) = payload.last_mut().filter(|_| forges) {
            *last ^= 1;
        }
        let packet = Packet {
            ssrc,
            pt,
            sequence: stream.rtx_sequence,
            timestamp: sent.timestamp,
            marker: sent.marker,
            extensions,
            payload: &payload,
        };
        stream.rtx_sequence += 1;
        seal(&mut self.sender, &packet)
    }

    /// The node requests a key frame.
    pub(crate) fn key_frame(&mut self, media: Ssrc) {
        self.asked += 1;
        if self.fault == Some(Fault::NoKeyFrames) {
            return;
        }
        if let Some((at, layer)) = self.find(media) {
            self.tracks[at].streams[layer].key_wanted = true;
        }
    }

    fn find(&self, media: Ssrc) -> Option<(usize, usize)> {
        self.tracks.iter().enumerate().find_map(|(at, track)| {
            let layer = track.streams.iter().position(|s| s.ssrc == media)?;
            Some((at, layer))
        })
    }

    /// Whether this SSRC is, or was, one of the peer's media streams.
    pub(crate) fn knows(&self, media: Ssrc) -> bool {
        self.find(media).is_some() || self.stopped.contains(&media)
    }

    fn report(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        for track in self.tracks.iter().filter(|t| t.on) {
            for stream in track.streams.iter().filter(|s| s.packets > 0) {
                let clock = clock_rate(track.kind);
                let info = SenderInfo {
                    ntp: ntp(now),
                    rtp_timestamp: stream.first_timestamp.wrapping_add(ticks(now, clock)),
                    packet_count: stream.packets,
                    octet_count: stream.octets,
                };
                let mut bytes = vec![0; 200];
                let mut writer = RtcpWriter::new(&mut bytes);
                let written = writer
                    .sr(stream.ssrc, &info, &[])
                    .and_then(|()| writer.sdes_cname(stream.ssrc, "peer"));
                let len = writer.len();
                if written.is_ok()
                    && let Ok(len) = self.sender.seal_rtcp(&mut bytes, len)
                {
                    bytes.truncate(len);
                    out.push(bytes);
                }
            }
        }
    }

    /// Seals RTCP of the receiving side, which has no sender of its own.
    pub(crate) fn seal_rtcp(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        seal_rtcp(&mut self.sender, &mut bytes).map(|()| bytes)
    }
}

/// Seals a whole RTCP packet.
fn seal_rtcp(sender: &mut Sender, bytes: &mut Vec<u8>) -> Option<()> {
    let len = bytes.len();
    bytes.resize(len + sender.profile().rtcp_overhead(), 0);
    let len = sender.seal_rtcp(bytes, len).ok()?;
    bytes.truncate(len);
    Some(())
}

fn seal(sender: &mut Sender, packet: &Packet<'_>) -> Option<Vec<u8>> {
    let header = HeaderWriter {
        marker: packet.marker,
        pt: packet.pt,
        sequence: packet.sequence as u16,
        timestamp: packet.timestamp,
        ssrc: packet.ssrc,
    };
    let extensions: Vec<(u8, &[u8])> =
        packet.extensions.iter().map(|(id, value)| (*id, &value[..])).collect();
    let mut bytes = vec![0; 100 + packet.payload.len()];
    let header_len = header.write(&mut bytes, &extensions).ok()?;
    let len = header_len + packet.payload.len();
    bytes.get_mut(header_len..len)?.copy_from_slice(packet.payload);
    let roc = (packet.sequence >> 16) as u32;
    let len = sender.seal_rtp(&mut bytes, header_len, len, roc).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// RTP clock in hertz.
pub(crate) fn clock_rate(kind: MediaKind) -> u32 {
    match kind {
        MediaKind::Audio => 48_000,
        MediaKind::Video => 90_000,
    }
}

pub(crate) fn ticks(time: Duration, clock: u32) -> u32 {
    (time.as_nanos() * u128::from(clock) / 1_000_000_000) as u32
}

/// The peers' clocks are an hour behind the node's.
fn ntp(now: Duration) -> NtpTime {
    NtpTime(3_900_000_000 << 32).after(now)
}

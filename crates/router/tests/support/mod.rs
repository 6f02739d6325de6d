//! What the tests of this crate share: a publisher's packets, session plans, and a track from packets to mirror.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a fixture that does not fit is a defect of the test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{
    Binding, Codec, CodecSpec, DownMedia, DropReason, DtlsRole, Extension, ExtensionMap, Feedback,
    IceCredentials, MediaKind, Mid, Pt, PtMapping, Rid, SessionId, SessionPlan, Ssrc, StreamSsrc,
    TrackId, UpMedia, WallClock,
};
use rtp::{HeaderWriter, ParsedExtensions, RtpPacket};
use sfumato_router::{
    Accepted, Account, DownTrack, LayerWatch, Leave, Packet, PacketPool, PoolLimits, StreamTable,
    TrackMirror, UpTrack, Written,
};

pub const VP8: Pt = Pt(96);
pub const VP8_RTX: Pt = Pt(97);
pub const OPUS: Pt = Pt(111);
pub const RED: Pt = Pt(63);
pub const DOWN_VP8: Pt = Pt(100);
pub const DOWN_RTX: Pt = Pt(101);
pub const DOWN_OPUS: Pt = Pt(109);
pub const MID_ID: u8 = 4;
pub const RID_ID: u8 = 10;
pub const RRID_ID: u8 = 11;
pub const ABS_ID: u8 = 2;
pub const LEVEL_ID: u8 = 1;
pub const DESCRIPTOR_ID: u8 = 12;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The header extension ids of publisher and subscriber alike.
pub fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    map.set(Extension::Mid, MID_ID);
    map.set(Extension::Rid, RID_ID);
    map.set(Extension::RepairedRid, RRID_ID);
    map.set(Extension::AbsSendTime, ABS_ID);
    map.set(Extension::AudioLevel, LEVEL_ID);
    map.set(Extension::DependencyDescriptor, DESCRIPTOR_ID);
    map
}

pub fn codec(codec: Codec, pt: Pt, rtx_pt: Option<Pt>) -> CodecSpec {
    let video = codec.kind() == MediaKind::Video;
    CodecSpec {
        pt,
        rtx_pt,
        codec,
        clock_rate: if video { 90_000 } else { 48_000 },
        channels: 2 - u8::from(video),
        fmtp: String::new(),
        feedback: Feedback { nack: true, pli: video, fir: video, ..Feedback::default() },
        parameter_sets: None,
    }
}

pub fn video(track: u64, mid: &str, rids: &[&str], ssrcs: &[(u32, u32)]) -> UpMedia {
    UpMedia {
        track: TrackId(track),
        mid: Mid::parse(mid).unwrap(),
        kind: MediaKind::Video,
        codecs: vec![codec(Codec::Vp8, VP8, Some(VP8_RTX))],
        rids: rids.iter().map(|r| Rid::parse(r).unwrap()).collect(),
        ssrcs: ssrcs
            .iter()
            .map(|&(media, rtx)| StreamSsrc { media: Ssrc(media), rtx: Some(Ssrc(rtx)) })
            .collect(),
    }
}

pub fn audio(track: u64, mid: &str) -> UpMedia {
    UpMedia {
        track: TrackId(track),
        mid: Mid::parse(mid).unwrap(),
        kind: MediaKind::Audio,
        codecs: vec![codec(Codec::Opus, OPUS, None), codec(Codec::Red, RED, None)],
        rids: vec![],
        ssrcs: vec![],
    }
}

pub fn plan(up: Vec<UpMedia>) -> SessionPlan {
    SessionPlan {
        id: SessionId(1),
        ice: IceCredentials {
            local_ufrag: String::new(),
            local_pwd: String::new(),
            remote_ufrag: String::new(),
            remote_pwd: String::new(),
        },
        dtls_role: DtlsRole::Passive,
        fingerprints: vec![],
        extensions: extensions(),
        up,
        down: vec![],
        rtcp_reduced_size: true,
        cname: String::new(),
        data: None,
        remote_candidates: vec![],
    }
}

/// A slot; without `rtx` packets are resent as they were sent.
pub fn slot(kind: MediaKind, rtx: bool) -> DownMedia {
    DownMedia {
        mid: Mid::parse("7").unwrap(),
        kind,
        ssrc: StreamSsrc { media: Ssrc(0x5107), rtx: rtx.then_some(Ssrc(0x5108)) },
        codecs: vec![],
    }
}

pub fn binding(media: &UpMedia) -> Binding {
    let down = |up: Pt, down: Pt, rtx: Option<Pt>, clock_rate: u32, unwrap_red: bool| PtMapping {
        up,
        down,
        down_rtx: rtx,
        unwrap_red,
        clock_rate,
    };
    Binding {
        track: media.track,
        publisher: SessionId(1),
        payload_types: match media.kind {
            MediaKind::Video => [down(VP8, DOWN_VP8, Some(DOWN_RTX), 90_000, false)].into(),
            MediaKind::Audio => [
                down(OPUS, DOWN_OPUS, None, 48_000, false),
                down(RED, DOWN_OPUS, None, 48_000, true),
            ]
            .into(),
        },
    }
}

pub fn down_track(media: &UpMedia, rtx: bool, now: Instant) -> DownTrack {
    let clock = WallClock::new(now, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let mut down = DownTrack::new(&slot(media.kind, rtx), &extensions(), clock);
    down.bind(Some(binding(media)));
    down
}

/// A VP8 payload: descriptor with picture id and TL0PICIDX, one byte of payload header, then `data`.
#[derive(Debug, Clone, Copy)]
pub struct Vp8 {
    pub start: bool,
    pub key: bool,
    pub picture: u16,
    pub long_id: bool,
    pub tl0: u8,
}

impl Vp8 {
    pub fn payload(&self, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | u8::from(self.start) << 4, 0xc0];
        if self.long_id {
            out.extend((0x8000 | self.picture).to_be_bytes());
        } else {
            out.push(self.picture as u8 & 0x7f);
        }
        out.push(self.tl0);
        out.push(u8::from(!self.key));
        out.extend_from_slice(data);
        out
    }
}

/// A dependency descriptor of a stream without layers. A key frame has the structure: template 0 refers to nothing, template 1
/// to one earlier frame; one decode target, one chain.
pub fn descriptor(key: bool, start: bool, end: bool, frame: u16) -> Vec<u8> {
    let flags = u8::from(start) << 7 | u8::from(end) << 6 | u8::from(!key);
    let mut out = vec![flags];
    out.extend(frame.to_be_bytes());
    if key && start {
        out.extend([0x80, 0x00, 0x30, 0x41, 0, 0]);
    }
    out
}

/// An RTP packet as SRTP decrypted it.
#[derive(Debug, Clone)]
pub struct Raw {
    pub ssrc: u32,
    pub pt: Pt,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub mid: Option<&'static str>,
    pub rid: Option<&'static str>,
    pub rrid: Option<&'static str>,
    pub level: Option<u8>,
    pub descriptor: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub padding: u8,
}

impl Raw {
    pub fn new(ssrc: u32, pt: Pt, sequence: u16, timestamp: u32, payload: Vec<u8>) -> Self {
        Self {
            ssrc,
            pt,
            sequence,
            timestamp,
            marker: false,
            mid: None,
            rid: None,
            rrid: None,
            level: None,
            descriptor: None,
            payload,
            padding: 0,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 1_500];
        let level = self.level.map(|l| [l]);
        let text = |id: u8, t: Option<&'static str>| {
            (if t.is_some() { id } else { 0 }, t.unwrap_or("").as_bytes())
        };
        let ext = [
            text(MID_ID, self.mid),
            text(RID_ID, self.rid),
            text(RRID_ID, self.rrid),
            level.as_ref().map_or((0, &[][..]), |l| (LEVEL_ID, &l[..])),
            self.descriptor.as_ref().map_or((0, &[][..]), |d| (DESCRIPTOR_ID, &d[..])),
        ];
        let len = HeaderWriter {
            marker: self.marker,
            pt: self.pt,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: Ssrc(self.ssrc),
        }
        .write(&mut out, &ext)
        .unwrap();
        out.truncate(len);
        out.extend_from_slice(&self.payload);
        if self.padding > 0 {
            out[0] |= 0x20;
            out.extend(std::iter::repeat_n(0, usize::from(self.padding) - 1));
            out.push(self.padding);
        }
        out
    }

    /// The same packet as a retransmission (RFC 4588 section 4).
    pub fn wrapped(&self, ssrc: u32, sequence: u16) -> Raw {
        let mut payload = self.sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&self.payload);
        Raw { ssrc, pt: VP8_RTX, sequence, payload, ..self.clone() }
    }
}

/// One track from the wire to the mirror.
pub struct Rig {
    pub pool: PacketPool,
    pub account: Account,
    pub table: StreamTable,
    pub up: UpTrack,
    pub mirror: TrackMirror,
    pub media: UpMedia,
    pub watch: LayerWatch,
    pub last: Option<Accepted>,
}

impl Rig {
    pub fn new(media: UpMedia, now: Instant) -> Self {
        let mut pool = PacketPool::new(now, PoolLimits::default());
        Self {
            account: pool.open(),
            pool,
            table: StreamTable::new(&plan(vec![media.clone()])),
            up: UpTrack::new(&media),
            mirror: TrackMirror::new(&media),
            watch: LayerWatch::new(&media),
            media,
            last: None,
        }
    }

    pub fn receive(&mut self, now: Instant, raw: &[u8]) -> Result<Arc<Packet>, DropReason> {
        let view = RtpPacket::parse(raw).unwrap();
        let ext = ParsedExtensions::parse(&view, &extensions()).unwrap();
        let stream = self.table.resolve(now, view.ssrc(), view.pt(), &ext)?;
        let mut buf = self.pool.alloc(self.account, raw.len())?;
        buf.space()[..raw.len()].copy_from_slice(raw);
        match self.up.ingest(now, stream, &mut buf, raw.len(), &ext) {
            Ok(accepted) => {
                self.last = Some(accepted);
                let packet = self.pool.share(buf);
                if self.watch.observe(&packet.meta) {
                    self.mirror.rank(self.watch.ranking());
                }
                if accepted.has_lead {
                    for (head, payload) in self.up.lead(&packet.meta) {
                        let track = self.media.track;
                        let lead = self.pool.enter(now, self.account, track, &head, payload)?;
                        self.mirror.receive(lead);
                    }
                }
                self.mirror.receive(Arc::clone(&packet));
                Ok(packet)
            }
            Err(reason) => {
                self.pool.release(buf);
                Err(reason)
            }
        }
    }

    pub fn sender_report(&mut self, now: Instant, ssrc: u32, ntp: model::NtpTime, timestamp: u32) {
        if let Some((stream, info)) = self.up.sender_report(now, Ssrc(ssrc), ntp, timestamp) {
            self.mirror.sender_report(stream, info);
        }
    }

    /// Forwards a packet and returns what was written.
    pub fn forward(
        &self,
        now: Instant,
        down: &mut DownTrack,
        packet: &Packet,
    ) -> Result<(Written, Vec<u8>), DropReason> {
        let mut out = vec![0; 2_048];
        let written = down.forward(&leave(now), &self.mirror, packet, &mut out)?;
        out.truncate(written.len);
        Ok((written, out))
    }
}

/// A packet leaves now.
pub fn leave(now: Instant) -> Leave {
    Leave { now, transport_cc: 0x4321 }
}

/// The fields that a subscriber reads in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub ssrc: u32,
    pub pt: Pt,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub ext: ParsedExtensions,
    pub payload: Vec<u8>,
    pub picture: Option<u16>,
    pub tl0: Option<u8>,
    pub key: bool,
}

impl Seen {
    pub fn parse(raw: &[u8], codec: Codec) -> Self {
        let view = RtpPacket::parse(raw).unwrap();
        let info = rtp::payload::inspect(codec, view.payload(), None);
        Self {
            ssrc: view.ssrc().0,
            pt: view.pt(),
            sequence: view.sequence(),
            timestamp: view.timestamp(),
            marker: view.marker(),
            ext: ParsedExtensions::parse(&view, &extensions()).unwrap(),
            payload: view.payload().to_vec(),
            picture: info.vp8.and_then(|f| f.picture_id).map(|p| p.value),
            tl0: info.vp8.and_then(|f| f.tl0_pic_idx).map(|(_, t)| t),
            key: info.keyframe_start,
        }
    }
}

/// splitmix64: the same numbers for the same seed on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// A start time.
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to begin at")]
pub fn start() -> Instant {
    Instant::now()
}

//! The packet path in process: one publisher and its subscribers in one worker, without a thread and without
//! handshakes. It runs under callgrind, and is timed without wake-ups.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use model::{
    Binding, Codec, CodecSpec, Command, DownMedia, DtlsRole, Extension, ExtensionMap, Feedback,
    IceCredentials, Mid, Path, Pt, PtMapping, SessionId, SessionPlan, Ssrc, StreamSsrc, TrackId,
    UpMedia, WallClock,
};
use rtp::HeaderWriter;
use transport::{dtls::Certificate, srtp};
use udp::{SendBatch, UdpConfig, UdpSocket};
use worker::{Config, lab::Lab};

use crate::{
    limit::Cipher,
    media::{FRAME, PACKETS, PAYLOAD, payload},
    sinks::Sinks,
};

/// Pictures before the measured ones: they fill the pools, and the streams and the key frame pass.
const WARM_UP: u32 = 15;
/// Bytes of payload in a packet of sound: 20 ms of 32 kbit/s.
const SOUND: usize = 80;
/// Receivers under callgrind, which does not count what many addresses cost.
const SINKS: usize = 16;

const TRACK: TrackId = TrackId(1);
const PUBLISHER: SessionId = SessionId(1);
const UP_PT: Pt = Pt(96);
const DOWN_PT: Pt = Pt(102);
const UP_SSRC: Ssrc = Ssrc(0x1111_1111);

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Packets that came in during the measured part.
    pub(crate) accepted: u64,
    /// Packets that were sealed for subscribers during the measured part.
    pub(crate) forwarded: u64,
    /// Processor time of the measured part.
    pub(crate) cpu: Duration,
}

/// What the publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Pictures of [`PACKETS`] packets.
    Pictures,
    /// Sound: one small packet at a time, with a level (RFC 6464), as a muted microphone sends it.
    Sound,
}

impl Content {
    fn packets(self) -> u16 {
        match self {
            Content::Pictures => PACKETS,
            Content::Sound => 1,
        }
    }

    fn codec(self) -> Codec {
        match self {
            Content::Pictures => Codec::Vp8,
            Content::Sound => Codec::Opus,
        }
    }

    fn payload(self, picture: u32, index: u16) -> Vec<u8> {
        match self {
            Content::Pictures => payload(picture, index, picture == 0),
            Content::Sound => vec![0x78; SOUND],
        }
    }
}

/// The run under callgrind: everything on loopback.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_alone(
    subscribers: usize,
    pictures: u32,
    cipher: Cipher,
    content: Content,
) -> io::Result<Outcome> {
    let sinks = Sinks::open(SINKS, Ipv4Addr::LOCALHOST.into())?;
    let paths = sinks.paths(Ipv4Addr::LOCALHOST.into());
    // Valgrind has no processor time to ask for.
    run_content(subscribers, pictures, (cipher, content), &paths, || Duration::ZERO)
}

/// [`run_content`] with pictures.
///
/// # Errors
/// Those of [`run_content`].
pub(crate) fn run(
    subscribers: usize,
    pictures: u32,
    cipher: Cipher,
    paths: &[Path],
    clock: impl Fn() -> Duration,
) -> io::Result<Outcome> {
    run_content(subscribers, pictures, (cipher, Content::Pictures), paths, clock)
}

/// Sends `pictures` pictures to this many subscribers, whose addresses are `paths` in turn, after a warm-up. It runs
/// as fast as it can: the worker is given a time that advances without waiting. `clock` returns the processor time of
/// the thread.
///
/// # Errors
/// The system refuses sockets, or the worker did not forward every packet to every subscriber.
fn run_content(
    subscribers: usize,
    pictures: u32,
    (cipher, content): (Cipher, Content),
    paths: &[Path],
    clock: impl Fn() -> Duration,
) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut stage = Stage::set(start, subscribers, (cipher, content), paths)?;
    for picture in 0..WARM_UP {
        stage.show(picture)?;
        turn(&mut stage.lab, start + picture * FRAME);
    }
    let before = stage.lab.metrics();
    let mut cpu = Duration::ZERO;
    for picture in WARM_UP..WARM_UP + pictures {
        stage.show(picture)?;
        let begun = clock();
        measured_turn(&mut stage.lab, start + picture * FRAME);
        cpu += clock() - begun;
    }
    let after = stage.lab.metrics();
    let outcome = Outcome {
        accepted: after.rtp_accepted - before.rtp_accepted,
        forwarded: after.forwarded - before.forwarded,
        cpu,
    };
    let sent = u64::from(pictures) * u64::from(content.packets());
    if (outcome.accepted, outcome.forwarded) != (sent, sent * subscribers as u64) {
        return Err(io::Error::other(format!(
            "{sent} packets for {subscribers} subscribers became {outcome:?}: {after:?}"
        )));
    }
    Ok(outcome)
}

/// The part that callgrind counts.
#[inline(never)]
fn measured_turn(lab: &mut Lab, now: Instant) {
    turn(lab, now);
}

fn turn(lab: &mut Lab, now: Instant) {
    lab.receive(now);
    lab.turn(now);
}

struct Stage {
    lab: Lab,
    publisher: UdpSocket,
    outgoing: SendBatch,
    sealer: srtp::Sender,
    /// Where the worker listens, as the publisher sees it.
    worker: Path,
    content: Content,
}

impl Stage {
    fn set(
        now: Instant,
        subscribers: usize,
        (cipher, content): (Cipher, Content),
        paths: &[Path],
    ) -> io::Result<Self> {
        let nobody = || io::Error::other("nobody to send to");
        let local = paths.first().ok_or_else(nobody)?.local;
        let certificate = Certificate::generate().map_err(io::Error::other)?;
        let clock = WallClock::new(now, SystemTime::now());
        let mut config = Config::new(Arc::new(certificate), clock, Arc::new(|_| ()));
        config.bind = vec![local];
        let mut lab = Lab::new(config)?;
        // The publisher's socket is in this process, so its packets arrive at once. What the worker sends to it is not
        // read.
        let publisher = UdpSocket::bind(&UdpConfig {
            reuse_port: false,
            ..UdpConfig::new(SocketAddr::new(local, 0))
        })?;
        let at = Path { remote: publisher.local_addr(), local };
        join(&mut lab, now, plan(PUBLISHER, true, content)?, at, cipher)?;
        for (at, &path) in (0..subscribers).zip(paths.iter().cycle()) {
            let session = SessionId(2 + at as u64);
            let plan = plan(session, false, content)?;
            let mid = mid()?;
            join(&mut lab, now, plan, path, cipher)?;
            lab.command(now, Command::Bind { session, slots: vec![(mid, Some(binding()))] });
        }
        let sealer = sender(PUBLISHER, cipher)?;
        let remote = SocketAddr::new(local, lab.local_port());
        let worker = Path { remote, local };
        let outgoing = SendBatch::with_capacity(1 << 16, usize::from(PACKETS));
        Ok(Self { lab, publisher, outgoing, sealer, worker, content })
    }

    /// Sends a picture to the worker's socket, as one train.
    fn show(&mut self, picture: u32) -> io::Result<()> {
        self.outgoing.begin(self.worker);
        for index in 0..self.content.packets() {
            let packet = self.packet(picture, index)?;
            let full = || io::Error::other("no room for a picture");
            self.outgoing.space().ok_or_else(full)?[..packet.len()].copy_from_slice(&packet);
            self.outgoing.commit(packet.len());
        }
        let sent = self.outgoing.flush(Some(&self.publisher), None);
        if sent.sent_datagrams == u64::from(self.content.packets()) {
            return Ok(());
        }
        Err(io::Error::other(format!("a picture was not sent: {sent:?}")))
    }

    fn packet(&mut self, picture: u32, index: u16) -> io::Result<Vec<u8>> {
        let packets = self.content.packets();
        let number = picture * u32::from(packets) + u32::from(index);
        let header = HeaderWriter {
            marker: index + 1 == packets,
            pt: UP_PT,
            sequence: number as u16,
            timestamp: picture * 3_000,
            ssrc: UP_SSRC,
        };
        let mut bytes = vec![0; PAYLOAD + 64];
        // The header extensions that browsers send with each packet of a picture.
        let (abs_send_time, counter) = ((number << 8).to_be_bytes(), (number as u16).to_be_bytes());
        let mid = mid()?;
        // Id 0 is skipped. -70 dBov is silence.
        let level = if self.content == Content::Sound { 5 } else { 0 };
        let extensions: [(u8, &[u8]); 4] =
            [(2, &abs_send_time[..3]), (3, &counter), (4, mid.as_bytes()), (level, &[70])];
        let header_len = header.write(&mut bytes, &extensions).map_err(io::Error::other)?;
        let payload = self.content.payload(picture, index);
        let len = header_len + payload.len();
        bytes[header_len..len].copy_from_slice(&payload);
        let sealed = self.sealer.seal_rtp(&mut bytes, header_len, len, number >> 16);
        bytes.truncate(sealed.map_err(io::Error::other)?);
        Ok(bytes)
    }
}

fn join(
    lab: &mut Lab,
    now: Instant,
    plan: SessionPlan,
    path: Path,
    cipher: Cipher,
) -> io::Result<()> {
    let session = plan.id;
    lab.command(now, Command::Open(Arc::new(plan)));
    // The publisher's sending key is the worker's receiving key; subscribers send nothing here.
    let (key, salt) = keys(session, cipher);
    let receiver = srtp::Receiver::new(cipher.profile(), &key, &salt).map_err(io::Error::other)?;
    if lab.connect(now, session, path, sender(session, cipher)?, receiver) {
        return Ok(());
    }
    Err(io::Error::other(format!("session {session} was not connected")))
}

fn keys(session: SessionId, cipher: Cipher) -> (Vec<u8>, Vec<u8>) {
    let profile = cipher.profile();
    let (mut key, salt) = (vec![1; profile.key_len()], vec![3; profile.salt_len()]);
    key[..8].copy_from_slice(&session.0.to_be_bytes());
    (key, salt)
}

fn sender(session: SessionId, cipher: Cipher) -> io::Result<srtp::Sender> {
    let (key, salt) = keys(session, cipher);
    srtp::Sender::new(cipher.profile(), &key, &salt).map_err(io::Error::other)
}

fn mid() -> io::Result<Mid> {
    Mid::parse("0").map_err(io::Error::other)
}

fn plan(id: SessionId, publishes: bool, content: Content) -> io::Result<SessionPlan> {
    let text = |what: &str| format!("{what}{:023}", id.0);
    let mut extensions = ExtensionMap::new();
    extensions.set(Extension::AbsSendTime, 2);
    extensions.set(Extension::TransportCc, 3);
    extensions.set(Extension::Mid, 4);
    extensions.set(Extension::AudioLevel, 5);
    let kind = content.codec().kind();
    let codec = |pt| CodecSpec {
        pt,
        rtx_pt: Some(Pt(pt.0 + 1)),
        codec: content.codec(),
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: false },
        parameter_sets: None,
    };
    let up = UpMedia {
        track: TRACK,
        mid: mid()?,
        kind,
        codecs: vec![codec(UP_PT)],
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: UP_SSRC, rtx: Some(Ssrc(UP_SSRC.0 + 1)) }],
    };
    let ssrc = id.0 as u32 * 2;
    let down = DownMedia {
        mid: mid()?,
        kind,
        ssrc: StreamSsrc { media: Ssrc(ssrc), rtx: Some(Ssrc(ssrc + 1)) },
        codecs: vec![codec(DOWN_PT)],
    };
    Ok(SessionPlan {
        id,
        ice: IceCredentials {
            local_ufrag: text("u"),
            local_pwd: text("p"),
            remote_ufrag: text("U"),
            remote_pwd: text("P"),
        },
        dtls_role: DtlsRole::Passive,
        fingerprints: Vec::new(),
        extensions,
        up: if publishes { vec![up] } else { Vec::new() },
        down: if publishes { Vec::new() } else { vec![down] },
        rtcp_reduced_size: true,
        cname: "bench".into(),
        data: None,
        remote_candidates: Vec::new(),
    })
}

fn binding() -> Binding {
    let mapping = PtMapping {
        up: UP_PT,
        down: DOWN_PT,
        down_rtx: Some(Pt(DOWN_PT.0 + 1)),
        unwrap_red: false,
        clock_rate: 90_000,
    };
    Binding { track: TRACK, publisher: PUBLISHER, payload_types: [mapping].into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_forwarded_to_everyone() {
        for cipher in Cipher::ALL {
            let outcome = run_alone(3, 5, cipher, Content::Pictures).unwrap();
            assert_eq!((outcome.accepted, outcome.forwarded), (50, 150));
            let outcome = run_alone(3, 5, cipher, Content::Sound).unwrap();
            assert_eq!((outcome.accepted, outcome.forwarded), (5, 15));
        }
    }
}

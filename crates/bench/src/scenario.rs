//! The packet path in process: one publisher and its subscribers in one worker, without a thread and without
//! handshakes. This is what runs under callgrind.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::Arc,
    time::{Instant, SystemTime},
};

use model::{
    Binding, Codec, CodecSpec, Command, DownMedia, DtlsRole, Extension, ExtensionMap, Feedback,
    IceCredentials, MediaKind, Mid, Path, Pt, PtMapping, SessionId, SessionPlan, Ssrc, StreamSsrc,
    TrackId, UpMedia, WallClock,
};
use rtp::HeaderWriter;
use transport::{dtls::Certificate, srtp};
use worker::{Config, lab::Lab};

use crate::media::{FRAME, PACKETS, PAYLOAD, payload};

/// Pictures before the measured ones: pools fill, streams are learned, the key frame is passed on.
const WARM_UP: u32 = 15;
/// Sockets that the subscribers' packets go to; nobody reads them, and what finds them full is dropped.
const SINKS: usize = 16;

const TRACK: TrackId = TrackId(1);
const PUBLISHER: SessionId = SessionId(1);
const UP_PT: Pt = Pt(96);
const DOWN_PT: Pt = Pt(102);
const UP_SSRC: Ssrc = Ssrc(0x1111_1111);

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Packets that were taken in the measured part.
    pub(crate) accepted: u64,
    /// Packets that were sealed for subscribers in the measured part.
    pub(crate) forwarded: u64,
}

/// Lets `pictures` pictures go to so many subscribers, after a warm-up.
///
/// # Errors
/// The system refuses sockets, or the worker did not forward every packet to everyone.
pub(crate) fn run(subscribers: usize, pictures: u32) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut stage = Stage::set(start, subscribers)?;
    let warm_up = stage.pictures(0, WARM_UP)?;
    let measured = stage.pictures(WARM_UP, pictures)?;
    pass(&mut stage.lab, stage.publisher, start, warm_up);
    let before = stage.lab.metrics();
    measured_frames(&mut stage.lab, stage.publisher, start + WARM_UP * FRAME, measured);
    let after = stage.lab.metrics();
    let outcome = Outcome {
        accepted: after.rtp_accepted - before.rtp_accepted,
        forwarded: after.forwarded - before.forwarded,
    };
    let sent = u64::from(pictures) * u64::from(PACKETS);
    if outcome != (Outcome { accepted: sent, forwarded: sent * subscribers as u64 }) {
        return Err(io::Error::other(format!(
            "{sent} packets for {subscribers} subscribers became {outcome:?}: {after:?}"
        )));
    }
    Ok(outcome)
}

/// What callgrind is told to count.
#[inline(never)]
fn measured_frames(lab: &mut Lab, publisher: Path, start: Instant, pictures: Vec<Vec<Vec<u8>>>) {
    pass(lab, publisher, start, pictures);
}

fn pass(lab: &mut Lab, publisher: Path, start: Instant, pictures: Vec<Vec<Vec<u8>>>) {
    for (at, mut picture) in pictures.into_iter().enumerate() {
        let now = start + at as u32 * FRAME;
        for packet in &mut picture {
            take_in(lab, now, publisher, packet);
        }
        send_out(lab, now);
    }
}

/// From the datagram to the queue of its track. A function of its own, so that a profile shows it.
#[inline(never)]
fn take_in(lab: &mut Lab, now: Instant, publisher: Path, packet: &mut [u8]) {
    lab.datagram(now, publisher, packet);
}

/// From the queue of the track to the kernel.
#[inline(never)]
fn send_out(lab: &mut Lab, now: Instant) {
    lab.turn(now);
}

struct Stage {
    lab: Lab,
    publisher: Path,
    sealer: srtp::Sender,
    _sinks: Vec<UdpSocket>,
}

impl Stage {
    fn set(now: Instant, subscribers: usize) -> io::Result<Self> {
        let certificate = Certificate::generate().map_err(io::Error::other)?;
        let clock = WallClock::new(now, SystemTime::now());
        let mut config = Config::new(Arc::new(certificate), clock, Arc::new(|_| ()));
        config.bind = vec![Ipv4Addr::LOCALHOST.into()];
        let mut lab = Lab::new(config)?;
        let sinks = (0..=SINKS).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        let sinks = sinks.collect::<io::Result<Vec<_>>>()?;
        // What the publisher is sent goes unread too.
        let publisher = path(&sinks[SINKS])?;
        join(&mut lab, now, plan(PUBLISHER, true)?, publisher)?;
        for at in 0..subscribers {
            let session = SessionId(2 + at as u64);
            let plan = plan(session, false)?;
            let mid = mid()?;
            join(&mut lab, now, plan, path(&sinks[at % SINKS])?)?;
            lab.command(now, Command::Bind { session, mid, binding: Some(binding()) });
        }
        let sealer = sender(PUBLISHER)?;
        Ok(Self { lab, publisher, sealer, _sinks: sinks })
    }

    /// The publisher's datagrams, picture by picture.
    fn pictures(&mut self, first: u32, count: u32) -> io::Result<Vec<Vec<Vec<u8>>>> {
        (first..first + count).map(|n| (0..PACKETS).map(|i| self.packet(n, i)).collect()).collect()
    }

    fn packet(&mut self, picture: u32, index: u16) -> io::Result<Vec<u8>> {
        let number = picture * u32::from(PACKETS) + u32::from(index);
        let header = HeaderWriter {
            marker: index + 1 == PACKETS,
            pt: UP_PT,
            sequence: number as u16,
            timestamp: picture * 3_000,
            ssrc: UP_SSRC,
        };
        let mut bytes = vec![0; PAYLOAD + 64];
        // The extensions that browsers send with each packet of a picture.
        let (abs_send_time, counter) = ((number << 8).to_be_bytes(), (number as u16).to_be_bytes());
        let mid = mid()?;
        let extensions: [(u8, &[u8]); 3] =
            [(2, &abs_send_time[..3]), (3, &counter), (4, mid.as_bytes())];
        let header_len = header.write(&mut bytes, &extensions).map_err(io::Error::other)?;
        let payload = payload(picture, index, picture == 0);
        let len = header_len + payload.len();
        bytes[header_len..len].copy_from_slice(&payload);
        let sealed = self.sealer.seal_rtp(&mut bytes, header_len, len, number >> 16);
        bytes.truncate(sealed.map_err(io::Error::other)?);
        Ok(bytes)
    }
}

fn join(lab: &mut Lab, now: Instant, plan: SessionPlan, path: Path) -> io::Result<()> {
    let session = plan.id;
    lab.command(now, Command::Open(Arc::new(plan)));
    // What a peer seals with is what the worker opens with; subscribers send nothing here.
    let receiver = srtp::Receiver::new(PROFILE, &key(session), &SALT).map_err(io::Error::other)?;
    if lab.connect(now, session, path, sender(session)?, receiver) {
        return Ok(());
    }
    Err(io::Error::other(format!("session {session} was not connected")))
}

const PROFILE: srtp::Profile = srtp::Profile::AeadAes128Gcm;
const SALT: [u8; 12] = [3; 12];

fn key(session: SessionId) -> [u8; 16] {
    let mut key = [1; 16];
    key[..8].copy_from_slice(&session.0.to_be_bytes());
    key
}

fn sender(session: SessionId) -> io::Result<srtp::Sender> {
    srtp::Sender::new(PROFILE, &key(session), &SALT).map_err(io::Error::other)
}

fn path(sink: &UdpSocket) -> io::Result<Path> {
    Ok(Path { remote: sink.local_addr()?, local: IpAddr::from(Ipv4Addr::LOCALHOST) })
}

fn mid() -> io::Result<Mid> {
    Mid::parse("0").map_err(io::Error::other)
}

fn plan(id: SessionId, publishes: bool) -> io::Result<SessionPlan> {
    let text = |what: &str| format!("{what}{:023}", id.0);
    let mut extensions = ExtensionMap::new();
    extensions.set(Extension::AbsSendTime, 2);
    extensions.set(Extension::TransportCc, 3);
    extensions.set(Extension::Mid, 4);
    let codec = |pt| CodecSpec {
        pt,
        rtx_pt: Some(Pt(pt.0 + 1)),
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: false },
    };
    let up = UpMedia {
        track: TRACK,
        mid: mid()?,
        kind: MediaKind::Video,
        codecs: vec![codec(UP_PT)],
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: UP_SSRC, rtx: Some(Ssrc(UP_SSRC.0 + 1)) }],
    };
    let ssrc = id.0 as u32 * 2;
    let down = DownMedia {
        mid: mid()?,
        kind: MediaKind::Video,
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
    Binding { track: TRACK, publisher: PUBLISHER, payload_types: vec![mapping] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_forwarded_to_everyone() {
        let outcome = run(3, 5).unwrap();
        assert_eq!(outcome, Outcome { accepted: 50, forwarded: 150 });
    }
}

//! Parsers of the media port: demultiplexing, STUN, DTLS, SRTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ::rtp::parse_header_unprotected;
use ::transport::demux::{Kind, classify};
use ::transport::dtls::Certificate;
use ::transport::srtp::{Profile, Receiver, Sender, SrtpError};
use ::transport::{Peer, PeerEvent, ice};
use aws_lc_rs::hmac;
use model::{DropReason, DtlsRole, ExtensionMap, IceCredentials, Path, SessionId, SessionPlan};

/// The time at which each run starts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn credentials() -> IceCredentials {
    IceCredentials {
        local_ufrag: "node".into(),
        local_pwd: "node-password-of-22-characters".into(),
        remote_ufrag: "peer".into(),
        remote_pwd: "peer-password-of-22-characters".into(),
    }
}

fn path() -> Path {
    Path {
        remote: SocketAddr::from(([192, 0, 2, 1], 40_000)),
        local: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    }
}

/// A datagram of any kind. A datagram that a protocol's parser accepts must have been assigned to that protocol.
pub fn demux(data: &[u8]) {
    let kind = classify(data);
    let least = match kind {
        Kind::Stun => 20,
        Kind::Dtls => 13,
        Kind::Rtp => 12,
        Kind::Rtcp => 8,
        Kind::TurnChannel => 4,
        Kind::Unknown => 0,
    };
    assert!(data.len() >= least, "{kind:?} of {} bytes", data.len());
    if ice::peek_username(data).is_ok() {
        assert_eq!(kind, Kind::Stun);
    }
    if parse_header_unprotected(data).is_ok() {
        assert!(matches!(kind, Kind::Rtp | Kind::Rtcp), "RTP taken for {kind:?}");
    }
}

/// A connectivity check: the bytes as they are, and as the attributes of a check that is signed with the correct
/// password. Only checks that are signed and for this node are answered, and an answer stays small.
pub fn stun(data: &[u8]) {
    check(data);
    check(&signed(data));
}

fn check(datagram: &[u8]) {
    let ice = credentials();
    let to_us = ice::peek_username(datagram) == Ok(&ice.local_ufrag);
    let genuine = ice::verify(datagram, &ice.local_pwd);
    match ice::respond(datagram, &path(), &ice) {
        Ok(answer) => {
            assert!(to_us && genuine.is_ok(), "answered a stranger");
            assert!(answer.response.len() < 128, "reflection gains");
            assert_eq!(answer.response[4..20], datagram[4..20], "of another transaction");
            assert!(answer.success || !answer.nominated);
            let kind = u16::from_be_bytes([answer.response[0], answer.response[1]]);
            assert_eq!(kind, if answer.success { 0x0101 } else { 0x0111 });
            assert_eq!(classify(&answer.response), Kind::Stun);
        }
        Err(reason) => {
            let unanswered = !to_us || genuine.is_err();
            assert!(unanswered, "a check that is genuine and for us was dropped: {reason:?}");
        }
    }
    // A check under another password must be refused.
    let other = ice::verify(datagram, "another-password-of-22-characters");
    assert!(other.is_err_and(|reason| reason != DropReason::StunUnknownUser));
}

/// A Binding request with these attributes and a correct MESSAGE-INTEGRITY (RFC 8489 section 14.5).
fn signed(attributes: &[u8]) -> Vec<u8> {
    let attributes = &attributes[..attributes.len().min(1400)];
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    request.extend(attributes);
    request.resize(request.len().next_multiple_of(4), 0);
    let len = (request.len() - 20 + 24) as u16;
    request[2..4].copy_from_slice(&len.to_be_bytes());
    let password = credentials().local_pwd;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &request);
    request.extend([0, 8, 0, 20]);
    request.extend(tag.as_ref());
    request
}

fn contexts(choice: u8) -> (Profile, Sender, Receiver) {
    let profile = Profile::ALL[usize::from(choice) % Profile::ALL.len()];
    let (key, salt) = (&[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]);
    match (Sender::new(profile, key, salt), Receiver::new(profile, key, salt)) {
        (Ok(sender), Ok(receiver)) => (profile, sender, receiver),
        _ => panic!("keys of the right length are refused"),
    }
}

/// SRTP: the first byte chooses the profile, the second and third a change to make; the rest is used as a protected
/// packet and as one to protect. A packet that opens is one that was sealed, and it opens only once.
pub fn srtp(data: &[u8]) {
    let [choice, at, change, rest @ ..] = data else {
        return;
    };
    let (profile, mut sender, mut receiver) = contexts(*choice);
    let header_len = parse_header_unprotected(rest).map_or(12, |header| header.header_len());
    let mut out = vec![0; 2000];
    if let Ok(opened) = receiver.open_rtp(rest, header_len, &mut out) {
        let again = receiver.open_rtp(rest, header_len, &mut vec![0; 2000]);
        assert_eq!(again, Err(SrtpError::Replay));
        out.resize(opened.len + profile.rtp_overhead(), 0);
        let roc = (opened.index >> 16) as u32;
        let sealed = sender.seal_rtp(&mut out, header_len, opened.len, roc);
        assert_eq!(sealed, Ok(rest.len()), "what opened does not seal");
        assert_eq!(out, rest, "a packet opened that was never sealed");
    }

    let (profile, mut sender, mut receiver) = contexts(*choice);
    let mut sealed = rest.to_vec();
    sealed.resize(rest.len() + profile.rtp_overhead(), 0);
    let Ok(len) = sender.seal_rtp(&mut sealed, header_len, rest.len(), 0) else {
        return;
    };
    assert_eq!(len, sealed.len());
    let mut bad = sealed.clone();
    changed(&mut bad, *at, *change);
    let mut out = [0; 2000];
    assert!(receiver.open_rtp(&bad, header_len, &mut out).is_err(), "a change went unnoticed");
    let opened = receiver.open_rtp(&sealed, header_len, &mut out);
    assert_eq!(opened.map(|opened| opened.len), Ok(rest.len()));
    assert_eq!(&out[..rest.len()], rest);
    let again = receiver.open_rtp(&sealed, header_len, &mut out);
    assert_eq!(again, Err(SrtpError::Replay));
}

/// SRTCP, as [`srtp`].
pub fn srtcp(data: &[u8]) {
    let [choice, at, change, rest @ ..] = data else {
        return;
    };
    let (_, _, mut receiver) = contexts(*choice);
    if let Ok(len) = receiver.open_rtcp(&mut rest.to_vec()) {
        assert!(len < rest.len());
        assert_eq!(receiver.open_rtcp(&mut rest.to_vec()), Err(SrtpError::Replay));
    }

    let (profile, mut sender, mut receiver) = contexts(*choice);
    let mut sealed = rest.to_vec();
    sealed.resize(rest.len() + profile.rtcp_overhead(), 0);
    if sender.seal_rtcp(&mut sealed, rest.len()).is_err() {
        return;
    }
    let mut bad = sealed.clone();
    changed(&mut bad, *at, *change);
    assert!(receiver.open_rtcp(&mut bad).is_err(), "a change went unnoticed");
    let mut opened = sealed.clone();
    assert_eq!(receiver.open_rtcp(&mut opened), Ok(rest.len()));
    assert_eq!(&opened[..rest.len()], rest);
    assert_eq!(receiver.open_rtcp(&mut sealed), Err(SrtpError::Replay));
}

fn changed(bytes: &mut [u8], at: u8, change: u8) {
    let at = usize::from(at) * bytes.len() / 256;
    bytes[at] ^= change.max(1);
}

/// Bytes that the node may send in a handshake with an unauthenticated peer before it gives up. The longest flight is
/// about 1,200 bytes, and it is resent several times.
const DTLS_SENT_MAX: usize = 64 * 1024;
/// Timer calls until a handshake without answers has ended.
const DTLS_TIMEOUTS_MAX: usize = 200;

/// DTLS of a peer whose path is validated: the first byte chooses the node's role, the rest is a series of datagrams,
/// each after its length in two bytes. No keys are given out without the certificate of the offer, and the handshake
/// ends by itself on every input.
pub fn dtls(data: &[u8]) {
    static CERTIFICATE: LazyLock<Arc<Certificate>> =
        LazyLock::new(|| match Certificate::generate() {
            Ok(certificate) => Arc::new(certificate),
            Err(error) => panic!("no certificate: {error}"),
        });
    let Some((role, mut rest)) = data.split_first() else {
        return;
    };
    let role = if role & 1 == 0 { DtlsRole::Passive } else { DtlsRole::Active };
    let mut now = *START;
    let mut peer = Peer::new(now, &plan(role), &CERTIFICATE);
    assert_eq!(peer.handle_dtls(now, path(), rest), Err(DropReason::UnknownPath));
    assert_eq!(peer.adopt_path(now, path(), true), Ok(()));
    let (mut sent, mut over) = (0, false);
    drain(&mut peer, &mut sent, &mut over);
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, tail) = tail.split_at(len);
        rest = tail;
        now += Duration::from_millis(5);
        let taken = peer.handle_dtls(now, path(), datagram);
        assert!(!over || taken == Err(DropReason::DtlsClosed), "{taken:?} after the end");
        drain(&mut peer, &mut sent, &mut over);
    }
    for _ in 0..DTLS_TIMEOUTS_MAX {
        let Some(due) = peer.poll_timeout() else {
            break;
        };
        now = now.max(due);
        peer.handle_timeout(now);
        assert!(peer.poll_timeout().is_none_or(|due| due > now), "due again at once");
        drain(&mut peer, &mut sent, &mut over);
    }
    assert!(over, "a handshake without an end");
    assert!(sent <= DTLS_SENT_MAX, "{sent} bytes sent");
}

fn drain(peer: &mut Peer, sent: &mut usize, over: &mut bool) {
    let mut out = Vec::new();
    while peer.poll_transmit(&mut out).is_some() {
        assert!(out.len() <= 1500);
        *sent += out.len();
    }
    while let Some(event) = peer.poll_event() {
        match event {
            PeerEvent::Connected { .. } => panic!("keys without the right certificate"),
            PeerEvent::Closed(_) => {
                assert!(!*over, "closed twice");
                *over = true;
            }
            _ => {}
        }
    }
}

/// A session whose offer has the fingerprint of a certificate that does not exist.
fn plan(dtls_role: DtlsRole) -> SessionPlan {
    SessionPlan {
        id: SessionId(1),
        ice: credentials(),
        dtls_role,
        fingerprints: vec![model::Fingerprint { algorithm: "sha-256".into(), bytes: vec![0; 32] }],
        extensions: ExtensionMap::new(),
        up: Vec::new(),
        down: Vec::new(),
        rtcp_reduced_size: true,
        cname: "node".into(),
        data: None,
        remote_candidates: Vec::new(),
    }
}

//! Tests: attacks of one participant on another, in a worker without sockets: taking over paths, floods of handshakes,
//! reports about packets that were never sent.

use std::time::Instant;

use model::{Command, DropReason, IceCredentials, Path, SessionId};
use rtp::rtcp::{RtcpWriter, TwccHeader};
use stun_types::attribute::{RawAttribute, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageWrite, MessageWriteExt, MessageWriteVec,
    ShortTermCredentials,
};
use transport::srtp::{Profile, Receiver, Sender};

use crate::core::Worker;
use crate::core::tests::{bench, is_here, open, path, plan, settled};
use crate::demux::HALF_OPEN_MAX;
use crate::mail;
use crate::paths::PathOwner;
use crate::sessions::{Crypto, SessionRef};

/// A check as an independent implementation writes it.
pub(crate) fn check(ice: &IceCredentials) -> Vec<u8> {
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    let username = format!("{}:{}", ice.local_ufrag, ice.remote_ufrag);
    request.add_attribute(&Username::new(&username).unwrap()).unwrap();
    request.add_attribute(&RawAttribute::new(0x802a.into(), &[9; 8])).unwrap();
    let password = ShortTermCredentials::new(ice.local_pwd.clone()).into();
    request.add_message_integrity(&password, IntegrityAlgorithm::Sha1).unwrap();
    request.add_fingerprint().unwrap();
    request.finish()
}

fn take_check(worker: &mut Worker, now: Instant, from: Path, session: u64) {
    let before = worker.counters.stun.value();
    worker.take_datagram(now, from, &mut check(&plan(session).ice));
    assert_eq!(worker.counters.stun.value(), before + 1, "the check is genuine");
}

/// A record with the first byte of a ClientHello of 100 (RFC 6347 sections 4.1 and 4.2.2): the handshake waits for the
/// rest.
pub(crate) fn hello_fragment() -> [u8; 26] {
    let mut record = [0; 26];
    record[..3].copy_from_slice(&[22, 0xfe, 0xfd]);
    record[12] = 13;
    record[13] = 1;
    record[16] = 100;
    record[24] = 1;
    record[25] = 0xfe;
    record
}

pub(crate) fn dropped(worker: &Worker, reason: DropReason) -> u64 {
    worker.counters.dropped_in[reason as usize].value()
}

pub(crate) fn dropped_in_all(worker: &Worker) -> u64 {
    worker.counters.dropped_in.iter().map(|counter| counter.value()).sum()
}

pub(crate) const KEY: [u8; 16] = [7; 16];
pub(crate) const SALT: [u8; 12] = [9; 12];

/// Gives a session keys, and returns the peer's sender.
pub(crate) fn connect(worker: &mut Worker, now: Instant, slot: SessionRef) -> Sender {
    let sender = || Sender::new(Profile::AeadAes128Gcm, &KEY, &SALT).unwrap();
    let receiver = Receiver::new(Profile::AeadAes128Gcm, &KEY, &SALT).unwrap();
    worker.sessions.at(slot).unwrap().peer.skip_handshake();
    worker.connected(now, slot, Crypto { sender: sender(), receiver });
    worker.arm(now, slot);
    sender()
}

/// Row 26: an attacker with a session of its own that forges the source address of a check takes another session's
/// path at most until that session's next check.
#[test]
fn a_path_taken_by_another_sessions_check_comes_back_with_the_next_of_its_owner() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let (victim, attacker) = (settled(worker, 1, now), settled(worker, 2, now));
    let third = open(worker, plan(3));
    for session in [2, 3] {
        take_check(worker, now, path(1), session);
        assert!(!is_here(worker, &path(1), victim));
        take_check(worker, now, path(1), 1);
        assert!(is_here(worker, &path(1), victim));
    }
    // When the other sessions end, the path stays with its owner.
    worker.end_session(attacker, model::CloseReason::Requested);
    worker.directory.command(&Command::Close { session: SessionId(3) });
    worker.paths.take(third.id);
    assert!(is_here(worker, &path(1), victim));
}

/// Row 61: the session is live, and its path stays.
#[test]
fn a_check_of_another_session_takes_no_path_at_which_a_session_is_live() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let (victim, attacker) = (settled(worker, 1, now), settled(worker, 2, now));
    let third = open(worker, plan(3));
    connect(worker, now, victim);
    connect(worker, now, attacker);
    let consent = transport::ice::agent::CONSENT_LIFETIME;
    let later = now + consent - std::time::Duration::from_millis(1);
    for (count, session) in [2, 3].into_iter().enumerate() {
        worker.take_datagram(later, path(1), &mut check(&plan(session).ice));
        assert_eq!(dropped(worker, DropReason::PathInUse), count as u64 + 1);
        assert!(is_here(worker, &path(1), victim));
    }
    // The same for a path that another worker validated before it knew which worker owns the session.
    let message = mail::Message::Path { session: SessionId(2), path: path(1), nominated: true };
    worker.take_message(later, crate::WorkerId(0), message);
    assert!(is_here(worker, &path(1), victim));
    assert_eq!(
        worker.sessions.at(attacker).unwrap().path,
        Some(path(2)),
        "it is sent nothing there"
    );
    // A check of the victim itself is accepted, and holds the path for another lifetime of consent.
    take_check(worker, later, path(1), 1);
    worker.take_datagram(now + consent, path(1), &mut check(&plan(2).ice));
    assert!(is_here(worker, &path(1), victim));
    // A port that one session uses after another: a session that was silent for long enough loses it.
    take_check(worker, later + consent, path(1), 3);
    assert!(
        matches!(worker.paths.get(&path(1)), Some(PathOwner::Elsewhere { entry, .. }) if entry.id == third.id)
    );
}

/// A path on which a session is not sent media may be taken: its translator (NAT) may have given the address to
/// another peer since.
#[test]
fn an_address_at_which_a_session_is_not_sent_to_goes_to_the_session_that_checks_from_it() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let (mover, newcomer) = (settled(worker, 1, now), settled(worker, 2, now));
    connect(worker, now, mover);
    take_check(worker, now, path(9), 1);
    assert!(is_here(worker, &path(9), mover));
    assert_eq!(worker.sessions.at(mover).unwrap().path, Some(path(1)));
    take_check(worker, now, path(9), 2);
    assert!(is_here(worker, &path(9), newcomer));
    assert!(is_here(worker, &path(1), mover));
}

/// The same if another worker owns the session.
#[test]
fn a_check_takes_no_path_of_a_session_that_is_live_in_another_worker() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let victim = worker.directory.open_at(plan(1), crate::WorkerId(1));
    settled(worker, 2, now);
    worker.take_datagram(now, path(1), &mut check(&plan(1).ice));
    let is_cached = |worker: &Worker| matches!(worker.paths.get(&path(1)), Some(PathOwner::Elsewhere { entry, .. }) if entry.id == SessionId(1));
    assert!(is_cached(worker));
    victim.set_sent_to(Some(path(1)));
    let seconds = std::time::Duration::from_secs;
    // The victim's peer sends no checks, but media, and the datagrams that are passed on hold the path.
    for at in [20, 40, 60] {
        worker.take_datagram(now + seconds(at), path(1), &mut [0x80; 40]);
        worker.take_datagram(now + seconds(at + 20), path(1), &mut check(&plan(2).ice));
        assert!(is_cached(worker), "after {at} s");
    }
    assert_eq!(dropped(worker, DropReason::PathInUse), 3);
    take_check(worker, now + seconds(91), path(1), 2);
    assert!(!is_cached(worker));
}

/// The same for a session that another worker owns, and whose datagrams the kernel brings to this worker.
#[test]
fn a_cached_path_comes_back_with_the_next_check_of_its_owner() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let victim = worker.directory.open_at(plan(1), crate::WorkerId(1));
    let attacker = settled(worker, 2, now);
    let is_cached = |worker: &Worker| matches!(worker.paths.get(&path(1)), Some(PathOwner::Elsewhere { entry: e, .. }) if e.id == SessionId(1));
    // There is no such worker here, so the check itself goes nowhere; what counts is the path.
    worker.take_datagram(now, path(1), &mut check(&plan(1).ice));
    assert!(is_cached(worker));
    take_check(worker, now, path(1), 2);
    assert!(is_here(worker, &path(1), attacker));
    worker.paths.take(victim.id);
    assert!(is_here(worker, &path(1), attacker));
    worker.take_datagram(now, path(1), &mut check(&plan(1).ice));
    assert!(is_cached(worker));
}

/// Row 26: a local source has no credentials. Its password is empty, which every attacker knows.
#[test]
fn a_session_without_a_peer_cannot_be_addressed() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let victim = settled(worker, 1, now);
    let mut source = (*plan(2)).clone();
    (source.ice.local_ufrag, source.ice.local_pwd) = (String::new(), String::new());
    worker.directory.open_at(source.clone().into(), crate::WorkerId(0));
    worker.take_datagram(now, path(1), &mut check(&source.ice));
    assert_eq!(dropped(worker, DropReason::StunUnknownUser), 1);
    assert!(is_here(worker, &path(1), victim));
}

/// Row 26: neither media nor DTLS from a new address changes where a session is sent media, or makes the address
/// known.
#[test]
fn media_and_dtls_from_a_new_address_move_nothing() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let slot = settled(worker, 1, now);
    let mut peer = connect(worker, now, slot);
    let mut rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 5];
    rtcp.resize(40, 0);
    let len = peer.seal_rtcp(&mut rtcp, 8).unwrap();
    rtcp.truncate(len);
    worker.take_datagram(now, path(9), &mut rtcp.clone());
    worker.take_datagram(now, path(9), &mut [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(dropped(worker, DropReason::UnknownPath), 2);
    assert_eq!(worker.sessions.at(slot).unwrap().path, Some(path(1)));
    // The same packet is accepted from the right address: the address was the only fault.
    worker.take_datagram(now, path(1), &mut rtcp);
    assert_eq!(worker.counters.rtcp.value(), 1);
}

/// Row 17: the number of handshakes at once is limited.
#[test]
fn half_open_handshakes_are_capped_and_those_under_way_go_on() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    settled(worker, 1, now);
    open(worker, plan(2));
    take_check(worker, now, path(2), 2);
    let mut hello = hello_fragment();
    worker.sessions.set_half_open(HALF_OPEN_MAX);
    worker.take_datagram(now, path(2), &mut hello);
    assert_eq!(dropped(worker, DropReason::DtlsLimit), 1);
    assert_eq!(worker.sessions.len(), 1);
    worker.take_datagram(now, path(1), &mut hello);
    assert_eq!((worker.counters.dtls.value(), dropped_in_all(worker)), (1, 1));
    // One handshake has ended, and the next one begins.
    worker.sessions.set_half_open(HALF_OPEN_MAX - 1);
    worker.take_datagram(now, path(2), &mut hello);
    assert_eq!((worker.sessions.len(), worker.sessions.half_open()), (2, HALF_OPEN_MAX));
}

/// Row 35: reports of a subscriber about packets that were never sent change nothing.
#[test]
fn feedback_about_packets_never_sent_changes_nothing() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let slot = settled(worker, 1, now);
    let mut peer = connect(worker, now, slot);
    let mut bytes = [0; 1500];
    let mut writer = RtcpWriter::new(&mut bytes);
    writer.rr(model::Ssrc(5), &[]).unwrap();
    let header = TwccHeader {
        sender: model::Ssrc(5),
        media: model::Ssrc(77),
        base: 65_000,
        reference_time: 0x7f_ffff,
        feedback_count: 9,
    };
    assert_eq!(writer.transport_cc(&header, (0..400).map(|_| Some(i16::MAX))), Ok(400));
    writer.remb(model::Ssrc(5), u64::MAX >> 1, &[model::Ssrc(77)]).unwrap();
    writer.nack(model::Ssrc(5), model::Ssrc(77), &mut (0..200)).unwrap();
    let len = writer.as_bytes().len();
    let len = peer.seal_rtcp(&mut bytes, len).unwrap();
    worker.take_datagram(now, path(1), &mut bytes[..len]);
    assert_eq!((worker.counters.rtcp.value(), dropped_in_all(worker)), (1, 0));
    assert_eq!((worker.counters.offered.value(), worker.counters.panics.value()), (0, 0));
    assert!(worker.sessions.at(slot).is_some());
}

/// Row 31: a compound packet whose last part is malformed has no effect, even of its first part.
#[test]
fn rtcp_that_lies_is_refused_as_a_whole() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let slot = settled(worker, 1, now);
    let mut peer = connect(worker, now, slot);
    let mut bytes = [0; 64];
    let mut writer = RtcpWriter::new(&mut bytes);
    writer.rr(model::Ssrc(5), &[]).unwrap();
    let len = writer.as_bytes().len();
    // A BYE of 31 sources in four bytes.
    bytes[len..len + 4].copy_from_slice(&[0x9f, 203, 0, 0]);
    let len = peer.seal_rtcp(&mut bytes, len + 4).unwrap();
    worker.take_datagram(now, path(1), &mut bytes[..len]);
    assert_eq!(dropped(worker, DropReason::RtcpMalformed), 1);
    assert_eq!(worker.counters.rtcp.value(), 0);
}

//! How tracks flow between workers and subscribers, in workers without sockets: who learns what, and when.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    Binding, CloseReason, Codec, CodecSpec, Command, DownMedia, Event, Feedback, MediaKind, Mid,
    NtpTime, Pt, PtMapping, SessionId, SessionPlan, Ssrc, StreamSsrc, TrackId, UpMedia,
};

use crate::{
    Source, SourceError, WorkerId,
    commands::Order,
    core::Worker,
    core::tests::{Bench, benches, path, plan},
    registry::Home,
    sessions::Slot,
    source::source,
    threats::{check, connect},
};

const PUBLISHER: u64 = 1;
const VIEWER: u64 = 2;
const PT: Pt = Pt(111);

/// Opus or VP8, both under one payload type.
fn codec(kind: MediaKind) -> CodecSpec {
    let (codec, clock_rate, channels) = match kind {
        MediaKind::Audio => (Codec::Opus, 48_000, 2),
        MediaKind::Video => (Codec::Vp8, 90_000, 0),
    };
    CodecSpec {
        pt: PT,
        rtx_pt: None,
        codec,
        clock_rate,
        channels,
        fmtp: String::new(),
        feedback: Feedback::default(),
    }
}

fn mid() -> Mid {
    Mid::parse("0").unwrap()
}

fn publisher(kind: MediaKind) -> Arc<SessionPlan> {
    let media = UpMedia {
        track: TrackId(7),
        mid: mid(),
        kind,
        codecs: vec![codec(kind)],
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: Ssrc(11), rtx: None }],
    };
    let mut plan = (*plan(PUBLISHER)).clone();
    plan.up = vec![media];
    (plan.ice.local_ufrag, plan.ice.local_pwd) = (String::new(), String::new());
    plan.into()
}

fn binding() -> Option<Binding> {
    let mapping =
        PtMapping { up: PT, down: PT, down_rtx: None, unwrap_red: false, clock_rate: 48_000 };
    Some(Binding {
        track: TrackId(7),
        publisher: SessionId(PUBLISHER),
        payload_types: [mapping].into(),
    })
}

fn bind(worker: &mut Worker, now: Instant) {
    let (session, mid) = (SessionId(VIEWER), mid());
    worker.take_order(now, Command::Bind { session, slots: vec![(mid, binding())] }.into());
}

fn bind_nothing(worker: &mut Worker, now: Instant) {
    let (session, mid) = (SessionId(VIEWER), mid());
    worker.take_order(now, Command::Bind { session, slots: vec![(mid, None)] }.into());
}

/// A local source of sound in the first of these workers, which all of them know.
fn sound(workers: &mut [Bench], now: Instant) -> Source {
    local(MediaKind::Audio, workers, now)
}

fn local(kind: MediaKind, workers: &mut [Bench], now: Instant) -> Source {
    let plan = publisher(kind);
    let (given, peer) = source(&plan, workers[0].worker.bell.clone());
    let (home, mut peer) = (Home::at(WorkerId(0)), Some(Box::new(peer)));
    for bench in workers {
        let (plan, home, peer) = (plan.clone(), home.clone(), peer.take());
        bench.worker.take_order(now, Order::Attach { plan, home, peer });
    }
    given
}

/// A connected viewer with one slot for sound, which nothing flows through.
fn viewer(worker: &mut Worker, now: Instant) -> Slot {
    viewer_of(MediaKind::Audio, worker, now)
}

fn viewer_of(kind: MediaKind, worker: &mut Worker, now: Instant) -> Slot {
    let mut plan = (*plan(VIEWER)).clone();
    plan.down = vec![DownMedia {
        mid: mid(),
        kind,
        ssrc: StreamSsrc { media: Ssrc(21), rtx: None },
        codecs: vec![codec(kind)],
    }];
    worker.registry.open(plan.into(), Home::new());
    worker.registry.pend_path(path(2), SessionId(VIEWER), true);
    let slot = worker.settle(now, SessionId(VIEWER)).unwrap().unwrap();
    connect(worker, now, slot);
    slot
}

fn packet(sequence: u8) -> [u8; 16] {
    [0x80, PT.0, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, 11, 0xfc, 1, 2, 3]
}

#[test]
fn a_viewer_in_another_worker_learns_of_the_sender_report_before_it_came() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut sound = sound(&mut benches, now);
    sound.push(&packet(1)).unwrap();
    sound.push_report(Ssrc(11), NtpTime(5 << 32), 77).unwrap();
    let [a, b] = &mut benches[..] else { panic!("two workers") };
    let (a, b) = (&mut a.worker, &mut b.worker);
    a.take_sources(now);
    viewer(b, now);
    bind(b, now);
    a.take_words(now);
    b.take_words(now);
    let track = b.tracks.by_id(TrackId(7)).unwrap();
    let reports: Vec<_> = b.tracks.at(track).unwrap().mirror.sender_reports().collect();
    let [(0, 0, info)] = reports[..] else { panic!("{reports:?}") };
    assert_eq!((info.ntp, info.rtp_timestamp), (NtpTime(5 << 32), 77));
}

#[test]
fn the_first_sender_report_is_called_for_by_the_packets_that_begin_to_flow() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut sound = sound(&mut benches, now);
    let worker = &mut benches[0].worker;
    viewer(worker, now);
    bind(worker, now);
    assert!(worker.timers.next().is_none_or(|at| at > now + Duration::from_secs(1)));
    sound.push(&packet(1)).unwrap();
    worker.take_sources(now);
    worker.flush_tracks(now);
    assert_eq!(worker.counters.forwarded.value(), 1);
    let latest = now + Duration::from_millis(50) + crate::timers::PATIENCE;
    assert!(worker.timers.next().is_some_and(|at| at <= latest));
}

#[test]
fn the_first_viewer_in_a_worker_begins_with_the_last_key_frame_of_another() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut video = local(MediaKind::Video, &mut benches, now);
    let [a, b] = &mut benches[..] else { panic!("two workers") };
    let (a, b) = (&mut a.worker, &mut b.worker);
    for sequence in 1..=20 {
        let mut picture = packet(sequence);
        picture[1] |= 0x80;
        // RFC 7741 sections 4.2 and 4.3: a picture begins; the lowest bit of its first byte is 0 in a key frame.
        picture[12..14].copy_from_slice(&[0x10, u8::from(sequence != 5)]);
        video.push(&picture).unwrap();
        a.take_sources(now + Duration::from_millis(33) * u32::from(sequence));
    }
    let now = now + Duration::from_millis(700);
    viewer_of(MediaKind::Video, b, now);
    bind(b, now);
    assert_eq!(b.counters.forwarded.value(), 0);
    a.take_words(now);
    b.take_media(now);
    b.flush_tracks(now);
    assert_eq!(b.counters.forwarded.value(), 16, "from the key frame on");
    assert_eq!(a.counters.relayed.value(), 16);
    // A second later the publisher may be asked for another one; what is this old nobody begins with.
    bind_nothing(b, now);
    let now = now + Duration::from_secs(1);
    a.take_words(now);
    bind(b, now);
    a.take_words(now);
    b.take_media(now);
    assert_eq!(a.counters.relayed.value(), 16);
}

#[test]
fn binding_what_is_bound_loses_nothing() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut sound = sound(&mut benches, now);
    let [a, b] = &mut benches[..] else { panic!("two workers") };
    let (a, b) = (&mut a.worker, &mut b.worker);
    viewer(b, now);
    bind(b, now);
    a.take_words(now);
    sound.push(&packet(1)).unwrap();
    a.take_sources(now);
    b.take_media(now);
    bind(b, now);
    b.flush_tracks(now);
    assert_eq!(b.counters.forwarded.value(), 1);
    let track = b.tracks.by_id(TrackId(7)).unwrap();
    let track = b.tracks.at(track).unwrap();
    assert_eq!((track.subscribers.len(), track.mirror.last_arrival()), (1, Some(now)));
}

#[test]
fn a_source_hears_that_its_session_was_closed() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut sound = sound(&mut benches, now);
    sound.push(&packet(1)).unwrap();
    benches[0].worker.take_order(now, Command::Close { session: SessionId(PUBLISHER) }.into());
    assert_eq!(sound.push(&packet(2)), Err(SourceError::Closed));
}

#[test]
fn a_source_that_is_dropped_is_forgotten_by_all_workers() {
    let (mut benches, now) = (benches(2), Instant::now());
    drop(sound(&mut benches, now));
    benches[0].worker.take_sources(now);
    benches[1].worker.take_words(now);
    assert!(benches.iter().all(|b| b.worker.registry.sessions().is_empty()));
    assert!(benches.iter().all(|b| b.worker.tracks.len() == 0));
    let closed = Event::Closed { session: SessionId(PUBLISHER), reason: CloseReason::PeerClosed };
    assert_eq!(benches[0].events(), [closed]);
}

#[test]
fn checks_with_the_credentials_before_a_restart_find_their_session_from_any_worker() {
    let (mut benches, now) = (benches(2), Instant::now());
    let home = Home::new();
    let old = plan(VIEWER);
    let mut ice = old.ice.clone();
    (ice.local_ufrag, ice.local_pwd) = ("afterwards".into(), "x".repeat(22));
    for bench in &mut benches {
        bench.worker.registry.open(old.clone(), home.clone());
        bench.worker.registry.pend_path(path(2), SessionId(VIEWER), true);
    }
    benches[0].worker.settle(now, SessionId(VIEWER)).unwrap().unwrap();
    for bench in &mut benches {
        // Twice: a command may be sent again.
        for _ in 0..2 {
            let (session, ice) = (SessionId(VIEWER), ice.clone());
            bench.worker.take_order(now, Command::Restart { session, ice }.into());
        }
    }
    for (at, ice) in [(1, &old.ice), (2, &ice)] {
        benches[1].worker.take_datagram(now, path(9), &mut check(ice));
        benches[0].worker.take_words(now);
        assert_eq!(benches[1].worker.counters.handed_over.value(), at);
        assert_eq!(benches[0].worker.counters.stun.value(), at);
    }
}

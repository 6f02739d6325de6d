//! Tests: how packets and reports flow between workers and subscribers, in workers without sockets.

use std::time::{Duration, Instant};

use model::{
    Binding, CloseReason, Command, DownMedia, Event, MediaKind, Mid, NtpTime, PtMapping, SessionId,
    SessionPlan, Ssrc, StreamSsrc, TrackId, UpMedia,
};
use router::{Relayed, StreamId};
use rtp::sequence::ExtSeq;

use crate::{
    Source, SourceError, WorkerId,
    core::Worker,
    core::tests::{Bench, PT, benches, codec, open, path, plan},
    sessions::SessionRef,
    threats::{check, connect, hello_fragment},
};

const PUBLISHER: u64 = 4;
const VIEWER: u64 = 2;

fn mid() -> Mid {
    Mid::parse("0").unwrap()
}

fn up_media(kind: MediaKind) -> UpMedia {
    UpMedia {
        track: TrackId(7),
        mid: mid(),
        kind,
        codecs: vec![codec(kind)],
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: Ssrc(11), rtx: None }],
    }
}

fn publisher(up: UpMedia) -> SessionPlan {
    let mut plan = (*plan(PUBLISHER)).clone();
    plan.up = vec![up];
    (plan.ice.local_ufrag, plan.ice.local_pwd) = (String::new(), String::new());
    plan
}

fn slot(kind: MediaKind, mid: Mid, ssrc: u32) -> DownMedia {
    let ssrc = StreamSsrc { media: Ssrc(ssrc), rtx: None };
    DownMedia { mid, kind, ssrc, codecs: vec![codec(kind)] }
}

fn binding() -> Binding {
    let mapping =
        PtMapping { up: PT, down: PT, down_rtx: None, unwrap_red: false, clock_rate: 48_000 };
    Binding { track: TrackId(7), publisher: SessionId(PUBLISHER), payload_types: [mapping].into() }
}

/// Binds a viewer's slot; the worker that owns the viewer takes the notice.
fn bind_to(bench: &mut Bench, viewer: u64, now: Instant, binding: Option<Binding>) {
    bench.command(Command::Bind { session: SessionId(viewer), slots: vec![(mid(), binding)] });
    bench.worker.take_notices(now);
}

fn bind(bench: &mut Bench, now: Instant) {
    bind_to(bench, VIEWER, now, Some(binding()));
}

/// A local source in the first of these workers.
fn local(up: UpMedia, benches: &mut [Bench], now: Instant) -> Source {
    let source = benches[0].handle().attach_source(publisher(up));
    benches[0].worker.take_notices(now);
    source
}

/// A connected viewer with one slot, which is not bound.
fn viewer(kind: MediaKind, id: u64, worker: &mut Worker, now: Instant) -> SessionRef {
    let mut plan = (*plan(id)).clone();
    plan.down = vec![slot(kind, mid(), 20 + id as u32)];
    let entry = open(worker, plan.into());
    worker.paths.pend(now, path(id as u16), &entry, true);
    let at = worker.settle(now, &entry).unwrap();
    connect(worker, now, at);
    at
}

pub(crate) fn head(layer: u8, seq: u64) -> Relayed {
    Relayed {
        up: 0,
        stream: StreamId::new(layer, 0),
        seq: ExtSeq(0x1_0000 + seq),
        timestamp: seq as u32 * 960,
        marker: true,
        pt: PT,
        clock_rate: 48_000,
        ext: rtp::ParsedExtensions::default(),
        descriptor: Vec::new(),
        info: rtp::payload::PayloadInfo::default(),
        capture: None,
    }
}

fn push(source: &mut Source, seq: u64) {
    source.push(head(0, seq), vec![0xfc, 1, 2, 3]).unwrap();
}

/// Pushes a packet of a picture of a layer.
fn push_picture(source: &mut Source, layer: u8, seq: u64, key: bool) {
    let mut head = head(layer, seq);
    head.info.keyframe_start = key;
    source.push(head, vec![7; 500]).unwrap();
}

fn forwarded(bench: &Bench) -> u64 {
    bench.worker.counters.forwarded.value()
}

fn send_all(worker: &mut Worker, now: Instant) {
    while worker.send_due(now) {}
}

#[test]
fn a_viewer_in_another_worker_learns_of_the_capture_time_before_it_came() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut sound = local(up_media(MediaKind::Audio), &mut benches, now);
    let told = Relayed { capture: Some(NtpTime(5 << 32)), ..head(0, 1) };
    sound.push(told.clone(), vec![1]).unwrap();
    benches[0].worker.take_sources(now);
    viewer(MediaKind::Audio, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    benches[0].worker.take_messages(now);
    let b = &mut benches[1].worker;
    b.take_messages(now);
    let track = b.tracks.by_id(TrackId(7)).unwrap();
    let reports: Vec<_> = b.tracks.at(track).unwrap().mirror.sender_reports().collect();
    let [(stream, info)] = reports[..] else { panic!("{reports:?}") };
    let ours = b.config.wall_clock.ntp(now);
    assert_eq!((stream, info.ntp, info.rtp_timestamp), (told.stream, ours, 960));
}

#[test]
fn the_first_sender_report_is_called_for_by_the_packets_that_begin_to_flow() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut sound = local(up_media(MediaKind::Audio), &mut benches, now);
    viewer(MediaKind::Audio, VIEWER, &mut benches[0].worker, now);
    bind(&mut benches[0], now);
    let worker = &mut benches[0].worker;
    assert!(worker.timers.next().is_none_or(|at| at > now + Duration::from_secs(1)));
    push(&mut sound, 1);
    worker.take_sources(now);
    send_all(worker, now);
    assert_eq!(worker.counters.forwarded.value(), 1);
    let latest = now + Duration::from_millis(50) + crate::timers::PATIENT_DELAY_MAX;
    assert!(worker.timers.next().is_some_and(|at| at <= latest));
}

#[test]
fn the_first_viewer_in_a_worker_begins_with_the_last_key_frame_of_another() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    for seq in 1..=20 {
        push_picture(&mut video, 0, seq, seq == 5);
        benches[0].worker.take_sources(now + Duration::from_millis(33) * seq as u32);
    }
    let now = now + Duration::from_millis(700);
    viewer(MediaKind::Video, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    assert_eq!(forwarded(&benches[1]), 0);
    benches[0].worker.take_messages(now);
    let b = &mut benches[1].worker;
    b.take_messages(now);
    b.take_media(now);
    send_all(b, now);
    assert_eq!(b.counters.forwarded.value(), 16, "from the key frame on");
    assert_eq!(benches[0].worker.counters.relayed.value(), 16);
    // The binding is removed and made again a second later. The key frame is then too old to begin with, and the
    // publisher may be asked for another one.
    bind_to(&mut benches[1], VIEWER, now, None);
    let now = now + Duration::from_secs(1);
    benches[0].worker.take_messages(now);
    bind(&mut benches[1], now);
    benches[0].worker.take_messages(now);
    assert_eq!(benches[0].worker.counters.relayed.value(), 16);
}

#[test]
fn a_key_frame_for_the_first_viewer_in_another_worker_is_asked_for_before_the_next_picture() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut video = local(two_layers(), &mut benches, now);
    for seq in 0..50 {
        push_picture(&mut video, 1, seq, seq == 0);
        benches[0].worker.take_sources(now + Duration::from_millis(33 * seq));
    }
    assert_eq!(video.key_frame_request(), None);
    let now = now + Duration::from_secs(2);
    viewer(MediaKind::Video, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    benches[0].worker.take_messages(now);
    // The viewer's worker does not know yet which layers flow.
    assert_eq!(video.key_frame_request(), Some(TrackId(7)));
}

#[test]
fn binding_the_same_track_again_loses_no_packet() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut sound = local(up_media(MediaKind::Audio), &mut benches, now);
    viewer(MediaKind::Audio, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    benches[0].worker.take_messages(now);
    push(&mut sound, 1);
    benches[0].worker.take_sources(now);
    benches[1].worker.take_messages(now);
    benches[1].worker.take_media(now);
    bind(&mut benches[1], now);
    let b = &mut benches[1].worker;
    send_all(b, now);
    assert_eq!(b.counters.forwarded.value(), 1);
    let track = b.tracks.by_id(TrackId(7)).unwrap();
    let track = b.tracks.at(track).unwrap();
    assert_eq!((track.subscribers().count(), track.mirror.last_arrival()), (1, Some(now)));
}

#[test]
fn a_source_hears_that_its_session_was_closed() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut sound = local(up_media(MediaKind::Audio), &mut benches, now);
    push(&mut sound, 1);
    benches[0].command(Command::Close { session: SessionId(PUBLISHER) });
    benches[0].worker.take_notices(now);
    assert_eq!(sound.push(head(0, 2), vec![1]), Err(SourceError::Closed));
    assert_eq!((benches[0].handle().sessions(), benches[0].worker.tracks.len()), (0, 0));
}

#[test]
fn a_source_that_is_dropped_leaves_nothing_behind() {
    let (mut benches, now) = (benches(2), Instant::now());
    drop(local(up_media(MediaKind::Audio), &mut benches, now));
    benches[0].worker.take_sources(now);
    assert_eq!((benches[0].handle().sessions(), benches[0].worker.tracks.len()), (0, 0));
    let closed = Event::Closed { session: SessionId(PUBLISHER), reason: CloseReason::PeerClosed };
    assert_eq!(benches[0].events(), [closed]);
}

#[test]
fn checks_with_the_credentials_before_a_restart_find_their_session_from_any_worker() {
    let (mut benches, now) = (benches(2), Instant::now());
    let old = plan(VIEWER);
    let mut ice = old.ice.clone();
    (ice.local_ufrag, ice.local_pwd) = ("afterwards".into(), "x".repeat(22));
    crate::core::tests::settled(&mut benches[0].worker, VIEWER, now);
    benches[0].command(Command::Restart { session: SessionId(VIEWER), ice: ice.clone() });
    benches[0].worker.take_notices(now);
    for (at, ice) in [(1, &old.ice), (2, &ice)] {
        benches[1].worker.take_datagram(now, path(9), &mut check(ice));
        benches[0].worker.take_handed(now);
        assert_eq!(benches[1].worker.counters.handed_over.value(), at);
        assert_eq!(benches[0].worker.counters.stun.value(), at);
    }
}

#[test]
fn a_path_that_was_validated_before_its_session_settled_elsewhere_belongs_to_the_owner() {
    let (mut benches, now) = (benches(2), Instant::now());
    let entry = open(&benches[0].worker, plan(VIEWER));
    benches[1].worker.take_datagram(now, path(9), &mut check(&plan(VIEWER).ice));
    benches[0].worker.paths.pend(now, path(2), &entry, false);
    let at = benches[0].worker.settle(now, &entry).unwrap();
    // DTLS from that address reaches the worker that validated the path.
    let mut hello = hello_fragment();
    benches[1].worker.take_datagram(now, path(9), &mut hello);
    benches[0].worker.take_messages(now);
    benches[0].worker.take_handed(now);
    assert!(crate::core::tests::is_here(&benches[0].worker, &path(9), at));
    assert_eq!(benches[0].worker.counters.dtls.value(), 1);
}

#[test]
fn a_viewer_that_joins_before_the_publisher_gets_its_packets_from_the_publishers_worker() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut plan = (*plan(PUBLISHER)).clone();
    plan.up = vec![up_media(MediaKind::Audio)];
    let entry = open(&benches[0].worker, plan.into());
    viewer(MediaKind::Audio, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    assert!(benches[0].worker.mail.next_message().is_none(), "there is no owner to ask yet");
    benches[0].worker.paths.pend(now, path(4), &entry, true);
    benches[0].worker.settle(now, &entry).unwrap();
    benches[1].worker.take_messages(now);
    benches[0].worker.take_messages(now);
    let a = &mut benches[0].worker;
    let track = a.tracks.by_id(TrackId(7)).unwrap();
    let sinks: Vec<_> = a.tracks.at(track).unwrap().workers().to_vec();
    assert_eq!(sinks.iter().map(|s| s.worker).collect::<Vec<_>>(), [WorkerId(1)]);
}

/// A publisher with two layers.
fn two_layers() -> UpMedia {
    let rids = ["q", "h"].map(|rid| model::Rid::parse(rid).unwrap());
    UpMedia { rids: rids.to_vec(), ..up_media(MediaKind::Video) }
}

#[test]
fn a_layer_without_subscribers_is_not_given_to_other_workers() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut video = local(two_layers(), &mut benches, now);
    viewer(MediaKind::Video, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    let exchange = |benches: &mut [Bench], at: Instant| {
        for _ in 0..4 {
            for bench in &mut *benches {
                bench.worker.take_messages(at);
                bench.worker.take_sources(at);
                bench.worker.take_media(at);
                send_all(&mut bench.worker, at);
            }
        }
    };
    let relayed = |benches: &[Bench]| benches[0].worker.counters.relayed.value();
    // Only the low layer exists.
    for seq in 0..5 {
        push_picture(&mut video, 0, seq, seq == 0);
        exchange(&mut benches, now + Duration::from_millis(33) * seq as u32);
    }
    assert_eq!((relayed(&benches), forwarded(&benches[1])), (5, 5));
    // The high layer begins: it is wanted, and the low one until the splice.
    for seq in 5..20 {
        push_picture(&mut video, 0, seq, false);
        push_picture(&mut video, 1, seq, seq == 8);
        exchange(&mut benches, now + Duration::from_millis(33) * seq as u32);
    }
    let before = (relayed(&benches), forwarded(&benches[1]));
    for seq in 20..30 {
        push_picture(&mut video, 0, seq, false);
        push_picture(&mut video, 1, seq, false);
        exchange(&mut benches, now + Duration::from_millis(33) * seq as u32);
    }
    assert_eq!((relayed(&benches), forwarded(&benches[1])), (before.0 + 10, before.1 + 10));
}

#[test]
fn a_packet_that_another_worker_lacks_is_requested_once_and_reaches_the_viewer_that_missed_it() {
    let (mut benches, now) = (benches(2), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    let at = viewer(MediaKind::Video, VIEWER, &mut benches[1].worker, now);
    bind(&mut benches[1], now);
    benches[0].worker.take_messages(now);
    benches[1].worker.take_messages(now);
    for seq in 0..3 {
        push_picture(&mut video, 0, seq, seq == 0);
        benches[0].worker.take_sources(now);
        if seq == 1 {
            // The packet is lost between the workers.
            benches[1].worker.mail.next_media().unwrap();
        }
        benches[1].worker.take_media(now);
    }
    let b = &mut benches[1].worker;
    send_all(b, now);
    b.outbox.flush();
    assert_eq!(b.counters.forwarded.value(), 2);
    let first = b.outbox.drain().first().map(|(_, d)| u16::from_be_bytes([d[2], d[3]])).unwrap();
    for _ in 0..2 {
        b.sessions.at(at).unwrap().exit.resend(0, first.wrapping_add(1));
        b.rounds.list(at);
        send_all(b, now);
    }
    assert_eq!(benches[0].worker.mail.next_message().iter().count(), 1, "asked for once");
    assert!(benches[0].worker.mail.next_message().is_none());
    let stream = StreamId::new(0, 0);
    let ask = crate::asks::Ask::Missing(stream, ExtSeq(0x1_0001));
    let publisher = SessionId(PUBLISHER);
    benches[0].worker.take_ask(now, WorkerId(1), publisher, TrackId(7), ask);
    let b = &mut benches[1].worker;
    b.take_media(now);
    send_all(b, now);
    assert_eq!(b.counters.forwarded.value(), 3);
}

#[test]
fn renegotiation_keeps_what_stays_and_brings_what_is_new() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut sound = local(up_media(MediaKind::Audio), &mut benches, now);
    let at = viewer(MediaKind::Audio, VIEWER, &mut benches[0].worker, now);
    bind(&mut benches[0], now);
    let sequence = |bench: &mut Bench, sound: &mut Source, seq: u64| {
        push(sound, seq);
        bench.worker.take_sources(now);
        send_all(&mut bench.worker, now);
        bench.worker.outbox.flush();
        let sent = bench.worker.outbox.drain();
        sent.iter().map(|(_, d)| (d[11], u16::from_be_bytes([d[2], d[3]]))).collect::<Vec<_>>()
    };
    let before = sequence(&mut benches[0], &mut sound, 1);
    let other = Mid::parse("1").unwrap();
    let mut more = (*plan(VIEWER)).clone();
    let kept = slot(MediaKind::Audio, mid(), 20 + VIEWER as u32);
    more.down = vec![kept.clone(), slot(MediaKind::Audio, other, 99)];
    benches[0].command(Command::Update(more.clone().into()));
    let slots = vec![(other, Some(binding()))];
    benches[0].command(Command::Bind { session: SessionId(VIEWER), slots });
    benches[0].worker.take_notices(now);
    let after = sequence(&mut benches[0], &mut sound, 2);
    assert_eq!(before.len(), 1);
    assert!(after.contains(&(before[0].0, before[0].1.wrapping_add(1))), "{before:?} {after:?}");
    assert_eq!(after.iter().filter(|(ssrc, _)| *ssrc == 99).count(), 1, "the new slot");
    // The new section gets another SSRC under the same mid, so it is another slot: nothing flows on under the old
    // SSRC.
    more.down[1].ssrc.media = Ssrc(98);
    benches[0].command(Command::Update(more.clone().into()));
    let slots = vec![(other, Some(binding()))];
    benches[0].command(Command::Bind { session: SessionId(VIEWER), slots });
    benches[0].worker.take_notices(now);
    let moved = sequence(&mut benches[0], &mut sound, 3);
    assert!(moved.iter().any(|(ssrc, _)| *ssrc == 98), "{moved:?}");
    assert!(!moved.iter().any(|(ssrc, _)| *ssrc == 99), "{moved:?}");
    // The first section is removed.
    more.down.remove(0);
    benches[0].command(Command::Update(more.into()));
    benches[0].worker.take_notices(now);
    let last = sequence(&mut benches[0], &mut sound, 4);
    assert_eq!(last.iter().map(|(ssrc, _)| *ssrc).collect::<Vec<_>>(), [98]);
    assert!(benches[0].worker.sessions.at(at).is_some());
}

#[test]
fn a_publisher_that_renegotiates_keeps_its_tracks() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut plan = (*plan(PUBLISHER)).clone();
    plan.up = vec![up_media(MediaKind::Audio)];
    let entry = open(&benches[0].worker, plan.clone().into());
    benches[0].worker.paths.pend(now, path(4), &entry, true);
    let at = benches[0].worker.settle(now, &entry).unwrap();
    let mut sender = connect(&mut benches[0].worker, now, at);
    let mut send = |bench: &mut Bench, sequence: u8| {
        let mut packet = vec![0x80, PT.0, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, 11, 1, 2, 3];
        packet.resize(64, 0);
        let len = sender.seal_rtp(&mut packet, 12, 15, 0).unwrap();
        bench.worker.take_datagram(now, path(4), &mut packet[..len]);
    };
    send(&mut benches[0], 1);
    // A camera is added before the sound.
    let camera = UpMedia {
        track: TrackId(8),
        mid: Mid::parse("1").unwrap(),
        codecs: vec![model::CodecSpec { pt: model::Pt(96), ..codec(MediaKind::Video) }],
        ssrcs: Vec::new(),
        ..up_media(MediaKind::Video)
    };
    plan.up.insert(0, camera);
    benches[0].command(Command::Update(plan.clone().into()));
    benches[0].worker.take_notices(now);
    send(&mut benches[0], 2);
    let worker = &mut benches[0].worker;
    let session = worker.sessions.at(at).unwrap();
    assert_eq!(
        session.ups.iter().map(|u| u.up.track()).collect::<Vec<_>>(),
        [TrackId(8), TrackId(7)]
    );
    assert_eq!(session.ups[1].up.stats(now).layers[0].packets, 2, "its statistics stay");
    assert_eq!(worker.counters.rtp_accepted.value(), 2);
    plan.up.remove(0);
    benches[0].command(Command::Update(plan.into()));
    benches[0].worker.take_notices(now);
    assert_eq!(benches[0].worker.tracks.len(), 1);
}

#[test]
fn a_track_that_falls_silent_is_reported_once_and_again_when_it_resumes() {
    let (mut benches, start) = (benches(1), Instant::now());
    let mut plan = (*plan(PUBLISHER)).clone();
    plan.up = vec![up_media(MediaKind::Audio)];
    let entry = open(&benches[0].worker, plan.into());
    benches[0].worker.paths.pend(start, path(4), &entry, true);
    let at = benches[0].worker.settle(start, &entry).unwrap();
    let mut sender = connect(&mut benches[0].worker, start, at);
    let mut send = |bench: &mut Bench, now: Instant, sequence: u8| {
        let mut packet = vec![0x80, PT.0, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, 11, 1, 2, 3];
        packet.resize(64, 0);
        let len = sender.seal_rtp(&mut packet, 12, 15, 0).unwrap();
        bench.worker.take_datagram(now, path(4), &mut packet[..len]);
    };
    // The events and their times in milliseconds: packets arrive for two seconds, then none for five, then one.
    let mut told = Vec::new();
    for step in 0..80_u64 {
        let now = start + Duration::from_millis(100 * step);
        if step < 20 || step == 70 {
            send(&mut benches[0], now, step as u8);
        }
        benches[0].worker.call_due(now);
        let events = benches[0].events().into_iter().skip(told.len());
        told.extend(events.map(|event| (100 * step, event)).collect::<Vec<_>>());
    }
    told.retain(|(_, event)| !matches!(event, Event::AudioLevel { .. }));
    let (session, track) = (SessionId(PUBLISHER), TrackId(7));
    let [(0, connected), (0, active), (silence, silent), (7_000, again)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(*connected, Event::Connected { session });
    assert_eq!((active, again), (&Event::TrackActive { session, track }, active));
    assert_eq!(*silent, Event::TrackSilent { session, track });
    assert!(
        (3_900..=5_000).contains(silence),
        "two to three seconds after the last packet: {silence}"
    );
}

#[test]
fn a_big_key_frame_is_spread_over_turns_and_sound_goes_on_in_between() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    let viewers = 200;
    for id in 100..100 + viewers {
        viewer(MediaKind::Video, id, &mut benches[0].worker, now);
        bind_to(&mut benches[0], id, now, Some(binding()));
    }
    for seq in 0..100 {
        let mut head = head(0, seq);
        (head.info.keyframe_start, head.timestamp, head.marker) = (seq == 0, 0, seq == 99);
        video.push(head, vec![7; 900]).unwrap();
    }
    let worker = &mut benches[0].worker;
    worker.take_sources(now);
    let (mut turns, mut most) = (0, 0);
    loop {
        let before = worker.counters.forwarded.value();
        let more = worker.send_due(now);
        let sent = worker.counters.forwarded.value() - before;
        (turns, most) = (turns + 1, most.max(sent));
        let counts = worker.counters.snapshot(0);
        let dropped: u64 = counts.dropped_out.iter().map(|(_, n)| n).sum();
        assert_eq!(counts.offered, counts.forwarded + counts.waiting + dropped);
        if !more {
            break;
        }
    }
    assert_eq!(worker.counters.forwarded.value(), 100 * viewers);
    assert!(turns >= 10 && most <= 3_200, "{turns} turns, {most} packets at most in one");
    worker.outbox.flush();
    // Each receiver's sequence numbers are in order.
    let mut last = std::collections::BTreeMap::new();
    for (to, datagram) in worker.outbox.drain() {
        let number = u16::from_be_bytes([datagram[2], datagram[3]]);
        let expected = last.insert(to.remote, number).map(|n: u16| n.wrapping_add(1));
        assert!(expected.is_none_or(|e| e == number));
    }
    assert_eq!(last.len() as u64, viewers);
}

#[test]
fn parameter_sets_of_an_earlier_train_leave_before_the_key_frame_that_a_viewer_begins_with() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    let worker = |benches: &mut Vec<Bench>, video: &mut Source, seq: u64, lead: bool| {
        let mut head = head(0, seq);
        head.info.keyframe_start = !lead;
        (head.info.lead, head.info.parameter_sets) = (lead, lead);
        video.push(head, vec![seq as u8; 50]).unwrap();
        let worker = &mut benches[0].worker;
        worker.take_sources(now);
        send_all(worker, now);
        worker.outbox.flush();
        worker.outbox.drain().len()
    };
    viewer(MediaKind::Video, VIEWER, &mut benches[0].worker, now);
    bind(&mut benches[0], now);
    // Two packets of parameter sets, each with a marker, so that each is a train of its own.
    assert_eq!(worker(&mut benches, &mut video, 0, true), 0);
    assert_eq!(worker(&mut benches, &mut video, 1, true), 0);
    assert_eq!(worker(&mut benches, &mut video, 2, false), 3, "both, and the key frame");
    assert_eq!(worker(&mut benches, &mut video, 3, true), 1);
    assert_eq!(
        worker(&mut benches, &mut video, 4, false),
        1,
        "a viewer that has them gets nothing twice"
    );
}

#[test]
fn packets_that_cannot_leave_are_dropped_and_counted() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    let at = viewer(MediaKind::Video, VIEWER, &mut benches[0].worker, now);
    bind(&mut benches[0], now);
    for seq in 0..40 {
        let mut head = head(0, seq);
        (head.info.keyframe_start, head.timestamp, head.marker) = (seq == 0, 0, seq == 39);
        video.push(head, vec![7; 900]).unwrap();
    }
    let worker = &mut benches[0].worker;
    worker.take_sources(now);
    let path = worker.sessions.at(at).unwrap().path.take();
    send_all(worker, now);
    assert_eq!(worker.counters.dropped_out[model::DropReason::NotConnected as usize].value(), 40);
    worker.sessions.at(at).unwrap().path = path;
    for seq in 40..80 {
        let mut head = head(0, seq);
        (head.info.keyframe_start, head.timestamp, head.marker) = (seq == 40, 1, seq == 79);
        video.push(head, vec![7; 900]).unwrap();
    }
    worker.take_sources(now);
    worker.end_session(at, CloseReason::Requested);
    send_all(worker, now);
    let counts = worker.counters.snapshot(0);
    let dropped: u64 = counts.dropped_out.iter().map(|(_, n)| n).sum();
    assert_eq!((counts.offered, counts.waiting), (counts.forwarded + dropped, 0));
}

#[test]
fn a_track_that_falls_silent_gives_its_buffers_back() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    viewer(MediaKind::Video, VIEWER, &mut benches[0].worker, now);
    bind(&mut benches[0], now);
    for seq in 0..10 {
        push_picture(&mut video, 0, seq, seq == 0);
    }
    let worker = &mut benches[0].worker;
    worker.take_sources(now);
    send_all(worker, now);
    let track = worker.tracks.by_id(TrackId(7)).unwrap();
    let kept = |worker: &mut Worker| {
        let cache = worker.tracks.at(track).unwrap().mirror.cache(0).unwrap();
        (0..10).filter(|n| cache.find(ExtSeq(0x1_0000 + n)).is_some()).count()
    };
    assert_eq!(kept(worker), 10);
    worker.tracks.expire(now + Duration::from_millis(500));
    assert_eq!(kept(worker), 10);
    worker.tracks.expire(now + Duration::from_millis(1_100));
    assert_eq!(kept(worker), 0);
}

#[test]
fn sound_does_not_wait_behind_a_picture_for_many() {
    let (mut benches, now) = (benches(1), Instant::now());
    let mut video = local(up_media(MediaKind::Video), &mut benches, now);
    let viewers = 400;
    for id in 100..100 + viewers {
        viewer(MediaKind::Video, id, &mut benches[0].worker, now);
        bind_to(&mut benches[0], id, now, Some(binding()));
    }
    let mut other = publisher(UpMedia { track: TrackId(9), ..up_media(MediaKind::Audio) });
    other.id = SessionId(6);
    let mut sound = benches[0].handle().attach_source(other);
    benches[0].worker.take_notices(now);
    viewer(MediaKind::Audio, VIEWER, &mut benches[0].worker, now);
    let heard = Binding { track: TrackId(9), publisher: SessionId(6), ..binding() };
    bind_to(&mut benches[0], VIEWER, now, Some(heard));
    for seq in 0..60 {
        let mut head = head(0, seq);
        (head.info.keyframe_start, head.timestamp, head.marker) =
            (seq % 30 == 0, 0, seq % 30 == 29);
        video.push(head, vec![7; 900]).unwrap();
    }
    let worker = &mut benches[0].worker;
    worker.take_sources(now);
    assert!(worker.send_due(now), "the picture is under way");
    worker.outbox.flush();
    worker.outbox.drain();
    push(&mut sound, 1);
    worker.take_sources(now);
    assert!(worker.send_due(now), "and still is");
    worker.outbox.flush();
    let sent = worker.outbox.drain();
    assert_eq!(sent.first().map(|(to, _)| *to), Some(path(VIEWER as u16)), "sound goes first");
    send_all(worker, now);
    assert_eq!(worker.counters.forwarded.value(), 60 * viewers + 1);
}

//! Tests: what a worker reports of a member: how loud its sound is, whether it is there, and how good its connection is. Real
//! SRTP, without sockets.

use std::time::{Duration, Instant};

use model::{Event, Extension, Loudness, Mid, Quality, SessionId, Ssrc, TrackId};
use rtp::rtcp::ReportBlock;

use crate::core::tests::{Bench, PT, bench, down, path, plan, settled};
use crate::peers::{Peer, up};
use crate::threats::check;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The id of the audio level extension.
const LEVEL: u8 = 5;

/// A publisher of two sounds: tracks 1 and 2, with the SSRCs 11 and 12.
fn publisher(bench: &mut Bench, now: Instant) -> Peer {
    Peer::connect(&mut bench.worker, now, 1, |plan| {
        plan.up = vec![up(1, 11, PT), up(2, 12, PT)];
        plan.extensions.set(Extension::AudioLevel, LEVEL);
    })
}

/// What [`levels`] returns for [`Loudness::Unknown`].
const UNKNOWN: u8 = 255;

/// The levels that were reported of a track since the last call, by its id; takes all events.
fn levels(bench: &Bench, of: u64) -> Vec<u8> {
    let told = bench.events().into_iter().filter_map(|event| match event {
        Event::AudioLevel { session: SessionId(1), track: TrackId(track), level } => {
            let level = match level {
                Loudness::Level(level) => level,
                Loudness::Unknown => UNKNOWN,
            };
            (track == of).then_some(level)
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn the_level_of_who_speaks_is_reported_and_that_of_who_is_silent_is_not() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    let mut say = |now: Instant, first: u8, second: u8| {
        // The bit in front is the voice activity (RFC 6464 section 3).
        for (ssrc, level) in [(11, first | 0x80), (12, second)] {
            peer.send_packet(worker, now, ssrc, PT, &[(LEVEL, &[level])], &[0xfc, 1, 2]);
        }
        worker.call_due(now);
    };
    for at in (0..10_000).step_by(20) {
        say(start + ms(at), if (2_000..4_000).contains(&at) { 25 } else { 90 }, 100);
    }
    let told = levels(&bench, 1);
    let (last, speech) = told.split_last().unwrap();
    assert!((9..=14).contains(&speech.len()), "five a second and a while after: {told:?}");
    assert!(speech.iter().all(|level| (24..56).contains(level)) && *last == 127, "{told:?}");
    assert_eq!(levels(&bench, 2), []);
}

#[test]
fn a_speaker_whose_packets_cease_is_silent_within_two_seconds() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    for at in (0..1_000).step_by(20) {
        peer.send_packet(worker, start + ms(at), 11, PT, &[(LEVEL, &[25])], &[0xfc, 1, 2]);
        worker.call_due(start + ms(at));
    }
    for at in (1_000..2_900).step_by(10) {
        worker.call_due(start + ms(at));
    }
    assert_eq!(levels(&bench, 1).iter().filter(|level| **level == 127).count(), 1);
}

#[test]
fn sound_without_levels_is_reported_as_such_while_it_comes() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    for at in (0..2_500).step_by(20) {
        peer.send_rtp(worker, start + ms(at), 12, PT);
    }
    for at in (2_500..9_000).step_by(10) {
        worker.call_due(start + ms(at));
    }
    assert_eq!(levels(&bench, 2), [UNKNOWN, UNKNOWN, UNKNOWN, 127]);
}

#[test]
fn the_sound_of_a_local_source_is_reported_too() {
    let (mut bench, now) = (bench(), Instant::now());
    let mut plan = (*plan(1)).clone();
    plan.up = vec![up(1, 11, PT)];
    (plan.ice.local_ufrag, plan.ice.local_pwd) = (String::new(), String::new());
    let mut source = bench.handle().attach_source(plan);
    bench.worker.take_notices(now);
    for at in 0..100 {
        source.push(crate::flows::head(0, at), vec![0xfc, 1, 2]).unwrap();
        bench.worker.take_sources(now + ms(20 * at));
    }
    assert_eq!(levels(&bench, 1), [UNKNOWN, UNKNOWN]);
}

/// What was reported of session 1 beside its tracks.
fn presence(bench: &Bench) -> Vec<Event> {
    let about_it = |e: &Event| {
        matches!(e, Event::Lost { .. } | Event::Back { .. } | Event::Closed { .. })
            && e.session() == SessionId(1)
    };
    bench.events().into_iter().filter(about_it).collect()
}

const LOST: Event = Event::Lost { session: SessionId(1) };
const BACK: Event = Event::Back { session: SessionId(1) };

#[test]
fn a_publisher_that_falls_silent_is_lost_after_four_seconds_and_back_with_its_next_packet() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    for at in (0..10_000).step_by(20) {
        peer.send_rtp(worker, start + ms(at), 11, PT);
        worker.call_due(start + ms(at));
    }
    for at in (10_000..25_000).step_by(10) {
        bench.worker.call_due(start + ms(at));
        if at == 13_900 {
            assert_eq!(presence(&bench), []);
        }
    }
    assert_eq!(presence(&bench), [LOST]);
    // What is not authentic brings nobody back.
    let worker = &mut bench.worker;
    worker.take_datagram(start + ms(25_000), path(1), &mut [0x80; 60]);
    assert_eq!(presence(&bench), [LOST]);
    peer.send_rtp(&mut bench.worker, start + ms(25_100), 11, PT);
    peer.send_rtp(&mut bench.worker, start + ms(25_120), 11, PT);
    assert_eq!(presence(&bench), [LOST, BACK]);
}

#[test]
fn a_member_that_only_checks_is_not_lost_between_its_checks_and_comes_back_by_one() {
    let (mut bench, start) = (bench(), Instant::now());
    let id = 1;
    let mut peer = Peer::connect(&mut bench.worker, start, id, |plan| plan.up = Vec::new());
    let worker = &mut bench.worker;
    // RFC 7675 section 5.1: every four to six seconds.
    for at in (0..60_000).step_by(10) {
        if at % 6_000 == 0 {
            worker.take_datagram(start + ms(at), path(1), &mut check(&plan(id).ice));
        }
        worker.call_due(start + ms(at));
    }
    assert_eq!(presence(&bench), []);
    let worker = &mut bench.worker;
    for at in (60_000..75_000).step_by(10) {
        worker.call_due(start + ms(at));
    }
    worker.take_datagram(start + ms(75_000), path(2), &mut check(&plan(id).ice));
    assert_eq!(presence(&bench), [LOST, BACK], "on another path, as after a change of the network");
    // Reports count as well.
    let worker = &mut bench.worker;
    for at in (75_000..90_000).step_by(10) {
        if at % 1_000 == 0 {
            peer.send_rtcp(worker, start + ms(at), |rtcp| rtcp.rr(Ssrc(5), &[]).unwrap());
        }
        worker.call_due(start + ms(at));
    }
    assert_eq!(presence(&bench), [LOST, BACK]);
    // Consent runs out, and then it is not only lost.
    let worker = &mut bench.worker;
    for at in (90_000..130_000).step_by(10) {
        worker.call_due(start + ms(at));
    }
    let reason = model::CloseReason::ConsentExpired;
    let closed = Event::Closed { session: SessionId(1), reason };
    assert_eq!(presence(&bench), [LOST, BACK, LOST, closed]);
}

#[test]
fn a_session_that_never_connected_is_not_lost() {
    let (mut bench, start) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    settled(worker, 1, start);
    for at in (0..14_000).step_by(10) {
        worker.call_due(start + ms(at));
    }
    assert_eq!(presence(&bench), []);
}

fn qualities(bench: &Bench) -> Vec<Quality> {
    let told = bench.events().into_iter().filter_map(|event| match event {
        Event::Quality { session: SessionId(1), quality } => Some(quality),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_quality_of_a_publisher_follows_what_its_line_loses() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    for at in 0..3_000 {
        let lost = match at {
            1_000..2_000 => at % 10 == 0,
            2_000.. => false,
            _ => at % 100 == 50,
        };
        if lost {
            peer.skip();
        } else {
            peer.send_rtp(worker, start + ms(20 * at), 11, PT);
        }
        worker.call_due(start + ms(20 * at));
    }
    let told = qualities(&bench);
    assert_eq!((told.first(), told.last()), (Some(&Quality::Good), Some(&Quality::Good)));
    assert!(told.contains(&Quality::Poor) && told.len() <= 5, "{told:?}");
}

#[test]
fn the_quality_of_a_viewer_follows_its_reports() {
    let (mut bench, start) = (bench(), Instant::now());
    let slot = || down(Mid::parse("0").unwrap());
    let mut peer = Peer::connect(&mut bench.worker, start, 1, |plan| plan.down = vec![slot()]);
    let worker = &mut bench.worker;
    for second in 0..40_u32 {
        let now = start + ms(u64::from(second) * 1_000);
        // A loss of 26 of 256, from the twentieth second on.
        let block = ReportBlock {
            ssrc: 21,
            fraction_lost: if second >= 20 { 26 } else { 0 },
            cumulative_lost: 0,
            highest_sequence: 1_000 + second * 50,
            jitter: 0,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        peer.send_rtcp(worker, now, |rtcp| rtcp.rr(Ssrc(5), &[block]).unwrap());
        for part in (0..1_000).step_by(10) {
            worker.call_due(now + ms(part));
        }
    }
    assert!(matches!(qualities(&bench)[..], [Quality::Good, .., Quality::Poor]));
}

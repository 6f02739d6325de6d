//! Tests: what a worker reports of a member: how loud its sound is. Real SRTP, without sockets.

use std::time::{Duration, Instant};

use model::{Event, Extension, SessionId, TrackId};

use crate::core::tests::{Bench, PT, bench, benches_with};
use crate::peers::{Peer, up};

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

/// The levels that were reported of a track since the last call, by its id; takes all events.
fn levels(bench: &Bench, of: u64) -> Vec<u8> {
    let told = bench.events().into_iter().filter_map(|event| match event {
        Event::AudioLevel { session: SessionId(1), track: TrackId(track), level } => {
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
fn sound_without_levels_has_a_middle_one_while_it_comes() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = publisher(&mut bench, start);
    let worker = &mut bench.worker;
    for at in (0..2_500).step_by(20) {
        peer.send_rtp(worker, start + ms(at), 12, PT);
    }
    for at in (2_500..9_000).step_by(10) {
        worker.call_due(start + ms(at));
    }
    assert_eq!(levels(&bench, 2), [40, 40, 40, 127]);
}

#[test]
fn the_level_of_a_local_source_is_reported_too() {
    let (mut bench, now) = (benches_with(1, |_| ()).remove(0), Instant::now());
    let mut plan = (*crate::core::tests::plan(1)).clone();
    plan.up = vec![up(1, 11, PT)];
    (plan.ice.local_ufrag, plan.ice.local_pwd) = (String::new(), String::new());
    let mut source = bench.handle().attach_source(plan);
    bench.worker.take_notices(now);
    for at in 0..100 {
        source.push(crate::flows::head(0, at), vec![0xfc, 1, 2]).unwrap();
        bench.worker.take_sources(now + ms(20 * at));
    }
    assert_eq!(levels(&bench, 1), [40, 40]);
}

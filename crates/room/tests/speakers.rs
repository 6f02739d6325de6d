//! Who speaks, and which tracks are heard, as tables: levels and time come in; slots and lists of speakers come out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::members::Stages;

fn check(script: &str) {
    Stages::new().check(script);
}

#[test]
fn in_a_small_room_everybody_is_heard_before_the_first_word() {
    check(
        "enter ann a aaaa
         enter bob a aaaa
         enter cid a aaaa
         show ann
         = a: bob cid - - | v:
         show cid
         = a: ann bob - - | v:",
    );
}

#[test]
fn a_cough_makes_no_speaker_and_a_pause_ends_none() {
    check(
        "enter ann a a
         enter bob a a
         level bob 25
         wait 200
         level bob 127
         wait 3000
         speakers
         =
         level bob 25
         wait 300
         speakers
         = bob 25
         wait 4000
         level bob 127
         wait 1600
         speakers
         = bob 127
         level bob 24
         wait 400
         speakers
         = bob 24
         level bob 127
         wait 1800
         speakers
         =",
    );
}

#[test]
fn sound_without_a_level_is_heard_and_makes_no_speaker() {
    check(
        "audible 1
         enter wim - a
         enter ann a -
         whip obs a
         level obs ?
         wait 1000
         speakers
         =
         show wim
         = a: obs | v:
         level ann 25
         wait 1000
         speakers
         = ann 25
         show wim
         = a: ann | v:
         level obs 30
         wait 1000
         speakers
         = ann 25, obs 30
         level obs ?
         wait 1000
         speakers
         = ann 25",
    );
}

#[test]
fn lists_come_at_most_four_times_a_second_and_only_with_news() {
    let mut stages = Stages::new();
    stages.check(
        "enter ann a a
         enter bob a a
         level ann 30
         wait 1000
         lists
         = 1",
    );
    for step in 0..50_u8 {
        stages.check(&format!("level ann {}\n wait 100", 20 + 20 * (step % 2)));
    }
    // Five seconds of a level that jumps every 100 ms.
    assert!((10..=21).contains(&stages.speaker_notices), "{}", stages.speaker_notices);
    stages.check("wait 1000");
    stages.speaker_notices = 0;
    for step in 0..50_u8 {
        stages.check(&format!("level ann {}\n wait 100", 38 + step % 4));
    }
    assert_eq!(stages.speaker_notices, 0, "less than a step of the level is no news");
}

#[test]
fn the_dominant_speaker_stands_first_and_equal_ones_keep_their_order() {
    check(
        "enter ann a a
         enter bob a a
         level ann 40
         wait 500
         level bob 38
         wait 3000
         speakers
         = ann 40, bob 38
         level bob 20
         wait 6000
         speakers
         = bob 20, ann 40
         level ann 24
         wait 20000
         speakers
         = bob 20, ann 24",
    );
}

#[test]
fn a_voice_takes_the_place_of_a_silent_one_at_once_and_of_a_quieter_one_by_six_decibels() {
    check(
        "audible 2
         enter ann a aa
         enter bob a aa
         enter cid a aa
         enter dan a aa
         show dan
         = a: ann bob | v:
         level ann 30
         level cid 40
         wait 100
         show dan
         = a: ann cid | v:
         wait 5000
         level bob 38
         wait 3000
         show dan
         = a: ann cid | v:
         level bob 33
         wait 10000
         show dan
         = a: ann bob | v:
         show ann
         = a: bob - | v:
         wait 60000
         show dan
         = a: ann bob | v:",
    );
}

#[test]
fn a_knock_does_not_take_the_place_of_a_speaker() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         level ann 45
         wait 2000
         level bob 10
         wait 200
         level bob 127
         wait 5000
         show cid
         = a: ann | v:",
    );
}

#[test]
fn who_pauses_keeps_the_place_for_seconds_even_if_another_one_needs_it() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         level ann 30
         wait 1000
         level ann 127
         wait 2000
         level bob 30
         wait 1000
         show cid
         = a: ann | v:
         wait 2000
         show cid
         = a: bob | v:",
    );
}

#[test]
fn who_is_silent_keeps_the_place_while_nobody_needs_it() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         level ann 30
         wait 1000
         level ann 127
         wait 600000
         show cid
         = a: ann | v:
         level bob 50
         show cid
         = a: bob | v:",
    );
}

#[test]
fn a_track_that_is_heard_stays_in_its_slot() {
    check(
        "audible 3
         enter ann a aaa
         enter bob a aaa
         enter cid a aaa
         enter dan a aaa
         enter eve - aaa
         show eve
         = a: ann bob cid | v:
         level cid 20
         wait 1000
         level ann 40
         wait 5000
         binds
         = 12
         level dan 25
         wait 5000
         show eve
         = a: ann dan cid | v:
         show ann
         = a: - cid dan | v:",
    );
}

#[test]
fn a_member_with_few_slots_hears_the_dominant_ones() {
    check(
        "audible 3
         enter ann a aaa
         enter bob a aaa
         enter cid a aaa
         enter eve - a
         show eve
         = a: ann | v:
         level cid 30
         wait 1000
         show eve
         = a: cid | v:
         level ann 33
         wait 10000
         show eve
         = a: cid | v:
         level ann 20
         wait 10000
         show eve
         = a: ann | v:",
    );
}

#[test]
fn a_track_that_sends_nothing_gives_its_place_to_one_that_does() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         wait 2000
         silent ann.a
         wait 2000
         show cid
         = a: bob | v:
         active ann.a
         wait 2000
         show cid
         = a: bob | v:",
    );
}

#[test]
fn publishers_without_a_room_session_are_heard_like_members() {
    check(
        "audible 1
         enter ann a a
         whip wim a
         enter cid - a
         level wim 40
         wait 400
         show cid
         = a: wim | v:
         speakers
         = wim 40",
    );
}

#[test]
fn the_sound_of_a_publisher_that_is_gone_gives_its_place_away() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         level ann 20
         wait 1000
         leave ann
         show cid
         = a: bob | v:
         speakers
         =",
    );
}

//! The slots of room sessions, as tables: what is published and wished for comes in, what each slot shows comes out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::members::{Stages, offer, pins};
use model::Mid;
use sfumato_room::{ErrorKind, SlotWish, Subscription};

fn check(script: &str) {
    Stages::new().check(script);
}

#[test]
fn sound_and_picture_slots_are_independent_and_own_tracks_are_never_shown() {
    check(
        "enter ann av avv
         enter bob a avv
         enter cid v avv
         show ann
         = a: bob | v: cid -
         show bob
         = a: ann | v: ann cid
         show cid
         = a: ann | v: ann -",
    );
}

#[test]
fn who_arrives_when_all_slots_show_somebody_waits_and_gets_the_first_free_one() {
    check(
        "enter ann v v
         enter bob v -
         enter cid v -
         show ann
         = a: | v: bob
         leave bob
         show ann
         = a: | v: cid
         leave cid
         show ann
         = a: | v: -",
    );
}

#[test]
fn who_comes_to_a_full_room_sees_who_arrived_last() {
    check(
        "enter ann v -
         enter bob v -
         enter cid v -
         enter dan - vv
         show dan
         = a: | v: cid bob",
    );
}

#[test]
fn a_speaker_takes_the_slot_of_who_spoke_least_recently() {
    check(
        "enter ann av -
         enter bob av -
         enter cid av -
         enter dan av -
         enter eve - vv
         show eve
         = a: | v: dan cid
         wait 3000
         level ann 30
         wait 400
         show eve
         = a: | v: dan ann
         level ann 127
         wait 5000
         level bob 30
         wait 400
         show eve
         = a: | v: bob ann
         level bob 127
         wait 5000
         level dan 30
         wait 400
         show eve
         = a: | v: bob dan",
    );
}

#[test]
fn a_picture_stays_two_seconds_before_a_speaker_replaces_it() {
    check(
        "enter ann av -
         enter bob av -
         enter eve - v
         show eve
         = a: | v: bob
         level ann 30
         wait 1900
         show eve
         = a: | v: bob
         wait 200
         show eve
         = a: | v: ann",
    );
}

#[test]
fn of_two_who_speak_at_once_the_first_one_stays_until_the_other_dominates() {
    check(
        "enter ann av -
         enter bob av -
         enter eve - v
         level ann 40
         wait 3000
         show eve
         = a: | v: ann
         level bob 38
         wait 10000
         show eve
         = a: | v: ann
         level bob 20
         wait 5000
         show eve
         = a: | v: bob
         level bob 127
         wait 5000
         show eve
         = a: | v: ann",
    );
}

#[test]
fn pinned_members_come_first_and_do_not_wait() {
    check(
        "enter ann av -
         enter bob av -
         enter cid av -
         enter eve - vv
         show eve
         = a: | v: cid bob
         pin eve ann,nobody
         show eve
         = a: | v: cid ann
         level cid 20
         wait 500
         level bob 20
         wait 10000
         show eve
         = a: | v: cid ann
         level cid 127
         wait 5000
         show eve
         = a: | v: bob ann
         auto eve
         show eve
         = a: | v: bob cid",
    );
}

#[test]
fn a_pinned_member_that_comes_later_gets_a_slot_at_once() {
    check(
        "enter ann v -
         enter eve - v pinned bob
         show eve
         = a: | v: ann
         enter bob v -
         show eve
         = a: | v: bob
         leave bob
         show eve
         = a: | v: ann",
    );
}

#[test]
fn who_comes_to_a_room_is_shown_what_is_live_then() {
    check(
        "enter ann v -
         enter bob v -
         silent bob
         wait 5000
         enter eve - v
         show eve
         = a: | v: ann
         leave eve
         active bob
         silent ann
         wait 5000
         enter eve - v
         show eve
         = a: | v: bob",
    );
}

#[test]
fn a_picture_that_stands_still_gives_way_to_one_that_comes() {
    check(
        "enter ann v -
         enter bob v -
         enter eve - v
         active ann
         active bob
         wait 1000
         show eve
         = a: | v: bob
         silent bob
         wait 1000
         show eve
         = a: | v: ann
         active bob
         wait 60000
         show eve
         = a: | v: ann",
    );
}

#[test]
fn a_member_that_comes_back_gets_its_old_slot() {
    check(
        "enter ann av aavv
         enter bob av aavv
         enter cid av aavv
         show ann
         = a: bob cid | v: bob cid
         leave bob
         leave cid
         enter cid av aavv
         show ann
         = a: - cid | v: - cid
         enter bob av aavv
         show ann
         = a: bob cid | v: bob cid",
    );
}

#[test]
fn slots_that_are_added_are_filled_and_those_that_stay_are_not_touched() {
    check(
        "enter ann - av
         enter bob av -
         enter cid av -
         show ann
         = a: bob | v: bob
         binds
         = 2
         offer ann - avav
         show ann
         = a: bob cid | v: bob cid
         binds
         = 2
         enter dan av av
         binds
         = 2
         offer dan av avav
         binds
         = 2",
    );
}

#[test]
fn wishes_choose_the_track_of_each_video_slot() {
    check(
        "enter ann - avv
         enter bob av -
         enter cid av -
         enter dan av -
         show ann
         = a: bob | v: bob cid
         wish ann 1=dan
         show ann
         = a: bob | v: dan cid
         wish ann 2=- 1=cid
         show ann
         = a: bob | v: cid -
         wish ann 2=cid
         show ann
         = a: bob | v: - cid
         level dan 20
         wait 5000
         show ann
         = a: dan | v: - cid
         auto ann
         show ann
         = a: dan | v: dan cid",
    );
}

#[test]
fn a_paused_slot_keeps_its_track_and_nothing_flows() {
    check(
        "enter ann - v
         enter bob v -
         binds
         = 1
         wish ann 0=bob:paused
         show ann
         = a: | v: bob:paused
         binds
         = 1
         wish ann 0=bob
         show ann
         = a: | v: bob
         binds
         = 1
         wish ann 0=bob:paused
         auto ann
         show ann
         = a: | v: bob",
    );
}

#[test]
fn a_muted_track_keeps_the_slot_of_a_wish_and_loses_any_other() {
    check(
        "enter ann - v
         enter bob v -
         enter cid v -
         enter dan - v
         wish ann 0=bob
         show dan
         = a: | v: cid
         mute bob
         mute cid
         show ann
         = a: | v: bob:muted
         show dan
         = a: | v: -
         binds
         = 4
         unmute bob
         unmute cid
         show ann
         = a: | v: bob
         show dan
         = a: | v: bob",
    );
}

#[test]
fn a_muted_voice_gives_its_place_away() {
    check(
        "audible 1
         enter ann a a
         enter bob a a
         enter cid - a
         level ann 20
         wait 1000
         speakers
         = ann 20
         mute ann.a
         show cid
         = a: bob | v:
         wait 300
         speakers
         =
         unmute ann.a
         show cid
         = a: bob | v:",
    );
}

/// The offer with these payload types only in its video sections.
fn only(offer: &str, types: &str) -> String {
    let line = |line: &str| match line.strip_prefix("m=video ") {
        Some(_) => format!("m=video 9 UDP/TLS/RTP/SAVPF {types}\r\n"),
        None => format!("{line}\r\n"),
    };
    offer.lines().map(line).collect()
}

#[test]
fn a_track_whose_codecs_nobody_takes_is_named_in_a_wish_and_skipped_otherwise() {
    let mut stages = Stages::new();
    let vp8 = only(&offer("v", ""), "96 97");
    let accepted = stages.node.publish("bob", &vp8).unwrap();
    stages.check("enter cid v -\n enter ann - v\n show ann\n = a: | v: cid");
    let session = stages.members["ann"].session;
    // AV1 alone. What flows is bound anew, or no more, when the codecs of its slot change.
    let av1 = only(&offer("", "v"), "45 46");
    stages.node.rooms.renegotiate(stages.node.now, session, &av1).unwrap();
    stages.drain();
    stages.check("show ann\n = a: | v: cid");
    let (track, mid) = (stages.tracks("bob", model::MediaKind::Video)[0], Mid::parse("0").unwrap());
    let wish = SlotWish { mid, track: Some(track), size: None, priority: 0, paused: false };
    stages.subscribe("ann", Subscription::Manual { slots: vec![wish] }).unwrap();
    stages.check("show ann\n = a: | v: bob:no-codec");
    assert_eq!(stages.members["ann"].bound[&mid], None);
    stages.check("auto ann\n show ann\n = a: | v: cid\n leave cid\n show ann\n = a: | v: -");
    assert!(stages.plans[&accepted.session].up[0].codecs.iter().all(|c| c.codec.as_str() == "VP8"));
}

#[test]
fn a_slot_with_other_codecs_waits_for_nobody_who_does_not_fit() {
    let mut stages = Stages::new();
    stages.node.publish("bob", &only(&offer("v", ""), "96 97")).unwrap();
    // Two sections: the first one takes AV1 alone, the second one VP8 alone.
    let both = offer("", "vv");
    let (head, sections) = both.split_once("m=").unwrap();
    let parts: Vec<String> = sections.split("m=").map(|part| format!("m={part}")).collect();
    let text = format!("{head}{}{}", only(&parts[0], "45 46"), only(&parts[1], "96 97"));
    stages.check("enter ann - vv\n enter cid v -");
    let session = stages.members["ann"].session;
    stages.node.rooms.renegotiate(stages.node.now, session, &text).unwrap();
    stages.drain();
    let av1 = only(&offer("v", ""), "45 46");
    stages.node.publish("dan", &only(&offer("v", ""), "96 97")).unwrap();
    stages.check("leave cid");
    stages.node.publish("eve", &av1).unwrap();
    stages.drain();
    let shown: Vec<_> = stages.views("ann").into_iter().map(|v| v.shows.unwrap().1).collect();
    assert_eq!(shown[0].as_str(), "eve");
    assert!(["bob", "dan"].contains(&shown[1].as_str()));
}

#[test]
fn a_member_that_comes_back_after_a_loss_ranks_as_before() {
    check(
        "enter ann av -
         enter bob av -
         enter eve - v
         level ann 20
         wait 3000
         level ann 127
         wait 3000
         show eve
         = a: | v: ann
         vanish ann
         show eve
         = a: | v: bob
         wait 5000
         enter ann av -
         show eve
         = a: | v: ann",
    );
}

#[test]
fn a_shared_screen_comes_before_speakers_and_beside_the_camera() {
    check(
        "enter ann av -
         enter bob av -
         enter eve - v
         level bob 20
         wait 5000
         show eve
         = a: | v: bob
         offer ann avv -
         wait 10
         active ann2
         wait 1100
         show eve
         = a: | v: ann2
         enter dan - vv
         show dan
         = a: | v: ann2 bob
         pin dan ann
         show dan
         = a: | v: ann2 ann",
    );
}

#[test]
fn the_sound_of_a_screen_is_heard_and_makes_no_speaker() {
    check(
        "enter ann a a
         enter bob aa -
         level bob2 20
         wait 2000
         show ann
         = a: bob2 | v:
         speakers
         =
         level bob 30
         wait 1000
         speakers
         = bob 30",
    );
}

#[test]
fn a_wish_ends_with_its_track() {
    check(
        "enter ann - vv
         enter bob v -
         enter cid v -
         wish ann 0=cid 1=-
         leave cid
         show ann
         = a: | v: - -
         enter cid v -
         show ann
         = a: | v: - -",
    );
}

#[test]
fn a_wish_for_what_is_not_there_is_refused_and_changes_nothing() {
    check(
        "enter ann av avv
         enter bob av -
         show ann
         = a: bob | v: bob -
         wish ann 3=- 4=#99
         = 404: no other member has a video track 99
         wish ann 3=- 9=bob
         = 404: the session has no video slot with mid 9
         wish ann 2=bob
         = 404: the session has no video slot with mid 2
         wish ann 3=ann
         = 404: no other member has a video track 2
         wish ann 3=bob 4=bob
         = 422: track 4 is named for two slots; one is allowed
         wish ann 3=bob 3=-
         = 422: slot 3 is named twice; name it once
         show ann
         = a: bob | v: bob -",
    );
}

#[test]
fn an_audio_track_is_no_video() {
    let mut stages = Stages::new();
    stages.check("enter ann av avv\n enter bob av -");
    let (_, track) = stages.find("bob", model::MediaKind::Audio);
    stages
        .check(&format!("wish ann 3=#{track}\n = 404: no other member has a video track {track}"));
}

#[test]
fn sizes_and_priorities_are_kept() {
    let mut stages = Stages::new();
    stages.check("enter ann - vv\n enter bob v -");
    let session = stages.members["ann"].session;
    let (_, track) = stages.find("bob", model::MediaKind::Video);
    let mid = |text| Mid::parse(text).unwrap();
    let wish = SlotWish {
        mid: mid("1"),
        track: Some(track),
        size: Some((640, 360)),
        priority: 7,
        paused: false,
    };
    let subscription = Subscription::Manual { slots: vec![wish.clone()] };
    stages.subscribe("ann", subscription).unwrap();
    let room = stages.node.rooms.get(&common::room("r")).unwrap();
    let empty = SlotWish { mid: mid("0"), track: None, size: None, priority: 0, paused: false };
    assert_eq!(room.slot_wishes(session), [empty, wish]);
    stages.check("auto ann");
    let room = stages.node.rooms.get(&common::room("r")).unwrap();
    assert_eq!(room.slot_wishes(session), []);
}

#[test]
fn too_many_wishes_and_pins_are_refused() {
    let mut stages = Stages::new();
    stages.check("enter ann - v");
    let names: Vec<String> = (0..65).map(|i| format!("m{i}")).collect();
    let error = stages.subscribe("ann", pins(&names.join(","))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let mid = Mid::parse("0").unwrap();
    let wish = SlotWish { mid, track: None, size: None, priority: 0, paused: false };
    let slots = vec![wish; 65];
    let error = stages.subscribe("ann", Subscription::Manual { slots }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_member_may_enter_with_wishes_and_is_refused_with_bad_ones() {
    let mut stages = Stages::new();
    stages.check("enter ann v -\n enter bob v -");
    let (_, track) = stages.find("ann", model::MediaKind::Video);
    let wish = |track| {
        let mid = Mid::parse("0").unwrap();
        let slots = vec![SlotWish { mid, track, size: None, priority: 0, paused: false }];
        Subscription::Manual { slots }
    };
    stages.enter("eve", "", "v", wish(Some(track))).unwrap();
    stages.check("show eve\n = a: | v: ann");
    let error = stages.enter("dan", "", "v", wish(Some(model::TrackId(999)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(stages.tracks("dan", model::MediaKind::Video), []);
}

#[test]
fn a_member_without_the_right_to_receive_gets_nothing() {
    let mut stages = Stages::new();
    stages.check("enter ann - av\n enter bob av -\n show ann\n = a: bob | v: bob");
    let session = stages.members["ann"].session;
    for (may, shown) in [(false, "a: - | v: -"), (true, "a: bob | v: bob")] {
        stages.node.rooms.turn(&common::room("r"), |r, _| r.allow_receiving(session, may));
        stages.drain();
        assert_eq!(stages.shown("ann"), shown);
    }
}

#[test]
fn the_number_of_slots_that_could_be_used_is_told_when_it_changes() {
    check(
        "enter ann av av
         wanted
         = ann 0 0
         enter bob av av
         wait 2000
         wanted
         enter cid av avav
         wait 2000
         wanted
         = ann 2 2
         = bob 2 2
         offer ann av avav
         wait 2000
         wanted
         leave cid
         wait 2000
         wanted
         = ann 1 1",
    );
}

#[test]
fn members_who_come_at_once_are_one_reason_to_offer_again() {
    let mut stages = Stages::new();
    stages.check("enter ann av av");
    for n in 0..50 {
        stages.check(&format!("enter m{n} av -\n wait 30"));
    }
    stages.wait(std::time::Duration::from_secs(5));
    let told: Vec<_> = stages.wanted.iter().filter(|(name, ..)| name == "ann").collect();
    assert!(told.len() <= 4, "{told:?}");
    assert_eq!(told.last().unwrap(), &&("ann".to_owned(), 4, 50));
}

#[test]
fn no_more_sections_are_wanted_than_an_offer_may_have() {
    let mut stages = Stages::new();
    stages.check("enter ann av av");
    for n in 0..80 {
        stages.check(&format!("enter m{n} av -"));
    }
    stages.wait(std::time::Duration::from_secs(5));
    assert_eq!(stages.wanted.iter().rfind(|w| w.0 == "ann").unwrap(), &("ann".to_owned(), 4, 58));
    // Such an offer is taken.
    let receives: String = "av".to_owned() + &"a".repeat(3) + &"v".repeat(57);
    let session = stages.members["ann"].session;
    let offer = offer("av", &receives);
    stages.node.rooms.renegotiate(stages.node.now, session, &offer).unwrap();
}

#[test]
fn a_slot_keeps_its_ssrc_over_a_hundred_switches_and_each_is_bound_once() {
    let mut stages = Stages::new();
    stages.check("enter ann - vv\n enter bob v -\n enter cid v -\n enter dan v -");
    let session = stages.members["ann"].session;
    let ssrcs = |stages: &Stages| {
        let plan = &stages.plans[&session];
        plan.down.iter().map(|down| (down.mid, down.ssrc)).collect::<Vec<_>>()
    };
    let before = ssrcs(&stages);
    stages.binds = 0;
    for step in 0..100 {
        let [one, two] = [["bob", "cid"], ["cid", "dan"], ["dan", "bob"]][step % 3];
        stages.check(&format!("wish ann 0={one} 1={two}"));
        stages.check(&format!("show ann\n = a: | v: {one} {two}"));
        let bound: Vec<_> = stages.members["ann"].bound.values().map(|t| t.unwrap()).collect();
        let views = stages.views("ann");
        let shown: Vec<_> = views.iter().map(|v| v.shows.as_ref().unwrap().0).collect();
        assert_eq!(bound, shown);
    }
    assert_eq!(ssrcs(&stages), before);
    // The first wish is what the slots show already.
    assert_eq!(stages.binds, 2 * 99);
}

#[test]
fn a_room_of_silent_members_asks_for_no_time() {
    let mut stages = Stages::new();
    for n in 0..30 {
        stages.check(&format!("enter m{n} av aaaavvvv"));
    }
    stages.wait(std::time::Duration::from_secs(20));
    assert_eq!(stages.node.rooms.poll_timeout(), None);
}

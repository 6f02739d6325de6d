//! Members of a room: their records, what their tracks are, and what they may publish.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::*;
use model::{Codec, MediaKind, MemberKind, Mid, Permissions, Presence, Profile, TrackSource};
use sfumato_room::{
    AdminCommand, Admission, ErrorKind, MemberCommand, Notice, ProfileChange, RoomSettings,
    SettingsChange, Target, TrackDescription,
};

fn description(mid: &str, source: TrackSource) -> TrackDescription {
    TrackDescription { mid: Mid::parse(mid).unwrap(), source, name: "".into(), muted: false }
}

fn tracks(tracks: Vec<TrackDescription>) -> Admission {
    Admission { tracks, ..Admission::default() }
}

fn may(publish: &[TrackSource]) -> Permissions {
    Permissions { publish: publish.iter().copied().collect(), ..Permissions::ALL }
}

fn sources(node: &Node, name: &str) -> Vec<TrackSource> {
    node.record(name).tracks.iter().map(|track| track.source).collect()
}

use TrackSource::{Camera, Microphone, Screen, ScreenAudio};

#[test]
fn a_member_has_a_record_even_when_it_publishes_nothing() {
    let mut node = Node::new();
    let profile = Profile { name: "Ann".into(), metadata: "{}".into() };
    let admission = Admission { profile: profile.clone(), ..Admission::default() };
    let ann = node.join("ann", admission, &slots("av")).unwrap();
    let record = node.record("ann");
    assert_eq!(
        (record.kind, &record.profile, record.session),
        (MemberKind::Session, &profile, ann)
    );
    assert_eq!((record.presence(), record.tracks.len()), (Presence::Connecting, 0));
    node.event(model::Event::Connected { session: ann });
    assert_eq!(node.record("ann").presence(), Presence::Connected);
    // Viewers over WHEP are no members; publishers over WHIP are.
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.publish("bob", FFMPEG).unwrap();
    let info = node.rooms.get(&room("r")).unwrap().info();
    assert_eq!((info.participants, info.viewers), (2, 1));
    let kinds: Vec<MemberKind> = node.records().iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [MemberKind::Session, MemberKind::Whip]);
    assert_eq!(sources(&node, "bob"), [Microphone, Camera]);
}

#[test]
fn a_member_without_tracks_begins_no_round() {
    let mut node = Node::new();
    node.meet("ann");
    for _ in 0..300 {
        node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    }
    // The room's turn in these tests works to the end, so a round would show as work only inside of a turn.
    let agreed = node.rooms.negotiated(sfumato_room::Roles::Both, &slots("av"));
    let now = node.now;
    let entering = sfumato_room::Entering {
        participant: Some(who("bob")),
        identity: None,
        target: Target::any(),
        admission: Some(Box::default()),
    };
    let session = agreed.session();
    let busy = node.rooms.turn(&room("r"), |room, config| {
        room.enter(now, config, entering, agreed).unwrap();
        let entered = room.has_work();
        room.handle_event(now, model::Event::Connected { session });
        let connected = room.has_work();
        room.close(now, session).unwrap();
        // What is left is the farewell, if anything.
        [entered, connected, room.has_work()]
    });
    assert_eq!(busy, [false; 3]);
}

#[test]
fn tracks_are_what_the_client_says_or_what_their_order_suggests() {
    let slides = meeting("vv", "").replacen("a=sendonly", "a=content:slides,main\r\na=sendonly", 1);
    // Offer, descriptions, and the sources of the tracks.
    let rows: [(String, Vec<TrackDescription>, &[TrackSource]); 7] = [
        (meeting("av", "a"), vec![], &[Microphone, Camera]),
        (meeting("aavv", ""), vec![], &[Microphone, ScreenAudio, Camera, Screen]),
        (meeting("vvv", ""), vec![], &[Camera, Screen, Screen]),
        (slides, vec![], &[Screen, Camera]),
        (meeting("vv", ""), vec![description("1", Camera)], &[Screen, Camera]),
        (
            meeting("av", ""),
            vec![description("0", ScreenAudio), description("1", Screen)],
            &[ScreenAudio, Screen],
        ),
        (meeting("vv", ""), vec![description("0", Screen)], &[Screen, Camera]),
    ];
    for (at, (offer, given, expected)) in rows.into_iter().enumerate() {
        let mut node = Node::new();
        node.join("ann", tracks(given), &offer).unwrap();
        assert_eq!(sources(&node, "ann"), expected, "row {at}");
    }
}

#[test]
fn a_description_that_does_not_fit_the_offer_is_refused() {
    let long = TrackDescription { name: "x".repeat(257).into(), ..description("0", Microphone) };
    let rows: [(Vec<TrackDescription>, &str); 5] = [
        (vec![description("7", Camera)], "no section with this mid sends"),
        (vec![description("2", Microphone)], "no section with this mid sends"),
        (vec![description("0", Camera)], "source camera is video, and the section is audio"),
        (vec![description("1", Camera), description("1", Screen)], "twice"),
        (vec![long], "257 bytes; at most 256"),
    ];
    for (given, text) in rows {
        let mut node = Node::new();
        let refused = node.join("ann", tracks(given), &meeting("av", "a")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains(text), "{refused}");
        assert!(node.records().is_empty() && node.commands().is_empty());
    }
    let mut node = Node::new();
    let profile = Profile { name: "x".repeat(257).into(), ..Profile::default() };
    let admission = Admission { profile, ..Admission::default() };
    let refused = node.join("ann", admission, &meeting("a", "")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[test]
fn sources_that_may_not_be_published_refuse_the_offer_that_brings_them() {
    let mut node = Node::new();
    let permissions = may(&[Microphone]);
    let admission = || Admission { permissions, ..Admission::default() };
    let refused = node.join("ann", admission(), &meeting("av", "a")).unwrap_err();
    assert_eq!((refused.kind(), refused.status()), (ErrorKind::Forbidden, 403));
    assert_eq!(
        refused.to_string(),
        "mid 1: source camera may not be published with these permissions; allowed: microphone"
    );
    assert!(node.records().is_empty());
    let ann = node.join("ann", admission(), &meeting("a", "a")).unwrap();
    let offer = meeting("a", "av");
    node.rooms.renegotiate(node.now, ann, &offer).unwrap();
    // The same sections, the last one sending now.
    let sends = |offer: &str| {
        let at = offer.rfind("a=recvonly").unwrap();
        format!("{}a=sendonly{}", &offer[..at], &offer[at + "a=recvonly".len()..])
    };
    let refused = node.rooms.renegotiate(node.now, ann, &sends(&offer)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
    assert!(refused.to_string().starts_with("mid 2: source camera"), "{refused}");
    assert_eq!(node.record("ann").tracks.len(), 1, "nothing has changed");
    node.rooms.renegotiate(node.now, ann, &offer).unwrap();
    // A hidden member publishes nothing: its tracks would show that it is there.
    let hidden = Permissions { hidden: true, ..Permissions::ALL };
    let admission = Admission { permissions: hidden, ..Admission::default() };
    let refused = node.join("eve", admission.clone(), &meeting("a", "a")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    node.join("eve", admission, &slots("a")).unwrap();
}

#[test]
fn tracks_that_stay_keep_their_description_and_others_are_described_anew() {
    let mut node = Node::new();
    let named = TrackDescription { name: "desk".into(), muted: true, ..description("0", Screen) };
    let ann = node.join("ann", tracks(vec![named]), &meeting("v", "a")).unwrap();
    let told = |node: &Node| -> Vec<(TrackSource, String, bool)> {
        let tracks = &node.record("ann").tracks;
        tracks.iter().map(|t| (t.source, t.name.to_string(), t.muted)).collect()
    };
    assert_eq!(told(&node), [(Screen, "desk".into(), true)]);
    // A third section that sends: no camera is there yet.
    let more = meeting("v", "av");
    let at = more.rfind("a=recvonly").unwrap();
    let more = format!("{}a=sendonly{}", &more[..at], &more[at + "a=recvonly".len()..]);
    node.rooms.renegotiate(node.now, ann, &more).unwrap();
    let expected = [(Screen, "desk".into(), true), (Camera, String::new(), false)];
    assert_eq!(told(&node), expected);
    let again = [TrackDescription { name: "me".into(), ..description("2", Camera) }];
    node.rooms.renegotiate_with(node.now, ann, &more, Some(&again)).unwrap();
    assert_eq!(told(&node), [(Screen, "desk".into(), true), (Camera, "me".into(), false)]);
    let wrong = [description("1", Microphone)];
    let refused = node.rooms.renegotiate_with(node.now, ann, &more, Some(&wrong)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_profile_is_changed_by_its_member_or_an_administrator() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let name = |text: &str| ProfileChange { name: Some(text.into()), metadata: None };
    node.command(ann, MemberCommand::UpdateProfile(name("Ann"))).unwrap();
    assert_eq!(&*node.record("ann").profile.name, "Ann");
    let refused = node.command(ann, MemberCommand::UpdateProfile(name(&"x".repeat(257))));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    let fixed = Permissions { update_self: false, ..Permissions::ALL };
    node.administer(AdminCommand::ChangePermissions(who("ann"), fixed)).unwrap();
    let refused = node.command(ann, MemberCommand::UpdateProfile(name("Eve")));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
    node.administer(AdminCommand::ChangeProfile(who("ann"), name("Anna"))).unwrap();
    assert_eq!(&*node.record("ann").profile.name, "Anna");
    let unknown = node.administer(AdminCommand::ChangeProfile(who("bob"), name("Bob")));
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    // Whoever changes itself without end is told to stop, since every change goes to all members.
    let track = node.tracks_of("ann")[0];
    let change = |at: usize| MemberCommand::UpdateTrack {
        track,
        muted: Some(at.is_multiple_of(2)),
        name: None,
    };
    let refused = (0..200).filter_map(|at| node.command(ann, change(at)).err());
    let kinds: Vec<ErrorKind> = refused.map(|error| error.kind()).collect();
    assert!(kinds.len() >= 99 && kinds.iter().all(|kind| *kind == ErrorKind::Quota));
}

#[test]
fn names_have_no_characters_that_turn_or_break_the_text_around_them() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let track = node.tracks_of("ann")[0];
    for bad in ["a\nb", "\u{0}", "a\u{7f}", "\u{85}", "\u{202e}nna", "\u{2067}x", "\u{2029}"] {
        let name: std::sync::Arc<str> = bad.into();
        let profile = Profile { name: name.clone(), metadata: "".into() };
        let admission = Admission { profile, ..Admission::default() };
        let joined = node.join("bob", admission, &slots("a"));
        let change = ProfileChange { name: Some(name.clone()), metadata: None };
        let renamed = node.command(ann, MemberCommand::UpdateProfile(change));
        let command = MemberCommand::UpdateTrack { track, muted: None, name: Some(name.clone()) };
        let named = node.command(ann, command);
        let again = [TrackDescription { name, ..description("0", Microphone) }];
        let offered =
            node.rooms.renegotiate_with(node.now, ann, &meeting("av", "aavv"), Some(&again));
        for refused in [joined.map(|_| ()), renamed, named, offered.map(|_| ())] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{bad:?}");
            assert!(refused.to_string().contains("control character U+"), "{refused}");
        }
    }
    for good in ["Ann Å", "عائشة", "山田 👩\u{200d}💻", "O'Neill \"x\" <b>"] {
        let change = ProfileChange { name: Some(good.into()), metadata: Some("\n\u{202e}".into()) };
        node.command(ann, MemberCommand::UpdateProfile(change)).unwrap();
    }
}

#[test]
fn whoever_joins_again_and_again_is_refused_in_the_end() {
    let mut node = Node::new();
    let profile = Profile { name: "".into(), metadata: "x".repeat(4_000).into() };
    let admission = Admission { profile, ..Admission::default() };
    // Twenty times a second for ten seconds, without ever connecting: each time the others are told of a member with metadata.
    let mut passed = 0;
    for _ in 0..200 {
        match node.join("ann", admission.clone(), &meeting("av", "a")) {
            Ok(_) => passed += 1,
            Err(refused) => assert_eq!(refused.kind(), ErrorKind::Quota),
        }
        node.wait(std::time::Duration::from_millis(50));
    }
    assert!((50..=80).contains(&passed), "{passed}");
    node.join("bob", admission.clone(), &meeting("av", "a")).unwrap();
    node.wait(std::time::Duration::from_secs(1));
    node.join("ann", admission, &meeting("av", "a")).unwrap();
}

#[test]
fn changes_are_limited_by_the_bytes_that_they_tell_to_each_member() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    // Ten seconds, twenty changes in each.
    let changed = |node: &mut Node, text: &str| {
        node.wait(std::time::Duration::from_secs(60));
        let mut passed = 0;
        for at in 0..200 {
            let metadata = Some(format!("{at:03}{text}").into());
            let change = MemberCommand::UpdateProfile(ProfileChange { name: None, metadata });
            match node.command(ann, change) {
                Ok(()) => passed += 1,
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Quota),
            }
            node.wait(std::time::Duration::from_millis(50));
        }
        passed
    };
    assert_eq!(changed(&mut node, "small"), 200);
    // 128 KiB at once and 16 KiB a second are 288 KiB; each change tells what was there and what is new.
    let big = changed(&mut node, &"x".repeat(4_000));
    assert!((30..=45).contains(&big), "{big}");
    // In JSON a control character has six bytes.
    let biggest = changed(&mut node, &"\u{1}".repeat(4_000));
    assert!((4..=10).contains(&biggest), "{biggest}");
    // Later offers that change what the others see are changes too; those that do not are none.
    let track = TrackDescription { name: "\"".repeat(250).into(), ..description("0", Microphone) };
    let offer = meeting("av", "aavv");
    let refused = (0..200).find_map(|at| {
        let tracks = [TrackDescription { muted: at % 2 == 0, ..track.clone() }];
        node.rooms.renegotiate_with(node.now, ann, &offer, Some(&tracks)).err()
    });
    assert_eq!(refused.unwrap().kind(), ErrorKind::Quota);
    node.rooms.renegotiate(node.now, ann, &offer).unwrap();
}

#[test]
fn a_room_holds_the_members_and_codecs_that_its_settings_allow() {
    let mut node = Node::new();
    node.meet("ann");
    let change = SettingsChange {
        members_max: Some(2),
        codecs: Some(vec![Codec::Opus, Codec::H264]),
        ..SettingsChange::default()
    };
    node.notices();
    node.administer(AdminCommand::ChangeRoom(change)).unwrap();
    let settings = RoomSettings {
        members_max: 2,
        codecs: vec![Codec::Opus, Codec::H264],
        ..RoomSettings::default()
    };
    assert_eq!(node.notices(), [Notice::Settings(settings.into())]);
    let bob = node.meet("bob");
    let video = |name: &str, node: &Node| -> Vec<Codec> {
        let record = node.record(name);
        let track = record.tracks.iter().find(|track| track.kind == MediaKind::Video).unwrap();
        let mut codecs: Vec<Codec> = track.codecs.iter().map(|codec| codec.codec).collect();
        codecs.dedup();
        codecs
    };
    assert!(video("ann", &node).len() > 1, "who was there before is not touched");
    assert_eq!(video("bob", &node), [Codec::H264]);
    let full = node.join("cem", Admission::default(), &slots("a")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    node.meet("ann");
    node.rooms.close(node.now, bob).unwrap();
    let only = SettingsChange { codecs: Some(vec![Codec::Vp8]), ..SettingsChange::default() };
    node.administer(AdminCommand::ChangeRoom(only)).unwrap();
    let refused = node.join("cem", Admission::default(), &meeting("av", "")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("this room allows; allowed are VP8"), "{refused}");
    node.join("cem", Admission::default(), &slots("a")).unwrap();
    let wrong = SettingsChange { audible: Some(0), ..SettingsChange::default() };
    let refused = node.administer(AdminCommand::ChangeRoom(wrong)).unwrap_err();
    assert_eq!(refused.to_string(), "audible: 0; 1 to 16 are allowed");
}

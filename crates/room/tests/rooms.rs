//! Rooms over time: bindings, the order of commands, limits, timeouts, restarts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::*;
use model::{CloseReason, Codec, CodecSpec, Command, Event, Feedback, MediaKind, Pt, SessionId};
use sfumato_room::{EndReason, ErrorKind, Limits, LocalMedia, Notice, RoomInfo, SlotInfo, Target};

/// The ffmpeg offer with only the section of this kind sending.
fn only(kind: MediaKind) -> String {
    let (dropped, line) = match kind {
        MediaKind::Audio => ("m=video 9", "m=video 0"),
        MediaKind::Video => ("m=audio 9", "m=audio 0"),
    };
    FFMPEG.replace(dropped, line)
}

fn tracks(node: &Node) -> Vec<Vec<Option<u64>>> {
    let viewers = node.rooms.viewers(&room("r")).unwrap();
    let of = |s: &SlotInfo| s.track.map(|t| t.0);
    viewers.iter().map(|v| v.slots.iter().map(of).collect()).collect()
}

#[test]
fn a_viewer_is_bound_to_the_publishers_present_with_payload_types_mapped() {
    let mut node = Node::new();
    let publisher = node.publish("p", FFMPEG).unwrap().session;
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    let commands = node.commands();
    assert_eq!(commands.len(), 3, "both slots are bound by one command");
    assert_eq!(plan(&commands[0]).id, publisher);
    assert_eq!(plan(&commands[1]).id, viewer);
    let audio = binding(&commands, viewer, "0").unwrap();
    assert_eq!(
        (audio.publisher, audio.payload_types[0].up, audio.payload_types[0].down),
        (publisher, Pt(111), Pt(111))
    );
    let video = binding(&commands, viewer, "1").unwrap();
    // H.264 Main of ffmpeg (4d4028, mode 1) fits Chromium's 4d001f of mode 1.
    let map = video.payload_types[0];
    assert_eq!(
        (map.up, map.down, map.down_rtx, map.clock_rate),
        (Pt(106), Pt(117), Some(Pt(118)), 90_000)
    );
}

#[test]
fn red_is_unwrapped_for_viewers_without_it() {
    let mut node = Node::new();
    node.publish("p", CHROMIUM).unwrap();
    let viewer = node.watch(Target::any(), FIREFOX_WATCH).unwrap().session;
    let audio = binding(&node.commands(), viewer, "0").unwrap();
    let maps: Vec<_> =
        audio.payload_types.iter().map(|m| (m.up.0, m.down.0, m.unwrap_red)).collect();
    assert_eq!(maps, [(111, 109, false), (63, 109, true)]);
}

#[test]
fn a_viewer_may_come_first_and_is_bound_after_the_publisher_is_opened() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    assert_eq!(node.log(), ["open 1"]);
    node.publish("p", FFMPEG).unwrap();
    assert_eq!(node.log(), ["open 2", "bind 1/0 = 1", "bind 1/1 = 2"]);
    assert_eq!(tracks(&node), [[Some(1), Some(2)]]);
}

#[test]
fn slots_follow_publishers_as_they_come_and_go() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("aavv")).unwrap();
    let first = node.publish("a", FFMPEG).unwrap().session;
    node.publish("b", FFMPEG).unwrap();
    node.publish("c", FFMPEG).unwrap();
    assert_eq!(tracks(&node), [[Some(1), Some(3), Some(2), Some(4)]]);
    node.commands();
    node.rooms.close(node.now, first).unwrap();
    // The freed pair of slots goes to the source that waited; the other pair is not touched; `close` comes last.
    assert_eq!(node.log(), ["bind 1/0 = 5", "bind 1/2 = 6", "close 2"]);
    assert_eq!(tracks(&node), [[Some(5), Some(3), Some(6), Some(4)]]);
    node.rooms.close(node.now, SessionId(3)).unwrap();
    assert_eq!(node.log(), ["bind 1/1 = -", "bind 1/3 = -", "close 3"]);
}

#[test]
fn voice_and_picture_of_a_pair_are_of_one_participant() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("avav")).unwrap();
    node.publish("voice", &only(MediaKind::Audio)).unwrap();
    node.publish("both", FFMPEG).unwrap();
    assert_eq!(tracks(&node), [[Some(1), None, Some(2), Some(3)]]);
}

#[test]
fn a_voice_alone_leaves_the_picture_slot_to_others() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("ava")).unwrap();
    node.publish("voice", &only(MediaKind::Audio)).unwrap();
    node.publish("both", FFMPEG).unwrap();
    assert_eq!(tracks(&node), [[Some(2), Some(3), Some(1)]]);
}

#[test]
fn a_named_participant_and_a_kind_are_all_that_flows() {
    let mut node = Node::new();
    node.publish("a", FFMPEG).unwrap();
    node.publish("b", FFMPEG).unwrap();
    node.watch(Target::participant(who("b")), CHROMIUM_WATCH).unwrap();
    let audio = Target { participant: None, kind: Some(MediaKind::Audio) };
    node.watch(audio, CHROMIUM_WATCH).unwrap();
    node.watch(Target::participant(who("absent")), CHROMIUM_WATCH).unwrap();
    assert_eq!(tracks(&node), [[Some(3), Some(4)], [Some(1), None], [None, None]]);
}

#[test]
fn a_viewer_is_not_shown_its_own_tracks() {
    let mut node = Node::new();
    node.publish("me", FFMPEG).unwrap();
    node.rooms
        .subscribe(node.now, &room("r"), Some(&who("me")), Target::any(), CHROMIUM_WATCH)
        .unwrap();
    assert_eq!(tracks(&node), [[None, None]]);
    node.publish("you", FFMPEG).unwrap();
    assert_eq!(tracks(&node), [[Some(3), Some(4)]]);
}

#[test]
fn a_viewer_may_ask_for_its_own_tracks_by_name() {
    let mut node = Node::new();
    node.publish("me", FFMPEG).unwrap();
    node.publish("you", FFMPEG).unwrap();
    let target = Target::participant(who("me"));
    node.rooms.subscribe(node.now, &room("r"), Some(&who("me")), target, CHROMIUM_WATCH).unwrap();
    assert_eq!(tracks(&node), [[Some(1), Some(2)]]);
}

#[test]
fn publishing_again_replaces_and_keeps_the_place() {
    let mut node = Node::new();
    node.publish("a", FFMPEG).unwrap();
    node.publish("b", FFMPEG).unwrap();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.commands();
    node.publish("a", FFMPEG).unwrap();
    assert_eq!(node.log(), ["open 4", "bind 3/0 = 5", "bind 3/1 = 6", "close 1"]);
    let replaced = Notice::SessionClosed { session: SessionId(1), reason: EndReason::Replaced };
    assert_eq!(node.notices(), [replaced]);
    let names: Vec<_> =
        node.rooms.participants(&room("r")).unwrap().into_iter().map(|p| p.id).collect();
    assert_eq!(names, [who("a"), who("b")]);
    // A refused offer replaces no session.
    assert!(node.publish("a", "v=0\r\n").is_err());
    assert!(node.rooms.contains(SessionId(4)) && node.log().is_empty());
}

#[test]
fn a_codec_that_the_viewer_lacks_leaves_the_slot_empty_and_is_told_once() {
    let mut node = Node::new();
    let vp9 = FFMPEG
        .replace("H264/90000", "VP9/90000")
        .replace("profile-level-id=4d4028", "profile-id=3");
    let publisher = node.publish("p", &vp9).unwrap().session;
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    assert_eq!(tracks(&node), [[Some(1), None]]);
    let track = node.rooms.participants(&room("r")).unwrap()[0].tracks[1].id;
    assert_eq!(node.notices(), [Notice::Incompatible { viewer, track, publisher }]);
    assert_eq!(node.rooms.viewers(&room("r")).unwrap()[0].incompatible, [track]);
    node.publish("other", FFMPEG).unwrap();
    assert!(node.notices().is_empty());
}

#[test]
fn a_publisher_of_which_nothing_fits_does_not_block_the_slots() {
    let mut node = Node::new();
    let vp9 = only(MediaKind::Video)
        .replace("H264/90000", "VP9/90000")
        .replace("profile-level-id=4d4028", "profile-id=3");
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.publish("odd", &vp9).unwrap();
    node.publish("plain", FFMPEG).unwrap();
    assert_eq!(tracks(&node), [[Some(2), Some(3)]]);
}

#[test]
fn an_in_process_publisher_is_bound_like_any_other() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.commands();
    let vp8 = CodecSpec {
        pt: Pt(100),
        rtx_pt: None,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback: Feedback::default(),
        parameter_sets: None,
    };
    let media =
        || vec![LocalMedia { kind: MediaKind::Video, codecs: vec![vp8.clone()], rids: vec![] }];
    let card = node.rooms.publish_local(&room("r"), &who("test-card"), media()).unwrap();
    let commands = node.commands();
    assert_eq!(commands.len(), 1, "no Open: there is no peer connection");
    let bound = binding(&commands, SessionId(1), "1").unwrap();
    assert_eq!((bound.track, bound.publisher), (card.tracks[0], card.session));
    let info = &node.rooms.participants(&room("r")).unwrap()[0];
    assert!(info.local && info.connected && info.tracks[0].active);
    assert_eq!(node.rooms.trickle(card.session, "a=end-of-candidates").unwrap_err().status(), 404);
    let taken = node.publish("test-card", FFMPEG).unwrap_err();
    assert_eq!(
        (taken.kind(), node.log().len()),
        (ErrorKind::Conflict, 0),
        "it would not come back"
    );
    let again = node.rooms.publish_local(&room("r"), &who("test-card"), media()).unwrap();
    assert_eq!(node.log(), [format!("bind 1/1 = {}", again.tracks[0])]);
    node.rooms.close(node.now, again.session).unwrap();
    assert_eq!(node.log(), ["bind 1/1 = -"]);
    let nothing = node.rooms.publish_local(&room("r"), &who("x"), vec![]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Unsupported);
}

// Threats, row 41.
#[test]
fn sessions_that_never_connect_are_freed_after_fifteen_seconds() {
    let mut node = Node::new();
    let start = node.now;
    let silent = node.publish("silent", FFMPEG).unwrap().session;
    node.now += Duration::from_secs(5);
    let good = node.publish("good", FFMPEG).unwrap().session;
    node.rooms.handle_event(node.now, Event::Connected { session: good });
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.commands();
    // At this time both publishers' tracks no longer count as live without media.
    node.rooms.handle_timeout(start + Duration::from_secs(8));
    assert_eq!(node.rooms.poll_timeout(), Some(start + Duration::from_secs(15)));
    node.rooms.handle_timeout(start + Duration::from_millis(14_999));
    assert!(node.rooms.contains(silent));
    node.rooms.handle_timeout(start + Duration::from_secs(15));
    assert!(!node.rooms.contains(silent) && node.rooms.contains(good));
    // The viewer entered when the silent publisher no longer counted as live, so it already shows the other one.
    assert_eq!(node.log(), ["close 1"]);
    assert_eq!(tracks(&node), [[Some(3), Some(4)]]);
    assert_eq!(
        node.notices(),
        [Notice::SessionClosed { session: silent, reason: EndReason::NeverConnected }]
    );
    assert_eq!(node.rooms.poll_timeout(), Some(start + Duration::from_secs(20)));
    node.rooms.handle_timeout(start + Duration::from_secs(3_600));
    assert!(node.rooms.contains(good), "a connected session has no deadline");
    assert_eq!(node.rooms.poll_timeout(), None);
}

#[test]
fn events_of_workers_move_the_state() {
    let mut node = Node::new();
    let session = node.publish("p", FFMPEG).unwrap().session;
    node.commands();
    let track = node.rooms.participants(&room("r")).unwrap()[0].tracks[0].id;
    node.rooms.handle_event(node.now, Event::Connected { session });
    node.rooms.handle_event(node.now, Event::TrackActive { session, track });
    let info = &node.rooms.participants(&room("r")).unwrap()[0];
    assert!(info.connected && info.tracks[0].active && !info.tracks[1].active);
    assert_eq!(info.tracks[1].codecs, ["H264"]);
    let closed = Event::Closed { session, reason: CloseReason::ConsentExpired };
    node.rooms.handle_event(node.now, closed.clone());
    // Workers must drop the plan of the session, so they get a `Close`.
    assert_eq!(node.log(), ["close 1"]);
    let reason = EndReason::Transport(CloseReason::ConsentExpired);
    assert_eq!(node.notices(), [Notice::SessionClosed { session, reason }]);
    node.rooms.handle_event(node.now, closed);
    assert!(node.log().is_empty() && node.notices().is_empty());
    assert!(node.rooms.get(&room("r")).is_none(), "the last session ended, so the room is removed");
}

#[test]
fn full_rooms_refuse_and_name_the_limit() {
    let limits = Limits { participants_per_room: 1, sections_per_session: 2, ..Limits::default() };
    let mut node = Node::with_limits(limits);
    node.publish("a", FFMPEG).unwrap();
    node.publish("a", FFMPEG).expect("a replacement takes no space");
    let crowd = node.publish("b", FFMPEG).unwrap_err();
    assert_eq!(
        (crowd.status(), crowd.to_string()),
        (503, "room r has 1 participants; at most 1 are allowed".into())
    );
    let wide = node.watch(Target::any(), &slots("avv")).unwrap_err();
    assert_eq!(wide.status(), 422);
    assert!(wide.to_string().contains("at most 2"), "{wide}");
}

#[test]
fn a_room_lives_as_long_as_it_has_a_session() {
    let mut node = Node::new();
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    let publisher = node.publish("p", FFMPEG).unwrap().session;
    let info = node.rooms.get(&room("r")).unwrap().info();
    assert_eq!(info, RoomInfo { id: room("r"), participants: 1, viewers: 1 });
    node.rooms.close(node.now, viewer).unwrap();
    node.rooms.close(node.now, publisher).unwrap();
    assert_eq!(node.rooms.participants(&room("r")), None);
    assert_eq!(node.rooms.close(node.now, publisher).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn trickled_fragments_are_checked_and_change_nothing() {
    let mut node = Node::new();
    let session = node.publish("p", CHROMIUM).unwrap().session;
    node.commands();
    let frag = |ufrag: &str| {
        format!(
            "a=ice-ufrag:{ufrag}\r\na=ice-pwd:u0mYlBc8xVQhJ2tZr5nW1eGp\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n"
        )
    };
    assert_eq!(node.rooms.trickle(session, &frag("q1Kd")), Ok(()));
    let stale = node.rooms.trickle(session, &frag("oldone")).unwrap_err();
    assert_eq!(stale.status(), 409);
    assert!(stale.to_string().contains("session 1"), "{stale}");
    assert_eq!(node.rooms.trickle(session, "garbage").unwrap_err().status(), 400);
    assert_eq!(node.rooms.trickle(SessionId(99), &frag("q1Kd")).unwrap_err().status(), 404);
    assert!(node.log().is_empty());
}

#[test]
fn a_restart_changes_both_sides_credentials_and_a_failed_one_nothing() {
    let mut node = Node::new();
    let session = node.publish("p", CHROMIUM).unwrap().session;
    let before = plan(&node.commands()[0]).ice.clone();
    let good = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    for (bad, status) in [
        ("a=ice-ufrag:ysXw\r\n".to_owned(), 400),
        ("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n".to_owned(), 400),
        (good.replace("ysXw", &before.remote_ufrag), 409),
        (good.replace("vw5LmwG4y/e6dPP/zAP9Gp5k", &before.remote_pwd), 409),
    ] {
        let error = node.rooms.restart(node.now, session, &bad).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert!(!error.to_string().contains(&before.remote_pwd), "no password in errors");
    }
    assert!(node.log().is_empty() && node.rooms.contains(session));

    let answer = node.rooms.restart(node.now, session, good).unwrap();
    let commands = node.commands();
    let [Command::Restart { session: of, ice }] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(*of, session);
    assert_eq!(
        (ice.remote_ufrag.as_str(), ice.remote_pwd.as_str()),
        ("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k")
    );
    assert!(ice.local_ufrag != before.local_ufrag && ice.local_pwd != before.local_pwd);
    assert!(
        answer.contains(&format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            ice.local_ufrag, ice.local_pwd
        ))
    );
    assert!(answer.starts_with("a=ice-lite\r\na=ice-options:trickle\r\na=group:BUNDLE 0 1\r\n"));
    assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp "));
    // From now on fragments with the new credentials are accepted, those with the old ones are not.
    assert_eq!(node.rooms.trickle(session, good), Ok(()));
    assert_eq!(node.rooms.restart(node.now, session, good).unwrap_err().status(), 409);
}

// Threats, row 38: through the interface that signaling uses.
#[test]
fn oversized_descriptions_and_high_payload_types_are_the_clients_fault() {
    let mut node = Node::new();
    for offer in [
        FFMPEG.replace("a=rtpmap:111", "a=rtpmap:128"),
        FFMPEG.replace("SAVPF 111", "SAVPF 200"),
        format!("{FFMPEG}{}", "a=x\r\n".repeat(60_000)),
        format!("{FFMPEG}{}", "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n".repeat(63)),
        format!("{FFMPEG}a=x:{}\r\n", "y".repeat(5_000)),
    ] {
        let error = node.publish("p", &offer).unwrap_err();
        assert_eq!(error.status(), 400, "{error}");
    }
    assert!(node.commands().is_empty());
}

#[test]
fn a_crowded_room_is_assigned_in_reasonable_time() {
    let mut node = Node::new();
    for i in 0..40 {
        node.publish(&format!("p{i}"), FFMPEG).unwrap();
    }
    node.watch(Target::any(), &slots(&"av".repeat(20))).unwrap();
    let bound = node.log().iter().filter(|l| l.starts_with("bind")).count();
    assert_eq!(bound, 40);
    node.rooms.close(node.now, SessionId(1)).unwrap();
    let changed: Vec<_> = node.log();
    assert_eq!(changed.len(), 3, "only the freed pair is bound anew: {changed:?}");
}

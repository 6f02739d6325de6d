//! Later offers of a live session: what stays, what may change, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::*;
use model::{Command, Mid, SessionId, SessionPlan};
use sfumato_room::{Entering, ErrorKind, Roles, Target};

fn updated(commands: &[Command]) -> &SessionPlan {
    let update = commands.iter().find_map(|c| match c {
        Command::Update(plan) => Some(plan),
        _ => None,
    });
    update.unwrap()
}

fn version(answer: &str) -> (u64, u64) {
    let origin = lines(answer, "o=")[0].split(' ').collect::<Vec<_>>();
    (origin[1].parse().unwrap(), origin[2].parse().unwrap())
}

#[test]
fn a_viewer_that_offers_more_slots_keeps_those_that_it_has() {
    let mut node = Node::new();
    node.publish("a", FFMPEG).unwrap();
    node.publish("b", FFMPEG).unwrap();
    let viewer = node.watch(Target::any(), &slots("av")).unwrap();
    let first = plan(&node.commands()[2]);
    let again = node.rooms.renegotiate(node.now, viewer.session, &slots("avav")).unwrap();
    let commands = node.commands();
    let second = updated(&commands);
    assert!(!again.restarts && !commands.iter().any(|c| matches!(c, Command::Restart { .. })));
    assert_eq!((second.id, &second.ice, second.dtls_role), (first.id, &first.ice, first.dtls_role));
    assert_eq!(second.down.len(), 4);
    for (old, new) in first.down.iter().zip(&second.down) {
        assert_eq!((old.mid, old.ssrc), (new.mid, new.ssrc));
    }
    let mut ssrcs: Vec<_> = second.down.iter().map(|d| d.ssrc.media).collect();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 4);
    let (before, after) = (version(&viewer.answer), version(&again.answer));
    assert_eq!((after.0, after.1), (before.0, before.1 + 1));
    // `Update` comes before the bindings of the new slots, and the old slots get no binding.
    let Some(Command::Bind { slots, .. }) = commands.get(1) else { panic!("{commands:?}") };
    assert_eq!(slots.iter().map(|(mid, _)| mid.as_str()).collect::<Vec<_>>(), ["2", "3"]);
    assert!(slots.iter().all(|(_, b)| b.as_ref().unwrap().publisher == SessionId(2)));
}

#[test]
fn a_publisher_that_adds_a_track_keeps_the_ids_of_the_others() {
    let mut node = Node::new();
    let publisher = node.publish("p", &only_audio(FFMPEG)).unwrap().session;
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let first = plan(&node.commands()[0]);
    assert_eq!(first.up.len(), 1);
    node.rooms.renegotiate(node.now, publisher, FFMPEG).unwrap();
    let commands = node.commands();
    let second = updated(&commands);
    assert_eq!(second.up.len(), 2);
    let audio = second.up.iter().find(|u| u.mid == first.up[0].mid).unwrap();
    assert_eq!(audio.track, first.up[0].track);
    let video = second.up.iter().find(|u| u.mid != first.up[0].mid).unwrap();
    assert_eq!(binding(&commands, SessionId(2), "1").unwrap().track, video.track);
    // The publisher gives the track up again.
    node.rooms.renegotiate(node.now, publisher, &only_audio(FFMPEG)).unwrap();
    let log = node.log();
    assert!(log.contains(&"bind 2/1 = -".to_owned()), "{log:?}");
    assert!(!log.iter().any(|l| l.contains("bind 2/0 = -")), "{log:?}");
}

/// An offer whose video section is given up (port 0).
fn only_audio(offer: &str) -> String {
    offer.replace("m=video 9", "m=video 0")
}

#[test]
fn new_credentials_of_the_peer_restart_ice_in_the_same_step() {
    let mut node = Node::new();
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let first = plan(&node.commands()[0]);
    let line = |prefix: &str| lines(CHROMIUM_WATCH, prefix)[0].to_owned();
    let offer = CHROMIUM_WATCH
        .replace(&line("a=ice-ufrag:"), "a=ice-ufrag:another")
        .replace(&line("a=ice-pwd:"), "a=ice-pwd:anotherpasswordofanotherday");
    let again = node.rooms.renegotiate(node.now, viewer.session, &offer).unwrap();
    assert!(again.restarts);
    let commands = node.commands();
    let Some(Command::Restart { ice, .. }) = commands.get(1) else { panic!("{commands:?}") };
    assert_eq!(ice.remote_ufrag, "another");
    assert_ne!(ice.local_ufrag, first.ice.local_ufrag);
    assert!(again.answer.contains(&format!("a=ice-ufrag:{}", ice.local_ufrag)));
}

#[test]
fn offers_that_cannot_follow_are_refused_and_change_nothing() {
    let mut node = Node::new();
    let viewer = node.watch(Target::any(), &slots("av")).unwrap().session;
    node.commands();
    let fingerprint = lines(CHROMIUM_WATCH, "a=fingerprint:")[0].to_owned();
    let other = "a=fingerprint:sha-256 01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01:01";
    let cases = [
        (slots("a"), "sections are given up with port 0"),
        (slots("va"), "keep their order, kind and mid"),
        (slots("av").replace(&fingerprint, other), "keeps its certificate"),
        (slots("av").replace("a=rtpmap:96 VP8", "a=rtpmap:96 AV1"), "keep their meaning"),
        (
            slots("av").replace(
                "a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
                "a=extmap:16 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            ),
            "ids of extensions keep their meaning",
        ),
    ];
    for (offer, why) in cases {
        let refused = node.rooms.renegotiate(node.now, viewer, &offer).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains(why), "{refused} is not: {why}");
        assert!(node.commands().is_empty());
    }
    node.rooms.renegotiate(node.now, viewer, &slots("av")).expect("the same again");
}

/// Sends the offer again with each change, and checks the text of the refusal.
fn refusals(first: &str, publishes: bool, cases: &[(&str, &str, &str)]) {
    let mut node = Node::new();
    let session = match publishes {
        true => node.publish("p", first),
        false => node.watch(Target::any(), first),
    };
    let session = session.unwrap().session;
    node.commands();
    for (from, to, why) in cases {
        assert!(first.contains(from), "no {from}");
        let refused = node.rooms.renegotiate(node.now, session, &first.replace(from, to));
        let Err(refused) = refused else { panic!("{to} is taken") };
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains(why), "{refused} is not: {why}");
        assert!(node.commands().is_empty());
    }
    // The unchanged offer is accepted.
    node.rooms.renegotiate(node.now, session, first).unwrap();
}

#[test]
fn payload_types_and_extension_ids_do_not_change_to_unserved_meanings() {
    refusals(
        FFMPEG,
        true,
        &[
            ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 telephone-event/48000", "111 was opus"),
            ("a=rtpmap:105 rtx/90000", "a=rtpmap:105 flexfec-03/90000", "105 was rtx of 106"),
            ("packetization-mode=1", "packetization-mode=0", "106 was H264"),
            ("profile-level-id=4d4028", "profile-level-id=640028", "106 was H264 Main"),
        ],
    );
    let apt = |pt: u8| format!("a=fmtp:97 apt={pt}");
    refusals(
        CHROMIUM_WATCH,
        false,
        &[
            (&apt(96), &apt(98), "97 was rtx of 96"),
            (
                "a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
                "a=extmap:14 urn:something:else",
                "ids of extensions keep their meaning",
            ),
        ],
    );
    // The level of a codec does not belong to its meaning, and may change.
    let mut node = Node::new();
    let session = node.publish("p", FFMPEG).unwrap().session;
    let level = FFMPEG.replace("profile-level-id=4d4028", "profile-level-id=4d4c1f");
    node.rooms.renegotiate(node.now, session, &level).unwrap();
}

#[test]
fn a_payload_type_that_was_given_up_is_not_used_for_something_else_later() {
    let mut node = Node::new();
    let session = node.publish("p", FFMPEG).unwrap().session;
    let other = |pt: u8, codec: &str| {
        let lines = FFMPEG.lines().filter(|l| !l.contains(":106 ") && !l.contains(":105 "));
        let text: String = lines.map(|line| format!("{line}\r\n")).collect();
        let map = format!("a=mid:1\r\na=rtpmap:{pt} {codec}/90000\r\n");
        text.replace("SAVPF 106 105", &format!("SAVPF {pt}")).replace("a=mid:1\r\n", &map)
    };
    node.rooms.renegotiate(node.now, session, &other(120, "VP8")).unwrap();
    let refused = node.rooms.renegotiate(node.now, session, &other(106, "VP9")).unwrap_err();
    assert!(refused.to_string().contains("payload type 106 was H264"), "{refused}");
}

#[test]
fn credentials_of_which_only_one_is_new_are_refused_and_restart_nothing() {
    let line = |prefix: &str| lines(CHROMIUM_WATCH, prefix)[0].to_owned();
    let (ufrag, pwd) = (line("a=ice-ufrag:"), line("a=ice-pwd:"));
    refusals(
        CHROMIUM_WATCH,
        false,
        &[
            (&ufrag, "a=ice-ufrag:another", "needs both to be new"),
            (&pwd, "a=ice-pwd:anotherpasswordofanotherday", "needs both to be new"),
        ],
    );
}

#[test]
fn a_mid_that_moves_to_another_section_is_another_slot() {
    let mut node = Node::new();
    node.publish("a", FFMPEG).unwrap();
    let viewer = node.watch(Target::any(), &slots("av")).unwrap();
    let first = plan(&node.commands()[1]);
    // The video section is given up, and a new section behind it has its mid.
    let given_up =
        section(&slots("av"), 1).replace("m=video 9", "m=video 0").replace("a=mid:1\r\n", "");
    let offer = slots("avv");
    let at = offer.find("m=video").unwrap();
    let last = section(&offer, 2).replace("a=mid:2", "a=mid:1");
    let offer = format!("{}{given_up}{last}", &offer[..at]).replace("BUNDLE 0 1 2", "BUNDLE 0 1");
    node.rooms.renegotiate(node.now, viewer.session, &offer).unwrap();
    let commands = node.commands();
    let second = updated(&commands);
    assert_eq!(second.down[1].mid, first.down[1].mid);
    assert_ne!(second.down[1].ssrc, first.down[1].ssrc);
    assert_eq!(second.down[0].ssrc, first.down[0].ssrc);
    assert!(binding(&commands, viewer.session, "1").is_some(), "the picture is bound anew");
}

#[test]
fn of_two_renegotiations_at_once_the_second_begins_anew() {
    let mut node = Node::new();
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    let id = room("r");
    let before = node.rooms.turn(&id, |room, _| room.agreement(viewer)).unwrap();
    let mut random = |buffer: &mut [u8]| buffer.fill(1);
    let (config, ids) = (node.rooms.config().clone(), sfumato_room::Ids::default());
    let mut negotiator = sfumato_room::Negotiator::new(&config, &ids, &mut random);
    let agreed = negotiator.answer_again(&before, CHROMIUM_WATCH).unwrap();
    node.rooms.renegotiate(node.now, viewer, CHROMIUM_WATCH).unwrap();
    let now = node.now;
    let late = node.rooms.turn(&id, |room, _| room.renegotiate(now, agreed, None)).unwrap_err();
    assert_eq!((late.kind(), late.status()), (ErrorKind::Conflict, 409));
}

#[test]
fn a_session_of_both_roles_publishes_and_watches_over_one_connection() {
    let mut node = Node::new();
    let entering = |name: &str| Entering {
        participant: Some(who(name)),
        identity: None,
        target: Target::any(),
        admission: None,
    };
    // Chromium sends its own camera and microphone, and receives in the same sections.
    let both = CHROMIUM_DATA.replace("a=sendonly", "a=sendrecv");
    let now = node.now;
    for name in ["ann", "bob"] {
        node.rooms.enter(now, &room("r"), entering(name), Roles::Both, &both).unwrap();
    }
    let commands = node.commands();
    let plans: Vec<_> =
        commands.iter().filter(|c| matches!(c, Command::Open(_))).map(plan).collect();
    let sections = |plan: &SessionPlan| -> (Vec<Mid>, Vec<Mid>) {
        (plan.up.iter().map(|u| u.mid).collect(), plan.down.iter().map(|d| d.mid).collect())
    };
    let (up, down) = sections(&plans[0]);
    assert!(!up.is_empty() && up == down, "one section carries both directions");
    // Each session is shown the other one and not itself.
    for (viewer, publisher) in [(1, 2), (2, 1)] {
        let bound = binding(&commands, SessionId(viewer), up[0].as_str()).unwrap();
        assert_eq!(bound.publisher, SessionId(publisher));
    }
}

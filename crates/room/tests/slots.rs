//! Which slots change when a publisher adds or pauses tracks: slots that show a live track stay.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::*;
use sfumato_room::Target;

/// An offer to send: each letter is a section, `a` audio, `v` video, a capital letter a paused one; mids count from 0.
fn sending(kinds: &str) -> String {
    let head = FFMPEG.split("m=").next().unwrap();
    let (audio, video) = (section(FFMPEG, 0), section(FFMPEG, 1));
    let mids: Vec<String> = (0..kinds.len()).map(|i| i.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    for (at, kind) in kinds.chars().enumerate() {
        let (text, mid) = match kind.eq_ignore_ascii_case(&'a') {
            true => (&audio, "a=mid:0"),
            false => (&video, "a=mid:1"),
        };
        let paused = kind.is_ascii_uppercase();
        let lines = text.lines().filter(|line| !line.starts_with("a=ssrc"));
        let text: String = lines.map(|line| format!("{line}\r\n")).collect();
        let text = text.replace(mid, &format!("a=mid:{at}"));
        offer.push_str(&if paused { text.replace("a=sendonly", "a=inactive") } else { text });
    }
    offer
}

fn shown(node: &Node) -> Vec<Option<u64>> {
    let viewers = node.rooms.viewers(&room("r")).unwrap();
    viewers[0].slots.iter().map(|slot| slot.track.map(|t| t.0)).collect()
}

#[test]
fn a_voice_that_adds_a_camera_moves_to_a_group_that_has_a_slot_for_it() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("ava")).unwrap();
    let ann = node.publish("ann", &sending("a")).unwrap().session;
    assert_eq!(shown(&node), [None, None, Some(1)], "a voice alone leaves the picture slot free");
    node.rooms.renegotiate(node.now, ann, &sending("av")).unwrap();
    assert_eq!(shown(&node), [Some(1), Some(2), None]);
}

#[test]
fn a_source_moves_up_when_a_better_group_becomes_free() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("ava")).unwrap();
    let ann = node.publish("ann", &sending("av")).unwrap().session;
    node.publish("bob", &sending("av")).unwrap();
    assert_eq!(shown(&node), [Some(1), Some(2), Some(3)]);
    node.rooms.close(node.now, ann).unwrap();
    assert_eq!(shown(&node), [Some(3), Some(4), None]);
}

#[test]
fn a_voice_that_adds_a_camera_where_its_group_has_a_slot_keeps_its_sound_as_it_is() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("avav")).unwrap();
    let ann = node.publish("ann", &sending("a")).unwrap().session;
    node.log();
    node.rooms.renegotiate(node.now, ann, &sending("av")).unwrap();
    assert_eq!(node.log(), ["update 2", "bind 1/1 = 2"]);
}

#[test]
fn a_second_picture_stays_in_its_slot_when_the_first_one_pauses() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("avv")).unwrap();
    let ann = node.publish("ann", &sending("avv")).unwrap().session;
    assert_eq!(shown(&node), [Some(1), Some(2), Some(3)]);
    node.log();
    node.rooms.renegotiate(node.now, ann, &sending("aVv")).unwrap();
    assert_eq!(node.log(), ["update 2", "bind 1/1 = -"]);
    // When the paused track sends again, it gets its old slot.
    node.rooms.renegotiate(node.now, ann, &sending("avv")).unwrap();
    assert_eq!(node.log(), ["update 2", "bind 1/1 = 4"]);
    assert_eq!(shown(&node), [Some(1), Some(4), Some(3)]);
}

#[test]
fn a_second_picture_that_had_no_slot_takes_that_of_the_first_one_when_it_pauses() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("av")).unwrap();
    let ann = node.publish("ann", &sending("avv")).unwrap().session;
    assert_eq!(shown(&node), [Some(1), Some(2)]);
    node.log();
    node.rooms.renegotiate(node.now, ann, &sending("aVv")).unwrap();
    assert_eq!(node.log(), ["update 2", "bind 1/1 = 3"]);
}

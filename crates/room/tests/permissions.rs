//! Permissions that change while a member is in the room, and muted tracks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::*;
use model::{Permissions, SessionId, Sources, TrackId, TrackSource};
use sfumato_room::{AdminCommand, EndReason, ErrorKind, MemberCommand, Notice, Target};

fn sound() -> Permissions {
    let publish = Sources::NONE.with(TrackSource::Microphone);
    Permissions { publish, ..Permissions::ALL }
}

/// Ann and bob in a room, and a viewer over WHEP.
fn two_and_a_viewer() -> (Node, [SessionId; 3]) {
    let mut node = Node::new();
    let (ann, bob) = (node.meet("ann"), node.meet("bob"));
    let viewer = node.watch(Target::any(), &slots("avav")).unwrap().session;
    node.notices();
    (node, [ann, bob, viewer])
}

fn permit(node: &mut Node, who_: &str, permissions: Permissions) {
    node.administer(AdminCommand::ChangePermissions(who(who_), permissions)).unwrap();
}

fn mute(node: &mut Node, session: SessionId, track: TrackId, muted: bool) {
    let command = MemberCommand::UpdateTrack { track, muted: Some(muted), name: None };
    node.command(session, command).unwrap();
}

#[test]
fn a_source_that_may_not_be_published_any_more_flows_to_nobody_until_it_may_again() {
    let (mut node, [ann, bob, viewer]) = two_and_a_viewer();
    let [voice, picture] = node.tracks_of("ann")[..] else { panic!("two tracks") };
    assert!(node.shown_to(bob).contains(&picture) && node.shown_to(viewer).contains(&picture));
    permit(&mut node, "ann", sound());
    assert_eq!(node.told(), [Notice::Permissions { session: ann, permissions: sound() }]);
    for session in [bob, viewer] {
        let shown = node.shown_to(session);
        assert!(!shown.contains(&picture) && shown.contains(&voice), "{session}: {shown:?}");
    }
    let forbidden = |node: &Node| -> Vec<bool> {
        node.record("ann").tracks.iter().map(|track| track.forbidden).collect()
    };
    assert_eq!(forbidden(&node), [false, true]);
    // Its client may offer again for other reasons; the track stays forbidden.
    node.rooms.renegotiate(node.now, ann, &meeting("av", "aavv")).unwrap();
    assert_eq!(forbidden(&node), [false, true]);
    assert!(!node.shown_to(bob).contains(&picture));
    permit(&mut node, "ann", Permissions::ALL);
    assert!(node.shown_to(bob).contains(&picture) && node.shown_to(viewer).contains(&picture));
    node.told();
    permit(&mut node, "ann", Permissions::ALL);
    assert!(node.told().is_empty(), "nothing changed");
}

#[test]
fn who_may_not_subscribe_gets_nothing() {
    let (mut node, [_, bob, _]) = two_and_a_viewer();
    assert_eq!(node.shown_to(bob), node.tracks_of("ann"));
    permit(&mut node, "bob", Permissions { subscribe: false, ..Permissions::ALL });
    assert!(node.shown_to(bob).is_empty());
    node.meet("cem");
    assert!(node.shown_to(bob).is_empty(), "not from later members either");
    let refused = node.command(bob, MemberCommand::Subscribe(Default::default())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    permit(&mut node, "bob", Permissions::ALL);
    let others = [node.tracks_of("ann"), node.tracks_of("cem")].concat();
    assert_eq!(node.shown_to(bob), others);
}

#[test]
fn a_member_that_becomes_hidden_is_seen_and_heard_by_itself_alone() {
    let (mut node, [ann, bob, viewer]) = two_and_a_viewer();
    permit(&mut node, "ann", Permissions { hidden: true, ..Permissions::ALL });
    let seen = |node: &Node, session| -> Vec<String> {
        node.snapshot(session).members.iter().map(|record| record.id.to_string()).collect()
    };
    assert_eq!(seen(&node, bob), ["bob"]);
    assert_eq!(seen(&node, ann), ["ann", "bob"]);
    assert!(node.shown_to(bob).is_empty());
    assert_eq!(node.shown_to(viewer), node.tracks_of("bob"));
    assert_eq!(node.shown_to(ann), node.tracks_of("bob"), "it goes on to see the others");
    permit(&mut node, "ann", Permissions::ALL);
    assert_eq!(seen(&node, bob), ["ann", "bob"]);
    assert_eq!(node.shown_to(bob), node.tracks_of("ann"));
}

#[test]
fn a_muted_track_flows_to_nobody_whoever_muted_it() {
    let (mut node, [ann, bob, viewer]) = two_and_a_viewer();
    let voice = node.tracks_of("ann")[0];
    mute(&mut node, ann, voice, true);
    assert!(!node.shown_to(bob).contains(&voice) && !node.shown_to(viewer).contains(&voice));
    assert!(node.told().is_empty(), "the member knows what it did; the others see the record");
    mute(&mut node, ann, voice, false);
    assert!(node.shown_to(bob).contains(&voice) && node.shown_to(viewer).contains(&voice));
    let by_admin = |muted| AdminCommand::Mute { member: who("ann"), track: voice, muted };
    node.administer(by_admin(true)).unwrap();
    assert_eq!(node.told(), [Notice::Muted { session: ann, track: voice, muted: true }]);
    assert!(!node.shown_to(bob).contains(&voice) && node.record("ann").tracks[0].muted);
    mute(&mut node, ann, voice, false);
    assert!(node.shown_to(bob).contains(&voice), "the member may unmute itself");
    // A track of another member, and one that is not there.
    for track in [node.tracks_of("bob")[0], TrackId(999)] {
        let command = MemberCommand::UpdateTrack { track, muted: Some(true), name: None };
        assert_eq!(node.command(ann, command).unwrap_err().kind(), ErrorKind::NotFound);
        let command = AdminCommand::Mute { member: who("ann"), track, muted: true };
        assert_eq!(node.administer(command).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_refreshed_token_changes_what_its_own_session_may_do() {
    let (mut node, [ann, _, viewer]) = two_and_a_viewer();
    let now = node.now;
    let change = |node: &mut Node, session| {
        node.rooms.turn(&room("r"), |room, _| room.change_permissions_of(now, session, sound()))
    };
    change(&mut node, ann).unwrap();
    assert_eq!(node.snapshot(ann).permissions, sound());
    assert_eq!(node.told(), [Notice::Permissions { session: ann, permissions: sound() }]);
    assert!(node.record("ann").tracks[1].forbidden);
    // An administrator's word counts for more than the next token.
    permit(&mut node, "ann", Permissions::ALL);
    change(&mut node, ann).unwrap();
    assert_eq!(node.snapshot(ann).permissions, Permissions::ALL);
    assert_eq!(change(&mut node, viewer).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn new_permissions_hold_for_the_session_that_is_about_to_take_over() {
    let (mut node, [old, bob, _]) = two_and_a_viewer();
    let new = node.join("ann", Default::default(), &meeting("av", "aavv")).unwrap();
    permit(&mut node, "ann", sound());
    node.event(model::Event::Connected { session: new });
    let record = node.record("ann");
    assert_eq!((record.session, record.tracks[1].forbidden), (new, true));
    assert!(!node.shown_to(bob).contains(&record.tracks[1].id));
    assert!(!node.rooms.contains(old));
    // A track of a session that is not connected yet can be muted, too.
    let third = node.join("ann", Default::default(), &meeting("a", "a")).unwrap();
    let voice = TrackId(record.tracks[1].id.0 + 1);
    mute(&mut node, third, voice, true);
    node.event(model::Event::Connected { session: third });
    assert!(node.record("ann").tracks[0].muted);
}

#[test]
fn a_removed_member_leaves_at_once_with_the_session_that_was_to_follow() {
    let (mut node, [ann, bob, _]) = two_and_a_viewer();
    let next = node.join("ann", Default::default(), &meeting("av", "a")).unwrap();
    node.administer(AdminCommand::Remove(who("ann"))).unwrap();
    let closed = |session| Notice::SessionClosed { session, reason: EndReason::Removed };
    assert_eq!(node.told(), [closed(next), closed(ann)]);
    assert_eq!(node.records().len(), 1);
    assert!(node.shown_to(bob).is_empty());
    let again = node.administer(AdminCommand::Remove(who("ann"))).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
}

#[test]
fn permissions_of_a_whip_publisher_can_be_taken_away() {
    let (mut node, [_, bob, viewer]) = two_and_a_viewer();
    node.publish("cam", FFMPEG).unwrap();
    let [_, picture] = node.tracks_of("cam")[..] else { panic!("two tracks") };
    assert!(node.shown_to(bob).contains(&picture) && node.shown_to(viewer).len() == 4);
    permit(&mut node, "cam", sound());
    assert!(!node.shown_to(bob).contains(&picture));
    assert!(node.record("cam").tracks[1].forbidden);
}

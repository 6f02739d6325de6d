//! Who stays in a room: members whose connection is lost, members that come back, empty rooms, rooms that end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use model::{CloseReason, Event, NodeId, Presence, SessionId};
use sfumato_room::{
    AdminCommand, Admission, EndReason, ErrorKind, Notice, RecordChange, Room, RoomSettings,
    SettingsChange, Target,
};

const SECOND: Duration = Duration::from_secs(1);

impl Node {
    fn lose(&mut self, session: SessionId, reason: CloseReason) {
        self.event(Event::Closed { session, reason });
    }

    fn names(&self) -> Vec<String> {
        self.records().iter().map(|record| record.id.to_string()).collect()
    }

    /// Changes of ann's record in short: `ann 1 connected`, `ann 1 gone`, `ann 1 replaced`.
    fn changes(&mut self) -> Vec<String> {
        let all = |room: &mut Room| std::iter::from_fn(|| room.poll_record()).collect();
        let changes: Vec<RecordChange> = self.rooms.turn(&room("r"), |room, _| all(room));
        let short = |change: &RecordChange| match change {
            RecordChange::Put(r) => format!("{} {} {}", r.id, r.session, r.presence().as_str()),
            RecordChange::Gone { id, session, replaced: true, .. } => {
                format!("{id} {session} replaced")
            }
            RecordChange::Gone { id, session, .. } => format!("{id} {session} gone"),
        };
        changes.iter().map(short).filter(|change| change.starts_with("ann")).collect()
    }

    fn change_room(&mut self, change: SettingsChange) {
        self.administer(AdminCommand::ChangeRoom(change)).unwrap();
    }

    fn exists(&self) -> bool {
        self.rooms.get(&room("r")).is_some()
    }
}

#[test]
fn a_member_is_marked_while_nothing_comes_from_it() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let bob = node.meet("bob");
    node.changes();
    node.event(Event::Lost { session: ann });
    assert_eq!(node.record("ann").presence(), Presence::Lost);
    assert_eq!(node.shown_to(bob), node.tracks_of("ann"), "its session goes on");
    node.event(Event::Back { session: ann });
    assert_eq!(node.changes(), ["ann 1 connected"]);
}

#[test]
fn a_session_that_breaks_off_leaves_its_member_in_the_room_for_a_time() {
    for reason in [CloseReason::ConsentExpired, CloseReason::DtlsFailed, CloseReason::Internal] {
        let mut node = Node::new();
        let (ann, bob) = (node.meet("ann"), node.meet("bob"));
        node.changes();
        node.lose(ann, reason);
        let closed = Notice::SessionClosed { session: ann, reason: EndReason::Transport(reason) };
        assert_eq!(node.told(), [closed]);
        let record = node.record("ann");
        assert_eq!((record.presence(), record.tracks.len()), (Presence::Lost, 0));
        assert!(node.shown_to(bob).is_empty());
        node.wait(Duration::from_millis(29_999));
        assert_eq!(node.names(), ["ann", "bob"]);
        assert_eq!(node.changes(), ["ann 1 lost"]);
        node.wait(Duration::from_millis(1));
        assert_eq!((node.names(), node.changes()), (vec!["bob".into()], vec!["ann 1 gone".into()]));
        assert_eq!(node.rooms.poll_timeout(), None);
    }
}

#[test]
fn who_says_goodbye_or_publishes_over_whip_is_gone_at_once() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    node.lose(ann, CloseReason::PeerClosed);
    assert!(!node.exists());
    let ann = node.meet("ann");
    node.rooms.close(node.now, ann).unwrap();
    assert!(!node.exists());
    let cam = node.publish("cam", FFMPEG).unwrap().session;
    node.event(Event::Connected { session: cam });
    node.lose(cam, CloseReason::ConsentExpired);
    assert!(!node.exists());
    // A session that was never connected was never seen, so nobody waits for it.
    let ann = node.join("ann", Admission::default(), &slots("a")).unwrap();
    node.lose(ann, CloseReason::DtlsFailed);
    assert!(!node.exists());
}

/// A member that is only announced holds its name and its place for 15 s, whatever the room's `lost_timeout`.
#[test]
fn a_member_that_never_connects_is_gone_after_fifteen_seconds() {
    let mut node = Node::new();
    node.meet("bob");
    let ann = node.join("ann", Admission::default(), &slots("a")).unwrap();
    node.changes();
    node.wait(14 * SECOND);
    assert!(node.rooms.contains(ann) && node.changes().is_empty());
    node.wait(SECOND);
    assert!(!node.rooms.contains(ann));
    assert_eq!(node.changes(), [format!("ann {ann} gone")]);
}

#[test]
fn a_lost_member_that_comes_back_is_the_same_member_at_the_same_place() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let bob = node.meet("bob");
    node.lose(ann, CloseReason::ConsentExpired);
    node.changes();
    node.wait(20 * SECOND);
    let back = node.meet("ann");
    assert_eq!(node.names(), ["ann", "bob"]);
    assert_eq!(node.changes(), [format!("ann {ann} replaced"), format!("ann {back} connected"),]);
    assert_eq!(node.shown_to(bob), node.tracks_of("ann"));
    node.wait(60 * SECOND);
    assert_eq!(node.names(), ["ann", "bob"]);
}

#[test]
fn an_attempt_to_come_back_that_fails_leaves_the_rest_of_the_time() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    node.meet("bob");
    node.lose(ann, CloseReason::ConsentExpired);
    let join = |node: &mut Node| node.join("ann", Admission::default(), &slots("a")).unwrap();
    let first = join(&mut node);
    assert_eq!(node.record("ann").presence(), Presence::Connecting);
    // The second attempt replaces the first one, which nobody waits for any more.
    let second = join(&mut node);
    assert!(!node.rooms.contains(first));
    node.wait(15 * SECOND);
    assert!(!node.rooms.contains(second));
    assert_eq!(node.record("ann").presence(), Presence::Lost);
    node.wait(14 * SECOND);
    assert_eq!(node.names(), ["ann", "bob"]);
    node.wait(SECOND);
    assert_eq!(node.names(), ["bob"]);
}

#[test]
fn a_lost_member_can_be_renamed_and_removed_and_holds_its_place_among_the_members() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    node.meet("bob");
    node.change_room(SettingsChange { members_max: Some(2), ..SettingsChange::default() });
    node.lose(ann, CloseReason::ConsentExpired);
    let full = node.join("cem", Admission::default(), &slots("a")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    let all = model::Permissions::ALL;
    let refused = node.administer(AdminCommand::ChangePermissions(who("ann"), all)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    node.administer(AdminCommand::Remove(who("ann"))).unwrap();
    assert_eq!(node.names(), ["bob"]);
    node.join("cem", Admission::default(), &slots("a")).unwrap();
}

#[test]
fn the_newer_session_wins_or_is_refused_while_the_older_one_is_connected() {
    let mut node = Node::new();
    let old = node.meet("ann");
    let new = node.meet("ann");
    let replaced = Notice::SessionClosed { session: old, reason: EndReason::Replaced };
    assert_eq!(node.told(), [replaced]);
    node.change_room(SettingsChange { newer_wins: Some(false), ..SettingsChange::default() });
    let join = |node: &mut Node| node.join("ann", Admission::default(), &slots("a"));
    let refused = join(&mut node).unwrap_err();
    assert_eq!((refused.kind(), node.names().len()), (ErrorKind::Conflict, 1));
    node.event(Event::Lost { session: new });
    let third = join(&mut node).unwrap();
    node.event(Event::Connected { session: third });
    assert!(!node.rooms.contains(new));
    node.lose(third, CloseReason::ConsentExpired);
    let fourth = join(&mut node).unwrap();
    // One that is not connected yet is given up for a newer one.
    join(&mut node).unwrap();
    assert!(!node.rooms.contains(fourth));
}

#[test]
fn an_empty_room_stays_for_its_empty_timeout() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let timeout = Some(10 * SECOND);
    node.change_room(SettingsChange { empty_timeout: timeout, ..SettingsChange::default() });
    node.rooms.close(node.now, ann).unwrap();
    node.wait(9 * SECOND);
    assert!(node.exists());
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    node.event(Event::Connected { session: viewer });
    node.wait(60 * SECOND);
    assert!(node.exists(), "a viewer is in it");
    node.rooms.close(node.now, viewer).unwrap();
    assert_eq!(node.rooms.poll_timeout(), Some(node.now + 10 * SECOND));
    node.wait(10 * SECOND);
    assert!(!node.exists());
}

#[test]
fn a_room_of_lost_members_is_not_empty_and_then_waits_its_time() {
    let mut node = Node::new();
    let ann = node.meet("ann");
    let timeout = Some(5 * SECOND);
    node.change_room(SettingsChange { empty_timeout: timeout, ..SettingsChange::default() });
    node.lose(ann, CloseReason::ConsentExpired);
    node.wait(30 * SECOND);
    assert!(node.exists() && node.names().is_empty());
    node.wait(5 * SECOND);
    assert!(!node.exists());
}

#[test]
fn a_created_room_waits_for_its_first_session() {
    let node = Node::new();
    for (timeout, waits) in [(0, 60), (300, 300)] {
        let settings = RoomSettings { empty_timeout: timeout * SECOND, ..RoomSettings::default() };
        let made = Room::with_settings(room("r"), NodeId(1), 1, Arc::new(settings));
        assert!(made.is_empty());
        let mut made = made.waiting(node.now);
        assert!(!made.is_empty());
        assert_eq!(made.poll_timeout(), Some(node.now + waits * SECOND));
        made.handle_timeout(node.now + waits * SECOND);
        assert!(made.is_empty());
    }
}

#[test]
fn a_room_ends_with_its_lifetime() {
    let mut node = Node::new();
    let (ann, bob) = (node.meet("ann"), node.meet("bob"));
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    node.event(Event::Connected { session: viewer });
    node.wait(5 * SECOND);
    let lifetime = Some(Some(60 * SECOND));
    node.change_room(SettingsChange {
        lifetime,
        empty_timeout: Some(60 * SECOND),
        ..SettingsChange::default()
    });
    node.lose(bob, CloseReason::ConsentExpired);
    node.told();
    node.wait(54 * SECOND);
    assert!(node.exists());
    node.meet("bob");
    node.lose(SessionId(4), CloseReason::ConsentExpired);
    node.told();
    node.wait(SECOND);
    let closed = |session| Notice::SessionClosed { session, reason: EndReason::RoomClosed };
    assert_eq!(node.told(), [closed(ann), closed(viewer)]);
    assert!(!node.exists(), "neither lost members nor the empty timeout keep it");
    assert_eq!(node.log().iter().filter(|line| line.starts_with("close")).count(), 4);
}

#[test]
fn an_administrator_closes_the_room_but_an_in_process_publisher_stays() {
    let mut node = Node::new();
    let codec = model::CodecSpec {
        pt: model::Pt(96),
        rtx_pt: None,
        codec: model::Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        fmtp: String::new(),
        feedback: Default::default(),
        parameter_sets: None,
    };
    let media = sfumato_room::LocalMedia {
        kind: model::MediaKind::Video,
        codecs: vec![codec],
        rids: Vec::new(),
    };
    node.rooms.publish_local(&room("r"), &who("card"), vec![media]).unwrap();
    node.meet("ann");
    let next = node.join("ann", Admission::default(), &slots("a")).unwrap();
    node.administer(AdminCommand::Close).unwrap();
    assert_eq!(node.names(), ["card"]);
    assert!(!node.rooms.contains(next));
    let refused = node.administer(AdminCommand::Remove(who("card"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

#[test]
fn the_end_of_a_session_tells_why() {
    let mut node = Node::new();
    let (ann, now) = (node.meet("ann"), node.now);
    let end = |node: &mut Node| {
        let expired = EndReason::Expired;
        node.rooms.turn(&room("r"), |room, _| room.end_session(now, ann, expired))
    };
    end(&mut node).unwrap();
    assert_eq!(node.told(), [Notice::SessionClosed { session: ann, reason: EndReason::Expired }]);
    assert_eq!(end(&mut node).unwrap_err().kind(), ErrorKind::NotFound);
}

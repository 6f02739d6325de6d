//! What the members of a room share, and later the nodes of a cluster: records, revisions, payload type tables,
//! policies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use common::*;
use model::{Binding, Command, NodeId, SessionId, TrackId};
use sfumato_room::{
    BySpeaker, ErrorKind, ParticipantRecord, Pinned, RecordChange, Room, SlotInfo, SlotPolicy,
    Target,
};

fn records(node: &mut Node) -> Vec<RecordChange> {
    let all = |room: &mut Room| std::iter::from_fn(|| room.poll_record()).collect();
    node.rooms.turn(&room("r"), |room, _| all(room))
}

fn put(change: &RecordChange) -> &Arc<ParticipantRecord> {
    match change {
        RecordChange::Put(record) => record,
        gone => panic!("{gone:?}"),
    }
}

#[test]
fn a_participant_is_one_record_whose_version_rises_with_each_change() {
    let mut node = Node::new();
    let session = node.publish("ann", FFMPEG).unwrap().session;
    let told = records(&mut node);
    let first = put(&told[0]).clone();
    assert_eq!((first.id.as_str(), first.author, first.connected), ("ann", NodeId(1), false));
    assert_eq!(first.tracks.len(), 2);
    let (now, track) = (node.now, first.tracks[0].id);
    node.rooms.handle_event(now, model::Event::Connected { session });
    node.rooms.handle_event(now, model::Event::TrackActive { session, track });
    let told = records(&mut node);
    assert_eq!(told.len(), 1, "the newest state, once");
    let second = put(&told[0]);
    assert!(second.connected && second.tracks[0].active && second.version > first.version);
    // An event that changes nothing makes no new version.
    node.rooms.handle_event(now, model::Event::Connected { session });
    assert!(records(&mut node).is_empty());
}

/// A record of bob on another node, with the tracks of one of this node.
fn foreign(of: &ParticipantRecord, version: u64) -> RecordChange {
    let mut record = of.clone();
    record.id = who("bob");
    (record.author, record.epoch, record.version) = (NodeId(2), 5, version);
    record.session = SessionId(77);
    for (at, track) in record.tracks.iter_mut().enumerate() {
        track.id = TrackId(700 + at as u64);
    }
    RecordChange::Put(record.into())
}

#[test]
fn viewers_see_participants_of_other_nodes_by_their_records_alone() {
    let mut node = Node::new();
    let id = room("r");
    node.publish("ann", FFMPEG).unwrap();
    let ann = records(&mut node);
    let ann = put(&ann[0]).clone();
    node.watch(Target::any(), &slots("avav")).unwrap();
    node.commands();
    node.rooms.turn(&id, |room, _| room.apply_record(foreign(&ann, 3))).unwrap();
    let bound = binding(&node.commands(), SessionId(2), "2").unwrap();
    assert_eq!((bound.publisher, bound.track), (SessionId(77), TrackId(700)));
    for stale in [foreign(&ann, 3), foreign(&ann, 2)] {
        let refused = node.rooms.turn(&id, |room, _| room.apply_record(stale)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    let own = RecordChange::Put(ann.clone());
    assert!(
        node.rooms.turn(&id, |room, _| room.apply_record(own)).is_err(),
        "a record of this node is changed only here"
    );
    let gone = RecordChange::Gone {
        id: who("bob"),
        session: SessionId(77),
        hidden: false,
        replaced: false,
        author: NodeId(2),
        epoch: 5,
        version: 4,
    };
    node.rooms.turn(&id, |room, _| room.apply_record(gone)).unwrap();
    assert_eq!(node.log(), ["bind 2/2 = -", "bind 2/3 = -"]);
    let late = node.rooms.turn(&id, |room, _| room.apply_record(foreign(&ann, 3)));
    assert!(late.is_err(), "a late copy does not bring it back");
    assert!(records(&mut node).is_empty(), "this node tells nothing of it");
}

#[test]
fn a_record_is_changed_by_its_author_alone() {
    let mut node = Node::new();
    let id = room("r");
    node.publish("ann", FFMPEG).unwrap();
    let ann = put(&records(&mut node)[0]).clone();
    node.rooms.turn(&id, |room, _| room.apply_record(foreign(&ann, 3))).unwrap();
    let RecordChange::Put(bob) = foreign(&ann, 3) else { panic!("not a record") };
    let from = |author: u64, session: u64, name: &str| {
        let (mut record, id) = (ParticipantRecord::clone(&bob), who(name));
        (record.author, record.session, record.id) = (NodeId(author), SessionId(session), id);
        (record.epoch, record.version) = (9, 9);
        RecordChange::Put(record.into())
    };
    let gone = RecordChange::Gone {
        id: who("bob"),
        session: SessionId(77),
        hidden: false,
        replaced: false,
        author: NodeId(3),
        epoch: 9,
        version: 9,
    };
    // The session of another author; its participant; a participant of this node; the end of another's session.
    for change in [from(3, 77, "cem"), from(3, 78, "bob"), from(2, 79, "ann"), gone] {
        let refused = node.rooms.turn(&id, |room, _| room.apply_record(change)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    }
    let names = |node: &Node| -> Vec<(String, NodeId)> {
        let records = node.rooms.get(&id).unwrap().records();
        records.iter().map(|r| (r.id.to_string(), r.author)).collect()
    };
    assert_eq!(names(&node), [("ann".to_owned(), NodeId(1)), ("bob".to_owned(), NodeId(2))]);
    node.rooms.turn(&id, |room, _| room.apply_record(from(2, 77, "bob"))).unwrap();
    assert_eq!(names(&node).len(), 2);
}

#[test]
fn viewers_with_the_same_codecs_share_one_table_of_payload_types() {
    let mut node = Node::new();
    node.publish("ann", FFMPEG).unwrap();
    for _ in 0..3 {
        node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    }
    let commands = node.commands();
    let tables: Vec<Binding> =
        (2..5).map(|viewer| binding(&commands, SessionId(viewer), "1").unwrap()).collect();
    assert!(tables.windows(2).all(|w| Arc::ptr_eq(&w[0].payload_types, &w[1].payload_types)));
}

#[test]
fn a_publisher_reaches_many_viewers_a_few_at_a_time_and_each_once() {
    let mut node = Node::new();
    for _ in 0..300 {
        node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    }
    node.commands();
    // The helper's turn would finish the round; here it runs a slice at a time.
    let agreed = node.rooms.negotiated(sfumato_room::Roles::FromPeer, FFMPEG);
    let (mut slices, now) = (Vec::new(), node.now);
    node.rooms.turn(&room("r"), |room, config| {
        let entering = sfumato_room::Entering {
            participant: Some(who("ann")),
            identity: None,
            target: Target::any(),
            admission: None,
        };
        room.enter(now, config, entering, agreed).unwrap();
        let drain = |room: &mut Room| {
            let all = std::iter::from_fn(|| room.poll_command());
            all.filter(|c| matches!(c, Command::Bind { .. })).map(|c| c.session()).collect()
        };
        let mut slice: Vec<SessionId> = drain(room);
        while !slice.is_empty() {
            slices.push(slice);
            room.work(100);
            slice = drain(room);
        }
    });
    assert!(slices.iter().all(|s| s.len() <= 100) && slices.len() >= 3, "{}", slices.len());
    let mut all: Vec<SessionId> = slices.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), slices.concat().len()), (300, 300));
}

#[test]
fn a_session_ends_only_when_its_viewers_were_moved_on() {
    let mut node = Node::new();
    node.publish("ann", FFMPEG).unwrap();
    for _ in 0..200 {
        node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    }
    node.commands();
    node.publish("ann", FFMPEG).unwrap();
    let commands = node.commands();
    assert_eq!(commands.iter().filter(|c| matches!(c, Command::Bind { .. })).count(), 200);
    assert!(matches!(commands.last(), Some(Command::Close { session: SessionId(1) })));
}

/// Which session each group of a viewer shows.
fn shown(node: &Node, tracks_of: &[(u64, [u64; 2])]) -> Vec<u64> {
    let viewers = node.rooms.viewers(&room("r")).unwrap();
    let slots: &[SlotInfo] = &viewers[0].slots;
    let who = |slot: &SlotInfo| {
        let track = slot.track?.0;
        tracks_of.iter().find(|(_, tracks)| tracks.contains(&track)).map(|(who, _)| *who)
    };
    slots.iter().step_by(2).map(|slot| who(slot).unwrap_or(0)).collect()
}

#[test]
fn policies_decide_which_publishers_get_the_slots() {
    // Four publishers, two groups of slots. Each line: a policy, and the sessions that the groups then show.
    let pinned = |names: &[&str]| -> Box<dyn SlotPolicy> {
        Box::new(Pinned(names.iter().map(|n| who(n)).collect()))
    };
    let speakers = |names: &[&str]| -> Box<dyn SlotPolicy> {
        Box::new(BySpeaker(names.iter().map(|n| who(n)).collect()))
    };
    let mut node = Node::new();
    for name in ["a", "b", "c", "d"] {
        node.publish(name, FFMPEG).unwrap();
    }
    let tracks: Vec<(u64, [u64; 2])> = (1..=4).map(|n| (n, [2 * n - 1, 2 * n])).collect();
    let viewer = node.watch(Target::any(), &slots("avav")).unwrap().session;
    assert_eq!(shown(&node, &tracks), [1, 2], "by arrival");
    let steps: [(Box<dyn SlotPolicy>, [u64; 2]); 6] = [
        (pinned(&["c"]), [1, 3]),
        (pinned(&["d", "b"]), [4, 2]),
        (speakers(&["d", "c"]), [4, 3]),
        (speakers(&["c", "d"]), [4, 3]),
        (speakers(&["a", "c", "d"]), [1, 3]),
        (speakers(&["nobody"]), [1, 3]),
    ];
    for (at, (policy, expected)) in steps.into_iter().enumerate() {
        node.rooms.turn(&room("r"), |room, _| room.set_policy(viewer, policy)).unwrap();
        let mut now = shown(&node, &tracks);
        let mut expected = expected.to_vec();
        now.sort_unstable();
        expected.sort_unstable();
        assert_eq!(now, expected, "step {at}");
    }
}

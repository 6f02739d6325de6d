//! Publishers that come back, under another name or the same one, and sources that fall silent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::*;
use model::{CloseReason, Event, SessionId, TrackId};
use sfumato_room::{EndReason, Entering, Notice, Pinned, Roles, Target};

impl Node {
    fn connect(&mut self, session: SessionId) {
        self.rooms.handle_event(self.now, Event::Connected { session });
    }

    /// All tracks of the publisher begin to send, or fall silent.
    fn media(&mut self, session: SessionId, active: bool) {
        let participants = self.rooms.participants(&room("r")).unwrap();
        let tracks: Vec<TrackId> = participants
            .iter()
            .filter(|p| p.session == session)
            .flat_map(|p| p.tracks.iter().map(|t| t.id))
            .collect();
        for track in tracks {
            let event = match active {
                true => Event::TrackActive { session, track },
                false => Event::TrackSilent { session, track },
            };
            self.rooms.handle_event(self.now, event);
        }
        self.now += Duration::from_secs(1);
        self.rooms.handle_timeout(self.now);
    }

    /// A publisher that is connected and sends.
    fn live(&mut self, name: &str) -> SessionId {
        let session = self.publish(name, FFMPEG).unwrap().session;
        self.connect(session);
        self.media(session, true);
        session
    }

    /// The track that each slot of the only viewer shows. Each session has two tracks, numbered on, so the track tells
    /// the session.
    fn shown(&self) -> Vec<Option<u64>> {
        let viewers = self.rooms.viewers(&room("r")).unwrap();
        viewers[0].slots.iter().map(|slot| slot.track.map(|t| t.0)).collect()
    }
}

#[test]
fn a_silent_source_gives_its_slots_to_a_live_one_that_waits() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let dead = node.live("guest-1");
    assert_eq!(node.shown(), [Some(1), Some(2)]);
    // The encoder comes back under another name before its dead session is noticed.
    let back = node.live("guest-2");
    assert_eq!(node.shown(), [Some(1), Some(2)]);
    node.log();
    node.media(dead, false);
    assert_eq!(node.shown(), [Some(3), Some(4)]);
    assert_eq!(node.log(), ["bind 1/0 = 3", "bind 1/1 = 4"], "one bind for each slot");
    // When the dead session sends again, it waits like any late publisher.
    node.media(dead, true);
    assert_eq!(node.shown(), [Some(3), Some(4)]);
    node.media(back, false);
    assert_eq!(node.shown(), [Some(1), Some(2)]);
}

#[test]
fn a_live_source_takes_the_slots_of_one_that_sends_nothing_for_three_seconds() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let late = node.publish("late", FFMPEG).unwrap().session;
    node.live("ann");
    // Publishers that start together keep their order of arrival, whichever sends first.
    assert_eq!(node.shown(), [Some(1), Some(2)]);
    node.now += Duration::from_millis(1_500);
    node.connect(late);
    node.now += Duration::from_millis(2_999);
    node.rooms.handle_timeout(node.now);
    assert_eq!(node.shown(), [Some(1), Some(2)], "it is connected and may begin yet");
    node.now += Duration::from_millis(1);
    node.rooms.handle_timeout(node.now);
    assert_eq!(node.shown(), [Some(3), Some(4)]);
}

#[test]
fn a_returning_publisher_gets_the_picture_slot_that_the_silent_one_has() {
    let mut node = Node::new();
    node.watch(Target::any(), &slots("ava")).unwrap();
    let dead = node.live("guest-1");
    node.live("guest-2");
    assert_eq!(node.shown(), [Some(1), Some(2), Some(3)], "the sound has a free slot");
    node.media(dead, false);
    assert_eq!(node.shown(), [Some(3), Some(4), Some(1)]);
}

#[test]
fn silence_changes_no_slot_when_no_source_waits() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let ann = node.live("ann");
    node.log();
    node.media(ann, false);
    node.media(ann, true);
    assert!(node.log().is_empty());
}

#[test]
fn sessions_without_slots_wait_for_nothing_so_silence_begins_no_round() {
    let mut node = Node::new();
    // A member that may receive, but has no section for it.
    let ann = Entering {
        participant: Some(who("ann")),
        identity: None,
        target: Target::any(),
        admission: None,
    };
    let ann = node.rooms.enter(node.now, &room("r"), ann, Roles::Both, FFMPEG).unwrap().session;
    node.connect(ann);
    node.media(ann, true);
    node.live("bob");
    // Past the time for which a new publisher counts as live.
    node.now += Duration::from_secs(5);
    node.rooms.handle_timeout(node.now);
    let due = |node: &Node| node.rooms.get(&room("r")).unwrap().poll_timeout();
    assert_eq!(due(&node), None);
    for track in [1, 2].map(TrackId) {
        node.rooms.handle_event(node.now, Event::TrackSilent { session: ann, track });
    }
    assert_eq!(due(&node), None, "no source waits for slots");
    // A viewer for whom a source waits makes the difference.
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    for track in [1, 2].map(TrackId) {
        node.rooms.handle_event(node.now, Event::TrackActive { session: ann, track });
    }
    let within = due(&node).map(|at| at - node.now);
    assert_eq!(within, Some(Duration::from_secs(1)), "the second change of a moment waits");
}

#[test]
fn a_camera_that_pauses_while_its_voice_goes_on_keeps_its_slots() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let ann = node.live("ann");
    node.live("bob");
    node.log();
    node.rooms.handle_event(node.now, Event::TrackSilent { session: ann, track: TrackId(2) });
    assert!(node.log().is_empty());
}

#[test]
fn a_pinned_participant_is_shown_though_silent() {
    let mut node = Node::new();
    let viewer = node.watch(Target::any(), CHROMIUM_WATCH).unwrap().session;
    let ann = node.live("ann");
    node.live("bob");
    let pinned = Box::new(Pinned(vec![who("ann")]));
    node.rooms.turn(&room("r"), |room, _| room.set_policy(viewer, pinned)).unwrap();
    node.media(ann, false);
    assert_eq!(node.shown(), [Some(1), Some(2)]);
}

#[test]
fn tracks_that_stutter_move_viewers_once_a_second_at_most() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let (ann, bob) = (node.live("ann"), node.live("bob"));
    node.log();
    let mut moved = 0;
    // In turn one source is silent and the other live, a hundred times in a second.
    for at in 0..100 {
        for (session, tracks, silent) in [(ann, [1, 2], at % 2 == 0), (bob, [3, 4], at % 2 == 1)] {
            for track in tracks.map(TrackId) {
                let event = match silent {
                    true => Event::TrackSilent { session, track },
                    false => Event::TrackActive { session, track },
                };
                node.rooms.handle_event(node.now, event);
            }
        }
        node.now += Duration::from_millis(10);
        moved += node.log().len();
    }
    assert!(moved <= 2 * 2, "{moved} bindings");
}

#[test]
fn a_successor_is_shown_once_connected_and_the_old_session_is_closed_then() {
    let mut node = Node::new();
    let old = node.live("ann");
    node.live("bob");
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.log();
    let new = node.publish("ann", FFMPEG).unwrap().session;
    assert_eq!(node.log(), [format!("open {new}")], "the old session goes on");
    assert!(node.rooms.contains(old) && node.notices().is_empty());
    node.connect(new);
    let tracks: Vec<u64> = node.rooms.participants(&room("r")).unwrap()[0]
        .tracks
        .iter()
        .map(|track| track.id.0)
        .collect();
    let moved = [
        format!("bind 3/0 = {}", tracks[0]),
        format!("bind 3/1 = {}", tracks[1]),
        format!("close {old}"),
    ];
    assert_eq!(node.log(), moved);
    let replaced = Notice::SessionClosed { session: old, reason: EndReason::Replaced };
    assert_eq!(node.notices(), [replaced]);
    let names: Vec<_> = node.rooms.participants(&room("r")).unwrap();
    assert_eq!(names.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["ann", "bob"]);
    assert!(names[0].connected);
}

#[test]
fn a_successor_that_connects_and_sends_nothing_gives_way_after_three_seconds() {
    let mut node = Node::new();
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    node.live("ann");
    node.live("bob");
    let new = node.publish("ann", FFMPEG).unwrap().session;
    node.connect(new);
    assert_eq!(node.shown(), [Some(5), Some(6)]);
    node.now += Duration::from_secs(3);
    node.rooms.handle_timeout(node.now);
    assert_eq!(node.shown(), [Some(3), Some(4)]);
    assert!(node.rooms.poll_timeout().is_none_or(|at| at > node.now));
}

#[test]
fn a_successor_that_never_connects_changes_no_slot() {
    let mut node = Node::new();
    let old = node.live("ann");
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let viewer = SessionId(2);
    node.connect(viewer);
    node.log();
    let new = node.publish("ann", FFMPEG).unwrap().session;
    node.now += Duration::from_secs(15);
    node.rooms.handle_timeout(node.now);
    assert_eq!(node.log(), [format!("open {new}"), format!("close {new}")]);
    assert!(node.rooms.contains(old) && !node.rooms.contains(new));
    assert_eq!(node.shown(), [Some(1), Some(2)]);
    // A later attempt can still succeed.
    let third = node.publish("ann", FFMPEG).unwrap().session;
    node.connect(third);
    assert!(!node.rooms.contains(old));
}

#[test]
fn a_successor_takes_the_place_of_a_session_that_goes_before_it_is_connected() {
    let mut node = Node::new();
    let old = node.live("ann");
    node.live("bob");
    node.watch(Target::any(), CHROMIUM_WATCH).unwrap();
    let new = node.publish("ann", FFMPEG).unwrap().session;
    node.log();
    let reason = CloseReason::ConsentExpired;
    node.rooms.handle_event(node.now, Event::Closed { session: old, reason });
    let participants = node.rooms.participants(&room("r")).unwrap();
    let names: Vec<_> = participants.iter().map(|p| (p.id.as_str(), p.session)).collect();
    assert_eq!(names, [("ann", new), ("bob", SessionId(2))]);
    node.connect(new);
    assert!(node.rooms.contains(new));
    node.rooms.close(node.now, new).unwrap();
    assert_eq!(node.rooms.participants(&room("r")).unwrap().len(), 1);
}

#[test]
fn of_two_successors_the_later_one_counts() {
    let mut node = Node::new();
    let old = node.live("ann");
    let [first, second] = [(); 2].map(|()| node.publish("ann", FFMPEG).unwrap().session);
    assert!(node.rooms.contains(old) && !node.rooms.contains(first));
    node.connect(second);
    assert!(!node.rooms.contains(old) && node.rooms.contains(second));
    assert_eq!(node.rooms.participants(&room("r")).unwrap().len(), 1);
}

#[test]
fn a_successor_may_renegotiate_before_it_is_connected() {
    let mut node = Node::new();
    node.live("ann");
    let sound = FFMPEG.replace("m=video 9", "m=video 0");
    let new = node.publish("ann", &sound).unwrap().session;
    node.rooms.renegotiate(node.now, new, FFMPEG).unwrap();
    node.connect(new);
    assert_eq!(node.rooms.participants(&room("r")).unwrap()[0].tracks.len(), 2);
}

#[test]
fn a_room_is_empty_when_a_publisher_and_its_successor_are_gone() {
    let mut node = Node::new();
    let old = node.live("ann");
    let new = node.publish("ann", FFMPEG).unwrap().session;
    node.rooms.close(node.now, new).unwrap();
    node.rooms.close(node.now, old).unwrap();
    assert!(node.rooms.get(&room("r")).is_none());
}

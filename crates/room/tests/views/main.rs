//! Members come, go, get lost, publish, mute and are given other permissions at random. After each step a model of the room,
//! written down on its own, equals what the room tells; and who followed the room's changes since its first snapshot has
//! the view that a fresh snapshot gives. The latter is what a client relies on that resumes after a lost connection.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;
mod model_room;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use model::{
    CloseReason, Event, Loudness, Mid, Permissions, Quality, SessionId, Sources, TrackId,
    TrackSource,
};
use proptest::prelude::*;
use sfumato_room::{
    AdminCommand, Admission, ErrorKind, MemberCommand, Notice, ProfileChange, RecordChange, Room,
    RoomError, SettingsChange, TrackDescription,
};

use model_room::{Model, Refusal};
use view::View;

/// The sections in which a member may send: a voice, a camera, a screen. Bit n of a mask is source n.
pub(crate) const SENT: [TrackSource; 3] =
    [TrackSource::Microphone, TrackSource::Camera, TrackSource::Screen];

#[derive(Debug, Clone)]
enum Step {
    Join { who: usize, may: usize, sends: u8 },
    Connect { who: usize },
    Leave { who: usize },
    Break { who: usize },
    Lost { who: usize, lost: bool },
    Publish { who: usize, sends: u8 },
    Mute { who: usize, at: usize, muted: bool, by_admin: bool },
    Permit { who: usize, may: usize },
    Rename { who: usize, name: u8 },
    Quality { who: usize, quality: Quality },
    Speak { who: usize, level: u8 },
    Remove { who: usize },
    Audible { tracks: usize },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // A few members do most of what is done, so that much happens to each of them.
    let who = || prop_oneof![3 => 0..3_usize, 1 => 0..12_usize];
    let may = || 0..permissions().len();
    let quality = prop_oneof![Just(Quality::Good), Just(Quality::Fair), Just(Quality::Poor)];
    prop_oneof![
        6 => (who(), may(), 0..8_u8).prop_map(|(who, may, sends)| Step::Join { who, may, sends }),
        6 => who().prop_map(|who| Step::Connect { who }),
        2 => who().prop_map(|who| Step::Leave { who }),
        2 => who().prop_map(|who| Step::Break { who }),
        2 => (who(), any::<bool>()).prop_map(|(who, lost)| Step::Lost { who, lost }),
        3 => (who(), 0..8_u8).prop_map(|(who, sends)| Step::Publish { who, sends }),
        3 => (who(), 0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(who, at, muted, by_admin)| Step::Mute { who, at, muted, by_admin }),
        3 => (who(), may()).prop_map(|(who, may)| Step::Permit { who, may }),
        1 => (who(), any::<u8>()).prop_map(|(who, name)| Step::Rename { who, name }),
        1 => (who(), quality).prop_map(|(who, quality)| Step::Quality { who, quality }),
        2 => (who(), 0..128_u8).prop_map(|(who, level)| Step::Speak { who, level }),
        1 => who().prop_map(|who| Step::Remove { who }),
        1 => (1..5_usize).prop_map(|tracks| Step::Audible { tracks }),
        2 => (1..20_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The permissions that members are given, by number.
fn permissions() -> [Permissions; 5] {
    let voice = Sources::NONE.with(TrackSource::Microphone);
    [
        Permissions::ALL,
        Permissions { publish: voice, ..Permissions::ALL },
        Permissions { publish: Sources::NONE, data: false, ..Permissions::ALL },
        Permissions { subscribe: false, ..Permissions::ALL },
        Permissions { hidden: true, ..Permissions::ALL },
    ]
}

fn name(who: usize) -> String {
    format!("m{who:02}")
}

/// An offer in which these sections send.
fn offer(sends: u8) -> String {
    let all = meeting("avv", "aavv");
    let mut parts = all.split("m=");
    let mut offer = parts.next().unwrap().to_owned();
    for (at, part) in parts.enumerate() {
        let pauses = at < SENT.len() && sends & 1 << at == 0;
        let text = if pauses { part.replace("a=sendonly", "a=inactive") } else { part.to_owned() };
        offer.push_str(&format!("m={text}"));
    }
    offer
}

fn descriptions(sends: u8) -> Vec<TrackDescription> {
    let sent = SENT.iter().enumerate().filter(|(at, _)| sends & 1 << at != 0);
    let describe = |(at, source): (usize, &TrackSource)| TrackDescription {
        mid: Mid::parse(&at.to_string()).unwrap(),
        source: *source,
        name: "".into(),
        muted: false,
    };
    sent.map(describe).collect()
}

/// The room, the model of it, and what each session saw.
struct World {
    node: Node,
    model: Model,
    views: BTreeMap<SessionId, View>,
}

impl World {
    fn new() -> Self {
        Self { node: Node::new(), model: Model::default(), views: BTreeMap::new() }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Join { who, may, sends } => self.join(who, may, sends),
            Step::Connect { who } => {
                if let Some(session) = self.model.connect(who) {
                    self.node.event(Event::Connected { session });
                }
            }
            Step::Leave { who } => {
                if let Some(session) = self.model.leave(who) {
                    self.node.rooms.close(self.node.now, session).unwrap();
                }
            }
            Step::Break { who } => {
                if let Some(session) = self.model.break_off(who) {
                    let reason = CloseReason::ConsentExpired;
                    self.node.event(Event::Closed { session, reason });
                }
            }
            Step::Lost { who, lost } => {
                if let Some(session) = self.model.set_lost(who, lost) {
                    self.node.event(match lost {
                        true => Event::Lost { session },
                        false => Event::Back { session },
                    });
                }
            }
            Step::Publish { who, sends } => self.publish(who, sends),
            Step::Mute { who, at, muted, by_admin } => self.mute(who, at, muted, by_admin),
            Step::Permit { who: at, may } => {
                let permissions = permissions()[may];
                let expected = self.model.permit(at, permissions);
                let command = AdminCommand::ChangePermissions(who(&name(at)), permissions);
                let permitted = self.node.administer(command);
                expect(permitted, expected);
            }
            Step::Rename { who: at, name: to } => {
                let to = format!("name {to}");
                let expected = self.model.rename(at, &to);
                let change = ProfileChange { name: Some(to.into()), metadata: None };
                let command = AdminCommand::ChangeProfile(who(&name(at)), change);
                let renamed = self.node.administer(command);
                expect(renamed, expected);
            }
            Step::Quality { who, quality } => {
                if let Some(session) = self.model.session(who) {
                    self.node.event(Event::Quality { session, quality });
                }
            }
            Step::Speak { who, level } => self.speak(who, level),
            Step::Remove { who: at } => {
                let expected = self.model.remove(at);
                let removed = self.node.administer(AdminCommand::Remove(who(&name(at))));
                expect(removed, expected);
            }
            Step::Audible { tracks } => {
                let change = SettingsChange { audible: Some(tracks), ..SettingsChange::default() };
                if !self.model.is_empty() {
                    self.node.administer(AdminCommand::ChangeRoom(change)).unwrap();
                }
            }
            Step::Wait { seconds } => {
                for _ in 0..seconds {
                    self.node.wait(Duration::from_secs(1));
                    self.model.wait(self.node.now);
                    self.follow();
                }
            }
        }
        self.follow();
    }

    fn join(&mut self, at: usize, may: usize, sends: u8) {
        let permissions = permissions()[may];
        let admission =
            Admission { permissions, tracks: descriptions(sends), ..Admission::default() };
        let joined = self.node.join(&name(at), admission, &offer(sends));
        match Model::refuses(permissions, sends, 0) {
            true => assert_eq!(joined.unwrap_err().kind(), ErrorKind::Forbidden),
            false => {
                let session = joined.unwrap();
                self.model.join(at, self.node.now, session, permissions, sends);
                // What the room told so far is part of the first snapshot.
                self.follow();
                self.views.insert(session, View::new(&self.node.snapshot(session)));
            }
        }
    }

    fn publish(&mut self, at: usize, sends: u8) {
        let Some(session) = self.model.session(at) else { return };
        let (before, permissions) = self.model.sent(at);
        let fresh = descriptions(sends & !before);
        let now = self.node.now;
        let agreed = self.node.rooms.renegotiate_with(now, session, &offer(sends), Some(&fresh));
        match Model::refuses(permissions, sends, before) {
            true => assert_eq!(agreed.unwrap_err().kind(), ErrorKind::Forbidden),
            false => {
                agreed.unwrap();
                self.model.publish(at, sends);
            }
        }
    }

    fn mute(&mut self, at: usize, nth: usize, muted: bool, by_admin: bool) {
        let Some(session) = self.model.session(at) else { return };
        let Some(track) = self.track(at, nth) else { return };
        self.model.mute(at, nth, muted);
        let member = who(&name(at));
        let muted = match by_admin {
            true => self.node.administer(AdminCommand::Mute { member, track, muted }),
            false => {
                let muted = Some(muted);
                self.node.command(session, MemberCommand::UpdateTrack { track, muted, name: None })
            }
        };
        muted.unwrap();
    }

    fn speak(&mut self, at: usize, level: u8) {
        let Some(session) = self.model.session(at) else { return };
        if let Some(track) = self.track(at, 0) {
            self.node.event(Event::TrackActive { session, track });
            self.node.event(Event::AudioLevel { session, track, level: Loudness::Level(level) });
        }
    }

    fn track(&self, at: usize, nth: usize) -> Option<TrackId> {
        self.node.tracks_of(&name(at)).get(nth).copied()
    }

    /// Brings what the room told to all views.
    fn follow(&mut self) {
        let mut changes: Vec<RecordChange> = Vec::new();
        if self.node.rooms.get(&room("r")).is_some() {
            self.node.rooms.turn(&room("r"), |room: &mut Room, _| {
                changes.extend(std::iter::from_fn(|| room.poll_record()));
            });
        }
        for notice in self.node.notices() {
            if let Notice::SessionClosed { session, .. } = notice {
                self.views.remove(&session);
            }
            self.views.iter_mut().for_each(|(session, view)| view.hear(*session, &notice));
        }
        for change in &changes {
            self.views.values_mut().for_each(|view| view.apply(change));
        }
        self.node.commands();
    }

    fn check(&self) {
        let records = self.node.records();
        let told: Vec<_> = records.iter().map(|record| model_room::seen(record)).collect();
        assert_eq!(told, self.model.members(), "the members of the room");
        let sessions: Vec<SessionId> = self.views.keys().copied().collect();
        assert_eq!(sessions, self.model.sessions(), "the sessions that have a view");
        for (session, followed) in &self.views {
            let snapshot = self.node.snapshot(*session);
            let members: Vec<_> = snapshot.members.iter().map(|r| model_room::seen(r)).collect();
            let (expected, permissions) = self.model.seen_by(*session);
            assert_eq!(members, expected, "the members that session {session} sees");
            assert_eq!(snapshot.permissions, permissions);
            assert_eq!(*followed, View::new(&snapshot), "the view of session {session}");
        }
    }
}

fn expect(done: Result<(), RoomError>, expected: Result<(), Refusal>) {
    let kind = |refusal| match refusal {
        Refusal::NotThere => ErrorKind::NotFound,
        Refusal::Lost => ErrorKind::Conflict,
    };
    assert_eq!(done.map_err(|error| error.kind()), expected.map_err(kind));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn views_that_follow_the_changes_equal_fresh_snapshots(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}

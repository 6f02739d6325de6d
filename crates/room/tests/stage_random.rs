//! Room sessions under random orders of events: what always holds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::members::{Stages, offer, pins};
use common::room;
use model::{Event, Loudness, MediaKind, Mid, SessionId, TrackId};
use proptest::prelude::*;
use sfumato_room::{
    MemberCommand, ParticipantRecord, SlotState, SlotWish, Subscription, TrackRecord,
};

const NAMES: [&str; 7] = ["ann", "bob", "cid", "dan", "eve", "fay", "gil"];
const SENDS: [&str; 6] = ["", "a", "v", "av", "avv", "aav"];
const RECEIVES: [&str; 6] = ["av", "aavv", "avvv", "v", "aaaavvvv", "a"];

/// What happens; the numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Enter { who: usize, sends: usize, receives: usize },
    Leave { who: usize, abruptly: bool },
    Offer { who: usize, sends: usize, receives: usize },
    Level { track: usize, level: u8 },
    Active { track: usize, active: bool },
    Mute { track: usize, muted: bool },
    Pin { who: usize, pinned: Vec<usize> },
    Wish { who: usize, wishes: Vec<(usize, usize, bool)> },
    Allow { who: usize, may: bool },
    Audible(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..64_usize;
    prop_oneof![
        6 => (n.clone(), n.clone(), n.clone())
            .prop_map(|(who, sends, receives)| Step::Enter { who, sends, receives }),
        2 => (n.clone(), any::<bool>()).prop_map(|(who, abruptly)| Step::Leave { who, abruptly }),
        2 => (n.clone(), n.clone(), n.clone())
            .prop_map(|(who, sends, receives)| Step::Offer { who, sends, receives }),
        12 => (n.clone(), prop_oneof![2 => 10..50_u8, 1 => Just(127)])
            .prop_map(|(track, level)| Step::Level { track, level }),
        4 => (n.clone(), any::<bool>()).prop_map(|(track, active)| Step::Active { track, active }),
        4 => (n.clone(), any::<bool>()).prop_map(|(track, muted)| Step::Mute { track, muted }),
        3 => (n.clone(), prop::collection::vec(n.clone(), 0..3))
            .prop_map(|(who, pinned)| Step::Pin { who, pinned }),
        4 => (n.clone(), prop::collection::vec((n.clone(), n.clone(), any::<bool>()), 0..4))
            .prop_map(|(who, wishes)| Step::Wish { who, wishes }),
        1 => (n, any::<bool>()).prop_map(|(who, may)| Step::Allow { who, may }),
        1 => (1..5_usize).prop_map(Step::Audible),
        8 => (1..4_000_u64).prop_map(Step::Wait),
    ]
}

/// The room, and what the members asked for.
struct World {
    stages: Stages,
    audible: usize,
    /// Pinned members of those with the automatic policy; who is not in it wished for tracks.
    pinned: std::collections::BTreeMap<String, Vec<String>>,
    /// Members that may receive nothing.
    barred: BTreeSet<String>,
    sends: std::collections::BTreeMap<String, (String, String)>,
}

impl World {
    fn new() -> Self {
        Self {
            stages: Stages::new(),
            audible: 4,
            pinned: Default::default(),
            barred: BTreeSet::new(),
            sends: Default::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        let there: Vec<String> = self.stages.members.keys().cloned().collect();
        let pick = |n: usize| (!there.is_empty()).then(|| there[n % there.len()].clone());
        match step {
            Step::Enter { who, sends, receives } => {
                let name = NAMES[who % NAMES.len()];
                let (sends, receives) = (SENDS[sends % 6], RECEIVES[receives % 6]);
                self.stages.enter(name, sends, receives, Subscription::default()).unwrap();
                self.audible_again();
                self.pinned.insert(name.to_owned(), Vec::new());
                self.barred.remove(name);
                self.sends.insert(name.to_owned(), (sends.to_owned(), receives.to_owned()));
            }
            Step::Leave { who, abruptly } => {
                let Some(name) = pick(*who) else { return };
                self.pinned.remove(&name);
                match abruptly {
                    true => self.stages.vanish(&name),
                    false => self.stages.leave(&name),
                }
                self.audible_again();
            }
            Step::Offer { who, sends, receives } => {
                let Some(name) = pick(*who) else { return };
                // Sections keep their place in an offer; so only slots are added.
                let (sent, received) = self.sends[&name].clone();
                let more = RECEIVES[receives % 6];
                if sent.len() + received.len() + more.len() > 20 || sends % 2 == 0 {
                    return;
                }
                let received = received + more;
                let session = self.stages.members[&name].session;
                let now = self.stages.node.now;
                let offer = offer(&sent, &received);
                self.stages.node.rooms.renegotiate(now, session, &offer).unwrap();
                self.stages.drain();
                self.sends.insert(name, (sent, received));
            }
            Step::Level { track, level } => {
                let Some((session, track)) = self.track(*track, Some(MediaKind::Audio)) else {
                    return;
                };
                let now = self.stages.node.now;
                let rooms = &mut self.stages.node.rooms;
                rooms.handle_event(now, Event::TrackActive { session, track });
                rooms.handle_event(
                    now,
                    Event::AudioLevel { session, track, level: Loudness::Level(*level) },
                );
                self.stages.drain();
            }
            Step::Active { track, active } => {
                let Some((session, track)) = self.track(*track, None) else { return };
                let event = match active {
                    true => Event::TrackActive { session, track },
                    false => Event::TrackSilent { session, track },
                };
                self.stages.node.rooms.handle_event(self.stages.node.now, event);
                self.stages.drain();
            }
            Step::Mute { track, muted } => {
                let Some((session, track)) = self.track(*track, None) else { return };
                let command = MemberCommand::UpdateTrack { track, muted: Some(*muted), name: None };
                let now = self.stages.node.now;
                // A member that is gone for a while cannot mute, and one that asks too often is refused.
                let _ = self
                    .stages
                    .node
                    .rooms
                    .turn(&room("r"), |r, _| r.command(now, session, command));
                self.stages.drain();
            }
            Step::Pin { who, pinned } => {
                let Some(name) = pick(*who) else { return };
                let names: Vec<&str> = pinned.iter().map(|n| NAMES[n % NAMES.len()]).collect();
                let subscription = match names.is_empty() {
                    true => Subscription::default(),
                    false => pins(&names.join(",")),
                };
                self.stages.subscribe(&name, subscription).unwrap();
                self.pinned.insert(name, names.into_iter().map(str::to_owned).collect());
            }
            Step::Wish { who, wishes } => {
                let Some(name) = pick(*who) else { return };
                let slots = self.wishes(&name, wishes);
                // Wishes for own tracks, or for one track twice, are refused, and nothing changes.
                let before = self.stages.views(&name);
                match self.stages.subscribe(&name, Subscription::Manual { slots: slots.clone() }) {
                    Ok(()) => {
                        self.pinned.remove(&name);
                        self.check_wishes(&name, &slots);
                    }
                    Err(_) => assert_eq!(self.stages.views(&name), before),
                }
            }
            Step::Allow { who, may } => {
                let Some(name) = pick(*who) else { return };
                let session = self.stages.members[&name].session;
                self.stages.node.rooms.turn(&room("r"), |r, _| r.allow_receiving(session, *may));
                self.stages.drain();
                match may {
                    true => self.barred.remove(&name),
                    false => self.barred.insert(name),
                };
            }
            Step::Audible(audible) => {
                self.audible = *audible;
                self.audible_again();
            }
            Step::Wait(ms) => self.stages.wait(Duration::from_millis(*ms)),
        }
    }

    fn audible_again(&mut self) {
        let audible = self.audible;
        self.stages.node.rooms.turn(&room("r"), |r, _| r.set_audible(audible));
        self.stages.drain();
    }

    fn wishes(&self, name: &str, wishes: &[(usize, usize, bool)]) -> Vec<SlotWish> {
        let views = self.stages.views(name);
        let mids: Vec<Mid> =
            views.iter().filter(|v| v.kind == MediaKind::Video).map(|v| v.mid).collect();
        let mut slots: Vec<SlotWish> = Vec::new();
        for (slot, track, paused) in wishes {
            if let Some(mid) = mids.get(slot % mids.len().max(1))
                && slots.iter().all(|s| s.mid != *mid)
            {
                let track = self.track(*track, Some(MediaKind::Video)).map(|(_, track)| track);
                slots.push(SlotWish { mid: *mid, track, size: None, priority: 0, paused: *paused });
            }
        }
        slots
    }

    fn check_wishes(&self, name: &str, slots: &[SlotWish]) {
        if self.barred.contains(name) {
            return;
        }
        let views = self.stages.views(name);
        for wish in slots {
            let view = views.iter().find(|v| v.mid == wish.mid).unwrap();
            assert_eq!(view.shows.as_ref().map(|(track, _)| *track), wish.track);
        }
    }

    fn records(&self) -> Vec<std::sync::Arc<ParticipantRecord>> {
        self.stages.node.rooms.get(&room("r")).map(|r| r.records()).unwrap_or_default()
    }

    /// Some track of the room.
    fn track(&self, n: usize, kind: Option<MediaKind>) -> Option<(SessionId, TrackId)> {
        let records = self.records();
        let tracks: Vec<_> = records
            .iter()
            .flat_map(|r| r.tracks.iter().map(|t| (r.session, t)))
            .filter(|(_, t)| kind.is_none_or(|kind| t.kind == kind))
            .map(|(session, t)| (session, t.id))
            .collect();
        (!tracks.is_empty()).then(|| tracks[n % tracks.len()])
    }

    /// What holds after every step.
    fn check(&self) {
        let records = self.records();
        let of_kind = |kind, but: &str| -> Vec<TrackRecord> {
            let others = records.iter().filter(|r| r.id.as_str() != but);
            let tracks = others.flat_map(|r| r.tracks.iter());
            tracks.filter(|t| t.kind == kind && t.is_candidate()).cloned().collect()
        };
        let mut heard: BTreeSet<TrackId> = BTreeSet::new();
        for (name, member) in &self.stages.members {
            let views = self.stages.views(name);
            let mut shown: BTreeSet<TrackId> = BTreeSet::new();
            for view in &views {
                let told = member.slots.iter().find(|s| s.mid == view.mid);
                match told {
                    Some(told) => assert_eq!(told, view, "{name} was told something else"),
                    None => assert_eq!(view.state, SlotState::Empty, "{name} was not told"),
                }
                let flows = view.shows.as_ref().filter(|_| view.state == SlotState::Flowing);
                let bound = member.bound.get(&view.mid).copied().flatten();
                assert_eq!(bound, flows.map(|(track, _)| *track), "{name}: bound and shown differ");
                let Some((track, owner)) = &view.shows else { continue };
                assert!(shown.insert(*track), "{name}: {track} in two slots");
                assert_ne!(owner.as_str(), name, "{name} is shown its own track");
                let record = records.iter().find(|r| r.id == *owner).unwrap();
                let record = record.tracks.iter().find(|t| t.id == *track).unwrap();
                assert_eq!(record.kind, view.kind);
                assert!(
                    view.state != SlotState::Flowing || record.is_candidate(),
                    "muted and flowing"
                );
                if view.kind == MediaKind::Audio {
                    heard.insert(*track);
                }
            }
            if self.barred.contains(name) {
                assert!(shown.is_empty(), "{name} may not receive");
                continue;
            }
            let video = of_kind(MediaKind::Video, name);
            let slots = views.iter().filter(|v| v.kind == MediaKind::Video);
            let free = slots.clone().filter(|v| v.state == SlotState::Empty).count();
            if let Some(pinned) = self.pinned.get(name) {
                let missing = video.iter().filter(|t| !shown.contains(&t.id)).count();
                assert!(
                    free == 0 || missing == 0,
                    "{name}: {free} free slots, {missing} not shown"
                );
                let is_pinned = |r: &ParticipantRecord| pinned.iter().any(|p| *p == *r.id.as_str());
                let wanted = records.iter().filter(|r| is_pinned(r) && r.id.as_str() != name);
                let tracks = wanted.flat_map(|r| r.tracks.iter());
                let tracks: Vec<_> = tracks
                    .filter(|t| t.kind == MediaKind::Video && t.is_candidate())
                    .map(|t| t.id)
                    .collect();
                let there = tracks.iter().filter(|t| shown.contains(t)).count();
                assert_eq!(there, tracks.len().min(slots.count()), "{name}: pinned are not shown");
            }
        }
        assert!(heard.len() <= self.audible, "more than the loudest set is heard");
        let all = of_kind(MediaKind::Audio, "");
        for name in self.stages.members.keys().filter(|name| !self.barred.contains(*name)) {
            let others = of_kind(MediaKind::Audio, name);
            let views = self.stages.views(name);
            let slots = views.iter().filter(|v| v.kind == MediaKind::Audio).count();
            let bound = views.iter().filter(|v| v.kind == MediaKind::Audio && v.shows.is_some());
            let bound = bound.count();
            if all.len() <= self.audible {
                assert_eq!(bound, others.len().min(slots), "{name} does not hear everybody");
            }
        }
        let room = self.stages.node.rooms.get(&room("r"));
        if let Some(room) = room.filter(|_| !self.stages.members.is_empty()) {
            assert_eq!(room.speakers().to_vec(), self.stages.speakers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn views_are_what_the_binds_say_and_the_rules_hold(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
        // With constant levels nothing changes once everything has settled.
        world.stages.wait(Duration::from_secs(60));
        world.check();
        (world.stages.binds, world.stages.slot_notices) = (0, 0);
        world.stages.wait(Duration::from_secs(600));
        world.check();
        let lost = world.records().iter().any(|r| r.lost);
        prop_assert!(world.stages.binds == 0 || lost, "{} binds without a cause", world.stages.binds);
        prop_assert!(world.stages.node.rooms.poll_timeout().is_none() || lost);
    }
}

//! A room with members, driven by lines of text: what happens, and what each member then sees and hears.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use model::{
    CloseReason, Command, Event, Loudness, MediaKind, Mid, ParticipantId, SessionId, SessionPlan,
    TrackId,
};
use sfumato_room::{
    Admission, Entering, MemberCommand, Notice, Roles, RoomError, SlotState, SlotView, SlotWish,
    Speaker, Subscription, Target,
};

use super::{CHROMIUM_WATCH, Node, room, section, who};

/// An offer: each letter is a section, `a` audio, `v` video; first those that are sent, then those that are received.
/// Mids count from 0.
pub(crate) fn offer(sends: &str, receives: &str) -> String {
    let head = CHROMIUM_WATCH.split("m=").next().unwrap();
    let (audio, video) = (section(CHROMIUM_WATCH, 0), section(CHROMIUM_WATCH, 1));
    let count = sends.len() + receives.len();
    let mids: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    let directions = sends.chars().map(|c| (c, "a=sendonly"));
    let directions = directions.chain(receives.chars().map(|c| (c, "a=recvonly")));
    for (at, (kind, direction)) in directions.enumerate() {
        let (text, mid) = if kind == 'a' { (&audio, "a=mid:0") } else { (&video, "a=mid:1") };
        let text = text.replace(mid, &format!("a=mid:{at}"));
        offer.push_str(&text.replace("a=recvonly", direction));
    }
    offer
}

/// A member with a room session, and what it was told of its slots.
pub(crate) struct Member {
    pub(crate) session: SessionId,
    pub(crate) slots: Vec<SlotView>,
    /// The track that the worker sends through each slot, by what it was told.
    pub(crate) bound: BTreeMap<Mid, Option<TrackId>>,
}

/// See the head of this file.
pub(crate) struct Stages {
    pub(crate) node: Node,
    pub(crate) members: BTreeMap<String, Member>,
    audible: Option<usize>,
    pub(crate) plans: BTreeMap<SessionId, Arc<SessionPlan>>,
    /// Sessions of members without a room session.
    others: BTreeMap<String, SessionId>,
    pub(crate) speakers: Vec<Speaker>,
    /// What was told since the text asked: binds, notices of slots, notices of wanted slots, lists of speakers.
    pub(crate) binds: usize,
    pub(crate) slot_notices: usize,
    pub(crate) wanted: Vec<(String, usize, usize)>,
    pub(crate) speaker_notices: usize,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            node: Node::new(),
            members: BTreeMap::new(),
            audible: None,
            plans: BTreeMap::new(),
            others: BTreeMap::new(),
            speakers: Vec::new(),
            binds: 0,
            slot_notices: 0,
            wanted: Vec::new(),
            speaker_notices: 0,
        }
    }

    /// Runs a script. A line that begins with `=` is what the line before it has to put out.
    pub(crate) fn check(&mut self, script: &str) {
        let mut lines = script.lines().map(str::trim).filter(|l| !l.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let out = self.run(line);
            let mut wanted = Vec::new();
            while let Some(expected) = lines.peek().and_then(|l| l.strip_prefix('=')) {
                wanted.push(expected.trim().to_owned());
                lines.next();
            }
            assert_eq!(out, wanted, "after `{line}` in the script\n{script}");
        }
    }

    fn run(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["enter", name, sends, receives] => {
                self.enter(name, sends, receives, Subscription::default()).unwrap();
            }
            ["enter", name, sends, receives, "pinned", pinned] => {
                self.enter(name, sends, receives, pins(pinned)).unwrap();
            }
            ["whip", name, sends] => self.whip(name, sends),
            ["vanish", name] => self.vanish(name),
            ["leave", name] => self.leave(name),
            ["offer", name, sends, receives] => {
                let session = self.members[name].session;
                let offer = offer(&sends.replace('-', ""), receives);
                self.node.rooms.renegotiate(self.node.now, session, &offer).unwrap();
                self.drain();
            }
            ["level", track, "?"] => self.level(track, Loudness::Unknown),
            ["level", track, level] => self.level(track, Loudness::Level(level.parse().unwrap())),
            ["mute", track] => self.mute(track, true),
            ["unmute", track] => self.mute(track, false),
            ["active", track] => self.active(track, true),
            ["silent", track] => self.active(track, false),
            ["wait", ms] => self.wait(Duration::from_millis(ms.parse().unwrap())),
            ["audible", n] => {
                self.audible = Some(n.parse().unwrap());
                self.set_audible();
            }
            ["auto", name] => self.subscribe(name, Subscription::default()).unwrap(),
            ["pin", name, pinned] => self.subscribe(name, pins(pinned)).unwrap(),
            ["wish", name, ref wishes @ ..] => {
                let slots = wishes.iter().map(|wish| self.wish(wish)).collect();
                let result = self.subscribe(name, Subscription::Manual { slots });
                return result.err().map(|e| format!("{}: {e}", e.status())).into_iter().collect();
            }
            ["show", name] => return vec![self.shown(name)],
            ["speakers"] => {
                let told = self.speakers.iter().map(|s| format!("{} {}", s.member, s.level));
                return vec![told.collect::<Vec<_>>().join(", ")];
            }
            ["binds"] => return vec![std::mem::take(&mut self.binds).to_string()],
            ["lists"] => return vec![std::mem::take(&mut self.speaker_notices).to_string()],
            ["wanted"] => {
                let told = std::mem::take(&mut self.wanted);
                let mut told: Vec<_> =
                    told.iter().map(|(n, a, v)| format!("{n} {a} {v}")).collect();
                told.sort();
                return told;
            }
            _ => panic!("unknown line: {line}"),
        }
        Vec::new()
    }

    /// A room without sessions forgets its settings, so this is said again when somebody comes.
    fn set_audible(&mut self) {
        if let Some(audible) = self.audible {
            self.node.rooms.turn(&room("r"), |r, _| r.set_audible(audible));
        }
        self.drain();
    }

    pub(crate) fn enter(
        &mut self,
        name: &str,
        sends: &str,
        receives: &str,
        subscription: Subscription,
    ) -> Result<SessionId, RoomError> {
        let offer = offer(&sends.replace('-', ""), &receives.replace('-', ""));
        let admission = Some(Box::new(Admission { subscription, ..Admission::default() }));
        let entering = Entering {
            participant: Some(who(name)),
            identity: None,
            target: Target::any(),
            admission,
        };
        let now = self.node.now;
        let accepted = self.node.rooms.enter(now, &room("r"), entering, Roles::Both, &offer)?;
        let session = accepted.session;
        let member = Member { session, slots: Vec::new(), bound: BTreeMap::new() };
        self.members.insert(name.to_owned(), member);
        self.connect(session);
        self.set_audible();
        Ok(session)
    }

    fn whip(&mut self, name: &str, sends: &str) {
        let accepted = self.node.publish(name, &offer(sends, "")).unwrap();
        self.others.insert(name.to_owned(), accepted.session);
        self.connect(accepted.session);
    }

    /// The session connects and sends.
    fn connect(&mut self, session: SessionId) {
        let now = self.node.now;
        self.node.rooms.handle_event(now, Event::Connected { session });
        self.drain();
        let tracks: Vec<TrackId> = self.plans[&session].up.iter().map(|up| up.track).collect();
        for track in tracks {
            self.node.rooms.handle_event(now, Event::TrackActive { session, track });
        }
        self.drain();
    }

    /// The member says goodbye.
    pub(crate) fn leave(&mut self, name: &str) {
        let member = self.members.remove(name).map(|m| m.session);
        let session = member.or_else(|| self.others.remove(name)).unwrap();
        self.node.rooms.close(self.node.now, session).unwrap();
        self.drain();
    }

    /// The connection of the member is gone.
    pub(crate) fn vanish(&mut self, name: &str) {
        let session = self.members.remove(name).unwrap().session;
        let event = Event::Closed { session, reason: CloseReason::ConsentExpired };
        self.node.rooms.handle_event(self.node.now, event);
        self.drain();
    }

    pub(crate) fn subscribe(
        &mut self,
        name: &str,
        subscription: Subscription,
    ) -> Result<(), RoomError> {
        let session = self.members[name].session;
        let result = self.node.rooms.turn(&room("r"), |r, _| r.subscribe(session, subscription));
        self.drain();
        result
    }

    pub(crate) fn level(&mut self, track: &str, level: Loudness) {
        let (session, track) = self.find(track, MediaKind::Audio);
        // A worker tells of a track's media before it tells of its level.
        self.node.rooms.handle_event(self.node.now, Event::TrackActive { session, track });
        self.node.rooms.handle_event(self.node.now, Event::AudioLevel { session, track, level });
        self.drain();
    }

    /// A member mutes a track of its own.
    pub(crate) fn mute(&mut self, name: &str, muted: bool) {
        let (session, track) = self.find_any(name);
        let now = self.node.now;
        let command = MemberCommand::UpdateTrack { track, muted: Some(muted), name: None };
        self.node.rooms.turn(&room("r"), |r, _| r.command(now, session, command)).unwrap();
        self.drain();
    }

    /// `bob` is his first video, `bob.a` his first audio.
    fn find_any(&self, name: &str) -> (SessionId, TrackId) {
        match name.strip_suffix(".a") {
            Some(name) => self.find(name, MediaKind::Audio),
            None => self.find(name, MediaKind::Video),
        }
    }

    /// Media of a track comes or does not.
    pub(crate) fn active(&mut self, name: &str, active: bool) {
        let (session, track) = self.find_any(name);
        let event = match active {
            true => Event::TrackActive { session, track },
            false => Event::TrackSilent { session, track },
        };
        self.node.rooms.handle_event(self.node.now, event);
        self.drain();
    }

    /// Lets time pass; what is due happens when it is due.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.node.now + time;
        for step in 0.. {
            let due = self.node.rooms.poll_timeout().filter(|due| *due <= end);
            let Some(due) = due else { break };
            assert!(step < 100_000, "time stands still");
            self.node.now = due.max(self.node.now);
            self.node.rooms.handle_timeout(self.node.now);
            self.drain();
        }
        self.node.now = end;
    }

    /// Reads what the room put out.
    pub(crate) fn drain(&mut self) {
        for command in self.node.commands() {
            if let Command::Open(plan) | Command::Update(plan) = &command {
                self.plans.insert(plan.id, plan.clone());
            }
            let Command::Bind { session, slots } = command else { continue };
            let member = self.members.values_mut().find(|m| m.session == session);
            let mut seen = Vec::new();
            for (mid, binding) in &slots {
                assert!(!seen.contains(mid), "slot {mid} is bound twice in one command");
                seen.push(*mid);
                self.binds += 1;
                if let Some(binding) = binding {
                    assert!(!binding.payload_types.is_empty(), "a binding without payload types");
                }
            }
            if let Some(member) = member {
                let told = slots.iter().map(|(m, b)| (*m, b.as_ref().map(|b| b.track)));
                member.bound.extend(told);
            }
        }
        if self.members.is_empty() {
            self.speakers.clear();
        }
        for notice in self.node.notices() {
            match notice {
                Notice::Slots { session, slots } => {
                    self.slot_notices += 1;
                    let member = self.members.values_mut().find(|m| m.session == session);
                    let Some(member) = member else { continue };
                    for slot in slots {
                        match member.slots.iter_mut().find(|s| s.mid == slot.mid) {
                            Some(known) => {
                                assert_ne!(*known, slot, "a slot that did not change is told");
                                *known = slot;
                            }
                            None => member.slots.push(slot),
                        }
                    }
                }
                Notice::SlotsWanted { session, audio, video } => {
                    let member = self.members.iter().find(|(_, m)| m.session == session);
                    self.wanted.extend(member.map(|(name, _)| (name.clone(), audio, video)));
                }
                Notice::Speakers(list) => {
                    self.speaker_notices += 1;
                    self.speakers = list.to_vec();
                }
                _ => {}
            }
        }
    }

    /// What the room says of a member's slots.
    pub(crate) fn views(&self, name: &str) -> Vec<SlotView> {
        let session = self.members[name].session;
        self.node.rooms.get(&room("r")).unwrap().slot_views(session)
    }

    /// `a: bob cid - | v: bob bob2:muted -`.
    pub(crate) fn shown(&self, name: &str) -> String {
        let mut text = String::new();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let letter = if kind == MediaKind::Audio { "a" } else { " | v" };
            write!(text, "{letter}:").unwrap();
            for view in self.views(name).iter().filter(|v| v.kind == kind) {
                let shown = view.shows.as_ref().map(|(track, who)| self.name(*track, who, kind));
                let shown = shown.unwrap_or_else(|| "-".into());
                match view.state {
                    SlotState::Empty | SlotState::Flowing => write!(text, " {shown}").unwrap(),
                    state => write!(text, " {shown}:{}", state.as_str()).unwrap(),
                }
            }
        }
        text
    }

    /// `bob` for the first track of bob of that kind, `bob2` for the second.
    fn name(&self, track: TrackId, who: &ParticipantId, kind: MediaKind) -> String {
        let tracks = self.tracks(who.as_str(), kind);
        match tracks.iter().position(|id| *id == track) {
            Some(0) => who.to_string(),
            Some(at) => format!("{who}{}", at + 1),
            None => format!("{who}?"),
        }
    }

    pub(crate) fn tracks(&self, who: &str, kind: MediaKind) -> Vec<TrackId> {
        let records = self.node.rooms.get(&room("r")).unwrap().records();
        let record = records.iter().find(|r| r.id.as_str() == who);
        let tracks = record.map(|r| r.tracks.iter().filter(|t| t.kind == kind).map(|t| t.id));
        tracks.map(Iterator::collect).unwrap_or_default()
    }

    pub(crate) fn find(&self, name: &str, kind: MediaKind) -> (SessionId, TrackId) {
        let (who, place) = match name.strip_suffix('2') {
            Some(who) => (who, 1),
            None => (name, 0),
        };
        let session = self.members.get(who).map(|m| m.session);
        let session = session.unwrap_or_else(|| self.others[who]);
        (session, self.tracks(who, kind)[place])
    }

    /// `3=bob`, `3=-`, `3=bob:paused`, `3=#99` for the track with this number.
    fn wish(&self, text: &str) -> SlotWish {
        let (mid, rest) = text.split_once('=').unwrap();
        let (track, paused) = match rest.strip_suffix(":paused") {
            Some(track) => (track, true),
            None => (rest, false),
        };
        let track = match (track, track.strip_prefix('#')) {
            ("-", _) => None,
            (_, Some(number)) => Some(TrackId(number.parse().unwrap())),
            (name, None) => Some(self.find(name, MediaKind::Video).1),
        };
        SlotWish { mid: Mid::parse(mid).unwrap(), track, size: None, priority: 0, paused }
    }
}

pub(crate) fn pins(names: &str) -> Subscription {
    Subscription::Auto { pinned: names.split(',').map(who).collect() }
}

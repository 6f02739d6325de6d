//! The rooms of a node, with random bytes that count up, so that answers can be compared as text.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Binding, Codec, Command, Event, Mid, NodeId, ParticipantId, RoomId, SessionId, SessionPlan,
    TrackId,
};
use sfumato_room::{
    Accepted, AdminCommand, Admission, Entering, Ids, Limits, LocalMedia, LocalPublished,
    MemberCommand, Negotiator, Notice, ParticipantInfo, ParticipantRecord, Renegotiated, Roles,
    Room, RoomConfig, RoomError, RoomSettings, Snapshot, Target, TrackDescription, ViewerInfo,
};

macro_rules! fixtures {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../../../sdp/fixtures/", $file));)*
    };
}

fixtures! {
    CHROMIUM = "chromium-publish-simulcast.sdp";
    CHROMIUM_DATA = "chromium-publish-data.sdp";
    CHROMIUM_WATCH = "chromium-watch.sdp";
    FIREFOX = "firefox-publish-simulcast.sdp";
    FIREFOX_DATA = "firefox-data.sdp";
    FIREFOX_WATCH = "firefox-watch.sdp";
    FFMPEG = "ffmpeg-publish.sdp";
    OBS = "obs-publish-simulcast.sdp";
    GSTREAMER = "gstreamer-publish.sdp";
}

pub(crate) const FINGERPRINT: &str = "sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

pub(crate) fn who(name: &str) -> ParticipantId {
    ParticipantId::parse(name).unwrap()
}

/// The rooms of a node, driven as their owner would drive them.
pub(crate) struct Rooms {
    config: RoomConfig,
    ids: Ids,
    counter: u8,
    rooms: BTreeMap<RoomId, Room>,
    commands: Vec<Command>,
    notices: Vec<Notice>,
}

impl Rooms {
    fn new(config: RoomConfig) -> Self {
        Self {
            config,
            ids: Ids::default(),
            counter: 0,
            rooms: BTreeMap::new(),
            commands: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Calls a room and drains all that follows from the call.
    pub(crate) fn turn<T>(
        &mut self,
        id: &RoomId,
        f: impl FnOnce(&mut Room, &RoomConfig) -> T,
    ) -> T {
        let room = self.rooms.entry(id.clone());
        let room = room.or_insert_with(|| Room::new(id.clone(), NodeId(1), 1));
        let result = f(room, &self.config);
        while room.work(1_000) {}
        self.commands.extend(std::iter::from_fn(|| room.poll_command()));
        self.notices.extend(std::iter::from_fn(|| room.poll_notice()));
        if room.is_empty() {
            self.rooms.remove(id);
        }
        result
    }

    fn negotiate<T>(&mut self, f: impl FnOnce(&mut Negotiator<'_>) -> T) -> T {
        self.negotiate_allowing(&[], f)
    }

    fn negotiate_allowing<T>(
        &mut self,
        codecs: &[Codec],
        f: impl FnOnce(&mut Negotiator<'_>) -> T,
    ) -> T {
        let counter = &mut self.counter;
        let mut random = |buffer: &mut [u8]| {
            for byte in buffer {
                *byte = *counter;
                *counter = counter.wrapping_add(1);
            }
        };
        f(&mut Negotiator::new(&self.config, &self.ids, &mut random).allowing(codecs))
    }

    pub(crate) fn enter(
        &mut self,
        now: Instant,
        id: &RoomId,
        entering: Entering,
        roles: Roles,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let agreed = self.negotiate(|n| n.answer(roles, offer))?;
        self.turn(id, |room, config| room.enter(now, config, entering, agreed))
    }

    pub(crate) fn publish(
        &mut self,
        now: Instant,
        id: &RoomId,
        participant: &ParticipantId,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let participant = Some(participant.clone());
        let entering =
            Entering { participant, identity: None, target: Target::any(), admission: None };
        self.enter(now, id, entering, Roles::FromPeer, offer)
    }

    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        id: &RoomId,
        viewer: Option<&ParticipantId>,
        target: Target,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let entering =
            Entering { participant: None, identity: viewer.cloned(), target, admission: None };
        self.enter(now, id, entering, Roles::ToPeer, offer)
    }

    pub(crate) fn renegotiate(
        &mut self,
        now: Instant,
        session: SessionId,
        offer: &str,
    ) -> Result<Renegotiated, RoomError> {
        self.renegotiate_with(now, session, offer, None)
    }

    pub(crate) fn renegotiate_with(
        &mut self,
        now: Instant,
        session: SessionId,
        offer: &str,
        tracks: Option<&[TrackDescription]>,
    ) -> Result<Renegotiated, RoomError> {
        let id = self.room_of(session);
        let before = self.turn(&id, |room, _| room.agreement(session))?;
        let agreed = self.negotiate(|n| n.answer_again(&before, offer))?;
        self.turn(&id, |room, _| room.renegotiate(now, agreed, tracks))
    }

    pub(crate) fn publish_local(
        &mut self,
        id: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        let ids = std::mem::take(&mut self.ids);
        let published =
            self.turn(id, |room, config| room.publish_local(config, &ids, participant, media));
        self.ids = ids;
        published
    }

    /// The room of a session; room `nowhere` when no room has the session.
    fn room_of(&self, session: SessionId) -> RoomId {
        let found = self.rooms.values().find(|r| r.contains(session));
        found.map_or_else(|| room("nowhere"), |r| r.id().clone())
    }

    pub(crate) fn close(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        let id = self.room_of(session);
        self.turn(&id, |room, _| room.close(now, session))
    }

    pub(crate) fn trickle(&mut self, session: SessionId, frag: &str) -> Result<(), RoomError> {
        let id = self.room_of(session);
        self.turn(&id, |room, _| room.trickle(session, frag))
    }

    pub(crate) fn restart(
        &mut self,
        now: Instant,
        session: SessionId,
        frag: &str,
    ) -> Result<String, RoomError> {
        let id = self.room_of(session);
        let mut counter = self.counter;
        let mut random = |buffer: &mut [u8]| {
            for byte in buffer {
                *byte = counter;
                counter = counter.wrapping_add(1);
            }
        };
        let restarted =
            self.turn(&id, |room, config| room.restart(now, config, &mut random, session, frag));
        self.counter = counter;
        restarted
    }

    pub(crate) fn handle_event(&mut self, now: Instant, event: Event) {
        let id = self.room_of(event.session());
        self.turn(&id, |room, _| room.handle_event(now, event));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for id in self.rooms.keys().cloned().collect::<Vec<_>>() {
            self.turn(&id, |room, _| room.handle_timeout(now));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.rooms.values().filter_map(Room::poll_timeout).min()
    }

    pub(crate) fn participants(&self, id: &RoomId) -> Option<Vec<ParticipantInfo>> {
        self.rooms.get(id).map(Room::participants)
    }

    pub(crate) fn viewers(&self, id: &RoomId) -> Option<Vec<ViewerInfo>> {
        self.rooms.get(id).map(Room::viewers)
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.rooms.values().any(|r| r.contains(session))
    }

    pub(crate) fn config(&self) -> &RoomConfig {
        &self.config
    }

    /// A negotiation whose result no room applies.
    pub(crate) fn negotiated(&mut self, roles: Roles, offer: &str) -> sfumato_room::Agreed {
        self.negotiate(|n| n.answer(roles, offer)).unwrap()
    }

    pub(crate) fn get(&self, id: &RoomId) -> Option<&Room> {
        self.rooms.get(id)
    }
}

/// Rooms, a clock, and what the rooms put out.
pub(crate) struct Node {
    pub(crate) rooms: Rooms,
    pub(crate) now: Instant,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let config = RoomConfig {
            candidates: vec![
                "198.51.100.1:7000".parse().unwrap(),
                "[2001:db8::1]:7000".parse().unwrap(),
            ],
            fingerprint: FINGERPRINT.into(),
            cname: "node".into(),
            limits,
            default_settings: RoomSettings::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        let now = Instant::now();
        Self { rooms: Rooms::new(config), now }
    }

    pub(crate) fn publish(&mut self, name: &str, offer: &str) -> Result<Accepted, RoomError> {
        self.rooms.publish(self.now, &room("r"), &who(name), offer)
    }

    pub(crate) fn watch(&mut self, target: Target, offer: &str) -> Result<Accepted, RoomError> {
        self.rooms.subscribe(self.now, &room("r"), None, target, offer)
    }

    /// A member enters with a room session.
    pub(crate) fn join(
        &mut self,
        name: &str,
        admission: Admission,
        offer: &str,
    ) -> Result<SessionId, RoomError> {
        let (participant, admission) = (Some(who(name)), Some(Box::new(admission)));
        let entering = Entering { participant, identity: None, target: Target::any(), admission };
        let id = room("r");
        let allowed = self.rooms.get(&id).map(|room| room.settings().codecs.clone());
        let allowed = allowed.unwrap_or_default();
        let agreed = self.rooms.negotiate_allowing(&allowed, |n| n.answer(Roles::Both, offer))?;
        let now = self.now;
        let entered =
            self.rooms.turn(&id, |room, config| room.enter(now, config, entering, agreed))?;
        Ok(entered.session)
    }

    /// A member that is connected, sends a voice and a picture, and has two slots of each kind.
    pub(crate) fn meet(&mut self, name: &str) -> SessionId {
        let session = self.join(name, Admission::default(), &meeting("av", "aavv")).unwrap();
        self.event(Event::Connected { session });
        session
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.rooms.handle_event(self.now, event);
    }

    pub(crate) fn command(
        &mut self,
        session: SessionId,
        command: MemberCommand,
    ) -> Result<(), RoomError> {
        let now = self.now;
        self.rooms.turn(&room("r"), |room, _| room.command(now, session, command))
    }

    pub(crate) fn administer(&mut self, command: AdminCommand) -> Result<(), RoomError> {
        let now = self.now;
        self.rooms.turn(&room("r"), |room, _| room.administer(now, command))
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
    }

    /// The records of the room's members; none when there is no room.
    pub(crate) fn records(&self) -> Vec<Arc<ParticipantRecord>> {
        self.rooms.get(&room("r")).map(Room::records).unwrap_or_default()
    }

    /// The record of a member.
    pub(crate) fn record(&self, name: &str) -> Arc<ParticipantRecord> {
        self.records().into_iter().find(|record| record.id.as_str() == name).unwrap()
    }

    /// The ids of a member's tracks.
    pub(crate) fn tracks_of(&self, name: &str) -> Vec<TrackId> {
        self.record(name).tracks.iter().map(|track| track.id).collect()
    }

    pub(crate) fn snapshot(&self, session: SessionId) -> Snapshot {
        self.rooms.get(&room("r")).unwrap().snapshot(session).unwrap()
    }

    /// All tracks that flow through slots of a session, by rising id.
    pub(crate) fn shown_to(&self, session: SessionId) -> Vec<TrackId> {
        let viewers = self.rooms.viewers(&room("r")).unwrap_or_default();
        let viewer = viewers.into_iter().find(|viewer| viewer.session == session);
        let slots = viewer.map(|viewer| viewer.slots).unwrap_or_default();
        let mut tracks: Vec<TrackId> = slots.iter().filter_map(|slot| slot.track).collect();
        tracks.sort_unstable();
        tracks
    }

    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.rooms.commands)
    }

    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.rooms.notices)
    }

    /// The notices since the last call, but for those of slots and speakers.
    pub(crate) fn told(&mut self) -> Vec<Notice> {
        let of_slots = |notice: &Notice| {
            let slots = matches!(notice, Notice::Slots { .. } | Notice::SlotsWanted { .. });
            slots || matches!(notice, Notice::Speakers(_))
        };
        self.notices().into_iter().filter(|notice| !of_slots(notice)).collect()
    }

    /// All commands in short: `open 1`, `bind 2/0 = 1`, `bind 2/0 = -`, `close 1`.
    pub(crate) fn log(&mut self) -> Vec<String> {
        self.commands().iter().flat_map(short).collect()
    }

    /// The plan and the answer of a publisher in an empty room.
    pub(crate) fn negotiate_up(offer: &str) -> (Arc<SessionPlan>, String) {
        let mut node = Node::new();
        let accepted = node.publish("p", offer).unwrap();
        (plan(&node.commands()[0]), accepted.answer)
    }

    /// The plan and the answer of a viewer of an empty room.
    pub(crate) fn negotiate_down(offer: &str) -> (Arc<SessionPlan>, String) {
        let mut node = Node::new();
        let accepted = node.watch(Target::any(), offer).unwrap();
        (plan(&node.commands()[0]), accepted.answer)
    }
}

pub(crate) fn plan(command: &Command) -> Arc<SessionPlan> {
    match command {
        Command::Open(plan) => plan.clone(),
        other => panic!("not an open: {other:?}"),
    }
}

fn short(command: &Command) -> Vec<String> {
    match command {
        Command::Open(plan) => vec![format!("open {}", plan.id)],
        Command::Update(plan) => vec![format!("update {}", plan.id)],
        Command::Restart { session, .. } => vec![format!("restart {session}")],
        Command::Bind { session, slots } => {
            let told = slots.iter().map(|(mid, binding)| match binding {
                Some(b) => format!("bind {session}/{mid} = {}", b.track),
                None => format!("bind {session}/{mid} = -"),
            });
            told.collect()
        }
        Command::SendData { session, message } => vec![format!("data {session} {}", message.topic)],
        Command::Close { session } => vec![format!("close {session}")],
    }
}

/// The binding of a slot in a list of commands; the last one counts.
pub(crate) fn binding(commands: &[Command], of: SessionId, slot: &str) -> Option<Binding> {
    let slot = Mid::parse(slot).unwrap();
    commands.iter().rev().find_map(|c| match c {
        Command::Bind { session, slots } if *session == of => {
            slots.iter().rev().find(|(mid, _)| *mid == slot)?.1.clone()
        }
        _ => None,
    })
}

/// Lines of an answer that begin with a prefix.
pub(crate) fn lines<'a>(answer: &'a str, prefix: &str) -> Vec<&'a str> {
    answer.lines().filter(|l| l.starts_with(prefix)).collect()
}

/// The lines of one media section; sections count from 0.
pub(crate) fn section(answer: &str, at: usize) -> String {
    format!("m={}", answer.split("m=").nth(at + 1).unwrap())
}

/// An offer to receive: each letter is a section, `a` audio, `v` video; mids count from 0.
pub(crate) fn slots(kinds: &str) -> String {
    let head = CHROMIUM_WATCH.split("m=").next().unwrap();
    let (audio, video) = (section(CHROMIUM_WATCH, 0), section(CHROMIUM_WATCH, 1));
    let mids: Vec<String> = (0..kinds.len()).map(|i| i.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    for (at, kind) in kinds.chars().enumerate() {
        let (text, mid) = if kind == 'a' { (&audio, "a=mid:0") } else { (&video, "a=mid:1") };
        offer.push_str(&text.replace(mid, &format!("a=mid:{at}")));
    }
    offer
}

/// An offer of a member: it sends in the first sections and receives in the others. Each letter is a section, `a` audio, `v`
/// video; mids count from 0.
pub(crate) fn meeting(sends: &str, receives: &str) -> String {
    let all = slots(&format!("{sends}{receives}"));
    let mut parts = all.split("m=");
    let mut offer = parts.next().unwrap().to_owned();
    for (at, part) in parts.enumerate() {
        let part = match at < sends.len() {
            true => part.replace("a=recvonly", "a=sendonly"),
            false => part.to_owned(),
        };
        offer.push_str(&format!("m={part}"));
    }
    offer
}

//! Rooms that are created, administered and looked at without HTTP: what the core adds to its rooms.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{CloseReason, Codec, Event, ParticipantId, Permissions, RoomId, SessionId};
use room::{
    AdminCommand, Admission, EndReason, Entering, ErrorKind, Limits, MemberCommand, Notice,
    ProfileChange, RecordChange, Roles, RoomConfig, RoomError, RoomSettings, SettingsChange,
    Target,
};
use sfumato_signaling::{Core, Observer};

const WATCH: &str = include_str!("../../sdp/fixtures/chromium-watch.sdp");
const PUBLISH: &str = include_str!("../../sdp/fixtures/ffmpeg-publish.sdp");
const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order and in short.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn hear(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Heard {
    fn notice(&self, room: &RoomId, notice: &Notice) {
        match notice {
            Notice::SessionClosed { session, reason } => {
                self.hear(format!("{room}: {session} {}", reason.as_str()));
            }
            Notice::Settings(settings) => {
                self.hear(format!("{room}: settings {}", settings.metadata));
            }
            _ => {}
        }
    }

    fn record(&self, room: &RoomId, change: &RecordChange) {
        match change {
            RecordChange::Put(r) => self.hear(format!("{room}: {} {}", r.id, r.profile.name)),
            RecordChange::Gone { id, .. } => self.hear(format!("{room}: {id} gone")),
        }
    }

    fn opened(&self, room: &RoomId) {
        self.hear(format!("{room} opened"));
    }

    fn closed(&self, room: &RoomId) {
        self.hear(format!("{room} closed"));
    }
}

struct Node {
    core: Core,
    heard: Heard,
    now: Instant,
}

fn id(text: &str) -> RoomId {
    RoomId::parse(text).unwrap()
}

fn who(text: &str) -> ParticipantId {
    ParticipantId::parse(text).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, RoomError>) -> ErrorKind {
    result.unwrap_err().kind()
}

impl Node {
    fn new(limits: Limits, default_settings: RoomSettings) -> Self {
        let config = RoomConfig {
            candidates: vec!["127.0.0.1:7000".parse().unwrap()],
            fingerprint: ["AB"; 32].join(":"),
            cname: "test".into(),
            limits,
            default_settings,
        };
        let heard = Heard::default();
        let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).unwrap();
        let core = Core::new(config, 1, random, |_| (), heard.clone());
        Self { core, heard, now: Instant::now() }
    }

    fn join(&self, room: &str, name: &str, offer: &str) -> Result<SessionId, RoomError> {
        let participant = Some(who(name));
        let admission = Some(Box::<Admission>::default());
        let entering = Entering { participant, identity: None, target: Target::any(), admission };
        let entered = self.core.enter(self.now, &id(room), entering, Roles::Both, offer)?;
        self.core.handle_event(self.now, Event::Connected { session: entered.session });
        Ok(entered.session)
    }

    fn administer(&self, room: &str, command: AdminCommand) -> Result<(), RoomError> {
        self.core.administer(self.now, &id(room), command)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }
}

#[test]
fn a_room_that_was_created_waits_and_keeps_its_settings_until_its_last_session_ended() {
    let mut node = Node::new(Limits { rooms: 1, ..Limits::default() }, RoomSettings::default());
    let settings = RoomSettings {
        metadata: "stand-up".into(),
        empty_timeout: 90 * SECOND,
        codecs: vec![Codec::Vp8],
        ..RoomSettings::default()
    };
    let create = |node: &Node, room: &str, settings: &RoomSettings| {
        node.core.create_room(node.now, &id(room), settings.clone())
    };
    assert_eq!(create(&node, "r", &settings), Ok(true));
    assert_eq!(create(&node, "r", &RoomSettings::default()), Ok(false), "it stays as it is");
    assert_eq!(node.core.settings(&id("r")).as_deref(), Some(&settings));
    assert_eq!(kind(create(&node, "s", &settings)), ErrorKind::Full);
    let wrong = RoomSettings { audible: 99, ..RoomSettings::default() };
    assert_eq!(kind(create(&node, "r", &wrong)), ErrorKind::Unsupported);
    // The room's codecs bind who publishes, here over WHIP.
    let refused = node.core.publish(node.now, &id("r"), &who("cam"), PUBLISH);
    assert_eq!(kind(refused), ErrorKind::Unsupported);
    node.wait(89 * SECOND);
    assert_eq!(node.core.counts().rooms, 1);
    let ann = node.join("r", "ann", WATCH).unwrap();
    node.wait(100 * SECOND);
    node.core.close(node.now, ann).unwrap();
    node.wait(89 * SECOND);
    assert_eq!(node.core.settings(&id("r")).as_deref(), Some(&settings));
    node.wait(SECOND);
    assert_eq!(node.core.settings(&id("r")), None);
    assert_eq!(node.core.counts(), room::Counts::default());
    let heard = node.heard.take();
    let ends =
        ["r opened".into(), format!("r: {ann} deleted"), "r: ann gone".into(), "r closed".into()];
    let of_ends: Vec<String> = heard.into_iter().filter(|line| ends.contains(line)).collect();
    assert_eq!(of_ends, ends);
    // An abandoned room makes place for another.
    assert_eq!(create(&node, "s", &settings), Ok(true));
}

#[test]
fn rooms_that_begin_with_a_session_have_the_default_settings() {
    let settings = RoomSettings { metadata: "default".into(), ..RoomSettings::default() };
    let node = Node::new(Limits::default(), settings.clone());
    node.join("r", "ann", WATCH).unwrap();
    assert_eq!(node.core.settings(&id("r")).as_deref(), Some(&settings));
}

#[test]
fn commands_reach_the_room_of_the_session_and_what_is_not_there_is_not_found() {
    let node = Node::new(Limits::default(), RoomSettings::default());
    let (ann, bob) = (node.join("r", "ann", WATCH).unwrap(), node.join("s", "bob", WATCH).unwrap());
    node.heard.take();
    let name = |name: &str| ProfileChange { name: Some(name.into()), metadata: None };
    node.core.command(node.now, ann, MemberCommand::UpdateProfile(name("Ann"))).unwrap();
    node.administer("s", AdminCommand::ChangeProfile(who("bob"), name("Bob"))).unwrap();
    let change = SettingsChange { metadata: Some("new".into()), ..SettingsChange::default() };
    node.administer("r", AdminCommand::ChangeRoom(change)).unwrap();
    assert_eq!(node.heard.take(), ["r: ann Ann", "s: bob Bob", "r: settings new"]);
    let snapshot = node.core.snapshot(ann).unwrap();
    assert_eq!((snapshot.me, snapshot.members.len()), (who("ann"), 1));
    assert_eq!(node.core.member_records(&id("s")).unwrap()[0].session, bob);
    let fewer = Permissions { data: false, ..Permissions::ALL };
    node.core.change_permissions_of(node.now, ann, fewer).unwrap();
    assert_eq!(node.core.permissions(ann), Some(fewer));
    assert_eq!(node.core.permissions_of(&id("s"), &who("bob")), Some(Permissions::ALL));
    node.core.end(node.now, ann, EndReason::Expired).unwrap();
    assert!(node.heard.take().contains(&"r: 1 expired".to_owned()));
    // Nothing of a session, a room or a member that is not there.
    assert_eq!(kind(node.core.snapshot(ann)), ErrorKind::NotFound);
    assert_eq!(kind(node.core.end(node.now, ann, EndReason::Expired)), ErrorKind::NotFound);
    let change = MemberCommand::UpdateProfile(name("Eve"));
    assert_eq!(kind(node.core.command(node.now, ann, change)), ErrorKind::NotFound);
    assert_eq!(kind(node.administer("r", AdminCommand::Close)), ErrorKind::NotFound);
    assert_eq!(kind(node.administer("s", AdminCommand::Remove(who("ann")))), ErrorKind::NotFound);
    assert_eq!(node.core.permissions(ann), None);
    assert!(node.core.member_records(&id("r")).is_none());
}

#[test]
fn closed_rooms_and_lost_members_leave_nothing_behind() {
    let mut node = Node::new(Limits::default(), RoomSettings::default());
    let ann = node.join("r", "ann", WATCH).unwrap();
    node.join("r", "bob", WATCH).unwrap();
    let reason = CloseReason::ConsentExpired;
    node.core.handle_event(node.now, Event::Closed { session: ann, reason });
    let counts = node.core.counts();
    assert_eq!((counts.participants, counts.sessions, counts.viewers), (2, 1, 0));
    // The lost member comes back on a node that has no place for one session more than that.
    let again = node.join("r", "ann", WATCH).unwrap();
    assert_eq!(node.core.counts().participants, 2);
    node.core.handle_event(node.now, Event::Closed { session: again, reason });
    node.administer("r", AdminCommand::Close).unwrap();
    assert_eq!(node.core.counts(), room::Counts::default());
    assert!(node.heard.take().contains(&"r closed".to_owned()));
    let ann = node.join("r", "ann", WATCH).unwrap();
    node.core.handle_event(node.now, Event::Closed { session: ann, reason });
    node.wait(30 * SECOND);
    assert_eq!(node.core.counts(), room::Counts::default());
    assert_eq!(node.core.poll_timeout(), None);
}

//! All rooms of a node without HTTP: the limits of the node, its counts, the work of big changes, and that one room
//! does not delay the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use model::{
    CloseReason, CodecSpec, Command, Event, MediaKind, ParticipantId, RoomId, SessionId, TrackId,
};
use room::{
    Accepted, CONNECT_TIMEOUT, Counts, EndReason, Entering, ErrorKind, Limits, LocalMedia, Notice,
    Roles, RoomConfig, RoomError, RoomSettings, Target,
};
use sfumato_signaling::{CommandSink, Core};

const PUBLISH: &str = include_str!("../../sdp/fixtures/ffmpeg-publish.sdp");
const WATCH: &str = include_str!("../../sdp/fixtures/chromium-watch.sdp");
/// Sessions that a change reaches in the call that makes it; the others need [`Core::work`].
const AT_ONCE: usize = 64;

/// A core, and what it put out.
struct Node {
    core: Core,
    commands: Arc<Mutex<Vec<Command>>>,
    notices: Arc<Mutex<Vec<Notice>>>,
    now: Instant,
}

fn core(
    limits: Limits,
    sink: impl CommandSink + 'static,
    observer: impl Fn(&Notice) + Send + Sync + 'static,
) -> Core {
    let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).unwrap();
    Core::new(config(limits), 1, random, sink, observer)
}

fn config(limits: Limits) -> RoomConfig {
    RoomConfig {
        candidates: vec!["127.0.0.1:7000".parse().unwrap()],
        fingerprint: ["AB"; 32].join(":"),
        cname: "test".into(),
        limits,
        default_settings: RoomSettings::default(),
    }
}

impl Node {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let (commands, notices): (Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<_>>>) = Default::default();
        let (sent, told) = (commands.clone(), notices.clone());
        let core = core(
            limits,
            move |command| sent.lock().unwrap().push(command),
            move |notice: &Notice| told.lock().unwrap().push(notice.clone()),
        );
        Self { core, commands, notices, now: Instant::now() }
    }

    fn publish(&self, room: &str, name: &str, offer: &str) -> Result<Accepted, RoomError> {
        self.core.publish(self.now, &id(room), &who(name), offer)
    }

    fn watch(&self, room: &str) -> Result<Accepted, RoomError> {
        self.core.subscribe(self.now, &id(room), None, Target::any(), WATCH)
    }

    fn close(&self, session: SessionId) {
        self.core.close(self.now, session).unwrap();
    }

    fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut self.commands.lock().unwrap())
    }

    /// Why a session ended.
    fn end_of(&self, session: SessionId) -> Option<EndReason> {
        self.notices.lock().unwrap().iter().find_map(|notice| match notice {
            Notice::SessionClosed { session: s, reason } if *s == session => Some(*reason),
            _ => None,
        })
    }
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

fn binds(commands: &[Command]) -> Vec<SessionId> {
    commands.iter().filter(|c| matches!(c, Command::Bind { .. })).map(Command::session).collect()
}

#[test]
fn a_full_node_refuses_before_it_reads_the_offer_and_a_replacement_takes_no_place() {
    let node = Node::with(Limits { sessions: 2, ..Limits::default() });
    let first = node.publish("r", "ann", PUBLISH).unwrap().session;
    node.watch("r").unwrap();
    for name in ["bob", "cat"] {
        assert_eq!(kind(node.publish("r", name, "no description")), ErrorKind::Full);
    }
    assert_eq!(kind(node.publish("other", "ann", PUBLISH)), ErrorKind::Full, "not this ann's room");
    assert_eq!(kind(node.watch("r")), ErrorKind::Full);
    assert_eq!(node.core.counts().sessions, 2, "a refused session is not counted");
    // An offer that cannot be parsed gives its place back.
    assert_eq!(kind(node.publish("r", "ann", "no description")), ErrorKind::BadSdp);
    for _ in 0..3 {
        node.publish("r", "ann", PUBLISH).unwrap();
    }
    assert_eq!(node.end_of(first), Some(EndReason::Replaced));
    let counts = node.core.counts();
    assert_eq!((counts.sessions, counts.participants, counts.viewers), (2, 1, 1));
}

#[test]
fn on_a_full_node_a_participants_new_session_replaces_its_old_one_at_once() {
    let node = Node::with(Limits { sessions: 2, ..Limits::default() });
    let old = node.publish("r", "ann", PUBLISH).unwrap().session;
    node.core.handle_event(node.now, Event::Connected { session: old });
    // If the node has a free place, both sessions exist until the new one is connected.
    let next = node.publish("r", "ann", PUBLISH).unwrap().session;
    assert!(node.core.contains(old) && node.core.contains(next));
    // If it has none, the old session ends at once, and so does its successor.
    let last = node.publish("r", "ann", PUBLISH).unwrap().session;
    assert!(!node.core.contains(old) && !node.core.contains(next) && node.core.contains(last));
    assert_eq!(node.core.counts().sessions, 1);
}

#[test]
fn the_limit_holds_where_a_participant_leaves_while_its_replacement_negotiates() {
    let core: Arc<OnceLock<Core>> = Arc::default();
    let (hold, now) = (core.clone(), Instant::now());
    let leaves: Arc<Mutex<Option<SessionId>>> = Arc::default();
    let asked = leaves.clone();
    // Random bytes are requested in the middle of a negotiation. At this moment ann's session ends, and another
    // session takes its place.
    let random = move |bytes: &mut [u8]| {
        bytes.fill(7);
        if let Some(ann) = asked.lock().unwrap().take() {
            let core = hold.get().unwrap();
            core.close(now, ann).unwrap();
            let codec = CodecSpec {
                pt: model::Pt(96),
                rtx_pt: None,
                codec: model::Codec::Vp8,
                clock_rate: 90_000,
                channels: 1,
                fmtp: String::new(),
                feedback: model::Feedback::default(),
                parameter_sets: None,
            };
            let media =
                LocalMedia { kind: MediaKind::Video, codecs: vec![codec], rids: Vec::new() };
            core.publish_local(&id("other"), &who("card"), vec![media]).unwrap();
        }
    };
    let limits = Limits { sessions: 1, ..Limits::default() };
    let made = Core::new(config(limits), 1, random, |_: Command| (), |_: &Notice| ());
    assert!(core.set(made).is_ok());
    let core = core.get().unwrap();
    let ann = core.publish(now, &id("r"), &who("ann"), PUBLISH).unwrap().session;
    *leaves.lock().unwrap() = Some(ann);
    assert_eq!(kind(core.publish(now, &id("r"), &who("ann"), PUBLISH)), ErrorKind::Full);
    assert_eq!(core.counts().sessions, 1);
}

#[test]
fn the_sessions_of_a_token_subject_are_limited_over_all_rooms() {
    let node = Node::with(Limits { sessions_per_subject: 2, ..Limits::default() });
    let watch = |room: &str, subject: &str| {
        let entering =
            Entering { participant: None, identity: None, target: Target::any(), admission: None };
        let subject = who(subject);
        node.core.enter_for(node.now, Some(&subject), &id(room), entering, Roles::ToPeer, WATCH)
    };
    let first = watch("a", "ann").unwrap().session;
    watch("b", "ann").unwrap();
    let refused = watch("c", "ann").unwrap_err();
    assert_eq!((refused.kind(), refused.status()), (ErrorKind::Quota, 429));
    assert!(refused.to_string().contains("at most 2 are allowed"), "{refused}");
    assert!(node.core.look(&id("c"), |_| ()).is_none(), "a refused session leaves no room behind");
    watch("c", "bob").expect("others have their own");
    node.watch("c").expect("without a subject nothing is counted");
    node.close(first);
    watch("c", "ann").expect("one has gone");
    // An offer that cannot be parsed is not counted.
    let entering =
        || Entering { participant: None, identity: None, target: Target::any(), admission: None };
    let enter = |offer| {
        let cat = who("cat");
        node.core.enter_for(node.now, Some(&cat), &id("c"), entering(), Roles::ToPeer, offer)
    };
    for _ in 0..3 {
        assert_eq!(kind(enter("no description")), ErrorKind::BadSdp);
    }
    assert!(enter(WATCH).is_ok() && enter(WATCH).is_ok() && enter(WATCH).is_err());
}

#[test]
fn at_its_session_limit_a_subject_that_publishes_again_replaces_its_own_session() {
    let node = Node::with(Limits { sessions_per_subject: 1, ..Limits::default() });
    let publish = |name: &str, subject: &str| {
        let participant = Some(who(name));
        let entering =
            Entering { participant, identity: None, target: Target::any(), admission: None };
        let subject = who(subject);
        node.core.enter_for(node.now, Some(&subject), &id("r"), entering, Roles::FromPeer, PUBLISH)
    };
    let old = publish("ann", "ann").unwrap().session;
    node.core.handle_event(node.now, Event::Connected { session: old });
    for _ in 0..3 {
        publish("ann", "ann").unwrap();
        assert_eq!(node.core.counts().sessions, 1);
    }
    assert!(!node.core.contains(old));
    publish("bob", "bob").unwrap();
    assert_eq!(kind(publish("bob", "ann")), ErrorKind::Quota, "bob's session is not ann's");
}

#[test]
fn a_room_that_is_full_of_viewers_says_so_before_the_offer_is_read() {
    let node = Node::with(Limits { viewers_per_room: 1, ..Limits::default() });
    node.watch("r").unwrap();
    let refused = node.watch("r").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("room r has 1 viewers"), "{refused}");
    node.watch("other").unwrap();
    node.publish("r", "ann", PUBLISH).unwrap();
}

#[test]
fn overdue_sessions_make_space_though_the_timer_is_late() {
    let mut node = Node::with(Limits { sessions: 2, ..Limits::default() });
    let stays = node.watch("a").unwrap().session;
    node.core.handle_event(node.now, Event::Connected { session: stays });
    let never = node.watch("b").unwrap().session;
    node.now += CONNECT_TIMEOUT - Duration::from_millis(1);
    assert_eq!(kind(node.watch("c")), ErrorKind::Full);
    node.now += Duration::from_millis(1);
    assert_eq!(node.core.poll_timeout(), Some(node.now), "the timer was not called");
    let new = node.watch("c").unwrap().session;
    assert_eq!(node.end_of(never), Some(EndReason::NeverConnected));
    assert!(node.core.contains(stays) && node.core.contains(new));
    assert_eq!(kind(node.watch("c")), ErrorKind::Full, "two are there again");
}

#[test]
fn timeouts_end_sessions_that_never_connected_in_every_room() {
    let mut node = Node::new();
    for room in ["a", "b", "c"] {
        node.watch(room).unwrap();
        node.now += Duration::from_secs(1);
    }
    let start = node.now - Duration::from_secs(3);
    for left in [2, 1, 0] {
        let due = node.core.poll_timeout().unwrap();
        assert_eq!(due, start + CONNECT_TIMEOUT + Duration::from_secs(2 - left));
        node.core.handle_timeout(due);
        assert_eq!(node.core.counts().rooms as u64, left);
    }
    assert_eq!(node.core.poll_timeout(), None);
}

#[test]
fn rooms_are_limited_before_an_offer_is_read_and_present_rooms_stay_open() {
    let node = Node::with(Limits { rooms: 2, ..Limits::default() });
    let first = node.watch("a").unwrap().session;
    node.publish("b", "ann", PUBLISH).unwrap();
    let refused = node.publish("c", "bob", "no description").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("room c: the node has 2 rooms"), "{refused}");
    node.publish("a", "bob", PUBLISH).unwrap();
    let bob = node.core.participants(&id("a")).unwrap().0[0].session;
    node.close(first);
    node.close(bob);
    node.watch("c").expect("an empty room makes space for another");
}

#[test]
fn a_room_that_is_full_of_publishers_says_so_before_the_offer_is_read() {
    let node = Node::with(Limits { participants_per_room: 1, ..Limits::default() });
    node.publish("r", "ann", PUBLISH).unwrap();
    assert_eq!(kind(node.publish("r", "bob", "no description")), ErrorKind::Full);
    node.publish("other", "bob", PUBLISH).unwrap();
    node.publish("r", "ann", PUBLISH).unwrap();
    assert_eq!(node.core.counts().participants, 2);
}

#[test]
fn counts_are_zero_and_no_room_is_left_when_all_sessions_have_ended() {
    let node = Node::new();
    let mut sessions = Vec::new();
    for room in ["a", "b"] {
        sessions.push(node.publish(room, "ann", PUBLISH).unwrap().session);
        for _ in 0..100 {
            sessions.push(node.watch(room).unwrap().session);
        }
    }
    for &session in &sessions {
        node.core.handle_event(node.now, Event::Connected { session });
    }
    let all = Counts { rooms: 2, participants: 2, viewers: 200, sessions: 202, connected: 202 };
    assert_eq!(node.core.counts(), all);
    // Publishers first, so that there are viewers to move when they end.
    for session in sessions {
        node.close(session);
    }
    while node.core.work() {}
    assert_eq!(node.core.counts(), Counts::default());
    assert!(node.core.rooms().is_empty() && !node.core.has_work());
    assert_eq!(node.core.poll_timeout(), None);
    let commands = node.take_commands();
    let count = |of: fn(&Command) -> bool| commands.iter().filter(|c| of(c)).count();
    assert_eq!(count(|c| matches!(c, Command::Open(_))), 202);
    assert_eq!(count(|c| matches!(c, Command::Close { .. })), 202, "the workers hear of each");
}

#[test]
fn sessions_that_come_at_once_are_counted_once_each() {
    const THREADS: usize = 4;
    // Two places for each thread, because a participant that publishes again has two sessions for a moment. So no
    // request may be refused.
    let limits = Limits { sessions: 2 * THREADS, ..Limits::default() };
    let core = Arc::new(core(limits, |_: Command| (), |_: &Notice| ()));
    let now = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|at| {
            let core = core.clone();
            thread::spawn(move || {
                let (room, name) = (id(&format!("r{}", at % 2)), who(&format!("p{at}")));
                for _ in 0..50 {
                    let old = core.publish(now, &room, &name, PUBLISH).unwrap().session;
                    let new = core.publish(now, &room, &name, PUBLISH).unwrap().session;
                    assert!(!core.contains(old));
                    core.close(now, new).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(core.counts(), Counts::default());
}

#[test]
fn offers_that_are_refused_leave_nothing_behind() {
    let node = Node::new();
    assert_eq!(kind(node.publish("r", "ann", "no description")), ErrorKind::BadSdp);
    assert_eq!(kind(node.publish("r", "ann", WATCH)), ErrorKind::Unsupported);
    assert_eq!(node.core.counts(), Counts::default());
    assert!(node.take_commands().is_empty());
    assert_eq!(
        kind(node.core.renegotiate(node.now, SessionId(7), WATCH, None)),
        ErrorKind::NotFound
    );
}

#[test]
fn a_publisher_of_500_viewers_is_accepted_with_few_commands_and_the_rest_come_by_work() {
    let node = Node::new();
    let viewers: Vec<SessionId> = (0..500).map(|_| node.watch("r").unwrap().session).collect();
    node.take_commands();
    node.publish("r", "ann", PUBLISH).unwrap();
    let at_once = node.take_commands();
    assert!(
        matches!(at_once[0], Command::Open(_)),
        "the publisher comes before what is bound to it"
    );
    assert!(at_once.len() <= 1 + AT_ONCE, "{} commands", at_once.len());
    assert!(node.core.has_work());
    // While some viewers are not fitted yet, the room handles other requests.
    let late = node.watch("r").unwrap().session;
    assert_eq!(binds(&node.take_commands()), [late]);
    let (mut bound, mut slices) = (binds(&at_once), 0);
    loop {
        let more = node.core.work();
        let slice = node.take_commands();
        assert!(slice.len() <= 256, "{} commands in a slice", slice.len());
        bound.extend(binds(&slice));
        slices += 1;
        if !more {
            break;
        }
    }
    assert!(slices >= 2 && !node.core.has_work());
    bound.sort_unstable();
    assert_eq!(bound, viewers, "each once");
}

#[test]
fn work_goes_round_the_busy_rooms() {
    let node = Node::new();
    for room in ["a", "b"] {
        for _ in 0..600 {
            node.watch(room).unwrap();
        }
    }
    let first = node.publish("a", "ann", PUBLISH).unwrap().session;
    let second = node.publish("b", "bob", PUBLISH).unwrap().session;
    node.take_commands();
    let publisher = |commands: &[Command]| -> SessionId {
        commands
            .iter()
            .find_map(|c| match c {
                Command::Bind { slots, .. } => slots.iter().find_map(|(_, b)| b.as_ref()),
                _ => None,
            })
            .unwrap()
            .publisher
    };
    let mut turns = Vec::new();
    while node.core.has_work() {
        node.core.work();
        turns.push(publisher(&node.take_commands()));
    }
    assert_eq!(turns[..4], [first, second, first, second]);
}

/// The sink is called under the room's lock. Once `held` is set, it blocks at the next command.
fn holding_core() -> (Arc<Core>, Arc<AtomicBool>, Receiver<()>, Sender<()>) {
    let hold = Arc::new(AtomicBool::new(false));
    let (entered, has_entered) = channel();
    let (release, released) = channel::<()>();
    let (asked, released) = (hold.clone(), Mutex::new(released));
    let sink = move |_command: Command| {
        if asked.swap(false, Ordering::AcqRel) {
            entered.send(()).unwrap();
            // The sender is dropped if the test failed.
            let _over = released.lock().unwrap().recv();
        }
    };
    (Arc::new(core(Limits::default(), sink, |_: &Notice| ())), hold, has_entered, release)
}

#[test]
fn a_busy_room_costs_the_others_nothing() {
    const LIMIT: Duration = Duration::from_secs(20);
    let (core, hold, has_entered, release) = holding_core();
    let now = Instant::now();
    let watch = move |core: &Core, room: &str| {
        core.subscribe(now, &id(room), None, Target::any(), WATCH).map(|a| a.session)
    };
    let neighbour = watch(&core, "b").unwrap();
    hold.store(true, Ordering::Release);
    let busy = core.clone();
    let blocked = thread::spawn(move || watch(&busy, "a").unwrap());
    has_entered.recv_timeout(LIMIT).expect("room a is in its turn");
    let (done, is_done) = channel();
    let others = core.clone();
    thread::spawn(move || {
        let core = others;
        let publisher = core.publish(now, &id("b"), &who("ann"), PUBLISH).unwrap().session;
        core.renegotiate(now, publisher, PUBLISH, None).unwrap();
        core.handle_event(now, Event::Connected { session: neighbour });
        core.work();
        core.handle_timeout(now);
        let fresh = watch(&core, "c").unwrap();
        core.close(now, fresh).unwrap();
        let seen = core.participants(&id("b")).unwrap();
        done.send((seen.0.len(), seen.1, core.counts().connected)).unwrap();
    });
    let seen = is_done.recv_timeout(LIMIT).expect("others wait for room a");
    assert!(!blocked.is_finished(), "room a was not held all the time");
    assert_eq!(seen, (1, 1, 1));
    release.send(()).unwrap();
    let late = blocked.join().unwrap();
    assert!(core.contains(late));
    assert_eq!(core.counts().sessions, 3);
}

#[test]
fn a_session_that_enters_while_the_last_one_ends_gets_a_room_that_stays() {
    let core = Arc::new(core(Limits::default(), |_: Command| (), |_: &Notice| ()));
    let now = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let core = core.clone();
            thread::spawn(move || {
                for _ in 0..100 {
                    let came = core.subscribe(now, &id("r"), None, Target::any(), WATCH).unwrap();
                    assert!(core.look(&id("r"), |room| room.contains(came.session)).unwrap());
                    core.close(now, came.session).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(core.counts(), Counts::default());
    assert!(core.rooms().is_empty());
}

#[test]
fn events_find_the_room_of_their_session() {
    let node = Node::new();
    let ann = node.publish("a", "ann", PUBLISH).unwrap().session;
    let bob = node.publish("b", "bob", PUBLISH).unwrap().session;
    let viewer = node.watch("b").unwrap().session;
    let track =
        |room: &str, at: usize| node.core.participants(&id(room)).unwrap().0[0].tracks[at].clone();
    let (now, active) = (node.now, track("b", 1).id);
    node.core.handle_event(now, Event::Connected { session: bob });
    node.core.handle_event(now, Event::TrackActive { session: bob, track: active });
    assert!(track("b", 1).active && !track("b", 0).active && !track("a", 1).active);
    let connected = |room: &str| node.core.participants(&id(room)).unwrap().0[0].connected;
    assert!(connected("b") && !connected("a"));
    assert_eq!(node.core.counts().connected, 1);
    node.take_commands();
    node.core.handle_event(now, Event::Closed { session: bob, reason: CloseReason::PeerClosed });
    assert_eq!(binds(&node.take_commands()), [viewer], "the viewer of that room is moved on");
    assert_eq!(node.end_of(bob), Some(EndReason::Transport(CloseReason::PeerClosed)));
    assert!(!node.core.contains(bob) && node.core.contains(ann));
    // Late events of a session that ended, and of one that never existed.
    for session in [bob, SessionId(999)] {
        node.core.handle_event(now, Event::Connected { session });
        node.core.handle_event(now, Event::TrackActive { session, track: TrackId(1) });
        node.core.handle_event(now, Event::Closed { session, reason: CloseReason::ConsentExpired });
    }
    let counts = node.core.counts();
    assert_eq!((counts.connected, counts.sessions, counts.rooms), (0, 2, 2));
    assert!(node.take_commands().is_empty());
}

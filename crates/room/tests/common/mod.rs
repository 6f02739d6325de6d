//! A node's rooms with a source of randomness that counts, so that answers can be compared as text.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Instant;

use model::{Binding, Command, Mid, ParticipantId, RoomId, SessionId, SessionPlan};
use sfumato_room::{Accepted, Limits, Notice, RoomConfig, RoomError, Rooms, Target};

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

/// Rooms, a clock, and what came out of them.
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
        };
        let mut counter = 0_u8;
        let random = move |buffer: &mut [u8]| {
            for byte in buffer {
                *byte = counter;
                counter = counter.wrapping_add(1);
            }
        };
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        let now = Instant::now();
        Self { rooms: Rooms::new(config, random), now }
    }

    pub(crate) fn publish(&mut self, name: &str, offer: &str) -> Result<Accepted, RoomError> {
        self.rooms.publish(self.now, &room("r"), &who(name), offer)
    }

    pub(crate) fn watch(&mut self, target: Target, offer: &str) -> Result<Accepted, RoomError> {
        self.rooms.subscribe(self.now, &room("r"), None, target, offer)
    }

    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.rooms.poll_command()).collect()
    }

    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.rooms.poll_notice()).collect()
    }

    /// All commands in short: `open 1`, `bind 2/0 = 1`, `bind 2/0 = -`, `close 1`.
    pub(crate) fn log(&mut self) -> Vec<String> {
        self.commands().iter().map(short).collect()
    }

    /// The plan and the answer of a publisher that is alone.
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

fn short(command: &Command) -> String {
    match command {
        Command::Open(plan) => format!("open {}", plan.id),
        Command::Restart { session, .. } => format!("restart {session}"),
        Command::Update(plan) => format!("update {}", plan.id),
        Command::Bind { session, slots } => {
            let told = slots.iter().map(|(mid, binding)| match binding {
                Some(b) => format!("bind {session}/{mid} = {}", b.track),
                None => format!("bind {session}/{mid} = -"),
            });
            told.collect::<Vec<_>>().join(", ")
        }
        Command::Close { session } => format!("close {session}"),
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

/// The lines of one media section, from 0.
pub(crate) fn section(answer: &str, at: usize) -> String {
    format!("m={}", answer.split("m=").nth(at + 1).unwrap())
}

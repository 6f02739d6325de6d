//! Parsers of the HTTP side: session descriptions and trickle fragments.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use ::sdp::{Fragment, Offer};
use model::{Command, ParticipantId, RoomId, SessionId};
use room::{ErrorKind, RoomConfig, RoomSettings, Target};
use signaling::Core;

const PUBLISHER: &str = include_str!("../../sdp/fixtures/ffmpeg-publish.sdp");
const VIEWER: &str = include_str!("../../sdp/fixtures/firefox-watch.sdp");

/// The number of SSRCs that a session may have.
const SSRCS_MAX: usize = 20;

/// All calls happen at this time.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Node {
    rooms: Core,
    room: RoomId,
    told: Arc<Mutex<Vec<Command>>>,
}

impl Node {
    fn new() -> Self {
        let config = RoomConfig {
            candidates: vec![([198, 51, 100, 1], 7882).into()],
            fingerprint: ["AB"; 32].join(":"),
            cname: "node".into(),
            limits: room::Limits::default(),
            default_settings: RoomSettings::default(),
        };
        let mut counter = 0_u8;
        let random = move |buffer: &mut [u8]| {
            for byte in buffer {
                counter = counter.wrapping_add(1);
                *byte = counter;
            }
        };
        let room = RoomId::parse("room").unwrap_or_else(|_| panic!("a room id"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let commands =
            move |command| sink.lock().unwrap_or_else(|_| panic!("no lock")).push(command);
        Self { rooms: Core::new(config, 1, random, commands, |_: &room::Notice| ()), room, told }
    }

    fn publish(&mut self, who: &str, offer: &str) -> Result<(SessionId, String), ErrorKind> {
        let who = ParticipantId::parse(who).unwrap_or_else(|_| panic!("a participant id"));
        let accepted = self.rooms.publish(*NOW, &self.room, &who, offer);
        accepted.map(|a| (a.session, a.answer)).map_err(|e| e.kind())
    }

    fn watch(&mut self, offer: &str) -> Result<(SessionId, String), ErrorKind> {
        let accepted = self.rooms.subscribe(*NOW, &self.room, None, Target::any(), offer);
        accepted.map(|a| (a.session, a.answer)).map_err(|e| e.kind())
    }

    fn commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(|_| panic!("no lock")))
    }
}

/// An offer, as a publisher's and as a viewer's. An accepted offer gets a complete answer that parses again; a refused
/// one is the client's fault and leaves nothing behind.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let offer = Offer::parse(&text);
    if let Ok(offer) = &offer {
        // The transport may be accepted or refused, but must not panic.
        let _judged = offer.peer_transport().is_ok();
    }
    let sections = offer.as_ref().map(|offer| offer.sections.len()).ok();

    let mut node = Node::new();
    let published = node.publish("stranger", &text);
    answered(&mut node, &published, sections);
    if published.is_ok() {
        // The slots of a viewer are bound to the tracks of the offer.
        let watching = node.watch(VIEWER);
        assert!(watching.is_ok(), "a stranger keeps a viewer out: {watching:?}");
        assert!(matches!(node.commands().first(), Some(Command::Open(_))));
    }

    let mut node = Node::new();
    assert!(node.publish("ann", PUBLISHER).is_ok());
    assert_eq!(node.commands().len(), 1);
    let watched = node.watch(&text);
    answered(&mut node, &watched, sections);
}

fn answered(
    node: &mut Node,
    result: &Result<(SessionId, String), ErrorKind>,
    sections: Option<usize>,
) {
    let commands = node.commands();
    let (session, answer) = match result {
        Ok((session, answer)) => (*session, answer),
        Err(kind) => {
            assert!(matches!(kind, ErrorKind::BadSdp | ErrorKind::Unsupported), "{kind:?}");
            assert!(commands.is_empty(), "a refused offer moved the workers");
            return;
        }
    };
    lines(answer);
    let again = match Offer::parse(answer) {
        Ok(again) => again,
        Err(error) => panic!("our answer does not parse: {error}\n{answer}"),
    };
    assert_eq!(Some(again.sections.len()), sections, "sections of offer and answer");
    assert!(again.ice_lite && again.peer_transport().is_ok());
    let Some(Command::Open(plan)) = commands.first() else {
        panic!("no session was opened: {commands:?}");
    };
    assert_eq!(plan.id, session);
    assert!(plan.up.len() + plan.down.len() <= again.sections.len());
    assert!(!plan.fingerprints.is_empty(), "a session that trusts any certificate");
    let streams = |media: &model::UpMedia| media.rids.len().max(media.ssrcs.len());
    let ssrcs: usize = plan.up.iter().map(streams).sum();
    assert!(ssrcs <= SSRCS_MAX, "{ssrcs} SSRCs agreed");
    assert_eq!(node.rooms.close(*NOW, session), Ok(()));
    assert!(matches!(node.commands().last(), Some(Command::Close { .. })));
}

/// The node's text consists of whole lines: no text of a client may begin a new one.
fn lines(text: &str) {
    assert!(text.ends_with("\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(line.len() > 1 && line.as_bytes()[1] == b'=', "{line:?}");
    }
}

/// A trickle or restart fragment for a live session. It changes nothing unless it is a complete restart.
pub fn sdpfrag(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = Fragment::parse(&text);
    let mut node = Node::new();
    let Ok((session, _)) = node.publish("ann", PUBLISHER) else {
        panic!("a good offer was refused");
    };
    node.commands();
    let trickled = node.rooms.trickle(session, &text);
    assert!(parsed.is_ok() || trickled.is_err());
    assert!(node.commands().is_empty(), "a candidate moved the workers");
    match node.rooms.restart(*NOW, session, &text) {
        Ok(answer) => {
            assert!(parsed.is_ok_and(|fragment| fragment.ufrag.is_some()));
            lines(&answer);
            let again = Fragment::parse(&answer);
            assert!(again.is_ok_and(|again| again.ufrag.is_some() && again.pwd.is_some()));
            assert!(matches!(node.commands().as_slice(), [Command::Restart { .. }]));
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::BadSdp | ErrorKind::Conflict), "{error}");
            assert!(node.commands().is_empty(), "a refused restart moved the workers");
        }
    }
}

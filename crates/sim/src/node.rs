//! The node without its sockets: signaling's core, the workers' cores, and the wiring between them. [`crate::world`]
//! decides what is called and when.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant, SystemTime},
};

use model::{Event, MediaKind, ParticipantId, Path, RoomId, SessionId, WallClock};
use room::{
    Accepted, EndReason, Entering, Limits, Notice, Roles, RoomConfig, RoomError, RoomSettings,
    Target,
};
use signaling::Core;
use transport::dtls::Certificate;
use worker::{Config, WorkerMetrics, lab::Detached};

use crate::{
    keys::{self, Keys},
    peer::describe::Offered,
    rng::Rng,
};

/// Where the node is.
pub(crate) const NODE: &str = "198.51.100.1:7000";
const FINGERPRINT: &str = "sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";
/// The node's wall clock at the beginning of a run.
const WALL_CLOCK: Duration = Duration::from_secs(1_700_000_000);

/// The face under which a peer comes: what its sections may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// WHIP: it sends.
    Publish,
    /// WHEP: it receives.
    Watch,
    /// Both, in one session.
    Meet,
}

/// Requests to signaling, over a connection that loses nothing. Beside each offer are its sections, for the checks.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Enter {
        face: Face,
        room: u8,
        who: Option<u16>,
        whom: Option<u16>,
        offer: String,
        sections: Vec<Offered>,
    },
    Renegotiate {
        session: SessionId,
        offer: String,
        sections: Vec<Offered>,
    },
    Restart {
        session: SessionId,
        fragment: String,
    },
    Close {
        session: SessionId,
    },
}

/// What signaling answers.
#[derive(Debug, Clone)]
pub(crate) enum Response {
    Accepted { session: SessionId, answer: String },
    Renegotiated { answer: String },
    Restarted { fragment: String },
    Closed,
    Refused(String),
}

/// A session that is over, as signaling sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) session: SessionId,
    pub(crate) reason: EndReason,
}

/// See the module's head.
pub(crate) struct Node {
    seed: u64,
    base: Instant,
    core: Core,
    notices: Arc<Mutex<Vec<Notice>>>,
    workers: Detached,
    events: Receiver<Event>,
    /// The kernel's receive queue of each worker.
    inbound: Vec<VecDeque<(SocketAddr, Vec<u8>)>>,
    /// Sessions that have their keys.
    shaken: BTreeSet<SessionId>,
    /// Datagrams that were given to the workers.
    pub(crate) given: u64,
}

impl Node {
    pub(crate) fn new(seed: u64, base: Instant, workers: usize) -> Result<Self, String> {
        let (sink, events) = channel();
        let sink = Mutex::new(sink);
        let report = Arc::new(move |event| {
            if let Ok(sink) = sink.lock() {
                let _over = sink.send(event);
            }
        });
        let clock = WallClock::new(base, SystemTime::UNIX_EPOCH + WALL_CLOCK);
        let mut config = Config::new(certificate()?, clock, report);
        config.workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
        config.pin = false;
        let workers = Detached::new(config, base, workers).map_err(|e| format!("workers: {e}"))?;
        let config = RoomConfig {
            candidates: vec![NODE.parse().map_err(|e| format!("{NODE}: {e}"))?],
            fingerprint: FINGERPRINT.into(),
            cname: "node".into(),
            limits: Limits::default(),
            default_settings: RoomSettings::default(),
        };
        let mut random = Rng::new(seed).fork(0x524f_4f4d);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (told, commanded) = (notices.clone(), workers.handle().clone());
        let core = Core::new(
            config,
            1,
            move |bytes: &mut [u8]| random.fill(bytes),
            move |command| commanded.send(&command),
            move |notice: &Notice| {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone())
            },
        );
        let inbound = (0..workers.metrics().len()).map(|_| VecDeque::new()).collect();
        Ok(Self {
            seed,
            base,
            core,
            notices,
            workers,
            events,
            inbound,
            shaken: BTreeSet::new(),
            given: 0,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.inbound.len()
    }

    /// A peer's request reaches signaling.
    pub(crate) fn request(&mut self, now: Duration, request: &Request) -> Response {
        self.carry_out(self.base + now, request).unwrap_or_else(Response::Refused)
    }

    fn carry_out(&self, now: Instant, request: &Request) -> Result<Response, String> {
        let refused = |error: RoomError| error.to_string();
        let Self { core, .. } = self;
        match request {
            Request::Enter { face, room, who, whom, offer, .. } => {
                let room = room_id(*room)?;
                let who = who.map(participant).transpose()?;
                let target = Target { participant: whom.map(participant).transpose()?, kind: None };
                let entered = match (face, who) {
                    (Face::Publish, Some(who)) => core.publish(now, &room, &who, offer),
                    (Face::Watch, who) => core.subscribe(now, &room, who.as_ref(), target, offer),
                    (_, participant) => {
                        let entering =
                            Entering { participant, identity: None, target, admission: None };
                        core.enter(now, &room, entering, Roles::Both, offer)
                    }
                };
                let Accepted { session, answer } = entered.map_err(refused)?;
                Ok(Response::Accepted { session, answer })
            }
            Request::Renegotiate { session, offer, .. } => {
                let renegotiated = core.renegotiate(now, *session, offer, None).map_err(refused)?;
                Ok(Response::Renegotiated { answer: renegotiated.answer })
            }
            Request::Restart { session, fragment } => {
                let answer = core.restart(now, *session, fragment).map_err(refused)?;
                Ok(Response::Restarted { fragment: answer })
            }
            Request::Close { session } => {
                core.close(now, *session).map(|()| Response::Closed).map_err(refused)
            }
        }
    }

    /// A worker's event reaches signaling.
    pub(crate) fn event(&mut self, now: Duration, event: Event) {
        self.core.handle_event(self.base + now, event);
    }

    /// The track that an event is about, as its publisher knows it: its kind, and which one of that kind.
    pub(crate) fn track_of(&self, event: &Event) -> Option<(MediaKind, usize)> {
        let (Event::TrackActive { session, track } | Event::TrackSilent { session, track }) = event
        else {
            return None;
        };
        let rooms = self.core.rooms().into_iter();
        let mut participants =
            rooms.filter_map(|room| self.core.participants(&room.id)).flat_map(|(all, _)| all);
        let tracks = participants.find(|p| p.session == *session)?.tracks;
        let kind = tracks.iter().find(|t| t.id == *track)?.kind;
        let nth = tracks.iter().filter(|t| t.kind == kind).position(|t| t.id == *track)?;
        Some((kind, nth))
    }

    /// When signaling has something to do.
    pub(crate) fn signaling_timeout(&self) -> Option<Duration> {
        if self.core.has_work() {
            return Some(Duration::ZERO);
        }
        self.core.poll_timeout().map(|at| at.saturating_duration_since(self.base))
    }

    /// Lets signaling do what is due, and one slice of `work`.
    pub(crate) fn signaling_turn(&mut self, now: Duration) {
        self.core.handle_timeout(self.base + now);
        self.core.work();
    }

    /// Sessions that signaling ended since the last call.
    pub(crate) fn ended(&mut self) -> Vec<Ended> {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = notices.drain(..).filter_map(|notice| match notice {
            Notice::SessionClosed { session, reason } => Some(Ended { session, reason }),
            _ => None,
        });
        ended.collect()
    }

    /// The kernel receives a datagram for a worker.
    pub(crate) fn arrive(&mut self, at: usize, from: SocketAddr, datagram: Vec<u8>) {
        self.inbound[at].push_back((from, datagram));
    }

    /// Whether a worker has something to do before its next timer.
    pub(crate) fn is_busy(&self, at: usize) -> bool {
        !self.inbound[at].is_empty() || self.workers.has_mail(at)
    }

    /// When a worker's next timer is due.
    pub(crate) fn next_wake(&self, at: usize) -> Option<Duration> {
        self.workers.next_wake(at).map(|wake| wake.saturating_duration_since(self.base))
    }

    /// Runs one turn of a worker. Returns whether there may be more to do at once, and what it sent.
    pub(crate) fn turn(&mut self, at: usize, now: Duration) -> (bool, Vec<(SocketAddr, Vec<u8>)>) {
        let instant = self.base + now;
        let mut sent = Vec::new();
        if self.workers.has_mail(at) {
            // Messages and orders come before datagrams.
            self.workers.turn(at, instant);
        }
        while let Some((from, mut datagram)) = self.inbound[at].pop_front() {
            if let Some(session) = keys::read_hello(&datagram) {
                if self.shake(at, now, session) {
                    sent.push((from, keys::done(session)));
                }
                continue;
            }
            self.given += 1;
            let path = Path { remote: from, local: local() };
            self.workers.datagram(at, instant, path, &mut datagram);
        }
        let more = self.workers.turn(at, instant);
        let datagrams = self.workers.sent(at).into_iter().map(|(path, bytes)| (path.remote, bytes));
        sent.extend(datagrams);
        (more, sent)
    }

    /// Ends a handshake: once per session, in the worker where the peer's hello arrived.
    fn shake(&mut self, at: usize, now: Duration, session: SessionId) -> bool {
        if self.shaken.contains(&session) {
            // Sent again, because the answer was lost.
            return self.workers.owner(session).is_some();
        }
        let keys = Keys::of(self.seed, session);
        let (Ok(sender), Ok(receiver)) = (keys.node_sender(), keys.node_receiver()) else {
            return false;
        };
        let connected = self.workers.connect(at, self.base + now, session, sender, receiver);
        if connected {
            self.shaken.insert(session);
        }
        connected
    }

    /// The workers' events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }

    pub(crate) fn metrics(&self) -> Vec<WorkerMetrics> {
        self.workers.metrics()
    }

    /// Whether nothing is under way between signaling and workers, and among workers.
    pub(crate) fn is_still(&self) -> bool {
        (0..self.count()).all(|at| !self.is_busy(at))
    }

    /// What is left after all peers are gone: one line per thing.
    pub(crate) fn left_behind(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let mut complain = |what: &str, count: usize| {
            if count > 0 {
                left.push(format!("{count} {what}"));
            }
        };
        let counts = self.core.counts();
        complain("rooms", counts.rooms);
        complain("sessions in rooms", counts.sessions);
        complain("sessions in the directory", self.workers.handle().sessions());
        for (at, metrics) in self.workers.metrics().into_iter().enumerate() {
            complain(&format!("sessions in worker {at}"), metrics.sessions as usize);
            complain(&format!("tracks in worker {at}"), metrics.tracks as usize);
            complain(&format!("copies waiting in worker {at}"), metrics.waiting as usize);
            complain(&format!("timers in worker {at}"), usize::from(self.next_wake(at).is_some()));
        }
        for at in 0..self.count() {
            let held = self.workers.held_packet_bytes(at);
            if held > 0 {
                left.push(format!("{held} bytes of packets held in worker {at}"));
            }
        }
        left
    }
}

fn local() -> std::net::IpAddr {
    std::net::Ipv4Addr::UNSPECIFIED.into()
}

/// One certificate for all runs: no handshake uses it.
fn certificate() -> Result<Arc<Certificate>, String> {
    static CERTIFICATE: OnceLock<Result<Arc<Certificate>, String>> = OnceLock::new();
    let make = || Certificate::generate().map(Arc::new).map_err(|e| format!("certificate: {e}"));
    CERTIFICATE.get_or_init(make).clone()
}

fn room_id(room: u8) -> Result<RoomId, String> {
    RoomId::parse(&format!("room-{room}")).map_err(|e| e.to_string())
}

fn participant(who: u16) -> Result<ParticipantId, String> {
    ParticipantId::parse(&format!("peer-{who}")).map_err(|e| e.to_string())
}

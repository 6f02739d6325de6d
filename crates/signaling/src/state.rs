//! What signaling holds: the rooms, the session resources, and the way to the workers. One lock around the rooms,
//! never held across an await; it is released before an answer is written.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Command, Event, ParticipantId, RoomId, SessionId};
use room::{Accepted, ErrorKind, LocalMedia, LocalPublished, Notice, RoomError, Rooms, Target};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::auth::{Authenticator, Caller};
use crate::config::Config;
use crate::counters::Counters;
use crate::http::problem::Problem;
use crate::http::resource::Precondition;
use crate::limits::Limiter;

/// Takes the rooms' commands to the workers.
///
/// Called with the rooms' lock held, so that commands keep their order: it must neither block nor call back.
pub trait CommandSink: Send + Sync {
    /// Sends a command to all workers.
    fn send(&self, command: Command);
}

impl<F: Fn(Command) + Send + Sync> CommandSink for F {
    fn send(&self, command: Command) {
        self(command);
    }
}

/// What the node tells about itself, beyond what signaling knows.
pub struct Operations {
    /// Appends metrics in the Prometheus text format (version 0.0.4).
    pub metrics: Box<dyn Fn(&mut String) + Send + Sync>,
    /// Whether the node can serve.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The signaling of a node; a cheap handle.
#[derive(Clone)]
pub struct Signaling(Arc<Shared>);

struct Shared {
    config: Config,
    auth: Authenticator,
    by_address: Limiter<IpAddr>,
    by_token: Limiter<u64>,
    // Tokens are kept in the table as keyed hashes only.
    token_hasher: RandomState,
    counters: Counters,
    operations: Operations,
    sink: Box<dyn CommandSink>,
    draining: AtomicBool,
    book: Mutex<Book>,
    // The rooms' next timeout may have moved.
    retimed: Notify,
}

struct Book {
    rooms: Rooms,
    resources: HashMap<String, Resource>,
    tokens: HashMap<SessionId, String>,
}

/// WHIP or WHEP: under which path a resource lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    Whip,
    Whep,
}

impl Face {
    fn as_str(self) -> &'static str {
        match self {
            Face::Whip => "whip",
            Face::Whep => "whep",
        }
    }
}

struct Resource {
    face: Face,
    room: RoomId,
    session: SessionId,
    owner: Option<ParticipantId>,
    etag: String,
}

/// The URL of a resource, as a request named it.
#[derive(Debug, Clone)]
pub(crate) struct ResourceKey {
    pub(crate) face: Face,
    pub(crate) room: RoomId,
    pub(crate) token: String,
}

/// A session that was opened.
pub(crate) struct Opened {
    /// Path of its resource.
    pub(crate) location: String,
    /// Its strong entity tag, quotes included.
    pub(crate) etag: String,
    /// The answer.
    pub(crate) answer: String,
}

/// What a PATCH did.
pub(crate) enum Patched {
    /// Candidates were taken in.
    Trickled,
    /// ICE begins anew.
    Restarted {
        /// The new entity tag.
        etag: String,
        /// Our side, as a fragment.
        fragment: String,
    },
}

/// Random bytes in a session URL: 192 bits, of which RFC 9725 section 5 wants enough that nobody guesses.
const TOKEN_BYTES: usize = 24;
const ETAG_BYTES: usize = 9;
const GUEST_BYTES: usize = 9;

/// What a client is told to wait when the node is full or leaves.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

impl Signaling {
    /// Joins the rooms, their face to the world, and the way to the workers.
    pub fn new(
        config: Config,
        rooms: Rooms,
        sink: impl CommandSink + 'static,
        operations: Operations,
    ) -> Self {
        let limits = &config.limits;
        Self(Arc::new(Shared {
            auth: Authenticator::new(&config.auth),
            by_address: Limiter::new(limits.per_address, limits.table_size),
            by_token: Limiter::new(limits.per_token, limits.table_size),
            token_hasher: RandomState::new(),
            counters: Counters::default(),
            operations,
            sink: Box::new(sink),
            draining: AtomicBool::new(false),
            book: Mutex::new(Book { rooms, resources: HashMap::new(), tokens: HashMap::new() }),
            retimed: Notify::new(),
            config,
        }))
    }

    /// From now on new sessions are turned away with 503, and the node is not ready. Sessions that are there stay.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Takes worker events and the rooms' timers to the rooms, for ever.
    pub async fn drive(&self, mut events: UnboundedReceiver<Event>) {
        let mut open = true;
        loop {
            let deadline = self.lock().rooms.poll_timeout();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv(), if open => match event {
                    Some(event) => self.handle_event(event),
                    None => open = false,
                },
                () = self.0.retimed.notified() => {}
                () = timer => self.with_book(|book, now| book.rooms.handle_timeout(now)),
            }
        }
    }

    /// An event from a worker.
    pub fn handle_event(&self, event: Event) {
        self.with_book(|book, now| book.rooms.handle_event(now, event));
    }

    /// Takes a publisher without a peer connection into a room.
    ///
    /// # Errors
    /// The rooms are full, or the media are none.
    pub fn publish_local(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        self.with_book(|book, _| book.rooms.publish_local(room, participant, media))
    }

    /// Runs `f` on the rooms, then carries out what it caused.
    fn with_book<T>(&self, f: impl FnOnce(&mut Book, Instant) -> T) -> T {
        let mut book = self.lock();
        let before = book.rooms.poll_timeout();
        let result = f(&mut book, Instant::now());
        while let Some(command) = book.rooms.poll_command() {
            self.0.sink.send(command);
        }
        while let Some(notice) = book.rooms.poll_notice() {
            book.take_notice(notice);
        }
        if book.rooms.poll_timeout() != before {
            self.0.retimed.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A panic ends the request that caused it, not the node.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn take_notice(&mut self, notice: Notice) {
        match notice {
            Notice::SessionClosed { session, reason } => {
                if let Some(token) = self.tokens.remove(&session) {
                    self.resources.remove(&token);
                }
                tracing::info!(%session, reason = reason.as_str(), "session ended");
            }
            Notice::Incompatible { viewer, track, publisher } => {
                tracing::info!(%viewer, %track, %publisher, "no codec in common");
            }
        }
    }

    fn find(&self, key: &ResourceKey, caller: &Caller) -> Result<&Resource, Problem> {
        self.resources
            .get(&key.token)
            .filter(|resource| {
                resource.face == key.face
                    && resource.room == key.room
                    && caller.owns(&resource.room, resource.owner.as_ref())
            })
            .ok_or_else(Problem::not_found)
    }
}

/// For the handlers.
impl Signaling {
    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn auth(&self) -> &Authenticator {
        &self.0.auth
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.0.operations
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn by_address(&self) -> &Limiter<IpAddr> {
        &self.0.by_address
    }

    pub(crate) fn take_by_token(&self, token: &str, now: Instant) -> Result<(), Duration> {
        self.0.by_token.take(self.0.token_hasher.hash_one(token), now)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Whether new sessions are taken.
    ///
    /// # Errors
    /// 503 while draining.
    pub(crate) fn welcome(&self) -> Result<(), Problem> {
        if self.is_draining() { Err(unavailable("The node is leaving.")) } else { Ok(()) }
    }

    /// Looks at the rooms; changes nothing.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&Rooms) -> T) -> T {
        f(&self.lock().rooms)
    }

    /// A participant publishes; without a name it gets one.
    pub(crate) fn publish(
        &self,
        room: &RoomId,
        participant: Option<ParticipantId>,
        owner: Option<ParticipantId>,
        offer: &str,
    ) -> Result<Opened, Problem> {
        let participant = match participant {
            Some(participant) => participant,
            None => guest()?,
        };
        self.open(Face::Whip, room, owner, |rooms, now| {
            rooms.publish(now, room, &participant, offer)
        })
    }

    /// Somebody watches.
    pub(crate) fn subscribe(
        &self,
        room: &RoomId,
        viewer: Option<ParticipantId>,
        target: Target,
        owner: Option<ParticipantId>,
        offer: &str,
    ) -> Result<Opened, Problem> {
        self.open(Face::Whep, room, owner, |rooms, now| {
            rooms.subscribe(now, room, viewer.as_ref(), target, offer)
        })
    }

    fn open(
        &self,
        face: Face,
        room: &RoomId,
        owner: Option<ParticipantId>,
        agree: impl FnOnce(&mut Rooms, Instant) -> Result<Accepted, RoomError>,
    ) -> Result<Opened, Problem> {
        let (token, etag) = (random_text::<TOKEN_BYTES>()?, new_etag()?);
        self.with_book(|book, now| {
            let Accepted { session, answer } =
                agree(&mut book.rooms, now).map_err(|e| refused(&e))?;
            tracing::info!(%session, %room, face = face.as_str(), "session agreed");
            let location = format!("/{}/{room}/sessions/{token}", face.as_str());
            let resource =
                Resource { face, room: room.clone(), session, owner, etag: etag.clone() };
            book.tokens.insert(session, token.clone());
            book.resources.insert(token, resource);
            Ok(Opened { location, etag, answer })
        })
    }

    /// The entity tag of a session.
    ///
    /// # Errors
    /// 404 when there is none that is the caller's.
    pub(crate) fn find(&self, key: &ResourceKey, caller: &Caller) -> Result<String, Problem> {
        self.lock().find(key, caller).map(|resource| resource.etag.clone())
    }

    /// Trickles, or restarts ICE. Which of them is said by the credentials in the fragment, not by the
    /// precondition (RFC 9725 section 4.3.3).
    pub(crate) fn patch(
        &self,
        key: &ResourceKey,
        caller: &Caller,
        precondition: &Precondition,
        fragment: &str,
    ) -> Result<Patched, Problem> {
        let etag = new_etag()?;
        self.with_book(|book, now| {
            let resource = book.find(key, caller)?;
            if !precondition.holds(&resource.etag) {
                return Err(Problem::new(
                    StatusCode::PRECONDITION_FAILED,
                    "stale-etag",
                    "Precondition failed",
                    "The ICE session has another ETag now.",
                ));
            }
            let session = resource.session;
            match book.rooms.trickle(session, fragment) {
                Ok(()) => return Ok(Patched::Trickled),
                Err(e) if e.kind() != ErrorKind::Conflict => return Err(refused(&e)),
                Err(_other_generation) => {}
            }
            let fragment = book.rooms.restart(now, session, fragment).map_err(|e| refused(&e))?;
            if let Some(resource) = book.resources.get_mut(&key.token) {
                resource.etag.clone_from(&etag);
            }
            Ok(Patched::Restarted { etag, fragment })
        })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// 404 when there is none that is the caller's.
    pub(crate) fn delete(&self, key: &ResourceKey, caller: &Caller) -> Result<(), Problem> {
        self.with_book(|book, now| {
            let session = book.find(key, caller)?.session;
            // The notice would remove it too; a session that the rooms lost has to go as well.
            book.resources.remove(&key.token);
            book.tokens.remove(&session);
            book.rooms.close(now, session).map_err(|e| refused(&e))
        })
    }
}

fn refused(error: &RoomError) -> Problem {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::BadSdp => Problem::bad_request("bad-sdp", text),
        ErrorKind::Unsupported => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unsupported-offer",
            "Unprocessable content",
            text,
        ),
        ErrorKind::NotFound => Problem::not_found(),
        ErrorKind::Conflict => Problem::new(StatusCode::CONFLICT, "conflict", "Conflict", text),
        ErrorKind::Full => unavailable(text),
        ErrorKind::Internal => {
            tracing::error!(error = text, "the rooms failed");
            Problem::internal()
        }
    }
}

fn unavailable(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable", why)
        .retry_after(RETRY_WHEN_FULL)
}

fn random_text<const N: usize>() -> Result<String, Problem> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
        tracing::error!("the system gives no random numbers");
        Problem::internal()
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn new_etag() -> Result<String, Problem> {
    Ok(format!("\"{}\"", random_text::<ETAG_BYTES>()?))
}

fn guest() -> Result<ParticipantId, Problem> {
    let name = format!("guest-{}", random_text::<GUEST_BYTES>()?);
    ParticipantId::parse(&name).map_err(|_| Problem::internal())
}

//! What signaling holds beside the rooms ([`crate::core`]): the session resources, the limits of requests, and the way in and out for
//! a node. No lock is held across an await, nor while an offer is read or an answer written.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Event, ParticipantId, RoomId, SessionId};
use room::{
    Accepted, Entering, ErrorKind, LocalMedia, LocalPublished, Notice, Roles, RoomConfig,
    RoomError, Target,
};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::auth::{Authenticator, Caller};
use crate::config::Config;
use crate::core::{CommandSink, Core};
use crate::counters::Counters;
use crate::http::problem::Problem;
use crate::http::resource::Precondition;
use crate::limits::Limiter;

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
    draining: AtomicBool,
    core: Core,
    resources: Arc<Resources>,
    // The core's next timeout may have moved, or it has work.
    changed: Notify,
}

/// Session resources by the secret in their URL.
#[derive(Default)]
struct Resources(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_token: HashMap<String, Arc<Resource>>,
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
    /// Locked while a PATCH is carried out: of two at once, the second meets the tag that the first left.
    etag: Mutex<String>,
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
    /// Media sections were renegotiated.
    Renegotiated {
        /// The entity tag, another one if ICE begins anew.
        etag: String,
        /// The answer.
        answer: String,
    },
}

/// The body of a PATCH.
pub(crate) enum Patch<'b> {
    /// Candidates, or new credentials (RFC 8840).
    Fragment(&'b str),
    /// A later offer of the session.
    Offer(&'b str),
}

/// Random bytes in a session URL: 192 bits, of which RFC 9725 section 5 wants enough that nobody guesses.
const TOKEN_BYTES: usize = 24;
const ETAG_BYTES: usize = 9;
const GUEST_BYTES: usize = 9;

/// What a client is told to wait when the node is full or leaves.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

impl Signaling {
    /// Joins the rooms, their face to the world, and the way to the workers. `random` fills a buffer from the operating
    /// system's generator.
    pub fn new(
        config: Config,
        rooms: RoomConfig,
        random: impl FnMut(&mut [u8]) + Send + 'static,
        sink: impl CommandSink + 'static,
        operations: Operations,
    ) -> Self {
        let limits = &config.limits;
        let resources = Arc::new(Resources::default());
        let observed = resources.clone();
        // Seconds tell one life of the node from the next: it does not start twice in one.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let epoch = since.unwrap_or_default().as_secs();
        let core =
            Core::new(rooms, epoch, random, sink, move |notice| observed.take_notice(notice));
        Self(Arc::new(Shared {
            auth: Authenticator::new(&config.auth),
            by_address: Limiter::new(limits.per_address, limits.table_size),
            by_token: Limiter::new(limits.per_token, limits.table_size),
            token_hasher: RandomState::new(),
            counters: Counters::default(),
            operations,
            draining: AtomicBool::new(false),
            core,
            resources,
            changed: Notify::new(),
            config,
        }))
    }

    /// From now on new sessions are turned away with 503, and the node is not ready. Sessions that are there stay.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Takes worker events and timers to the rooms, and lets viewers take in what changed, for ever.
    pub async fn drive(&self, mut events: UnboundedReceiver<Event>) {
        let mut open = true;
        loop {
            let deadline = self.0.core.poll_timeout();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let busy = async {
                if !self.0.core.has_work() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                // Events first: a change for thousands of viewers keeps nobody waiting who connects.
                biased;
                event = events.recv(), if open => match event {
                    Some(event) => self.handle_event(event),
                    None => open = false,
                },
                () = self.0.changed.notified() => {}
                () = timer => self.0.core.handle_timeout(Instant::now()),
                () = busy => {
                    self.0.core.work();
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// An event from a worker.
    pub fn handle_event(&self, event: Event) {
        self.0.core.handle_event(Instant::now(), event);
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
        let published = self.0.core.publish_local(room, participant, media);
        self.0.changed.notify_one();
        published
    }

    /// The rooms.
    pub fn core(&self) -> &Core {
        &self.0.core
    }
}

impl Resources {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        // A panic ends the request that caused it, not the node.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, token: String, resource: Resource) {
        let mut tables = self.lock();
        tables.tokens.insert(resource.session, token.clone());
        tables.by_token.insert(token, Arc::new(resource));
    }

    fn remove(&self, session: SessionId) {
        let mut tables = self.lock();
        if let Some(token) = tables.tokens.remove(&session) {
            tables.by_token.remove(&token);
        }
    }

    fn take_notice(&self, notice: &Notice) {
        match notice {
            Notice::SessionClosed { session, reason } => {
                self.remove(*session);
                tracing::info!(%session, reason = reason.as_str(), "session ended");
            }
            Notice::Incompatible { viewer, track, publisher } => {
                tracing::info!(%viewer, %track, %publisher, "no codec in common");
            }
        }
    }

    fn find(&self, key: &ResourceKey, caller: &Caller) -> Result<Arc<Resource>, Problem> {
        let resource = self.lock().by_token.get(&key.token).cloned();
        resource
            .filter(|resource| {
                resource.face == key.face
                    && resource.room == key.room
                    && caller.owns(&resource.room, resource.owner.as_ref())
            })
            .ok_or_else(Problem::not_found)
    }
}

impl Resource {
    fn etag(&self) -> MutexGuard<'_, String> {
        self.etag.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (subject, participant) = (owner.clone(), Some(participant));
        let entering = Entering { participant, identity: None, target: Target::any() };
        self.open(Face::Whip, room, owner, |core, now| {
            core.enter_for(now, subject.as_ref(), room, entering, Roles::FromPeer, offer)
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
        let subject = owner.clone();
        let entering = Entering { participant: None, identity: viewer, target };
        self.open(Face::Whep, room, owner, |core, now| {
            core.enter_for(now, subject.as_ref(), room, entering, Roles::ToPeer, offer)
        })
    }

    fn open(
        &self,
        face: Face,
        room: &RoomId,
        owner: Option<ParticipantId>,
        agree: impl FnOnce(&Core, Instant) -> Result<Accepted, RoomError>,
    ) -> Result<Opened, Problem> {
        let (token, etag) = (random_text::<TOKEN_BYTES>()?, new_etag()?);
        let Shared { core, resources, changed, .. } = &*self.0;
        let accepted = agree(core, Instant::now());
        changed.notify_one();
        let Accepted { session, answer } = accepted.map_err(|e| refused(&e))?;
        tracing::info!(%session, %room, face = face.as_str(), "session agreed");
        let location = format!("/{}/{room}/sessions/{token}", face.as_str());
        let tag = Mutex::new(etag.clone());
        resources.insert(token, Resource { face, room: room.clone(), session, owner, etag: tag });
        if !core.contains(session) {
            // It ended before it had a resource: nobody will take that away.
            resources.remove(session);
        }
        Ok(Opened { location, etag, answer })
    }

    /// The entity tag of a session.
    ///
    /// # Errors
    /// 404 when there is none that is the caller's.
    pub(crate) fn find(&self, key: &ResourceKey, caller: &Caller) -> Result<String, Problem> {
        Ok(self.0.resources.find(key, caller)?.etag().clone())
    }

    /// Trickles, restarts ICE, or renegotiates. Whether a fragment trickles or restarts is said by its credentials, not by the
    /// precondition (RFC 9725 section 4.3.3).
    pub(crate) fn patch(
        &self,
        key: &ResourceKey,
        caller: &Caller,
        precondition: &Precondition,
        patch: &Patch<'_>,
    ) -> Result<Patched, Problem> {
        let Shared { core, resources, changed, .. } = &*self.0;
        let resource = resources.find(key, caller)?;
        let mut etag = resource.etag();
        if !precondition.holds(&etag) {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "stale-etag",
                "Precondition failed",
                "The ICE session has another ETag now.",
            ));
        }
        let (session, now) = (resource.session, Instant::now());
        let patched = match patch {
            Patch::Fragment(fragment) => match core.trickle(session, fragment) {
                Ok(()) => return Ok(Patched::Trickled),
                Err(e) if e.kind() != ErrorKind::Conflict => return Err(refused(&e)),
                Err(_other_generation) => {
                    let restarted = core.restart(now, session, fragment);
                    let fragment = restarted.map_err(|e| refused(&e))?;
                    *etag = new_etag()?;
                    Patched::Restarted { etag: etag.clone(), fragment }
                }
            },
            Patch::Offer(offer) => {
                let renegotiated = core.renegotiate(now, session, offer);
                let renegotiated = renegotiated.map_err(|e| refused(&e))?;
                if renegotiated.restarts {
                    *etag = new_etag()?;
                }
                Patched::Renegotiated { etag: etag.clone(), answer: renegotiated.answer }
            }
        };
        changed.notify_one();
        Ok(patched)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// 404 when there is none that is the caller's.
    pub(crate) fn delete(&self, key: &ResourceKey, caller: &Caller) -> Result<(), Problem> {
        let Shared { core, resources, changed, .. } = &*self.0;
        let session = resources.find(key, caller)?.session;
        // The notice would remove it too; a session that the rooms lost has to go as well.
        resources.remove(session);
        let closed = core.close(Instant::now(), session).map_err(|e| refused(&e));
        changed.notify_one();
        closed
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
        ErrorKind::Quota => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-sessions",
            "Too many requests",
            text,
        )
        .retry_after(RETRY_WHEN_FULL),
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

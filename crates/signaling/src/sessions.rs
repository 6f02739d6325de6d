//! What a request does with a session: opens, changes or ends it. Each is one call into the session's room
//! ([`crate::calls`]), which runs to its end even if the client closes the connection.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{MemberKind, ParticipantId, Permissions, RoomId, SessionId};
use room::{
    Accepted, Admission, Entering, ErrorKind, ParticipantRecord, Roles, RoomError, SessionInfo,
    Target, TrackDescription,
};

use crate::auth::{Caller, Claim};
use crate::core::Core;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::resource::Precondition;
use crate::log::DEFECT_LINES;
use crate::resources::{Face, Resource, ResourceKey};
use crate::state::{Shared, Signaling};

/// A session that was opened, as the answer tells it.
pub(crate) struct Opened {
    /// The path of its resource.
    pub(crate) location: String,
    /// Its strong entity tag, quotes included.
    pub(crate) etag: String,
    /// The SDP answer.
    pub(crate) answer: String,
    /// The session.
    pub(crate) session: SessionId,
    /// The participant, if it has a name.
    pub(crate) identity: Option<ParticipantId>,
}

/// Who joins a room with a room session, and how.
pub(crate) struct Joining {
    pub(crate) room: RoomId,
    /// `None`: it gets a generated name.
    pub(crate) identity: Option<ParticipantId>,
    pub(crate) claim: Claim,
    pub(crate) admission: Admission,
    pub(crate) offer: String,
}

/// The result of a PATCH.
pub(crate) enum Patched {
    /// Candidates were accepted.
    Trickled,
    /// ICE was restarted.
    Restarted {
        /// The new entity tag.
        etag: String,
        /// The node's side, as a fragment.
        fragment: String,
    },
    /// Media sections were renegotiated.
    Renegotiated {
        /// The entity tag; a new one if ICE was restarted.
        etag: String,
        /// The SDP answer.
        answer: String,
    },
}

/// The body of a PATCH.
pub(crate) enum Patch {
    /// Candidates, or new credentials (RFC 8840).
    Fragment(String),
    /// A later offer of the session, and what its sending sections are; `None`: those that stay keep their description.
    Offer(String, Option<Vec<TrackDescription>>),
}

/// Random bytes in a session URL: 192 bits. RFC 9725 section 5 asks for enough that the URL cannot be guessed.
const TOKEN_BYTES: usize = 24;
const ETAG_BYTES: usize = 9;
const GUEST_BYTES: usize = 9;

/// The `Retry-After` of a node that is full or stops.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

impl Signaling {
    /// The publishers of a room, and the number of its viewers; none when there is no such room.
    ///
    /// # Errors
    /// The room is busy.
    pub(crate) async fn records(
        &self,
        room: &RoomId,
    ) -> Result<(Vec<Arc<ParticipantRecord>>, usize), Problem> {
        let (signaling, id) = (self.clone(), room.clone());
        let read = move || signaling.core().records(&id).unwrap_or_default();
        self.0.calls.run(room, read).await
    }

    /// At most `most` sessions of a room with numbers above `after`, by rising number; sessions without a peer
    /// connection are left out.
    ///
    /// # Errors
    /// The room is busy.
    pub(crate) async fn sessions_of(
        &self,
        room: &RoomId,
        after: Option<SessionId>,
        most: usize,
    ) -> Result<Vec<SessionInfo>, Problem> {
        let (signaling, id) = (self.clone(), room.clone());
        let read = move || {
            let sessions = signaling.core().look(&id, |room| room.sessions_after(after, most));
            sessions.unwrap_or_default()
        };
        self.0.calls.run(room, read).await
    }

    /// Runs a listing that locks each room in turn. It waits when a room is locked for long, so only one runs at a
    /// time: several would take all threads.
    ///
    /// # Errors
    /// A room is busy.
    pub(crate) async fn listing<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let signaling = self.clone();
        self.0.calls.run_alone(move || read(signaling.core())).await
    }

    /// Opens a publishing session; a participant without a name gets a generated one. It publishes the sources that its token grants, as
    /// with a room session: otherwise a token for a microphone would do for a camera here.
    pub(crate) async fn publish(
        &self,
        room: RoomId,
        participant: Option<ParticipantId>,
        claim: Claim,
        permissions: Permissions,
        offer: String,
    ) -> Result<Opened, Problem> {
        let participant = match participant {
            Some(participant) => participant,
            None => guest()?,
        };
        let participant = Some(participant);
        // WHIP has no messages, so there is nothing else that it may do.
        let permissions =
            Permissions { data: false, update_self: false, admin: false, ..permissions };
        let admission = Admission { kind: MemberKind::Whip, permissions, ..Admission::default() };
        let admission = Some(Box::new(admission));
        let entering = Entering { participant, identity: None, target: Target::any(), admission };
        self.open(Face::Whip, room, claim, entering, offer).await
    }

    /// Opens a watching session.
    pub(crate) async fn subscribe(
        &self,
        room: RoomId,
        viewer: Option<ParticipantId>,
        target: Target,
        claim: Claim,
        offer: String,
    ) -> Result<Opened, Problem> {
        let entering = Entering { participant: None, identity: viewer, target, admission: None };
        self.open(Face::Whep, room, claim, entering, offer).await
    }

    /// Opens a room session.
    ///
    /// # Errors
    /// Those of [`Core::enter_for`].
    pub(crate) async fn join(&self, joining: Joining) -> Result<Opened, Problem> {
        let Joining { room, identity, claim, admission, offer } = joining;
        let participant = match identity {
            Some(identity) => identity,
            None => guest()?,
        };
        let entering = Entering {
            participant: Some(participant),
            identity: None,
            target: Target::any(),
            admission: Some(Box::new(admission)),
        };
        self.open(Face::Session, room, claim, entering, offer).await
    }

    async fn open(
        &self,
        face: Face,
        room: RoomId,
        claim: Claim,
        entering: Entering,
        offer: String,
    ) -> Result<Opened, Problem> {
        let (signaling, queue) = (self.clone(), room.clone());
        let call = move || signaling.open_now(face, room, claim, entering, &offer);
        self.0.calls.run(&queue, call).await?
    }

    fn open_now(
        &self,
        face: Face,
        room: RoomId,
        claim: Claim,
        entering: Entering,
        offer: &str,
    ) -> Result<Opened, Problem> {
        let (token, etag) = (random_text::<TOKEN_BYTES>()?, new_etag()?);
        let Shared { core, resources, changed, lines, hub, expiry, .. } = &*self.0;
        let roles = match face {
            Face::Whip => Roles::FromPeer,
            Face::Whep => Roles::ToPeer,
            Face::Session => Roles::Both,
        };
        let identity = entering.participant.clone().or_else(|| entering.identity.clone());
        let entered =
            core.enter_for(Instant::now(), claim.owner.subject(), &room, entering, roles, offer);
        changed.notify_one();
        let Accepted { session, answer } = entered.map_err(|e| refused(&e))?;
        lines.agreed(session, &room, face);
        if let (Face::Session, Some(identity)) = (face, &identity) {
            hub.open(session, &room, identity.clone());
        }
        let location = face.location(&room, &token);
        let tag = Mutex::new(etag.clone());
        let owner = Mutex::new(claim.owner);
        resources.insert(token, Resource { face, room, session, owner, etag: tag });
        expiry.opened(face, session, claim.expires);
        if !core.contains(session) {
            // The session ended before its resource was stored, so the notice of its end found nothing to remove.
            resources.remove(session);
            expiry.remove(session);
            hub.forget(session);
        }
        Ok(Opened { location, etag, answer, session, identity })
    }

    /// Checks that the caller has a session under this URL. Takes no lock that is held for long.
    ///
    /// # Errors
    /// 404 when it has none.
    pub(crate) fn check(&self, key: &ResourceKey, caller: &Caller) -> Result<(), Problem> {
        self.0.resources.find(key, caller).map(|_| ())
    }

    /// The entity tag of a session, after a PATCH that is under way.
    ///
    /// # Errors
    /// 404 when the caller has no such session.
    pub(crate) async fn etag(&self, key: &ResourceKey, caller: &Caller) -> Result<String, Problem> {
        let resource = self.0.resources.find(key, caller)?;
        self.0.calls.run(&key.room, move || resource.etag().clone()).await
    }

    /// Trickles, restarts ICE, or renegotiates. A fragment restarts ICE if its credentials are new, whatever the
    /// precondition says (RFC 9725 section 4.3.3).
    pub(crate) async fn patch(
        &self,
        key: &ResourceKey,
        caller: &Caller,
        precondition: Precondition,
        patch: Patch,
    ) -> Result<Patched, Problem> {
        // The session may end while the call waits to run; the room answers `NotFound` then.
        let resource = self.0.resources.find(key, caller)?;
        let signaling = self.clone();
        let call = move || signaling.patch_now(&resource, &precondition, &patch);
        self.0.calls.run(&key.room, call).await?
    }

    fn patch_now(
        &self,
        resource: &Resource,
        precondition: &Precondition,
        patch: &Patch,
    ) -> Result<Patched, Problem> {
        let Shared { core, changed, .. } = &*self.0;
        let mut etag = resource.etag();
        if !precondition.holds(&etag) {
            return Err(Problem::new(
                ProblemKind::STALE_ETAG,
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
            Patch::Offer(offer, tracks) => {
                let renegotiated = core.renegotiate(now, session, offer, tracks.as_deref());
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
    /// 404 when the caller has no such session.
    pub(crate) async fn delete(&self, key: &ResourceKey, caller: &Caller) -> Result<(), Problem> {
        let resource = self.0.resources.find(key, caller)?;
        self.end(&resource).await
    }

    /// Ends the session of a resource.
    ///
    /// # Errors
    /// 404 when it ended already.
    pub(crate) async fn end(&self, resource: &Resource) -> Result<(), Problem> {
        let session = resource.session;
        // The notice of the session's end removes the resource too, but for a session that the rooms do not know there
        // is no such notice.
        self.0.resources.remove(session);
        let signaling = self.clone();
        let call = move || {
            let closed = signaling.core().close(Instant::now(), session);
            signaling.0.changed.notify_one();
            closed.map_err(|e| refused(&e))
        };
        self.0.calls.run(&resource.room, call).await?
    }
}

pub(crate) fn refused(error: &RoomError) -> Problem {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::BadSdp => Problem::new(ProblemKind::BAD_SDP, text),
        ErrorKind::Unsupported => Problem::new(ProblemKind::UNSUPPORTED_OFFER, text),
        ErrorKind::Forbidden => {
            // RFC 6750 section 3.1: another token may grant more.
            let challenge = "Bearer realm=\"sfumato\", error=\"insufficient_scope\"";
            Problem::new(ProblemKind::FORBIDDEN, text)
                .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
        }
        ErrorKind::NotFound => Problem::not_found(),
        ErrorKind::Conflict => Problem::new(ProblemKind::CONFLICT, text),
        ErrorKind::Full => unavailable(text),
        ErrorKind::Quota => {
            Problem::new(ProblemKind::TOO_MANY_SESSIONS, text).retry_after(RETRY_WHEN_FULL)
        }
        ErrorKind::Internal => {
            if let Some(hidden) = DEFECT_LINES.pass() {
                tracing::error!(error = text, hidden, "the rooms failed");
            }
            Problem::internal()
        }
    }
}

pub(crate) fn unavailable(why: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::UNAVAILABLE, why).retry_after(RETRY_WHEN_FULL)
}

fn random_text<const N: usize>() -> Result<String, Problem> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
        if let Some(hidden) = DEFECT_LINES.pass() {
            tracing::error!(hidden, "the system gives no random numbers");
        }
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

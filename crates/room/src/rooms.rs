//! The state of all rooms of this node: who publishes, who watches, which sessions there are, and when one that never
//! connects is given up. What is agreed with a peer is decided in `negotiate`, what flows to it in `slots`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    CloseReason, Command, Event, IceCredentials, MediaKind, ParticipantId, RoomId, SessionId,
    SessionPlan, TrackId,
};
use sdp::{Fault, Flow, Fragment, SdpError};

use crate::negotiate::{Negotiated, Negotiation};
use crate::random::Random;
use crate::slots::{SlotTable, Source};
use crate::state::{Ice, Role, Room, Session, Track};
use crate::{
    Accepted, EndReason, ErrorKind, LocalMedia, LocalPublished, Notice, RoomConfig, RoomError,
    Target,
};

/// How long a session may take from its answer to the end of its DTLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// All rooms of this node. After each call, drain [`Rooms::poll_command`] and [`Rooms::poll_notice`], then ask
/// [`Rooms::poll_timeout`]. Each call that is given the time gives up overdue sessions on its way.
#[derive(Debug)]
pub struct Rooms {
    config: RoomConfig,
    random: Random,
    pub(crate) rooms: BTreeMap<RoomId, Room>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    next_session: u64,
    next_track: u64,
    deadlines: BTreeSet<(Instant, SessionId)>,
    commands: VecDeque<Command>,
    notices: VecDeque<Notice>,
}

impl Rooms {
    /// Empty rooms. `random` fills a buffer from the operating system's generator; credentials and SSRCs come from it.
    pub fn new(mut config: RoomConfig, random: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        // RFC 8122 section 5: the hash function stands before the hash.
        if !config.fingerprint.contains(' ') {
            config.fingerprint.insert_str(0, "sha-256 ");
        }
        Self {
            config,
            random: Random::new(random),
            rooms: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
            next_track: 1,
            deadlines: BTreeSet::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// A participant publishes (WHIP). The room is made when it is not there; a session with which the same
    /// participant published before is closed, after its viewers were moved to the new one.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`, `Full`; `Conflict` when an in-process publisher has the name, since that one would not
    /// come back. No session has changed then.
    pub fn publish(
        &mut self,
        now: Instant,
        room: &RoomId,
        participant: &ParticipantId,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        self.handle_timeout(now);
        let old = self.publisher_of(room, participant);
        if old.and_then(|id| self.sessions.get(&id)).is_some_and(|session| session.ice.is_none()) {
            let text = format!("participant {participant} is this node's own; choose another name");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        self.check_publisher_room(room, old)?;
        let agreed = self.negotiate(Flow::FromPeer, offer)?;
        let tracks = agreed.plan.up.iter().map(Track::of_plan).collect();
        let role = Role::Publisher { participant: participant.clone(), tracks };
        let (session, answer) = self.open(now, room, role, agreed);
        self.enter_publisher(room, session, old);
        Ok(Accepted { session, answer })
    }

    /// Somebody watches (WHEP). With nobody to watch yet, the session waits, and media begins when a publisher comes:
    /// the viewer's page may open before the show, and its begin is no storm of reconnects.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`, `Full`. No session has changed then.
    pub fn subscribe(
        &mut self,
        now: Instant,
        room: &RoomId,
        viewer: Option<&ParticipantId>,
        target: Target,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        self.handle_timeout(now);
        self.check_space(room, 0)?;
        let agreed = self.negotiate(Flow::ToPeer, offer)?;
        let slots = SlotTable::new(&agreed.plan.down);
        let role = Role::Viewer { identity: viewer.cloned(), target, slots };
        let (session, answer) = self.open(now, room, role, agreed);
        self.rooms.entry(room.clone()).or_default().viewers.push(session);
        self.assign(room, &[session]);
        Ok(Accepted { session, answer })
    }

    /// Takes in an in-process publisher; one of the same name is replaced. No `Open` command is made, since there is
    /// no peer connection; viewers are bound to its tracks as to any other's.
    ///
    /// # Errors
    /// `Full`; `Unsupported` when there is no track or a track has no codec.
    pub fn publish_local(
        &mut self,
        room: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        if media.is_empty() || media.iter().any(|m| m.codecs.is_empty()) {
            let text = format!(
                "participant {participant}: at least one track, each with a codec, is needed"
            );
            return Err(RoomError::new(ErrorKind::Unsupported, text));
        }
        let old = self.publisher_of(room, participant);
        self.check_publisher_room(room, old)?;
        let tracks: Vec<Track> =
            media.into_iter().map(|m| Track::of_local(self.take_track_id(), m)).collect();
        let ids = tracks.iter().map(|t| t.id).collect();
        let session = self.take_session_id();
        let role = Role::Publisher { participant: participant.clone(), tracks };
        let state =
            Session { room: room.clone(), connected: true, deadline: None, ice: None, role };
        self.sessions.insert(session, state);
        self.enter_publisher(room, session, old);
        Ok(LocalPublished { session, tracks: ids })
    }

    /// A trickle fragment (RFC 8840, PATCH with the session's ETag). Its candidates are of no use to an ICE-lite
    /// server, which sends no checks, and are dropped silently.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`; `Conflict` when it is of another ICE generation.
    pub fn trickle(&mut self, session: SessionId, frag: &str) -> Result<(), RoomError> {
        let ice = self.ice_of(session)?;
        let fragment = Fragment::parse(frag).map_err(refuse)?;
        match &fragment.ufrag {
            Some(ufrag) if *ufrag != ice.credentials.remote_ufrag => Err(RoomError::new(
                ErrorKind::Conflict,
                format!(
                    "session {session}: the fragment's a=ice-ufrag is not the current one; restart ICE to change it"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// An ICE restart (PATCH with `If-Match: *`): the answer is a fragment with our new credentials and candidates.
    ///
    /// # Errors
    /// `NotFound`; `BadSdp` also when credentials are missing; `Conflict` when they are not new. The session lives on
    /// then as it was.
    pub fn restart(
        &mut self,
        now: Instant,
        session: SessionId,
        frag: &str,
    ) -> Result<String, RoomError> {
        self.handle_timeout(now);
        let current = &self.ice_of(session)?.credentials;
        let fragment = Fragment::parse(frag).map_err(refuse)?;
        let (Some(ufrag), Some(pwd)) = (fragment.ufrag, fragment.pwd) else {
            let text = format!("session {session}: a restart needs a=ice-ufrag and a=ice-pwd");
            return Err(RoomError::new(ErrorKind::BadSdp, text));
        };
        // RFC 8839 section 4.4.1.1.1: a restart changes both.
        if ufrag == current.remote_ufrag || pwd == current.remote_pwd {
            let text =
                format!("session {session}: a restart needs a new a=ice-ufrag and a new a=ice-pwd");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let credentials = IceCredentials {
            local_ufrag: self.random.ufrag(),
            local_pwd: self.random.pwd(),
            remote_ufrag: ufrag,
            remote_pwd: pwd,
        };
        let Some(ice) = self.sessions.get_mut(&session).and_then(|s| s.ice.as_mut()) else {
            return Err(not_found(session));
        };
        ice.credentials = credentials.clone();
        let (kind, protocol, mid) = &ice.facts.tagged;
        let answer = Fragment::restart_answer(
            &credentials.local_ufrag,
            &credentials.local_pwd,
            &ice.facts.ice_options,
            &ice.facts.bundle,
            (kind, protocol, *mid),
            &self.config.candidates,
        );
        self.commands.push_back(Command::Restart { session, ice: credentials });
        Ok(answer)
    }

    /// Ends a session (DELETE).
    ///
    /// # Errors
    /// `NotFound`.
    pub fn close(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        self.handle_timeout(now);
        match self.end(session, EndReason::Deleted) {
            true => Ok(()),
            false => Err(not_found(session)),
        }
    }

    /// An event from a worker. Events of sessions that are gone are ignored. After `Closed`, a `Close` command still
    /// goes out, since the other workers keep the plan of the session until they are told.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected { session } => {
                if let Some(state) = self.sessions.get_mut(&session) {
                    state.connected = true;
                    if let Some(deadline) = state.deadline.take() {
                        self.deadlines.remove(&(deadline, session));
                    }
                }
            }
            Event::TrackActive { session, track } => {
                if let Some(Session { role: Role::Publisher { tracks, .. }, .. }) =
                    self.sessions.get_mut(&session)
                {
                    tracks.iter_mut().filter(|t| t.id == track).for_each(|t| t.active = true);
                }
            }
            Event::Closed { session, reason } => {
                let reason = match reason {
                    CloseReason::NeverConnected => EndReason::NeverConnected,
                    reason => EndReason::Transport(reason),
                };
                self.end(session, reason);
            }
        }
        self.handle_timeout(now);
    }

    /// The next command, to be sent to every worker in this order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When [`Rooms::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Closes sessions that did not connect in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, session)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.end(session, EndReason::NeverConnected);
        }
    }
}

/// Coming and going.
impl Rooms {
    fn negotiate(&mut self, flow: Flow, offer: &str) -> Result<Negotiated, RoomError> {
        let negotiation = Negotiation {
            config: &self.config,
            random: &mut self.random,
            next_track: &mut self.next_track,
            session: SessionId(self.next_session),
            flow,
        };
        let agreed = negotiation.run(offer).map_err(refuse)?;
        self.next_session += 1;
        Ok(agreed)
    }

    /// Makes the session that was agreed, and tells the workers.
    fn open(
        &mut self,
        now: Instant,
        room: &RoomId,
        role: Role,
        agreed: Negotiated,
    ) -> (SessionId, String) {
        let Negotiated { plan, answer, restart: facts } = agreed;
        let session = plan.id;
        let deadline = now + CONNECT_TIMEOUT;
        let ice = Some(Ice { credentials: plan.ice.clone(), facts });
        let state =
            Session { room: room.clone(), connected: false, deadline: Some(deadline), ice, role };
        self.sessions.insert(session, state);
        self.deadlines.insert((deadline, session));
        self.commands.push_back(Command::Open(Arc::<SessionPlan>::new(plan)));
        (session, answer)
    }

    /// Puts a publisher into its room, in the place of the session that it replaces. Viewers are bound to the new
    /// session before the old one is closed.
    fn enter_publisher(&mut self, room: &RoomId, session: SessionId, old: Option<SessionId>) {
        let publishers = &mut self.rooms.entry(room.clone()).or_default().publishers;
        match publishers.iter().position(|id| Some(*id) == old) {
            Some(at) => publishers[at] = session,
            None => publishers.push(session),
        }
        self.assign_all(room);
        if let Some(old) = old {
            self.end(old, EndReason::Replaced);
        }
    }

    /// Takes a session out of everything; its slots or viewers follow. False when it is not there.
    fn end(&mut self, id: SessionId, reason: EndReason) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(deadline) = session.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some(room) = self.rooms.get_mut(&session.room) {
            let members = match session.role {
                Role::Publisher { .. } => &mut room.publishers,
                Role::Viewer { .. } => &mut room.viewers,
            };
            // A publisher that was replaced has left its place already.
            let place = members.iter().position(|m| *m == id);
            if let Some(at) = place {
                members.remove(at);
            }
            if room.publishers.is_empty() && room.viewers.is_empty() {
                self.rooms.remove(&session.room);
            } else if place.is_some() && matches!(session.role, Role::Publisher { .. }) {
                self.assign_all(&session.room);
            }
        }
        // Workers never heard of an in-process publisher.
        if session.ice.is_some() {
            self.commands.push_back(Command::Close { session: id });
        }
        self.notices.push_back(Notice::SessionClosed { session: id, reason });
        true
    }

    fn assign_all(&mut self, room: &RoomId) {
        if let Some(viewers) = self.rooms.get(room).map(|r| r.viewers.clone()) {
            self.assign(room, &viewers);
        }
    }

    /// Fits what the room's publishers send into the slots of these viewers.
    fn assign(&mut self, room: &RoomId, viewers: &[SessionId]) {
        let Some(publishers) = self.rooms.get(room).map(|r| r.publishers.clone()) else { return };
        for &viewer in viewers {
            // The viewer leaves the table for a moment, so that sources may be borrowed from the rest.
            let Some(mut session) = self.sessions.remove(&viewer) else { continue };
            if let Role::Viewer { identity, target, slots } = &mut session.role {
                let sources = self.sources(&publishers, identity.as_ref(), target);
                let changes = slots.assign(&sources);
                if !changes.binds.is_empty() {
                    self.commands
                        .push_back(Command::Bind { session: viewer, slots: changes.binds });
                }
                let told = changes.incompatible.into_iter();
                self.notices.extend(told.map(|(track, publisher)| Notice::Incompatible {
                    viewer,
                    track,
                    publisher,
                }));
            }
            self.sessions.insert(viewer, session);
        }
    }

    /// What a viewer is to see, in order of arrival. Of everyone it is not shown itself; by name it may ask for itself,
    /// to watch from elsewhere what it sends.
    fn sources(
        &self,
        publishers: &[SessionId],
        viewer: Option<&ParticipantId>,
        target: &Target,
    ) -> Vec<Source<'_>> {
        let mut sources = Vec::with_capacity(publishers.len());
        for &session in publishers {
            let Some(Role::Publisher { participant, tracks }) =
                self.sessions.get(&session).map(|s| &s.role)
            else {
                continue;
            };
            let wanted = match &target.participant {
                Some(wanted) => wanted == participant,
                None => Some(participant) != viewer,
            };
            if !wanted {
                continue;
            }
            let of_kind = |kind| {
                let wanted = target.kind.is_none_or(|k| k == kind);
                tracks.iter().filter(move |t| wanted && t.kind == kind).map(Track::as_source)
            };
            let (mut audio, mut video) = (of_kind(MediaKind::Audio), of_kind(MediaKind::Video));
            for place in 0.. {
                match (audio.next(), video.next()) {
                    (None, None) => break,
                    (audio, video) => sources.push(Source { session, place, audio, video }),
                }
            }
        }
        sources
    }

    fn take_track_id(&mut self) -> TrackId {
        let id = TrackId(self.next_track);
        self.next_track += 1;
        id
    }

    fn take_session_id(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        id
    }
}

/// Questions.
impl Rooms {
    fn publisher_of(&self, room: &RoomId, wanted: &ParticipantId) -> Option<SessionId> {
        let publishers = &self.rooms.get(room)?.publishers;
        publishers.iter().copied().find(|id| {
            matches!(
                self.sessions.get(id).map(|s| &s.role),
                Some(Role::Publisher { participant, .. }) if participant == wanted
            )
        })
    }

    fn check_publisher_room(&self, room: &RoomId, old: Option<SessionId>) -> Result<(), RoomError> {
        let most = self.config.limits.participants_per_room;
        let there = self.rooms.get(room).map_or(0, |r| r.publishers.len());
        if old.is_none() && there >= most {
            let text = format!("room {room} has {there} participants; at most {most} are allowed");
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        self.check_space(room, usize::from(old.is_some()))
    }

    /// `leaving` sessions make room for the new one.
    fn check_space(&self, room: &RoomId, leaving: usize) -> Result<(), RoomError> {
        let limits = self.config.limits;
        if self.sessions.len() - leaving >= limits.sessions {
            let text = format!("the node has {} sessions, which is its limit", limits.sessions);
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        if !self.rooms.contains_key(room) && self.rooms.len() >= limits.rooms {
            let text =
                format!("room {room}: the node has {} rooms, which is its limit", limits.rooms);
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        Ok(())
    }

    fn ice_of(&self, session: SessionId) -> Result<&Ice, RoomError> {
        self.sessions.get(&session).and_then(|s| s.ice.as_ref()).ok_or_else(|| not_found(session))
    }
}

fn refuse(error: SdpError) -> RoomError {
    let kind = match error.fault() {
        Fault::Malformed => ErrorKind::BadSdp,
        Fault::Unsupported => ErrorKind::Unsupported,
    };
    RoomError::new(kind, error.to_string())
}

fn not_found(session: SessionId) -> RoomError {
    RoomError::new(ErrorKind::NotFound, format!("no session {session}"))
}

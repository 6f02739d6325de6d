//! One room: its sessions, who publishes, who watches, and when a session that never connects is given up. It can be owned by
//! whoever holds it: a lock, a task, later a node with a lease. What is common to all rooms (ids, limits of the node, names) is outside; so is
//! the negotiation of offers, whose result is taken in here.
//!
//! A change of what is published makes a new *revision* of the room's tracks. Viewers take it in a few at a time: accepting a publisher costs
//! the same with five viewers and with five thousand, and between two slices of [`Room::work`] the room can answer others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use model::{
    CloseReason, Command, Event, IceCredentials, MediaKind, NodeId, ParticipantId, RoomId,
    SessionId, TrackId, UpMedia,
};
use sdp::Fragment;

use crate::agreement::Agreement;
use crate::mappings::Mappings;
use crate::negotiate::Agreed;
use crate::policy::{ByArrival, SlotPolicy};
use crate::publishers::Publishers;
use crate::random::Random;
use crate::records::{ParticipantRecord, RecordChange, TrackRecord};
use crate::session::{Session, Watching};
use crate::slots::{SlotTable, Source};
use crate::{
    Accepted, EndReason, ErrorKind, Ids, LocalMedia, LocalPublished, Notice, RoomConfig, RoomError,
    Target,
};

/// How long a session may take from its answer to the end of its DTLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Tables of payload types that one slice of [`Room::work`] works out before it lets others have the room: one or two for a browser, thousands
/// where viewers offer 64 sections of lists that nobody else has.
const TABLES_PER_SLICE: u64 = 64;
/// Viewers that a change reaches at once; rooms of up to so many need no [`Room::work`].
const AT_ONCE: usize = 64;

/// Who comes in, and for what.
#[derive(Debug, Clone)]
pub struct Entering {
    /// Publishes under this name.
    pub participant: Option<ParticipantId>,
    /// Watches under this name, or under none.
    pub identity: Option<ParticipantId>,
    /// What it wants to see, if it watches.
    pub target: Target,
}

/// What came of a renegotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renegotiated {
    /// The answer, `application/sdp`.
    pub answer: String,
    /// ICE begins anew.
    pub restarts: bool,
}

/// See the head of the file. After each call, drain [`Room::poll_command`], [`Room::poll_notice`] and [`Room::poll_record`], then
/// ask [`Room::poll_timeout`], and call [`Room::work`] until it says that nothing is left.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) publishers: Publishers,
    pub(crate) viewers: usize,
    pub(crate) connected: usize,
    mappings: Mappings,
    /// Counts changes of what is published.
    revision: u64,
    /// Where the round of the viewers goes on, and how many sessions it has still to look at.
    cursor: SessionId,
    round: usize,
    /// Sessions that are over; the workers hear of it when their viewers were moved on.
    farewells: VecDeque<SessionId>,
    deadlines: BTreeSet<(Instant, SessionId)>,
    commands: VecDeque<Command>,
    notices: VecDeque<Notice>,
}

impl Room {
    /// An empty room. `node` and `epoch` are the author of the records of those who publish here.
    pub fn new(id: RoomId, node: NodeId, epoch: u64) -> Self {
        Self {
            id,
            sessions: BTreeMap::new(),
            publishers: Publishers::new(node, epoch),
            viewers: 0,
            connected: 0,
            mappings: Mappings::default(),
            revision: 0,
            cursor: SessionId(0),
            round: 0,
            farewells: VecDeque::new(),
            deadlines: BTreeSet::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Its name.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Whether a participant may publish under this name.
    ///
    /// # Errors
    /// `Conflict` when an in-process publisher has the name, since that one would not come back; `Full`.
    pub fn check_publisher(
        &self,
        config: &RoomConfig,
        participant: &ParticipantId,
    ) -> Result<(), RoomError> {
        let room = &self.id;
        let old = self.publishers.session_of(participant);
        let is_local =
            |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.agreement.is_none());
        if old.as_ref().is_some_and(is_local) {
            let text = format!("participant {participant} is this node's own; choose another name");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let (there, most) = (self.publishers.len(), config.limits.participants_per_room);
        if old.is_none() && there >= most {
            let text = format!("room {room} has {there} participants; at most {most} are allowed");
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        Ok(())
    }

    /// Takes a new session in. A session with which the same participant published before is closed, after its viewers
    /// were moved to the new one. Somebody who watches with nobody to watch yet waits, and media begins when a publisher comes: the
    /// viewer's page may open before the show, and its begin is no storm of reconnects.
    ///
    /// # Errors
    /// Those of [`Room::check_publisher`]. Nothing has changed then.
    pub fn enter(
        &mut self,
        now: Instant,
        config: &RoomConfig,
        entering: Entering,
        agreed: Agreed,
    ) -> Result<Accepted, RoomError> {
        self.handle_timeout(now);
        let Entering { participant, identity, target } = entering;
        if let Some(participant) = &participant {
            self.check_publisher(config, participant)?;
        }
        let Agreed { agreement, answer, .. } = agreed;
        let (plan, session) = (agreement.plan.clone(), agreement.plan.id);
        let deadline = now + CONNECT_TIMEOUT;
        let watching = agreement.roles.to_peer().then(|| self.watching(&agreement, target));
        let record = participant.as_ref().map(|id| self.record(id.clone(), session, &plan.up));
        self.viewers += usize::from(watching.is_some());
        self.deadlines.insert((deadline, session));
        let identity = participant.clone().or(identity);
        let agreement = Some(agreement);
        let state =
            Session { identity, connected: false, deadline: Some(deadline), agreement, watching };
        self.sessions.insert(session, state);
        self.commands.push_back(Command::Open(plan));
        if let Some(record) = record {
            self.enter_publisher(record);
        }
        self.fit(session);
        Ok(Accepted { session, answer })
    }

    /// The record of a participant of this node.
    fn record(
        &mut self,
        id: ParticipantId,
        session: SessionId,
        up: &[UpMedia],
    ) -> ParticipantRecord {
        let track = |m: &UpMedia| TrackRecord::of_plan(m, self.mappings.list(&m.codecs).codecs);
        ParticipantRecord {
            id,
            session,
            author: NodeId(0),
            epoch: 0,
            version: 0,
            connected: false,
            local: false,
            tracks: up.iter().map(track).collect(),
        }
    }

    fn watching(&mut self, agreement: &Agreement, target: Target) -> Watching {
        let slots = SlotTable::new(&slots_of(agreement), &mut self.mappings);
        Watching { target, slots, policy: Box::new(ByArrival), revision: 0 }
    }

    /// Takes in an in-process publisher; one of the same name is replaced. No `Open` command is made, since there is
    /// no peer connection; viewers are bound to its tracks as to any other's.
    ///
    /// # Errors
    /// `Full`; `Unsupported` when there is no track or a track has no codec.
    pub fn publish_local(
        &mut self,
        config: &RoomConfig,
        ids: &Ids,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        if media.is_empty() || media.iter().any(|m| m.codecs.is_empty()) {
            let text = format!(
                "participant {participant}: at least one track, each with a codec, is needed"
            );
            return Err(RoomError::new(ErrorKind::Unsupported, text));
        }
        if self.publishers.session_of(participant).is_none() {
            self.check_publisher(config, participant)?;
        }
        let session = ids.session();
        let made = media.into_iter().map(|media| {
            let codecs = self.mappings.list(&media.codecs).codecs;
            TrackRecord::of_local(ids.track(), media, codecs)
        });
        let tracks: Vec<TrackRecord> = made.collect();
        let published =
            LocalPublished { session, tracks: tracks.iter().map(|track| track.id).collect() };
        let record = self.record(participant.clone(), session, &[]);
        let record = ParticipantRecord { connected: true, local: true, tracks, ..record };
        let identity = Some(participant.clone());
        let state =
            Session { identity, connected: true, deadline: None, agreement: None, watching: None };
        self.sessions.insert(session, state);
        self.connected += 1;
        self.enter_publisher(record);
        Ok(published)
    }

    /// What was agreed with a session's peer, for a renegotiation outside of the room's turn.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn agreement(&self, session: SessionId) -> Result<Agreement, RoomError> {
        self.session(session)?.agreement().cloned()
    }

    /// Takes a renegotiation in. Media that stays is not touched.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the session changed since the agreement was taken that the negotiation began with.
    pub fn renegotiate(&mut self, now: Instant, agreed: Agreed) -> Result<Renegotiated, RoomError> {
        self.handle_timeout(now);
        let Agreed { mut agreement, answer, restarts } = agreed;
        let (plan, id) = (agreement.plan.clone(), agreement.plan.id);
        let current = self.session(id)?.agreement()?;
        if current.number != agreement.number {
            let text = format!("session {id}: it was changed meanwhile; offer again");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        agreement.number += 1;
        let (ice, slots) = (agreement.ice.clone(), slots_of(&agreement));
        let mappings = &mut self.mappings;
        let Some(session) = self.sessions.get_mut(&id) else { return Err(not_found(id)) };
        session.agreement = Some(agreement);
        if let Some(watching) = &mut session.watching {
            watching.slots.update(&slots, mappings);
        }
        self.commands.push_back(Command::Update(plan.clone()));
        if restarts {
            self.commands.push_back(Command::Restart { session: id, ice });
        }
        let tracks: Vec<TrackRecord> = plan
            .up
            .iter()
            .map(|media| TrackRecord::of_plan(media, mappings.list(&media.codecs).codecs))
            .collect();
        if self.publishers.update(id, mappings, |record| record.update_tracks(tracks)) {
            self.tracks_changed();
        }
        self.fit(id);
        self.work(AT_ONCE);
        Ok(Renegotiated { answer, restarts })
    }

    /// A trickle fragment (RFC 8840, PATCH with the session's ETag). Its candidates are of no use to an ICE-lite
    /// server, which sends no checks, and are dropped silently.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`; `Conflict` when it is of another ICE generation.
    pub fn trickle(&mut self, session: SessionId, frag: &str) -> Result<(), RoomError> {
        let ice = &self.session(session)?.agreement()?.ice;
        let fragment = Fragment::parse(frag)?;
        match &fragment.ufrag {
            Some(ufrag) if *ufrag != ice.remote_ufrag => Err(RoomError::new(
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
        config: &RoomConfig,
        random: &mut dyn FnMut(&mut [u8]),
        session: SessionId,
        frag: &str,
    ) -> Result<String, RoomError> {
        self.handle_timeout(now);
        let current = &self.session(session)?.agreement()?.ice;
        let fragment = Fragment::parse(frag)?;
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
        let mut random = Random::new(random);
        let credentials = IceCredentials {
            local_ufrag: random.ufrag(),
            local_pwd: random.pwd(),
            remote_ufrag: ufrag,
            remote_pwd: pwd,
        };
        let agreement = self.sessions.get_mut(&session).and_then(|s| s.agreement.as_mut());
        let Some(agreement) = agreement else { return Err(not_found(session)) };
        agreement.ice = credentials.clone();
        agreement.number += 1;
        let (kind, protocol, mid) = &agreement.restart.tagged;
        let answer = Fragment::restart_answer(
            &credentials.local_ufrag,
            &credentials.local_pwd,
            &agreement.restart.ice_options,
            &agreement.restart.bundle,
            (kind, protocol, *mid),
            &config.candidates,
        );
        self.commands.push_back(Command::Restart { session, ice: credentials });
        Ok(answer)
    }

    /// Lets another policy fill the slots of a session.
    ///
    /// # Errors
    /// `NotFound`, also of a session without slots.
    pub fn set_policy(
        &mut self,
        session: SessionId,
        policy: Box<dyn SlotPolicy>,
    ) -> Result<(), RoomError> {
        let watching = self.sessions.get_mut(&session).and_then(|s| s.watching.as_mut());
        watching.ok_or_else(|| not_found(session))?.policy = policy;
        self.fit(session);
        Ok(())
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

    /// An event from a worker. Events of sessions that are gone are ignored.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected { session: id } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    self.connected += usize::from(!std::mem::replace(&mut session.connected, true));
                    if let Some(deadline) = session.deadline.take() {
                        self.deadlines.remove(&(deadline, id));
                    }
                    self.publishers
                        .update(id, &mut self.mappings, |record| record.connected = true);
                }
            }
            Event::TrackActive { session, track } => {
                self.publishers.update(session, &mut self.mappings, |record| {
                    let tracks = record.tracks.iter_mut().filter(|t| t.id == track);
                    tracks.for_each(|t| t.active = true);
                });
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

    /// Takes a change of a record of another node in: that participant's tracks can be seen here as any other's. The link to that
    /// node brings them under the session and track ids that the record names.
    ///
    /// # Errors
    /// `Conflict` when it is older than what is known, or is a record of this node's own.
    pub fn apply_record(&mut self, change: RecordChange) -> Result<(), RoomError> {
        self.publishers.apply(change, &mut self.mappings)?;
        self.tracks_changed();
        self.work(AT_ONCE);
        Ok(())
    }

    /// Lets viewers take in what changed, at most `budget` sessions, and fewer where their codecs have to be matched first. `true`
    /// when there are more.
    pub fn work(&mut self, budget: usize) -> bool {
        let tables = self.mappings.worked_out() + TABLES_PER_SLICE;
        for _ in 0..budget {
            if self.round == 0 || self.mappings.worked_out() >= tables {
                break;
            }
            self.round -= 1;
            let next = self.sessions.range(self.cursor..).next();
            let Some((&id, session)) = next.or_else(|| self.sessions.iter().next()) else { break };
            self.cursor = SessionId(id.0 + 1);
            if session.watching.as_ref().is_some_and(|w| w.revision != self.revision) {
                self.fit(id);
            }
        }
        if self.round > 0 {
            return true;
        }
        let farewells = self.farewells.drain(..);
        self.commands.extend(farewells.map(|session| Command::Close { session }));
        false
    }

    /// Whether [`Room::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.round > 0 || !self.farewells.is_empty()
    }

    /// Whether a participant publishes here from this node.
    pub fn publishes(&self, participant: &ParticipantId) -> bool {
        self.publishers.session_of(participant).is_some()
    }

    /// The next command.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The next change of a record of this node: what other nodes have to be told. Of one participant the newest state, once.
    pub fn poll_record(&mut self) -> Option<RecordChange> {
        self.publishers.poll_change()
    }

    /// When [`Room::handle_timeout`] has to be called next.
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

    /// Whether nobody is here and nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.publishers.len() == 0 && self.farewells.is_empty()
    }
}

/// Coming and going.
impl Room {
    /// Puts a publisher into the room, in the place of the session that it replaces. Viewers are bound to the new
    /// session before the old one is closed.
    fn enter_publisher(&mut self, record: ParticipantRecord) {
        let old = self.publishers.put(record, &mut self.mappings);
        self.tracks_changed();
        if let Some(old) = old {
            self.end(old, EndReason::Replaced);
        }
        self.work(AT_ONCE);
    }

    /// Takes a session out of everything; its viewers follow. False when it is not there.
    fn end(&mut self, id: SessionId, reason: EndReason) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(deadline) = session.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.connected -= usize::from(session.connected);
        self.viewers -= usize::from(session.watching.is_some());
        // A publisher that was replaced has left its place already.
        if self.publishers.remove(id) {
            self.tracks_changed();
        }
        // Workers never heard of an in-process publisher.
        if session.agreement.is_some() {
            self.farewells.push_back(id);
        }
        self.notices.push_back(Notice::SessionClosed { session: id, reason });
        self.work(AT_ONCE);
        true
    }

    /// Another revision of what is published: a round of all viewers begins.
    fn tracks_changed(&mut self) {
        self.revision += 1;
        self.round = self.sessions.len();
    }

    /// Fits what is published into the slots of a session.
    fn fit(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(watching) = &mut session.watching else { return };
        watching.revision = self.revision;
        let mut sources = sources(&self.publishers, session.identity.as_ref(), &watching.target);
        let Watching { slots, policy, .. } = watching;
        let changes = slots.assign(&mut sources, policy.as_ref(), &mut self.mappings);
        if !changes.binds.is_empty() {
            self.commands.push_back(Command::Bind { session: id, slots: changes.binds });
        }
        let told = changes.incompatible.into_iter();
        self.notices.extend(told.map(|(track, publisher)| Notice::Incompatible {
            viewer: id,
            track,
            publisher,
        }));
    }

    fn session(&self, id: SessionId) -> Result<&Session, RoomError> {
        self.sessions.get(&id).ok_or_else(|| not_found(id))
    }
}

/// What a viewer is to see, in order of arrival. Of everyone it is not shown itself; by name it may ask for itself,
/// to watch from elsewhere what it sends.
fn sources<'p>(
    publishers: &'p Publishers,
    viewer: Option<&ParticipantId>,
    target: &Target,
) -> Vec<Source<'p>> {
    let mut sources = Vec::new();
    for publisher in publishers.iter() {
        let record = &publisher.record;
        let wanted = match &target.participant {
            Some(wanted) => *wanted == record.id,
            None => Some(&record.id) != viewer,
        };
        if !wanted {
            continue;
        }
        let of_kind = |kind| {
            let wanted = target.kind.is_none_or(|k| k == kind);
            publisher.tracks().filter(move |(track, _)| wanted && track.kind == kind)
        };
        let mut audio = of_kind(MediaKind::Audio).map(|(t, codecs)| source_track(t.id, codecs));
        let mut video = of_kind(MediaKind::Video).map(|(t, codecs)| source_track(t.id, codecs));
        for place in 0.. {
            let (audio, video) = (audio.next(), video.next());
            if audio.is_none() && video.is_none() {
                break;
            }
            let (participant, session) = (&record.id, record.session);
            sources.push(Source { participant, session, place, audio, video });
        }
    }
    sources
}

fn source_track(id: TrackId, codecs: &crate::mappings::CodecList) -> crate::slots::SourceTrack<'_> {
    crate::slots::SourceTrack { id, codecs }
}

fn slots_of(agreement: &Agreement) -> Vec<(model::DownMedia, usize)> {
    agreement.plan.down.iter().cloned().zip(agreement.groups.iter().copied()).collect()
}

fn not_found(session: SessionId) -> RoomError {
    RoomError::new(ErrorKind::NotFound, format!("no session {session}"))
}

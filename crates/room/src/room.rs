//! One room: its sessions, its publishers and viewers, and the deadlines of sessions that do not connect. A room has
//! one owner at a time: today a lock or a task, later a node with a lease. Ids, names and limits of the node are
//! shared by all rooms and kept outside; offers are negotiated outside too, and only the result is applied here.
//!
//! This file has the state, its inputs and outputs. What changes the state is in a file for each subject: `entering`
//! (sessions that come and go), `renegotiation`, `events` (of the workers) and `rounds` (how viewers get a change).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Command, NodeId, ParticipantId, Quality, RoomId, SessionId};

use crate::mappings::Mappings;
use crate::presence::Stay;
use crate::publishers::Publishers;
use crate::records::{ParticipantRecord, RecordChange};
use crate::rounds::Round;
use crate::session::Session;
use crate::spending::Forwarding;
use crate::stage::floor::Floor;
use crate::{Admission, EndReason, ErrorKind, Notice, RoomError, RoomSettings, Target};

/// How long a session may take from its answer to the end of its DTLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Viewers that a change reaches at once; a room with no more than these needs no [`Room::work`].
pub(crate) const AT_ONCE: usize = 64;

/// A session that enters a room, and its purpose.
#[derive(Debug, Clone)]
pub struct Entering {
    /// The participant that it publishes as.
    pub participant: Option<ParticipantId>,
    /// The participant that it watches as; `None` without a name.
    pub identity: Option<ParticipantId>,
    /// What it watches, if it does.
    pub target: Target,
    /// How it enters as a member; `None` for WHEP, and for WHIP where everybody may publish everything.
    pub admission: Option<Box<Admission>>,
}

/// The result of a renegotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renegotiated {
    /// The answer, `application/sdp`.
    pub answer: String,
    /// ICE restarts.
    pub restarts: bool,
}

/// One room. After each call, drain [`Room::poll_command`], [`Room::poll_notice`] and [`Room::poll_record`], then ask
/// [`Room::poll_timeout`], and call [`Room::work`] until it returns `false`.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    pub(crate) settings: Arc<RoomSettings>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) publishers: Publishers,
    /// Sessions that watch and are of no member.
    pub(crate) viewers: usize,
    pub(crate) connected: usize,
    pub(crate) mappings: Mappings,
    /// Sessions that replace another session of the same participant once they are connected, with the record that
    /// they will have.
    pub(crate) successors: BTreeMap<ParticipantId, ParticipantRecord>,
    /// Until when the tracks of a session count as live before their first packet.
    pub(crate) awaited: BTreeSet<(Instant, SessionId)>,
    pub(crate) round: Round,
    /// What is shown and heard, for the members with room sessions.
    pub(crate) floor: Floor,
    pub(crate) stay: Stay,
    /// The quality of the members' connections, as far as known.
    pub(crate) qualities: BTreeMap<ParticipantId, Quality>,
    /// What the members' data messages may use of the node, all together.
    pub(crate) forwarding: Forwarding,
    /// Sessions that ended. Workers get their `Close` commands only after the viewers were moved to other sources.
    pub(crate) farewells: VecDeque<SessionId>,
    pub(crate) deadlines: BTreeSet<(Instant, SessionId)>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) notices: VecDeque<Notice>,
}

impl Room {
    /// An empty room with default settings. `node` and `epoch` identify the author of its publishers' records.
    pub fn new(id: RoomId, node: NodeId, epoch: u64) -> Self {
        Self::with_settings(id, node, epoch, Arc::default())
    }

    /// An empty room with these settings; see [`Room::new`].
    pub fn with_settings(
        id: RoomId,
        node: NodeId,
        epoch: u64,
        settings: Arc<RoomSettings>,
    ) -> Self {
        let mut floor = Floor::default();
        floor.set_audible(settings.audible);
        Self {
            id,
            settings,
            sessions: BTreeMap::new(),
            publishers: Publishers::new(node, epoch),
            viewers: 0,
            connected: 0,
            mappings: Mappings::default(),
            successors: BTreeMap::new(),
            awaited: BTreeSet::new(),
            round: Round::default(),
            floor,
            stay: Stay::default(),
            qualities: BTreeMap::new(),
            forwarding: Forwarding::default(),
            farewells: VecDeque::new(),
            deadlines: BTreeSet::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// The room's id.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Ends a session (DELETE).
    ///
    /// # Errors
    /// `NotFound`.
    pub fn close(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        self.end_session(now, session, EndReason::Deleted)
    }

    /// The next command.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The next change of a record of this node, for other nodes. Several changes of one session are returned as one,
    /// the newest.
    pub fn poll_record(&mut self) -> Option<RecordChange> {
        self.publishers.poll_change()
    }

    /// When [`Room::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [&self.deadlines, &self.awaited].into_iter().filter_map(BTreeSet::first);
        let due = [self.round.due(), self.floor.due(), self.stay_due()];
        deadlines.map(|&(at, _)| at).chain(due.into_iter().flatten()).min()
    }

    /// Ends sessions that did not connect in time and stays that are over, gives slots of silent sources to live ones that
    /// wait, and lets the slots of members follow who speaks.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.floor.now = Some(now);
        while let Some(&(at, session)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.end(now, session, EndReason::NeverConnected);
        }
        self.end_stays(now);
        self.await_no_more(now);
        self.begin_due_round(now);
        self.floor_timeout(now);
    }

    /// Whether the room is over: nobody is in it, it does not wait for somebody, and it has no work.
    pub fn is_empty(&self) -> bool {
        self.nobody_is_in() && self.farewells.is_empty() && !self.is_kept()
    }

    /// Whether the room has neither sessions nor members. Members whose connection is lost are in the room.
    pub(crate) fn nobody_is_in(&self) -> bool {
        self.sessions.is_empty() && self.publishers.len() == 0
    }

    pub(crate) fn session(&self, id: SessionId) -> Result<&Session, RoomError> {
        self.sessions.get(&id).ok_or_else(|| not_found(id))
    }
}

pub(crate) fn not_found(session: SessionId) -> RoomError {
    RoomError::new(ErrorKind::NotFound, format!("no session {session}"))
}

//! One room: its sessions, its publishers and viewers, and the deadlines of sessions that do not connect. It has one owner at a time: a
//! lock, a task, later a node with a lease. What is common to all rooms (ids, limits of the node, names) is outside; so is
//! the negotiation of offers, whose result is taken in here.
//!
//! The state and its way in and out is here; what happens to it stands by subject in `entering` (coming and going), `renegotiation`, `events`
//! (of the workers) and `rounds` (how viewers learn of a change).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use model::{Command, NodeId, ParticipantId, RoomId, SessionId};

use crate::mappings::Mappings;
use crate::publishers::Publishers;
use crate::records::{ParticipantRecord, RecordChange};
use crate::rounds::Round;
use crate::session::Session;
use crate::{EndReason, ErrorKind, Notice, RoomError, Target};

/// How long a session may take from its answer to the end of its DTLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Viewers that a change reaches at once; rooms of up to so many need no [`Room::work`].
pub(crate) const AT_ONCE: usize = 64;

/// Who enters a room, and what for.
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
    pub(crate) mappings: Mappings,
    /// Sessions that take the place of another one of the same participant once they are connected, with the record that will be theirs.
    pub(crate) successors: BTreeMap<ParticipantId, ParticipantRecord>,
    /// Until when the tracks of publishers count as live before their first packet.
    pub(crate) awaited: BTreeSet<(Instant, SessionId)>,
    pub(crate) round: Round,
    /// Sessions that are over; the workers hear of it when their viewers were moved on.
    pub(crate) farewells: VecDeque<SessionId>,
    pub(crate) deadlines: BTreeSet<(Instant, SessionId)>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) notices: VecDeque<Notice>,
}

impl Room {
    /// An empty room. `node` and `epoch` identify the author of its publishers' records.
    pub fn new(id: RoomId, node: NodeId, epoch: u64) -> Self {
        Self {
            id,
            sessions: BTreeMap::new(),
            publishers: Publishers::new(node, epoch),
            viewers: 0,
            connected: 0,
            mappings: Mappings::default(),
            successors: BTreeMap::new(),
            awaited: BTreeSet::new(),
            round: Round::default(),
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
        let deadlines = [&self.deadlines, &self.awaited].into_iter().filter_map(BTreeSet::first);
        deadlines.map(|&(at, _)| at).chain(self.round.due()).min()
    }

    /// Closes sessions that did not connect in time, and lets sources that are live take slots of those that are silent.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, session)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.end(session, EndReason::NeverConnected);
        }
        self.await_no_more(now);
        self.begin_due_round(now);
    }

    /// Whether no session is here and no work is left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.publishers.len() == 0 && self.farewells.is_empty()
    }

    pub(crate) fn session(&self, id: SessionId) -> Result<&Session, RoomError> {
        self.sessions.get(&id).ok_or_else(|| not_found(id))
    }
}

pub(crate) fn not_found(session: SessionId) -> RoomError {
    RoomError::new(ErrorKind::NotFound, format!("no session {session}"))
}

//! How a change of what is published reaches the viewers.
//!
//! Each change makes a new *revision* of the room's tracks. Viewers take it in a few at a time: accepting a publisher costs the same with
//! five viewers and with five thousand, and between two slices of [`Room::work`] the room can answer others.

use std::time::{Duration, Instant};

use model::{Command, SessionId};

use crate::policy::SlotPolicy;
use crate::records::RecordChange;
use crate::room::{AT_ONCE, Room, not_found};
use crate::session::Watching;
use crate::sources::sources;
use crate::{Notice, RoomError};

/// Tables of payload types that one slice of [`Room::work`] works out before it lets others have the room: one or two for a browser, thousands
/// where each viewer offers 64 sections with different codec lists.
const TABLES_PER_SLICE: u64 = 64;
/// Rounds that begin since a track fell silent or speaks again.
const LIVENESS_EVERY: Duration = Duration::from_secs(1);

/// The round of the viewers that is under way.
#[derive(Debug)]
pub(crate) struct Round {
    /// Counts changes of what is published.
    pub(crate) revision: u64,
    /// Where the round goes on, and how many sessions it has still to look at.
    cursor: SessionId,
    left: usize,
    /// Viewers for whom a source waits.
    pub(crate) crowded: usize,
    /// When the last round because of silent or live tracks began, and when the next one has to begin.
    liveness_last: Option<Instant>,
    liveness_due: Option<Instant>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            revision: 0,
            cursor: SessionId(0),
            left: 0,
            crowded: 0,
            liveness_last: None,
            liveness_due: None,
        }
    }
}

impl Round {
    /// When a round has to begin.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.liveness_due
    }
}

impl Room {
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
            if self.round.left == 0 || self.mappings.worked_out() >= tables {
                break;
            }
            self.round.left -= 1;
            let next = self.sessions.range(self.round.cursor..).next();
            let Some((&id, session)) = next.or_else(|| self.sessions.iter().next()) else { break };
            self.round.cursor = SessionId(id.0 + 1);
            if session.watching.as_ref().is_some_and(|w| w.revision != self.round.revision) {
                self.fit(id);
            }
        }
        if self.round.left > 0 {
            return true;
        }
        let farewells = self.farewells.drain(..);
        self.commands.extend(farewells.map(|session| Command::Close { session }));
        false
    }

    /// Whether [`Room::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.round.left > 0 || !self.farewells.is_empty()
    }

    /// Another revision of what is published: a round of all viewers begins.
    pub(crate) fn tracks_changed(&mut self) {
        self.round.revision += 1;
        self.round.left = self.sessions.len();
        // This round also finds sources that are silent or live since the last one.
        self.round.liveness_due = None;
    }

    /// A track fell silent or speaks again. Where a source waits for slots, one that is silent may have to give way. A publisher
    /// can bring this about as often as it likes, so that rounds for this reason alone begin once a second at most.
    pub(crate) fn liveness_changed(&mut self, now: Instant) {
        if self.round.crowded > 0 {
            let next = self.round.liveness_last.map_or(now, |last| last + LIVENESS_EVERY);
            self.round.liveness_due = Some(next.max(now));
        }
    }

    /// Begins the round that [`Room::liveness_changed`] asked for, when it is due.
    pub(crate) fn begin_due_round(&mut self, now: Instant) {
        if self.round.liveness_due.take_if(|due| *due <= now).is_some() {
            self.round.liveness_last = Some(now);
            self.tracks_changed();
            self.work(AT_ONCE);
        }
    }

    /// Fits what is published into the slots of a session.
    pub(crate) fn fit(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(watching) = &mut session.watching else { return };
        watching.revision = self.round.revision;
        let Watching { target, slots, policy, .. } = watching;
        let was_crowded = slots.is_crowded();
        let mut sources = sources(&self.publishers, session.identity.as_ref(), target, slots);
        let changes = slots.assign(&mut sources, policy.as_ref(), &mut self.mappings);
        self.round.crowded -= usize::from(was_crowded);
        self.round.crowded += usize::from(slots.is_crowded());
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
}

//! How a change of the published tracks reaches the viewers.
//!
//! Each change makes a new *revision* of the room's tracks. Viewers are fitted to it a few at a time: accepting a
//! publisher costs the same with five viewers and with five thousand, and between two slices of [`Room::work`] the
//! room's lock is free for other requests.

use std::time::{Duration, Instant};

use model::{Command, SessionId};

use crate::policy::SlotPolicy;
use crate::records::RecordChange;
use crate::room::{AT_ONCE, Room, not_found};
use crate::session::{Viewing, Watching};
use crate::sources::sources;
use crate::{Notice, RoomError};

/// Payload type tables that one slice of [`Room::work`] computes before it ends, so that other requests get the room's
/// lock: one or two for a browser, thousands where each viewer offers 64 sections with different codec lists.
const TABLES_PER_SLICE: u64 = 64;
/// Rounds that begin because a track fell silent or sends again are at least this far apart.
const LIVENESS_EVERY: Duration = Duration::from_secs(1);

/// The round under way: it fits all viewers to the newest revision.
#[derive(Debug)]
pub(crate) struct Round {
    /// Counts the changes of the published tracks.
    pub(crate) revision: u64,
    /// Where the round goes on, and how many sessions are left.
    cursor: SessionId,
    left: usize,
    /// The number of viewers for whom a source waits.
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
    /// Sets the policy by which the slots of a session are filled.
    ///
    /// # Errors
    /// `NotFound`, also when the session is no viewer's.
    pub fn set_policy(
        &mut self,
        session: SessionId,
        policy: Box<dyn SlotPolicy>,
    ) -> Result<(), RoomError> {
        let watching = self.sessions.get_mut(&session).and_then(|s| s.watching.as_mut());
        let Some(Watching::Viewer(viewing)) = watching else { return Err(not_found(session)) };
        viewing.policy = policy;
        self.fit(session);
        Ok(())
    }

    /// Applies a change of a record of another node: viewers here can then watch that participant like any other. The
    /// link to that node has to deliver the tracks under the session and track ids that the record names.
    ///
    /// # Errors
    /// `Conflict` when the change is not newer than the known record, when its author is this node, or when another node is
    /// the author of a record of that session or participant.
    pub fn apply_record(&mut self, change: RecordChange) -> Result<(), RoomError> {
        self.publishers.apply(change, &mut self.mappings)?;
        self.tracks_changed();
        self.work(AT_ONCE);
        Ok(())
    }

    /// Fits at most `budget` sessions to the newest revision; fewer when payload type tables have to be computed
    /// first. `true` when sessions are left.
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
            if session.watching.as_ref().is_some_and(|w| self.lags(w)) {
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

    /// Begins a round of all viewers, because the published tracks changed.
    pub(crate) fn tracks_changed(&mut self) {
        self.round.revision += 1;
        self.floor.tracks_changed();
        self.round_of_all();
        // This round also covers sources that became silent or live since the last one.
        self.round.liveness_due = None;
    }

    /// Looks at all sessions once more, and fits those that lag.
    pub(crate) fn round_of_all(&mut self) {
        self.round.left = self.sessions.len();
    }

    /// Notes whether something waits for slots of a session.
    pub(crate) fn round_crowded(&mut self, before: bool, now: bool) {
        self.round.crowded -= usize::from(before);
        self.round.crowded += usize::from(now);
    }

    /// Asks for a round because a track fell silent or sends again: where a source waits for slots, a silent source
    /// may have to give up its group. A publisher can cause this as often as it likes, so rounds for this reason alone
    /// begin at most once a second. Where nothing waits, nobody's slots change now; who comes later, with fewer slots than
    /// there are tracks, is fitted to what is live then.
    pub(crate) fn liveness_changed(&mut self, now: Instant) {
        if self.round.crowded > 0 {
            let next = self.round.liveness_last.map_or(now, |last| last + LIVENESS_EVERY);
            self.round.liveness_due = Some(next.max(now));
        } else {
            self.floor.tracks_changed();
        }
    }

    /// Begins the round that [`Room::liveness_changed`] asked for, if it is due.
    pub(crate) fn begin_due_round(&mut self, now: Instant) {
        if self.round.liveness_due.take_if(|due| *due <= now).is_some() {
            self.round.liveness_last = Some(now);
            self.tracks_changed();
            self.work(AT_ONCE);
        }
    }

    /// Whether the slots of a session are fitted to an older revision.
    fn lags(&self, watching: &Watching) -> bool {
        match watching {
            Watching::Viewer(viewing) => viewing.revision != self.round.revision,
            Watching::Member(stage) => self.floor.is_newer_than(stage.revision()),
        }
    }

    /// Fits the tracks of the room into the slots of a session.
    pub(crate) fn fit(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        match &session.watching {
            Some(Watching::Viewer(_)) => self.fit_viewer(id),
            Some(Watching::Member(_)) => self.fit_stage(id),
            None => {}
        }
    }

    /// Fits the sources into the slots of a viewer.
    fn fit_viewer(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(Watching::Viewer(viewing)) = &mut session.watching else { return };
        viewing.revision = self.round.revision;
        let Viewing { target, slots, policy, .. } = viewing.as_mut();
        let was_crowded = slots.is_crowded();
        let mut sources = sources(&self.publishers, session.identity.as_ref(), target, slots);
        if session.member.as_ref().is_some_and(|member| !member.permissions.subscribe) {
            sources.clear();
        }
        let changes = slots.assign(&mut sources, policy.as_ref(), &mut self.mappings);
        let is_crowded = slots.is_crowded();
        if !changes.binds.is_empty() {
            self.commands.push_back(Command::Bind { session: id, slots: changes.binds });
        }
        self.round_crowded(was_crowded, is_crowded);
        let told = changes.incompatible.into_iter();
        self.notices.extend(told.map(|(track, publisher)| Notice::Incompatible {
            viewer: id,
            track,
            publisher,
        }));
    }
}

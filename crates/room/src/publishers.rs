//! The members of a room in order of arrival, as records: those of this node, which only this node changes, and copies of
//! records of other nodes. A member counts here as a publisher whether it has tracks now or not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{NodeId, ParticipantId, SessionId};

use crate::mappings::{CodecList, Mappings};
use crate::records::{ParticipantRecord, RecordChange, TrackRecord};
use crate::{ErrorKind, RoomError};

/// Tombstones of other nodes' records that are kept, so that a late copy of a record does not bring its participant
/// back.
const TOMBSTONES: usize = 1_024;

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) record: Arc<ParticipantRecord>,
    /// The codec list of each track, in the order of the tracks.
    lists: Vec<CodecList>,
}

impl Publisher {
    fn new(record: Arc<ParticipantRecord>, mappings: &mut Mappings) -> Self {
        let lists = record.tracks.iter().map(|track| mappings.list(&track.codecs)).collect();
        Self { record, lists }
    }

    /// Its tracks, with their codec lists.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = (&TrackRecord, &CodecList)> {
        self.record.tracks.iter().zip(&self.lists)
    }
}

/// The publishers of a room, in order of arrival, and changes of their records that were not polled yet.
#[derive(Debug)]
pub(crate) struct Publishers {
    node: NodeId,
    epoch: u64,
    version: u64,
    /// In order of arrival; a participant that publishes again keeps its place.
    order: Vec<Publisher>,
    /// Changes of this node's records that [`Publishers::poll_change`] has not returned yet.
    changed: BTreeMap<SessionId, RecordChange>,
    tombstones: VecDeque<RecordChange>,
}

impl Publishers {
    pub(crate) fn new(node: NodeId, epoch: u64) -> Self {
        Self {
            node,
            epoch,
            version: 0,
            order: Vec::new(),
            changed: BTreeMap::new(),
            tombstones: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Publisher> {
        self.order.iter()
    }

    /// The session with which a participant publishes on this node.
    pub(crate) fn session_of(&self, participant: &ParticipantId) -> Option<SessionId> {
        self.of(participant).map(|record| record.session)
    }

    /// The record of a participant of this node.
    pub(crate) fn of(&self, participant: &ParticipantId) -> Option<&Arc<ParticipantRecord>> {
        let mine = |r: &&Arc<ParticipantRecord>| r.author == self.node && r.id == *participant;
        self.order.iter().map(|p| &p.record).find(mine)
    }

    /// The record of a session of this node.
    pub(crate) fn of_session(&self, session: SessionId) -> Option<&Arc<ParticipantRecord>> {
        self.place(session).map(|at| &self.order[at].record)
    }

    /// Adds a publisher of this node, or replaces its record. Returns the session with which the participant published
    /// before.
    pub(crate) fn put(
        &mut self,
        mut record: ParticipantRecord,
        mappings: &mut Mappings,
    ) -> Option<SessionId> {
        (record.author, record.epoch, record.version) =
            (self.node, self.epoch, self.next_version());
        let record = Arc::new(record);
        self.changed.insert(record.session, RecordChange::Put(record.clone()));
        let same = |p: &Publisher| p.record.author == self.node && p.record.id == record.id;
        let place = self.order.iter().position(same);
        let made = Publisher::new(record, mappings);
        match place {
            Some(at) => {
                let old = std::mem::replace(&mut self.order[at], made).record;
                self.bury(&old, true);
                Some(old.session)
            }
            None => {
                self.order.push(made);
                None
            }
        }
    }

    /// Changes the record of a session of this node, if it publishes; a change gets a new version.
    pub(crate) fn update(
        &mut self,
        session: SessionId,
        mappings: &mut Mappings,
        change: impl FnOnce(&mut ParticipantRecord),
    ) {
        let Some(at) = self.place(session) else { return };
        let mut record = ParticipantRecord::clone(&self.order[at].record);
        change(&mut record);
        if record != *self.order[at].record {
            record.version = self.next_version();
            let record = Arc::new(record);
            self.changed.insert(session, RecordChange::Put(record.clone()));
            self.order[at] = Publisher::new(record, mappings);
        }
    }

    /// Removes the publisher of a session of this node.
    pub(crate) fn remove(&mut self, session: SessionId) {
        if let Some(at) = self.place(session) {
            let old = self.order.remove(at).record;
            self.bury(&old, false);
        }
    }

    /// Applies a change of another node's record.
    ///
    /// # Errors
    /// `Conflict` when the change is not newer than the known record, when its author is this node, or when another node is
    /// the author of a record of that session or participant.
    pub(crate) fn apply(
        &mut self,
        change: RecordChange,
        mappings: &mut Mappings,
    ) -> Result<(), RoomError> {
        let (session, stamp) = (change.session(), change.stamp());
        let conflict = |why: &str| {
            let text = format!("the record of session {session}: {why}");
            Err(RoomError::new(ErrorKind::Conflict, text))
        };
        if stamp.0 == self.node {
            return conflict("its author is this node, which alone changes it");
        }
        let newer = |known: (NodeId, u64, u64)| (stamp.1, stamp.2) > (known.1, known.2);
        let place = self.order.iter().position(|p| p.record.session == session);
        if place.is_some_and(|at| self.order[at].record.author != stamp.0) {
            return conflict("another node is its author, and alone changes it");
        }
        if let RecordChange::Put(record) = &change {
            // A participant that moves to another node leaves the first one before.
            let elsewhere = |p: &Publisher| p.record.id == record.id && p.record.author != stamp.0;
            if self.order.iter().any(elsewhere) {
                return conflict("its participant is connected to another node");
            }
        }
        let mine = |t: &&RecordChange| t.session() == session && t.stamp().0 == stamp.0;
        let buried = self.tombstones.iter().find(mine);
        let known = place.map(|at| {
            let record = &self.order[at].record;
            (record.author, record.epoch, record.version)
        });
        if known.or(buried.map(RecordChange::stamp)).is_some_and(|known| !newer(known)) {
            return conflict("it is not newer than what is known");
        }
        match (place, change) {
            (Some(at), RecordChange::Put(record)) => {
                self.order[at] = Publisher::new(record, mappings)
            }
            (None, RecordChange::Put(record)) => self.order.push(Publisher::new(record, mappings)),
            (place, gone @ RecordChange::Gone { .. }) => {
                if let Some(at) = place {
                    self.order.remove(at);
                }
                self.tombstones.retain(|t| t.session() != session || t.stamp().0 != stamp.0);
                if self.tombstones.len() == TOMBSTONES {
                    self.tombstones.pop_front();
                }
                self.tombstones.push_back(gone);
            }
        }
        Ok(())
    }

    pub(crate) fn poll_change(&mut self) -> Option<RecordChange> {
        self.changed.pop_first().map(|(_, change)| change)
    }

    fn place(&self, session: SessionId) -> Option<usize> {
        let mine = |p: &Publisher| p.record.author == self.node && p.record.session == session;
        self.order.iter().position(mine)
    }

    fn bury(&mut self, old: &ParticipantRecord, replaced: bool) {
        let (id, session, version) = (old.id.clone(), old.session, self.next_version());
        let (author, epoch) = (self.node, self.epoch);
        let hidden = old.hidden;
        let gone = RecordChange::Gone { id, session, hidden, replaced, author, epoch, version };
        self.changed.insert(session, gone);
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

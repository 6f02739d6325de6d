//! The node's limits of sessions: sums over all rooms, and reserved places for sessions under negotiation, in all and
//! for each token subject.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{ParticipantId, SessionId};
use room::{Counts, ErrorKind, Limits, RoomError};

/// Sums over all rooms, updated when a room changes.
#[derive(Default)]
pub(crate) struct Totals {
    participants: AtomicUsize,
    viewers: AtomicUsize,
    connected: AtomicUsize,
    /// Open sessions, and sessions under negotiation.
    sessions: AtomicUsize,
    subjects: Mutex<Subjects>,
}

/// Sessions by the subject of the token that opened them. Empty when there is no such limit.
#[derive(Default)]
struct Subjects {
    /// Open sessions, and sessions under negotiation.
    counts: HashMap<ParticipantId, usize>,
    of: HashMap<SessionId, ParticipantId>,
}

/// What a request for a place says about its session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    /// Subject of the token.
    pub(crate) subject: Option<&'w ParticipantId>,
    /// The session publishes as a participant that already publishes.
    pub(crate) again: bool,
    /// That participant is the subject itself.
    pub(crate) own: bool,
}

/// A place for a session under negotiation. It is given back when dropped, unless the session uses it.
pub(crate) struct Place<'t> {
    totals: &'t Totals,
    /// 1, or 0 when the session will take the place of another one.
    count: usize,
    subject: Option<ParticipantId>,
    /// A limit leaves no place for two sessions of the participant at once: the old session has to end when the new
    /// one enters.
    instead: bool,
}

impl Totals {
    /// The numbers of participants and sessions. The caller tells the number of `rooms`.
    pub(crate) fn counts(&self, rooms: usize) -> Counts {
        let value = |count: &AtomicUsize| count.load(Relaxed);
        Counts {
            rooms,
            participants: value(&self.participants),
            viewers: value(&self.viewers),
            sessions: value(&self.sessions),
            connected: value(&self.connected),
        }
    }

    /// Applies a change of one room. `counted`: how many sessions of `after` the sum already has.
    pub(crate) fn change(&self, before: &Counts, after: &Counts, counted: usize) {
        let add = |total: &AtomicUsize, before: usize, after: usize| {
            // Wrapping addition: the difference may be negative.
            total.fetch_add(after.wrapping_sub(before), AcqRel);
        };
        add(&self.participants, before.participants, after.participants);
        add(&self.viewers, before.viewers, after.viewers);
        add(&self.connected, before.connected, after.connected);
        add(&self.sessions, before.sessions + counted, after.sessions);
    }

    /// Reserves a place for one more session. If there is none, `make_space` is called to end overdue sessions. On a
    /// full node a participant that publishes again still gets a place: that of its old session.
    ///
    /// # Errors
    /// `Full`; `Quota` when the subject has reached its limit.
    pub(crate) fn reserve(
        &self,
        limits: &Limits,
        wanted: Wanted<'_>,
        make_space: impl Fn(),
    ) -> Result<Place<'_>, RoomError> {
        let mut place = Place { totals: self, count: 0, subject: None, instead: false };
        if let Some(subject) = wanted.subject.filter(|_| limits.sessions_per_subject > 0) {
            let most = limits.sessions_per_subject;
            let has_more = || self.subjects().counts.get(subject).is_some_and(|has| *has >= most);
            if has_more() {
                make_space();
            }
            let mut subjects = self.subjects();
            let count = subjects.counts.entry(subject.clone()).or_default();
            if *count >= most {
                // The subject has one session too many until the old one ends, which is under the same lock under
                // which the new one enters.
                if !wanted.own || *count > most {
                    return Err(too_many_of(subject, most));
                }
                place.instead = true;
            }
            *count += 1;
            place.subject = Some(subject.clone());
        }
        if !place.take(limits) {
            make_space();
            if !place.take(limits) {
                if !wanted.again {
                    return Err(too_many_sessions(limits));
                }
                place.instead = true;
            }
        }
        Ok(place)
    }

    /// Stops counting a session that ended.
    pub(crate) fn forget(&self, session: SessionId) {
        let mut subjects = self.subjects();
        if let Some(subject) = subjects.of.remove(&session) {
            subjects.release(&subject);
        }
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        // The lock is used even if a thread panicked under it: a panic ends the request that caused it, not the node.
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subjects {
    fn release(&mut self, subject: &ParticipantId) {
        let Some(count) = self.counts.get_mut(subject) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(subject);
        }
    }
}

impl Place<'_> {
    /// Whether the session has to replace the participant's present session at once.
    pub(crate) fn is_instead(&self) -> bool {
        self.instead
    }

    /// Takes a place of its own for the session, because the session that it should replace has ended.
    ///
    /// # Errors
    /// `Full`.
    pub(crate) fn stand_alone(&mut self, limits: &Limits) -> Result<(), RoomError> {
        self.instead = false;
        match self.count > 0 || self.take(limits) {
            true => Ok(()),
            false => Err(too_many_sessions(limits)),
        }
    }

    fn take(&mut self, limits: &Limits) -> bool {
        let taken = |there| (there < limits.sessions).then_some(there + 1);
        let took = self.totals.sessions.fetch_update(AcqRel, Acquire, taken).is_ok();
        self.count += usize::from(took);
        took
    }

    /// Counts the place for this session of the subject from now on, until [`Totals::forget`].
    pub(crate) fn belongs_to(&mut self, session: SessionId) {
        if let Some(subject) = self.subject.take() {
            self.totals.subjects().of.insert(session, subject);
        }
    }

    /// The number of places that the room's counts contain from now on; the place no longer gives them back.
    pub(crate) fn used(&mut self) -> usize {
        std::mem::take(&mut self.count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.totals.sessions.fetch_sub(self.count, AcqRel);
        if let Some(subject) = &self.subject {
            self.totals.subjects().release(subject);
        }
    }
}

fn too_many_sessions(limits: &Limits) -> RoomError {
    let text = format!("the node has {} sessions, which is its limit", limits.sessions);
    RoomError::new(ErrorKind::Full, text)
}

fn too_many_of(subject: &ParticipantId, most: usize) -> RoomError {
    let text =
        format!("{subject} has {most} sessions; at most {most} are allowed for one token subject");
    RoomError::new(ErrorKind::Quota, text)
}

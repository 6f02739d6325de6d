//! How much of the node is taken: sums over all rooms, and places for sessions that are being negotiated, in all and of each token subject.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{ParticipantId, SessionId};
use room::{Counts, ErrorKind, Limits, RoomError};

/// Sums over all rooms, kept as rooms change.
#[derive(Default)]
pub(crate) struct Totals {
    participants: AtomicUsize,
    viewers: AtomicUsize,
    connected: AtomicUsize,
    /// Sessions that are there, and those that are being negotiated.
    sessions: AtomicUsize,
    subjects: Mutex<Subjects>,
}

/// Sessions by the subject of the token that opened them. Empty where they are not limited.
#[derive(Default)]
struct Subjects {
    /// Sessions that are there, and those that are being negotiated.
    counts: HashMap<ParticipantId, usize>,
    of: HashMap<SessionId, ParticipantId>,
}

/// Who wants a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    /// Subject of the token.
    pub(crate) subject: Option<&'w ParticipantId>,
    /// Publishes under a name under which somebody publishes already.
    pub(crate) again: bool,
    /// That name is the subject.
    pub(crate) own: bool,
}

/// A place for a session under negotiation; given back unless it is used.
pub(crate) struct Place<'t> {
    totals: &'t Totals,
    /// One, or none where the session will take the place of another one.
    count: usize,
    subject: Option<ParticipantId>,
    /// There is no place for two sessions of the participant at once: the old one has to go when the new one comes.
    instead: bool,
}

impl Totals {
    /// How much is there. `rooms` is the caller's.
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

    /// A room changed. `counted`: sessions of `after` that are in the sum already.
    pub(crate) fn change(&self, before: &Counts, after: &Counts, counted: usize) {
        let add = |total: &AtomicUsize, before: usize, after: usize| {
            // Wrapping: a difference may be negative.
            total.fetch_add(after.wrapping_sub(before), AcqRel);
        };
        add(&self.participants, before.participants, after.participants);
        add(&self.viewers, before.viewers, after.viewers);
        add(&self.connected, before.connected, after.connected);
        add(&self.sessions, before.sessions + counted, after.sessions);
    }

    /// A place for one session more. `make_space` ends sessions that are overdue; it is called where there is none. On a full
    /// node a participant that publishes again still gets one: that of its old session.
    ///
    /// # Errors
    /// `Full`; `Quota` where the subject has as many sessions as it may.
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
                // One too many until the old session goes, in the turn in which the new one comes.
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

    /// A session is over.
    pub(crate) fn forget(&self, session: SessionId) {
        let mut subjects = self.subjects();
        if let Some(subject) = subjects.of.remove(&session) {
            subjects.release(&subject);
        }
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        // A panic ends the request that caused it, not the node.
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
    /// Whether the session has to take the place of the one with which the participant publishes.
    pub(crate) fn is_instead(&self) -> bool {
        self.instead
    }

    /// The session whose place this one was to take is gone: it needs one of its own.
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

    /// The session is about to be there: what is counted of its subject is its own, until [`Totals::forget`].
    pub(crate) fn belongs_to(&mut self, session: SessionId) {
        if let Some(subject) = self.subject.take() {
            self.totals.subjects().of.insert(session, subject);
        }
    }

    /// The room's turn takes the count over.
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

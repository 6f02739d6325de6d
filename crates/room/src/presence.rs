//! Who stays and for how long: members whose connection is lost, rooms that nobody is in, and rooms whose lifetime is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use model::{CloseReason, MemberKind, ParticipantId, SessionId};

use crate::EndReason;
use crate::room::Room;

/// How long a room that was created waits for its first session at least: who creates a room has to tell others of it
/// before they can come.
const FIRST_SESSION_WITHIN: Duration = Duration::from_secs(60);

/// The times that bound the stay of members and of the room.
#[derive(Debug, Default)]
pub(crate) struct Stay {
    /// Members without a session, and until when they stay.
    lost: BTreeSet<(Instant, ParticipantId)>,
    /// Until when the empty room stays.
    kept_until: Option<Instant>,
    /// When the room began; its lifetime counts from there.
    began: Option<Instant>,
}

impl Room {
    /// Keeps the new room although nobody is in it yet, for its `empty_timeout`, and at least for a minute.
    #[must_use]
    pub fn waiting(mut self, now: Instant) -> Self {
        let wait = self.settings.empty_timeout.max(FIRST_SESSION_WITHIN);
        self.stay.kept_until = now.checked_add(wait);
        self.stay.began = Some(now);
        self
    }

    /// A session entered: the room is no longer empty.
    pub(crate) fn is_entered(&mut self, now: Instant) {
        self.stay.kept_until = None;
        self.stay.began.get_or_insert(now);
    }

    /// Whether the room stays although nobody is in it.
    pub(crate) fn is_kept(&self) -> bool {
        self.stay.kept_until.is_some()
    }

    /// When the next of these times is over.
    pub(crate) fn stay_due(&self) -> Option<Instant> {
        let lost = self.stay.lost.first().map(|(at, _)| *at);
        lost.into_iter().chain(self.stay.kept_until).chain(self.lifetime_end()).min()
    }

    /// Ends what is over.
    pub(crate) fn end_stays(&mut self, now: Instant) {
        while let Some((_, member)) = self.stay.lost.first().filter(|(at, _)| *at <= now).cloned() {
            self.give_up(now, &member);
        }
        self.stay.kept_until.take_if(|until| *until <= now);
        if self.lifetime_end().is_some_and(|at| at <= now) {
            self.close_all(now);
        }
    }

    fn lifetime_end(&self) -> Option<Instant> {
        self.stay.began?.checked_add(self.settings.lifetime?)
    }

    /// Until when the member of a session stays in the room when the session ends for this reason; `None`: it leaves at
    /// once. A member that said goodbye, was removed or was replaced does not come back on its own.
    pub(crate) fn stays_until(
        &self,
        now: Instant,
        session: SessionId,
        reason: EndReason,
    ) -> Option<Instant> {
        let record = self.publishers.of_session(session)?;
        let state = self.sessions.get(&session)?;
        if record.kind != MemberKind::Session {
            return None;
        }
        let again = state.member.as_ref()?.lost_until.filter(|until| *until > now);
        match reason {
            EndReason::NeverConnected => again,
            EndReason::Transport(
                CloseReason::ConsentExpired | CloseReason::DtlsFailed | CloseReason::Internal,
            ) => match state.connected {
                true => now.checked_add(self.settings.lost_timeout).filter(|until| *until > now),
                // An attempt to come back failed: the time since the loss goes on.
                false => again,
            },
            _ => None,
        }
    }

    /// The session of a member is over, and the member stays without tracks until this time.
    pub(crate) fn lose(&mut self, session: SessionId, until: Instant) {
        let Some(member) = self.publishers.of_session(session).map(|record| record.id.clone())
        else {
            return;
        };
        self.stay.lost.insert((until, member));
        self.publishers.update(session, &mut self.mappings, |record| {
            (record.lost, record.connected) = (true, false);
            record.tracks.clear();
        });
    }

    /// A member comes back with a new session. Returns until when it would have stayed without one.
    pub(crate) fn found_again(&mut self, member: &ParticipantId) -> Option<Instant> {
        let found = self.stay.lost.iter().find(|(_, lost)| lost == member).cloned()?;
        self.stay.lost.remove(&found);
        Some(found.0)
    }

    /// A member without a session leaves the room.
    pub(crate) fn give_up(&mut self, now: Instant, member: &ParticipantId) {
        self.found_again(member);
        if let Some(session) = self.publishers.session_of(member) {
            self.qualities.remove(member);
            self.publishers.remove(session);
        }
        self.note_empty(now);
    }

    /// An empty room stays for its `empty_timeout`.
    pub(crate) fn note_empty(&mut self, now: Instant) {
        let timeout = self.settings.empty_timeout;
        if self.nobody_is_in() && !timeout.is_zero() {
            self.stay.kept_until = now.checked_add(timeout);
        }
    }

    /// Removes everybody but in-process publishers, and ends the room. With such a publisher the room begins anew.
    pub(crate) fn close_all(&mut self, now: Instant) {
        let all = self.sessions.iter().filter(|(_, s)| s.agreement.is_some());
        let all: Vec<SessionId> = all.map(|(id, _)| *id).collect();
        // Successors end before the sessions whose place they would take.
        let mut ordered: Vec<SessionId> = self.successors.values().map(|r| r.session).collect();
        ordered.extend(all);
        for session in ordered {
            self.leave(session, EndReason::RoomClosed, None);
        }
        while let Some((_, member)) = self.stay.lost.first().cloned() {
            self.give_up(now, &member);
        }
        self.stay.kept_until = None;
        self.stay.began = (!self.nobody_is_in()).then_some(now);
        self.work(crate::room::AT_ONCE);
    }
}

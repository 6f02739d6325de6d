//! Step 2: finds the protocol of a datagram, and its session.

use std::{sync::Arc, time::Instant};

use model::{DropReason, DtlsRole, Event, Path, SessionId};
use transport::{
    demux::{Kind, classify},
    ice,
};

use crate::{
    WorkerId, core::Worker, directory::Entry, mail::Message, paths::PathOwner, sessions::SessionRef,
};

/// Sessions of one worker whose handshakes may be in progress at once.
pub(crate) const HALF_OPEN_MAX: usize = 4_096;

impl Worker {
    /// Takes a datagram from any source.
    pub(crate) fn take_datagram(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        let taken = match classify(datagram) {
            Kind::Stun => self.take_stun(now, path, datagram),
            Kind::Dtls => self.take_dtls(now, path, datagram),
            Kind::Rtp => self.take_media_of(now, path, datagram, Worker::take_rtp),
            Kind::Rtcp => self.take_media_of(now, path, datagram, Worker::take_rtcp),
            Kind::TurnChannel | Kind::Unknown => Err(DropReason::NotClassified),
        };
        self.current = None;
        if let Err(reason) = taken {
            self.counters.drop_in(reason);
            tracing::trace!(reason = reason.as_str(), len = datagram.len(), "datagram dropped");
        }
    }

    fn take_stun(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        // The ufrag decides, not the path: a browser may use one port for one session after another.
        let ufrag = ice::peek_username(datagram)?;
        let entry = self.directory.by_ufrag(ufrag).ok_or(DropReason::StunUnknownUser)?;
        if self.is_in_use(now, &path, entry.id) {
            return Err(DropReason::PathInUse);
        }
        match entry.owner() {
            Some(owner) if owner == self.id => self.take_check(now, path, datagram, &entry),
            Some(owner) => {
                // Only an authentic check may teach this worker a path.
                let orders = entry.orders();
                let password = orders.password(ufrag).ok_or(DropReason::StunUnknownUser)?;
                ice::verify(datagram, password)?;
                self.paths.cache(now, path, &entry);
                // Paths that were validated here before the session had an owner are told to the owner first: they
                // must not be nominated after the path of this check.
                self.pass_elsewhere(owner, &entry, path, datagram)
            }
            None if entry.is_gone() => Err(DropReason::StunUnknownUser),
            None => self.answer_unsettled(now, path, datagram, &entry),
        }
    }

    /// Whether the path is the one on which another connected session is sent media, and something authentic of that
    /// session arrived on it within the lifetime of consent. Such a path stays with that session: the check may have a
    /// forged source address, and the session would lose what its peer sends until the peer's next check (threats rows
    /// 26 and 61). Another path of a session carries no media to its peer, and may be taken.
    ///
    /// A session that is not connected yet does not hold its paths: an attacker who guesses a client's address could
    /// otherwise keep the client out with offers alone.
    pub(crate) fn is_in_use(&mut self, now: Instant, path: &Path, checking: SessionId) -> bool {
        match self.paths.get(path) {
            Some(PathOwner::Here(at)) => {
                let at = *at;
                let holder = self.sessions.at(at);
                holder.is_some_and(|s| s.id != checking && s.peer.is_live_on(now, path))
            }
            Some(PathOwner::Elsewhere { entry, heard }) => {
                entry.id != checking
                    && now.saturating_duration_since(*heard) < ice::agent::CONSENT_LIFETIME
                    && entry.is_sent_to(path)
            }
            None => false,
        }
    }

    /// Takes a check of a session of this worker.
    fn take_check(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        entry: &Entry,
    ) -> Result<(), DropReason> {
        let at = self.sessions.by_id(entry.id).ok_or(DropReason::StunUnknownUser)?;
        self.current = Some(at);
        let session = self.sessions.at(at).ok_or(DropReason::StunUnknownUser)?;
        session.peer.handle_stun(now, path, datagram)?;
        if session.presence.checked(now) {
            (self.config.events)(Event::Back { session: session.id });
        }
        let is_known = session.paths.contains(&path);
        self.counters.stun.add(1);
        if is_known {
            // A check of another session may have taken this path since, while nothing arrived from this session: a
            // port that is used again, or a forged source. The latest authentic check decides whose path it is.
            self.paths.own(path, at);
        }
        self.after_peer(now, at);
        Ok(())
    }

    /// Answers a check of a session that has no owner yet.
    fn answer_unsettled(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        entry: &Arc<Entry>,
    ) -> Result<(), DropReason> {
        let orders = entry.orders();
        let answer = ice::respond(datagram, &path, &orders.ice)?;
        self.outbox.datagram(path, &answer.response);
        self.counters.stun.add(1);
        if answer.success {
            self.paths.pend(now, path, entry, answer.nominated);
            // The node begins the handshake, so nothing else will give the session an owner.
            if orders.plan.dtls_role == DtlsRole::Active
                && self.sessions.half_open() < HALF_OPEN_MAX
            {
                let _elsewhere = self.settle(now, entry);
            }
        }
        Ok(())
    }

    fn take_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let at = match self.paths.get(&path) {
            Some(PathOwner::Here(at)) => *at,
            Some(PathOwner::Elsewhere { entry, .. }) => {
                let entry = entry.clone();
                match entry.owner() {
                    Some(owner) if owner != self.id => {
                        self.paths.passed_on(now, &path);
                        return self.pass_elsewhere(owner, &entry, path, datagram);
                    }
                    _ if self.sessions.half_open() >= HALF_OPEN_MAX => {
                        return Err(DropReason::DtlsLimit);
                    }
                    _ => match self.settle(now, &entry) {
                        Ok(at) => at,
                        Err(Some(owner)) => {
                            return self.pass_elsewhere(owner, &entry, path, datagram);
                        }
                        Err(None) => return Err(DropReason::UnknownPath),
                    },
                }
            }
            // Threat: a ClientHello that overtakes the first check must not begin a handshake.
            None => return Err(DropReason::UnknownPath),
        };
        self.current = Some(at);
        let session = self.sessions.at(at).ok_or(DropReason::UnknownPath)?;
        #[cfg(test)]
        assert!(!session.poisoned, "poisoned by a test");
        session.peer.handle_dtls(now, path, datagram)?;
        self.counters.dtls.add(1);
        self.after_peer(now, at);
        Ok(())
    }

    #[inline]
    fn take_media_of(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &mut [u8],
        take: impl FnOnce(&mut Worker, Instant, SessionRef, &Path, &mut [u8]) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        match self.paths.get(&path) {
            Some(PathOwner::Here(at)) => {
                let at = *at;
                self.current = Some(at);
                take(self, now, at, &path, datagram)
            }
            Some(PathOwner::Elsewhere { entry, .. }) => {
                let entry = entry.clone();
                match entry.owner() {
                    Some(owner) if owner != self.id => {
                        self.paths.passed_on(now, &path);
                        self.pass_elsewhere(owner, &entry, path, datagram)
                    }
                    _ if entry.is_gone() => Err(DropReason::UnknownPath),
                    _ => Err(DropReason::NoKeys),
                }
            }
            None => Err(DropReason::UnknownPath),
        }
    }

    /// Hands a datagram over to the worker that owns its session. Paths that were validated here before the session
    /// had that owner are sent before it.
    fn pass_elsewhere(
        &mut self,
        owner: WorkerId,
        entry: &Arc<Entry>,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        for (path, nominated) in self.paths.take_untold(entry.id) {
            self.mail.tell(owner, Message::Path { session: entry.id, path, nominated });
        }
        self.hand_over(owner, path, datagram)
    }

    /// Hands over a datagram that the kernel brought to this worker, though another one owns the session: the peer's
    /// address moved.
    fn hand_over(
        &mut self,
        owner: WorkerId,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if !self.mail.hand_over(owner, path, datagram) {
            return Err(DropReason::RingFull);
        }
        self.counters.handed_over.add(1);
        Ok(())
    }
}

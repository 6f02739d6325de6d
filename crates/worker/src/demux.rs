//! Step 2: which protocol, and whose.

use std::time::Instant;

use model::{DropReason, DtlsRole, Path, SessionId};
use transport::{
    demux::{Kind, classify},
    ice,
};

use crate::{WorkerId, core::Worker, registry::PathOwner, sessions::Slot};

/// Sessions of one worker whose handshakes may go on at once.
pub(crate) const HALF_OPEN_MAX: usize = 4_096;

impl Worker {
    /// Takes a datagram, wherever it came in.
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
        let session = self.registry.by_ufrag(ufrag).ok_or(DropReason::StunUnknownUser)?;
        let entry = self.registry.entry(session).ok_or(DropReason::StunUnknownUser)?;
        if let Some(slot) = entry.slot {
            self.current = Some(slot);
            let session = self.sessions.at(slot).ok_or(DropReason::StunUnknownUser)?;
            session.peer.handle_stun(now, path, datagram)?;
            let is_known = session.paths.contains(&path);
            self.counters.stun.add(1);
            if is_known {
                // A check of another session may have come from this address since: a port that is used again, or
                // a forged source. The latest genuine check says whose the path is, so that nobody loses it for long.
                self.registry.own_path(path, slot);
            }
            self.after_peer(now, slot);
            return Ok(());
        }
        if let Some(owner) = entry.home.owner() {
            // Only a check that is genuine may teach this worker a path.
            let password = entry.password(ufrag).ok_or(DropReason::StunUnknownUser)?;
            ice::verify(datagram, password)?;
            self.registry.lend_path(path, session, owner);
            return self.hand_over(owner, path, datagram);
        }
        self.answer_unsettled(now, path, datagram, session)
    }

    /// Answers a check of a session that has not settled anywhere.
    fn answer_unsettled(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        session: SessionId,
    ) -> Result<(), DropReason> {
        let entry = self.registry.entry(session).ok_or(DropReason::StunUnknownUser)?;
        let answer = ice::respond(datagram, &path, &entry.ice)?;
        let role = entry.plan.dtls_role;
        self.outbox.datagram(&self.inbox, &self.counters, path, &answer.response);
        self.counters.stun.add(1);
        if answer.success {
            self.registry.pend_path(path, session, answer.nominated);
            // We begin the handshake, so nothing else will settle the session.
            if role == DtlsRole::Active && self.half_open < HALF_OPEN_MAX {
                let _elsewhere = self.settle(now, session);
            }
        }
        Ok(())
    }

    fn take_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let slot = match self.registry.path(&path) {
            Some(PathOwner::Here(slot)) => slot,
            Some(PathOwner::There(owner)) => return self.hand_over(owner, path, datagram),
            Some(PathOwner::Pending(session)) => {
                if self.half_open >= HALF_OPEN_MAX {
                    return Err(DropReason::DtlsLimit);
                }
                match self.settle(now, session) {
                    Some(Ok(slot)) => slot,
                    Some(Err(owner)) => return self.hand_over(owner, path, datagram),
                    None => return Err(DropReason::UnknownPath),
                }
            }
            // Threat: a ClientHello that overtakes the first check must not begin a handshake.
            None => return Err(DropReason::UnknownPath),
        };
        self.current = Some(slot);
        let session = self.sessions.at(slot).ok_or(DropReason::UnknownPath)?;
        #[cfg(test)]
        assert!(!session.poisoned, "poisoned by a test");
        session.peer.handle_dtls(now, path, datagram)?;
        self.counters.dtls.add(1);
        self.after_peer(now, slot);
        Ok(())
    }

    #[inline]
    fn take_media_of(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &mut [u8],
        take: impl FnOnce(&mut Worker, Instant, Slot, &mut [u8]) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        match self.registry.path(&path) {
            Some(PathOwner::Here(slot)) => {
                self.current = Some(slot);
                take(self, now, slot, datagram)
            }
            Some(PathOwner::There(owner)) => self.hand_over(owner, path, datagram),
            Some(PathOwner::Pending(_)) => Err(DropReason::NoKeys),
            None => Err(DropReason::UnknownPath),
        }
    }

    /// The kernel brought a datagram here that belongs to a session of another worker: a peer's address moved.
    fn hand_over(
        &mut self,
        owner: WorkerId,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if !self.mesh.hand_over(owner, path, datagram) {
            return Err(DropReason::RingFull);
        }
        self.counters.handed_over.add(1);
        Ok(())
    }
}

//! Takes notices from signaling: which sessions of this worker have new orders.

use std::time::Instant;

use model::{CloseReason, SessionId};

use crate::{core::Worker, mail::Notice};

/// Notices taken in one turn: a change that concerns thousands of sessions must not delay media.
const NOTICES_PER_TURN: usize = 256;

impl Worker {
    /// Takes waiting notices, up to a limit. Returns whether there may be more.
    pub(crate) fn take_notices(&mut self, now: Instant) -> bool {
        for _ in 0..NOTICES_PER_TURN {
            let Some(notice) = self.mail.next_notice() else { return false };
            self.take_notice(now, notice);
            self.current = None;
        }
        true
    }

    fn take_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Orders(entry) => {
                entry.claim.heard();
                self.look_at_orders(now, entry.id);
            }
            Notice::Attach(entry, peer) => self.attach(&entry, *peer),
            Notice::Inspect(session, reply) => self.take_question(now, session, reply),
            Notice::Shutdown => self.take_shutdown(now),
            #[cfg(any(test, feature = "lab"))]
            Notice::Break => self.broken = true,
        }
    }

    /// Carries out new orders of a session, if this worker owns it.
    pub(crate) fn look_at_orders(&mut self, now: Instant, session: SessionId) {
        if let Some(at) = self.sessions.by_id(session) {
            self.current = Some(at);
            self.carry_out(now, at);
            self.queue_data(at);
        } else {
            self.look_at_source(session);
        }
    }

    fn take_shutdown(&mut self, now: Instant) {
        for entry in self.directory.sessions() {
            if let Some(at) = self.sessions.by_id(entry.id) {
                self.current = Some(at);
                self.say_goodbye(now, at);
                self.end_session(at, CloseReason::Requested);
            }
        }
        self.stopping = true;
    }
}

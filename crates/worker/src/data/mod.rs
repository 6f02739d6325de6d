//! Data messages between the peers' data channels and signaling.
//!
//! A message of a peer becomes an [`Event::Data`](model::Event::Data). A message for a peer ([`model::Command::SendData`]) waits in a
//! queue beside the session's orders (`queue`), goes into the channel of its topic (`session`), and leaves in the session's DTLS
//! connection.
//!
//! Sessions with data to take or to send are visited in turn, and a turn of the worker takes and sends a bounded number of bytes, so
//! that media is never delayed by data. A peer that sends more than its rate is not read for a while: its receive window closes, and
//! nobody else notices. A peer that does not read fills its own queue. A session without data channels costs an empty `Option`.

mod queue;
mod session;

use std::{collections::VecDeque, time::Instant};

pub(crate) use queue::DataQueue;
pub(crate) use session::SessionData;

use self::session::Context;
use crate::{core::Worker, sessions::SessionRef};

/// Bytes of data messages taken and sent in one turn: less than a millisecond of work.
const BYTES_PER_TURN: usize = 256 * 1024;
/// Sessions visited in one turn.
const VISITS_PER_TURN: usize = 256;

/// The sessions of one worker that have data to take or to send, each once.
#[derive(Default)]
pub(crate) struct DataRound(VecDeque<SessionRef>);

impl Worker {
    /// Notes that a session may have data to take or to send, if it has data channels.
    #[inline]
    pub(crate) fn queue_data(&mut self, at: SessionRef) {
        let Some(data) = self.sessions.at(at).and_then(|session| session.data.as_mut()) else {
            return;
        };
        if !std::mem::replace(&mut data.queued, true) {
            self.data_round.0.push_back(at);
        }
    }

    /// Notes that a session has to be visited, if its time has come.
    pub(crate) fn call_data(&mut self, now: Instant, at: SessionRef) {
        let data = self.sessions.at(at).and_then(|session| session.data.as_ref());
        if data.and_then(|data| data.due()).is_some_and(|due| due <= now) {
            self.queue_data(at);
        }
    }

    /// Visits the sessions that have data, up to the limits of a turn. Returns whether there are more.
    pub(crate) fn work_on_data(&mut self, now: Instant) -> bool {
        let mut bytes = 0;
        for _ in 0..VISITS_PER_TURN.min(self.data_round.0.len()) {
            if bytes >= BYTES_PER_TURN {
                return true;
            }
            let Some(at) = self.data_round.0.pop_front() else { return false };
            self.guarded(|w| bytes += w.visit_data(now, at));
        }
        !self.data_round.0.is_empty()
    }

    /// Visits a session. Returns the bytes of the messages that were taken and sent.
    fn visit_data(&mut self, now: Instant, at: SessionRef) -> usize {
        self.current = Some(at);
        // The place may belong to another session by now, which is visited without need.
        let Some(session) = self.sessions.at(at) else { return 0 };
        let Some(data) = session.data.as_mut() else { return 0 };
        data.queued = false;
        let config = &self.config;
        let report = |event| (config.events)(event);
        let entry = session.entry.clone();
        let visit = data.visit(&mut Context {
            now,
            id: session.id,
            peer: &mut session.peer,
            queue: entry.data(),
            limits: &config.rates,
            counters: &self.counters,
            report: &report,
        });
        let sent = self.transmit(at);
        self.arm(now, at);
        if visit.more {
            self.queue_data(at);
        }
        // A message that was accepted may leave later, and packets may leave for messages that were accepted before.
        visit.bytes.max(sent)
    }
}

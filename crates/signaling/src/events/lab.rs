//! The events of room sessions without HTTP, for simulations and tests only (cargo feature `lab`): the caller opens a log for each
//! session and takes the numbered messages that a client would get. The product does not use it.
//!
//! Messages are made, numbered and kept by the same code as in the product (`hub`, `log`, `convert`).

use std::sync::Arc;

use model::{ParticipantId, RoomId, SessionId};
use room::{Notice, RecordChange};

use super::convert;
use super::hub::Hub;
use super::log::{Next, Reader};
use super::messages::Snapshot;
use crate::core::{Core, Observer};

/// The logs of all sessions. Its clones are the same logs; one of them is the observer of the [`Core`].
#[derive(Clone, Default)]
pub struct EventLogs {
    hub: Arc<Hub>,
}

/// One client's place in the log of its session.
pub struct Follower {
    reader: Reader,
}

/// What a client takes from its log.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// Messages with their numbers, as JSON without the number; an empty list: nothing new.
    Messages(Vec<(u64, Arc<str>)>),
    /// The session ended, and its last message was taken.
    Ended,
    /// The log does not have the next message any more, or another client follows: a client begins anew.
    Lost,
}

impl EventLogs {
    /// Begins the log of a session that was just accepted.
    pub fn open(&self, session: SessionId, room: &RoomId, identity: &ParticipantId) {
        self.hub.open(session, room, identity.clone());
    }

    /// Follows a session from now on: the number of the snapshot, and the snapshot. `None` when the session is over.
    pub fn follow(&self, core: &Core, session: SessionId) -> Option<(Follower, u64, Snapshot)> {
        let feed = self.hub.feed(session)?;
        // Under the lock of the room, so that no message is made between the snapshot and its number.
        let taken = core.look(&feed.room, |room| {
            room.snapshot(session).map(|snapshot| (snapshot, feed.restart()))
        });
        let (snapshot, (reader, number)) = taken?.ok()?;
        Some((Follower { reader }, number, convert::snapshot(&feed.room, &snapshot)))
    }

    /// Follows a session after the message `after`. `None` when the log does not reach back so far, or the session is over.
    pub fn resume(&self, session: SessionId, after: u64) -> Option<Follower> {
        let reader = self.hub.feed(session)?.resume(after)?;
        Some(Follower { reader })
    }

    /// What a snapshot would say now. The log is not changed.
    pub fn snapshot(&self, core: &Core, session: SessionId) -> Option<Snapshot> {
        let room = core.room_of(session)?;
        Some(convert::snapshot(&room, &core.snapshot(session).ok()?))
    }
}

impl Follower {
    /// The next messages.
    pub fn take(&mut self) -> Taken {
        match self.reader.take() {
            Next::Messages(from, bodies) => Taken::Messages((from..).zip(bodies).collect()),
            Next::Wait => Taken::Messages(Vec::new()),
            Next::Ended => Taken::Ended,
            Next::Replaced | Next::Behind => Taken::Lost,
        }
    }
}

impl Observer for EventLogs {
    fn notice(&self, room: &RoomId, notice: &Notice) {
        self.hub.notice(room, notice);
    }

    fn record(&self, room: &RoomId, change: &RecordChange) {
        self.hub.record(room, change);
    }

    fn closed(&self, room: &RoomId) {
        self.hub.closed(room);
    }
}

//! Listings of a room, for an API and for metrics. Nothing here changes anything.

use std::ops::Bound;
use std::sync::Arc;

use model::SessionId;

use crate::room::Room;
use crate::session::Session;
use crate::{Counts, ParticipantInfo, ParticipantRecord, RoomInfo, SessionInfo, ViewerInfo};

impl Room {
    /// Who publishes, in order of arrival.
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        self.publishers.iter().map(|publisher| publisher.record.info()).collect()
    }

    /// The records of those who publish, in order of arrival. Costs a count each: what is said of them is read later, when the room is
    /// locked no more.
    pub fn records(&self) -> Vec<Arc<ParticipantRecord>> {
        self.publishers.iter().map(|publisher| publisher.record.clone()).collect()
    }

    /// Who watches, in order of arrival.
    pub fn viewers(&self) -> Vec<ViewerInfo> {
        let info = |(id, session): (&SessionId, &Session)| {
            let watching = session.watching.as_ref()?;
            Some(ViewerInfo {
                session: *id,
                identity: session.identity.clone(),
                connected: session.connected,
                slots: watching.slots.listing(),
                incompatible: watching.slots.incompatible(),
            })
        };
        self.sessions.iter().filter_map(info).collect()
    }

    /// Sessions by rising id, those after `after` and at most `most` of them. In-process publishers are not among them.
    pub fn sessions_after(&self, after: Option<SessionId>, most: usize) -> Vec<SessionInfo> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions.range((begin, Bound::Unbounded));
        let info = |(id, session): (&SessionId, &Session)| SessionInfo {
            session: *id,
            identity: session.identity.clone(),
            connected: session.connected,
        };
        sessions.filter(|(_, session)| session.agreement.is_some()).map(info).take(most).collect()
    }

    /// The room in a list of rooms. Its numbers are kept, not counted.
    pub fn info(&self) -> RoomInfo {
        RoomInfo {
            id: self.id().clone(),
            participants: self.publishers.len(),
            viewers: self.viewers,
        }
    }

    /// How much is here. The numbers are kept, not counted.
    pub fn counts(&self) -> Counts {
        Counts {
            rooms: 1,
            participants: self.publishers.len(),
            viewers: self.viewers,
            sessions: self.sessions.len(),
            connected: self.connected,
        }
    }

    /// Tables of payload types that were worked out in this room's life: the part of its work that grows with the length of offers. Those
    /// that are known are looked up.
    pub fn tables_worked_out(&self) -> u64 {
        self.mappings.worked_out()
    }

    /// Whether the session is here.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }
}

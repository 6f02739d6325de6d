//! Listings of a room, for the API and for metrics. Nothing here changes the room.

use std::ops::Bound;
use std::sync::Arc;

use model::SessionId;

use crate::room::Room;
use crate::session::Session;
use crate::{Counts, ParticipantInfo, ParticipantRecord, RoomInfo, SessionInfo, ViewerInfo};

impl Room {
    /// The publishers, in order of arrival.
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        self.publishers.iter().map(|publisher| publisher.record.info()).collect()
    }

    /// The records of the publishers, in order of arrival. Only references are cloned: the records are read later,
    /// without the room's lock.
    pub fn records(&self) -> Vec<Arc<ParticipantRecord>> {
        self.publishers.iter().map(|publisher| publisher.record.clone()).collect()
    }

    /// The viewers, in order of arrival.
    pub fn viewers(&self) -> Vec<ViewerInfo> {
        let info = |(id, session): (&SessionId, &Session)| {
            let watching = session.watching.as_ref()?;
            Some(ViewerInfo {
                session: *id,
                identity: session.identity.clone(),
                connected: session.connected,
                slots: watching.listing(),
                incompatible: watching.incompatible(),
            })
        };
        self.sessions.iter().filter_map(info).collect()
    }

    /// At most `most` sessions with ids above `after`, by rising id. In-process publishers are left out.
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

    /// The room's entry in a list of rooms. Costs no walk: the numbers are kept up to date.
    pub fn info(&self) -> RoomInfo {
        RoomInfo {
            id: self.id().clone(),
            participants: self.publishers.len(),
            viewers: self.viewers,
        }
    }

    /// The numbers of sessions in this room. Costs no walk: the numbers are kept up to date.
    pub fn counts(&self) -> Counts {
        Counts {
            rooms: 1,
            participants: self.publishers.len(),
            viewers: self.viewers,
            sessions: self.sessions.len(),
            connected: self.connected,
        }
    }

    /// Payload type tables that this room computed so far. This is the part of its work that grows with the length of
    /// offers; tables that exist are only looked up.
    pub fn tables_worked_out(&self) -> u64 {
        self.mappings.worked_out()
    }

    /// Whether the room has this session.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }
}

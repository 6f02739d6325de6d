//! Listings of the rooms, for an API and for metrics. Nothing here changes anything.

use model::{RoomId, SessionId};

use crate::rooms::Rooms;
use crate::state::{Role, Room, Track};
use crate::{Counts, ParticipantInfo, RoomInfo, ViewerInfo};

impl Rooms {
    /// Who publishes in a room, in order of arrival; `None` when there is no such room.
    pub fn participants(&self, room: &RoomId) -> Option<Vec<ParticipantInfo>> {
        let publishers = &self.rooms.get(room)?.publishers;
        Some(publishers.iter().filter_map(|id| self.participant_info(*id)).collect())
    }

    /// Who watches in a room, in order of arrival; `None` when there is no such room.
    pub fn viewers(&self, room: &RoomId) -> Option<Vec<ViewerInfo>> {
        let viewers = &self.rooms.get(room)?.viewers;
        let info = |id: &SessionId| {
            let session = self.sessions.get(id)?;
            let Role::Viewer { identity, slots, .. } = &session.role else { return None };
            Some(ViewerInfo {
                session: *id,
                identity: identity.clone(),
                connected: session.connected,
                slots: slots.listing(),
                incompatible: slots.incompatible(),
            })
        };
        Some(viewers.iter().filter_map(info).collect())
    }

    /// All rooms, by name.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        let info = |(id, room): (&RoomId, &Room)| RoomInfo {
            id: id.clone(),
            participants: room.publishers.len(),
            viewers: room.viewers.len(),
        };
        self.rooms.iter().map(info).collect()
    }

    /// How much is there.
    pub fn counts(&self) -> Counts {
        Counts {
            rooms: self.rooms.len(),
            participants: self.rooms.values().map(|r| r.publishers.len()).sum(),
            viewers: self.rooms.values().map(|r| r.viewers.len()).sum(),
            sessions: self.sessions.len(),
            connected: self.sessions.values().filter(|s| s.connected).count(),
        }
    }

    /// Whether the session is there.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    fn participant_info(&self, id: SessionId) -> Option<ParticipantInfo> {
        let session = self.sessions.get(&id)?;
        let Role::Publisher { participant, tracks } = &session.role else { return None };
        Some(ParticipantInfo {
            id: participant.clone(),
            session: id,
            connected: session.connected,
            local: session.ice.is_none(),
            tracks: tracks.iter().map(Track::info).collect(),
        })
    }
}

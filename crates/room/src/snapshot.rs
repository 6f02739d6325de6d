//! What a member sees of its room at one moment.

use std::sync::Arc;

use model::{ParticipantId, Permissions, Quality, SessionId};

use crate::room::{Room, not_found};
use crate::{ParticipantRecord, RoomError, Snapshot};

impl Room {
    /// All that a member has to know of the room. Who applies to an earlier snapshot the record changes and notices that
    /// came since has the same.
    ///
    /// # Errors
    /// `NotFound`, also when the session is not of a member.
    pub fn snapshot(&self, session: SessionId) -> Result<Snapshot, RoomError> {
        let state = self.session(session)?;
        let (Some(me), Some(member)) = (&state.identity, &state.member) else {
            return Err(not_found(session));
        };
        let records = || self.publishers.iter().map(|publisher| &publisher.record);
        let quality = |record: &Arc<ParticipantRecord>| {
            let quality = self.qualities.get(&record.id).filter(|_| !record.hidden)?;
            Some((record.id.clone(), *quality))
        };
        Ok(Snapshot {
            settings: self.settings.clone(),
            members: records().filter(|record| record.is_seen_by(me)).cloned().collect(),
            me: me.clone(),
            permissions: member.permissions,
            slots: self.slot_views(session),
            wanted: self.slots_wanted(session),
            speakers: self.speakers(),
            qualities: records().filter_map(quality).collect(),
        })
    }

    /// What the member of a session may do; `None` when the session is not of a member.
    pub fn permissions(&self, session: SessionId) -> Option<Permissions> {
        Some(self.sessions.get(&session)?.member.as_ref()?.permissions)
    }

    /// What a member may do now; `None` when there is no such member, or its connection is lost.
    pub fn permissions_of(&self, member: &ParticipantId) -> Option<Permissions> {
        self.permissions(self.publishers.session_of(member)?)
    }

    /// How good a member's connection is; `None` when it is not known, or when there is no such member.
    pub fn quality_of(&self, member: &ParticipantId) -> Option<Quality> {
        self.qualities.get(member).copied()
    }
}

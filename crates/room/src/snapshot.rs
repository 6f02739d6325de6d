//! What a member sees of its room at one moment.

use std::sync::Arc;

use model::{ParticipantId, Permissions, SessionId};

use crate::room::{Room, not_found};
use crate::{ParticipantRecord, RoomError, SlotInfo, SlotState, SlotView, Snapshot};

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
            wanted: (0, 0),
            speakers: [].into(),
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
}

impl Room {
    /// All slots of a session, in the order of its offer.
    fn slot_views(&self, session: SessionId) -> Vec<SlotView> {
        let watching = self.sessions.get(&session).and_then(|s| s.watching.as_ref());
        let slots = watching.map(|watching| watching.slots.listing()).unwrap_or_default();
        let view = |slot: SlotInfo| {
            let publisher = slot.track.and_then(|track| {
                let mut records = self.publishers.iter().map(|publisher| &publisher.record);
                let record = records.find(|record| record.tracks.iter().any(|t| t.id == track))?;
                Some((track, record.id.clone()))
            });
            let state = match publisher {
                Some(_) => SlotState::Flowing,
                None => SlotState::Empty,
            };
            SlotView { mid: slot.mid, kind: slot.kind, shows: publisher, state }
        };
        slots.into_iter().map(view).collect()
    }
}

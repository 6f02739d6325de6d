//! The view of one member: made of a snapshot, and then of what the room tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Mid, ParticipantId, Permissions, Quality, SessionId};
use sfumato_room::{
    Notice, ParticipantRecord, RecordChange, RoomSettings, SlotView, Snapshot, Speaker,
};

/// All of a snapshot, without its order: who follows the changes does not learn where a member that was hidden stood.
#[derive(Debug, PartialEq)]
pub(crate) struct View {
    me: ParticipantId,
    settings: Arc<RoomSettings>,
    members: BTreeMap<ParticipantId, Arc<ParticipantRecord>>,
    permissions: Permissions,
    slots: BTreeMap<Mid, SlotView>,
    speakers: Arc<[Speaker]>,
    qualities: BTreeMap<ParticipantId, Quality>,
}

impl View {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let members = snapshot.members.iter().map(|record| (record.id.clone(), record.clone()));
        Self {
            me: snapshot.me.clone(),
            settings: snapshot.settings.clone(),
            members: members.collect(),
            permissions: snapshot.permissions,
            slots: snapshot.slots.iter().map(|slot| (slot.mid, slot.clone())).collect(),
            speakers: snapshot.speakers.clone(),
            qualities: snapshot.qualities.iter().cloned().collect(),
        }
    }

    /// A notice, which may be of another session.
    pub(crate) fn hear(&mut self, me: SessionId, notice: &Notice) {
        match notice {
            Notice::Slots { session, slots } if *session == me => {
                self.slots.extend(slots.iter().map(|slot| (slot.mid, slot.clone())));
            }
            Notice::Permissions { session, permissions } if *session == me => {
                self.permissions = *permissions;
            }
            Notice::Speakers(speakers) => self.speakers = speakers.clone(),
            Notice::Settings(settings) => self.settings = settings.clone(),
            Notice::Quality { member, quality } => {
                self.qualities.insert(member.clone(), *quality);
            }
            _ => {}
        }
    }

    /// A change of a record. A member that is hidden left, for all but itself.
    pub(crate) fn apply(&mut self, change: &RecordChange) {
        match change {
            RecordChange::Put(record) => {
                if record.hidden {
                    self.qualities.remove(&record.id);
                }
                match record.is_seen_by(&self.me) {
                    true => self.members.insert(record.id.clone(), record.clone()),
                    false => self.members.remove(&record.id),
                };
            }
            RecordChange::Gone { replaced: true, .. } => {}
            RecordChange::Gone { id, .. } => {
                self.members.remove(id);
                self.qualities.remove(id);
            }
        }
    }
}

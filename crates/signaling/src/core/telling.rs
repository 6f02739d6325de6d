//! Tells the observer what happened in a room, in an order in which each thing is understood.

use model::{ParticipantId, RoomId};
use room::{Notice, RecordChange, Room};

use super::{Core, lock};

impl Core {
    /// Drains the records and notices of a room: see [`super::Observer`] for the order.
    pub(super) fn tell(&self, id: &RoomId, room: &mut Room) {
        let changes: Vec<RecordChange> = std::iter::from_fn(|| room.poll_record()).collect();
        // Of a member that left and came again in one call, the end is told before the beginning.
        let left: Vec<ParticipantId> = changes.iter().filter_map(who_left).cloned().collect();
        let comes_first = |change: &&RecordChange| match change {
            RecordChange::Put(record) => !left.contains(&record.id),
            RecordChange::Gone { .. } => false,
        };
        for change in changes.iter().filter(comes_first) {
            self.observer.record(id, change);
        }
        while let Some(notice) = room.poll_notice() {
            self.take_notice(id, &notice);
        }
        for change in changes.iter().filter(|change| !comes_first(change)) {
            self.observer.record(id, change);
        }
    }

    fn take_notice(&self, room: &RoomId, notice: &Notice) {
        if let Notice::SessionClosed { session, .. } = notice {
            lock(&self.sessions).remove(session);
            self.totals.forget(*session);
        }
        self.send_data(notice);
        self.observer.notice(room, notice);
    }
}

fn who_left(change: &RecordChange) -> Option<&ParticipantId> {
    match change {
        RecordChange::Gone { id, replaced: false, .. } => Some(id),
        RecordChange::Gone { .. } | RecordChange::Put(_) => None,
    }
}

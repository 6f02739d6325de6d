//! Makes events of what the rooms tell of their members: each change of a record is compared with what was known of the member before.
//!
//! A member joins when it is connected for the first time, not when it tries. One whose connection is lost and that comes back neither
//! leaves nor joins, also when it comes back with another session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use model::{ParticipantId, Presence, RoomId, SessionId};
use room::{EndReason, Notice, ParticipantRecord, RecordChange};

use super::Webhooks;
use super::event::{Happening, What};

/// What is known of the rooms. As large as the rooms are: what ended is taken out.
#[derive(Default)]
pub(super) struct Source(Mutex<HashMap<RoomId, Known>>);

#[derive(Default)]
struct Known {
    members: HashMap<ParticipantId, Member>,
    /// The member of each session that has a member here.
    sessions: HashMap<SessionId, ParticipantId>,
}

struct Member {
    record: Arc<ParticipantRecord>,
    joined: SystemTime,
    /// Why its last session ended.
    ended: Option<EndReason>,
}

impl Source {
    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn put(&mut self, record: &Arc<ParticipantRecord>, now: SystemTime) -> Vec<What> {
        if record.presence() != Presence::Connected {
            // Who is connecting or lost keeps what was known of it.
            if self.members.contains_key(&record.id) {
                self.sessions.insert(record.session, record.id.clone());
            }
            return Vec::new();
        }
        self.sessions.insert(record.session, record.id.clone());
        let Some(member) = self.members.get_mut(&record.id) else {
            let member = Member { record: record.clone(), joined: now, ended: None };
            self.members.insert(record.id.clone(), member);
            let published =
                record.published().map(|track| What::Published(record.clone(), track.clone()));
            return std::iter::once(What::Joined(record.clone())).chain(published).collect();
        };
        let before = std::mem::replace(&mut member.record, record.clone());
        member.ended = None;
        if before.session != record.session {
            self.sessions.remove(&before.session);
        }
        let has = |record: &ParticipantRecord, id| record.published().any(|t| t.id == id);
        let gone = before.published().filter(|track| !has(record, track.id));
        let gone = gone.map(|track| What::Unpublished(before.clone(), track.clone()));
        let new = record.published().filter(|track| !has(&before, track.id));
        gone.chain(new.map(|track| What::Published(record.clone(), track.clone()))).collect()
    }

    fn leave(&mut self, id: &ParticipantId, now: SystemTime) -> Vec<What> {
        let Some(Member { record, joined, ended }) = self.members.remove(id) else {
            return Vec::new();
        };
        self.sessions.retain(|_, of| of != id);
        let tracks = record.published();
        let mut all: Vec<What> =
            tracks.map(|track| What::Unpublished(record.clone(), track.clone())).collect();
        let reason = ended.map_or("left", EndReason::as_str);
        let stayed = now.duration_since(joined).unwrap_or_default();
        all.push(What::Left { record, reason, stayed });
        all
    }
}

/// Called under the lock of a room.
impl Webhooks {
    /// The room began.
    pub(crate) fn opened(&self, room: &RoomId) {
        self.tell(room, vec![What::RoomStarted], self.clock.now());
    }

    /// The room ended.
    pub(crate) fn closed(&self, room: &RoomId) {
        let now = self.clock.now();
        let known = self.source.lock().remove(room);
        let mut all = Vec::new();
        if let Some(mut known) = known {
            let ids: Vec<ParticipantId> = known.members.keys().cloned().collect();
            all.extend(ids.iter().flat_map(|id| known.leave(id, now)));
        }
        all.push(What::RoomEnded);
        self.tell(room, all, now);
    }

    /// Something happened to a session.
    pub(crate) fn notice(&self, room: &RoomId, notice: &Notice) {
        let Notice::SessionClosed { session, reason } = notice else { return };
        let mut rooms = self.source.lock();
        let Some(known) = rooms.get_mut(room) else { return };
        let Some(id) = known.sessions.remove(session) else { return };
        if let Some(member) = known.members.get_mut(&id) {
            member.ended = Some(*reason);
        }
    }

    /// A member came, changed or left.
    pub(crate) fn record(&self, room: &RoomId, change: &RecordChange) {
        let now = self.clock.now();
        let mut rooms = self.source.lock();
        let all = match change {
            RecordChange::Put(record) => {
                let connecting = record.presence() != Presence::Connected;
                if connecting && !rooms.contains_key(room) {
                    return;
                }
                rooms.entry(room.clone()).or_default().put(record, now)
            }
            RecordChange::Gone { replaced: true, .. } => return,
            RecordChange::Gone { id, .. } => match rooms.get_mut(room) {
                Some(known) => known.leave(id, now),
                None => return,
            },
        };
        drop(rooms);
        self.tell(room, all, now);
    }

    fn tell(&self, room: &RoomId, all: Vec<What>, at: SystemTime) {
        for what in all {
            self.note(Happening { room: room.clone(), at, what });
        }
    }
}

//! Listings of the rooms, for the API and for metrics. Nothing here changes a room.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use model::{RoomId, SessionId};
use room::{Counts, ParticipantInfo, ParticipantRecord, Room, RoomInfo};

use super::{Cell, Core, lock};

impl Core {
    /// The room that a session is in.
    pub fn room_of(&self, session: SessionId) -> Option<RoomId> {
        lock(&self.sessions).get(&session).map(|cell| cell.id.clone())
    }

    /// Whether the session exists.
    pub fn contains(&self, session: SessionId) -> bool {
        lock(&self.sessions).contains_key(&session)
    }

    /// The publishers of a room in order of arrival, and the number of its viewers; `None` when there is no such room.
    pub fn participants(&self, room: &RoomId) -> Option<(Vec<ParticipantInfo>, usize)> {
        let (records, viewers) = self.records(room)?;
        Some((records.iter().map(|record| record.info()).collect(), viewers))
    }

    /// As [`Core::participants`], but as records, for which the room is locked only for a moment.
    pub fn records(&self, room: &RoomId) -> Option<(Vec<Arc<ParticipantRecord>>, usize)> {
        self.look(room, |room| (room.records(), room.info().viewers))
    }

    /// Reads from a room without changing it. `None` when there is no such room.
    pub fn look<T>(&self, room: &RoomId, f: impl FnOnce(&Room) -> T) -> Option<T> {
        let cell = lock(&self.names).get(room).cloned()?;
        Some(f(&lock(&cell.state).room))
    }

    /// All rooms, by name.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        self.rooms_after(None, usize::MAX)
    }

    /// At most `most` rooms after this name, by name. Each is locked by itself, for a moment.
    pub fn rooms_after(&self, after: Option<&RoomId>, most: usize) -> Vec<RoomInfo> {
        let names = lock(&self.names);
        let from = (after.map_or(Unbounded, Excluded), Unbounded);
        let next = names.range::<RoomId, _>(from).map(|(_, cell)| cell.clone());
        let cells: Vec<Arc<Cell>> = next.take(most).collect();
        drop(names);
        let states = cells.iter().map(|cell| lock(&cell.state));
        states.filter(|state| !state.gone).map(|state| state.room.info()).collect()
    }

    /// The numbers of rooms, participants and sessions. Costs no walk: the numbers are kept up to date.
    pub fn counts(&self) -> Counts {
        let rooms = lock(&self.names).len();
        self.totals.counts(rooms)
    }
}

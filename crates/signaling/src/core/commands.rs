//! What members and administrators ask of the rooms, and what members see of them.

use std::sync::Arc;
use std::time::Instant;

use model::{ParticipantId, Permissions, RoomId, SessionId};
use room::{
    AdminCommand, EndReason, ErrorKind, MemberCommand, ParticipantRecord, Room, RoomError,
    RoomSettings, Snapshot,
};

use super::{Core, lock, too_many_rooms};

impl Core {
    /// What a member asks of its room.
    ///
    /// # Errors
    /// Those of [`Room::command`].
    pub fn command(
        &self,
        now: Instant,
        session: SessionId,
        command: MemberCommand,
    ) -> Result<(), RoomError> {
        self.of_session(session, |room| room.command(now, session, command))?
    }

    /// What an administrator asks of a room.
    ///
    /// # Errors
    /// `NotFound` when there is no such room, member or track; else those of [`Room::administer`].
    pub fn administer(
        &self,
        now: Instant,
        room: &RoomId,
        command: AdminCommand,
    ) -> Result<(), RoomError> {
        let cell = lock(&self.names).get(room).cloned();
        let done = cell.and_then(|cell| self.turn(&cell, |room| room.administer(now, command)));
        done.ok_or_else(|| RoomError::new(ErrorKind::NotFound, format!("no room {room}")))?
    }

    /// As [`Core::administer`], with commands that depend on the state of the room: `decide` reads it, and what it asks for is
    /// done before anything else can change the room. The commands are done in order, until one is refused.
    ///
    /// # Errors
    /// Those of `decide` and of [`Core::administer`].
    pub fn administer_after(
        &self,
        now: Instant,
        room: &RoomId,
        decide: impl FnOnce(&Room) -> Result<Vec<AdminCommand>, RoomError>,
    ) -> Result<(), RoomError> {
        let cell = lock(&self.names).get(room).cloned();
        let done = cell.and_then(|cell| {
            self.turn(&cell, |room| {
                let commands = decide(room)?;
                commands.into_iter().try_for_each(|command| room.administer(now, command))
            })
        });
        done.ok_or_else(|| RoomError::new(ErrorKind::NotFound, format!("no room {room}")))?
    }

    /// Creates a room, which then waits for its first session for its `empty_timeout`, and at least for a minute. True: the
    /// room is new. False: it was there, and stays as it is.
    ///
    /// # Errors
    /// `Unsupported` when a setting is out of its bounds; `Full` when the node has as many rooms as it may have.
    pub fn create_room(
        &self,
        now: Instant,
        room: &RoomId,
        settings: RoomSettings,
    ) -> Result<bool, RoomError> {
        settings.check()?;
        let made = Room::with_settings(room.clone(), self.node, self.epoch, Arc::new(settings));
        let made = made.waiting(now);
        let mut names = lock(&self.names);
        if names.contains_key(room) {
            return Ok(false);
        }
        let most = self.config.limits.rooms;
        if names.len() >= most {
            return Err(too_many_rooms(room, most));
        }
        let cell = self.begin(&mut names, made);
        drop(names);
        // The turn enters the time at which the room ends if nobody comes.
        self.turn(&cell, |_| ());
        Ok(true)
    }

    /// The settings of rooms that are created without others.
    pub fn default_settings(&self) -> &RoomSettings {
        &self.default_settings
    }

    /// The settings of a room; `None` when there is no such room.
    pub fn settings(&self, room: &RoomId) -> Option<Arc<RoomSettings>> {
        self.look(room, |room| room.settings().clone())
    }

    /// What a member sees of its room now.
    ///
    /// # Errors
    /// `NotFound`, also when the session is not of a member.
    pub fn snapshot(&self, session: SessionId) -> Result<Snapshot, RoomError> {
        self.of_session(session, |room| room.snapshot(session))?
    }

    /// The records of all members of a room, hidden and lost ones too, in order of arrival; `None` when there is no such
    /// room.
    pub fn member_records(&self, room: &RoomId) -> Option<Vec<Arc<ParticipantRecord>>> {
        self.look(room, Room::records)
    }

    /// What the member of a session may do; `None` when the session is over or not of a member.
    pub fn permissions(&self, session: SessionId) -> Option<Permissions> {
        self.of_session(session, |room| room.permissions(session)).ok().flatten()
    }

    /// What a member may do now; `None` when there is no such room or member, or the member's connection is lost.
    pub fn permissions_of(&self, room: &RoomId, member: &ParticipantId) -> Option<Permissions> {
        self.look(room, |room| room.permissions_of(member)).flatten()
    }

    /// Replaces what the member of a session may do, with effect at once: for a refreshed or a shrunk token.
    ///
    /// # Errors
    /// `NotFound`, also when the session is not of a member.
    pub fn change_permissions_of(
        &self,
        now: Instant,
        session: SessionId,
        permissions: Permissions,
    ) -> Result<(), RoomError> {
        self.of_session(session, |room| room.change_permissions_of(now, session, permissions))?
    }

    /// Ends a session for this reason, which its member is told.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn end(
        &self,
        now: Instant,
        session: SessionId,
        reason: EndReason,
    ) -> Result<(), RoomError> {
        self.of_session(session, |room| room.end_session(now, session, reason))?
    }
}

//! What administrators do in a room.

use std::time::Instant;

use model::{ParticipantId, Permissions, SessionId};

use crate::room::Room;
use crate::{AdminCommand, EndReason, ErrorKind, Notice, RoomError};

impl Room {
    /// What an administrator asks of the room.
    ///
    /// # Errors
    /// `NotFound` when there is no such member or track; `Unsupported` when a value is out of its bounds; `Conflict` when
    /// the member is an in-process publisher or has lost its connection, and the command needs a session.
    pub fn administer(&mut self, now: Instant, command: AdminCommand) -> Result<(), RoomError> {
        self.handle_timeout(now);
        match command {
            AdminCommand::ChangeRoom(change) => self.change_settings(now, change),
            AdminCommand::ChangeProfile(member, change) => {
                let session = self.session_of(&member)?;
                self.change_profile(session, change.clone())?;
                self.with_successor(&member, |room, session| room.change_profile(session, change))
            }
            AdminCommand::ChangePermissions(member, permissions) => {
                self.change_permissions(&member, permissions)
            }
            AdminCommand::Mute { member, track, muted } => {
                let session = self.session_of(&member)?;
                self.update_track(session, track, |track| track.muted = muted)?;
                self.notices.push_back(Notice::Muted { session, track, muted });
                Ok(())
            }
            AdminCommand::Remove(member) => self.remove(now, &member),
            AdminCommand::SendData(request) => self.send_from_application(request),
            AdminCommand::Close => {
                self.close_all(now);
                Ok(())
            }
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn end_session(
        &mut self,
        now: Instant,
        session: SessionId,
        reason: EndReason,
    ) -> Result<(), RoomError> {
        self.handle_timeout(now);
        match self.end(now, session, reason) {
            true => Ok(()),
            false => Err(crate::room::not_found(session)),
        }
    }

    /// Applies to a session that will take the place of the member's present one, too: otherwise the change would be gone as
    /// soon as that session is connected.
    fn change_permissions(
        &mut self,
        member: &ParticipantId,
        permissions: Permissions,
    ) -> Result<(), RoomError> {
        let session = self.session_of(member)?;
        if !self.sessions.contains_key(&session) {
            let text = format!(
                "member {member} has lost its connection; its next session brings permissions of its own"
            );
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let permit = |room: &mut Room, session| {
            room.member_mut(session)?.by_admin = true;
            room.permit(session, permissions)
        };
        permit(self, session)?;
        self.with_successor(member, permit)
    }

    /// Does something to the session that will take the place of the member's present one, if there is one.
    fn with_successor(
        &mut self,
        member: &ParticipantId,
        f: impl FnOnce(&mut Self, SessionId) -> Result<(), RoomError>,
    ) -> Result<(), RoomError> {
        match self.successors.get(member).map(|record| record.session) {
            Some(successor) => f(self, successor),
            None => Ok(()),
        }
    }

    fn remove(&mut self, now: Instant, member: &ParticipantId) -> Result<(), RoomError> {
        let session = self.session_of(member)?;
        if self.sessions.get(&session).is_some_and(|s| s.agreement.is_none()) {
            let text = format!(
                "participant {member} is an in-process publisher of this node, which its configuration turns on and off"
            );
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        // The successor ends first; otherwise it would take the place of the session that is removed.
        if let Some(successor) = self.successors.get(member).map(|record| record.session) {
            self.end(now, successor, EndReason::Removed);
        }
        if !self.end(now, session, EndReason::Removed) {
            self.give_up(now, member);
        }
        Ok(())
    }

    /// The session of a member; that of a lost member may be over.
    fn session_of(&self, member: &ParticipantId) -> Result<SessionId, RoomError> {
        let unknown = || {
            let text = format!("room {} has no member {member}", self.id());
            RoomError::new(ErrorKind::NotFound, text)
        };
        self.publishers.session_of(member).ok_or_else(unknown)
    }
}

//! Members: what a room knows of each beside its record, what it may do, and what it asks of the room.

use std::time::Instant;

use model::{Permissions, Quality, SessionId, Sources, TrackId};

use crate::describing::{check_name, check_profile, may_publish};
use crate::records::ParticipantRecord;
use crate::room::{AT_ONCE, Room, not_found};
use crate::spending::{Spending, json_length};
use crate::{ErrorKind, MemberCommand, Notice, ProfileChange, RoomError};

/// The permissions of a publisher that entered without any (WHIP, in-process): it publishes, and watches where its session
/// has slots.
pub(crate) const PUBLISHER: Permissions = Permissions {
    publish: Sources::ALL,
    subscribe: true,
    data: false,
    update_self: false,
    hidden: false,
    admin: false,
};

/// A member, beside its record. It belongs to the session.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) permissions: Permissions,
    /// An administrator set the permissions, so a refreshed token does not change them.
    pub(crate) by_admin: bool,
    /// Its data channels are open.
    pub(crate) has_channels: bool,
    /// The session is that of a lost member that came back; until this time the member would have stayed without it.
    pub(crate) lost_until: Option<Instant>,
    pub(crate) spending: Spending,
}

impl Member {
    pub(crate) fn new(permissions: Permissions, spending: Spending) -> Self {
        Self { permissions, by_admin: false, has_channels: false, lost_until: None, spending }
    }
}

impl Room {
    /// What a member asks of the room.
    ///
    /// # Errors
    /// `NotFound` when the session is not of a member or names what is not there; `Forbidden` when its permissions do not
    /// allow it; `Unsupported` when a value is out of its bounds; `Quota` when it asks too often.
    pub fn command(
        &mut self,
        now: Instant,
        session: SessionId,
        command: MemberCommand,
    ) -> Result<(), RoomError> {
        self.handle_timeout(now);
        self.member_mut(session)?;
        match command {
            MemberCommand::Subscribe(subscription) => {
                self.check_may_subscribe(session)?;
                self.subscribe(session, subscription)
            }
            MemberCommand::UpdateTrack { track, muted, name } => {
                if let Some(name) = &name {
                    check_name("name of a track", name)?;
                }
                self.spend_change(now, session, name.as_deref().map_or(0, json_length))?;
                self.update_track(session, track, |track| {
                    track.muted = muted.unwrap_or(track.muted);
                    if let Some(name) = name {
                        track.name = name;
                    }
                })
            }
            MemberCommand::UpdateProfile(change) => {
                if !self.member_mut(session)?.permissions.update_self {
                    let text = "the member has no permission to change its name and metadata";
                    return Err(RoomError::new(ErrorKind::Forbidden, text));
                }
                let texts = [&change.name, &change.metadata].into_iter().flatten();
                self.spend_change(now, session, texts.map(|text| json_length(text)).sum())?;
                self.change_profile(session, change)
            }
            MemberCommand::SendData(request) => self.send_from(now, session, request),
        }
    }

    /// Replaces what the member of a session may do, with effect at once: because its token was refreshed. What an
    /// administrator set stays: otherwise a member who was muted by its permissions would get them back with its next token.
    ///
    /// # Errors
    /// `NotFound` when the session is not of a member.
    pub fn change_permissions_of(
        &mut self,
        now: Instant,
        session: SessionId,
        permissions: Permissions,
    ) -> Result<(), RoomError> {
        self.handle_timeout(now);
        match self.member_mut(session)?.by_admin {
            true => Ok(()),
            false => self.permit(session, permissions),
        }
    }

    /// Replaces what the member of a session may do.
    pub(crate) fn permit(
        &mut self,
        session: SessionId,
        permissions: Permissions,
    ) -> Result<(), RoomError> {
        let member = self.member_mut(session)?;
        let before = std::mem::replace(&mut member.permissions, permissions);
        if before == permissions {
            return Ok(());
        }
        self.notices.push_back(Notice::Permissions { session, permissions });
        self.change_record(session, |record| {
            record.hidden = permissions.hidden;
            for track in &mut record.tracks {
                track.forbidden = !may_publish(&permissions, track.source);
            }
        });
        if before.hidden && !permissions.hidden {
            self.tell_quality(session);
        }
        if before.subscribe != permissions.subscribe {
            self.allow_receiving(session, permissions.subscribe);
        }
        self.work(AT_ONCE);
        Ok(())
    }

    /// Changes the profile of the member of a session.
    pub(crate) fn change_profile(
        &mut self,
        session: SessionId,
        change: ProfileChange,
    ) -> Result<(), RoomError> {
        let record = self.record_of(session).ok_or_else(|| not_found(session))?;
        let mut profile = record.profile.clone();
        profile.name = change.name.unwrap_or(profile.name);
        profile.metadata = change.metadata.unwrap_or(profile.metadata);
        check_profile(&profile)?;
        self.change_record(session, |record| record.profile = profile);
        Ok(())
    }

    /// Changes a track of the member of a session.
    pub(crate) fn update_track(
        &mut self,
        session: SessionId,
        track: TrackId,
        change: impl FnOnce(&mut crate::TrackRecord),
    ) -> Result<(), RoomError> {
        let has = self.record_of(session).is_some_and(|r| r.tracks.iter().any(|t| t.id == track));
        if !has {
            let text = format!("session {session} publishes no track {track}");
            return Err(RoomError::new(ErrorKind::NotFound, text));
        }
        self.change_record(session, |record| {
            if let Some(track) = record.tracks.iter_mut().find(|t| t.id == track) {
                change(track);
            }
        });
        self.work(AT_ONCE);
        Ok(())
    }

    /// Changes the record of a session. Viewers are fitted anew when other tracks may flow now than before.
    pub(crate) fn change_record(
        &mut self,
        session: SessionId,
        change: impl FnOnce(&mut ParticipantRecord),
    ) {
        if let Some(record) = self.successor(session) {
            change(record);
            return;
        }
        let before = self.publishers.of_session(session).cloned();
        self.publishers.update(session, &mut self.mappings, change);
        let candidates = |record: &ParticipantRecord| -> Vec<TrackId> {
            record.tracks.iter().filter(|track| track.is_candidate()).map(|t| t.id).collect()
        };
        let after = self.publishers.of_session(session);
        if before.map(|r| candidates(&r)) != after.map(|r| candidates(r)) {
            self.tracks_changed();
        }
    }

    /// The record of a session, also while it is a successor.
    pub(crate) fn record_of(&self, session: SessionId) -> Option<&ParticipantRecord> {
        let identity = self.sessions.get(&session).and_then(|s| s.identity.as_ref());
        let successor = identity.and_then(|id| self.successors.get(id));
        let successor = successor.filter(|record| record.session == session);
        successor.or_else(|| self.publishers.of_session(session).map(AsRef::as_ref))
    }

    pub(crate) fn member_mut(&mut self, session: SessionId) -> Result<&mut Member, RoomError> {
        let member = self.sessions.get_mut(&session).and_then(|s| s.member.as_deref_mut());
        member.ok_or_else(|| not_found(session))
    }

    /// The quality of a member's connection changed.
    pub(crate) fn note_quality(&mut self, session: SessionId, quality: Quality) {
        let Some(record) = self.publishers.of_session(session).cloned() else { return };
        if self.qualities.insert(record.id.clone(), quality) != Some(quality) {
            self.tell_quality(session);
        }
    }

    /// Tells the quality of a member, unless it is hidden.
    pub(crate) fn tell_quality(&mut self, session: SessionId) {
        let Some(record) = self.publishers.of_session(session) else { return };
        if let Some(&quality) = self.qualities.get(&record.id).filter(|_| !record.hidden) {
            let member = record.id.clone();
            self.notices.push_back(Notice::Quality { member, quality });
        }
    }

    fn check_may_subscribe(&mut self, session: SessionId) -> Result<(), RoomError> {
        if !self.member_mut(session)?.permissions.subscribe {
            let text = "the member has no permission to receive the tracks of others";
            return Err(RoomError::new(ErrorKind::Forbidden, text));
        }
        Ok(())
    }
}

//! What is known of rooms, sessions and tracks. Plain state; `rooms` changes it.

use std::time::Instant;

use model::{
    CodecSpec, IceCredentials, MediaKind, ParticipantId, Rid, RoomId, SessionId, TrackId, UpMedia,
};

use crate::negotiate::RestartFacts;
use crate::slots::{SlotTable, SourceTrack};
use crate::{LocalMedia, Target, TrackInfo};

/// A room lives as long as it has a session.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// In order of arrival; a participant who publishes again keeps the place.
    pub(crate) publishers: Vec<SessionId>,
    pub(crate) viewers: Vec<SessionId>,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) room: RoomId,
    pub(crate) connected: bool,
    pub(crate) deadline: Option<Instant>,
    /// Absent for an in-process publisher.
    pub(crate) ice: Option<Ice>,
    pub(crate) role: Role,
}

#[derive(Debug)]
pub(crate) struct Ice {
    pub(crate) credentials: IceCredentials,
    pub(crate) facts: RestartFacts,
}

#[derive(Debug)]
pub(crate) enum Role {
    Publisher { participant: ParticipantId, tracks: Vec<Track> },
    Viewer { identity: Option<ParticipantId>, target: Target, slots: SlotTable },
}

#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) kind: MediaKind,
    pub(crate) codecs: Vec<CodecSpec>,
    pub(crate) rids: Vec<Rid>,
    pub(crate) active: bool,
}

impl Track {
    pub(crate) fn of_plan(media: &UpMedia) -> Track {
        Track {
            id: media.track,
            kind: media.kind,
            codecs: media.codecs.clone(),
            rids: media.rids.clone(),
            active: false,
        }
    }

    pub(crate) fn of_local(id: TrackId, media: LocalMedia) -> Track {
        let LocalMedia { kind, codecs, rids } = media;
        Track { id, kind, codecs, rids, active: true }
    }

    pub(crate) fn as_source(&self) -> SourceTrack<'_> {
        SourceTrack { id: self.id, codecs: &self.codecs }
    }

    pub(crate) fn info(&self) -> TrackInfo {
        let mut codecs: Vec<&'static str> = Vec::new();
        for name in self.codecs.iter().map(|c| c.codec.as_str()) {
            if !codecs.contains(&name) {
                codecs.push(name);
            }
        }
        TrackInfo {
            id: self.id,
            kind: self.kind,
            codecs,
            rids: self.rids.iter().map(|r| r.as_str().to_owned()).collect(),
            active: self.active,
        }
    }
}

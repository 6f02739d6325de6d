//! What is known of a participant who publishes: one record, numbered, with one author. A node is the author of the records of
//! those connected to it; the others of a cluster hold copies. Slots are filled from records alone, whoever wrote them.

use std::sync::Arc;

use model::{CodecSpec, MediaKind, NodeId, ParticipantId, Rid, SessionId, TrackId, UpMedia};

use crate::{LocalMedia, ParticipantInfo, TrackInfo};

/// One participant, as its author told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantRecord {
    /// Its identity.
    pub id: ParticipantId,
    /// The session that it publishes with. In a copy: the session under which this node has its tracks.
    pub session: SessionId,
    /// The node that it is connected to, which alone changes the record.
    pub author: NodeId,
    /// Which life of that node; a later one outdates all records of an earlier one.
    pub epoch: u64,
    /// Rises with each change within an epoch, over all records of one room and author.
    pub version: u64,
    /// ICE and DTLS are done; always true for an in-process publisher.
    pub connected: bool,
    /// An in-process publisher.
    pub local: bool,
    /// What it publishes, in the order of its offer.
    pub tracks: Vec<TrackRecord>,
}

/// One track of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackRecord {
    /// Its id on this node.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Agreed codecs, the preferred one first.
    pub codecs: Arc<[CodecSpec]>,
    /// Simulcast layers; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Media comes; false before the first packet, and when nothing came for two seconds.
    pub active: bool,
    /// Media is about to come, since the publisher just came or connected. It counts as live for some seconds.
    pub awaited: bool,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// The participant is there, and is now as the record says.
    Put(Arc<ParticipantRecord>),
    /// The participant is gone.
    Gone {
        /// Its session.
        session: SessionId,
        /// Whose record it was.
        author: NodeId,
        /// As in the record.
        epoch: u64,
        /// Newer than that of the record.
        version: u64,
    },
}

impl RecordChange {
    /// The session that it is about.
    pub fn session(&self) -> SessionId {
        match self {
            RecordChange::Put(record) => record.session,
            RecordChange::Gone { session, .. } => *session,
        }
    }

    /// Author, epoch and version.
    pub(crate) fn stamp(&self) -> (NodeId, u64, u64) {
        match self {
            RecordChange::Put(record) => (record.author, record.epoch, record.version),
            RecordChange::Gone { author, epoch, version, .. } => (*author, *epoch, *version),
        }
    }
}

impl TrackRecord {
    pub(crate) fn of_plan(media: &UpMedia, codecs: Arc<[CodecSpec]>) -> Self {
        let (id, kind) = (media.track, media.kind);
        Self { id, kind, codecs, rids: media.rids.clone(), active: false, awaited: true }
    }

    pub(crate) fn of_local(id: TrackId, media: LocalMedia, codecs: Arc<[CodecSpec]>) -> Self {
        Self { id, kind: media.kind, codecs, rids: media.rids, active: true, awaited: false }
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

impl ParticipantRecord {
    /// The participant in a listing.
    pub fn info(&self) -> ParticipantInfo {
        ParticipantInfo {
            id: self.id.clone(),
            session: self.session,
            connected: self.connected,
            local: self.local,
            tracks: self.tracks.iter().map(TrackRecord::info).collect(),
        }
    }

    /// Takes the tracks of a renegotiated plan in; those that stay keep what is known of them.
    pub(crate) fn update_tracks(&mut self, tracks: Vec<TrackRecord>) {
        let before = std::mem::replace(&mut self.tracks, tracks);
        for track in &mut self.tracks {
            // Another track of the source sends already, or the publisher is silent: a new one is not waited for.
            let old = before.iter().find(|t| t.id == track.id);
            (track.active, track.awaited) = old.map_or((false, false), |t| (t.active, t.awaited));
        }
    }
}

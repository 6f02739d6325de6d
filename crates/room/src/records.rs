//! What is known of a member: one record, with a version and one author, also of a member that publishes nothing. The
//! author is the node that the member is connected to; other nodes of a cluster hold copies. Slots are filled from records
//! alone, whichever node is the author.

use std::sync::Arc;

use model::{
    CodecSpec, MediaKind, MemberKind, NodeId, ParticipantId, Presence, Profile, Rid, SessionId,
    TrackId, TrackSource, UpMedia,
};

use crate::{LocalMedia, ParticipantInfo, TrackInfo};

/// One member, as the author of the record describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantRecord {
    /// Its identity.
    pub id: ParticipantId,
    /// Its session; that of a lost member may be over. In a copy: the session id under which this node has its tracks.
    pub session: SessionId,
    /// The node that the participant is connected to. Only this node changes the record.
    pub author: NodeId,
    /// Tells the starts of that node apart; a later epoch outdates all records of earlier ones.
    pub epoch: u64,
    /// Rises with each change, over all records of one room, author and epoch.
    pub version: u64,
    /// How it takes part.
    pub kind: MemberKind,
    /// How the others see it.
    pub profile: Profile,
    /// The others are not told that it is in the room.
    pub hidden: bool,
    /// Whether its connection is lost for now.
    pub lost: bool,
    /// ICE and DTLS are complete; always true for an in-process publisher.
    pub connected: bool,
    /// An in-process publisher.
    pub local: bool,
    /// Its tracks, in the order of its offer.
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
    /// Where it comes from.
    pub source: TrackSource,
    /// A name for people; empty when there is none.
    pub name: Arc<str>,
    /// Nothing of it is forwarded, by the wish of its member or of an administrator.
    pub muted: bool,
    /// Its member may not publish this source (any more): the track counts as not published, and nothing of it is
    /// forwarded.
    pub forbidden: bool,
    /// Media arrives. False before the first packet, and after two seconds without a packet.
    pub active: bool,
    /// Media is expected, because the publisher just came or connected. The track counts as live for some seconds.
    pub awaited: bool,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// The member is in the room, with this state.
    Put(Arc<ParticipantRecord>),
    /// The member left, or goes on with another session.
    Gone {
        /// The member.
        id: ParticipantId,
        /// Its session.
        session: SessionId,
        /// The record was hidden: the others were not told of the participant.
        hidden: bool,
        /// The same participant goes on with another session; nobody left.
        replaced: bool,
        /// The author of the record.
        author: NodeId,
        /// As in [`ParticipantRecord`].
        epoch: u64,
        /// Higher than that of the removed record.
        version: u64,
    },
}

impl RecordChange {
    /// The session of the record.
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
        Self::new(media.track, media.kind, media.rids.clone(), codecs)
    }

    /// A track of an in-process publisher, whose media comes from the beginning.
    pub(crate) fn of_local(id: TrackId, media: LocalMedia, codecs: Arc<[CodecSpec]>) -> Self {
        let track = Self::new(id, media.kind, media.rids, codecs);
        Self { active: true, awaited: false, ..track }
    }

    fn new(id: TrackId, kind: MediaKind, rids: Vec<Rid>, codecs: Arc<[CodecSpec]>) -> Self {
        Self {
            id,
            kind,
            codecs,
            rids,
            source: default_source(kind),
            name: "".into(),
            muted: false,
            forbidden: false,
            active: false,
            awaited: true,
        }
    }

    /// Whether receivers may get it: it is neither muted nor forbidden.
    pub fn is_candidate(&self) -> bool {
        !self.muted && !self.forbidden
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

fn default_source(kind: MediaKind) -> TrackSource {
    match kind {
        MediaKind::Audio => TrackSource::Microphone,
        MediaKind::Video => TrackSource::Camera,
    }
}

impl ParticipantRecord {
    /// Whether its media can come and go.
    pub fn presence(&self) -> Presence {
        match (self.connected, self.lost) {
            (_, true) => Presence::Lost,
            (true, false) => Presence::Connected,
            (false, false) => Presence::Connecting,
        }
    }

    /// The tracks that it publishes, whether they are muted or not. A track of a source that it may not publish any more is
    /// none of them.
    pub fn published(&self) -> impl Iterator<Item = &TrackRecord> {
        self.tracks.iter().filter(|track| !track.forbidden)
    }

    /// Whether a track of the record counts as live: its media comes or is expected, and the connection is not lost.
    pub(crate) fn is_live(&self, track: &TrackRecord) -> bool {
        (track.active || track.awaited) && !self.lost
    }

    /// Whether this member sees the record: everybody sees a member that is not hidden, a hidden one sees only itself.
    /// Who shows members to others treats a record that became hidden as a member that left.
    pub fn is_seen_by(&self, member: &ParticipantId) -> bool {
        !self.hidden || self.id == *member
    }

    /// The participant in a listing.
    pub fn info(&self) -> ParticipantInfo {
        ParticipantInfo {
            id: self.id.clone(),
            session: self.session,
            connected: self.connected,
            local: self.local,
            tracks: self.published().map(TrackRecord::info).collect(),
        }
    }

    /// Replaces the tracks by those of a renegotiated plan; tracks that stay keep their liveness.
    pub(crate) fn update_tracks(&mut self, tracks: Vec<TrackRecord>) {
        let before = std::mem::replace(&mut self.tracks, tracks);
        for track in &mut self.tracks {
            // A new track does not count as live before its first packet: either another track of the source already
            // sends, or the publisher is silent.
            let old = before.iter().find(|t| t.id == track.id);
            (track.active, track.awaited) = old.map_or((false, false), |t| (t.active, t.awaited));
        }
    }
}

//! What callers get to see of the rooms: answers, notices, listings. Plain values, copied out of the state.

use model::{
    CloseReason, CodecSpec, MediaKind, Mid, ParticipantId, Rid, RoomId, SessionId, TrackId,
};

/// A session that was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The new session.
    pub session: SessionId,
    /// The answer, `application/sdp`.
    pub answer: String,
}

/// What a viewer wants to see of a room. The default is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Only this participant; `None`: the room's publishers in order of arrival.
    pub participant: Option<ParticipantId>,
    /// Only audio or only video; `None`: both.
    pub kind: Option<MediaKind>,
}

impl Target {
    /// Everyone in the room, audio and video.
    pub fn any() -> Self {
        Self::default()
    }

    /// Audio and video of one participant.
    pub fn participant(id: ParticipantId) -> Self {
        Self { participant: Some(id), kind: None }
    }
}

/// One track of an in-process publisher (a test picture, a file), which has no peer connection.
#[derive(Debug, Clone)]
pub struct LocalMedia {
    /// Audio or video.
    pub kind: MediaKind,
    /// What it sends, the preferred codec first, with the payload types that its packets carry.
    pub codecs: Vec<CodecSpec>,
    /// Simulcast layers; empty without simulcast.
    pub rids: Vec<Rid>,
}

/// An in-process publisher that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPublished {
    /// Its session; ends with [`Room::close`](crate::Room::close). No `Open` command is made for it.
    pub session: SessionId,
    /// One id for each [`LocalMedia`], in the same order.
    pub tracks: Vec<TrackId>,
}

/// Something that signaling or the log has to know, and did not ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The session is over and forgotten here; its URL answers 404 from now on.
    SessionClosed {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A track cannot flow to a viewer: none of its codecs is one that the viewer takes. The slot stays empty.
    Incompatible {
        /// The viewer's session.
        viewer: SessionId,
        /// The track.
        track: TrackId,
        /// The session that publishes it.
        publisher: SessionId,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// [`Room::close`](crate::Room::close).
    Deleted,
    /// The same participant published again.
    Replaced,
    /// Not connected within 15 s.
    NeverConnected,
    /// The worker said so.
    Transport(CloseReason),
}

impl EndReason {
    /// Label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Replaced => "replaced",
            EndReason::NeverConnected => "never_connected",
            EndReason::Transport(reason) => reason.as_str(),
        }
    }
}

/// One room in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub id: RoomId,
    /// How many publish.
    pub participants: usize,
    /// How many sessions watch.
    pub viewers: usize,
}

/// One publishing participant in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Its identity.
    pub id: ParticipantId,
    /// The session that it publishes with.
    pub session: SessionId,
    /// ICE and DTLS are done; always true for an in-process publisher.
    pub connected: bool,
    /// An in-process publisher.
    pub local: bool,
    /// What it publishes.
    pub tracks: Vec<TrackInfo>,
}

/// One track in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackInfo {
    /// Its id.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Names of the agreed codecs as in an rtpmap, the preferred one first, each name once.
    pub codecs: Vec<&'static str>,
    /// Simulcast layers in the order of the offer; empty without simulcast.
    pub rids: Vec<String>,
    /// Media comes; false before the first packet, and when nothing came for two seconds.
    pub active: bool,
}

/// One slot of a viewer in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// The media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// What flows through it.
    pub track: Option<TrackId>,
}

/// One viewer in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewerInfo {
    /// Its session.
    pub session: SessionId,
    /// Its identity, when it has one.
    pub identity: Option<ParticipantId>,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// Its slots in the order of the offer.
    pub slots: Vec<SlotInfo>,
    /// Tracks that it should get and cannot, since no codec fits.
    pub incompatible: Vec<TrackId>,
}

/// How much is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rooms.
    pub rooms: usize,
    /// Publishing participants.
    pub participants: usize,
    /// Viewing sessions.
    pub viewers: usize,
    /// Sessions of any kind.
    pub sessions: usize,
    /// Sessions that are connected.
    pub connected: usize,
}

/// A session with a peer connection, in a list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Which session.
    pub session: SessionId,
    /// Who it is; `None` for a viewer without a name.
    pub identity: Option<ParticipantId>,
    /// ICE and DTLS are done.
    pub connected: bool,
}

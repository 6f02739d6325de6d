//! What callers get to see of a room: answers, notices, listings. Plain values, copied out of the state.

use model::{
    CloseReason, CodecSpec, MediaKind, Mid, ParticipantId, Rid, RoomId, SessionId, TrackId,
};

/// A session that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The new session.
    pub session: SessionId,
    /// The answer, `application/sdp`.
    pub answer: String,
}

/// Which tracks of a room a viewer wants. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Only this participant; `None`: all publishers of the room in order of arrival.
    pub participant: Option<ParticipantId>,
    /// Only audio or only video; `None`: both.
    pub kind: Option<MediaKind>,
}

impl Target {
    /// All participants of the room, audio and video.
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
    /// Its codecs, the preferred one first, with the payload types that its packets carry.
    pub codecs: Vec<CodecSpec>,
    /// Simulcast layers; empty without simulcast.
    pub rids: Vec<Rid>,
}

/// An in-process publisher that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPublished {
    /// Its session, which [`Room::close`](crate::Room::close) ends. No `Open` command is made for it.
    pub session: SessionId,
    /// One id for each [`LocalMedia`], in the same order.
    pub tracks: Vec<TrackId>,
}

/// A change that signaling or the log has to know without having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The session ended; its URL answers 404 from now on.
    SessionClosed {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A track cannot flow to a viewer: the viewer takes none of its codecs. The slot stays empty.
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
    /// A call of [`Room::close`](crate::Room::close), for a DELETE.
    Deleted,
    /// The same participant published again.
    Replaced,
    /// The session was not connected within 15 s.
    NeverConnected,
    /// The worker closed it, for this reason.
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
    /// The room's id.
    pub id: RoomId,
    /// The number of publishing participants.
    pub participants: usize,
    /// The number of watching sessions.
    pub viewers: usize,
}

/// One publishing participant in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Its identity.
    pub id: ParticipantId,
    /// The session that it publishes with.
    pub session: SessionId,
    /// ICE and DTLS are complete; always true for an in-process publisher.
    pub connected: bool,
    /// An in-process publisher.
    pub local: bool,
    /// Its tracks.
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
    /// Media arrives. False before the first packet, and after two seconds without a packet.
    pub active: bool,
}

/// One slot of a viewer in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The track that flows through it.
    pub track: Option<TrackId>,
}

/// One viewer in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewerInfo {
    /// Its session.
    pub session: SessionId,
    /// Its identity, when it has one.
    pub identity: Option<ParticipantId>,
    /// ICE and DTLS are complete.
    pub connected: bool,
    /// Its slots in the order of the offer.
    pub slots: Vec<SlotInfo>,
    /// Tracks that the viewer should get but cannot, since none of their codecs fits.
    pub incompatible: Vec<TrackId>,
}

/// Numbers of rooms, participants and sessions.
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
    /// Connected sessions.
    pub connected: usize,
}

/// A session with a peer connection, in a list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Which session.
    pub session: SessionId,
    /// The participant; `None` for a viewer without a name.
    pub identity: Option<ParticipantId>,
    /// ICE and DTLS are complete.
    pub connected: bool,
}

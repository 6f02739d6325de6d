//! What callers get to see of a room: answers, notices, listings. Plain values, copied out of the state.

use std::sync::Arc;

use model::{
    CloseReason, CodecSpec, MediaKind, Mid, ParticipantId, Permissions, Quality, Rid, RoomId,
    SessionId, TrackId,
};

use crate::{DataRequest, ParticipantRecord, RoomSettings};

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
    /// What flows through some slots of a member changed.
    Slots {
        /// The member's session.
        session: SessionId,
        /// The slots that changed.
        slots: Vec<SlotView>,
    },
    /// The number of slots that a member could use changed.
    SlotsWanted {
        /// The member's session.
        session: SessionId,
        /// Audio slots that would be used.
        audio: usize,
        /// Video slots that would be used.
        video: usize,
    },
    /// Who speaks changed, for all members. The list begins with who speaks most.
    Speakers(Arc<[Speaker]>),
    /// The quality of a member's connection changed, for all members.
    Quality {
        /// The member.
        member: ParticipantId,
        /// What it is now.
        quality: Quality,
    },
    /// The settings of the room changed, for all members.
    Settings(Arc<RoomSettings>),
    /// An administrator changed what a member may do.
    Permissions {
        /// The member's session.
        session: SessionId,
        /// What it may do now.
        permissions: Permissions,
    },
    /// An administrator muted a track of a member, or let it be heard again.
    Muted {
        /// The member's session.
        session: SessionId,
        /// The track.
        track: TrackId,
        /// Muted or not.
        muted: bool,
    },
    /// A data message for members. Those with open data channels get it there, the others in their events.
    Data {
        /// The sender; `None`: the application, or a member that is hidden.
        from: Option<ParticipantId>,
        /// The message. `to` is resolved already.
        message: Arc<DataRequest>,
        /// Receivers with open data channels.
        channels: Vec<SessionId>,
        /// Receivers without.
        events: Vec<SessionId>,
    },
    /// Reliable messages in a member's data channels were dropped, since too many waited.
    DataLost {
        /// The member's session.
        session: SessionId,
        /// How many since the last such notice.
        messages: u64,
    },
}

/// What flows through a slot of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotView {
    /// The slot.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The track and the member that publishes it; `None`: the slot is empty.
    pub shows: Option<(TrackId, ParticipantId)>,
    /// Whether it flows.
    pub state: SlotState,
}

/// Whether the track of a slot flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// No track.
    Empty,
    /// It flows, or will when the first packets come.
    Flowing,
    /// The member paused it.
    Paused,
    /// The track is muted.
    Muted,
    /// The member takes none of the track's codecs.
    NoCodec,
}

impl SlotState {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            SlotState::Empty => "empty",
            SlotState::Flowing => "flowing",
            SlotState::Paused => "paused",
            SlotState::Muted => "muted",
            SlotState::NoCodec => "no-codec",
        }
    }
}

/// A member who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The member.
    pub member: ParticipantId,
    /// Smoothed level in -dBov (RFC 6464): 0 is the loudest.
    pub level: u8,
}

/// All that a member has to know of its room, for the beginning and for who lost the thread of events.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The room's settings.
    pub settings: Arc<RoomSettings>,
    /// The records of the members that are not hidden and of the member itself, in order of arrival.
    pub members: Vec<Arc<ParticipantRecord>>,
    /// The member itself.
    pub me: ParticipantId,
    /// What the member may do.
    pub permissions: Permissions,
    /// All its slots, in the order of its offer.
    pub slots: Vec<SlotView>,
    /// The slots that it could use: audio, video.
    pub wanted: (usize, usize),
    /// Who speaks.
    pub speakers: Arc<[Speaker]>,
    /// The quality of the members' connections, as far as known.
    pub qualities: Vec<(ParticipantId, Quality)>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// A call of [`Room::close`](crate::Room::close), for a DELETE.
    Deleted,
    /// The same participant published again.
    Replaced,
    /// An administrator removed the member.
    Removed,
    /// An administrator closed the room, or its lifetime is over.
    RoomClosed,
    /// The token expired and was not refreshed.
    Expired,
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
            EndReason::Removed => "removed",
            EndReason::RoomClosed => "room_closed",
            EndReason::Expired => "expired",
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
    /// The number of members, whether they publish or not.
    pub participants: usize,
    /// The number of watching sessions that are not of members.
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
    /// Members, whether they publish or not.
    pub participants: usize,
    /// Watching sessions that are not of members.
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

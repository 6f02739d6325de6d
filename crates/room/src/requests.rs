//! What is asked of a room, as values: by its members ([`MemberCommand`]) and by its administrators ([`AdminCommand`]). HTTP,
//! WebSocket, or later gRPC and other protocols are faces of these values.

use std::sync::Arc;
use std::time::Duration;

use model::data::TOPIC_MAX;
use model::{
    Codec, Delivery, MemberKind, Mid, ParticipantId, Payload, Permissions, Profile, TrackId,
    TrackSource,
};

/// How a member enters a room with a peer connection, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// How it takes part: with a room session, or over WHIP, without slots and events.
    pub kind: MemberKind,
    /// How the others see it.
    pub profile: Profile,
    /// What it may do.
    pub permissions: Permissions,
    /// What its sending sections are. A section that is not named gets a default: the first audio section is the
    /// microphone, the first video section the camera, further ones are the shared screen and its sound.
    pub tracks: Vec<TrackDescription>,
    /// How its slots are filled.
    pub subscription: Subscription,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            kind: MemberKind::Session,
            profile: Profile::default(),
            permissions: Permissions::ALL,
            tracks: Vec::new(),
            subscription: Subscription::default(),
        }
    }
}

/// What a sending section of an offer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackDescription {
    /// The section.
    pub mid: Mid,
    /// Where its media comes from; its kind has to be that of the section.
    pub source: TrackSource,
    /// A name for people, at most [`Profile::NAME_MAX`] bytes; empty when there is none.
    pub name: Arc<str>,
    /// It begins muted.
    pub muted: bool,
}

/// How the slots of a member are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// Audio slots get the loudest tracks of the room. Video slots get the pinned members first, then shared screens,
    /// then who spoke last, then who was seen last.
    Auto {
        /// Members whose pictures are shown whenever they have one, the most important first.
        pinned: Vec<ParticipantId>,
    },
    /// The member names the track of each video slot. Audio slots get the loudest tracks of the room.
    Manual {
        /// A slot that is not named stays as it is.
        slots: Vec<SlotWish>,
    },
}

impl Default for Subscription {
    fn default() -> Self {
        Subscription::Auto { pinned: Vec::new() }
    }
}

/// What a member wants to flow through a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWish {
    /// The slot.
    pub mid: Mid,
    /// The track; `None` empties the slot.
    pub track: Option<TrackId>,
    /// The size in pixels at which it is shown; `None`: the largest there is.
    pub size: Option<(u32, u32)>,
    /// Of two slots for which the line has not enough, the one with the higher number is served first.
    pub priority: u8,
    /// Nothing flows for now; the slot keeps its track.
    pub paused: bool,
}

/// What a member asks of its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberCommand {
    /// How its slots are filled from now on.
    Subscribe(Subscription),
    /// Changes one of its tracks. Fields that are `None` stay.
    UpdateTrack {
        /// The track.
        track: TrackId,
        /// Whether it is muted: it keeps its section, and nothing of it is forwarded.
        muted: Option<bool>,
        /// Its name.
        name: Option<Arc<str>>,
    },
    /// Changes its profile. Fields that are `None` stay. Needs [`Permissions::update_self`].
    UpdateProfile(ProfileChange),
    /// Sends a data message. Needs [`Permissions::data`].
    SendData(DataRequest),
}

/// A change of a profile; fields that are `None` stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileChange {
    /// The name.
    pub name: Option<Arc<str>>,
    /// The metadata.
    pub metadata: Option<Arc<str>>,
}

/// A data message to members of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRequest {
    /// The topic, 1 to [`TOPIC_MAX`] bytes.
    pub topic: Arc<str>,
    /// The receivers; `None`: everybody in the room but the sender.
    pub to: Option<Vec<ParticipantId>>,
    /// How hard it is tried.
    pub delivery: Delivery,
    /// What it carries.
    pub payload: Payload,
}

impl DataRequest {
    /// Whether the topic's length is allowed.
    pub fn has_valid_topic(&self) -> bool {
        (1..=TOPIC_MAX).contains(&self.topic.len())
    }
}

/// What an administrator asks of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminCommand {
    /// Changes the settings of the room.
    ChangeRoom(SettingsChange),
    /// Changes a member's profile.
    ChangeProfile(ParticipantId, ProfileChange),
    /// Replaces a member's permissions. Tracks that it may no longer publish are not forwarded any more.
    ChangePermissions(ParticipantId, Permissions),
    /// Mutes a track, or lets it be heard again. The member is told, and may unmute its own track.
    Mute {
        /// The member.
        member: ParticipantId,
        /// Its track.
        track: TrackId,
        /// Muted or not.
        muted: bool,
    },
    /// Removes a member: its session ends and it is told why.
    Remove(ParticipantId),
    /// Sends a data message from the application.
    SendData(DataRequest),
    /// Removes everybody, and ends the room.
    Close,
}

/// Settings of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// Text of the application, at most [`RoomSettings::METADATA_MAX`] bytes.
    pub metadata: Arc<str>,
    /// Most members; 0: only the node's limit applies.
    pub members_max: usize,
    /// Audio tracks that a member hears at a time, 1 to 16.
    pub audible: usize,
    /// Codecs that members may publish; empty: all.
    pub codecs: Vec<Codec>,
    /// How long the room stays when nobody is in it. Zero: it ends with its last session.
    pub empty_timeout: Duration,
    /// How long a member whose connection was lost stays in the room.
    pub lost_timeout: Duration,
    /// How long a room may last in all; `None`: without end. Then everybody is removed.
    pub lifetime: Option<Duration>,
    /// The same identity joins again: the newer session wins. Otherwise the newer one is refused while the older one is connected.
    pub newer_wins: bool,
}

impl RoomSettings {
    /// Most bytes of metadata.
    pub const METADATA_MAX: usize = 16 * 1_024;
    /// Most audio tracks that a member hears at a time.
    pub const AUDIBLE_MAX: usize = 16;
    /// Codecs that a room can be limited to. RED comes with Opus.
    pub const CODECS: [Codec; 6] =
        [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

    /// The codec of [`RoomSettings::CODECS`] with this name, in any case.
    pub fn codec(name: &str) -> Option<Codec> {
        Self::CODECS.into_iter().find(|codec| codec.as_str().eq_ignore_ascii_case(name))
    }
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            metadata: "".into(),
            members_max: 0,
            audible: 4,
            codecs: Vec::new(),
            empty_timeout: Duration::ZERO,
            lost_timeout: Duration::from_secs(30),
            lifetime: None,
            newer_wins: true,
        }
    }
}

/// A change of a room's settings; fields that are `None` stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// See [`RoomSettings`].
    pub metadata: Option<Arc<str>>,
    /// See [`RoomSettings`].
    pub members_max: Option<usize>,
    /// See [`RoomSettings`].
    pub audible: Option<usize>,
    /// See [`RoomSettings`].
    pub codecs: Option<Vec<Codec>>,
    /// See [`RoomSettings`].
    pub empty_timeout: Option<Duration>,
    /// See [`RoomSettings`].
    pub lost_timeout: Option<Duration>,
    /// See [`RoomSettings`]; `Some(None)` takes the end away.
    pub lifetime: Option<Option<Duration>>,
    /// See [`RoomSettings`].
    pub newer_wins: Option<bool>,
}

//! Values that several messages share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A room and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// The room's id, as in the URL.
    pub id: String,
    /// Text of the application.
    pub metadata: String,
    /// The settings.
    pub settings: RoomSettings,
}

/// Settings of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomSettings {
    /// Most members; 0: only the node's limit applies.
    pub members_max: usize,
    /// Audio tracks that a member hears at a time.
    pub audible: usize,
    /// Names of the codecs that members may publish; empty: all.
    pub codecs: Vec<String>,
    /// How long the room stays when nobody is in it, in seconds.
    pub empty_timeout_seconds: u64,
    /// How long a member whose connection was lost stays in the room, in seconds.
    pub lost_timeout_seconds: u64,
    /// How long the room may last in all, in seconds; null: without end.
    pub lifetime_seconds: Option<u64>,
    /// When an identity joins again, the newer session wins.
    pub newer_wins: bool,
}

/// A member of a room, as the others see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Its identity, unique in the room.
    pub identity: String,
    /// A name for people; empty when there is none.
    pub name: String,
    /// Text of the application.
    pub metadata: String,
    /// How it takes part.
    pub kind: MemberKindName,
    /// Whether its media can come and go.
    pub presence: PresenceName,
    /// What it publishes.
    pub tracks: Vec<Track>,
}

/// How a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberKindName {
    /// With a room session.
    Session,
    /// As a WHIP publisher.
    Whip,
    /// A publisher inside the node, as the test card.
    Local,
}

/// Whether a member's media can come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresenceName {
    /// ICE and DTLS are not complete yet.
    Connecting,
    /// Connected.
    Connected,
    /// The connection is lost; the member stays for a time, since it may come back.
    Lost,
}

/// A track that a member publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// Its id: digits.
    pub id: String,
    /// Audio or video.
    pub kind: MediaKindName,
    /// Where it comes from.
    pub source: Source,
    /// A name for people; empty when there is none.
    pub name: String,
    /// Nothing of it is forwarded, by the wish of its member or of an administrator.
    pub muted: bool,
    /// Media arrives.
    pub active: bool,
    /// Names of the agreed codecs, the preferred one first.
    pub codecs: Vec<String>,
    /// Simulcast layers by their rid; empty without simulcast.
    pub layers: Vec<String>,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaKindName {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A camera: video.
    Camera,
    /// A microphone: audio.
    Microphone,
    /// A shared screen: video.
    Screen,
    /// The sound of a shared screen: audio.
    ScreenAudio,
}

/// What flows through a receiving section of the member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// The section.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKindName,
    /// The track; null: the slot is empty.
    pub track: Option<String>,
    /// The identity of the member whose track it is.
    pub member: Option<String>,
    /// Whether it flows.
    pub state: SlotStateName,
}

/// Whether the track of a slot flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotStateName {
    /// No track.
    Empty,
    /// It flows, or will with the next packet.
    Flowing,
    /// The member paused it.
    Paused,
    /// The track is muted.
    Muted,
    /// The member takes none of the track's codecs.
    NoCodec,
}

/// What a member may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionSet {
    /// The sources that it may publish.
    pub publish: Vec<Source>,
    /// It may receive the tracks of others.
    pub subscribe: bool,
    /// It may send data messages.
    pub data: bool,
    /// It may change its own name and metadata.
    pub update_self: bool,
    /// The others are not told that it is in the room.
    pub hidden: bool,
    /// It may administer the room.
    pub admin: bool,
}

/// A member who speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Speaker {
    /// The member.
    pub identity: String,
    /// Smoothed level in -dBov (RFC 6464): 0 is the loudest, 127 silence.
    pub level: u8,
}

/// How good a member's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// No trouble.
    Good,
    /// Pictures freeze now and then.
    Fair,
    /// Sound breaks up.
    Poor,
}

/// Why something was refused (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDetails {
    /// `urn:sfumato:problem:` and a name that never changes its meaning.
    pub r#type: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
}

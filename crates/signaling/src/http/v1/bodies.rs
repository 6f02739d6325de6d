//! The JSON bodies of the admin API. A field that is not known is refused: a setting with a typing error would otherwise be
//! without effect, and nobody would see it. A field that is not there stays as it is; `null` is refused except where it has a
//! meaning (RFC 7396).

use std::sync::Arc;
use std::time::Duration;

use model::{Permissions, Profile};
use room::ProfileChange;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::events::convert;
use crate::events::limited;
use crate::events::messages::{
    DataMessage, DeliveryName, Member, PermissionSet, Quality, RoomSettings, Source,
};
use crate::http::problem::Problem;

/// `POST /v1/rooms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRoom {
    /// The room's id, 1 to 64 of the characters `A-Z a-z 0-9 - . _ ~`. Without it the node makes one.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Text of the application, at most 16384 bytes.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Settings; those that are not named are as the node's configuration says.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsBody>,
}

/// `PATCH /v1/rooms/{room}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRoom {
    /// Text of the application, at most 16384 bytes.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The settings that change.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsBody>,
}

/// Settings of a room that are named in a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    /// Most members; 0: only the node's limit applies.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub members_max: Option<usize>,
    /// Audio tracks that a member hears at a time, 1 to 16.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub audible: Option<usize>,
    /// Names of the codecs that members may publish: opus, VP8, VP9, H264, H265, AV1; empty: all. It counts for later offers.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub codecs: Option<Vec<String>>,
    /// How long the room stays when nobody is in it, in seconds, at most 604800 (7 days).
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub empty_timeout_seconds: Option<u64>,
    /// How long a member whose connection was lost stays in the room, in seconds, at most 604800 (7 days).
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub lost_timeout_seconds: Option<u64>,
    /// How long the room may last in all, in seconds, at most 31622400 (366 days); null: without end.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    pub lifetime_seconds: Option<Option<u64>>,
    /// When an identity joins again, the newer session wins. Otherwise it is refused while the older one is connected.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub newer_wins: Option<bool>,
}

/// A room, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomView {
    /// The room's id.
    pub id: String,
    /// Text of the application.
    pub metadata: String,
    /// The settings.
    pub settings: RoomSettings,
    /// The number of its members, hidden and lost ones too.
    pub members: usize,
    /// The number of its WHEP viewers.
    pub viewers: usize,
}

/// A page of rooms, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomList {
    /// The rooms.
    pub rooms: Vec<RoomView>,
    /// The path of the next page; null on the last one.
    pub next: Option<String>,
}

/// A member, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// What the other members see, too.
    #[serde(flatten)]
    pub member: Member,
    /// The others are not told that it is in the room.
    pub hidden: bool,
    /// How good its connection is; null: not known yet.
    pub quality: Option<Quality>,
    /// What it may do; null: its connection is lost, and its next session brings its own.
    pub permissions: Option<PermissionSet>,
    /// The session's number: digits, as in the measurements.
    pub session: String,
}

/// A page of members, in order of arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberList {
    /// The members.
    pub members: Vec<MemberView>,
    /// The path of the next page; null on the last one.
    pub next: Option<String>,
}

/// `PATCH /v1/rooms/{room}/members/{identity}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMember {
    /// A name for people, at most 256 bytes; empty: none.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Text of the application, at most 4096 bytes.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The permissions that change.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionsBody>,
}

/// Permissions of a member that are named in a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionsBody {
    /// The sources that it may publish: this list replaces the one before.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub publish: Option<Vec<Source>>,
    /// It may receive the tracks of others.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    /// It may send data messages.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// It may change its own name and metadata.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub update_self: Option<bool>,
    /// The others are not told that it is in the room.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// Its page shows it as an administrator. What it may do over HTTP is in its token, which this does not change.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
}

/// `PATCH /v1/rooms/{room}/members/{identity}/tracks/{track}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTrack {
    /// Nothing of the track is forwarded. Its member is told, and may let it be heard again.
    pub muted: bool,
}

/// `POST /v1/rooms/{room}/data`: a data message from the application. Either `text` or `base64` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendData {
    /// The topic, 1 to 128 bytes.
    pub topic: String,
    /// The receivers, at most 100; without it everybody in the room.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// How hard it is tried.
    #[serde(default)]
    pub delivery: DeliveryName,
    /// A text.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes in base64 (RFC 4648 section 4).
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// A field that is there. `null` is a value of `T` or an error, and not the same as a field that is not there.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// What a request asks of the settings of a room.
///
/// # Errors
/// 422 when a codec is none that a room can be limited to. Ranges are the room's to check.
pub(crate) fn settings_change(
    metadata: Option<String>,
    settings: Option<SettingsBody>,
) -> Result<room::SettingsChange, Problem> {
    let settings = settings.unwrap_or_default();
    let codec = |name: &String| {
        room::RoomSettings::codec(name).ok_or_else(|| {
            let known = room::RoomSettings::CODECS.map(model::Codec::as_str).join(", ");
            Problem::bad_field(format!("settings.codecs: {name:?} is not one of {known}."))
        })
    };
    let codecs = settings.codecs.as_ref();
    Ok(room::SettingsChange {
        metadata: metadata.map(Arc::from),
        members_max: settings.members_max,
        audible: settings.audible,
        codecs: codecs.map(|names| names.iter().map(codec).collect()).transpose()?,
        empty_timeout: settings.empty_timeout_seconds.map(Duration::from_secs),
        lost_timeout: settings.lost_timeout_seconds.map(Duration::from_secs),
        lifetime: settings.lifetime_seconds.map(|named| named.map(Duration::from_secs)),
        newer_wins: settings.newer_wins,
    })
}

impl ChangeMember {
    /// What is asked of the member's profile.
    ///
    /// # Errors
    /// 422 when a text is too long.
    pub(crate) fn profile(&mut self) -> Result<ProfileChange, Problem> {
        let (name, metadata) = (self.name.take(), self.metadata.take());
        Ok(ProfileChange {
            name: name.map(|name| limited("name", name, Profile::NAME_MAX)).transpose()?,
            metadata: metadata
                .map(|data| limited("metadata", data, Profile::METADATA_MAX))
                .transpose()?,
        })
    }
}

impl PermissionsBody {
    /// These permissions, and for the rest what was before.
    pub(crate) fn over(&self, before: Permissions) -> Permissions {
        let publish = self.publish.as_ref();
        let publish = publish.map(|sources| sources.iter().copied().map(convert::source_of));
        Permissions {
            publish: publish.map_or(before.publish, Iterator::collect),
            subscribe: self.subscribe.unwrap_or(before.subscribe),
            data: self.data.unwrap_or(before.data),
            update_self: self.update_self.unwrap_or(before.update_self),
            hidden: self.hidden.unwrap_or(before.hidden),
            admin: self.admin.unwrap_or(before.admin),
        }
    }
}

impl From<SendData> for DataMessage {
    fn from(body: SendData) -> Self {
        let SendData { topic, to, delivery, text, base64 } = body;
        Self { topic, to, delivery, text, base64 }
    }
}

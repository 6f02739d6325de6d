//! Bodies of the requests that open and change a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::SubscribePolicy;
use super::parts::Source;

/// `POST /v1/rooms/{room}/sessions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The offer.
    pub sdp: String,
    /// The identity; a token's `sub` takes its place. Without both the node makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// A name for people, at most 256 bytes. The name of the token takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Text of the application, at most 4096 bytes. The metadata of the token take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// What the sending sections are. A section that is not named gets a default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<SectionDescription>,
    /// How the slots are filled; without it by the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<SubscribePolicy>,
}

/// What a sending section of an offer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SectionDescription {
    /// The section.
    pub mid: String,
    /// Where its media comes from.
    pub source: Source,
    /// A name for people, at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It begins muted.
    #[serde(default)]
    pub muted: bool,
}

/// The answer to [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The answer.
    pub sdp: String,
    /// The identity of the member.
    pub identity: String,
    /// The session's number: digits. It is no secret; the URL in `Location` is.
    pub session: String,
}

/// `PATCH` of a session with a later offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Renegotiate {
    /// The offer.
    pub sdp: String,
    /// What the sending sections are. Without it tracks that stay keep their description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<SectionDescription>>,
}

/// The answer to [`Renegotiate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Renegotiated {
    /// The answer.
    pub sdp: String,
}

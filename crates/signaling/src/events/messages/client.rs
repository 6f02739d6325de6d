//! What the node takes over the events of a session. Fields that are not known are passed over, so that a newer client can talk
//! to an older node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::server::DeliveryName;

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientMessage {
    /// Comes back in the reply; at most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is asked.
    #[serde(flatten)]
    pub command: Command,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// The text is no such message.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(rename = "type")]
            _type: String,
        }
        // serde takes a number for a variant's name too, but the type of a message is a text.
        serde_json::from_str::<Named>(text)?;
        serde_json::from_str(text)
    }
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// The first message over a WebSocket.
    Hello {
        /// The token, if it was not in the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// The number of the last message that the client has; without it a snapshot comes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Asks for a `pong`.
    Ping,
    /// Ends the session.
    Leave,
    /// How the slots are filled from now on.
    Subscribe(SubscribePolicy),
    /// Changes a track of the member. Fields that are not there stay.
    UpdateTrack {
        /// The track.
        track: String,
        /// Muted or not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        muted: Option<bool>,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Changes name or metadata of the member. Fields that are not there stay.
    UpdateMe {
        /// The name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The metadata.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<String>,
    },
    /// Sends a data message.
    SendData(DataMessage),
    /// Goes on with a newer token of the same identity and room.
    RefreshToken {
        /// The token.
        token: String,
    },
}

/// How the slots of a member are filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum SubscribePolicy {
    /// By the node: pinned members, shared screens, who spoke last.
    Auto {
        /// Identities whose pictures are shown whenever they have one, the most important first; at most 100.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pinned: Vec<String>,
    },
    /// By the client, for video slots.
    Manual {
        /// The slots that change; at most 100.
        slots: Vec<SlotChoice>,
    },
}

/// What a member wants to flow through a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlotChoice {
    /// The slot.
    pub mid: String,
    /// The track; null empties the slot.
    #[serde(default)]
    pub track: Option<String>,
    /// The width in pixels at which it is shown; counts together with `height`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The height in pixels at which it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Of two slots for which the line has not enough, the one with the higher number is served first.
    #[serde(default)]
    pub priority: u8,
    /// Nothing flows for now.
    #[serde(default)]
    pub paused: bool,
}

/// A data message to the room. Either `text` or `base64` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataMessage {
    /// The topic, 1 to 128 bytes.
    pub topic: String,
    /// The receivers, at most 100; without it everybody else in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// How hard it is tried.
    #[serde(default)]
    pub delivery: DeliveryName,
    /// A text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes in base64 (RFC 4648 section 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

//! What the node sends over the events of a session.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::{Member, PermissionSet, ProblemDetails, Quality, Room, Slot, Speaker};

/// A message of the node. All but `welcome`, `reply` and `pong` carry a number `seq` beside these fields, which rises by one from
/// message to message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The first message of every connection.
    Welcome {
        /// The room.
        room: String,
        /// The identity of the member.
        identity: String,
        /// The session's number: digits.
        session: String,
        /// What was missed follows. Otherwise a `snapshot` follows.
        resumed: bool,
        /// The number of the last message before this connection.
        seq: u64,
    },
    /// All that there is to know. It replaces what the client knew.
    Snapshot(Box<Snapshot>),
    /// A member came or changed: this replaces what the client knew of it.
    Member {
        /// The member.
        member: Member,
    },
    /// A member left.
    MemberLeft {
        /// Its identity.
        identity: String,
        /// Why; the same words as in `closed`.
        reason: String,
    },
    /// What flows through some slots changed.
    Slots {
        /// The slots that changed.
        slots: Vec<Slot>,
    },
    /// The number of slots that the member could use changed.
    SlotsWanted(SlotsWanted),
    /// Who speaks changed.
    Speakers {
        /// Who speaks, the loudest first.
        speakers: Vec<Speaker>,
    },
    /// The quality of a member's connection changed.
    Quality {
        /// The member.
        identity: String,
        /// What it is now.
        quality: Quality,
    },
    /// The room's settings changed.
    Room {
        /// The room.
        room: Room,
    },
    /// What the member may do changed.
    Permissions {
        /// What it may do now.
        permissions: PermissionSet,
    },
    /// An administrator muted a track of the member, or let it be heard again.
    Muted {
        /// The track.
        track: String,
        /// Muted or not.
        muted: bool,
    },
    /// A data message.
    Data {
        /// The sender; null: the application.
        from: Option<String>,
        /// The topic.
        topic: String,
        /// The text, of a text message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The bytes in base64 (RFC 4648 section 4), of a binary message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        /// How hard it was tried.
        delivery: DeliveryName,
    },
    /// Data messages for the member were dropped, since too many waited in its data channels.
    DataLost {
        /// How many since the last such message.
        messages: u64,
    },
    /// The token expires soon: the session ends then, if no `refresh_token` comes.
    TokenExpiring {
        /// Seconds until then.
        seconds: u64,
    },
    /// The session ended. This is the last message.
    Closed {
        /// Why, as one word.
        reason: String,
        /// Why, as a sentence.
        detail: String,
    },
    /// The answer to a command.
    Reply {
        /// The command's id; null when it had none.
        id: Option<String>,
        /// Whether it was done, and if not, why.
        #[serde(flatten)]
        outcome: ReplyOutcome,
    },
    /// The answer to `ping`.
    Pong,
}

/// Whether a command was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyOutcome {
    /// It was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDetails>,
}

/// All that a member has to know of its room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The room.
    pub room: Room,
    /// The member's own identity.
    pub me: String,
    /// What the member may do.
    pub permissions: PermissionSet,
    /// The members, in order of arrival; the member itself is among them.
    pub members: Vec<Member>,
    /// All slots of the member, in the order of its offer.
    pub slots: Vec<Slot>,
    /// The slots that it could use.
    pub slots_wanted: SlotsWanted,
    /// Who speaks, the loudest first.
    pub speakers: Vec<Speaker>,
    /// The quality of the members' connections, by identity, as far as known.
    pub quality: BTreeMap<String, Quality>,
}

/// The number of slots that a member could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotsWanted {
    /// Audio slots.
    pub audio: usize,
    /// Video slots.
    pub video: usize,
}

/// How hard a data message is tried to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryName {
    /// In order, until it arrives.
    #[default]
    Reliable,
    /// Without retransmission.
    Lossy,
}

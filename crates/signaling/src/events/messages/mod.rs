//! The messages of the session API as they stand in JSON: the source of `proto/session.schema.json`.
//!
//! `parts` has the values that several messages share, `server` what the node sends, `client` what it takes, `joining` the
//! bodies of the requests, `schema` the schema of all of them.

mod client;
mod joining;
mod parts;
mod schema;
mod server;

pub use client::{ClientMessage, Command, DataMessage, SlotChoice, SubscribePolicy};
pub use joining::{JoinRequest, Joined, Renegotiate, Renegotiated, SectionDescription};
pub use parts::{
    MediaKindName, Member, MemberKindName, PermissionSet, PresenceName, ProblemDetails, Quality,
    Room, RoomSettings, Slot, SlotStateName, Source, Speaker, Track,
};
pub use schema::session_schema;
pub use server::{DeliveryName, Message, ReplyOutcome, SlotsWanted, Snapshot};

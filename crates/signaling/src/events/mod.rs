//! The events of room sessions: what happens in a room becomes numbered JSON messages, one log for each session, which its client
//! reads over a WebSocket or as Server-Sent Events.
//!
//! `hub` hears the rooms and fills the logs, `convert` makes messages of the rooms' values, `log` is one session's log, `follow`
//! connects a client to it, `commands` does what clients ask, `metrics` counts. `messages` has the types.

mod commands;
pub(crate) mod convert;
mod follow;
mod hub;
#[cfg(feature = "lab")]
pub mod lab;
mod log;
pub mod messages;
mod metrics;

pub use commands::asked_of_room;
pub(crate) use commands::{
    bad_json, data, limited, read_command, section_descriptions, subscription, track_id,
};
pub(crate) use follow::{Frame, Frames, transfer_time};
pub(crate) use hub::Hub;
pub(crate) use log::{Feed, Next};
pub(crate) use metrics::{Ending, Kind};

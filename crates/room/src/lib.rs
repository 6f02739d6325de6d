//! Rooms, participants, sessions and the negotiation from offer to answer, sans-IO.

pub mod config;
pub mod error;
pub mod rooms;
pub mod view;

pub use config::{Limits, RoomConfig};
pub use error::{ErrorKind, RoomError};
pub use rooms::Rooms;
pub use view::{
    Accepted, Counts, EndReason, LocalMedia, LocalPublished, Notice, ParticipantInfo, RoomInfo,
    SlotInfo, Target, TrackInfo, ViewerInfo,
};

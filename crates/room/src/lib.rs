//! Rooms, participants, sessions and the negotiation from offer to answer, sans-IO.
//!
//! Floor 1: offers, fragments and events of workers come in as values; answers are returned, commands to the workers and
//! notices to signaling are polled. No sockets, no clock, no locks: [`Rooms`] has one owner.
//!
//! An offer goes through
//!
//! 1. [`rooms`]: is there space, who is it, which room
//! 2. `negotiate`: which sections, codecs, extensions and simulcast layers are agreed; the answer and the plan
//! 3. `slots`: which tracks flow through which receiving sections
//! 4. commands: `Open` of a session comes before every `Bind` that names it, and `Close` comes last
//!
//! Sessions either publish or watch. A publisher's offer brings tracks; a viewer's offer brings slots, which stay while
//! tracks come and go, so that nothing is negotiated again. A viewer may come before the publisher: it waits, connected
//! and silent, instead of being refused and asking again and again until the show begins.
//!
//! What this crate does not know: HTTP, tokens, packets.

pub mod config;
pub mod error;
mod listing;
mod negotiate;
mod random;
pub mod rooms;
mod slots;
mod state;
pub mod view;

pub use config::{Limits, RoomConfig};
pub use error::{ErrorKind, RoomError};
pub use rooms::{CONNECT_TIMEOUT, Rooms};
pub use view::{
    Accepted, Counts, EndReason, LocalMedia, LocalPublished, Notice, ParticipantInfo, RoomInfo,
    SlotInfo, Target, TrackInfo, ViewerInfo,
};

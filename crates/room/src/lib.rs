//! Rooms, participants, sessions and the negotiation from offer to answer, sans-IO.
//!
//! Floor 1: offers, fragments and events of workers come in as values; answers are returned; commands to the workers
//! and notices to signaling are polled. No sockets, no clock, no locks.
//!
//! An offer goes through
//!
//! 1. `negotiate`: sections, codecs, extensions and simulcast layers are agreed; the answer and the plan are made. This needs no
//!    room's lock. A later offer of the same session is checked against what was agreed before (`agreement`);
//! 2. [`room`]: the result is applied: the session enters, and a publisher gets a record (`publishers`, [`records`]);
//! 3. `slots`: tracks are assigned to receiving sections by a [`policy`]; payload types are mapped once for all sessions with the
//!    same codecs (`mappings`). Members with room sessions have a `stage` of independent slots, which follow who speaks
//!    (`speakers`) and what the member asks for (`subscribing`);
//! 4. commands: `Open` or `Update` of a session comes before every `Bind` that names it, and `Close` comes last.
//!
//! Roles belong to media sections: a session may send, receive, or both ([`Roles`]). Slots stay while tracks come and
//! go, so publishers that come and go cause no renegotiation. A viewer may connect before the publisher: its session
//! stays connected without media, and the viewer need not retry until the publisher starts.
//!
//! What this crate does not know: HTTP, tokens, packets, other rooms.

mod administering;
mod agreement;
mod answering;
mod budget;
pub mod config;
mod data;
mod describing;
mod entering;
pub mod error;
mod events;
mod extensions;
mod ids;
mod listing;
mod mappings;
mod media;
mod members;
mod messages;
mod negotiate;
pub mod policy;
mod presence;
mod publishers;
mod random;
pub mod records;
mod renegotiation;
pub mod requests;
pub mod room;
mod rounds;
mod seats;
mod session;
mod settings;
mod slots;
mod snapshot;
mod sources;
mod speakers;
mod spending;
mod stage;
mod subscribing;
pub mod view;

pub use agreement::{Agreement, Roles};
pub use config::{Limits, RoomConfig};
pub use error::{ErrorKind, RoomError};
pub use ids::Ids;
pub use negotiate::{Agreed, Negotiator};
pub use policy::{ByArrival, BySpeaker, Pinned, SlotPolicy};
pub use records::{ParticipantRecord, RecordChange, TrackRecord};
pub use requests::{
    AdminCommand, Admission, DataRequest, MemberCommand, ProfileChange, RoomSettings,
    SettingsChange, SlotWish, Subscription, TrackDescription,
};
pub use room::{CONNECT_TIMEOUT, Entering, Renegotiated, Room};
pub use sources::Source;
pub use view::{
    Accepted, Counts, EndReason, LocalMedia, LocalPublished, Notice, ParticipantInfo, RoomInfo,
    SessionInfo, SlotInfo, SlotState, SlotView, Snapshot, Speaker, Target, TrackInfo, ViewerInfo,
};

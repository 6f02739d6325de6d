//! Ids, units and plans: the words that every floor shares.
//!
//! Floor 0: plain values, no behaviour beyond parsing and printing, no I/O.
//!
//! - [`ids`]: who and what (`RoomId`, `SessionId`, `TrackId`, `Ssrc`, `Mid`, ...)
//! - [`media`]: codecs, header extensions, payload type tables
//! - [`plan`]: what signaling agreed with a peer, as the packet path needs it
//! - [`control`]: commands to the workers and events from them
//! - [`data`]: data messages between members
//! - [`member`]: members of a room: permissions, sources of tracks
//! - [`drops`]: the named reasons for which a packet is not forwarded
//! - [`log_limit`]: how often a log line may be written that a stranger causes
//! - [`net`]: network paths
//! - [`stats`]: measurements of one session
//! - [`time`]: the wall clock beside the monotonic one, for NTP stamps

pub mod control;
pub mod data;
pub mod drops;
pub mod ids;
pub mod log_limit;
pub mod media;
pub mod member;
pub mod net;
pub mod plan;
pub mod stats;
pub mod time;

pub use control::{CloseReason, Command, Event, Loudness};
pub use data::{DataPlan, DataReceived, DataToSend, Delivery, Payload};
pub use drops::DropReason;
pub use ids::{IdError, Mid, NodeId, ParticipantId, Pt, Rid, RoomId, SessionId, Ssrc, TrackId};
pub use log_limit::LogLimit;
pub use media::{Codec, CodecSpec, Extension, ExtensionMap, Feedback, MediaKind};
pub use member::{MemberKind, Permissions, Presence, Profile, Quality, Sources, TrackSource};
pub use net::Path;
pub use plan::{
    Binding, DownMedia, DtlsRole, Fingerprint, IceCredentials, PtMapping, SessionPlan, StreamSsrc,
    UpMedia,
};
pub use stats::{DownSection, DownStats, LayerStats, SessionStats, StatsReply, UpSection, UpStats};
pub use time::{NtpTime, WallClock};

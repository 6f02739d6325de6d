//! Up-tracks, down-tracks, packet cache, layer selection and rewriting, sans-IO.
//!
//! Floor 1, sans-IO: no sockets, clocks, locks or threads in this crate. Time is passed in as an argument; what is to
//! be sent is written into buffers of the caller.
//!
//! The life of a packet in this crate, in the order of the calls:
//!
//! 1. [`PacketPool::alloc`] gives a buffer, the caller decrypts into it.
//! 2. [`StreamTable::resolve`] says which up-track, layer and role (media or retransmission) its SSRC has.
//! 3. [`UpTrack::ingest`] unwraps a retransmission, numbers and checks the packet, and notes missing packets.
//! 4. [`PacketPool::share`] turns it into an `Arc<Packet>`; a clone goes to each worker with subscribers.
//! 5. [`TrackMirror::receive`], one per track and worker, caches it and tracks the last key frames.
//! 6. [`DownTrack::forward`], one per subscriber and slot, selects, rewrites, and writes it into the send buffer.
//!
//! Feedback goes the other way: [`DownTrack::retransmit`] answers NACKs out of the mirror's cache,
//! [`DownTrack::wants_keyframe`] goes to [`UpTrack::request_keyframe`], which coalesces, and
//! [`UpTrack::poll_feedback`] writes the NACKs and key frame requests for the publisher.
//!
//! Not in this crate: bandwidth estimation towards subscribers, pacing, temporal layers. The highest layer that flows
//! is forwarded.

mod bitrate;
mod catch_up;
pub mod down_track;
pub mod packet;
pub mod pool;
pub mod up_track;

pub use catch_up::{CatchUp, CatchUpLimits};
pub use down_track::{DownTrack, Leave, LineReport, Pick, Written};
pub use model::{DownStats, LayerStats, UpStats};
pub use packet::{Packet, PacketMeta, Relayed, StreamId};
pub use pool::{Account, PacketBuf, PacketPool, PoolLimits, PoolStats};
pub use up_track::cache::Cache;
pub use up_track::level::LevelMeter;
pub use up_track::mirror::TrackMirror;
pub use up_track::report::{PublisherClock, SenderInfo};
pub use up_track::streams::{StreamRef, StreamTable};
pub use up_track::watch::{LayerWatch, Ranking};
pub use up_track::{Accepted, UpTrack};

/// Layers that one track may have. Browsers send three with simulcast.
pub const MAX_LAYERS: usize = 4;

/// Packets in front of a key frame that may belong to it: a delimiter, three kinds of parameter sets and supplemental
/// information, each in a packet of its own, and some in reserve.
pub const LEAD_MAX: usize = 8;

#[cfg(test)]
mod fixtures {
    use std::time::Instant;

    /// A fixed start time for tests.
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to begin at")]
    pub(crate) fn start() -> Instant {
        Instant::now()
    }
}

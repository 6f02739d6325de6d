//! Ids for sessions and tracks, unique on this node. They belong to no room, because they are given out while an offer
//! is negotiated, without a room's lock.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{SessionId, TrackId};

/// The next ids. They begin at 1 and are never reused while the node runs.
#[derive(Debug)]
pub struct Ids {
    session: AtomicU64,
    track: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        Self { session: AtomicU64::new(1), track: AtomicU64::new(1) }
    }
}

impl Ids {
    /// A new session id.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.fetch_add(1, Ordering::Relaxed))
    }

    /// A new track id.
    pub fn track(&self) -> TrackId {
        TrackId(self.track.fetch_add(1, Ordering::Relaxed))
    }
}

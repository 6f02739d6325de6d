//! Numbers for sessions and tracks, unique on this node. They stand outside of all rooms, and are given out while offers are
//! negotiated, which is outside of any room's turn.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{SessionId, TrackId};

/// The next numbers; from 1 on, and never used again while the node runs.
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
    /// A session that there was not yet.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.fetch_add(1, Ordering::Relaxed))
    }

    /// A track that there was not yet.
    pub fn track(&self) -> TrackId {
        TrackId(self.track.fetch_add(1, Ordering::Relaxed))
    }
}

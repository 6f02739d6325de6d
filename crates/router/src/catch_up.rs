//! Packets from before somebody came: since the last key frame, out of a mirror's cache.

use std::{sync::Arc, time::Duration};

use crate::{Packet, up_track::cache::Since};

/// How far back a new subscriber may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUpLimits {
    /// Age of the key frame.
    pub max_age: Duration,
    /// Packets since its start.
    pub max_packets: usize,
}

impl Default for CatchUpLimits {
    /// A second, since the publisher is asked for a key frame once a second at most; 256 packets, which is a second of
    /// 2 Mbit/s, and half a second of a line of 5 Mbit/s.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(1), max_packets: 256 }
    }
}

/// Packets out of a mirror's cache, oldest first. See [`crate::DownTrack::catch_up`]
/// and [`crate::TrackMirror::backlog`].
#[derive(Debug)]
pub struct CatchUp<'m>(pub(crate) Option<Since<'m>>);

impl<'m> Iterator for CatchUp<'m> {
    type Item = &'m Arc<Packet>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

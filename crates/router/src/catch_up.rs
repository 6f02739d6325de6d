//! Packets that arrived before a subscriber joined, since the last key frame, from a mirror's cache.

use std::{sync::Arc, time::Duration};

use crate::{Packet, up_track::cache::Since};

/// How far back a new subscriber may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUpLimits {
    /// Greatest age of the key frame.
    pub max_age: Duration,
    /// Most packets since its start.
    pub max_packets: usize,
}

impl Default for CatchUpLimits {
    /// One second, since the publisher is asked for a key frame at most once a second; and 256 packets: one second at
    /// 2 Mbit/s, which takes half a second on a line of 5 Mbit/s.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(1), max_packets: 256 }
    }
}

/// Packets of a mirror's cache, oldest first. See [`crate::DownTrack::catch_up`] and [`crate::TrackMirror::backlog`].
#[derive(Debug)]
pub struct CatchUp<'m>(pub(crate) Option<Since<'m>>);

impl<'m> Iterator for CatchUp<'m> {
    type Item = &'m Arc<Packet>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

//! Lets a subscriber that was just bound begin with the last key frame, if it is young, instead of waiting for the
//! next one.

use std::time::Instant;

use model::MediaKind;

use super::DownTrack;
use crate::up_track::cache::Since;
use crate::{CatchUp, CatchUpLimits, TrackMirror};

impl DownTrack {
    /// Packets to forward right after binding, if the last key frame is young: pass each to [`DownTrack::forward`].
    /// Empty for audio.
    ///
    /// The subscriber may have seen some of them, if the slot left the track a moment ago and comes back: they are new packets to
    /// it, with new numbers. Otherwise it would wait for another key frame, which the publisher sends once a second at most.
    ///
    /// The timestamps of these packets are written closer together than the publisher's, so that the subscriber is
    /// live after them. Forward them with the same mirror.
    pub fn catch_up<'m>(
        &mut self,
        now: Instant,
        mirror: &'m TrackMirror,
        limits: CatchUpLimits,
    ) -> CatchUp<'m> {
        let since = self.since_key_frame(now, mirror, limits);
        if since.is_some() {
            self.newest = None;
        }
        CatchUp(since)
    }

    fn since_key_frame<'m>(
        &self,
        now: Instant,
        mirror: &'m TrackMirror,
        limits: CatchUpLimits,
    ) -> Option<Since<'m>> {
        let waits = self.kind == MediaKind::Video
            && self.selection.current().is_none()
            && self.track() == Some(mirror.track());
        if !waits {
            return None;
        }
        let layer = mirror.best(self.selection.max_rank())?;
        mirror.since_key_frame(now, layer, limits)
    }
}

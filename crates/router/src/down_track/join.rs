//! Lets a subscriber that was just bound begin with the last key frame, if it is young, instead of waiting for the
//! next one.

use std::time::Instant;

use model::MediaKind;

use super::DownTrack;
use crate::up_track::cache::Since;
use crate::{CatchUp, CatchUpLimits, TrackMirror};

impl DownTrack {
    /// Packets to forward right after binding, if the last key frame is young: pass each to [`DownTrack::forward`].
    /// Empty for audio, and if there is no key frame that the subscriber has not seen.
    ///
    /// The timestamps of these packets are written closer together than the publisher's, so that the subscriber is
    /// live after them. Forward them with the same mirror.
    pub fn catch_up<'m>(
        &self,
        now: Instant,
        mirror: &'m TrackMirror,
        limits: CatchUpLimits,
    ) -> CatchUp<'m> {
        CatchUp(self.since_key_frame(now, mirror, limits))
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
        let key = mirror.key_frame(layer)?;
        if self.saw(mirror.track(), mirror.stream(layer)?, key.first) {
            return None;
        }
        mirror.since_key_frame(now, layer, limits)
    }
}

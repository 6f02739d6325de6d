//! Where a subscriber begins that was just bound: with the last key frame, if it is young, so that it need not wait for another.

use std::time::Instant;

use model::MediaKind;

use super::DownTrack;
use crate::up_track::cache::Since;
use crate::{CatchUp, CatchUpLimits, TrackMirror};

impl DownTrack {
    /// Packets to forward right after binding, if the last key frame is young: pass each to
    /// [`DownTrack::forward`]. Empty when there is nothing to catch up with, and for audio.
    ///
    /// The subscriber gets them with timestamps that lie closer together than the publisher's, so that it is not behind
    /// from then on. The mirror has to be the one that they are forwarded with.
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

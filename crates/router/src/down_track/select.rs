//! Chooses which stream of a track a subscriber gets: the highest layer that flows, changed only at key frames.
//! Rewriting is done elsewhere.

use std::time::{Duration, Instant};

use model::{DropReason, MediaKind};

use super::picture_loss::PictureLoss;
use crate::{PacketMeta, StreamId, TrackMirror};

/// A key frame that does not arrive is requested again after this time. The up-track coalesces requests further.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The selection of one down-track.
#[derive(Debug)]
pub(crate) struct Selection {
    kind: MediaKind,
    max_rank: Option<u8>,
    target: Option<u8>,
    /// The mirror's generation when `target` was chosen; 0: never.
    generation: u32,
    current: Option<StreamId>,
    /// Picture losses that the subscriber reported.
    losses: PictureLoss,
    asked: Option<Instant>,
}

impl Selection {
    pub(crate) fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            max_rank: None,
            target: None,
            generation: 0,
            current: None,
            losses: PictureLoss::default(),
            asked: None,
        }
    }

    /// The stream that is forwarded now ([`PacketMeta::stream`]).
    pub(crate) fn current(&self) -> Option<StreamId> {
        self.current
    }

    /// Forwards nothing until the next splice; another track may follow.
    pub(crate) fn reset(&mut self) {
        self.current = None;
        self.generation = 0;
        self.asked = None;
        // The loss report is void for another track, but the delay of the subscriber's next key frame is not reset.
        self.losses.mend();
    }

    /// Forwards nothing until the next splice; the track stays.
    pub(crate) fn interrupt(&mut self) {
        self.current = None;
    }

    pub(crate) fn max_rank(&self) -> Option<u8> {
        self.max_rank
    }

    pub(crate) fn set_max_rank(&mut self, rank: Option<u8>) {
        self.max_rank = rank;
        self.generation = 0;
    }

    /// The subscriber reported a lost picture.
    pub(crate) fn lost_picture(&mut self) {
        if self.kind == MediaKind::Video {
            self.losses.report();
        }
    }

    /// Whether a reported loss waits for its key frame request.
    pub(crate) fn is_deferred(&self, now: Instant) -> bool {
        self.losses.is_deferred(now)
    }

    /// A packet of the current stream was selected in which a key frame begins.
    pub(crate) fn key_frame(&mut self) {
        self.losses.mend();
    }

    /// The layer that should be forwarded.
    pub(crate) fn target(&mut self, mirror: &TrackMirror) -> Option<u8> {
        if self.generation != mirror.generation() {
            self.generation = mirror.generation();
            self.target = mirror.best(self.max_rank);
        }
        self.target
    }

    /// Whether to splice onto a packet of another stream.
    pub(crate) fn admit(
        &mut self,
        mirror: &TrackMirror,
        meta: &PacketMeta,
    ) -> Result<(), DropReason> {
        if self.target(mirror) != Some(meta.layer()) {
            return Err(DropReason::LayerNotSelected);
        }
        let begins = self.kind == MediaKind::Audio
            || meta.info.keyframe_start
            || (meta.info.lead && mirror.leads_to_key_frame(meta));
        begins.then_some(()).ok_or(DropReason::AwaitingKeyFrame)
    }

    /// Notes the stream that was spliced onto.
    pub(crate) fn switch(&mut self, stream: StreamId) {
        self.current = Some(stream);
        self.asked = None;
    }

    /// See [`crate::DownTrack::wants_keyframe`].
    pub(crate) fn wants_key_frame(&mut self, now: Instant, mirror: &TrackMirror) -> Option<u8> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        let target = self.target(mirror)?;
        let there = self.current.is_some() && self.current == mirror.stream(target);
        if there && !self.losses.is_due(now) {
            return None;
        }
        if self.asked.is_some_and(|at| now < at + ASK_AGAIN) {
            return None;
        }
        self.asked = Some(now);
        match there {
            true => self.losses.answer(now),
            // The key frame that the splice waits for also repairs the lost picture.
            false => self.losses.mend(),
        }
        Some(target)
    }
}

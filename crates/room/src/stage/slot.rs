//! One slot of a room session: what it shows, what the worker was told of it and what its member was told of it.

use std::time::Instant;

use model::{Binding, DownMedia, MediaKind, Mid, ParticipantId, Ssrc, TrackId};

use super::floor::{Floor, Offered, Rank};
use crate::mappings::{CodecList, Mappings};
use crate::{SlotState, SlotView, SlotWish};

/// See the head of this file. Policies set `shown` and `state`; [`Slot::bind`] and [`Slot::tell`] find out what changed
/// since they were called last, so that only the last of several changes counts.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(super) mid: Mid,
    pub(super) kind: MediaKind,
    pub(super) ssrc: Ssrc,
    pub(super) codecs: CodecList,
    pub(super) shown: Option<Shown>,
    pub(super) state: SlotState,
    /// What its member wished beside the track.
    pub(super) wish: Wish,
    /// Of the track that is shown, under the automatic policy.
    pub(super) rank: Rank,
    /// Since when it shows its track.
    pub(super) since: Option<Instant>,
    /// The member that it showed last: a track that comes back gets its old slot.
    pub(super) last: Option<ParticipantId>,
    /// The track that the worker sends through it.
    bound: Option<TrackId>,
    /// The worker has to be told whatever flows, since the payload types or the section of the slot changed.
    rebinds: bool,
    /// What its member knows.
    told: (Option<TrackId>, SlotState),
}

/// The track of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) track: TrackId,
    pub(super) member: ParticipantId,
}

/// Wishes for a slot beside its track. Size and priority are for the division of the bandwidth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) size: Option<(u32, u32)>,
    pub(super) priority: u8,
    pub(super) paused: bool,
}

impl Slot {
    pub(super) fn new(media: &DownMedia, codecs: CodecList) -> Self {
        Self {
            mid: media.mid,
            kind: media.kind,
            ssrc: media.ssrc.media,
            codecs,
            shown: None,
            state: SlotState::Empty,
            wish: Wish::default(),
            rank: Rank::Silent,
            since: None,
            last: None,
            bound: None,
            rebinds: false,
            told: (None, SlotState::Empty),
        }
    }

    /// A slot in the place of one with the same mid, whose section is another one now.
    pub(super) fn in_place_of(media: &DownMedia, codecs: CodecList, old: &Slot) -> Self {
        let rebinds = old.bound.is_some();
        Self { rebinds, told: old.told, ..Self::new(media, codecs) }
    }

    /// New payload types: what flows is bound again.
    pub(super) fn set_codecs(&mut self, codecs: CodecList) {
        self.codecs = codecs;
        self.rebinds |= self.bound.is_some();
    }

    pub(super) fn shows(&self, track: TrackId) -> bool {
        self.track() == Some(track)
    }

    pub(super) fn track(&self) -> Option<TrackId> {
        self.shown.as_ref().map(|shown| shown.track)
    }

    /// Whether the slot takes one of the track's codecs.
    pub(super) fn takes(&self, offered: &Offered) -> bool {
        self.kind == offered.kind && offered.codecs.fits(&self.codecs)
    }

    pub(super) fn show(&mut self, now: Instant, offered: &Offered) {
        self.clear();
        self.shown = Some(Shown { track: offered.id, member: offered.member.clone() });
        (self.state, self.since) = (SlotState::Flowing, Some(now));
    }

    pub(super) fn clear(&mut self) {
        if let Some(shown) = self.shown.take() {
            self.last = Some(shown.member);
        }
        (self.state, self.since) = (SlotState::Empty, None);
    }

    /// What the worker has to be told: the track that flows, if it is another one than it sends.
    pub(super) fn bind(
        &mut self,
        floor: &Floor,
        mappings: &mut Mappings,
    ) -> Option<(Mid, Option<Binding>)> {
        let flows = self.track().filter(|_| self.state == SlotState::Flowing);
        if flows == self.bound && !self.rebinds {
            return None;
        }
        let binding = flows.and_then(|id| floor.find(id)).map(|offered| Binding {
            track: offered.id,
            publisher: offered.session,
            payload_types: mappings.table(&offered.codecs, &self.codecs),
        });
        self.bound = binding.as_ref().map(|binding| binding.track);
        self.rebinds = false;
        Some((self.mid, binding))
    }

    /// What its member has to be told, if that changed.
    pub(super) fn tell(&mut self) -> Option<SlotView> {
        let is = (self.track(), self.state);
        (std::mem::replace(&mut self.told, is) != is).then(|| self.view())
    }

    pub(super) fn view(&self) -> SlotView {
        let shows = self.shown.as_ref().map(|shown| (shown.track, shown.member.clone()));
        SlotView { mid: self.mid, kind: self.kind, shows, state: self.state }
    }

    pub(super) fn as_wish(&self) -> SlotWish {
        let Wish { size, priority, paused } = self.wish;
        SlotWish { mid: self.mid, track: self.track(), size, priority, paused }
    }
}

//! What flows through the slots of a room session.
//!
//! A viewer (WHEP) has groups of slots that belong together (`crate::slots`). A room session has a *stage*: audio slots
//! and video slots that are independent of each other. The audio slots get the loudest tracks of the room
//! (`crate::speakers`); the video slots are filled by the automatic policy ([`auto`]) or by the member's wishes
//! ([`manual`]). What is the same for all members is worked out once for the room ([`floor`]).
//!
//! A slot keeps its mid, SSRC and codecs; what flows through it changes by `Command::Bind` alone. Policies change the
//! slots in memory, and at the end of a fit the differences to what the worker and the member were told are put out:
//! each slot is bound at most once in a fit, and a member's view is what the binds say.

mod auto;
pub(crate) mod floor;
mod manual;
mod slot;

use std::time::{Duration, Instant};

use model::{Binding, DownMedia, MediaKind, Mid, ParticipantId};

use crate::mappings::Mappings;
use crate::{RoomError, SlotInfo, SlotView, SlotWish, Subscription};
use floor::{Floor, Who};
use slot::{Slot, Wish};

/// Least time between two notices about the number of slots that a member could use.
const WANTED_EVERY: Duration = Duration::from_secs(1);

/// The slots of a room session.
#[derive(Debug)]
pub(crate) struct Stage {
    /// In the order of the offer.
    slots: Vec<Slot>,
    policy: Policy,
    /// The member may receive the tracks of others.
    may_receive: bool,
    /// The sections that the member sends; together with its slots they are at most [`sdp::MAX_SECTIONS`].
    sending: usize,
    /// Slots that it could use: audio, video.
    wanted: [usize; 2],
    wanted_told: Option<[usize; 2]>,
    wanted_told_at: Option<Instant>,
    /// There are more tracks than slots, so that it matters which ones are live.
    is_crowded: bool,
    /// The revision of the floor that the slots are fitted to.
    revision: u64,
}

#[derive(Debug)]
enum Policy {
    Auto { pinned: Vec<ParticipantId> },
    Manual,
}

/// What changed with a fit.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) binds: Vec<(Mid, Option<Binding>)>,
    pub(crate) views: Vec<SlotView>,
    /// The slots that the member could use, audio and video, when it has to be told.
    pub(crate) wanted: Option<[usize; 2]>,
    /// When the slots have to be fitted again.
    pub(crate) retry: Option<Instant>,
}

impl Stage {
    /// A stage with these slots, for a member that sends `sending` sections.
    pub(crate) fn new(down: &[DownMedia], sending: usize, mappings: &mut Mappings) -> Self {
        let slot = |media: &DownMedia| Slot::new(media, mappings.list(&media.codecs));
        Self {
            slots: down.iter().map(slot).collect(),
            policy: Policy::Auto { pinned: Vec::new() },
            may_receive: true,
            sending,
            wanted: [0, 0],
            wanted_told: None,
            wanted_told_at: None,
            is_crowded: false,
            revision: 0,
        }
    }

    /// Applies renegotiated slots. Those that stay keep what they show.
    pub(crate) fn update(&mut self, down: &[DownMedia], sending: usize, mappings: &mut Mappings) {
        let mut before = std::mem::take(&mut self.slots);
        for media in down {
            let codecs = mappings.list(&media.codecs);
            let old = before.iter().position(|slot| slot.mid == media.mid);
            let slot = match old.map(|at| before.swap_remove(at)) {
                Some(mut old) if old.ssrc == media.ssrc.media && old.kind == media.kind => {
                    if !std::sync::Arc::ptr_eq(&old.codecs.codecs, &codecs.codecs) {
                        old.set_codecs(codecs);
                    }
                    old
                }
                // A mid that moved to another section is another slot, with another SSRC.
                Some(old) => Slot::in_place_of(media, codecs, &old),
                None => Slot::new(media, codecs),
            };
            self.slots.push(slot);
        }
        self.sending = sending;
    }

    /// Sets how the video slots are filled. Nothing changes after an error.
    ///
    /// # Errors
    /// `NotFound`: a slot or track that the member does not have or see. `Unsupported`: too many, or one twice.
    pub(crate) fn subscribe(
        &mut self,
        subscription: Subscription,
        floor: &Floor,
        who: Who<'_>,
        now: Instant,
    ) -> Result<(), RoomError> {
        match subscription {
            Subscription::Auto { mut pinned } => {
                manual::check_count("pinned members", pinned.len())?;
                // Only the first place of a member counts; otherwise its tracks would claim two slots.
                let mut seen = std::collections::BTreeSet::new();
                pinned.retain(|member| seen.insert(member.clone()));
                self.policy = Policy::Auto { pinned };
                self.slots.iter_mut().for_each(|slot| slot.wish = Wish::default());
            }
            Subscription::Manual { slots } => {
                manual::apply(&mut self.slots, &slots, floor, who, now)?;
                self.policy = Policy::Manual;
            }
        }
        Ok(())
    }

    /// Sets whether the member may receive the tracks of others. `true` when that changed.
    pub(crate) fn allow(&mut self, may_receive: bool) -> bool {
        std::mem::replace(&mut self.may_receive, may_receive) != may_receive
    }

    /// Fits the tracks of the room into the slots.
    pub(crate) fn fit(
        &mut self,
        floor: &Floor,
        who: Who<'_>,
        now: Instant,
        mappings: &mut Mappings,
    ) -> Change {
        self.revision = floor.revision;
        let mut change = Change::default();
        if self.may_receive {
            self.fit_audio(floor, who, now);
            change.retry = match &self.policy {
                Policy::Auto { pinned } => auto::fit(&mut self.slots, pinned, floor, who, now),
                Policy::Manual => {
                    manual::fit(&mut self.slots, floor, who);
                    None
                }
            };
        } else {
            self.slots.iter_mut().for_each(Slot::clear);
        }
        for slot in &mut self.slots {
            change.binds.extend(slot.bind(floor, mappings));
            change.views.extend(slot.tell());
        }
        self.count(floor, who);
        self.tell_wanted(now, &mut change);
        change
    }

    /// Puts the loudest tracks into the audio slots. One that is heard already stays in its slot.
    fn fit_audio(&mut self, floor: &Floor, who: Who<'_>, now: Instant) {
        let slots = &mut self.slots;
        let places = slots.iter().filter(|slot| slot.kind == MediaKind::Audio).count();
        let fits = |slots: &[Slot], id| slots.iter().any(|slot| slot.takes(id));
        let heard = floor.loudest().filter(|o| !o.is_of(who));
        let heard: Vec<_> = heard.filter(|o| fits(slots, o)).take(places).collect();
        for slot in slots.iter_mut().filter(|slot| slot.kind == MediaKind::Audio) {
            let stays = heard.iter().any(|o| slot.shows(o.id) && slot.takes(o));
            if !stays {
                slot.clear();
            }
        }
        for offered in heard {
            if !slots.iter().any(|slot| slot.shows(offered.id))
                && let Some(at) = auto::free(slots, offered)
            {
                slots[at].show(now, offered);
            }
        }
    }

    /// Counts the slots that the member could use.
    fn count(&mut self, floor: &Floor, who: Who<'_>) {
        let [audio, video] = match self.may_receive {
            true => floor.counts_for(who),
            false => [0, 0],
        };
        let has = self.has();
        self.is_crowded =
            audio > floor.audible().min(has[0]) && has[0] > 0 || video > has[1] && has[1] > 0;
        let room = sdp::MAX_SECTIONS.saturating_sub(self.sending);
        let audio = audio.min(floor.audible()).min(room);
        self.wanted = [audio, video.min(room - audio)];
    }

    /// Says how many slots the member could use, when that changed, is not what it has, and was not said a moment ago:
    /// each time the member may offer again, and fifty members who join at once are one reason and not fifty.
    fn tell_wanted(&mut self, now: Instant, change: &mut Change) {
        if self.wanted_told == Some(self.wanted) {
            return;
        }
        if self.wanted == self.has() {
            self.wanted_told = Some(self.wanted);
            return;
        }
        let again = self.wanted_told_at.map(|at| at + WANTED_EVERY);
        if let Some(at) = again.filter(|at| *at > now) {
            change.retry = Some(change.retry.map_or(at, |retry| retry.min(at)));
            return;
        }
        (self.wanted_told, self.wanted_told_at) = (Some(self.wanted), Some(now));
        change.wanted = self.wanted_told;
    }

    /// The number of its audio and of its video slots.
    fn has(&self) -> [usize; 2] {
        let audio = self.slots.iter().filter(|slot| slot.kind == MediaKind::Audio).count();
        [audio, self.slots.len() - audio]
    }

    /// The revision of the floor that the slots are fitted to.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it matters to this member which tracks are live.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// The slots that the member could use: audio, video.
    pub(crate) fn wanted(&self) -> (usize, usize) {
        (self.wanted[0], self.wanted[1])
    }

    /// All slots as the member sees them, in the order of its offer.
    pub(crate) fn views(&self) -> Vec<SlotView> {
        self.slots.iter().map(Slot::view).collect()
    }

    /// What the member wishes for each video slot under the manual policy; empty under the automatic one.
    pub(crate) fn wishes(&self) -> Vec<SlotWish> {
        match self.policy {
            Policy::Auto { .. } => Vec::new(),
            Policy::Manual => {
                let video = self.slots.iter().filter(|slot| slot.kind == MediaKind::Video);
                video.map(Slot::as_wish).collect()
            }
        }
    }

    /// All slots for a listing, in the order of the offer.
    pub(crate) fn listing(&self) -> Vec<SlotInfo> {
        let info = |slot: &Slot| SlotInfo { mid: slot.mid, kind: slot.kind, track: slot.track() };
        self.slots.iter().map(info).collect()
    }
}

//! Which video tracks a member sees that does not choose itself: those that it pinned, then shared screens, then who
//! speaks or spoke last, then who arrived last.
//!
//! A slot that shows a track keeps it unless a track of a better rank needs a slot and none is free. Then the one that
//! deserves its slot least goes, but no earlier than [`DWELL`] after it appeared: two people who interrupt each other
//! do not make the pictures jump. Pinned tracks and screens do not wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{MediaKind, ParticipantId};

use super::floor::{Floor, Offered, Rank, Who};
use super::slot::Slot;
use crate::SlotState;

/// How long a picture stays at least before a speaker replaces it.
const DWELL: Duration = Duration::from_secs(2);
/// Comparisons of a track's codecs with those of the slots in one fit. Enough for hundreds of tracks that a browser does
/// not take; it bounds the work that a member causes whose slots all have other codecs, which nobody sends. Tracks that
/// rank lower than those that were compared are then not shown.
const LOOKS_MAX: usize = 4_096;

/// Fits the room's video tracks into the video slots. Returns when it has to be done again, because a track waits until
/// another one was shown for [`DWELL`]. Costs time for each slot: as soon as there are as many better tracks as slots, the
/// rest is not looked at. Only tracks that the slots have no codec for are looked at beside, within [`LOOKS_MAX`].
pub(super) fn fit(
    slots: &mut [Slot],
    pinned: &[ParticipantId],
    floor: &Floor,
    who: Who<'_>,
    now: Instant,
) -> Option<Instant> {
    let mut places = 0;
    for slot in slots.iter_mut().filter(|slot| slot.kind == MediaKind::Video) {
        places += 1;
        let Some(track) = slot.track() else { continue };
        let offered = floor.find(track).filter(|o| !o.muted && !o.is_of(who) && slot.takes(o));
        match offered {
            Some(offered) => {
                (slot.rank, slot.state) = (rank_for(offered, pinned), SlotState::Flowing);
            }
            None => slot.clear(),
        }
    }
    let mut retry: Option<Instant> = None;
    let first = pinned.iter().flat_map(|member| floor.videos_of(member));
    let others = floor.ranking().filter(|o| !pinned.contains(&o.member));
    let claims = first.chain(others).filter(|offered| !offered.is_of(who));
    let lists = codec_lists(slots);
    let mut looks = LOOKS_MAX;
    for offered in claims {
        if places == 0 || looks < lists.len() {
            break;
        }
        if slots.iter().any(|slot| slot.shows(offered.id)) {
            places -= 1;
            continue;
        }
        looks -= lists.len();
        if !lists.iter().any(|&at| slots[at].takes(offered)) {
            continue;
        }
        let rank = rank_for(offered, pinned);
        let place = place_for(slots, offered, rank, now);
        // Where slots differ, one that this track does not fit may still be free for a later one.
        match lists.len() > 1 && !matches!(place, Place::At(_)) {
            true => looks = looks.saturating_sub(slots.len()),
            false => places -= 1,
        }
        match place {
            Place::At(at) => {
                slots[at].show(now, offered);
                slots[at].rank = rank;
            }
            Place::Later(at) => retry = Some(retry.map_or(at, |retry| retry.min(at))),
            Place::Nowhere => {}
        }
    }
    retry
}

/// The video slots with different codec lists, one of each; usually all slots have the same list.
fn codec_lists(slots: &[Slot]) -> Vec<usize> {
    let mut lists: Vec<usize> = Vec::new();
    for (at, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.kind == MediaKind::Video) {
        let same = |&other: &usize| Arc::ptr_eq(&slots[other].codecs.codecs, &slot.codecs.codecs);
        if !lists.iter().any(same) {
            lists.push(at);
        }
    }
    lists
}

/// Where a track can be shown.
enum Place {
    At(usize),
    /// In the place of a picture that has to stay until then.
    Later(Instant),
    Nowhere,
}

fn place_for(slots: &[Slot], offered: &Offered, rank: Rank, now: Instant) -> Place {
    if let Some(at) = free(slots, offered) {
        return Place::At(at);
    }
    let mut later: Option<Instant> = None;
    let mut best: Option<usize> = None;
    let shown = slots.iter().enumerate().filter(|(_, slot)| slot.takes(offered));
    for (at, slot) in shown.filter(|(_, slot)| slot.rank > rank) {
        // A picture that stands still protects nothing, and a pin is the member's own will.
        let waits = rank >= Rank::Speaking(0) && slot.rank != Rank::Silent;
        match slot.since.map(|since| since + DWELL).filter(|until| waits && *until > now) {
            Some(until) => later = Some(later.map_or(until, |later| later.min(until))),
            None => {
                let lower =
                    |than: usize| (slot.rank, slots[than].since) >= (slots[than].rank, slot.since);
                if best.is_none_or(lower) {
                    best = Some(at);
                }
            }
        }
    }
    match (best, later) {
        (Some(at), _) => Place::At(at),
        (None, Some(at)) => Place::Later(at),
        (None, None) => Place::Nowhere,
    }
}

/// An empty slot for a track: the one that showed its member last; or one that showed nobody yet; or any.
pub(super) fn free(slots: &[Slot], offered: &Offered) -> Option<usize> {
    let open = slots.iter().enumerate().filter(|(_, s)| s.shown.is_none() && s.takes(offered));
    let liking = |slot: &Slot| match &slot.last {
        Some(last) if *last == offered.member => 0,
        None => 1,
        Some(_) => 2,
    };
    open.min_by_key(|(_, slot)| liking(slot)).map(|(at, _)| at)
}

fn rank_for(offered: &Offered, pinned: &[ParticipantId]) -> Rank {
    let place = pinned.iter().position(|member| *member == offered.member);
    place.map_or(offered.rank, Rank::Pinned)
}

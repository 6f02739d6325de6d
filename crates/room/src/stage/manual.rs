//! Video slots whose tracks the member chooses itself. A wish stays until the member changes it or its track goes away;
//! a track that is muted or paused keeps its slot, and nothing flows.

use std::time::Instant;

use model::{MediaKind, TrackId};

use super::floor::{Floor, Offered, Who};
use super::slot::{Slot, Wish};
use crate::{ErrorKind, RoomError, SlotState, SlotWish};

/// Checks a number of things that a member named.
pub(super) fn check_count(what: &str, count: usize) -> Result<(), RoomError> {
    if count <= sdp::MAX_SECTIONS {
        return Ok(());
    }
    let text = format!("{count} {what}; at most {} are allowed", sdp::MAX_SECTIONS);
    Err(RoomError::new(ErrorKind::Unsupported, text))
}

/// Applies wishes: all of them, or none after an error. Slots that are not named stay as they are, unless a named slot
/// gets their track.
///
/// # Errors
/// As [`super::Stage::subscribe`].
pub(super) fn apply(
    slots: &mut [Slot],
    wishes: &[SlotWish],
    floor: &Floor,
    who: Who<'_>,
    now: Instant,
) -> Result<(), RoomError> {
    check_count("wishes for slots", wishes.len())?;
    for (at, wish) in wishes.iter().enumerate() {
        check(slots, wish, floor, who)?;
        let twice = |text: String| Err(RoomError::new(ErrorKind::Unsupported, text));
        if wishes[..at].iter().any(|other| other.mid == wish.mid) {
            return twice(format!("slot {} is named twice; name it once", wish.mid));
        }
        if let Some(track) = wish.track
            && wishes[..at].iter().any(|other| other.track == wish.track)
        {
            return twice(format!("track {track} is named for two slots; one is allowed"));
        }
    }
    let taken: Vec<TrackId> = wishes.iter().filter_map(|wish| wish.track).collect();
    for slot in slots.iter_mut().filter(|slot| slot.kind == MediaKind::Video) {
        let wish = wishes.iter().find(|wish| wish.mid == slot.mid);
        match wish {
            Some(wish) => {
                let SlotWish { size, priority, paused, .. } = *wish;
                slot.wish = Wish { size, priority, paused };
                match wish.track.and_then(|track| floor.find(track)) {
                    Some(offered) if slot.shows(offered.id) => {}
                    Some(offered) => slot.show(now, offered),
                    None => slot.clear(),
                }
            }
            None if slot.track().is_some_and(|track| taken.contains(&track)) => slot.clear(),
            None => {}
        }
    }
    Ok(())
}

fn check(slots: &[Slot], wish: &SlotWish, floor: &Floor, who: Who<'_>) -> Result<(), RoomError> {
    let missing = |text: String| Err(RoomError::new(ErrorKind::NotFound, text));
    let is_video = |slot: &&Slot| slot.kind == MediaKind::Video;
    if !slots.iter().filter(is_video).any(|slot| slot.mid == wish.mid) {
        return missing(format!("the session has no video slot with mid {}", wish.mid));
    }
    let Some(track) = wish.track else { return Ok(()) };
    let may_be_shown = |o: &Offered| o.kind == MediaKind::Video && !o.is_of(who);
    match floor.find(track).is_some_and(may_be_shown) {
        true => Ok(()),
        false => missing(format!("no other member has a video track {track}")),
    }
}

/// Brings the states of the slots up to date. A slot whose track went away is empty from then on.
pub(super) fn fit(slots: &mut [Slot], floor: &Floor, who: Who<'_>) {
    for slot in slots.iter_mut().filter(|slot| slot.kind == MediaKind::Video) {
        let Some(track) = slot.track() else { continue };
        let Some(offered) = floor.find(track).filter(|offered| !offered.is_of(who)) else {
            slot.clear();
            continue;
        };
        slot.state = match slot.takes(offered) {
            _ if slot.wish.paused => SlotState::Paused,
            _ if offered.muted => SlotState::Muted,
            false => SlotState::NoCodec,
            true => SlotState::Flowing,
        };
    }
}

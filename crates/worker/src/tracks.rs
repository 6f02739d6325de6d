//! The tracks that one worker has to do with: those that its own sessions publish, and those that its sessions
//! subscribe to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use model::{MediaKind, SessionId, TrackId, UpMedia};
use router::{Packet, TrackMirror};

use crate::{WorkerId, sessions::Slot};

/// Layers of one track.
pub(crate) const LAYERS: usize = router::MAX_LAYERS;

/// A track's place in [`Tracks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TrackSlot(u32);

/// One down-track of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) session: Slot,
    pub(crate) down: usize,
}

/// Who publishes a track in this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A session of ours, and which of its up-tracks.
    Session(Slot, usize),
    /// A local source of ours, and which of its up-tracks.
    Source(usize, usize),
    /// A session of another worker, or of none yet.
    Elsewhere,
}

/// One track, as this worker sees it.
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) publisher: SessionId,
    pub(crate) kind: MediaKind,
    pub(crate) origin: Origin,
    pub(crate) mirror: TrackMirror,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Other workers with subscribers; only where the track originates.
    pub(crate) wanted_by: Vec<WorkerId>,
    /// Packets that have not gone to the subscribers yet.
    pub(crate) fresh: Vec<Arc<Packet>>,
    /// When they have to go at the latest.
    pub(crate) due: Option<Instant>,
    key_frame_asked: [Option<Instant>; LAYERS],
}

/// A key frame is asked for over a ring at most this often for each layer; the up-track has its own, longer, limit.
const KEY_FRAME_ASK_EVERY: Duration = Duration::from_millis(100);

impl Track {
    /// Whether to ask another worker for a key frame now.
    pub(crate) fn may_ask(&mut self, now: Instant, layer: u8) -> bool {
        let Some(asked) = self.key_frame_asked.get_mut(usize::from(layer)) else { return false };
        if asked.is_some_and(|at| now.saturating_duration_since(at) < KEY_FRAME_ASK_EVERY) {
            return false;
        }
        *asked = Some(now);
        true
    }
}

/// Tracks by place and by id.
#[derive(Default)]
pub(crate) struct Tracks {
    places: Vec<Option<Box<Track>>>,
    free: Vec<TrackSlot>,
    ids: HashMap<TrackId, TrackSlot>,
    /// Tracks with fresh packets.
    dirty: Vec<TrackSlot>,
}

impl Tracks {
    /// The track's place; made when it is new.
    pub(crate) fn open(&mut self, media: &UpMedia, publisher: SessionId) -> TrackSlot {
        let id = media.track;
        if let Some(&slot) = self.ids.get(&id) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            TrackSlot(self.places.len() as u32 - 1)
        });
        self.places[slot.0 as usize] = Some(Box::new(Track {
            id,
            publisher,
            kind: media.kind,
            origin: Origin::Elsewhere,
            mirror: TrackMirror::new(media),
            subscribers: Vec::new(),
            wanted_by: Vec::new(),
            fresh: Vec::new(),
            due: None,
            key_frame_asked: [None; LAYERS],
        }));
        self.ids.insert(id, slot);
        slot
    }

    /// Forgets the track if nobody publishes it here and nobody here subscribes to it.
    pub(crate) fn release(&mut self, slot: TrackSlot) {
        let Some(place) = self.places.get_mut(slot.0 as usize) else { return };
        if place.as_ref().is_some_and(|t| t.subscribers.is_empty() && t.origin == Origin::Elsewhere)
        {
            if let Some(track) = place.take() {
                self.ids.remove(&track.id);
            }
            self.dirty.retain(|d| *d != slot);
            self.free.push(slot);
        }
    }

    #[inline]
    pub(crate) fn at(&mut self, slot: TrackSlot) -> Option<&mut Track> {
        self.places.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    #[inline]
    pub(crate) fn by_id(&self, id: TrackId) -> Option<TrackSlot> {
        self.ids.get(&id).copied()
    }

    /// Places of all tracks of a publisher.
    pub(crate) fn of(&self, publisher: SessionId) -> Vec<TrackSlot> {
        let tracks = self.places.iter().flatten().filter(|t| t.publisher == publisher);
        tracks.filter_map(|t| self.by_id(t.id)).collect()
    }

    /// Tracks of a publisher that have subscribers here.
    pub(crate) fn wanted_of(&self, publisher: SessionId) -> Vec<TrackId> {
        let tracks = self.places.iter().flatten();
        tracks
            .filter(|t| t.publisher == publisher && !t.subscribers.is_empty())
            .map(|t| t.id)
            .collect()
    }

    /// Notes that a track has fresh packets that must go by `due`.
    #[inline]
    pub(crate) fn mark(&mut self, slot: TrackSlot, due: Instant) {
        let Some(track) = self.at(slot) else { return };
        match track.due {
            Some(at) if at <= due => {}
            Some(_) => track.due = Some(due),
            None => {
                track.due = Some(due);
                self.dirty.push(slot);
            }
        }
    }

    /// Takes a track whose time has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<TrackSlot> {
        let at = self.dirty.iter().position(|slot| {
            self.places[slot.0 as usize].as_ref().is_none_or(|t| t.due.is_none_or(|due| due <= now))
        })?;
        Some(self.dirty.swap_remove(at))
    }

    /// The earliest time at which a track is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.dirty.iter().filter_map(|s| self.places[s.0 as usize].as_ref()?.due).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

//! The tracks that one worker knows: those whose packets enter here, and those that its sessions subscribe to. A track
//! has one origin and any number of sinks: down-tracks of this worker, and other workers.

use std::{collections::VecDeque, sync::Arc, time::Duration, time::Instant};

use hashbrown::HashMap;
use model::{MediaKind, SessionId, TrackId, UpMedia};
use router::{LEAD_MAX, LayerWatch, Packet, TrackMirror};
use slab::Slab;

use crate::{WorkerId, asks::Asked, directory::Entry, sessions::SessionRef};

/// How long after a track's last packet its cache is searched for packets that are too old.
const EXPIRE_AFTER: Duration = Duration::from_secs(1);

/// A track's place in [`Tracks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrackRef(u32);

/// One down-track of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) session: SessionRef,
    pub(crate) down: u16,
}

/// Another worker with subscribers of a track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerSink {
    pub(crate) worker: WorkerId,
    /// The layers that it wants, one bit each.
    pub(crate) layers: u8,
}

/// Where the packets of a track enter.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// In a session of this worker, with the position of the up-track.
    Session(SessionRef, usize),
    /// In a local source of this worker.
    Source(usize),
    /// Not in this worker: the session is another worker's, has no owner yet, or has ended.
    Elsewhere(Arc<Entry>),
}

/// When the waiting packets of a track have to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    At(Instant),
    Now,
}

/// One track, as this worker knows it.
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) publisher: SessionId,
    pub(crate) kind: MediaKind,
    pub(crate) origin: Origin,
    pub(crate) mirror: TrackMirror,
    pub(crate) asked: Asked,
    /// Observes which layers carry packets. Used only where the track enters.
    watch: LayerWatch,
    /// The sinks in this worker. The place of a removed sink stays vacant while runs go through the sinks, because
    /// runs name sinks by place.
    downs: Vec<Option<Subscriber>>,
    live: usize,
    /// The layers that the sinks in this worker want.
    layers: u8,
    /// Other workers with subscribers. Used only where the track enters.
    workers: Vec<WorkerSink>,
    /// The number of runs on their way through the sinks.
    pub(crate) runs: u32,
    /// The place of the sink that the next run begins with.
    rotation: usize,
    /// Packets that are in no run yet.
    fresh: Vec<Arc<Packet>>,
    due: Due,
    /// The track has an entry in [`Tracks::expiries`].
    expires: bool,
}

impl Track {
    /// Whether a sink in this worker wants packets of a layer.
    #[inline]
    pub(crate) fn wants(&self, layer: u8) -> bool {
        self.live > 0 && self.layers & (1u8.checked_shl(layer.into()).unwrap_or(0)) != 0
    }

    /// The layers that the sinks in this worker want, one bit each.
    pub(crate) fn wanted(&self) -> u8 {
        self.layers
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        self.live > 0
    }

    /// Sets the layers that the sinks in this worker want. `true` when they changed.
    pub(crate) fn set_wanted(&mut self, layers: u8) -> bool {
        let changed = std::mem::replace(&mut self.layers, layers) != layers;
        if changed {
            self.keep_wanted();
        }
        changed
    }

    /// Sets the layers that another worker wants. `true` when that worker is a new sink.
    pub(crate) fn set_worker_sink(&mut self, worker: WorkerId, layers: u8) -> bool {
        let known = self.workers.iter_mut().find(|sink| sink.worker == worker);
        let is_new = known.is_none();
        match known {
            Some(sink) => sink.layers = layers,
            None => self.workers.push(WorkerSink { worker, layers }),
        }
        self.workers.retain(|sink| sink.layers != 0);
        self.keep_wanted();
        is_new
    }

    /// Tells the mirror which layers are wanted by any sink: it keeps only their packets for retransmission.
    fn keep_wanted(&mut self) {
        let wanted = self.workers.iter().fold(self.layers, |all, sink| all | sink.layers);
        self.mirror.want(wanted);
    }

    pub(crate) fn workers(&self) -> &[WorkerSink] {
        &self.workers
    }

    /// Observes a packet that entered here. `true` when the ranking of the layers changed.
    #[inline]
    pub(crate) fn observe(&mut self, packet: &Packet) -> bool {
        let changed = self.watch.observe(&packet.meta);
        if changed {
            self.mirror.rank(self.watch.ranking());
        }
        changed
    }

    pub(crate) fn subscribe(&mut self, subscriber: Subscriber) {
        self.downs.push(Some(subscriber));
        self.live += 1;
    }

    pub(crate) fn unsubscribe(&mut self, subscriber: Subscriber) {
        let place = self.downs.iter_mut().find(|place| **place == Some(subscriber));
        if place.and_then(Option::take).is_some() {
            self.live -= 1;
        }
        if self.live == 0 {
            self.fresh.clear();
            self.set_wanted(0);
        }
    }

    /// The places of the sinks in this worker, including vacant ones.
    #[inline]
    pub(crate) fn places(&self) -> &[Option<Subscriber>] {
        &self.downs
    }

    /// The place at which a run through this number of places begins. It moves on with each run.
    pub(crate) fn next_first(&mut self, places: usize) -> usize {
        let first = self.rotation % places.max(1);
        self.rotation = first + 1;
        first
    }

    /// Sets the place at which the next run begins: the sink that the last run did not reach.
    pub(crate) fn next_begins_with(&mut self, place: usize) {
        self.rotation = place;
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = Subscriber> + '_ {
        self.downs.iter().flatten().copied()
    }

    /// The publisher or the track has ended: packets no longer enter here.
    fn lose_origin(&mut self, entry: &Arc<Entry>) {
        self.origin = Origin::Elsewhere(entry.clone());
        self.workers.clear();
        self.keep_wanted();
    }
}

/// Tracks by place, by id and by publisher.
#[derive(Default)]
pub(crate) struct Tracks {
    places: Slab<Box<Track>>,
    ids: HashMap<TrackId, TrackRef>,
    publishers: HashMap<SessionId, Vec<TrackRef>>,
    /// Tracks with packets that are due now.
    ready: VecDeque<TrackRef>,
    /// Tracks with packets that may wait for more, the earliest deadline in front. An entry is stale when the track's
    /// packets have left already.
    waiting: VecDeque<(Instant, TrackRef)>,
    /// When the caches of tracks have to be searched for old packets, the earliest time in front.
    expiries: VecDeque<(Instant, TrackRef)>,
}

impl Tracks {
    /// The place of a track. A new track is made with its origin elsewhere.
    pub(crate) fn open(&mut self, media: &UpMedia, publisher: &Arc<Entry>) -> TrackRef {
        let id = media.track;
        if let Some(&at) = self.ids.get(&id) {
            return at;
        }
        let mut mirror = TrackMirror::new(media);
        mirror.want(0);
        let track = Box::new(Track {
            id,
            publisher: publisher.id,
            kind: media.kind,
            origin: Origin::Elsewhere(publisher.clone()),
            mirror,
            asked: Asked::default(),
            watch: LayerWatch::new(media),
            downs: Vec::new(),
            live: 0,
            layers: 0,
            workers: Vec::new(),
            runs: 0,
            rotation: 0,
            fresh: Vec::new(),
            due: Due::No,
            expires: false,
        });
        let at = TrackRef(self.places.insert(track) as u32);
        self.ids.insert(id, at);
        self.publishers.entry(publisher.id).or_default().push(at);
        at
    }

    /// Forgets the track if it does not enter here, has no subscriber here and no run on its way.
    pub(crate) fn release(&mut self, at: TrackRef) {
        let unused =
            |t: &Track| t.live == 0 && t.runs == 0 && matches!(t.origin, Origin::Elsewhere(_));
        if !self.at(at).is_some_and(|track| unused(track)) {
            return;
        }
        let Some(track) = self.places.try_remove(at.0 as usize) else { return };
        self.ids.remove(&track.id);
        if let Some(tracks) = self.publishers.get_mut(&track.publisher) {
            tracks.retain(|t| *t != at);
            if tracks.is_empty() {
                self.publishers.remove(&track.publisher);
            }
        }
    }

    /// The track no longer enters here.
    pub(crate) fn lose_origin(&mut self, at: TrackRef, publisher: &Arc<Entry>) {
        if let Some(track) = self.at(at) {
            track.lose_origin(publisher);
        }
        self.release(at);
    }

    #[inline]
    pub(crate) fn at(&mut self, at: TrackRef) -> Option<&mut Track> {
        self.places.get_mut(at.0 as usize).map(Box::as_mut)
    }

    #[inline]
    pub(crate) fn by_id(&self, id: TrackId) -> Option<TrackRef> {
        self.ids.get(&id).copied()
    }

    /// The places of all tracks of a publisher.
    pub(crate) fn of(&self, publisher: SessionId) -> Vec<TrackRef> {
        self.publishers.get(&publisher).cloned().unwrap_or_default()
    }

    /// Keeps a packet for the next run, which has to leave by `due`; with `None`, now. Returns whether the run is
    /// full.
    #[inline]
    pub(crate) fn push(
        &mut self,
        at: TrackRef,
        packet: Arc<Packet>,
        due: Option<Instant>,
        most: usize,
    ) -> bool {
        let Some(track) = self.places.get_mut(at.0 as usize) else { return false };
        track.fresh.push(packet);
        match (track.due, due) {
            (Due::No, Some(due)) => {
                track.due = Due::At(due);
                self.waiting.push_back((due, at));
            }
            (Due::No | Due::At(_), None) => {
                track.due = Due::Now;
                self.ready.push_back(at);
            }
            _ => {}
        }
        track.fresh.len() >= most
    }

    /// Takes a track whose packets are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<TrackRef> {
        while let Some(at) = self.ready.pop_front() {
            if self.at(at).is_some_and(|t| t.due == Due::Now) {
                return Some(at);
            }
        }
        while let Some(&(due, at)) = self.waiting.front() {
            let is_stale = self.at(at).is_none_or(|t| t.due != Due::At(due));
            if !is_stale && due > now {
                return None;
            }
            self.waiting.pop_front();
            if !is_stale {
                return Some(at);
            }
        }
        None
    }

    /// Swaps the waiting packets of a track with an empty list.
    pub(crate) fn take_fresh(&mut self, at: TrackRef, empty: &mut Vec<Arc<Packet>>) {
        let Some(track) = self.at(at) else { return };
        track.due = Due::No;
        if track.runs == 0 && track.live < track.downs.len() {
            track.downs.retain(Option::is_some);
        }
        std::mem::swap(&mut track.fresh, empty);
    }

    /// If a key frame begins in this run and the packets that lead to it (parameter sets) left in an earlier run, puts
    /// those in front: a receiver that begins with this key frame needs them. Receivers that have them refuse them as
    /// duplicates.
    pub(crate) fn add_lead(&mut self, at: TrackRef, packets: &mut Vec<Arc<Packet>>) {
        let Some(track) = self.at(at) else { return };
        let mut lead = [const { None }; LEAD_MAX];
        let places = lead.iter_mut().zip(track.mirror.lead_in(packets));
        places.for_each(|(place, packet)| *place = Some(Arc::clone(packet)));
        let count = lead.iter().flatten().count();
        packets.extend(lead.into_iter().flatten());
        packets.rotate_right(count);
    }

    /// The earliest time at which packets are due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        // A stale entry in front costs at most a needless wake-up.
        self.waiting.front().map(|(due, _)| *due)
    }

    /// Schedules a search of the track's cache for old packets.
    #[inline]
    pub(crate) fn expire_later(&mut self, now: Instant, at: TrackRef) {
        if let Some(track) = self.at(at)
            && !std::mem::replace(&mut track.expires, true)
        {
            self.expiries.push_back((now + EXPIRE_AFTER, at));
        }
    }

    /// Drops packets that are too old from the caches of tracks where no new packet pushes them out.
    pub(crate) fn expire(&mut self, now: Instant) {
        // Looks only at the entries that are there now: a track that still has packets is entered again.
        for _ in 0..self.expiries.len() {
            let Some(&(due, at)) = self.expiries.front() else { break };
            if due > now {
                break;
            }
            self.expiries.pop_front();
            let Some(track) = self.at(at) else { continue };
            track.expires = track.mirror.expire(now);
            if track.expires {
                self.expiries.push_back((now + EXPIRE_AFTER, at));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

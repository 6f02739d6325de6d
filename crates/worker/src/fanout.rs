//! Step 4: to every worker that has subscribers of the track, this one among them.

use std::{sync::Arc, time::Instant};

use model::{MediaKind, SessionId, TrackId};
use router::{CatchUpLimits, Packet};

use crate::{
    WorkerId,
    core::Worker,
    mesh::{Media, Word},
    tracks::{Origin, TrackSlot},
};

impl Worker {
    /// Passes a packet of a track of ours to all workers with subscribers: they get a reference, not a copy.
    #[inline]
    pub(crate) fn fan_out(&mut self, now: Instant, slot: TrackSlot, packet: Arc<Packet>) {
        let Some(track) = self.tracks.at(slot) else { return };
        let id = track.id;
        for &worker in &track.wanted_by {
            self.counters.relayed.add(1);
            let media = Media { track: id, packet: Arc::clone(&packet) };
            if !self.mesh.send_media(worker, media) {
                self.counters.relays_refused.add(1);
            }
        }
        self.queue(now, slot, packet);
    }

    /// Keeps a packet for retransmission, and queues it for the subscribers in this worker.
    #[inline]
    pub(crate) fn queue(&mut self, now: Instant, slot: TrackSlot, packet: Arc<Packet>) {
        let Some(track) = self.tracks.at(slot) else { return };
        track.mirror.receive(Arc::clone(&packet));
        if track.subscribers.is_empty() {
            return;
        }
        // The last packet of a picture completes its train; sound is a train of its own.
        let complete = packet.meta.marker || track.kind == MediaKind::Audio;
        let due = if complete { now } else { now + self.config.train_window };
        track.fresh.push(packet);
        self.tracks.mark(slot, due);
    }

    /// Another worker has subscribers of a track of ours now, or none any more.
    pub(crate) fn wanted(&mut self, now: Instant, track: TrackId, by: WorkerId, on: bool) {
        let Worker { tracks, mesh, counters, .. } = self;
        let Some(track) = tracks.by_id(track).and_then(|slot| tracks.at(slot)) else { return };
        track.wanted_by.retain(|&w| w != by);
        if on && track.origin != Origin::Elsewhere {
            track.wanted_by.push(by);
            // The next ones may be five seconds away, and without them lips and voice are tied to different clocks.
            for (layer, epoch, info) in track.mirror.sender_reports() {
                mesh.tell(by, Word::Report { track: track.id, layer, epoch, info });
            }
            // What its subscribers can begin with: the publisher may not be asked for another key frame yet.
            let backlog = track.mirror.backlog(now, CatchUpLimits::default());
            let backlog = backlog.map(|p| Media { track: track.id, packet: Arc::clone(p) });
            counters.relayed.add(mesh.send_backlog(by, backlog) as u64);
        }
    }

    /// Asks for a key frame of a layer, wherever the track originates.
    pub(crate) fn request_key_frame(&mut self, now: Instant, slot: TrackSlot, layer: u8) {
        let Some(track) = self.tracks.at(slot) else { return };
        let id = track.id;
        match track.origin {
            Origin::Session(session, up) => {
                let Some(publisher) = self.sessions.at(session) else { return };
                let Some(up) = publisher.ups.get_mut(up) else { return };
                up.up.request_keyframe(now, layer);
                self.send_feedback(now, session);
                self.arm(now, session);
            }
            Origin::Source(source, _) => {
                if track.may_ask(now, layer)
                    && let Some(source) = self.sources.get_mut(source)
                {
                    source.ask_key_frame(id);
                }
            }
            Origin::Elsewhere => {
                let publisher = track.publisher;
                if !track.may_ask(now, layer) {
                    return;
                }
                let home = self.registry.entry(publisher).and_then(|e| e.home.owner());
                if let Some(owner) = home
                    && owner != self.id
                {
                    self.mesh.tell(owner, Word::KeyFrame { track: id, layer });
                }
            }
        }
    }

    /// The publisher is gone: its tracks flow no more.
    pub(crate) fn forget_publisher(&mut self, publisher: SessionId) {
        for slot in self.tracks.of(publisher) {
            if let Some(track) = self.tracks.at(slot) {
                track.origin = Origin::Elsewhere;
                track.wanted_by.clear();
            }
            self.tracks.release(slot);
        }
    }
}

//! Step 4: a packet goes to every sink of its track; to sinks in other workers by reference.

use std::{sync::Arc, time::Instant};

use model::{MediaKind, TrackId};
use router::{Packet, SenderInfo, StreamId};

use crate::{
    WorkerId,
    core::Worker,
    exit::run::FRESH_MAX,
    mail::{Media, Message},
    tracks::TrackRef,
};

impl Worker {
    /// Passes a packet of a track that enters here to all sinks. Other workers get a reference, not a copy, and only
    /// for layers that they want.
    #[inline]
    pub(crate) fn fan_out(&mut self, now: Instant, at: TrackRef, packet: Arc<Packet>) {
        if self.tracks.at(at).is_some_and(|track| track.observe(&packet)) {
            self.ranking_changed(now, at);
        }
        let Worker { tracks, mail, counters, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let id = track.id;
        let flag = 1u8.checked_shl(packet.meta.layer().into()).unwrap_or(0);
        for sink in track.workers().iter().filter(|sink| sink.layers & flag != 0) {
            counters.relayed.add(1);
            let media = Media { track: id, packet: Arc::clone(&packet) };
            if !mail.send_media(sink.worker, media) {
                counters.relays_refused.add(1);
            }
        }
        self.queue(now, at, packet);
    }

    /// Passes one packet to another worker.
    pub(crate) fn pass_on(&mut self, to: WorkerId, track: TrackId, packet: Arc<Packet>) {
        self.counters.relayed.add(1);
        if !self.mail.send_media(to, Media { track, packet }) {
            self.counters.relays_refused.add(1);
        }
    }

    /// Keeps a packet for retransmission, and queues it for the subscribers in this worker.
    #[inline]
    pub(crate) fn queue(&mut self, now: Instant, at: TrackRef, packet: Arc<Packet>) {
        let Some(track) = self.tracks.at(at) else { return };
        track.mirror.receive(Arc::clone(&packet));
        let wanted = track.wants(packet.meta.layer());
        // The last packet of a picture completes its train; each sound packet is a train of its own.
        let complete = packet.meta.marker || track.kind == MediaKind::Audio;
        self.tracks.expire_later(now, at);
        if !wanted {
            return;
        }
        let due = if complete { None } else { Some(now + self.config.train_window) };
        if self.tracks.push(at, packet, due, FRESH_MAX) {
            self.rounds.begin(now, &mut self.tracks, at);
        }
    }

    /// Tells all sinks that the ranking of a track's layers changed: a layer started or stopped, or the order changed.
    fn ranking_changed(&mut self, now: Instant, at: TrackRef) {
        let Worker { tracks, mail, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let (id, ranking) = (track.id, track.mirror.ranking());
        for sink in track.workers() {
            mail.tell(sink.worker, Message::Ranking { track: id, ranking });
        }
        self.look_at_wanted_layers(now, at);
    }

    /// Reads from all subscribers in this worker which layers they want now.
    pub(crate) fn look_at_wanted_layers(&mut self, now: Instant, at: TrackRef) {
        let Worker { tracks, sessions, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let mut layers = 0;
        for subscriber in track.subscribers() {
            let session = sessions.at(subscriber.session);
            let down = session.and_then(|s| s.downs.get_mut(usize::from(subscriber.down)));
            layers |= down.map_or(0, |d| d.down.wanted_layers(&track.mirror));
        }
        track.set_wanted(layers);
        self.tell_wanted_layers(now, at);
    }

    /// Gives a sender report (which NTP time belongs to which RTP timestamp) to a track that enters here, and to all
    /// its sinks.
    pub(crate) fn tell_sender_report(&mut self, at: TrackRef, stream: StreamId, info: SenderInfo) {
        let Worker { tracks, mail, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let id = track.id;
        track.mirror.sender_report(stream, info);
        for sink in track.workers() {
            mail.tell(sink.worker, Message::Report { track: id, stream, info });
        }
    }
}

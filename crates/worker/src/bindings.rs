//! Which track flows through which slot of a session.

use std::time::Instant;

use model::{Binding, Mid, SessionId};
use ring::Owner;

use crate::{
    core::Worker,
    sessions::SessionRef,
    tracks::{Origin, Subscriber, TrackRef},
};

impl Worker {
    /// Lets a track flow through a slot of a session, or nothing.
    pub(crate) fn bind(
        &mut self,
        now: Instant,
        at: SessionRef,
        mid: Mid,
        binding: Option<Binding>,
    ) {
        let Some(session) = self.sessions.at(at) else { return };
        let connected = session.crypto.is_some();
        let Some(down) = session.downs.iter().position(|d| d.mid == Some(mid)) else { return };
        let before = session.downs[down].track;
        let subscriber = Subscriber { session: at, down: down as u16 };
        let flows = before.and_then(|t| self.tracks.at(t)).map(|t| t.id);
        let stays = flows.is_some() && flows == binding.as_ref().map(|b| b.track);
        let track = if stays {
            // Bound again, with other payload types perhaps: the mirror stays, with what has not gone out yet and what may
            // be asked for again.
            before
        } else {
            if let Some(before) = before {
                self.unsubscribe(now, before, subscriber);
            }
            binding.as_ref().and_then(|b| self.find_track(b))
        };
        let Some(session) = self.sessions.at(at) else { return };
        session.downs[down].track = track;
        session.downs[down].down.bind(binding.filter(|_| track.is_some()));
        // Not by the place: the track that left may have made room for this one.
        if let Some(track) = track.filter(|_| !stays) {
            self.subscribe(now, track, subscriber);
        }
        if connected && track.is_some() {
            self.catch_up(now, at, subscriber.down);
        }
    }

    /// The place of the track that a binding names; `None` when its publisher does not have it, or is gone.
    fn find_track(&mut self, binding: &Binding) -> Option<TrackRef> {
        let entry = self.directory.by_id(binding.publisher)?;
        let orders = entry.orders();
        let media = orders.plan.up.iter().find(|m| m.track == binding.track)?;
        Some(self.tracks.open(media, &entry))
    }

    /// Makes a slot a sink of a track.
    fn subscribe(&mut self, now: Instant, at: TrackRef, subscriber: Subscriber) {
        let Worker { tracks, sessions, id, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let session = sessions.at(subscriber.session);
        let Some(down) = session.and_then(|s| s.downs.get_mut(usize::from(subscriber.down))) else {
            return;
        };
        track.subscribe(subscriber);
        let layers = track.wanted() | down.down.wanted_layers(&track.mirror);
        track.set_wanted(layers);
        if let Origin::Elsewhere(entry) = &track.origin
            && let Owner::Nobody = entry.claim.wait(id.0)
        {
            // Nobody has it yet: whoever will says so.
            return;
        }
        self.tell_wanted_layers(now, at);
    }

    /// A slot is a sink of a track no more.
    pub(crate) fn unsubscribe(&mut self, now: Instant, at: TrackRef, subscriber: Subscriber) {
        let Some(track) = self.tracks.at(at) else { return };
        track.unsubscribe(subscriber);
        if !track.has_subscribers() {
            self.tell_wanted_layers(now, at);
            self.tracks.release(at);
        }
    }

    /// The publisher of tracks that are subscribed to here settled in another worker.
    pub(crate) fn publisher_settled(&mut self, now: Instant, publisher: SessionId) {
        for at in self.tracks.of(publisher) {
            if let Some(track) = self.tracks.at(at) {
                track.asked.forget_layers();
            }
            self.tell_wanted_layers(now, at);
        }
    }
}

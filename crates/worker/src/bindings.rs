//! Binds tracks to the slots of a session.

use std::time::Instant;

use model::{Binding, Mid, SessionId};
use ring::Owner;

use crate::{
    core::Worker,
    sessions::SessionRef,
    tracks::{Origin, Subscriber, TrackRef},
};

impl Worker {
    /// Binds a track to a slot of a session, or none.
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
            // The same track is bound again, perhaps with other payload types: the mirror stays, with packets that
            // have not been sent yet and packets that may be requested again.
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
        // `stays` decides, not a comparison of places: the old track may have been released and its place given to the
        // new one.
        if let Some(track) = track.filter(|_| !stays) {
            self.subscribe(now, track, subscriber);
        }
        if connected && track.is_some() {
            self.catch_up(now, at, subscriber.down);
        }
    }

    /// The place of the track that a binding names; `None` when its publisher has ended or does not have the track.
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
            // The publisher has no owner yet. The worker that becomes the owner will tell.
            return;
        }
        self.tell_wanted_layers(now, at);
    }

    /// Removes a slot from the sinks of a track.
    pub(crate) fn unsubscribe(&mut self, now: Instant, at: TrackRef, subscriber: Subscriber) {
        let Some(track) = self.tracks.at(at) else { return };
        track.unsubscribe(subscriber);
        if !track.has_subscribers() {
            self.tell_wanted_layers(now, at);
            self.tracks.release(at);
        }
    }

    /// Another worker has become the owner of a publisher whose tracks have subscribers here.
    pub(crate) fn publisher_settled(&mut self, now: Instant, publisher: SessionId) {
        for at in self.tracks.of(publisher) {
            if let Some(track) = self.tracks.at(at) {
                track.asked.forget_layers();
            }
            self.tell_wanted_layers(now, at);
        }
    }
}

//! The requests of a sink to the origin of its track, in any worker: a key frame of a layer, the wanted layers, a
//! missing packet. Down-tracks of this worker ask through [`Worker::ask`]; those of other workers send messages that
//! end in [`Worker::take_ask`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{MediaKind, SessionId, TrackId};
use router::{CatchUpLimits, StreamId};
use rtp::sequence::ExtSeq;

use crate::{
    WorkerId,
    core::Worker,
    mail::{Media, Message},
    tracks::{Origin, TrackRef},
};

/// An origin in another worker is asked for a key frame at most this often for each layer. The up-track there asks the
/// publisher at most once a second.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(100);
/// A missing packet is requested at most this often, however many subscribers miss it.
const MISSING_EVERY: Duration = Duration::from_millis(50);
/// Missing packets that are remembered as requested.
const MISSING_REMEMBERED: usize = 64;

/// A request to the origin of a track. Sets of layers have one bit per layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A subscriber waits for a key frame of this layer.
    KeyFrame(u8),
    /// Only packets of these layers are wanted; 0: none, because there is no subscriber any more.
    Layers(u8),
    /// A packet that did not arrive in this worker. The origin may have it.
    Missing(StreamId, ExtSeq),
}

/// The requests that were made for one track, so that they are not repeated too often.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    key_frames: [Option<Instant>; router::MAX_LAYERS],
    /// The layers that an origin in another worker was asked for last.
    layers: u8,
    missing: Vec<(StreamId, ExtSeq, Instant)>,
}

impl Asked {
    /// Whether a request may be made now; records it as made.
    fn may_ask(&mut self, now: Instant, ask: Ask) -> bool {
        let recent = |at: Instant, every| now.saturating_duration_since(at) < every;
        match ask {
            Ask::KeyFrame(layer) => match self.key_frames.get_mut(usize::from(layer)) {
                Some(at) if !at.is_some_and(|at| recent(at, KEY_FRAME_EVERY)) => {
                    *at = Some(now);
                    true
                }
                _ => false,
            },
            Ask::Layers(layers) => std::mem::replace(&mut self.layers, layers) != layers,
            Ask::Missing(stream, seq) => {
                self.missing.retain(|(.., at)| recent(*at, MISSING_EVERY));
                let known = self.missing.iter().any(|(st, s, _)| (*st, *s) == (stream, seq));
                if known || self.missing.len() == MISSING_REMEMBERED {
                    return false;
                }
                self.missing.push((stream, seq, now));
                true
            }
        }
    }

    /// Forgets the requested layers, because the origin is new and has got no request yet.
    pub(crate) fn forget_layers(&mut self) {
        self.layers = 0;
    }
}

impl Worker {
    /// Makes a request of a sink in this worker to the origin of a track.
    pub(crate) fn ask(&mut self, now: Instant, at: TrackRef, ask: Ask) {
        let Some(track) = self.tracks.at(at) else { return };
        let id = track.id;
        match (&track.origin, ask) {
            (Origin::Session(session, up), Ask::KeyFrame(layer)) => {
                let (session, up) = (*session, *up);
                let Some(publisher) = self.sessions.at(session) else { return };
                let Some(up) = publisher.ups.get_mut(up) else { return };
                up.up.request_keyframe(now, layer);
                self.send_feedback(now, session);
                self.arm(now, session);
            }
            (Origin::Source(source), Ask::KeyFrame(_)) => {
                let source = *source;
                if track.asked.may_ask(now, ask)
                    && let Some(source) = self.sources.get_mut(source)
                {
                    source.ask_key_frame(id);
                }
            }
            // The track itself knows which layers this worker's sinks want, and the up-track requests packets that the
            // publisher lost.
            (Origin::Session(..) | Origin::Source(..), _) => {}
            (Origin::Elsewhere(entry), _) => {
                // Without an owner the request is dropped: the owner will tell when it settles (`Message::Settled`),
                // and is asked then.
                let Some(owner) = entry.owner().filter(|owner| *owner != self.id) else { return };
                let publisher = track.publisher;
                if track.asked.may_ask(now, ask) {
                    self.mail.tell(owner, Message::Ask { publisher, track: id, ask });
                }
            }
        }
    }

    /// Takes the request of another worker that has subscribers of a track of this worker.
    pub(crate) fn take_ask(
        &mut self,
        now: Instant,
        from: WorkerId,
        publisher: SessionId,
        track: TrackId,
        ask: Ask,
    ) {
        if self.tracks.by_id(track).is_none() {
            // The other worker knows the newest plan of the publisher; this worker may not have carried it out yet.
            self.look_at_orders(now, publisher);
        }
        let Some(at) = self.tracks.by_id(track) else { return };
        let Some(track) = self.tracks.at(at) else { return };
        if matches!(track.origin, Origin::Elsewhere(_)) {
            return;
        }
        match ask {
            Ask::KeyFrame(_) => self.ask(now, at, ask),
            Ask::Layers(layers) => self.wanted_by(now, at, from, layers),
            Ask::Missing(stream, seq) => {
                let Some(packet) = track.mirror.find(stream, seq).cloned() else { return };
                let id = track.id;
                self.pass_on(from, id, packet);
            }
        }
    }

    /// Sets the layers that another worker wants of a track of this worker.
    fn wanted_by(&mut self, now: Instant, at: TrackRef, by: WorkerId, layers: u8) {
        let Worker { tracks, mail, counters, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let is_new = track.set_worker_sink(by, layers);
        if !is_new || layers == 0 {
            return;
        }
        let id = track.id;
        mail.tell(by, Message::Ranking { track: id, ranking: track.mirror.ranking() });
        // The publisher's next sender reports may come in five seconds. Until then sound and pictures could be
        // synchronized only by times of arrival, which are less exact: lips and voice would be apart.
        for (stream, info) in track.mirror.sender_reports() {
            mail.tell(by, Message::Report { track: id, stream, info });
        }
        // The packets since the last key frame let the subscribers there begin at once: the publisher is asked for
        // another key frame at most once a second.
        let backlog = track.mirror.backlog(now, CatchUpLimits::default());
        let backlog = backlog.map(|p| Media { track: id, packet: Arc::clone(p) });
        let given = mail.send_backlog(by, backlog);
        counters.relayed.add(given as u64);
        // Without them the subscribers there wait for a key frame, and would ask only after their next packet.
        if given == 0
            && track.kind == MediaKind::Video
            && let Some(best) = track.mirror.ranking().best(None)
        {
            self.ask(now, at, Ask::KeyFrame(best));
        }
    }

    /// Tells the origin of a track which layers its sinks in this worker want, if that changed.
    pub(crate) fn tell_wanted_layers(&mut self, now: Instant, at: TrackRef) {
        let Some(track) = self.tracks.at(at) else { return };
        let layers = match (track.has_subscribers(), track.wanted()) {
            (false, _) => 0,
            // The ranking of the layers is not known yet: ask for all.
            (true, 0) => u8::MAX,
            (true, layers) => layers,
        };
        self.ask(now, at, Ask::Layers(layers));
    }
}

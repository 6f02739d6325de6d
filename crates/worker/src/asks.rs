//! What a sink may ask of an origin, wherever the origin is: a key frame of a layer, which layers are wanted, which packet
//! is missing. Down-tracks of this worker ask through [`Worker::ask`], other workers' through messages that end in
//! [`Worker::take_ask`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{SessionId, TrackId};
use router::{CatchUpLimits, StreamId};
use rtp::sequence::ExtSeq;

use crate::{
    WorkerId,
    core::Worker,
    mail::{Media, Message},
    tracks::{Origin, TrackRef},
};

/// An origin in another worker is asked for a key frame at most this often for each layer. The up-track there asks the publisher
/// once a second at most.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(100);
/// A missing packet is asked for at most this often, however many subscribers miss it.
const MISSING_EVERY: Duration = Duration::from_millis(50);
/// Missing packets that are remembered as asked for.
const MISSING_REMEMBERED: usize = 64;

/// See the head of the file. Layers are sets of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A subscriber waits for a key frame of this layer.
    KeyFrame(u8),
    /// Packets of these layers are wanted, of others not; 0: of none, since there is no subscriber any more.
    Layers(u8),
    /// A packet that did not come here. The origin may have it.
    Missing(StreamId, ExtSeq),
}

/// What was asked for, so that it is not asked for too often. All of it is about one track.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    key_frames: [Option<Instant>; router::MAX_LAYERS],
    /// The layers that another origin was asked for last.
    layers: u8,
    missing: Vec<(StreamId, ExtSeq, Instant)>,
}

impl Asked {
    /// Whether to ask now. Notes that it was done.
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

    /// The origin is another one now, or begins now: it was asked for nothing yet.
    pub(crate) fn forget_layers(&mut self) {
        self.layers = 0;
    }
}

impl Worker {
    /// A sink of this worker asks the origin of a track.
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
            // What this worker's sinks want is known to the track, and what its peer lost is asked for by the up-track.
            (Origin::Session(..) | Origin::Source(..), _) => {}
            (Origin::Elsewhere(entry), _) => {
                // Without an owner nobody can be asked: the owner will tell when it settles (`Message::Settled`), and then is asked.
                let Some(owner) = entry.owner().filter(|owner| *owner != self.id) else { return };
                let publisher = track.publisher;
                if track.asked.may_ask(now, ask) {
                    self.mail.tell(owner, Message::Ask { publisher, track: id, ask });
                }
            }
        }
    }

    /// A worker with subscribers of a track of ours asks.
    pub(crate) fn take_ask(
        &mut self,
        now: Instant,
        from: WorkerId,
        publisher: SessionId,
        track: TrackId,
        ask: Ask,
    ) {
        if self.tracks.by_id(track).is_none() {
            // It knows the newest plan of the publisher, and this worker may not have taken it in yet.
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

    /// Another worker wants these layers of a track of ours.
    fn wanted_by(&mut self, now: Instant, at: TrackRef, by: WorkerId, layers: u8) {
        let Worker { tracks, mail, counters, .. } = self;
        let Some(track) = tracks.at(at) else { return };
        let is_new = track.set_worker_sink(by, layers);
        if !is_new || layers == 0 {
            return;
        }
        let id = track.id;
        mail.tell(by, Message::Ranking { track: id, ranking: track.mirror.ranking() });
        // The publisher's next sender reports may come in five seconds. Until then only times of arrival would tie its sound to
        // its pictures, and they are less exact: lips and voice would be apart.
        for (stream, info) in track.mirror.sender_reports() {
            mail.tell(by, Message::Report { track: id, stream, info });
        }
        // The packets since the last key frame, so that its subscribers can begin at once: the publisher is asked for another
        // key frame once a second at most.
        let backlog = track.mirror.backlog(now, CatchUpLimits::default());
        let backlog = backlog.map(|p| Media { track: id, packet: Arc::clone(p) });
        counters.relayed.add(mail.send_backlog(by, backlog) as u64);
    }

    /// Tells the origin of a track which layers its sinks here want, if that changed.
    pub(crate) fn tell_wanted_layers(&mut self, now: Instant, at: TrackRef) {
        let Some(track) = self.tracks.at(at) else { return };
        let layers = match (track.has_subscribers(), track.wanted()) {
            (false, _) => 0,
            // The ranking of its layers is not known yet: ask for all.
            (true, 0) => u8::MAX,
            (true, layers) => layers,
        };
        self.ask(now, at, Ask::Layers(layers));
    }
}

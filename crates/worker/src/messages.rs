//! Takes messages, datagrams and packets from other workers.

use std::time::Instant;

use model::{DropReason, SessionId};

use crate::{
    WorkerId,
    core::Worker,
    mail::{Handed, Message},
    paths::PathOwner,
};

/// The limit of one turn for messages, for datagrams and for packets, so that other workers cannot keep this one from
/// its own sockets.
const MESSAGES_PER_TURN: usize = 4_096;

impl Worker {
    pub(crate) fn take_messages(&mut self, now: Instant) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some((from, message)) = self.mail.next_message() else { break };
            self.take_message(now, from, message);
            self.current = None;
        }
    }

    pub(crate) fn take_message(&mut self, now: Instant, from: WorkerId, message: Message) {
        match message {
            Message::Ring(ring) => self.mail.add_ring(ring),
            Message::Settled { session } => self.publisher_settled(now, session),
            Message::Path { session, path, nominated } => {
                self.take_path(now, session, path, nominated);
            }
            Message::Ask { publisher, track, ask } => {
                self.take_ask(now, from, publisher, track, ask)
            }
            Message::Report { track, stream, info } => {
                if let Some(track) = self.tracks.by_id(track).and_then(|t| self.tracks.at(t)) {
                    track.mirror.sender_report(stream, info);
                }
            }
            Message::LetGo { track, stream, below } => {
                if let Some(track) = self.tracks.by_id(track).and_then(|t| self.tracks.at(t)) {
                    track.mirror.forget(stream, below);
                }
            }
            Message::Ranking { track, ranking } => {
                let Some(at) = self.tracks.by_id(track) else { return };
                if let Some(track) = self.tracks.at(at) {
                    track.mirror.rank(ranking);
                }
                self.look_at_wanted_layers(now, at);
            }
        }
    }

    /// Takes a path that another worker validated for a session of this worker.
    fn take_path(&mut self, now: Instant, session: SessionId, path: model::Path, nominated: bool) {
        let Some(at) = self.sessions.by_id(session) else { return };
        if self.is_in_use(now, &path, session) {
            return self.counters.drop_in(DropReason::PathInUse);
        }
        self.current = Some(at);
        let Some(session) = self.sessions.at(at) else { return };
        if let Err(reason) = session.peer.adopt_path(now, path, nominated) {
            tracing::debug!(reason = reason.as_str(), "a path was not adopted");
        }
        self.after_peer(now, at);
    }

    /// Takes datagrams that other workers received for sessions of this worker.
    pub(crate) fn take_handed(&mut self, now: Instant) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(Handed { path, mut bytes }) = self.mail.next_handed() else { break };
            // The worker that received the datagram counted it as handed over; here it counts as received, so that the
            // sums of both workers hold.
            self.counters.datagrams_in.add(1);
            self.counters.bytes_in.add(bytes.len() as u64);
            let elsewhere = match self.paths.get(&path) {
                Some(PathOwner::Elsewhere { entry, .. }) => {
                    entry.owner().is_some_and(|o| o != self.id)
                }
                _ => false,
            };
            if elsewhere {
                // Since the datagram was handed over, its session ended or got another owner. Handing it over again
                // could go in circles.
                self.counters.drop_in(DropReason::UnknownPath);
                continue;
            }
            self.take_datagram(now, path, &mut bytes);
            self.steer_here(now, &path);
        }
    }

    pub(crate) fn take_media(&mut self, now: Instant) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(media) = self.mail.next_media() else { break };
            self.counters.relays_taken.add(1);
            if let Some(track) = self.tracks.by_id(media.track) {
                self.queue(now, track, media.packet);
            }
        }
    }
}

//! What other workers say, and the packets that they give.

use std::time::Instant;

use model::{DropReason, SessionId};

use crate::{WorkerId, core::Worker, mesh::Word, registry::PathOwner};

/// Words and packets taken in one turn, so that no worker can keep another from its own sockets.
const WORDS_PER_TURN: usize = 4_096;

impl Worker {
    pub(crate) fn take_words(&mut self, now: Instant) {
        for _ in 0..WORDS_PER_TURN {
            let Some((from, word)) = self.mesh.next_word() else { break };
            self.take_word(now, from, word);
            self.current = None;
        }
    }

    fn take_word(&mut self, now: Instant, from: WorkerId, word: Word) {
        match word {
            Word::Settled { session } => self.settled_elsewhere(session, from),
            Word::Path { session, path, nominated } => {
                let Some(slot) = self.registry.entry(session).and_then(|e| e.slot) else { return };
                self.current = Some(slot);
                let Some(session) = self.sessions.at(slot) else { return };
                if let Err(reason) = session.peer.adopt_path(now, path, nominated) {
                    tracing::debug!(reason = reason.as_str(), "a path was not adopted");
                }
                self.after_peer(now, slot);
            }
            Word::Gone { session } => {
                self.registry.forget(session);
                self.forget_publisher(session);
            }
            Word::Want { track, on } => self.wanted(now, track, from, on),
            Word::KeyFrame { track, layer } => {
                if let Some(track) = self.tracks.by_id(track) {
                    self.request_key_frame(now, track, layer);
                }
            }
            Word::Report { track, layer, epoch, info } => {
                if let Some(track) = self.tracks.by_id(track).and_then(|t| self.tracks.at(t)) {
                    track.mirror.sender_report(layer, epoch, info);
                }
            }
            Word::Datagram { path, mut bytes } => self.take_handed(now, path, &mut bytes),
        }
    }

    /// A datagram that another worker received for a session of ours.
    fn take_handed(&mut self, now: Instant, path: model::Path, bytes: &mut [u8]) {
        // It was counted where it came in as handed over; here it comes in anew.
        self.counters.datagrams_in.add(1);
        self.counters.bytes_in.add(bytes.len() as u64);
        if matches!(self.registry.path(&path), Some(PathOwner::There(_))) {
            // The session moved or ended in between: do not send it in circles.
            self.counters.drop_in(DropReason::UnknownPath);
            return;
        }
        self.take_datagram(now, path, bytes);
    }

    /// Paths that were validated here belong to the worker where the session settled.
    fn settled_elsewhere(&mut self, session: SessionId, owner: WorkerId) {
        self.registry.settled(session);
        let Some(entry) = self.registry.entry_mut(session) else { return };
        for (path, nominated) in std::mem::take(&mut entry.pending) {
            self.registry.lend_path(path, session, owner);
            self.mesh.tell(owner, Word::Path { session, path, nominated });
        }
        for track in self.tracks.wanted_of(session) {
            self.mesh.tell(owner, Word::Want { track, on: true });
        }
    }

    pub(crate) fn take_media(&mut self, now: Instant) {
        for _ in 0..WORDS_PER_TURN {
            let Some(media) = self.mesh.next_media() else { break };
            self.counters.relays_taken.add(1);
            if let Some(track) = self.tracks.by_id(media.track) {
                self.queue(now, track, media.packet);
            }
        }
    }
}

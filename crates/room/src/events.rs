//! How a room handles the events of the workers.

use std::time::Instant;

use model::{CloseReason, Event, SessionId, TrackId};

use crate::room::Room;
use crate::{EndReason, Notice};

impl Room {
    /// An event from a worker. Events of sessions that are gone are ignored.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected { session } => self.connect(now, session),
            Event::TrackActive { session, track } => self.set_active(now, session, track, true),
            Event::TrackSilent { session, track } => self.set_active(now, session, track, false),
            Event::AudioLevel { session, track, level } => self.hear(now, session, track, level),
            Event::Lost { session } => self.set_lost(now, session, true),
            Event::Back { session } => self.set_lost(now, session, false),
            Event::Quality { session, quality } => self.note_quality(session, quality),
            Event::DataOpen { session } => self.set_channels(session, true),
            Event::DataClosed { session } => self.set_channels(session, false),
            Event::DataLost { session, messages } => {
                if self.permissions(session).is_some() {
                    self.notices.push_back(Notice::DataLost { session, messages });
                }
            }
            // Signaling reads the envelope of a message and brings it as `MemberCommand::SendData`.
            Event::Data { .. } => {}
            Event::Closed { session, reason } => {
                let reason = match reason {
                    CloseReason::NeverConnected => EndReason::NeverConnected,
                    reason => EndReason::Transport(reason),
                };
                self.end(now, session, reason);
            }
        }
        self.handle_timeout(now);
    }

    /// Ends the time for which tracks count as live before their first packet: from now on only those that send do.
    pub(crate) fn await_no_more(&mut self, now: Instant) {
        while let Some(&(at, session)) = self.awaited.first()
            && at <= now
        {
            self.awaited.pop_first();
            let mut changed = false;
            self.publishers.update(session, &mut self.mappings, |record| {
                for track in &mut record.tracks {
                    changed |= std::mem::replace(&mut track.awaited, false);
                }
            });
            if changed {
                self.liveness_changed(now);
            }
        }
    }

    /// Records whether the peer of a session is lost for now. Its tracks do not count as live then, so slots may change.
    fn set_lost(&mut self, now: Instant, session: SessionId, lost: bool) {
        let mut changed = false;
        self.publishers.update(session, &mut self.mappings, |record| {
            changed =
                std::mem::replace(&mut record.lost, lost) != lost && !record.tracks.is_empty();
        });
        if changed {
            self.liveness_changed(now);
        }
    }

    fn set_channels(&mut self, session: SessionId, open: bool) {
        if let Ok(member) = self.member_mut(session) {
            member.has_channels = open;
        }
    }

    fn connect(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.connected += usize::from(!std::mem::replace(&mut session.connected, true));
        if let Some(deadline) = session.deadline.take() {
            self.deadlines.remove(&(deadline, id));
        }
        if let Ok(member) = self.member_mut(id) {
            member.lost_until = None;
        }
        if !self.succeed(id) {
            self.publishers.update(id, &mut self.mappings, |record| record.connected = true);
        }
        self.await_media(now, id);
    }

    /// Records whether media of a track arrives. Slots may then change, but only for viewers for whom a source waits.
    fn set_active(&mut self, now: Instant, session: SessionId, track: TrackId, active: bool) {
        let mut changed = false;
        self.publishers.update(session, &mut self.mappings, |record| {
            for track in record.tracks.iter_mut().filter(|t| t.id == track) {
                changed |= std::mem::replace(&mut track.active, active) != active;
                track.awaited = false;
            }
        });
        if changed {
            self.liveness_changed(now);
        }
    }
}

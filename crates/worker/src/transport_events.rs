//! Handles the events of a session's transport (paths, keys, the end), and the deadlines of sessions.

use std::time::{Duration, Instant};

use model::{Event, Path};
use transport::PeerEvent;

use crate::{
    core::Worker,
    sessions::{Crypto, Session, SessionRef},
    timers::{Timers, Urgency},
};

impl Worker {
    /// Handles the transport's events and sends its datagrams. To be called after the transport was given something.
    pub(crate) fn after_peer(&mut self, now: Instant, at: SessionRef) {
        let mut over = None;
        while let Some(event) = self.sessions.at(at).and_then(|s| s.peer.poll_event()) {
            match event {
                PeerEvent::PathValidated(path) => self.add_path(at, path),
                PeerEvent::PathRemoved(path) => {
                    self.paths.disown(&path, at);
                    self.steer_back(at, &path);
                    if let Some(session) = self.sessions.at(at) {
                        session.paths.retain(|p| *p != path);
                    }
                }
                PeerEvent::Selected(path) => {
                    if let Some(session) = self.sessions.at(at) {
                        session.path = Some(path);
                        if session.crypto.is_some() {
                            session.entry.set_sent_to(session.path);
                        }
                    }
                }
                PeerEvent::Connected { sender, receiver, profile } => {
                    tracing::debug!(session = ?self.sessions.at(at).map(|s| s.id.0), ?profile, "keys agreed");
                    // The end of the handshake is sent before the first media: a peer without it has no keys yet, and
                    // would lose the key frame that a new subscriber gets from the cache.
                    self.transmit(at);
                    self.connected(now, at, Crypto { sender, receiver });
                }
                PeerEvent::Closed(reason) => over = Some(reason),
            }
        }
        self.transmit(at);
        match over {
            Some(reason) => self.end_session(at, reason),
            None => {
                self.queue_data(at);
                self.arm(now, at);
            }
        }
    }

    /// Sends the transport's datagrams. Returns their bytes.
    pub(crate) fn transmit(&mut self, at: SessionRef) -> usize {
        let mut bytes = 0;
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(path) = self.sessions.at(at).and_then(|s| s.peer.poll_transmit(&mut scratch))
        {
            self.outbox.datagram(path, &scratch);
            bytes += scratch.len();
        }
        self.scratch = scratch;
        bytes
    }

    fn add_path(&mut self, at: SessionRef, path: Path) {
        self.paths.own(path, at);
        if let Some(session) = self.sessions.at(at)
            && !session.paths.contains(&path)
        {
            session.paths.push(path);
        }
    }

    pub(crate) fn connected(&mut self, now: Instant, at: SessionRef, crypto: Crypto) {
        let Some(session) = self.sessions.connect(at, crypto) else { return };
        session.make_room_for_ssrcs();
        session.entry.set_sent_to(session.path);
        session.report_due = now;
        session.presence.connected(now);
        let (id, downs) = (session.id, session.downs.len());
        self.counters.sessions_connected.add(1);
        self.report(Event::Connected { session: id });
        for down in 0..downs {
            self.catch_up(now, at, down as u16);
        }
    }

    /// Tells the peer that the session ends: RTCP BYE and DTLS close_notify.
    pub(crate) fn say_goodbye(&mut self, now: Instant, at: SessionRef) {
        self.send_bye(now, at);
        if let Some(session) = self.sessions.at(at) {
            session.peer.close(now);
        }
        self.transmit(at);
    }

    /// Arms the timers for the session's next deadlines.
    #[inline]
    pub(crate) fn arm(&mut self, now: Instant, at: SessionRef) {
        let Some(session) = self.sessions.at(at) else { return };
        if let Some(deadline) = session.next_prompt() {
            session.arm(&mut self.timers, now, deadline, Urgency::Prompt);
        }
        if let Some(deadline) = session.next_patient() {
            session.arm(&mut self.timers, now, deadline, Urgency::Patient);
        }
    }

    /// Calls the sessions whose deadline has passed.
    pub(crate) fn call_due(&mut self, now: Instant) {
        while let Some((id, urgency)) = self.timers.pop_due(now) {
            let Some(at) = self.sessions.by_id(id) else { continue };
            self.current = Some(at);
            let Some(session) = self.sessions.at(at) else { continue };
            // The session was armed for another deadline after this entry was made: the entry is stale.
            let armed = &mut session.armed[urgency as usize];
            if armed.is_some_and(|at| at > now) {
                continue;
            }
            *armed = None;
            if session.peer.poll_timeout().is_some_and(|at| at <= now) {
                session.peer.handle_timeout(now);
                self.after_peer(now, at);
            }
            self.call_data(now, at);
            self.send_feedback(now, at);
            self.report_silence(now, at);
            self.look_for_loss(now, at);
            self.report_quality(now, at);
            self.arm(now, at);
            self.current = None;
        }
    }
}

impl Session {
    /// Arms the timer for `deadline`.
    #[inline]
    fn arm(&mut self, timers: &mut Timers, now: Instant, deadline: Instant, urgency: Urgency) {
        // Not more than once a millisecond: a deadline that stays in the past must not keep the worker busy.
        let deadline = deadline.max(now + Duration::from_millis(1));
        let armed = &mut self.armed[urgency as usize];
        if armed.is_none_or(|at| deadline < at) {
            *armed = Some(deadline);
            timers.arm(deadline, self.id, urgency);
        }
    }

    /// Arms the timers for what media that was received makes due: feedback about one up-track, and about the transport. The deadlines
    /// of the slots stay as they are, and of those a member of a room has dozens, far apart in memory.
    #[inline]
    pub(crate) fn arm_received(&mut self, timers: &mut Timers, now: Instant, up: Option<u8>) {
        let up = up.and_then(|up| self.ups.get(usize::from(up)));
        if let Some(due) = up.and_then(|up| up.up.poll_timeout()) {
            self.arm(timers, now, due, Urgency::Prompt);
        }
        if let Some(due) = self.twcc.as_ref().and_then(|twcc| twcc.poll_timeout()) {
            self.arm(timers, now, due, Urgency::Patient);
        }
        if let Some(due) = self.presence.due() {
            self.arm(timers, now, due, Urgency::Patient);
        }
    }

    /// The same for the deadlines of one down-track: when its first packets are sent, its first sender report becomes
    /// due.
    #[inline]
    pub(crate) fn arm_down(&mut self, timers: &mut Timers, now: Instant, down: u16) {
        let due = self.downs.get(usize::from(down)).and_then(|d| d.down.poll_timeout());
        if let Some(due) = due.filter(|_| self.crypto.is_some()) {
            self.arm(timers, now, due, Urgency::Patient);
        }
    }

    /// When the transport has to be called, or a publisher's lost packets have to be requested.
    fn next_prompt(&self) -> Option<Instant> {
        let ups = self.ups.iter().filter_map(|u| u.up.poll_timeout());
        let ups = ups.filter(|_| self.crypto.is_some());
        let data = self.data.as_ref().and_then(|data| data.due());
        self.peer.poll_timeout().into_iter().chain(data).chain(ups).min()
    }

    /// When the next report or feedback is due.
    fn next_patient(&self) -> Option<Instant> {
        self.crypto.as_ref()?;
        let downs = self.downs.iter().filter(|d| d.track.is_some());
        let downs = downs.filter_map(|d| d.down.poll_timeout());
        let twcc = self.twcc.iter().filter_map(|t| t.poll_timeout());
        let report = (!self.ups.is_empty()).then_some(self.report_due);
        downs.chain(twcc).chain(report).chain(self.presence.due()).min()
    }
}

//! How a session comes to live in this worker, what its transport tells, and how it ends.

use std::time::{Duration, Instant};

use congestion::twcc;
use model::{Binding, CloseReason, Event, Mid, Path, SessionId, SessionPlan, Ssrc};
use router::{DownTrack, StreamTable, UpTrack};
use transport::{Peer, PeerEvent};

use crate::{
    WorkerId,
    core::Worker,
    mesh::Word,
    sessions::{Crypto, Down, Session, Slot, Up},
    timers::{Timers, Urgency},
    tracks::{Origin, Subscriber},
};

impl Worker {
    /// Lets a session live here: its DTLS begins in this worker. `Some(Err(owner))` when another worker was first,
    /// `None` when there is no such session.
    pub(crate) fn settle(&mut self, now: Instant, id: SessionId) -> Option<Result<Slot, WorkerId>> {
        let me = self.id;
        let entry = self.registry.entry_mut(id)?;
        if let Some(slot) = entry.slot {
            return Some(Ok(slot));
        }
        if let Err(owner) = entry.home.settle(me) {
            return Some(Err(owner));
        }
        let plan = entry.plan.clone();
        let mut peer = Peer::new(now, &plan, &self.config.certificate);
        if entry.ice != plan.ice {
            peer.restart(now, &entry.ice);
        }
        let (paths, bindings) = (std::mem::take(&mut entry.pending), entry.bindings.clone());
        let slot = self.sessions.insert(self.new_session(now, &plan, peer));
        if let Some(entry) = self.registry.entry_mut(id) {
            entry.slot = Some(slot);
        }
        self.registry.settled(id);
        self.half_open += 1;
        self.open_tracks(&plan, |at| Origin::Session(slot, at));
        if let Some(session) = self.sessions.at(slot) {
            for (at, media) in plan.up.iter().enumerate() {
                let Some(track) = self.tracks.by_id(media.track) else { continue };
                debug_assert_eq!(at, session.ups.len());
                session.ups.push(Up { track, up: UpTrack::new(media, &plan.extensions) });
            }
            for (path, nominated) in paths {
                if let Err(reason) = session.peer.adopt_path(now, path, nominated) {
                    tracing::debug!(reason = reason.as_str(), "a path was not adopted");
                }
            }
        }
        // Those who subscribe to what it publishes have to ask for it now; where a viewer lives matters to nobody until
        // one of its datagrams goes astray.
        if plan.up.is_empty() {
            self.mesh.hint_all(|| Word::Settled { session: id });
        } else {
            self.mesh.tell_all(|| Word::Settled { session: id });
        }
        for (mid, binding) in bindings {
            self.bind(now, slot, mid, binding);
        }
        self.after_peer(now, slot);
        Some(Ok(slot))
    }

    fn new_session(&self, now: Instant, plan: &std::sync::Arc<SessionPlan>, peer: Peer) -> Session {
        let transport_cc =
            plan.up.iter().flat_map(|m| &m.codecs).any(|codec| codec.feedback.transport_cc);
        let downs = plan.down.iter().map(|media| Down {
            mid: media.mid,
            ssrc: media.ssrc.media,
            track: None,
            down: DownTrack::new(media, &plan.extensions, self.config.wall_clock),
        });
        Session {
            id: plan.id,
            plan: plan.clone(),
            peer,
            crypto: None,
            path: None,
            streams: StreamTable::new(plan),
            ups: Vec::with_capacity(plan.up.len()),
            downs: downs.collect(),
            twcc: transport_cc.then(|| Box::new(twcc::Receiver::new(now))),
            twcc_media: Ssrc(0),
            report_due: now,
            armed: [None; 2],
            paths: Vec::new(),
            #[cfg(test)]
            poisoned: false,
        }
    }

    /// Makes the tracks of a publisher of ours, or takes over those that subscribers asked for before.
    pub(crate) fn open_tracks(&mut self, plan: &SessionPlan, origin: impl Fn(usize) -> Origin) {
        for (at, media) in plan.up.iter().enumerate() {
            let slot = self.tracks.open(media, plan.id);
            if let Some(track) = self.tracks.at(slot) {
                track.origin = origin(at);
            }
        }
    }

    /// Carries out what the transport wants after it was given something.
    pub(crate) fn after_peer(&mut self, now: Instant, slot: Slot) {
        let mut over = None;
        while let Some(event) = self.sessions.at(slot).and_then(|s| s.peer.poll_event()) {
            match event {
                PeerEvent::PathValidated(path) => self.add_path(slot, path),
                PeerEvent::PathRemoved(path) => {
                    self.registry.drop_path(&path, slot);
                    if let Some(session) = self.sessions.at(slot) {
                        session.paths.retain(|p| *p != path);
                    }
                }
                PeerEvent::Selected(path) => {
                    if let Some(session) = self.sessions.at(slot) {
                        session.path = Some(path);
                    }
                }
                PeerEvent::Connected { sender, receiver, .. } => {
                    // The end of the handshake goes before the first media: a peer that lacks it has no keys yet, and
                    // would lose the key frame that a new subscriber gets from the cache.
                    self.transmit(slot);
                    self.connected(now, slot, Crypto { sender, receiver });
                }
                PeerEvent::Closed(reason) => over = Some(reason),
            }
        }
        self.transmit(slot);
        match over {
            Some(reason) => self.end_session(slot, reason),
            None => self.arm(now, slot),
        }
    }

    fn transmit(&mut self, slot: Slot) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(path) =
            self.sessions.at(slot).and_then(|s| s.peer.poll_transmit(&mut scratch))
        {
            self.outbox.datagram(&self.inbox, &self.counters, path, &scratch);
        }
        self.scratch = scratch;
    }

    fn add_path(&mut self, slot: Slot, path: Path) {
        self.registry.own_path(path, slot);
        if let Some(session) = self.sessions.at(slot)
            && !session.paths.contains(&path)
        {
            session.paths.push(path);
        }
    }

    pub(crate) fn connected(&mut self, now: Instant, slot: Slot, crypto: Crypto) {
        let Some(session) = self.sessions.at(slot) else { return };
        session.crypto = Some(Box::new(crypto));
        session.report_due = now;
        let (id, downs) = (session.id, session.downs.len());
        self.half_open = self.half_open.saturating_sub(1);
        self.counters.sessions_connected.add(1);
        self.report(Event::Connected { session: id });
        for down in 0..downs {
            self.catch_up(now, slot, down);
        }
    }

    /// Lets a track flow through a slot of a session, or nothing.
    pub(crate) fn bind(&mut self, now: Instant, slot: Slot, mid: Mid, binding: Option<Binding>) {
        let Some(session) = self.sessions.at(slot) else { return };
        let connected = session.crypto.is_some();
        let Some(at) = session.downs.iter().position(|d| d.mid == mid) else { return };
        let before = session.downs[at].track;
        let flows = before.and_then(|t| self.tracks.at(t)).map(|t| t.id);
        let track = if flows.is_some() && flows == binding.as_ref().map(|b| b.track) {
            // Told again: the mirror stays, with what has not gone out yet and what may be asked for again.
            before
        } else {
            if let Some(before) = before {
                self.unsubscribe(before, Subscriber { session: slot, down: at });
            }
            binding.as_ref().and_then(|b| self.subscribe(b, slot, at))
        };
        let Some(session) = self.sessions.at(slot) else { return };
        session.downs[at].track = track;
        session.downs[at].down.bind(binding.filter(|_| track.is_some()));
        if connected && track.is_some() {
            self.catch_up(now, slot, at);
        }
    }

    fn subscribe(
        &mut self,
        binding: &Binding,
        session: Slot,
        down: usize,
    ) -> Option<crate::tracks::TrackSlot> {
        let entry = self.registry.entry(binding.publisher)?;
        let media = entry.plan.up.iter().find(|m| m.track == binding.track)?;
        let owner = entry.home.owner();
        let slot = self.tracks.open(media, binding.publisher);
        let track = self.tracks.at(slot)?;
        let first = track.subscribers.is_empty();
        track.subscribers.push(Subscriber { session, down });
        if let Some(owner) = owner.filter(|o| first && *o != self.id) {
            self.mesh.tell(owner, Word::Want { track: binding.track, on: true });
        }
        Some(slot)
    }

    fn unsubscribe(&mut self, slot: crate::tracks::TrackSlot, subscriber: Subscriber) {
        let Some(track) = self.tracks.at(slot) else { return };
        track.subscribers.retain(|s| *s != subscriber);
        if track.subscribers.is_empty() {
            track.fresh.clear();
            let (id, publisher) = (track.id, track.publisher);
            let owner = self.registry.entry(publisher).and_then(|e| e.home.owner());
            if let Some(owner) = owner.filter(|o| *o != self.id) {
                self.mesh.tell(owner, Word::Want { track: id, on: false });
            }
            self.tracks.release(slot);
        }
    }

    /// Ends a session and forgets it everywhere. Goodbyes, where they are due, were said before.
    pub(crate) fn end_session(&mut self, slot: Slot, reason: CloseReason) {
        let Some(session) = self.sessions.remove(slot) else { return };
        if session.crypto.is_none() {
            self.half_open = self.half_open.saturating_sub(1);
        }
        for path in &session.paths {
            self.registry.drop_path(path, slot);
        }
        for (at, down) in session.downs.iter().enumerate() {
            if let Some(track) = down.track {
                self.unsubscribe(track, Subscriber { session: slot, down: at });
            }
        }
        self.registry.forget(session.id);
        self.forget_publisher(session.id);
        let id = session.id;
        self.mesh.hint_all(|| Word::Gone { session: id });
        tracing::debug!(session = id.0, reason = reason.as_str(), "session ended");
        self.report(Event::Closed { session: id, reason });
    }

    /// Tells the peer that we go: RTCP BYE and DTLS close_notify.
    pub(crate) fn say_goodbye(&mut self, now: Instant, slot: Slot) {
        self.send_bye(now, slot);
        if let Some(session) = self.sessions.at(slot) {
            session.peer.close(now);
        }
        self.transmit(slot);
    }

    /// Sees to it that the session is called when it next has something to do.
    #[inline]
    pub(crate) fn arm(&mut self, now: Instant, slot: Slot) {
        let Some(session) = self.sessions.at(slot) else { return };
        if let Some(deadline) = session.next_prompt() {
            session.arm(&mut self.timers, now, deadline, Urgency::Prompt);
        }
        if let Some(deadline) = session.next_patient() {
            session.arm(&mut self.timers, now, deadline, Urgency::Patient);
        }
    }

    /// Calls the sessions whose time has come.
    pub(crate) fn call_due(&mut self, now: Instant) {
        while let Some((id, urgency)) = self.timers.pop_due(now) {
            let Some(slot) = self.registry.entry(id).and_then(|e| e.slot) else { continue };
            self.current = Some(slot);
            let Some(session) = self.sessions.at(slot) else { continue };
            // A later entry that an earlier one overtook is stale, and costs a look.
            let armed = &mut session.armed[urgency as usize];
            if armed.is_some_and(|at| at > now) {
                continue;
            }
            *armed = None;
            if session.peer.poll_timeout().is_some_and(|at| at <= now) {
                session.peer.handle_timeout(now);
                self.after_peer(now, slot);
            }
            self.send_feedback(now, slot);
            self.arm(now, slot);
            self.current = None;
        }
    }
}

impl Session {
    /// Sees to it that the session is called at `deadline`.
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

    /// The same for what one down-track has to do: packets that begin to flow bring the first sender report.
    #[inline]
    pub(crate) fn arm_down(&mut self, timers: &mut Timers, now: Instant, down: usize) {
        let due = self.downs.get(down).and_then(|d| d.down.poll_timeout());
        if let Some(due) = due.filter(|_| self.crypto.is_some()) {
            self.arm(timers, now, due, Urgency::Patient);
        }
    }

    /// When the transport has to be called, or what a publisher lost asked for.
    fn next_prompt(&self) -> Option<Instant> {
        let ups = self.ups.iter().filter_map(|u| u.up.poll_timeout());
        let ups = ups.filter(|_| self.crypto.is_some());
        self.peer.poll_timeout().into_iter().chain(ups).min()
    }

    /// When the next report or feedback is due.
    fn next_patient(&self) -> Option<Instant> {
        self.crypto.as_ref()?;
        let downs = self.downs.iter().filter(|d| d.track.is_some());
        let downs = downs.filter_map(|d| d.down.poll_timeout());
        let twcc = self.twcc.iter().filter_map(|t| t.poll_timeout());
        let report = (!self.ups.is_empty()).then_some(self.report_due);
        downs.chain(twcc).chain(report).min()
    }
}

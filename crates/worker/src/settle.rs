//! How a worker becomes the owner of a session, carries out its orders, and ends it.

use std::{sync::Arc, time::Instant};

use congestion::{quality::QualityMeter, remb, twcc};
use model::{CloseReason, DownMedia, SessionPlan, Ssrc, UpMedia};
use ring::Owner;
use router::{DownTrack, PublisherClock, StreamTable, UpTrack};
use transport::Peer;

use crate::{
    WorkerId,
    core::Worker,
    data::SessionData,
    directory::{Entry, Orders},
    exit::Exit,
    mail::Message,
    memory::Memory,
    presence::Presence,
    rates::Rates,
    sessions::{Down, Session, SessionRef, Up},
    tracks::{Origin, Subscriber},
};

impl Worker {
    /// Makes this worker the owner of a session, because the session's DTLS begins here.
    ///
    /// # Errors
    /// The worker that already owns the session; `None` when the session has ended.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        entry: &Arc<Entry>,
    ) -> Result<SessionRef, Option<WorkerId>> {
        match self.directory.settle(entry, self.id) {
            Ok(()) => {}
            Err(Owner::Of(owner)) if owner == self.id.0 => {
                return self.sessions.by_id(entry.id).ok_or(None);
            }
            Err(Owner::Of(owner)) => return Err(Some(WorkerId(owner))),
            Err(Owner::Gone | Owner::Nobody) => return Err(None),
        }
        let orders = entry.orders();
        let session = self.new_session(now, entry, &orders);
        let at = self.sessions.insert(session);
        self.open_tracks(at, &orders.plan);
        for (path, nominated) in self.paths.take(entry.id) {
            let Some(session) = self.sessions.at(at) else { break };
            if let Err(reason) = session.peer.adopt_path(now, path, nominated) {
                tracing::debug!(reason = reason.as_str(), "a path was not adopted");
            }
        }
        self.tell_waiting(entry);
        for (mid, binding) in &orders.slots {
            self.bind(now, at, *mid, binding.clone());
        }
        self.after_peer(now, at);
        Ok(at)
    }

    /// Tells the workers with subscribers of this publisher that it is owned here now: they have to send their
    /// requests here.
    pub(crate) fn tell_waiting(&mut self, entry: &Entry) {
        for waiting in entry.claim.waiting().filter(|w| *w != self.id.0) {
            self.mail.tell(WorkerId(waiting), Message::Settled { session: entry.id });
        }
    }

    fn new_session(&self, now: Instant, entry: &Arc<Entry>, orders: &Arc<Orders>) -> Session {
        let plan = &orders.plan;
        let peer = Peer::new(now, plan, &self.config.certificate);
        let mut peer = peer.with_consent(self.config.consent);
        if orders.ice != plan.ice {
            peer.restart(now, &orders.ice);
        }
        Session {
            id: plan.id,
            entry: entry.clone(),
            orders: orders.clone(),
            peer,
            crypto: None,
            path: None,
            exit: Exit::default(),
            streams: StreamTable::new(plan),
            memory: Memory::default(),
            rates: Rates::new(now),
            ups: Vec::with_capacity(plan.up.len()),
            downs: plan.down.iter().map(|media| self.new_down(plan, media)).collect(),
            twcc: has_transport_cc(plan).then(|| Box::new(twcc::Receiver::new(now))),
            remb: has_remb(plan).then(|| Box::new(remb::Receiver::new(now))),
            round_trip: (!plan.up.is_empty()).then(Box::default),
            twcc_media: Ssrc(0),
            clock: PublisherClock::default(),
            data: plan.data.map(|_| SessionData::new(now)),
            presence: Presence::new(now),
            quality: QualityMeter::default(),
            heard_due: now,
            report_due: now,
            armed: [None; 2],
            paths: Vec::new(),
            steered: Vec::new(),
            #[cfg(test)]
            poisoned: false,
        }
    }

    fn new_down(&self, plan: &SessionPlan, media: &DownMedia) -> Down {
        Down {
            mid: Some(media.mid),
            ssrc: media.ssrc.media,
            track: None,
            down: DownTrack::new(media, &plan.extensions, self.config.wall_clock),
        }
    }

    /// Makes the up-tracks of a publisher, and takes over tracks that subscribers opened before.
    fn open_tracks(&mut self, at: SessionRef, plan: &SessionPlan) {
        for (place, media) in plan.up.iter().enumerate() {
            let up = self.open_up(at, place, media);
            if let (Some(session), Some(up)) = (self.sessions.at(at), up) {
                debug_assert_eq!(place, session.ups.len());
                session.ups.push(up);
            }
        }
    }

    fn open_up(&mut self, at: SessionRef, place: usize, media: &UpMedia) -> Option<Up> {
        let entry = self.sessions.at(at)?.entry.clone();
        let track = self.tracks.open(media, &entry);
        self.tracks.at(track)?.origin = Origin::Session(at, place);
        Some(Up { track, up: UpTrack::new(media) })
    }

    /// Carries out what has changed in the orders of a session of this worker since they were last read.
    pub(crate) fn carry_out(&mut self, now: Instant, at: SessionRef) {
        let Some(session) = self.sessions.at(at) else { return };
        let (orders, before) = (session.entry.orders(), session.orders.clone());
        if Arc::ptr_eq(&orders, &before) {
            return;
        }
        if orders.closed {
            self.say_goodbye(now, at);
            self.end_session(at, CloseReason::Requested);
            return;
        }
        session.orders = orders.clone();
        if orders.ice != before.ice {
            session.peer.restart(now, &orders.ice);
        }
        if !Arc::ptr_eq(&orders.plan, &before.plan) {
            self.renegotiate(now, at, &orders.plan);
        }
        for (mid, binding) in &orders.slots {
            // A slot whose SSRC changed has a new down-track, to which nothing is bound yet.
            let ssrc = |plan: &SessionPlan| {
                plan.down.iter().find(|media| media.mid == *mid).map(|media| media.ssrc.media)
            };
            let stays = ssrc(&before.plan) == ssrc(&orders.plan);
            let known = before.slots.iter().find(|(m, _)| m == mid).filter(|_| stays);
            if known.is_none_or(|(_, b)| b != binding) {
                self.bind(now, at, *mid, binding.clone());
            }
        }
        self.after_peer(now, at);
    }

    /// Applies a new plan to a live session. Sections that stay keep their numbering, keys and statistics.
    fn renegotiate(&mut self, now: Instant, at: SessionRef, plan: &Arc<SessionPlan>) {
        let Some(session) = self.sessions.at(at) else { return };
        session.streams.update(plan);
        if let Some(data) = plan.data {
            session.peer.allow_data(data);
            session.data.get_or_insert_with(|| SessionData::new(now));
        }
        session.peer.set_receives(!plan.down.is_empty());
        match (&mut session.twcc, has_transport_cc(plan)) {
            (twcc @ None, true) => *twcc = Some(Box::new(twcc::Receiver::new(now))),
            (twcc, false) => *twcc = None,
            (Some(_), true) => {}
        }
        match (&mut session.remb, has_remb(plan)) {
            (remb @ None, true) => *remb = Some(Box::new(remb::Receiver::new(now))),
            (remb, false) => *remb = None,
            (Some(_), true) => {}
        }
        if !plan.up.is_empty() {
            session.round_trip.get_or_insert_default();
        }
        self.renegotiate_ups(at, plan);
        self.renegotiate_downs(now, at, plan);
        if let Some(session) = self.sessions.at(at) {
            session.make_room_for_ssrcs();
        }
    }

    fn renegotiate_ups(&mut self, at: SessionRef, plan: &SessionPlan) {
        let Some(session) = self.sessions.at(at) else { return };
        let entry = session.entry.clone();
        let mut before = std::mem::take(&mut session.ups);
        let mut ups = Vec::with_capacity(plan.up.len());
        for (place, media) in plan.up.iter().enumerate() {
            let known = before.iter().position(|u| u.up.track() == media.track);
            let up = match known.map(|k| before.swap_remove(k)) {
                Some(mut up) => {
                    up.up.update(media);
                    if let Some(track) = self.tracks.at(up.track) {
                        track.origin = Origin::Session(at, place);
                    }
                    Some(up)
                }
                None => self.open_up(at, place, media),
            };
            ups.extend(up);
        }
        for gone in before {
            self.tracks.lose_origin(gone.track, &entry);
        }
        if let Some(session) = self.sessions.at(at) {
            session.ups = ups;
        }
    }

    fn renegotiate_downs(&mut self, now: Instant, at: SessionRef, plan: &SessionPlan) {
        let count = self.sessions.at(at).map_or(0, |s| s.downs.len());
        for down in 0..count {
            let Some(slot) = self.sessions.at(at).and_then(|s| s.downs.get_mut(down)) else {
                break;
            };
            // A mid that now belongs to another section has another SSRC, and is another slot.
            let same =
                |media: &&DownMedia| slot.mid == Some(media.mid) && slot.ssrc == media.ssrc.media;
            let stays = plan.down.iter().find(same);
            if let Some(media) = stays {
                slot.down.update(media, &plan.extensions);
                continue;
            }
            slot.mid = None;
            slot.down.bind(None);
            if let Some(track) = slot.track.take() {
                self.unsubscribe(now, track, Subscriber { session: at, down: down as u16 });
            }
        }
        for media in &plan.down {
            let made = self.new_down(plan, media);
            let Some(session) = self.sessions.at(at) else { return };
            if session.downs.iter().any(|d| d.mid == Some(media.mid)) {
                continue;
            }
            match session.downs.iter_mut().find(|d| d.mid.is_none()) {
                Some(vacant) => *vacant = made,
                None => session.downs.push(made),
            }
        }
    }

    /// Ends a session and removes it everywhere. If goodbyes are due, the caller has sent them before.
    pub(crate) fn end_session(&mut self, at: SessionRef, reason: CloseReason) {
        let now = self.clock.now();
        let Some(mut session) = self.sessions.remove(at) else { return };
        session.exit.end(&self.counters);
        self.close_memory(&session.memory);
        for path in &session.paths {
            self.paths.disown(path, at);
        }
        for steered in &session.steered {
            self.forget_steering(&steered.path);
        }
        for (down, slot) in session.downs.iter().enumerate() {
            if let Some(track) = slot.track {
                self.unsubscribe(now, track, Subscriber { session: at, down: down as u16 });
            }
        }
        for up in &session.ups {
            self.tracks.lose_origin(up.track, &session.entry);
        }
        self.directory.ended(&session.entry);
        let id = session.id;
        tracing::debug!(session = id.0, reason = reason.as_str(), "session ended");
        self.report(model::Event::Closed { session: id, reason });
    }
}

fn has_transport_cc(plan: &SessionPlan) -> bool {
    plan.up.iter().flat_map(|m| &m.codecs).any(|codec| codec.feedback.transport_cc)
}

/// Whether the peer is told a bitrate by REMB: it negotiated that, and there is no transport-wide feedback, which
/// tells it more.
fn has_remb(plan: &SessionPlan) -> bool {
    let mut codecs = plan.up.iter().flat_map(|m| &m.codecs);
    !has_transport_cc(plan) && codecs.any(|codec| codec.feedback.remb)
}

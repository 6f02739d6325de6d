//! Step 5, whose turn it is: runs go through the sinks of their tracks, and receivers with waiting packets take turns.
//! Each turn of the worker has a limit for both.
//!
//! Each run begins with another sink, and first with the sinks that the last run did not reach, so that on a full
//! socket all receivers lose alike. Sound goes first. Tracks of pictures take turns, a slice at a time; the runs of
//! one track keep their order. After its limit of packets a turn of the worker looks at its sockets again: a key frame
//! for a thousand viewers is spread over some milliseconds, and sound and other rooms go on in between.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{CloseReason, DropReason, MediaKind};
use router::{CatchUpLimits, Packet};

use super::{
    leave::Gate,
    run::{RUN_MAX, Run, RunPool},
};
use crate::{
    asks::Ask,
    core::Worker,
    sessions::SessionRef,
    tracks::{TrackRef, Tracks},
};

/// Packets that runs may send in one turn, about a millisecond of work.
const RUNS_PER_TURN: usize = 2_048;
/// Packets of one track's runs before the next track has its turn.
const SLICE: usize = 256;
/// Waiting packets of exits that may leave in one turn, in addition to those of runs.
const WAITING_PER_TURN: usize = 1_024;
/// A run that could not begin or go on for this long is given up: the kernel takes no datagrams.
const RUN_WAITS_MAX: Duration = Duration::from_millis(500);
/// Runs of one track that may wait for their turn.
const RUNS_MAX: usize = 1_024;

/// A run on its way through the sinks of its track.
struct OnItsWay {
    run: Arc<Run>,
    /// The number of places of the track's sinks when the run was made.
    places: usize,
    /// The place that the run begins with, chosen when it starts: `Track::next_first`.
    first: usize,
    done: usize,
    /// The layers that the sinks offered so far want.
    layers: u8,
    since: Instant,
}

/// The runs of one track, the oldest in front. Never empty.
struct Lane {
    track: TrackRef,
    runs: VecDeque<OnItsWay>,
}

/// The runs and sessions of one worker that have packets to send.
#[derive(Default)]
pub(crate) struct Rounds {
    sound: VecDeque<OnItsWay>,
    pictures: VecDeque<Lane>,
    /// Lists of lanes that have ended, for reuse.
    spare: Vec<VecDeque<OnItsWay>>,
    /// Sessions with waiting packets.
    round: VecDeque<SessionRef>,
    pool: RunPool,
    /// Scratch.
    asks: Vec<(TrackRef, Ask)>,
}

impl Rounds {
    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.sound.is_empty() && self.pictures.is_empty() && self.round.is_empty()
    }

    /// Makes a run of a track's packets and starts it.
    pub(crate) fn begin(&mut self, now: Instant, tracks: &mut Tracks, at: TrackRef) {
        let Some(track) = tracks.at(at) else { return };
        let what = (at, track.id, track.kind);
        let run = self.pool.make(what, true, |packets| {
            tracks.take_fresh(at, packets);
            tracks.add_lead(at, packets);
        });
        let Some(track) = tracks.at(at).filter(|_| !run.packets.is_empty()) else { return };
        let places = track.places().len();
        if places == 0 {
            return;
        }
        let has_lane = track.runs > 0;
        track.runs += 1;
        let way = OnItsWay { run, places, first: 0, done: 0, layers: 0, since: now };
        if way.run.kind == MediaKind::Audio {
            self.sound.push_back(way);
            return;
        }
        let lane = self.pictures.iter_mut().filter(|_| has_lane).find(|lane| lane.track == at);
        match lane {
            Some(lane) => lane.runs.push_back(way),
            None => {
                let mut runs = self.spare.pop().unwrap_or_default();
                runs.push_back(way);
                self.pictures.push_back(Lane { track: at, runs });
            }
        }
    }

    /// Takes the run whose turn it is. Also returns how many runs wait behind it.
    fn take(&mut self) -> Option<(OnItsWay, usize)> {
        if let Some(way) = self.sound.pop_front() {
            return Some((way, self.sound.len()));
        }
        let lane = self.pictures.front_mut()?;
        let way = lane.runs.pop_front()?;
        Some((way, lane.runs.len()))
    }

    /// Puts back a run that is not done: it goes on where it stopped.
    fn put_back(&mut self, way: OnItsWay) {
        match (way.run.kind, self.pictures.front_mut()) {
            (MediaKind::Video, Some(lane)) => lane.runs.push_front(way),
            _ => self.sound.push_front(way),
        }
    }

    /// Gives the next track of pictures its turn.
    fn rotate(&mut self) {
        let Some(lane) = self.pictures.pop_front() else { return };
        match lane.runs.is_empty() {
            true => self.spare.push(lane.runs),
            false => self.pictures.push_back(lane),
        }
    }

    /// Enters a session that has waiting packets into the round.
    pub(crate) fn list(&mut self, session: SessionRef) {
        self.round.push_back(session);
    }
}

impl Worker {
    /// Sends what is due, up to the limit of one turn. Returns whether more could be sent at once.
    pub(crate) fn send_due(&mut self, now: Instant) -> bool {
        while let Some(at) = self.tracks.take_due(now) {
            self.rounds.begin(now, &mut self.tracks, at);
        }
        let mut budget = RUNS_PER_TURN;
        while budget > 0 && self.pass_run(now, &mut budget) {}
        let mut budget = WAITING_PER_TURN;
        while budget > 0 && self.serve_next(now, &mut budget) {}
        self.rounds.pool.reclaim();
        !self.rounds.is_empty() && !self.outbox.is_blocked()
    }

    /// Takes a run through a slice of its track's sinks. `false` when there is no run, or when nothing can be sent.
    fn pass_run(&mut self, now: Instant, budget: &mut usize) -> bool {
        let Some((mut way, behind)) = self.rounds.take() else { return false };
        let is_video = way.run.kind == MediaKind::Video;
        let late = now.saturating_duration_since(way.since) > RUN_WAITS_MAX;
        if late || behind >= RUNS_MAX {
            self.give_up_run(&way);
        } else if self.outbox.is_blocked() {
            self.rounds.put_back(way);
            return false;
        } else {
            if way.done == 0
                && let Some(track) = self.tracks.at(way.run.track)
            {
                way.first = track.next_first(way.places);
            }
            let (packets, mut slice) = (way.run.packets.len(), SLICE);
            while way.done < way.places
                && slice > 0
                && *budget > 0
                && self.outbox.make_room(packets)
            {
                self.offer_next(now, &mut way);
                slice = slice.saturating_sub(packets);
                *budget = budget.saturating_sub(packets);
            }
            self.carry_out_asks(now);
            match way.done < way.places {
                true => self.rounds.put_back(way),
                false => self.end_run(now, &way),
            }
        }
        if is_video {
            self.rounds.rotate();
        }
        !self.outbox.is_blocked()
    }

    /// Offers a run to its next sink.
    #[inline]
    fn offer_next(&mut self, now: Instant, way: &mut OnItsWay) {
        let Worker { tracks, sessions, timers, outbox, counters, rounds, .. } = self;
        let Rounds { asks, round, .. } = rounds;
        let Some(track) = tracks.at(way.run.track).filter(|t| t.id == way.run.id) else {
            way.done = way.places;
            return;
        };
        let place = |n: usize| {
            let at = way.first + n;
            let at = if at < way.places { at } else { at - way.places };
            track.places().get(at).copied().flatten()
        };
        // The states of subscribers lie far apart in memory, and other data has used the processor's caches since the
        // last picture: without prefetching each would cost several cache misses.
        if let Some(later) = place(way.done + 2) {
            sessions.prefetch(later.session);
        }
        if let Some(next) = place(way.done + 1)
            && let Some(session) = sessions.at(next.session)
        {
            session.prefetch(next.down);
        }
        let sink = place(way.done);
        way.done += 1;
        let Some(sink) = sink else { return };
        let Some(session) = sessions.at(sink.session) else { return };
        let mut gate = Gate { now, outbox, counters, asks };
        // A panic in one subscriber's state ends only that subscriber.
        let offered = catch_unwind(AssertUnwindSafe(|| {
            gate.offer(session, sink.down, &way.run, &track.mirror);
        }));
        if offered.is_err() {
            self.end_broken(sink.session);
            return;
        }
        if let Some(down) = session.downs.get_mut(usize::from(sink.down)) {
            way.layers |= down.down.wanted_layers(&track.mirror);
        }
        session.arm_down(timers, now, sink.down);
        if session.exit.list() {
            round.push_back(sink.session);
        }
    }

    fn end_broken(&mut self, session: SessionRef) {
        self.counters.panics.add(1);
        if let Some(skipped) = self.defects.pass(self.clock.now()) {
            tracing::error!(skipped, "a defect ended a subscriber");
        }
        self.end_session(session, CloseReason::Internal);
    }

    /// The run was offered to all sinks: the layers that they want are set anew.
    fn end_run(&mut self, now: Instant, way: &OnItsWay) {
        let at = way.run.track;
        let Some(track) = self.tracks.at(at).filter(|t| t.id == way.run.id) else { return };
        track.runs = track.runs.saturating_sub(1);
        // A subscriber that was added while the run was on its way was not asked, so `layers` may lack what it wants.
        let all = track.places().len() == way.places;
        if all && track.has_subscribers() && track.set_wanted(way.layers) {
            self.tell_wanted_layers(now, at);
        }
        self.tracks.release(at);
    }

    /// Drops the rest of a run: the remaining sinks do not get it.
    fn give_up_run(&mut self, way: &OnItsWay) {
        let at = way.run.track;
        let Some(track) = self.tracks.at(at).filter(|t| t.id == way.run.id) else { return };
        track.runs = track.runs.saturating_sub(1);
        if way.done > 0 {
            track.next_begins_with((way.first + way.done) % way.places);
        }
        let left = (way.done..way.places).filter(|n| {
            track.places().get((way.first + n) % way.places).is_some_and(Option::is_some)
        });
        let copies = left.count() as u64 * way.run.packets.len() as u64;
        self.counters.offered.add(copies);
        self.counters.drop_out_many(DropReason::ExitLate, copies);
        self.tracks.release(at);
    }

    /// Lets the next session of the round send. `false` when there is none, or when nothing can be sent.
    fn serve_next(&mut self, now: Instant, budget: &mut usize) -> bool {
        if !self.outbox.make_room(super::leave::QUANTUM) {
            return false;
        }
        let Worker { tracks, sessions, timers, outbox, counters, rounds, .. } = self;
        let Rounds { asks, round, .. } = rounds;
        let Some(at) = round.pop_front() else { return false };
        let Some(session) = sessions.at(at) else { return true };
        session.exit.listed = false;
        let mut gate = Gate { now, outbox, counters, asks };
        let served = catch_unwind(AssertUnwindSafe(|| gate.leave(session, tracks)));
        match served {
            Ok(packets) => {
                // At least one, so that the loop ends.
                *budget = budget.saturating_sub(packets.max(1));
                for down in 0..session.downs.len() {
                    session.arm_down(timers, now, down as u16);
                }
                if session.exit.list() {
                    round.push_back(at);
                }
            }
            Err(_) => self.end_broken(at),
        }
        self.carry_out_asks(now);
        true
    }

    fn carry_out_asks(&mut self, now: Instant) {
        while let Some((at, ask)) = self.rounds.asks.pop() {
            self.guarded(|w| w.ask(now, at, ask));
        }
    }

    /// Starts a new subscriber with the packets since the last key frame, if that is recent enough, so that it need
    /// not wait for the next one.
    pub(crate) fn catch_up(&mut self, now: Instant, at: SessionRef, down: u16) {
        let Worker { tracks, sessions, outbox, counters, rounds, .. } = self;
        let Rounds { asks, round, pool, .. } = rounds;
        let Some(session) = sessions.at(at) else { return };
        let Some(slot) = session.downs.get_mut(usize::from(down)) else { return };
        let Some(track_at) = slot.track else { return };
        let Some(track) = tracks.at(track_at) else { return };
        let caught: Vec<Arc<Packet>> =
            slot.down.catch_up(now, &track.mirror, CatchUpLimits::default()).cloned().collect();
        let mut gate = Gate { now, outbox, counters, asks };
        for packets in caught.chunks(RUN_MAX) {
            let what = (track_at, track.id, track.kind);
            let run = pool.make(what, false, |list| list.extend(packets.iter().cloned()));
            gate.offer(session, down, &run, &track.mirror);
        }
        if caught.is_empty()
            && let Some(slot) = session.downs.get_mut(usize::from(down))
            && let Some(layer) = slot.down.wants_keyframe(now, &track.mirror)
        {
            asks.push((track_at, Ask::KeyFrame(layer)));
        }
        if session.exit.list() {
            round.push_back(at);
        }
        self.carry_out_asks(now);
    }
}

//! One worker: what it owns, and the turn that it repeats.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use model::{CloseReason, Event};
use router::PacketPool;

use crate::{
    Config, Counters, WorkerId,
    commands::Order,
    mesh::{Bell, Mesh},
    recv::Inbox,
    registry::Registry,
    send::Outbox,
    sessions::{Sessions, Slot},
    source::SourcePeer,
    timers::Timers,
    tracks::Tracks,
};

/// Longest sleep: a worker looks around at least this often.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Everything that one thread owns.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) config: Arc<Config>,
    pub(crate) bell: Bell,
    pub(crate) commands: Receiver<Order>,
    pub(crate) mesh: Mesh,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) registry: Registry,
    pub(crate) sessions: Sessions,
    pub(crate) tracks: Tracks,
    pub(crate) sources: Vec<SourcePeer>,
    pub(crate) timers: Timers,
    pub(crate) pool: PacketPool,
    pub(crate) counters: Arc<Counters>,
    /// Sessions whose handshake goes on.
    pub(crate) half_open: usize,
    /// Scratch for datagrams that a peer wants to send.
    pub(crate) scratch: Vec<u8>,
    /// The session that is being worked on: the culprit of a panic.
    pub(crate) current: Option<Slot>,
    pub(crate) stopping: bool,
}

impl Worker {
    /// Repeats the turn until told to stop.
    pub(crate) fn run(mut self) {
        while !self.stopping {
            let busy = self.turn();
            if !busy {
                self.sleep();
            }
        }
        // The goodbyes of the last turn are out; nothing else is owed.
        self.outbox.flush(&self.inbox, &self.counters);
    }

    /// One turn: everything that waits is taken in, everything that is due goes out. Returns whether there may be more.
    pub(crate) fn turn(&mut self) -> bool {
        let now = Instant::now();
        self.guarded(|w| w.take_commands(now));
        self.guarded(|w| w.take_words(now));
        self.guarded(|w| w.take_media(now));
        self.guarded(|w| w.take_sources(now));
        let more = self.receive(now);
        self.guarded(|w| w.call_due(now));
        self.flush_tracks(now);
        self.outbox.flush(&self.inbox, &self.counters);
        self.mesh.ring_bells();
        self.counters.sessions.set(self.sessions.len() as u64);
        self.counters.tracks.set(self.tracks.len() as u64);
        self.counters.packet_buffers.set(self.pool.stats().buffers as u64);
        more
    }

    /// Runs a step. A panic ends the session that was being worked on, and nothing else.
    pub(crate) fn guarded(&mut self, step: impl FnOnce(&mut Worker)) {
        // State that the step left half-changed belongs to the session that is closed now; tables shared with
        // others are changed in single statements.
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_ok() {
            return;
        }
        self.counters.panics.add(1);
        self.outbox.abandon();
        let culprit = self.current.take().and_then(|slot| {
            let session = self.sessions.at(slot)?;
            Some((slot, session.id))
        });
        tracing::error!(session = ?culprit.map(|(_, id)| id.0), "a defect ended a session");
        if let Some((slot, _)) = culprit {
            self.end_session(slot, CloseReason::Internal);
        }
    }

    pub(crate) fn report(&self, event: Event) {
        (self.config.events)(event);
    }

    fn sleep(&mut self) {
        self.bell.parking().prepare_sleep();
        // Whoever pushes from here on rings the bell; whatever came before is seen here.
        if !self.mesh.is_idle() || self.sources.iter().any(SourcePeer::has_packets) {
            self.bell.parking().cancel_sleep();
            return;
        }
        if let Ok(order) = self.commands.try_recv() {
            self.bell.parking().cancel_sleep();
            let now = Instant::now();
            self.guarded(|w| w.take_command(now, order));
            return;
        }
        let now = Instant::now();
        let deadline = [self.timers.next(), self.tracks.next_due()].into_iter().flatten().min();
        let timeout = deadline.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now));
        self.inbox.wait(self.bell.fd(), timeout.min(SLEEP_MAX));
        self.bell.parking().cancel_sleep();
        self.bell.fd().drain();
        self.counters.wakeups.add(1);
    }
}

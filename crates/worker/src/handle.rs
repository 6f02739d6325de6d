//! The interface of the workers to other threads: commands change the session directory, and the worker that owns the
//! session is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Command, SessionId, SessionPlan, StatsReply};

use crate::{
    Counters, Source, Watch, WorkerFailure, WorkerId, WorkerMetrics,
    directory::{Directory, Effect},
    health::Health,
    mail::{Mailbox, Notice},
    source::source,
};

/// Sends commands to the workers; may be cloned and used from any thread.
#[derive(Clone)]
pub struct WorkersHandle {
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    directory: Arc<Directory>,
    boxes: Arc<[Arc<Mailbox>]>,
    counters: Vec<Arc<Counters>>,
    health: Arc<Health>,
}

impl WorkersHandle {
    pub(crate) fn new(
        port: u16,
        directory: Arc<Directory>,
        boxes: Arc<[Arc<Mailbox>]>,
        counters: Vec<Arc<Counters>>,
        health: Arc<Health>,
    ) -> Self {
        Self { shared: Arc::new(Shared { port, directory, boxes, counters, health }) }
    }

    /// The UDP port of all media.
    pub fn local_port(&self) -> u16 {
        self.shared.port
    }

    /// Carries out a command. It takes effect in the worker that owns the session or will own it. It never blocks and
    /// never fails: a worker that takes the notice late finds the newest orders in the directory. Commands about one
    /// session have to come from one thread at a time, in order.
    pub fn send(&self, command: &Command) {
        match self.shared.directory.command(command) {
            // A worker that holds control back (up to 20 ms) would answer the session's first check that much later.
            Effect::Awaits => self.shared.boxes.iter().for_each(|there| there.waker().hint()),
            Effect::Tell(owner, entry) => {
                if let Some(there) = self.shared.boxes.get(owner.index()) {
                    there.notify(Notice::Orders(entry));
                }
            }
            Effect::Done => {}
        }
    }

    /// Starts a publisher without a peer connection. Of the plan only the session's id and the up-media are used.
    pub fn attach_source(&self, plan: SessionPlan) -> Source {
        // The id spreads sources over the workers.
        let at = plan.id.0 as usize % self.shared.boxes.len();
        let there = &self.shared.boxes[at];
        let (source, peer) = source(plan.id, there.clone());
        let entry = self.shared.directory.open_at(Arc::new(plan), WorkerId(at as u8));
        there.notify(Notice::Attach(entry, Box::new(peer)));
        source
    }

    /// Asks the worker that owns a session for its measurements. `reply` is called on that worker's thread, within a
    /// turn or two. It is dropped without a call when no worker owns the session, when the session ends first, and for
    /// local sources.
    pub fn stats(&self, session: SessionId, reply: StatsReply) {
        let owner = self.shared.directory.by_id(session).and_then(|entry| entry.owner());
        if let Some(there) = owner.and_then(|owner| self.shared.boxes.get(owner.index())) {
            there.notify(Notice::Inspect(session, reply));
        }
    }

    /// Ends all sessions with their goodbyes, and then the workers.
    pub(crate) fn shutdown(&self) {
        self.shared.boxes.iter().for_each(|there| there.notify(Notice::Shutdown));
    }

    /// How many sessions the workers know, including those without an owner yet.
    pub fn sessions(&self) -> usize {
        self.shared.directory.len()
    }

    /// Resolves when a worker's thread ends by a defect; see [`crate::Workers::watch`].
    pub fn watch(&self) -> Watch {
        self.shared.health.watch()
    }

    /// The first worker whose thread ended by a defect.
    pub fn failure(&self) -> Option<WorkerFailure> {
        self.shared.health.failure()
    }

    /// Whether no worker failed, and each began a turn within the last 5 s.
    pub fn is_ready(&self) -> bool {
        self.shared.health.is_ready(Instant::now())
    }

    /// How long ago each worker began its last turn. More than a second is late, because a worker sleeps for half a
    /// second at most.
    pub fn turn_ages(&self) -> Vec<Duration> {
        self.shared.health.turn_ages(Instant::now())
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Test hook: the thread of a worker ends by a panic outside of any session.
    #[cfg(any(test, feature = "lab"))]
    pub fn break_worker(&self, worker: usize) {
        if let Some(there) = self.shared.boxes.get(worker) {
            there.notify(Notice::Break);
        }
    }

    /// The counters of each worker now.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        let workers = self.shared.counters.iter().enumerate();
        workers.map(|(at, counters)| counters.snapshot(at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::{bench, benches, plan};

    #[test]
    fn a_command_wakes_the_worker_that_owns_the_session_and_no_other() {
        let workers = benches(3);
        let sleep = |at: usize| workers[at].worker.mail.waker().parking().prepare_light_sleep();
        let woken = || -> Vec<bool> {
            let wakers = workers.iter().map(|b| b.worker.mail.waker().parking());
            wakers.map(|parking| !parking.should_wake()).collect()
        };
        (0..3).for_each(sleep);
        workers[0].command(Command::Open(plan(1)));
        assert_eq!(woken(), [false; 3], "its first check wakes one of them");
        let entry = workers[0].worker.directory.by_id(SessionId(1)).unwrap();
        workers[0].worker.directory.settle(&entry, WorkerId(2)).unwrap();
        (0..3).for_each(sleep);
        let slots = Vec::new();
        workers[0].command(Command::Bind { session: SessionId(1), slots });
        assert_eq!(woken(), [false, false, true]);
        assert!(workers[2].worker.mail.next_notice().is_some());
        assert!(workers[0].worker.mail.is_idle() && workers[1].worker.mail.is_idle());
    }

    #[test]
    fn a_worker_that_holds_control_back_hears_that_a_session_is_awaited() {
        let bench = bench();
        let parking = bench.worker.mail.waker().parking();
        parking.prepare_sleep();
        bench.command(Command::Open(plan(1)));
        assert!(!parking.should_wake(), "it was woken");
        parking.prepare_light_sleep();
        bench.command(Command::Open(plan(2)));
        assert!(
            parking.should_wake(),
            "it listens to all sockets, and the first check will wake it"
        );
    }
}

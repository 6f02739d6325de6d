//! One worker: its parts, and the turn that it repeats.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{CloseReason, Event, LogLimit};
use router::{PacketPool, PoolLimits};
use rtp::rtcp::ReportBlock;

use crate::{
    Config, Counters, WorkerId,
    data::DataRound,
    directory::Directory,
    exit::rounds::Rounds,
    health::{Health, LATE_AFTER},
    mail::Mail,
    memory::Cut,
    paths::Paths,
    recv::{Inbox, Lane},
    send::Outbox,
    sessions::{SessionRef, Sessions},
    source::SourcePeer,
    timers::Timers,
    tracks::Tracks,
};

/// Longest sleep: a worker runs a turn at least this often.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// While packets wait to be sent, control is read only this often. Otherwise a crowd of joining sessions would delay
/// the pictures of all viewers.
const CONTROL_EVERY: Duration = Duration::from_millis(4);

/// How often the packet pool is searched for packets that nothing refers to any more.
const TIDY_EVERY: Duration = Duration::from_millis(10);
/// A worker ends after this many failed waits in a row. A failed wait takes 10 ms at most.
const WAITS_FAILED_MAX: u32 = 100;

/// The time, as a worker reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The machine's clock.
    Machine,
    /// A time that the caller sets; it stands still in between.
    #[cfg(any(test, feature = "lab"))]
    Set(Instant),
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self {
            Clock::Machine => Instant::now(),
            #[cfg(any(test, feature = "lab"))]
            Clock::Set(now) => *now,
        }
    }
}

/// Everything that one thread owns, and its references to what all workers share.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) config: Arc<Config>,
    /// All sessions of the node.
    pub(crate) directory: Arc<Directory>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    /// Queues from and to other threads.
    pub(crate) mail: Mail,
    /// The sockets, for receiving.
    pub(crate) inbox: Inbox,
    /// Datagrams that wait to be given to the kernel.
    pub(crate) outbox: Outbox,
    /// The session that each network path belongs to.
    pub(crate) paths: Paths,
    /// The sessions that this worker owns.
    pub(crate) sessions: Sessions,
    /// Tracks with their sinks.
    pub(crate) tracks: Tracks,
    /// Publishers without a peer connection.
    pub(crate) sources: Vec<SourcePeer>,
    /// Runs of packets on their way from tracks to receivers.
    pub(crate) rounds: Rounds,
    /// Sessions with data messages to take or to send.
    pub(crate) data_round: DataRound,
    /// Deadlines of sessions.
    pub(crate) timers: Timers,
    /// Packet buffers.
    pub(crate) pool: PacketPool,
    /// When the current datagram arrived, by the kernel's timestamp; `None` for a datagram that did not come through a
    /// socket of this worker.
    pub(crate) arrived: Option<Instant>,
    /// Scratch for datagrams that a peer wants to send.
    pub(crate) scratch: Vec<u8>,
    /// Scratch for the packets that are dropped from caches.
    pub(crate) cuts: Vec<Cut>,
    /// Scratch for report blocks.
    pub(crate) blocks: Vec<ReportBlock>,
    /// The session of the current step. If the step panics, this session is ended.
    pub(crate) current: Option<SessionRef>,
    /// When the control sockets were read last.
    control_at: Option<Instant>,
    pub(crate) stopping: bool,
    health: Arc<Health>,
    /// When the last turn began.
    turned: Option<Instant>,
    /// When the packet pool was last searched for free packets.
    tidied: Option<Instant>,
    /// How many waits in a row failed.
    waits_failed: u32,
    pub(crate) defects: LogLimit,
    /// Test hook: the loop ends by a panic outside of any session.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) broken: bool,
}

impl Worker {
    pub(crate) fn new(
        config: Arc<Config>,
        directory: Arc<Directory>,
        mail: Mail,
        inbox: Inbox,
        counters: Arc<Counters>,
        packet_memory: usize,
        health: Arc<Health>,
    ) -> Self {
        let limits =
            PoolLimits { bytes: packet_memory, account_bytes: config.session_packet_memory };
        counters.packet_bytes_limit.set(packet_memory as u64);
        let outbox = Outbox::new(inbox.media_sockets(), counters.clone());
        let clock = Clock::Machine;
        Self {
            id: mail.me(),
            directory,
            pool: PacketPool::new(clock.now(), limits),
            clock,
            mail,
            inbox,
            outbox,
            paths: Paths::default(),
            sessions: Sessions::default(),
            tracks: Tracks::default(),
            sources: Vec::new(),
            rounds: Rounds::default(),
            data_round: DataRound::default(),
            timers: Timers::default(),
            arrived: None,
            scratch: Vec::with_capacity(2_048),
            cuts: Vec::new(),
            blocks: Vec::new(),
            current: None,
            control_at: None,
            stopping: false,
            health,
            turned: None,
            tidied: None,
            waits_failed: 0,
            defects: LogLimit::new(1, Duration::from_secs(1)),
            #[cfg(any(test, feature = "lab"))]
            broken: false,
            counters,
            config,
        }
    }

    /// Repeats the turn until the worker is told to stop.
    ///
    /// # Errors
    /// The loop cannot go on. The text is for people.
    ///
    /// # Errors
    /// The loop cannot go on. Text for people.
    pub(crate) fn run(mut self) -> Result<(), String> {
        while !self.stopping {
            let busy = self.turn();
            if !busy {
                self.sleep()?;
            }
        }
        // The goodbyes of the last turn may still be in the outbox.
        self.outbox.flush();
        Ok(())
    }

    /// One turn: takes in everything that waits, and sends everything that is due. Returns whether there may be more.
    pub(crate) fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.note_turn(now);
        let mut more = false;
        self.guarded(|w| more |= w.take_notices(now));
        self.guarded(|w| w.take_messages(now));
        self.guarded(|w| w.take_handed(now));
        self.guarded(|w| w.take_media(now));
        self.guarded(|w| w.take_sources(now));
        // While a handshake is in progress, control is read before media. A peer's media may follow its last handshake
        // message at once, and would be dropped because there are no keys yet.
        let handshakes = self.sessions.half_open() > 0;
        more |= handshakes && self.receive(now, Lane::Control);
        more |= self.receive(now, Lane::Media);
        more |= self.send(now);
        // Without a handshake, control is read after this turn's share of media has left.
        let now = self.clock.now();
        more |= !handshakes && self.receive_control(now);
        self.guarded(|w| w.call_due(now));
        more |= self.work_on_data(now);
        more |= self.send(now);
        if more {
            // No poll follows, so it is not known which sockets are readable: the next turn reads all of them.
            self.inbox.look_everywhere();
        }
        self.mail.wake_receivers();
        self.tidy_pool(now);
        self.measure();
        more
    }

    /// Records that the worker runs, and counts a turn that begins late.
    fn note_turn(&mut self, now: Instant) {
        #[cfg(any(test, feature = "lab"))]
        assert!(!self.broken, "a test broke this worker");
        self.health.turned(self.id, now);
        let before = self.turned.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) >= LATE_AFTER) {
            self.counters.late_turns.add(1);
        }
    }

    /// Takes back the packets of publishers that stopped sending. Not in every turn, because each look is a cache
    /// miss.
    fn tidy_pool(&mut self, now: Instant) {
        let recent = self.tidied.is_some_and(|at| now.saturating_duration_since(at) < TIDY_EVERY);
        if !recent {
            self.tidied = Some(now);
            self.pool.tidy();
        }
    }

    /// Publishes how full everything is that has a limit.
    fn measure(&self) {
        let (counters, pool) = (&self.counters, self.pool.stats());
        counters.sessions.set(self.sessions.len() as u64);
        counters.half_open.set(self.sessions.half_open() as u64);
        counters.paths.set(self.paths.len() as u64);
        counters.messages_waiting.set(self.mail.waiting() as u64);
        counters.tracks.set(self.tracks.len() as u64);
        counters.packet_buffers.set(pool.buffers as u64);
        counters.packet_bytes_used.set(pool.used_bytes as u64);
    }

    /// Reads control, but less often while packets wait to be sent.
    fn receive_control(&mut self, now: Instant) -> bool {
        let recent =
            self.control_at.is_some_and(|at| now.saturating_duration_since(at) < CONTROL_EVERY);
        if recent && !self.rounds.is_empty() {
            return true;
        }
        self.control_at = Some(now);
        self.receive(now, Lane::Control)
    }

    /// Writes the packets that are due, up to the limit of one turn, and flushes the outbox to the kernel. Returns
    /// whether more is due.
    fn send(&mut self, now: Instant) -> bool {
        self.tracks.expire(now);
        let more = self.send_due(now);
        self.outbox.flush();
        more
    }

    /// Runs a step. A panic in it ends only the session that the step worked on.
    pub(crate) fn guarded(&mut self, step: impl FnOnce(&mut Worker)) {
        // Half-changed state belongs to the session that is ended now. Tables shared with other sessions are changed
        // in single statements.
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_ok() {
            // A panic in the next step must not end this session.
            self.current = None;
            return;
        }
        self.counters.panics.add(1);
        let culprit = self.current.take().and_then(|at| {
            let session = self.sessions.at(at)?;
            Some((at, session.id))
        });
        if let Some(skipped) = self.defects.pass(self.clock.now()) {
            let session = culprit.map(|(_, id)| id.0);
            tracing::error!(?session, skipped, "a defect ended a session");
        }
        if let Some((at, _)) = culprit {
            self.end_session(at, CloseReason::Internal);
        }
    }

    pub(crate) fn report(&self, event: Event) {
        (self.config.events)(event);
    }

    fn sleep(&mut self) -> Result<(), String> {
        self.inbox.look_everywhere();
        let now = self.clock.now();
        // While a session is connecting, the worker waits on all sockets: the session's checks and handshake must be
        // answered at once.
        let may_hold = self.sessions.half_open() == 0 && !self.directory.awaits();
        let held = self.inbox.held(now, may_hold);
        let parking = self.mail.waker().parking();
        // A worker that waits on all its sockets sleeps lightly: a hint that a new session is expected need not wake
        // it, because the session's first check will.
        match held {
            Some(_) => parking.prepare_sleep(),
            None => parking.prepare_light_sleep(),
        }
        // A notice that is pushed from here on wakes the worker; one that was pushed before is found by the checks
        // below. In the other order a notice could be pushed between the checks and the sleep, and would wait for half
        // a second.
        let awaited = held.is_some() && self.directory.awaits();
        if awaited || !self.mail.is_idle() || self.sources.iter().any(SourcePeer::has_packets) {
            self.mail.waker().parking().cancel_sleep();
            return Ok(());
        }
        let deadline = self.next_wake();
        let timeout = deadline.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now));
        let blocked = self.outbox.is_blocked();
        let waker = self.mail.waker().fd();
        let waited = self.inbox.wait(waker, now, timeout.min(SLEEP_MAX), held, blocked);
        self.mail.waker().parking().cancel_sleep();
        self.counters.wakeups.add(1);
        self.waits_failed = if waited.is_ok() { 0 } else { self.waits_failed + 1 };
        match waited {
            // A failed wait is tried again, because a shortage of kernel memory may pass. After too many in a row the
            // worker ends.
            Err(error) if self.waits_failed >= WAITS_FAILED_MAX => {
                Err(format!("waiting for datagrams fails: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// When the worker has something to do next, if nothing arrives.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        [self.timers.next(), self.tracks.next_due()].into_iter().flatten().min()
    }
}

#[cfg(test)]
pub(crate) mod tests;

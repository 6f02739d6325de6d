//! One worker: what it owns, and the turn that it repeats.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use model::{CloseReason, Event};
use router::PacketPool;
use rtp::rtcp::ReportBlock;

use crate::{
    Config, Counters, WorkerId,
    commands::Order,
    mesh::{Bell, Mesh},
    recv::{Inbox, Lane},
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
    /// When the datagram that is being worked on came, by the kernel's stamp; none for one that did not come through a
    /// socket of ours.
    pub(crate) arrived: Option<Instant>,
    /// Scratch for datagrams that a peer wants to send.
    pub(crate) scratch: Vec<u8>,
    /// Scratch for report blocks.
    pub(crate) blocks: Vec<ReportBlock>,
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
        let mut told = true;
        self.guarded(|w| told = w.take_commands(now));
        self.guarded(|w| w.take_words(now));
        self.guarded(|w| w.take_media(now));
        self.guarded(|w| w.take_sources(now));
        // A check may be that of a session which one of the commands tells of.
        let mut more = !told;
        // What ends a handshake comes before the media that may stand right behind it.
        let handshakes = self.half_open > 0;
        more |= told && handshakes && self.receive(now, Lane::Control);
        more |= self.receive(now, Lane::Media);
        self.send(now);
        // Media is out; what is left comes after it.
        let now = Instant::now();
        more |= told && !handshakes && self.receive(now, Lane::Control);
        self.guarded(|w| w.call_due(now));
        self.send(now);
        if more {
            // Nobody sleeps now, so nobody is told what comes meanwhile.
            self.inbox.look_everywhere();
        }
        self.mesh.ring_bells();
        self.counters.sessions.set(self.sessions.len() as u64);
        self.counters.tracks.set(self.tracks.len() as u64);
        self.counters.packet_buffers.set(self.pool.stats().buffers as u64);
        more
    }

    /// Writes what is due of every track, and gives the kernel all that waits.
    fn send(&mut self, now: Instant) {
        self.flush_tracks(now);
        self.outbox.flush(&self.inbox, &self.counters);
    }

    /// Runs a step. A panic ends the session that was being worked on, and nothing else.
    pub(crate) fn guarded(&mut self, step: impl FnOnce(&mut Worker)) {
        // State that the step left half-changed belongs to the session that is closed now; tables shared with
        // others are changed in single statements.
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_ok() {
            // The next step's defect is not this session's.
            self.current = None;
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
        self.inbox.look_everywhere();
        let now = Instant::now();
        // Whoever joins is waited for by somebody.
        let patient = self.half_open == 0 && !self.registry.awaits();
        let held = self.inbox.held(now, patient);
        // Who listens to all sockets need not be woken for what matters with the next datagram only.
        match held {
            Some(_) => self.bell.parking().prepare_sleep(),
            None => self.bell.parking().prepare_light_sleep(),
        }
        // Whoever pushes from here on rings the bell; whatever came before is seen here.
        if !self.mesh.is_idle() || self.sources.iter().any(SourcePeer::has_packets) {
            self.bell.parking().cancel_sleep();
            return;
        }
        if let Ok(order) = self.commands.try_recv() {
            self.bell.parking().cancel_sleep();
            self.guarded(|w| w.take_order(now, order));
            return;
        }
        let deadline = [self.timers.next(), self.tracks.next_due()].into_iter().flatten().min();
        let timeout = deadline.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now));
        self.inbox.wait(self.bell.fd(), now, timeout.min(SLEEP_MAX), held);
        self.bell.parking().cancel_sleep();
        self.counters.wakeups.add(1);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::{
            Mutex,
            mpsc::{SyncSender, sync_channel},
        },
        time::SystemTime,
    };

    use model::{
        Command, DropReason, DtlsRole, ExtensionMap, Fingerprint, IceCredentials, Path, SessionId,
        SessionPlan, WallClock,
    };
    use transport::dtls::Certificate;

    use super::*;
    use crate::registry::Home;

    pub(crate) struct Bench {
        pub(crate) worker: Worker,
        events: Arc<Mutex<Vec<Event>>>,
        pub(crate) orders: SyncSender<Order>,
    }

    impl Bench {
        /// What the worker reported so far.
        pub(crate) fn events(&self) -> Vec<Event> {
            self.events.lock().unwrap().clone()
        }
    }

    /// A worker without sockets and without a thread.
    pub(crate) fn bench() -> Bench {
        benches(1).pop().unwrap()
    }

    /// So many of them, with rings in between.
    pub(crate) fn benches(count: usize) -> Vec<Bench> {
        let bells: Vec<Bell> = (0..count).map(|_| Bell::new().unwrap()).collect();
        let places = Mesh::weave(&bells).into_iter().zip(bells).enumerate();
        let make = |(at, (mesh, bell))| {
            let events = Arc::new(Mutex::new(Vec::new()));
            let (sink, clock) = (events.clone(), WallClock::new(Instant::now(), SystemTime::now()));
            let certificate = Arc::new(Certificate::generate().unwrap());
            let report = Arc::new(move |event| sink.lock().unwrap().push(event));
            let config = Arc::new(Config::new(certificate, clock, report));
            let (orders, taken) = sync_channel(8);
            let (inbox, counters) =
                (Inbox::new([None, None], [None, None]), Arc::new(Counters::default()));
            let id = WorkerId(at as u8);
            let worker = Worker::new(id, config, inbox, mesh, bell, taken, counters);
            Bench { worker, events, orders }
        };
        places.map(make).collect()
    }

    pub(crate) fn plan(id: u64) -> Arc<SessionPlan> {
        let text = |what: &str| format!("{what}{id:022}");
        Arc::new(SessionPlan {
            id: SessionId(id),
            ice: IceCredentials {
                local_ufrag: text("u"),
                local_pwd: text("p"),
                remote_ufrag: text("U"),
                remote_pwd: text("P"),
            },
            dtls_role: DtlsRole::Passive,
            fingerprints: vec![Fingerprint { algorithm: "sha-256".into(), bytes: vec![0; 32] }],
            extensions: ExtensionMap::new(),
            up: Vec::new(),
            down: Vec::new(),
            rtcp_reduced_size: true,
            cname: "test".into(),
            remote_candidates: Vec::new(),
        })
    }

    pub(crate) fn path(port: u16) -> Path {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        Path { remote: (local, port).into(), local }
    }

    /// A session that lives in the worker, with one validated path.
    pub(crate) fn settled(worker: &mut Worker, id: u64, now: Instant) -> Slot {
        worker.registry.open(plan(id), Home::new());
        worker.registry.pend_path(path(id as u16), SessionId(id), true);
        worker.settle(now, SessionId(id)).unwrap().unwrap()
    }

    #[test]
    fn a_panic_in_one_session_ends_that_session_only() {
        let (mut bench, now) = (bench(), Instant::now());
        let worker = &mut bench.worker;
        let (bad, good) = (settled(worker, 1, now), settled(worker, 2, now));
        worker.sessions.at(bad).unwrap().poisoned = true;
        let mut hello = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        worker.guarded(|w| w.take_datagram(now, path(1), &mut hello));
        assert!(worker.sessions.at(bad).is_none());
        assert!(worker.sessions.at(good).is_some());
        assert_eq!(worker.counters.panics.value(), 1);
        let closed = Event::Closed { session: SessionId(1), reason: CloseReason::Internal };
        assert!(bench.events.lock().unwrap().contains(&closed));
        // What comes for the session from now on is a stranger's.
        worker.guarded(|w| w.take_datagram(now, path(1), &mut hello));
        let counters = worker.counters.clone();
        let unknown = &counters.dropped_in[DropReason::UnknownPath as usize];
        assert_eq!(unknown.value(), 1);
        worker.guarded(|w| w.take_datagram(now, path(2), &mut hello));
        assert_eq!(unknown.value(), 1, "the other session is served");
    }

    #[test]
    fn a_panic_ends_no_session_that_was_worked_on_before() {
        let (mut bench, now) = (bench(), Instant::now());
        let worker = &mut bench.worker;
        let slot = settled(worker, 1, now);
        let ice = IceCredentials { local_ufrag: "afterwards".into(), ..plan(1).ice.clone() };
        worker
            .guarded(|w| w.take_order(now, Command::Restart { session: SessionId(1), ice }.into()));
        worker.guarded(|_| panic!("a defect that belongs to no session"));
        assert!(worker.sessions.at(slot).is_some());
    }

    #[test]
    fn a_session_settles_in_one_worker_only() {
        let home = Home::new();
        assert_eq!(home.settle(WorkerId(3)), Ok(()));
        assert_eq!(home.settle(WorkerId(3)), Ok(()), "twice by the same is once");
        assert_eq!(home.settle(WorkerId(4)), Err(WorkerId(3)));
        let (mut bench, now) = (bench(), Instant::now());
        bench.worker.registry.open(plan(1), home);
        assert_eq!(bench.worker.settle(now, SessionId(1)), Some(Err(WorkerId(3))));
        assert_eq!(bench.worker.settle(now, SessionId(9)), None);
        assert_eq!(bench.worker.sessions.len(), 0);
    }

    #[test]
    fn sessions_are_awaited_until_they_settle_somewhere_or_go() {
        let (mut benches, now) = (benches(2), Instant::now());
        for id in 1..=2 {
            let home = Home::new();
            for bench in &mut benches {
                bench.worker.registry.open(plan(id), home.clone());
                bench.worker.registry.open(plan(id), home.clone());
            }
        }
        let [a, b] = &mut benches[..] else { panic!("two workers") };
        let (a, b) = (&mut a.worker, &mut b.worker);
        a.settle(now, SessionId(1)).unwrap().unwrap();
        b.take_words(now);
        assert!(a.registry.awaits() && b.registry.awaits(), "the second one");
        for worker in [a, b] {
            worker.take_order(now, Command::Close { session: SessionId(2) }.into());
            assert!(!worker.registry.awaits());
        }
    }

    #[test]
    fn dtls_and_media_from_an_unchecked_address_are_dropped_before_parsing() {
        let (mut bench, now) = (bench(), Instant::now());
        bench.worker.registry.open(plan(1), Home::new());
        for first in [22_u8, 0x80] {
            let mut bytes = [first; 64];
            bench.worker.take_datagram(now, path(9), &mut bytes);
        }
        let drops = &bench.worker.counters.dropped_in;
        assert_eq!(drops[DropReason::UnknownPath as usize].value(), 2);
        assert_eq!(bench.worker.sessions.len(), 0);
    }

    #[test]
    fn a_session_that_is_opened_twice_stays_as_it_is() {
        let (mut bench, now) = (bench(), Instant::now());
        let slot = settled(&mut bench.worker, 1, now);
        bench.worker.registry.open(plan(1), Home::new());
        let entry = bench.worker.registry.entry(SessionId(1)).unwrap();
        assert_eq!(entry.slot, Some(slot));
        assert_eq!(entry.home.owner(), Some(WorkerId(0)));
    }

    #[test]
    fn forgotten_sessions_leave_no_path_behind() {
        let (mut bench, now) = (bench(), Instant::now());
        let slot = settled(&mut bench.worker, 1, now);
        assert!(bench.worker.registry.path(&path(1)).is_some());
        bench.worker.end_session(slot, CloseReason::Requested);
        assert!(bench.worker.registry.path(&path(1)).is_none());
        assert!(bench.worker.registry.by_ufrag(&plan(1).ice.local_ufrag).is_none());
        assert_eq!(bench.worker.half_open, 0);
    }
}

//! A node without sockets, threads and HTTP: the caller brings datagrams and sets the time. DTLS, SRTP, SCTP, rooms, and the numbered
//! events of sessions are those of the product.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Instant, SystemTime},
};

use model::{Event, Path, RoomId, WallClock};
use room::{Limits, RoomConfig, RoomSettings};
use signaling::{Core, lab::EventLogs};
use transport::dtls::Certificate;
use worker::{Config, WorkerMetrics, lab::Detached};

use crate::node::random;

/// Where the node is.
pub const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 7_000);

/// See the module's head.
pub struct StillNode {
    /// The rooms.
    pub core: Core,
    /// What the sessions are told.
    pub logs: EventLogs,
    workers: Detached,
    events: Receiver<Event>,
    inbound: Vec<VecDeque<(SocketAddr, Vec<u8>)>>,
}

impl StillNode {
    /// A node with this many workers, whose time begins at `now`, with these settings for its rooms.
    pub fn new(now: Instant, workers: usize, settings: RoomSettings) -> Self {
        let (sink, events) = channel();
        let sink = Mutex::new(sink);
        let report = Arc::new(move |event| {
            let _gone = sink.lock().unwrap().send(event);
        });
        let certificate = Arc::new(Certificate::generate().expect("a certificate"));
        let fingerprint = certificate.fingerprint_text();
        let clock = WallClock::new(now, SystemTime::UNIX_EPOCH);
        let mut config = Config::new(certificate, clock, report);
        config.workers = NonZeroUsize::new(workers).expect("a worker at least");
        config.pin = false;
        let workers = Detached::new(config, now, workers).expect("the workers start");
        let config = RoomConfig {
            candidates: vec![ADDRESS],
            fingerprint,
            cname: "sfumato".into(),
            limits: Limits::default(),
            default_settings: settings,
        };
        let (logs, commanded, mut seed) = (EventLogs::default(), workers.handle().clone(), 0x5eed);
        let core = Core::new(
            config,
            1,
            move |bytes: &mut [u8]| random(&mut seed, bytes),
            move |command| commanded.send(&command),
            logs.clone(),
        );
        let inbound = workers.metrics().iter().map(|_| VecDeque::new()).collect();
        Self { core, logs, workers, events, inbound }
    }

    /// The kernel receives a datagram. It spreads the peers over the workers by their ports.
    pub fn arrive(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        let at = usize::from(from.port()) % self.inbound.len();
        self.inbound[at].push_back((from, datagram));
    }

    /// Does what is due in the workers and the rooms, and returns the datagrams that are sent.
    pub fn turn(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        for at in 0..self.inbound.len() {
            let mut rounds = 0;
            while self.is_due(at, now) {
                rounds += 1;
                assert!(rounds < 1_000, "worker {at} is never done at one moment");
                // Orders come before datagrams.
                self.workers.turn(at, now);
                while let Some((remote, mut datagram)) = self.inbound[at].pop_front() {
                    let path = Path { remote, local: Ipv4Addr::UNSPECIFIED.into() };
                    self.workers.datagram(at, now, path, &mut datagram);
                }
                while self.workers.turn(at, now) {}
                sent.extend(self.workers.sent(at).into_iter().map(|(path, b)| (path.remote, b)));
            }
        }
        for event in self.events.try_iter() {
            self.core.handle_event(now, event);
        }
        self.core.handle_timeout(now);
        while self.core.work() {}
        sent
    }

    /// Whether a turn would do something.
    pub fn is_busy(&self, now: Instant) -> bool {
        (0..self.inbound.len()).any(|at| self.is_due(at, now))
            || self.core.poll_timeout().is_some_and(|due| due <= now)
    }

    fn is_due(&self, at: usize, now: Instant) -> bool {
        !self.inbound[at].is_empty()
            || self.workers.has_mail(at)
            || self.workers.next_wake(at).is_some_and(|due| due <= now)
    }

    /// The values of the counters of each worker.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        self.workers.metrics()
    }

    /// A room's id.
    pub fn room(name: &str) -> RoomId {
        RoomId::parse(name).expect("a room id")
    }
}

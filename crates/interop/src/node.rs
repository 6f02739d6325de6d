//! Rooms and workers in one process, as the binary wires them, without HTTP.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Instant, SystemTime},
};

use model::{Event, ParticipantId, RoomId, SessionId, WallClock};
use room::{
    Accepted, AdminCommand, DataRequest, Entering, Limits, Notice, Renegotiated, Roles, RoomConfig,
    RoomError, RoomSettings, Target,
};
use signaling::Core;
use transport::dtls::Certificate;
use worker::{Config, WorkerMetrics, Workers, WorkersHandle};

/// A node on loopback.
pub struct Node {
    core: Core,
    notices: Arc<Mutex<Vec<Notice>>>,
    events: Mutex<Receiver<Event>>,
    seen: Mutex<Vec<Event>>,
    workers: Option<Workers>,
    handle: WorkersHandle,
}

impl Node {
    /// A node with this many workers on any free port of 127.0.0.1.
    pub fn start(workers: usize) -> Self {
        Self::start_with(workers, |_| ())
    }

    /// The same, with settings changed.
    pub fn start_with(workers: usize, change: impl FnOnce(&mut Config)) -> Self {
        let (sink, events) = channel();
        let certificate = Arc::new(Certificate::generate().expect("a certificate"));
        let fingerprint = certificate.fingerprint_text();
        let clock = WallClock::new(Instant::now(), SystemTime::now());
        let sink = Mutex::new(sink);
        let report = Arc::new(move |event| {
            let _gone = sink.lock().unwrap().send(event);
        });
        let mut config = Config::new(certificate, clock, report);
        config.workers = NonZeroUsize::new(workers).expect("a worker at least");
        config.bind = vec![[127, 0, 0, 1].into()];
        config.pin = false;
        change(&mut config);
        let workers = Workers::start(config).expect("the workers start");
        let handle = workers.handle();
        let address = SocketAddr::from(([127, 0, 0, 1], handle.local_port()));
        let config = RoomConfig {
            candidates: vec![address],
            fingerprint,
            cname: "sfumato".into(),
            limits: Limits::default(),
            default_settings: RoomSettings::default(),
        };
        let mut seed = 0x5eed_u64;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (told, commanded) = (notices.clone(), handle.clone());
        let core = Core::new(
            config,
            1,
            move |bytes: &mut [u8]| random(&mut seed, bytes),
            move |command| commanded.send(&command),
            move |notice: &Notice| told.lock().unwrap().push(notice.clone()),
        );
        Self {
            core,
            notices,
            events: Mutex::new(events),
            seen: Mutex::new(Vec::new()),
            workers: Some(workers),
            handle,
        }
    }

    /// The media port.
    pub fn port(&self) -> u16 {
        self.handle.local_port()
    }

    /// A peer publishes.
    pub fn publish(&self, room: &str, who: &str, offer: &str) -> Result<Accepted, RoomError> {
        self.core.publish(Instant::now(), &room_id(room), &participant(who), offer)
    }

    /// A peer watches everyone, or one participant.
    pub fn subscribe(
        &self,
        room: &str,
        whom: Option<&str>,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let target = whom.map_or_else(Target::any, |id| Target::participant(participant(id)));
        self.core.subscribe(Instant::now(), &room_id(room), None, target, offer)
    }

    /// A member joins with a room session.
    pub fn join(&self, room: &str, who: &str, offer: &str) -> Result<Accepted, RoomError> {
        let entering = Entering {
            participant: Some(participant(who)),
            identity: None,
            target: Target::any(),
            admission: Some(Box::default()),
        };
        self.core.enter(Instant::now(), &room_id(room), entering, Roles::Both, offer)
    }

    /// A data message from the application to everybody in a room.
    pub fn tell(&self, room: &str, request: DataRequest) -> Result<(), RoomError> {
        let command = AdminCommand::SendData(request);
        self.core.administer(Instant::now(), &room_id(room), command)
    }

    /// Messages of data channels that were refused so far.
    pub fn data_refused(&self) -> u64 {
        self.core.data_refused()
    }

    /// Ends a session as DELETE does.
    pub fn close(&self, session: SessionId) {
        let _gone = self.core.close(Instant::now(), session);
    }

    /// A later offer of a session, as PATCH with `application/sdp` brings it.
    pub fn renegotiate(&self, session: SessionId, offer: &str) -> Result<Renegotiated, RoomError> {
        self.core.renegotiate(Instant::now(), session, offer, None)
    }

    /// Gives the workers' events to the rooms, and lets the rooms work. Tests call it in their loop, as the node's
    /// event task does.
    pub fn pump(&self) {
        let events: Vec<Event> = self.events.lock().unwrap().try_iter().collect();
        for event in &events {
            self.core.handle_event(Instant::now(), event.clone());
        }
        self.core.handle_timeout(Instant::now());
        while self.core.work() {}
        self.seen.lock().unwrap().extend(events);
    }

    /// Events so far.
    pub fn events(&self) -> Vec<Event> {
        self.pump();
        self.seen.lock().unwrap().clone()
    }

    /// Notices since the last call.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    /// Counters, summed over the workers.
    pub fn metrics(&self) -> WorkerMetrics {
        let mut all = self.handle.metrics().into_iter();
        let mut sum = all.next().unwrap_or_default();
        all.for_each(|m| sum.add(&m));
        sum
    }

    /// Counters of each worker.
    pub fn metrics_by_worker(&self) -> Vec<WorkerMetrics> {
        self.handle.metrics()
    }

    /// The handle to send commands to the workers.
    pub fn workers(&self) -> &WorkersHandle {
        &self.handle
    }

    /// Ends the workers with their goodbyes.
    pub fn shutdown(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.shutdown();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn room_id(text: &str) -> RoomId {
    RoomId::parse(text).expect("a room id")
}

fn participant(text: &str) -> ParticipantId {
    ParticipantId::parse(text).expect("a participant id")
}

/// xorshift: tests want repeatable credentials; secrecy does not matter.
pub(crate) fn random(seed: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *byte = (*seed >> 32) as u8;
    }
}

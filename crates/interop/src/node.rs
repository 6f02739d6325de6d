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
use room::{Accepted, Limits, Notice, RoomConfig, RoomError, Rooms, Target};
use transport::dtls::Certificate;
use worker::{Config, WorkerMetrics, Workers, WorkersHandle};

/// A node on loopback.
pub struct Node {
    rooms: Mutex<Rooms>,
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
        };
        let mut seed = 0x5eed_u64;
        let rooms = Rooms::new(config, move |bytes| random(&mut seed, bytes));
        Self {
            rooms: Mutex::new(rooms),
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

    /// Somebody publishes.
    pub fn publish(&self, room: &str, who: &str, offer: &str) -> Result<Accepted, RoomError> {
        self.with_rooms(|rooms, now| rooms.publish(now, &room_id(room), &participant(who), offer))
    }

    /// Somebody watches everyone, or one participant.
    pub fn subscribe(
        &self,
        room: &str,
        whom: Option<&str>,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let target = whom.map_or_else(Target::any, |id| Target::participant(participant(id)));
        self.with_rooms(|rooms, now| rooms.subscribe(now, &room_id(room), None, target, offer))
    }

    /// Ends a session as DELETE does.
    pub fn close(&self, session: SessionId) {
        let _gone = self.with_rooms(|rooms, now| rooms.close(now, session));
    }

    /// Calls into the rooms, then carries their commands to the workers.
    pub fn with_rooms<R>(&self, call: impl FnOnce(&mut Rooms, Instant) -> R) -> R {
        let mut rooms = self.rooms.lock().unwrap();
        let result = call(&mut rooms, Instant::now());
        while let Some(command) = rooms.poll_command() {
            self.handle.send(&command);
        }
        result
    }

    /// Lets the rooms hear what the workers said. Tests call it in their loop, as the node's event task does.
    pub fn pump(&self) {
        let events: Vec<Event> = self.events.lock().unwrap().try_iter().collect();
        self.with_rooms(|rooms, now| {
            for event in &events {
                rooms.handle_event(now, event.clone());
            }
            rooms.handle_timeout(now);
        });
        self.seen.lock().unwrap().extend(events);
    }

    /// Events so far.
    pub fn events(&self) -> Vec<Event> {
        self.pump();
        self.seen.lock().unwrap().clone()
    }

    /// Notices since the last call.
    pub fn notices(&self) -> Vec<Notice> {
        self.with_rooms(|rooms, _| std::iter::from_fn(|| rooms.poll_notice()).collect())
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

    /// Speaks to the workers directly.
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

/// xorshift: tests want repeatable credentials, not secret ones.
fn random(seed: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *byte = (*seed >> 32) as u8;
    }
}

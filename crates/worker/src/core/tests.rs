//! Workers without sockets and threads for the tests of this crate, and tests of the worker itself.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
    time::SystemTime,
};

use model::{
    Codec, CodecSpec, Command, DownMedia, DropReason, DtlsRole, ExtensionMap, Feedback,
    Fingerprint, IceCredentials, MediaKind, Mid, Path, Pt, SessionId, SessionPlan, Ssrc,
    StreamSsrc, WallClock,
};
use ring::Owner;
use transport::dtls::Certificate;

use super::*;
use crate::{WorkersHandle, directory::Entry, paths::PathOwner, workers::assemble};

pub(crate) struct Bench {
    pub(crate) worker: Worker,
    events: Arc<Mutex<Vec<Event>>>,
    handle: WorkersHandle,
}

impl Bench {
    /// The events that all workers reported so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Sends a command, as signaling does; the worker takes its notices later.
    pub(crate) fn command(&self, command: Command) {
        self.handle.send(&command);
    }

    pub(crate) fn handle(&self) -> &WorkersHandle {
        &self.handle
    }
}

/// A worker without sockets and without a thread.
pub(crate) fn bench() -> Bench {
    benches(1).pop().unwrap()
}

/// This number of such workers, with queues between them.
pub(crate) fn benches(count: usize) -> Vec<Bench> {
    benches_with(count, |_| ())
}

/// The same with other settings than the defaults.
pub(crate) fn benches_with(count: usize, set: impl FnOnce(&mut Config)) -> Vec<Bench> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (sink, clock) = (events.clone(), WallClock::new(Instant::now(), SystemTime::now()));
    let certificate = Arc::new(Certificate::generate().unwrap());
    let report = Arc::new(move |event| sink.lock().unwrap().push(event));
    let mut config = Config::new(certificate, clock, report);
    set(&mut config);
    let inboxes = (0..count).map(|_| Inbox::new([None, None], [None, None])).collect();
    let (handle, workers) = assemble(config, 0, inboxes).unwrap();
    let make = |mut worker: Worker| {
        worker.outbox.detach();
        Bench { worker, events: events.clone(), handle: handle.clone() }
    };
    workers.into_iter().map(make).collect()
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
        data: None,
        remote_candidates: Vec::new(),
    })
}

/// Opus or VP8, both under one payload type.
pub(crate) fn codec(kind: MediaKind) -> CodecSpec {
    let (codec, clock_rate, channels) = match kind {
        MediaKind::Audio => (Codec::Opus, 48_000, 2),
        MediaKind::Video => (Codec::Vp8, 90_000, 0),
    };
    CodecSpec {
        pt: PT,
        rtx_pt: None,
        codec,
        clock_rate,
        channels,
        fmtp: String::new(),
        feedback: Feedback { nack: true, ..Feedback::default() },
        parameter_sets: None,
    }
}

pub(crate) const PT: Pt = Pt(111);

/// A slot for sound.
pub(crate) fn down(mid: Mid) -> DownMedia {
    let ssrc = StreamSsrc { media: Ssrc(21), rtx: None };
    DownMedia { mid, kind: MediaKind::Audio, ssrc, codecs: vec![codec(MediaKind::Audio)] }
}

pub(crate) fn path(port: u16) -> Path {
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    Path { remote: (local, port).into(), local }
}

/// Opens a session.
pub(crate) fn open(worker: &Worker, plan: Arc<SessionPlan>) -> Arc<Entry> {
    let id = plan.id;
    worker.directory.command(&Command::Open(plan));
    worker.directory.by_id(id).unwrap()
}

/// A session that the worker owns, with one validated path.
pub(crate) fn settled(worker: &mut Worker, id: u64, now: Instant) -> SessionRef {
    let entry = open(worker, plan(id));
    worker.paths.pend(now, path(id as u16), &entry, true);
    worker.settle(now, &entry).unwrap()
}

/// Whether the path belongs to this session of the worker.
pub(crate) fn is_here(worker: &Worker, path: &Path, session: SessionRef) -> bool {
    matches!(worker.paths.get(path), Some(PathOwner::Here(at)) if *at == session)
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
    // Datagrams of the ended session are now those of an unknown path.
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
    let at = settled(&mut bench.worker, 1, now);
    let ice = IceCredentials { local_ufrag: "afterwards".into(), ..plan(1).ice.clone() };
    bench.command(Command::Restart { session: SessionId(1), ice });
    let worker = &mut bench.worker;
    worker.guarded(|w| _ = w.take_notices(now));
    worker.guarded(|_| panic!("a defect that belongs to no session"));
    assert!(worker.sessions.at(at).is_some());
}

#[test]
fn a_session_settles_in_one_worker_only() {
    let (mut benches, now) = (benches(2), Instant::now());
    let entry = open(&benches[0].worker, plan(1));
    assert_eq!(benches[0].worker.settle(now, &entry), benches[0].worker.settle(now, &entry));
    assert_eq!(benches[1].worker.settle(now, &entry), Err(Some(WorkerId(0))));
    assert_eq!((benches[0].worker.sessions.len(), benches[1].worker.sessions.len()), (1, 0));
    let over = open(&benches[0].worker, plan(2));
    benches[0].command(Command::Close { session: SessionId(2) });
    assert_eq!(benches[1].worker.settle(now, &over), Err(None));
}

#[test]
fn a_session_that_was_closed_ends_in_the_worker_that_owns_it() {
    let (mut benches, now) = (benches(2), Instant::now());
    let at = settled(&mut benches[1].worker, 1, now);
    benches[0].command(Command::Close { session: SessionId(1) });
    benches[0].worker.take_notices(now);
    assert!(benches[1].worker.sessions.at(at).is_some(), "it has not heard of it yet");
    benches[1].worker.take_notices(now);
    assert!(benches[1].worker.sessions.at(at).is_none());
    let closed = Event::Closed { session: SessionId(1), reason: CloseReason::Requested };
    assert_eq!(benches[0].events(), [closed]);
    assert_eq!(benches[0].handle().sessions(), 0);
}

#[test]
fn dtls_and_media_from_an_unchecked_address_are_dropped_before_parsing() {
    let (mut bench, now) = (bench(), Instant::now());
    open(&bench.worker, plan(1));
    for first in [22_u8, 0x80] {
        let mut bytes = [first; 64];
        bench.worker.take_datagram(now, path(9), &mut bytes);
    }
    let drops = &bench.worker.counters.dropped_in;
    assert_eq!(drops[DropReason::UnknownPath as usize].value(), 2);
    assert_eq!(bench.worker.sessions.len(), 0);
}

#[test]
fn ended_sessions_leave_nothing_behind() {
    let (mut bench, now) = (bench(), Instant::now());
    let at = settled(&mut bench.worker, 1, now);
    let entry = bench.worker.sessions.at(at).unwrap().entry.clone();
    assert!(bench.worker.paths.get(&path(1)).is_some());
    bench.worker.end_session(at, CloseReason::Requested);
    assert_eq!(bench.worker.paths.len(), 0);
    assert!(bench.worker.directory.by_ufrag(&plan(1).ice.local_ufrag).is_none());
    assert_eq!((bench.worker.sessions.half_open(), entry.claim.owner()), (0, Owner::Gone));
}

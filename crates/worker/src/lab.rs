//! Workers without threads, for measurements and simulations only: the caller sets the time, and sessions are
//! connected with keys instead of a handshake. The product does not use it (cargo feature `lab`).
//!
//! The packet path is the same as in the product. [`Lab`] is one worker with real sockets, to measure costs;
//! [`Detached`] is all workers of a node without sockets, for a simulated network.

use std::{io, time::Instant};

use model::{Command, Path, SessionId};
use transport::srtp;

use crate::{
    Config, WorkerId, WorkerMetrics, WorkersHandle,
    core::{Clock, Worker},
    recv::{Inbox, Lane},
    sessions::Crypto,
    workers::{assemble, bind_all},
};

/// One worker with real sockets. Time has to go forward.
pub struct Lab {
    worker: Worker,
    handle: WorkersHandle,
}

impl Lab {
    /// A worker on the addresses and the port of `config`; the number of workers in it is ignored.
    ///
    /// # Errors
    /// The system's, when it refuses sockets.
    pub fn new(config: Config) -> io::Result<Self> {
        let (port, inboxes, _) = bind_all(&config, 1)?;
        let (handle, mut workers) = assemble(config, port, inboxes)?;
        let worker = workers.pop().ok_or_else(|| io::Error::other("no worker"))?;
        Ok(Self { worker, handle })
    }

    /// The UDP port of the worker.
    pub fn local_port(&self) -> u16 {
        self.handle.local_port()
    }

    /// Carries out a command.
    pub fn command(&mut self, now: Instant, command: Command) {
        self.handle.send(&command);
        self.worker.guarded(|worker| _ = worker.take_notices(now));
    }

    /// Connects an opened session: this worker owns it, it is reached on `path`, and has these keys. `false` when
    /// there is no such session.
    pub fn connect(
        &mut self,
        now: Instant,
        session: SessionId,
        path: Path,
        sender: srtp::Sender,
        receiver: srtp::Receiver,
    ) -> bool {
        let Some(entry) = self.worker.directory.by_id(session) else { return false };
        self.worker.paths.pend(now, path, &entry, true);
        self.worker.connect_with_keys(now, session, sender, receiver)
    }

    /// Takes a datagram as if it had come through a socket.
    pub fn datagram(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        self.worker.take_from_network(now, path, datagram);
    }

    /// Reads the sockets, as the first part of a turn does.
    pub fn receive(&mut self, now: Instant) {
        self.worker.receive(now, Lane::Media);
        self.worker.receive(now, Lane::Control);
    }

    /// The rest of a turn: writes, encrypts and sends what is due.
    pub fn turn(&mut self, now: Instant) {
        self.write(now);
        self.send();
    }

    /// The first half of [`Lab::turn`]: what is due is written and encrypted, and waits in the outbox as long as there
    /// is room.
    pub fn write(&mut self, now: Instant) {
        self.worker.guarded(|worker| worker.call_due(now));
        while self.worker.send_due(now) {}
    }

    /// The second half: what waits in the outbox is given to the kernel.
    pub fn send(&mut self) {
        self.worker.outbox.flush();
    }

    /// The values of the worker's counters now.
    pub fn metrics(&self) -> WorkerMetrics {
        self.worker.counters.snapshot(0)
    }
}

/// The workers of a node without sockets. The caller brings datagrams in, takes them out, and gives each worker its
/// turns.
pub struct Detached {
    workers: Vec<Worker>,
    handle: WorkersHandle,
}

impl Detached {
    /// This number of workers, whose clocks stand at `now`.
    ///
    /// # Errors
    /// The system's, when it refuses an eventfd.
    pub fn new(config: Config, now: Instant, workers: usize) -> io::Result<Self> {
        let inboxes = (0..workers).map(|_| Inbox::new([None, None], [None, None])).collect();
        let (handle, mut workers) = assemble(config, 0, inboxes)?;
        for worker in &mut workers {
            worker.clock = Clock::Set(now);
            worker.outbox.detach();
        }
        Ok(Self { workers, handle })
    }

    /// The handle to send commands to the workers, as signaling does.
    pub fn handle(&self) -> &WorkersHandle {
        &self.handle
    }

    /// Brings a datagram to the worker `at`, as the network and the kernel would.
    pub fn datagram(&mut self, at: usize, now: Instant, path: Path, datagram: &mut [u8]) {
        if let Some(worker) = self.workers.get_mut(at) {
            worker.clock = Clock::Set(now);
            worker.take_from_network(now, path, datagram);
        }
    }

    /// Gives the worker `at` a turn. Returns whether there may be more to do at once.
    pub fn turn(&mut self, at: usize, now: Instant) -> bool {
        let Some(worker) = self.workers.get_mut(at) else { return false };
        worker.clock = Clock::Set(now);
        worker.turn()
    }

    /// Whether the worker `at` has something to do without a new datagram: other workers, signaling or a source gave
    /// it something.
    pub fn has_mail(&self, at: usize) -> bool {
        self.workers.get(at).is_some_and(|worker| {
            !worker.mail.is_idle() || worker.sources.iter().any(|source| source.has_packets())
        })
    }

    /// When the worker `at` needs its next turn, if nothing arrives.
    pub fn next_wake(&self, at: usize) -> Option<Instant> {
        self.workers.get(at)?.next_wake()
    }

    /// The datagrams that the worker `at` sent, in order.
    pub fn sent(&mut self, at: usize) -> Vec<(Path, Vec<u8>)> {
        self.workers.get_mut(at).map(|worker| worker.outbox.drain()).unwrap_or_default()
    }

    /// Makes the worker `at`, where a check of the session's peer was answered, the owner of the session, and gives
    /// the session keys, as the end of a DTLS handshake would. `false` when the session has ended, or another worker
    /// owns it.
    pub fn connect(
        &mut self,
        at: usize,
        now: Instant,
        session: SessionId,
        sender: srtp::Sender,
        receiver: srtp::Receiver,
    ) -> bool {
        let Some(worker) = self.workers.get_mut(at) else { return false };
        worker.clock = Clock::Set(now);
        worker.connect_with_keys(now, session, sender, receiver)
    }

    /// The worker that owns a session.
    pub fn owner(&self, session: SessionId) -> Option<usize> {
        let entry = self.workers.first()?.directory.by_id(session)?;
        entry.owner().map(WorkerId::index)
    }

    /// The values of the counters of each worker now.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        self.handle.metrics()
    }

    /// Bytes of the worker's packet buffers that are in use: by a cache, a ring or an exit.
    pub fn held_packet_bytes(&mut self, at: usize) -> usize {
        let Some(Worker { pool, .. }) = self.workers.get_mut(at) else { return 0 };
        pool.tidy_all();
        pool.stats().used_bytes
    }
}

impl Worker {
    fn take_from_network(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        self.counters.datagrams_in.add(1);
        self.counters.bytes_in.add(datagram.len() as u64);
        self.guarded(|worker| worker.take_datagram(now, path, datagram));
    }

    fn connect_with_keys(
        &mut self,
        now: Instant,
        session: SessionId,
        sender: srtp::Sender,
        receiver: srtp::Receiver,
    ) -> bool {
        let Some(entry) = self.directory.by_id(session) else { return false };
        let Ok(at) = self.settle(now, &entry) else { return false };
        if let Some(session) = self.sessions.at(at) {
            session.peer.skip_handshake();
        }
        self.connected(now, at, Crypto { sender, receiver });
        self.arm(now, at);
        true
    }
}

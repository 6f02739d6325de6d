//! Workers in hand, for measurements and simulations only: no threads, time is the caller's, and sessions are connected with keys
//! in place of a handshake. Nothing of the product uses it (cargo feature `lab`).
//!
//! The packet path under it is the very same. [`Lab`] is one worker with real sockets, for prices; [`Detached`] is a whole
//! node's workers without any, for a simulated network.

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
    /// A worker on the addresses and the port of `config`; the number of workers in it does not matter.
    ///
    /// # Errors
    /// What the system says to sockets.
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

    /// Connects an opened session: it lives here, is reached on `path`, and has these keys. False when there is no such
    /// session.
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

    /// Takes what the sockets hold, as the first part of a turn does.
    pub fn receive(&mut self, now: Instant) {
        self.worker.receive(now, Lane::Media);
        self.worker.receive(now, Lane::Control);
    }

    /// The rest of a turn: what is due is written, sealed and given to the kernel.
    pub fn turn(&mut self, now: Instant) {
        self.write(now);
        self.send();
    }

    /// The first half of [`Lab::turn`]: what is due is written and sealed, and waits, as long as there is room.
    pub fn write(&mut self, now: Instant) {
        self.worker.guarded(|worker| worker.call_due(now));
        while self.worker.send_due(now) {}
    }

    /// The second half: what waits is given to the kernel.
    pub fn send(&mut self) {
        self.worker.outbox.flush();
    }

    /// What the worker's counters say now.
    pub fn metrics(&self) -> WorkerMetrics {
        self.worker.counters.snapshot(0)
    }
}

/// The workers of a node without sockets. The caller brings datagrams in, takes them out, and gives each worker its turns.
pub struct Detached {
    workers: Vec<Worker>,
    handle: WorkersHandle,
}

impl Detached {
    /// So many workers, whose clocks stand at `now`.
    ///
    /// # Errors
    /// What the system says to an eventfd.
    pub fn new(config: Config, now: Instant, workers: usize) -> io::Result<Self> {
        let inboxes = (0..workers).map(|_| Inbox::new([None, None], [None, None])).collect();
        let (handle, mut workers) = assemble(config, 0, inboxes)?;
        for worker in &mut workers {
            worker.clock = Clock::Set(now);
            worker.outbox.detach();
        }
        Ok(Self { workers, handle })
    }

    /// Speaks to the workers, as signaling does.
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

    /// Whether the worker `at` has something to do though nothing comes: other workers, signaling or a source gave it
    /// something.
    pub fn has_mail(&self, at: usize) -> bool {
        self.workers.get(at).is_some_and(|worker| {
            !worker.mail.is_idle() || worker.sources.iter().any(|source| source.has_packets())
        })
    }

    /// When the worker `at` wants its next turn, if nothing comes.
    pub fn next_wake(&self, at: usize) -> Option<Instant> {
        self.workers.get(at)?.next_wake()
    }

    /// The datagrams that the worker `at` sent, in order.
    pub fn sent(&mut self, at: usize) -> Vec<(Path, Vec<u8>)> {
        self.workers.get_mut(at).map(|worker| worker.outbox.drain()).unwrap_or_default()
    }

    /// Settles a session in the worker `at`, where a check of its peer was answered, and gives it keys, as the end of a DTLS
    /// handshake would. False when it is over, or lives in another worker.
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

    /// The worker in which a session lives.
    pub fn owner(&self, session: SessionId) -> Option<usize> {
        let entry = self.workers.first()?.directory.by_id(session)?;
        entry.owner().map(WorkerId::index)
    }

    /// What the counters say now, of each worker.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        self.handle.metrics()
    }

    /// Bytes of packet buffers of the worker `at` that somebody holds: a cache, a ring, an exit.
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

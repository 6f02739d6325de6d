//! A worker in hand, for measurements only: no thread, and sessions that are connected without a handshake. Nothing of
//! the product uses it (cargo feature `lab`).
//!
//! The packet path under it is the very same: what [`Lab::receive`] (or [`Lab::datagram`], without the system calls that
//! receive) and [`Lab::turn`] do is what a worker's turn does.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Instant,
};

use model::{Command, Path, SessionId};
use transport::srtp;

use crate::{
    Config, Counters, WorkerId, WorkerMetrics,
    commands::Order,
    core::Worker,
    mesh::{Bell, Mesh},
    recv::Lane,
    sessions::Crypto,
    workers::bind_all,
};

/// One worker with real sockets. Time is the caller's: it has to go forward, and sessions live only as long as the
/// transport waits for a handshake (some seconds).
pub struct Lab {
    worker: Worker,
    port: u16,
    /// The worker takes its commands from the caller's hand; a closed queue would be another state.
    _orders: SyncSender<Order>,
}

impl Lab {
    /// A worker on the addresses and the port of `config`; the number of workers in it does not matter.
    ///
    /// # Errors
    /// What the system says to sockets.
    pub fn new(config: Config) -> io::Result<Self> {
        let (port, mut inboxes) = bind_all(&config, 1)?;
        let bell = Bell::new()?;
        let place = Mesh::weave(std::slice::from_ref(&bell)).pop();
        let (Some(inbox), Some(mesh)) = (inboxes.pop(), place) else {
            return Err(io::Error::other("no place for a worker"));
        };
        let (orders, taken) = sync_channel(1);
        let (config, counters) = (Arc::new(config), Arc::new(Counters::default()));
        let worker = Worker::new(WorkerId(0), config, inbox, mesh, bell, taken, counters);
        Ok(Self { worker, port, _orders: orders })
    }

    /// The UDP port of the worker.
    pub fn local_port(&self) -> u16 {
        self.port
    }

    /// Carries out a command.
    pub fn command(&mut self, now: Instant, command: Command) {
        self.worker.take_order(now, command.into());
        self.worker.current = None;
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
        self.worker.registry.pend_path(path, session, true);
        let Some(Ok(slot)) = self.worker.settle(now, session) else { return false };
        self.worker.connected(now, slot, Crypto { sender, receiver });
        true
    }

    /// Takes a datagram as if it had come through a socket.
    pub fn datagram(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        self.worker.counters.datagrams_in.add(1);
        self.worker.counters.bytes_in.add(datagram.len() as u64);
        self.worker.guarded(|worker| worker.take_datagram(now, path, datagram));
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
        self.worker.flush_tracks(now);
    }

    /// The second half: what waits is given to the kernel.
    pub fn send(&mut self) {
        self.worker.outbox.flush(&self.worker.inbox, &self.worker.counters);
    }

    /// What the worker's counters say now.
    pub fn metrics(&self) -> WorkerMetrics {
        self.worker.counters.snapshot(0)
    }
}

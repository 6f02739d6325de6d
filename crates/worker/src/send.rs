//! Step 6: trains go down to the kernel.

use std::sync::Arc;

use model::{DropReason, Path};
use udp::{SendBatch, UdpSocket};

use crate::Counters;

/// Bytes that may wait for one flush.
const ARENA: usize = 1 << 20;
/// Messages that may wait for one flush.
const MESSAGES: usize = 512;
/// Free room that a datagram needs before it is written.
const ROOM: usize = 2_048;

/// The media sockets of a worker, which everything is sent through.
pub(crate) struct Sockets {
    pub(crate) v4: Option<UdpSocket>,
    pub(crate) v6: Option<UdpSocket>,
}

/// Datagrams on their way out, written straight into the memory that the kernel reads.
pub(crate) struct Outbox {
    batch: SendBatch,
    sockets: Arc<Sockets>,
    counters: Arc<Counters>,
    /// The kernel did not take all of the last flush.
    blocked: bool,
    /// Without sockets, what is flushed is kept until the caller drains it.
    detached: Option<Vec<(Path, Vec<u8>)>>,
    /// Test hook: the kernel takes so many datagrams more.
    #[cfg(test)]
    line: Option<usize>,
}

impl Outbox {
    pub(crate) fn new(sockets: Arc<Sockets>, counters: Arc<Counters>) -> Self {
        let batch = SendBatch::with_capacity(ARENA, MESSAGES);
        Self {
            batch,
            sockets,
            counters,
            blocked: false,
            detached: None,
            #[cfg(test)]
            line: None,
        }
    }

    /// From now on nothing is sent: [`Outbox::drain`] gives it.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn detach(&mut self) {
        self.detached = Some(Vec::new());
    }

    /// Test hook: a line that takes so many datagrams until this is called again; then it is full.
    #[cfg(test)]
    pub(crate) fn refill(&mut self, datagrams: usize) {
        (self.line, self.blocked) = (Some(datagrams), false);
    }

    /// Everything that was flushed, in order.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn drain(&mut self) -> Vec<(Path, Vec<u8>)> {
        self.detached.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is committed from now on goes to `path`.
    #[inline]
    pub(crate) fn begin(&mut self, path: Path) {
        self.batch.begin(path);
    }

    /// Whether there is room for so many packets; flushes when there is none. False when the kernel takes nothing: what is
    /// sent now has to wait.
    #[inline]
    pub(crate) fn make_room(&mut self, packets: usize) -> bool {
        #[cfg(test)]
        if self.line.is_some_and(|left| left < packets) {
            self.blocked = true;
            return false;
        }
        // Each packet may become a message of its own: neighbours that differ in path or length make no train.
        if self.batch.room_for(packets * ROOM, packets) {
            return true;
        }
        self.flush();
        !self.blocked && self.batch.room_for(packets * ROOM, packets)
    }

    /// The kernel takes nothing now.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Room for one datagram; flushes when there is none. `None` while the kernel takes nothing and all is full.
    #[inline]
    pub(crate) fn space(&mut self) -> Option<&mut [u8]> {
        // Asked twice: a borrow that is returned from one branch is held in the other one too.
        if self.batch.space().is_none_or(|room| room.len() < ROOM) {
            self.flush();
        }
        self.batch.space().filter(|room| room.len() >= ROOM)
    }

    /// Keeps the first `len` bytes of the room.
    #[inline]
    pub(crate) fn commit(&mut self, len: usize) {
        #[cfg(test)]
        {
            self.line = self.line.map(|left| left.saturating_sub(1));
        }
        self.batch.commit(len);
    }

    /// One datagram by copy: for everything that is not media.
    pub(crate) fn datagram(&mut self, path: Path, bytes: &[u8]) {
        self.begin(path);
        match self.space().and_then(|room| room.get_mut(..bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.commit(bytes.len());
            }
            None => self.counters.drop_out(DropReason::SendBufferFull),
        }
    }

    /// Gives everything to the kernel that it takes.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            self.blocked = false;
            return;
        }
        if let Some(out) = &mut self.detached {
            let counters = &self.counters;
            self.batch.drain(|path, datagram| {
                counters.datagrams_out.add(1);
                counters.bytes_out.add(datagram.len() as u64);
                out.push((path, datagram.to_vec()));
            });
            return;
        }
        let sent = self.batch.flush(self.sockets.v4.as_ref(), self.sockets.v6.as_ref());
        self.blocked = self.batch.is_blocked();
        let counters = &self.counters;
        counters.datagrams_out.add(sent.sent_datagrams);
        counters.bytes_out.add(sent.sent_bytes);
        counters.messages_out.add(sent.messages);
        counters.send_calls.add(sent.syscalls);
        counters.send_full.add(sent.dropped_full);
        counters.send_refused.add(sent.dropped_refused);
    }
}

//! Step 6: trains go to the kernel.

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

/// Datagrams to be sent, written straight into the memory that the kernel reads.
pub(crate) struct Outbox {
    batch: SendBatch,
    sockets: Arc<Sockets>,
    counters: Arc<Counters>,
    /// The kernel did not take all of the last flush.
    blocked: bool,
    /// Without sockets: the flushed datagrams, until the caller drains them.
    detached: Option<Vec<(Path, Vec<u8>)>>,
    /// Test hook: the kernel takes this many more datagrams.
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

    /// From now on nothing is sent; [`Outbox::drain`] returns the datagrams.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn detach(&mut self) {
        self.detached = Some(Vec::new());
    }

    /// Test hook: a line that takes this many datagrams until the next call, and is then full.
    #[cfg(test)]
    pub(crate) fn refill(&mut self, datagrams: usize) {
        (self.line, self.blocked) = (Some(datagrams), false);
    }

    /// Returns everything that was flushed, in order.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn drain(&mut self) -> Vec<(Path, Vec<u8>)> {
        self.detached.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Sets the path of the datagrams that are committed from now on.
    #[inline]
    pub(crate) fn begin(&mut self, path: Path) {
        self.batch.begin(path);
    }

    /// Whether there is room for this many packets; flushes if there is none. `false` when the kernel takes nothing:
    /// packets have to wait.
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

    /// Whether the kernel takes nothing now.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Room for one datagram; flushes if there is none. `None` while the kernel takes nothing and the outbox is full.
    #[inline]
    pub(crate) fn space(&mut self) -> Option<&mut [u8]> {
        // `space` is called twice because of the borrow checker: a borrow that is returned from one branch is held in
        // the other one too.
        if self.batch.space().is_none_or(|room| room.len() < ROOM) {
            self.flush();
        }
        self.batch.space().filter(|room| room.len() >= ROOM)
    }

    /// Keeps the first `len` bytes of the room as a datagram.
    #[inline]
    pub(crate) fn commit(&mut self, len: usize) {
        #[cfg(test)]
        {
            self.line = self.line.map(|left| left.saturating_sub(1));
        }
        self.batch.commit(len);
    }

    /// Copies one datagram, for everything that is not media.
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

    /// Gives the kernel as many datagrams as it takes.
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

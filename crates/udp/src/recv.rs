//! Receiving in batches: one recvmmsg fills several buffers, and each may hold a train of segments that GRO joined.

use std::{io, ops::AddAssign};

use model::Path;

use crate::UdpSocket;

/// What was received, in all since the batch was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecvStats {
    /// Calls of recvmmsg, also those that found nothing.
    pub syscalls: u64,
    /// Messages: trains or single datagrams.
    pub messages: u64,
    /// Datagrams, after trains were split.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Messages that did not fit into their buffer.
    pub truncated: u64,
}

impl AddAssign for RecvStats {
    fn add_assign(&mut self, other: RecvStats) {
        self.syscalls += other.syscalls;
        self.messages += other.messages;
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.truncated += other.truncated;
    }
}

/// One datagram out of a [`RecvBatch`].
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Whence it came, and which of our addresses it reached.
    pub path: Path,
    /// The payload, to be worked on in place. Empty for an empty datagram.
    pub data: &'a mut [u8],
    /// The buffer was too small: the end is missing, drop it.
    pub truncated: bool,
}

/// One received message: the datagrams of one path that arrived in a row, all of one size but the last.
#[derive(Debug)]
pub struct Message<'a> {
    path: Path,
    data: &'a mut [u8],
    segment: usize,
    truncated: bool,
}

impl<'a> Message<'a> {
    /// Whence all of it came, and which of our addresses it reached.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The datagrams, in order.
    pub fn datagrams(self) -> impl Iterator<Item = Datagram<'a>> {
        let _ = (self.data, self.segment, self.truncated);
        std::iter::empty()
    }
}

/// Preallocated room for the messages of one recvmmsg.
#[derive(Debug)]
pub struct RecvBatch {}

impl RecvBatch {
    /// Room for `messages` (1 to 1,024) messages of up to `buffer_bytes` (1 to 65,535) each; values beyond are brought
    /// into these bounds. With GRO a message may have 65,535 bytes, and what does not fit is lost, so give less only
    /// to sockets without. 32 and 65,535 are good for a worker (2 MiB of address space, touched as used).
    pub fn new(messages: usize, buffer_bytes: usize) -> RecvBatch {
        let _ = (messages, buffer_bytes);
        todo!()
    }

    /// Receives what is there, and forgets what was in the batch. Returns the number of messages, 0 when nothing is there;
    /// a full batch (see [`RecvBatch::capacity`]) means that there may be more.
    ///
    /// # Errors
    /// What the kernel says, but not `WouldBlock` nor `Interrupted`: those are `Ok(0)`. The batch is empty then.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let _ = socket;
        todo!()
    }

    /// How many messages one call can bring.
    pub fn capacity(&self) -> usize {
        todo!()
    }

    /// The messages of the last [`RecvBatch::recv`], in order of arrival.
    pub fn messages(&mut self) -> impl Iterator<Item = Message<'_>> {
        std::iter::empty()
    }

    /// The datagrams of all messages of the last [`RecvBatch::recv`], in order of arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        self.messages().flat_map(Message::datagrams)
    }

    /// What was received in all.
    pub fn stats(&self) -> RecvStats {
        todo!()
    }
}

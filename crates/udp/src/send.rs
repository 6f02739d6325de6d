//! Sending in batches: datagrams lie one behind the other in an arena, and one sendmmsg carries many of them.
//!
//! The caller names a path with [`SendBatch::begin`], then for each datagram writes into [`SendBatch::space`] and says
//! with [`SendBatch::commit`] how long it became. [`SendBatch::flush`] sends all.

use std::ops::AddAssign;

use model::Path;

use crate::UdpSocket;

/// The least room that [`SendBatch::space`] gives, in bytes.
pub const MIN_SPACE: usize = 2048;

/// What became of the datagrams of a flush. Committed datagrams = sent + dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// Their bytes of payload.
    pub sent_bytes: u64,
    /// Messages that carried them: with GSO fewer than datagrams.
    pub messages: u64,
    /// Calls of sendmmsg.
    pub syscalls: u64,
    /// Datagrams dropped since the socket's buffer stayed full.
    pub dropped_full: u64,
    /// Datagrams that the kernel refused (no route, too large, forbidden, ...), or for whose family there is no socket.
    pub dropped_refused: u64,
}

impl AddAssign for FlushStats {
    fn add_assign(&mut self, other: FlushStats) {
        self.sent_datagrams += other.sent_datagrams;
        self.sent_bytes += other.sent_bytes;
        self.messages += other.messages;
        self.syscalls += other.syscalls;
        self.dropped_full += other.dropped_full;
        self.dropped_refused += other.dropped_refused;
    }
}

/// An arena of datagrams that wait to be sent.
#[derive(Debug)]
pub struct SendBatch {}

impl SendBatch {
    /// Room for `arena_bytes` (at least [`MIN_SPACE`], at most 64 MiB) of payload in at most `max_messages` (1 to 65,536)
    /// messages; values beyond are brought into these bounds. 1 MiB and 1,024 are good for a worker.
    pub fn with_capacity(arena_bytes: usize, max_messages: usize) -> SendBatch {
        let _ = (arena_bytes, max_messages);
        todo!()
    }

    /// The datagrams that follow go this way. A path with an unspecified `local` leaves from the address that the
    /// kernel chooses. Beginning the current path again goes on with its train. The path stays over a flush.
    pub fn begin(&mut self, path: Path) {
        let _ = path;
        todo!()
    }

    /// Where to write the next datagram: right behind the last committed one, [`MIN_SPACE`] bytes or more.
    ///
    /// `None` when the batch is full: flush, and there is room again, on the same path. Also `None` before the first
    /// [`SendBatch::begin`].
    pub fn space(&mut self) -> Option<&mut [u8]> {
        todo!()
    }

    /// Appends the first `len` bytes of [`SendBatch::space`] as a datagram. It joins the message before it when both have the
    /// same path, it is not longer, and none of them was shorter than the first; else a new message begins.
    ///
    /// A `len` of 0 or beyond the space is the caller's mistake: nothing is appended, and the next flush counts it as refused.
    pub fn commit(&mut self, len: usize) {
        let _ = len;
        todo!()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Datagrams that wait.
    pub fn datagrams(&self) -> usize {
        todo!()
    }

    /// Sends all that waits, each datagram through the socket of its family, and leaves the batch empty.
    ///
    /// Never waits longer than 1 ms (once per socket, for a full socket buffer), never fails as a whole: what became of the
    /// datagrams stands in the result.
    pub fn flush(&mut self, v4: Option<&UdpSocket>, v6: Option<&UdpSocket>) -> FlushStats {
        let _ = (v4, v6);
        todo!()
    }

    /// The sum of all flushes.
    pub fn totals(&self) -> FlushStats {
        todo!()
    }
}

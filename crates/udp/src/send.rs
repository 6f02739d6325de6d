//! Sending in batches: datagrams lie one behind the other in an arena, and one sendmmsg carries many of them.
//!
//! The caller names a path with [`SendBatch::begin`], then for each datagram writes into [`SendBatch::space`] and says
//! with [`SendBatch::commit`] how long it became. [`SendBatch::flush`] sends all.
//!
//! Not here: the system calls and what their errors mean, that is `outgoing`; pacing, that is the caller's.

use std::ops::AddAssign;

use model::Path;

use crate::{
    UdpSocket,
    outgoing::{Outgoing, Train},
};

/// The least room that [`SendBatch::space`] gives, in bytes.
pub const MIN_SPACE: usize = 2048;

/// The most that [`SendBatch::space`] gives: no datagram is longer.
const MAX_SPACE: usize = 65_535;
const MAX_ARENA: usize = 64 << 20;
const MAX_MESSAGES: usize = 1 << 16;

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
pub struct SendBatch {
    arena: Vec<u8>,
    /// How much of the arena is committed.
    used: usize,
    /// The messages that wait, in the order of the arena. Never grows beyond its first capacity.
    trains: Vec<Train>,
    max_messages: usize,
    path: Option<Path>,
    /// The last train goes the current path, so the next datagram may join it.
    joinable: bool,
    datagrams: usize,
    /// Commits that nothing could be done with, since the last flush.
    misused: u64,
    outgoing: Outgoing,
    totals: FlushStats,
}

impl SendBatch {
    /// Room for `arena_bytes` (at least [`MIN_SPACE`], at most 64 MiB) of payload in at most `max_messages` (1 to 65,536)
    /// messages; values beyond are brought into these bounds. 1 MiB and 1,024 are good for a worker.
    pub fn with_capacity(arena_bytes: usize, max_messages: usize) -> SendBatch {
        let max_messages = max_messages.clamp(1, MAX_MESSAGES);
        SendBatch {
            arena: vec![0; arena_bytes.clamp(MIN_SPACE, MAX_ARENA)],
            used: 0,
            trains: Vec::with_capacity(max_messages),
            max_messages,
            path: None,
            joinable: false,
            datagrams: 0,
            misused: 0,
            outgoing: Outgoing::new(),
            totals: FlushStats::default(),
        }
    }

    /// The datagrams that follow go this way. A path with an unspecified `local` leaves from the address that the
    /// kernel chooses. Beginning the current path again goes on with its train. The path stays over a flush.
    #[inline]
    pub fn begin(&mut self, path: Path) {
        if self.path != Some(path) {
            self.path = Some(path);
            self.joinable = false;
        }
    }

    /// Where to write the next datagram: right behind the last committed one, [`MIN_SPACE`] bytes or more.
    ///
    /// `None` when the batch is full: flush, and there is room again, on the same path. Also `None` before the first
    /// [`SendBatch::begin`].
    #[inline]
    pub fn space(&mut self) -> Option<&mut [u8]> {
        let len = self.room();
        (len > 0).then(|| &mut self.arena[self.used..self.used + len])
    }

    /// How long the space is; 0 for none.
    fn room(&self) -> usize {
        let len = self.arena.len() - self.used;
        if self.path.is_none() || self.trains.len() == self.max_messages || len < MIN_SPACE {
            0
        } else {
            len.min(MAX_SPACE)
        }
    }

    /// Appends the first `len` bytes of [`SendBatch::space`] as a datagram. It joins the message before it when both have the
    /// same path, it is not longer, and none of them was shorter than the first; else a new message begins.
    ///
    /// A `len` of 0 or beyond the space is the caller's mistake: nothing is appended, and the next flush counts it as refused.
    #[inline]
    pub fn commit(&mut self, len: usize) {
        let (Some(path), true) = (self.path, len > 0 && len <= self.room()) else {
            self.misused += 1;
            return;
        };
        let joined = self.joinable && self.trains.last_mut().is_some_and(|train| train.join(len));
        if !joined {
            self.trains.push(Train::new(path, self.used, len));
            self.joinable = true;
        }
        self.used += len;
        self.datagrams += 1;
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// Datagrams that wait.
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Sends all that waits, each datagram through the socket of its family, and leaves the batch empty.
    ///
    /// Never waits longer than 1 ms (once per socket, for a full socket buffer), never fails as a whole: what became of the
    /// datagrams stands in the result.
    pub fn flush(&mut self, v4: Option<&UdpSocket>, v6: Option<&UdpSocket>) -> FlushStats {
        let mut stats = FlushStats { dropped_refused: self.misused, ..FlushStats::default() };
        if !self.trains.is_empty() {
            let arena = &self.arena[..self.used];
            self.outgoing.send(v4, arena, &mut self.trains, true, &mut stats);
            self.outgoing.send(v6, arena, &mut self.trains, false, &mut stats);
        }
        self.trains.clear();
        (self.used, self.datagrams, self.misused, self.joinable) = (0, 0, 0, false);
        self.totals += stats;
        stats
    }

    /// The sum of all flushes.
    pub fn totals(&self) -> FlushStats {
        self.totals
    }
}

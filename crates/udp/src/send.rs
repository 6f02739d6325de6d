//! Sends in batches: datagrams lie one behind the other in an arena, and one sendmmsg carries many of them.
//!
//! The caller names a path with [`SendBatch::begin`]. For each datagram it then writes into [`SendBatch::space`] and
//! gives the length with [`SendBatch::commit`]. [`SendBatch::flush`] sends as much as the sockets take. Datagrams for
//! a full socket stay in the batch, in order, and go first with the next flush; meanwhile more may be committed behind
//! them, as long as there is room.
//!
//! The system calls and the meaning of their errors are in `outgoing`. Pacing is up to the caller.

use std::ops::AddAssign;

use model::Path;

use crate::{
    UdpSocket,
    outgoing::Outgoing,
    train::{Train, keep_from, reclaim},
};

/// The least room that [`SendBatch::space`] gives, in bytes.
pub const MIN_SPACE: usize = 2048;

/// The most that [`SendBatch::space`] gives: no datagram is longer.
const MAX_SPACE: usize = 65_535;
const MAX_ARENA: usize = 64 << 20;
const MAX_MESSAGES: usize = 1 << 16;

/// The outcome of a flush, in datagrams: kept before + committed since = sent + dropped + kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// The bytes of payload of the sent datagrams.
    pub sent_bytes: u64,
    /// Messages that carried the sent datagrams; with GSO fewer than datagrams.
    pub messages: u64,
    /// Calls of sendmmsg.
    pub syscalls: u64,
    /// Datagrams that stay in the batch, because their socket is full. In a sum: those that stayed after the last
    /// flush.
    pub kept_datagrams: u64,
    /// Datagrams dropped: the machine had no memory for them twice in a row, or the caller dropped them
    /// ([`SendBatch::drop_kept`], in [`SendBatch::totals`] only).
    pub dropped_full: u64,
    /// Datagrams that the kernel refused (no route, too large, forbidden, ...), or for whose family there is no
    /// socket.
    pub dropped_refused: u64,
}

impl AddAssign for FlushStats {
    /// Adds the outcome of a later flush.
    fn add_assign(&mut self, later: FlushStats) {
        self.sent_datagrams += later.sent_datagrams;
        self.sent_bytes += later.sent_bytes;
        self.messages += later.messages;
        self.syscalls += later.syscalls;
        self.kept_datagrams = later.kept_datagrams;
        self.dropped_full += later.dropped_full;
        self.dropped_refused += later.dropped_refused;
    }
}

/// An arena of datagrams that wait to be sent.
#[derive(Debug)]
pub struct SendBatch {
    arena: Vec<u8>,
    /// How much of the arena is committed.
    used: usize,
    /// The waiting messages, in the order of the arena. Never grows beyond its first capacity.
    trains: Vec<Train>,
    max_messages: usize,
    path: Option<Path>,
    /// The last train has the current path, so the next datagram may join it.
    joinable: bool,
    datagrams: usize,
    /// How many trains the last flush kept. They are the first ones.
    kept: usize,
    /// Whether the socket was full in the last flush: of IPv4, of IPv6.
    blocked: [bool; 2],
    /// Invalid commits since the last flush.
    misused: u64,
    outgoing: Outgoing,
    totals: FlushStats,
}

impl SendBatch {
    /// Room for `arena_bytes` (at least [`MIN_SPACE`], at most 64 MiB) of payload in at most `max_messages` (1 to
    /// 65,536) messages; other values are clamped. 1 MiB and 1,024 are good for a worker.
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
            kept: 0,
            blocked: [false; 2],
            misused: 0,
            outgoing: Outgoing::new(),
            totals: FlushStats::default(),
        }
    }

    /// Sets the path of the datagrams that follow. With an unspecified `local` the kernel chooses the source address.
    /// Setting the current path again continues its train. The path stays over a flush.
    #[inline]
    pub fn begin(&mut self, path: Path) {
        if self.path != Some(path) {
            self.path = Some(path);
            self.joinable = false;
        }
    }

    /// Where to write the next datagram: right behind the last committed one, [`MIN_SPACE`] bytes or more.
    ///
    /// `None` when the batch is full. After a flush there is room again, on the same path, unless a full socket
    /// ([`SendBatch::is_blocked`]) has left too much in the batch. Also `None` before the first [`SendBatch::begin`].
    #[inline]
    pub fn space(&mut self) -> Option<&mut [u8]> {
        let len = self.room();
        (len > 0).then(|| &mut self.arena[self.used..self.used + len])
    }

    /// Whether there is room for this many more bytes in this many messages, without a flush.
    #[inline]
    pub fn room_for(&self, bytes: usize, messages: usize) -> bool {
        self.arena.len() - self.used >= bytes.max(MIN_SPACE)
            && self.max_messages - self.trains.len() >= messages
    }

    /// The length of the space; 0 if there is none.
    fn room(&self) -> usize {
        let len = self.arena.len() - self.used;
        if self.path.is_none() || self.trains.len() == self.max_messages || len < MIN_SPACE {
            0
        } else {
            len.min(MAX_SPACE)
        }
    }

    /// Appends the first `len` bytes of [`SendBatch::space`] as a datagram. It joins the message before it if both
    /// have the same path, it is not longer than that message's first datagram, and no datagram of the message was
    /// shorter than its first. Otherwise, and after a flush, a new message begins.
    ///
    /// A `len` of 0 or beyond the space is the caller's mistake: nothing is appended, and the next flush counts it as
    /// refused.
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

    /// Whether no datagram waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// The number of waiting datagrams.
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Whether the last flush left datagrams in the batch because a socket was full. To go on, wait for that socket to
    /// become writable ([`wait_both`](crate::wait_both)) and flush again.
    pub fn is_blocked(&self) -> bool {
        self.kept > 0
    }

    /// Whether the IPv4 socket was full in the last flush.
    pub fn is_blocked_v4(&self) -> bool {
        self.blocked[0]
    }

    /// Whether the IPv6 socket was full in the last flush.
    pub fn is_blocked_v6(&self) -> bool {
        self.blocked[1]
    }

    /// Sends the waiting datagrams, each through the socket of its family, in the order of the commits. If a socket is
    /// full, the rest for it stays in the batch; the other socket is not affected. A message for which the machine has
    /// no memory (`ENOBUFS`, `ENOMEM`) is kept once in this way, and dropped the second time.
    ///
    /// Never waits, and never fails as a whole: the result tells the outcome of the datagrams.
    pub fn flush(&mut self, v4: Option<&UdpSocket>, v6: Option<&UdpSocket>) -> FlushStats {
        let mut stats = FlushStats { dropped_refused: self.misused, ..FlushStats::default() };
        let mut stopped = (None, None);
        if !self.trains.is_empty() {
            let arena = &self.arena[..self.used];
            stopped.0 = self.outgoing.send(v4, arena, &mut self.trains, true, &mut stats);
            stopped.1 = self.outgoing.send(v6, arena, &mut self.trains, false, &mut stats);
        }
        (self.misused, self.joinable) = (0, false);
        if stopped == (None, None) {
            self.clear();
        } else {
            keep_from(&mut self.trains, stopped.0, stopped.1);
            self.used = reclaim(&mut self.trains, &mut self.arena);
            self.datagrams = self.trains.iter().map(|train| train.segments).sum();
            self.kept = self.trains.len();
            self.blocked = [stopped.0.is_some(), stopped.1.is_some()];
        }
        stats.kept_datagrams = self.datagrams as u64;
        self.totals += stats;
        stats
    }

    /// Drops the datagrams that the last flush kept, of both families, and returns how many they were. Those committed
    /// since stay. The dropped ones count as dropped because the socket was full.
    pub fn drop_kept(&mut self) -> u64 {
        let dropped: usize = self.trains.drain(..self.kept).map(|train| train.segments).sum();
        (self.kept, self.blocked) = (0, [false; 2]);
        self.outgoing.forget_kept();
        self.used = reclaim(&mut self.trains, &mut self.arena);
        self.datagrams -= dropped;
        self.totals.kept_datagrams = 0;
        self.totals.dropped_full += dropped as u64;
        dropped as u64
    }

    /// Gives each waiting datagram and its path to `take`, in the order of the commits, and empties the batch: for a
    /// node without sockets. They count as sent, without system calls.
    pub fn drain(&mut self, mut take: impl FnMut(Path, &[u8])) -> FlushStats {
        let mut stats = FlushStats { dropped_refused: self.misused, ..FlushStats::default() };
        for train in &self.trains {
            let bytes = &self.arena[train.start..train.start + train.len];
            for datagram in bytes.chunks(train.segment) {
                take(train.path, datagram);
                stats.sent_datagrams += 1;
            }
            stats.sent_bytes += bytes.len() as u64;
            stats.messages += 1;
        }
        (self.misused, self.joinable) = (0, false);
        self.outgoing.forget_kept();
        self.clear();
        self.totals += stats;
        stats
    }

    /// Empties the batch.
    fn clear(&mut self) {
        self.trains.clear();
        (self.used, self.datagrams, self.kept, self.blocked) = (0, 0, 0, [false; 2]);
    }

    /// The sum of all flushes, including what [`SendBatch::drop_kept`] dropped.
    pub fn totals(&self) -> FlushStats {
        self.totals
    }
}

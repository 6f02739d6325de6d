//! Recycles packet buffers: allocation happens while the pool warms up, and not after. It does not know what is in
//! the packets, nor who holds them.
//!
//! The pool keeps one reference to every packet that it shared. When all others are gone, whichever worker held
//! them, `Arc::get_mut` succeeds and the buffer is used again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use model::{DropReason, TrackId};

use crate::{Packet, Relayed};

/// Capacity of a small buffer: an Opus packet fits.
const SMALL: usize = 256;
/// Capacity of a large buffer: any datagram of an Ethernet path fits (threats row 29 bounds packets at 1,500 bytes).
const LARGE: usize = 1_504;
/// Buffers looked at in one allocation before a new one is made,
const PROBES: usize = 8;
/// and before it is refused, where no new one may be made.
const PROBES_AT_LIMIT: usize = 64;

/// How many buffers of each class a pool may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Buffers of 256 bytes.
    pub small: usize,
    /// Buffers of 1,504 bytes.
    pub large: usize,
}

impl Default for PoolLimits {
    /// 16,384 small and 65,536 large buffers, about 120 MB when all are in use.
    fn default() -> Self {
        Self { small: 16_384, large: 65_536 }
    }
}

/// Counts since the pool was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Buffers that exist now, both classes.
    pub buffers: usize,
    /// Allocations served from the system because nothing could be recycled.
    pub misses: u64,
    /// Allocations refused: the class was at its limit and all of it in use.
    pub exhausted: u64,
}

/// A buffer that nobody else can see: decrypt into it, let [`crate::UpTrack::ingest`] fill in what it learns, then
/// [`PacketPool::share`] it, or [`PacketPool::release`] it when the packet was dropped. A buffer that is simply let go
/// counts towards the pool's limit for ever.
#[derive(Debug)]
pub struct PacketBuf(Arc<Packet>);

impl PacketBuf {
    /// The whole buffer; at least as long as was asked for.
    pub fn space(&mut self) -> &mut [u8] {
        // Unique by construction: the pool hands out only what `Arc::get_mut` gave it.
        Arc::get_mut(&mut self.0).map_or(&mut [], Packet::space)
    }

    /// The packet as it stands.
    pub fn packet(&self) -> &Packet {
        &self.0
    }

    pub(crate) fn packet_mut(&mut self) -> Option<&mut Packet> {
        Arc::get_mut(&mut self.0)
    }
}

#[derive(Debug)]
struct Class {
    capacity: usize,
    limit: usize,
    owned: usize,
    free: Vec<Arc<Packet>>,
    /// Shared packets, the oldest in front, which is most likely to be free again.
    shared: VecDeque<Arc<Packet>>,
}

impl Class {
    fn new(capacity: usize, limit: usize) -> Self {
        Self { capacity, limit, owned: 0, free: Vec::new(), shared: VecDeque::new() }
    }

    fn recycle(&mut self) -> Option<Arc<Packet>> {
        if let Some(packet) = self.free.pop() {
            return Some(packet);
        }
        let probes = if self.owned < self.limit { PROBES } else { PROBES_AT_LIMIT };
        for _ in 0..probes.min(self.shared.len()) {
            let mut packet = self.shared.pop_front()?;
            if Arc::get_mut(&mut packet).is_some() {
                return Some(packet);
            }
            // Still held, perhaps for long (the cache of a track that paused): out of the way.
            self.shared.push_back(packet);
        }
        None
    }
}

/// The packet buffers of one worker.
#[derive(Debug)]
pub struct PacketPool {
    base: Instant,
    small: Class,
    large: Class,
    misses: u64,
    exhausted: u64,
}

impl PacketPool {
    /// An empty pool; `base` is any instant, the arrival time of buffers without a packet.
    pub fn new(base: Instant, limits: PoolLimits) -> Self {
        Self {
            base,
            small: Class::new(SMALL, limits.small),
            large: Class::new(LARGE, limits.large),
            misses: 0,
            exhausted: 0,
        }
    }

    /// A buffer of at least `len` bytes. `None` when `len` is over 1,504 or the class is at its limit with every
    /// buffer in use; the caller drops the packet as `DropReason::TooLarge` or `DropReason::PoolExhausted`.
    pub fn alloc(&mut self, len: usize) -> Option<PacketBuf> {
        let class = match len {
            0..=SMALL => &mut self.small,
            _ if len <= LARGE => &mut self.large,
            _ => return None,
        };
        if let Some(packet) = class.recycle() {
            return Some(PacketBuf(packet));
        }
        if class.owned >= class.limit {
            self.exhausted += 1;
            return None;
        }
        class.owned += 1;
        self.misses += 1;
        Some(PacketBuf(Arc::new(Packet::with_capacity(class.capacity, self.base))))
    }

    /// Takes back a buffer whose packet goes nowhere.
    pub fn release(&mut self, buf: PacketBuf) {
        self.class_of(&buf.0).free.push(buf.0);
    }

    /// Makes a filled buffer a packet that can be handed around. The buffer comes back to the pool by itself when
    /// the last clone is dropped.
    pub fn share(&mut self, buf: PacketBuf) -> Arc<Packet> {
        let packet = Arc::clone(&buf.0);
        self.class_of(&packet).shared.push_back(buf.0);
        packet
    }

    /// A packet of a track whose origin is elsewhere, with its payload, ready to be handed around.
    ///
    /// # Errors
    /// `TooLarge` when no buffer holds it, `PoolExhausted` when none is free.
    pub fn enter(
        &mut self,
        now: Instant,
        track: TrackId,
        head: &Relayed,
        payload: &[u8],
    ) -> Result<Arc<Packet>, DropReason> {
        let len = head.descriptor.len() + payload.len();
        if len > LARGE {
            return Err(DropReason::TooLarge);
        }
        let mut buf = self.alloc(len).ok_or(DropReason::PoolExhausted)?;
        let filled = buf.packet_mut().map(|packet| packet.fill(now, track, head, payload));
        match filled.unwrap_or(Err(DropReason::PoolExhausted)) {
            Ok(()) => Ok(self.share(buf)),
            Err(reason) => {
                self.release(buf);
                Err(reason)
            }
        }
    }

    /// Counts for the metrics.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            buffers: self.small.owned + self.large.owned,
            misses: self.misses,
            exhausted: self.exhausted,
        }
    }

    fn class_of(&mut self, packet: &Packet) -> &mut Class {
        if packet.capacity() <= SMALL { &mut self.small } else { &mut self.large }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(small: usize, large: usize) -> PacketPool {
        PacketPool::new(crate::fixtures::start(), PoolLimits { small, large })
    }

    #[test]
    fn once_warm_nothing_is_allocated() {
        let mut pool = pool(100, 100);
        let mut held = VecDeque::new();
        for i in 0..10_000 {
            let len = if i % 3 == 0 { 100 } else { 1_200 };
            let mut buf = pool.alloc(len).expect("there is room");
            assert!(buf.space().len() >= len);
            held.push_back(pool.share(buf));
            if held.len() > 20 {
                held.pop_front();
            }
        }
        let stats = pool.stats();
        assert!(stats.misses < 60, "{stats:?}");
        assert_eq!((stats.exhausted, stats.buffers as u64), (0, stats.misses));
    }

    #[test]
    fn a_pool_is_bounded() {
        let mut pool = pool(0, 4);
        let held: Vec<_> =
            (0..4).filter_map(|_| pool.alloc(1_000).map(|b| pool.share(b))).collect();
        assert_eq!(held.len(), 4);
        assert!(pool.alloc(1_000).is_none());
        assert_eq!(pool.stats().exhausted, 1);
        drop(held);
        assert!(pool.alloc(1_000).is_some());
        assert!(pool.alloc(1_505).is_none(), "longer than any buffer");
    }

    #[test]
    fn packets_that_are_held_for_long_do_not_block_the_others() {
        let mut pool = pool(0, 64);
        let stale: Vec<_> =
            (0..32).filter_map(|_| pool.alloc(1_000).map(|b| pool.share(b))).collect();
        for _ in 0..1_000 {
            let buf = pool.alloc(1_000).expect("half of the pool is free");
            drop(pool.share(buf));
        }
        assert_eq!((stale.len(), pool.stats().exhausted), (32, 0));
        assert!(pool.stats().buffers <= 64);
    }

    #[test]
    fn released_buffers_are_used_again() {
        let mut pool = pool(1, 0);
        for _ in 0..10 {
            let buf = pool.alloc(10).expect("released");
            pool.release(buf);
        }
        assert_eq!(pool.stats(), PoolStats { buffers: 1, misses: 1, exhausted: 0 });
    }
}

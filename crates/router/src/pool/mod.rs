//! Recycles packet buffers: memory is allocated while the pool warms up, and not afterwards. The pool does not know
//! what is in the packets, nor which workers hold them.
//!
//! The pool keeps one reference to every packet that it shared. When all others are dropped, on whichever worker,
//! `Arc::get_mut` succeeds and the buffer is used again.
//!
//! All buffers together are bounded in bytes, and every publisher has an [`Account`] that is bounded too: by a budget,
//! and by the bytes that are free ("dynamic threshold", Choudhury and Hahne 1998). So one publisher holds at most half
//! of the pool, and each of `n` greedy ones ends with an `n + 1`th; the last eighth is kept for accounts that hold
//! next to nothing. When an account is at its bound, the caller releases that publisher's oldest packets
//! ([`PacketPool::oldest`]), and no other publisher loses any.

mod account;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use model::{DropReason, TrackId};

use crate::{Packet, Relayed};
pub use account::Account;
use account::{Ledger, Look};

/// Capacity of a small buffer: an Opus packet fits.
const SMALL: usize = 256;
/// Capacity of a large buffer: any datagram of an Ethernet path fits (threats row 29 bounds packets at 1,500 bytes).
const LARGE: usize = 1_504;
/// Most packets of its own account that an allocation reclaims: one more than it takes, so that free packets are found
/// sooner or later.
const RECLAIMS: usize = 2;
/// The same for an account at its bound: packets that are already free are searched before any are released.
const RECLAIMS_AT_BOUND: usize = 1_024;
/// Most packets that [`PacketPool::tidy`] reclaims per account,
const TIDY: usize = 512;
/// and most accounts that it checks.
const TIDY_ACCOUNTS: usize = 8;
/// An account that holds less than this may use the last eighth of the pool: enough for some sound, or for the picture
/// that is being forwarded. Without it a publisher that starts while others fill the pool would wait until they
/// release packets.
const FLOOR: usize = 64 << 10;

/// Bytes that a buffer of this capacity takes, with its packet's metadata and the two counters of its `Arc`.
const fn cost(capacity: usize) -> usize {
    capacity + size_of::<Packet>() + 2 * size_of::<usize>()
}

/// Limits of a pool's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Bytes of all buffers, metadata included.
    pub bytes: usize,
    /// Bytes of the buffers that one account may hold, even if more are free.
    pub account_bytes: usize,
}

impl Default for PoolLimits {
    /// 128 MiB, and 16 MiB for one account.
    fn default() -> Self {
        Self { bytes: 128 << 20, account_bytes: 16 << 20 }
    }
}

/// Counters since the pool was created, and what it owns now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Buffers that exist now.
    pub buffers: usize,
    /// Bytes of these buffers.
    pub owned_bytes: usize,
    /// Bytes of the buffers that are not known to be free: lent, shared, or free again and not yet checked.
    pub used_bytes: usize,
    /// Allocations from the system, because no buffer was free.
    pub misses: u64,
    /// Allocations that were refused, for any reason.
    pub refused: u64,
    /// Packets that were checked for other references.
    pub probes: u64,
}

impl PoolStats {
    fn book(&mut self, look: Look) {
        self.probes += look.probes;
        self.used_bytes = self.used_bytes.saturating_sub(look.freed);
    }
}

/// A buffer with no other reference: decrypt into it, let [`crate::UpTrack::ingest`] fill in the metadata, then
/// [`PacketPool::share`] it, or [`PacketPool::release`] it if the packet was dropped. A buffer that is lost in a panic
/// counts towards the limits until its account is closed.
#[derive(Debug)]
pub struct PacketBuf {
    packet: Arc<Packet>,
    account: Account,
}

impl PacketBuf {
    /// The whole buffer; at least as long as requested.
    pub fn space(&mut self) -> &mut [u8] {
        // Always unique: the pool only lends packets for which `Arc::get_mut` succeeded.
        Arc::get_mut(&mut self.packet).map_or(&mut [], Packet::space)
    }

    /// The packet with its present metadata.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    pub(crate) fn packet_mut(&mut self) -> Option<&mut Packet> {
        Arc::get_mut(&mut self.packet)
    }
}

/// Free buffers of one capacity.
#[derive(Debug)]
struct Class {
    capacity: usize,
    free: Vec<Arc<Packet>>,
}

/// The free buffers of both capacities.
#[derive(Debug)]
struct Free {
    small: Class,
    large: Class,
}

impl Free {
    fn put(&mut self, packet: Arc<Packet>) {
        let class = if packet.capacity() <= SMALL { &mut self.small } else { &mut self.large };
        class.free.push(packet);
    }

    /// The class that fits `len` bytes, and the other one.
    fn classes(&mut self, len: usize) -> (&mut Class, &mut Class) {
        match len <= SMALL {
            true => (&mut self.small, &mut self.large),
            false => (&mut self.large, &mut self.small),
        }
    }
}

/// The packet buffers of one worker.
#[derive(Debug)]
pub struct PacketPool {
    base: Instant,
    limits: PoolLimits,
    free: Free,
    accounts: Vec<Option<Ledger>>,
    vacant: Vec<Account>,
    /// Packets of accounts that were closed.
    orphans: Ledger,
    /// The account that [`PacketPool::tidy`] checks next.
    next: usize,
    stats: PoolStats,
}

impl PacketPool {
    /// An empty pool; `base` is any instant, the arrival time of buffers without a packet.
    pub fn new(base: Instant, limits: PoolLimits) -> Self {
        let class = |capacity| Class { capacity, free: Vec::new() };
        Self {
            base,
            limits,
            free: Free { small: class(SMALL), large: class(LARGE) },
            accounts: Vec::new(),
            vacant: Vec::new(),
            orphans: Ledger::default(),
            next: 0,
            stats: PoolStats::default(),
        }
    }

    /// Opens an account for a publisher. It has to be closed when the publisher ends.
    pub fn open(&mut self) -> Account {
        let account = self.vacant.pop().unwrap_or_else(|| {
            self.accounts.push(None);
            Account(self.accounts.len() as u32 - 1)
        });
        if let Some(place) = self.accounts.get_mut(account.0 as usize) {
            *place = Some(Ledger::default());
        }
        account
    }

    /// Closes an account when its publisher has ended. Packets that are still held are reclaimed when their references
    /// are dropped.
    pub fn close(&mut self, account: Account) {
        let ledger = self.accounts.get_mut(account.0 as usize).and_then(Option::take);
        if let Some(mut ledger) = ledger {
            let lost = ledger.lost_bytes();
            ledger.held -= lost;
            self.stats.used_bytes = self.stats.used_bytes.saturating_sub(lost);
            self.stats.owned_bytes = self.stats.owned_bytes.saturating_sub(lost);
            self.stats.buffers = self.stats.buffers.saturating_sub(ledger.lent);
            self.orphans.absorb(ledger);
            self.vacant.push(account);
        }
    }

    /// A buffer of at least `len` bytes.
    ///
    /// # Errors
    /// `TooLarge` if `len` is over 1,504; `SessionMemory` if the account is at its bound; `PoolExhausted` if the pool
    /// is at its limit though the account is not. A refusal checks only a few packets, however many the account has.
    pub fn alloc(&mut self, account: Account, len: usize) -> Result<PacketBuf, DropReason> {
        if len > LARGE {
            return Err(DropReason::TooLarge);
        }
        let cost = cost(self.free.classes(len).0.capacity);
        self.reclaim(account, RECLAIMS);
        if !self.may_hold(account, cost) {
            self.reclaim(account, RECLAIMS_AT_BOUND);
            if !self.may_hold(account, cost) {
                self.stats.refused += 1;
                return Err(DropReason::SessionMemory);
            }
        }
        let Some(packet) = self.take_free(len, cost) else {
            self.stats.refused += 1;
            return Err(DropReason::PoolExhausted);
        };
        if let Some(Some(ledger)) = self.accounts.get_mut(account.0 as usize) {
            ledger.held += cost;
            ledger.lent += 1;
        }
        self.stats.used_bytes += cost;
        Ok(PacketBuf { packet, account })
    }

    /// Whether an account may hold `more` bytes in addition.
    #[inline]
    fn may_hold(&self, account: Account, more: usize) -> bool {
        let Some(Some(ledger)) = self.accounts.get(account.0 as usize) else { return false };
        let (held, all) = (ledger.held + more, self.limits.bytes);
        let free = all.saturating_sub(self.stats.used_bytes);
        if held <= FLOOR {
            return held <= self.limits.account_bytes && more <= free;
        }
        held <= self.limits.account_bytes.min(free.saturating_sub(all / 8))
    }

    /// A free buffer, or a new one within the limit.
    #[inline]
    fn take_free(&mut self, len: usize, cost: usize) -> Option<Arc<Packet>> {
        let Self { free, stats, limits, base, .. } = self;
        let (class, other) = free.classes(len);
        if let Some(packet) = class.free.pop() {
            return Some(packet);
        }
        // Both classes share one limit: free buffers of the other class are dropped to make room.
        while stats.owned_bytes + cost > limits.bytes
            && let Some(unused) = other.free.pop()
        {
            stats.owned_bytes -= self::cost(unused.capacity());
            stats.buffers -= 1;
        }
        if stats.owned_bytes + cost > limits.bytes {
            return None;
        }
        stats.owned_bytes += cost;
        stats.buffers += 1;
        stats.misses += 1;
        Some(Arc::new(Packet::with_capacity(class.capacity, *base)))
    }

    /// Takes back a buffer whose packet is not forwarded.
    pub fn release(&mut self, buf: PacketBuf) {
        let cost = cost(buf.packet.capacity());
        let ledger = self.ledger(buf.account);
        ledger.held = ledger.held.saturating_sub(cost);
        ledger.lent = ledger.lent.saturating_sub(1);
        self.stats.used_bytes = self.stats.used_bytes.saturating_sub(cost);
        self.free.put(buf.packet);
    }

    /// Turns a filled buffer into a packet that can be shared. The pool finds the buffer free once the last clone is
    /// dropped.
    pub fn share(&mut self, buf: PacketBuf) -> Arc<Packet> {
        let packet = Arc::clone(&buf.packet);
        let ledger = self.ledger(buf.account);
        ledger.lent = ledger.lent.saturating_sub(1);
        ledger.push(buf.packet);
        packet
    }

    /// A shared packet that did not come through ingest, with its payload.
    ///
    /// # Errors
    /// Those of [`PacketPool::alloc`].
    pub fn enter(
        &mut self,
        now: Instant,
        account: Account,
        track: TrackId,
        head: &Relayed,
        payload: &[u8],
    ) -> Result<Arc<Packet>, DropReason> {
        let mut buf = self.alloc(account, head.descriptor.len() + payload.len())?;
        let filled = buf.packet_mut().map(|packet| packet.fill(now, track, head, payload));
        match filled.unwrap_or(Err(DropReason::PoolExhausted)) {
            Ok(()) => Ok(self.share(buf)),
            Err(reason) => {
                self.release(buf);
                Err(reason)
            }
        }
    }

    /// Whether an account holds seven eighths of its bound: its oldest packets should be released before an allocation
    /// is refused.
    #[inline]
    pub fn is_near_bound(&self, account: Account) -> bool {
        let Some(Some(ledger)) = self.accounts.get(account.0 as usize) else { return false };
        !self.may_hold(account, ledger.held / 7)
    }

    /// The oldest packets of an account: an eighth of them, and at most 1,024. The caller makes the caches drop them
    /// and calls [`PacketPool::reclaim_oldest`]; the next allocations then find room. One such round serves as many
    /// allocations.
    pub fn oldest(&self, account: Account) -> impl Iterator<Item = &Packet> {
        let ledger = self.accounts.get(account.0 as usize).and_then(Option::as_ref);
        ledger.into_iter().flat_map(|ledger| ledger.packets().take(share_of(ledger.len())))
    }

    /// Reclaims the free ones of an account's oldest packets. `true` if there were any.
    pub fn reclaim_oldest(&mut self, account: Account) -> bool {
        let Some(Some(ledger)) = self.accounts.get_mut(account.0 as usize) else { return false };
        let look = ledger.sweep(share_of(ledger.len()), |packet| self.free.put(packet));
        self.stats.book(look);
        look.freed > 0
    }

    /// Reclaims free packets of a few accounts and of the closed ones. Call it periodically, so that memory of silent
    /// publishers serves the others. Its cost is bounded.
    pub fn tidy(&mut self) {
        let before = self.stats.used_bytes;
        if !self.orphans.is_empty() {
            let look = self.orphans.reclaim(TIDY, |packet| self.free.put(packet));
            self.stats.book(look);
        }
        for _ in 0..TIDY_ACCOUNTS.min(self.accounts.len()) {
            self.next = (self.next + 1) % self.accounts.len();
            self.reclaim(Account(self.next as u32), TIDY);
            if before - self.stats.used_bytes > TIDY * LARGE {
                break;
            }
        }
    }

    /// Reclaims all free packets, however many have to be checked.
    pub fn tidy_all(&mut self) {
        for ledger in self.accounts.iter_mut().flatten().chain([&mut self.orphans]) {
            let look = ledger.sweep(usize::MAX, |packet| self.free.put(packet));
            self.stats.book(look);
        }
    }

    fn reclaim(&mut self, account: Account, most: usize) {
        let Some(Some(ledger)) = self.accounts.get_mut(account.0 as usize) else { return };
        let look = ledger.reclaim(most, |packet| self.free.put(packet));
        self.stats.book(look);
    }

    /// Counters for the metrics.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    /// The limits that the pool was made with.
    pub fn limits(&self) -> PoolLimits {
        self.limits
    }

    /// The account's ledger, or that of the closed accounts if it was closed meanwhile.
    fn ledger(&mut self, account: Account) -> &mut Ledger {
        match self.accounts.get_mut(account.0 as usize) {
            Some(Some(ledger)) => ledger,
            _ => &mut self.orphans,
        }
    }
}

/// How many packets are released at once: an eighth, so that one round serves many allocations, and at most 1,024, so
/// that it takes some microseconds.
#[inline]
fn share_of(packets: usize) -> usize {
    (packets / 8).clamp(8, 1_024)
}

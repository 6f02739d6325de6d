//! Recycles packet buffers: allocation happens while the pool warms up, and not after. It does not know what is in
//! the packets, nor who holds them.
//!
//! The pool keeps one reference to every packet that it shared. When all others are gone, whichever worker held
//! them, `Arc::get_mut` succeeds and the buffer is used again.
//!
//! All buffers together are bounded in bytes, and every publisher has an [`Account`] that is bounded too: by a budget, and by
//! as much as is free ("dynamic threshold", Choudhury and Hahne 1998). So one publisher holds at most half of the pool, and of `n`
//! greedy ones each comes to hold an `n + 1`th; the last eighth is for those who hold next to nothing. Where an account is at its bound the caller lets
//! go of that publisher's oldest packets ([`PacketPool::oldest`]), and nobody else loses anything.

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
/// Packets of its own account that an allocation takes back at most: one more than it takes, so that what is free is found
/// sooner or later.
const RECLAIMS: usize = 2;
/// Where an account is at its bound, so many: what is free already is found before anything is let go.
const RECLAIMS_AT_BOUND: usize = 1_024;
/// Packets that [`PacketPool::tidy`] takes back at most,
const TIDY: usize = 512;
/// and accounts that it looks at.
const TIDY_ACCOUNTS: usize = 8;
/// An account that holds less than this may use the last eighth of the pool: some sound, or the picture that is being forwarded.
/// Without it a publisher that begins while others fill the pool would wait until they let go of something.
const FLOOR: usize = 64 << 10;

/// Bytes that a buffer of this capacity takes, with its packet's metadata and the two counts of its `Arc`.
const fn cost(capacity: usize) -> usize {
    capacity + size_of::<Packet>() + 2 * size_of::<usize>()
}

/// How much memory a pool may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Bytes of all buffers, metadata included.
    pub bytes: usize,
    /// Bytes of the buffers that one account may hold, however much is free.
    pub account_bytes: usize,
}

impl Default for PoolLimits {
    /// 128 MiB, and 16 MiB for one account.
    fn default() -> Self {
        Self { bytes: 128 << 20, account_bytes: 16 << 20 }
    }
}

/// Counts since the pool was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Buffers that exist now.
    pub buffers: usize,
    /// Bytes of them.
    pub owned_bytes: usize,
    /// Bytes of those that are not known to be free: lent, shared, or free again and not looked at yet.
    pub used_bytes: usize,
    /// Allocations served from the system because nothing could be recycled.
    pub misses: u64,
    /// Allocations refused, whatever the reason.
    pub refused: u64,
    /// Packets looked at to find out whether they are free.
    pub probes: u64,
}

impl PoolStats {
    fn book(&mut self, look: Look) {
        self.probes += look.probes;
        self.used_bytes = self.used_bytes.saturating_sub(look.freed);
    }
}

/// A buffer that nobody else can see: decrypt into it, let [`crate::UpTrack::ingest`] fill in what it learns, then
/// [`PacketPool::share`] it, or [`PacketPool::release`] it when the packet was dropped. A buffer that is simply let go, in
/// a panic, counts towards the limits until its account is closed.
#[derive(Debug)]
pub struct PacketBuf {
    packet: Arc<Packet>,
    account: Account,
}

impl PacketBuf {
    /// The whole buffer; at least as long as was asked for.
    pub fn space(&mut self) -> &mut [u8] {
        // Unique by construction: the pool hands out only what `Arc::get_mut` gave it.
        Arc::get_mut(&mut self.packet).map_or(&mut [], Packet::space)
    }

    /// The packet as it stands.
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

/// Both classes.
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

    /// The class that holds `len` bytes, and the other one.
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
    /// Which account is tidied next.
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

    /// An account for one more publisher. It has to be closed when the publisher ends.
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

    /// The publisher has ended. What others still hold of its packets comes back in time.
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
    /// `TooLarge` when `len` is over 1,504; `SessionMemory` when the account is at its bound; `PoolExhausted` when the pool is at
    /// its limit though the account is not. A refusal looks at a few packets, however many the account has.
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

    /// Whether an account may hold so many bytes more.
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

    /// A free buffer, or a new one as far as the limit allows.
    #[inline]
    fn take_free(&mut self, len: usize, cost: usize) -> Option<Arc<Packet>> {
        let Self { free, stats, limits, base, .. } = self;
        let (class, other) = free.classes(len);
        if let Some(packet) = class.free.pop() {
            return Some(packet);
        }
        // The limit is one for both classes: free buffers of the other one make room.
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

    /// Takes back a buffer whose packet goes nowhere.
    pub fn release(&mut self, buf: PacketBuf) {
        let cost = cost(buf.packet.capacity());
        let ledger = self.ledger(buf.account);
        ledger.held = ledger.held.saturating_sub(cost);
        ledger.lent = ledger.lent.saturating_sub(1);
        self.stats.used_bytes = self.stats.used_bytes.saturating_sub(cost);
        self.free.put(buf.packet);
    }

    /// Makes a filled buffer a packet that can be handed around. The buffer comes back to the pool by itself when
    /// the last clone is dropped.
    pub fn share(&mut self, buf: PacketBuf) -> Arc<Packet> {
        let packet = Arc::clone(&buf.packet);
        let ledger = self.ledger(buf.account);
        ledger.lent = ledger.lent.saturating_sub(1);
        ledger.push(buf.packet);
        packet
    }

    /// A packet of a track whose origin is elsewhere, with its payload, ready to be handed around.
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

    /// Whether an account holds seven eighths of what it may: time to let go of its oldest packets, before any is refused.
    #[inline]
    pub fn is_near_bound(&self, account: Account) -> bool {
        let Some(Some(ledger)) = self.accounts.get(account.0 as usize) else { return false };
        !self.may_hold(account, ledger.held / 7)
    }

    /// The oldest packets that an account holds, an eighth of them and at most 1,024: whoever keeps them lets them go, calls
    /// [`PacketPool::reclaim_oldest`], and the next allocations find room. What is taken at once pays for as many allocations.
    pub fn oldest(&self, account: Account) -> impl Iterator<Item = &Packet> {
        let ledger = self.accounts.get(account.0 as usize).and_then(Option::as_ref);
        ledger.into_iter().flat_map(|ledger| ledger.packets().take(share_of(ledger.len())))
    }

    /// Takes back what is free of the oldest packets of an account. `true` when some were.
    pub fn reclaim_oldest(&mut self, account: Account) -> bool {
        let Some(Some(ledger)) = self.accounts.get_mut(account.0 as usize) else { return false };
        let look = ledger.sweep(share_of(ledger.len()), |packet| self.free.put(packet));
        self.stats.book(look);
        look.freed > 0
    }

    /// Takes back what came free of a few accounts, and of those that were closed: call it now and then, so that the memory of
    /// publishers that fell silent serves the others. Its price is bounded.
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

    /// Takes back all that is free, however many packets have to be looked at.
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

    /// Counts for the metrics.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    /// The limits that the pool was made with.
    pub fn limits(&self) -> PoolLimits {
        self.limits
    }

    /// The account's ledger; that of the closed ones if it was closed in between.
    fn ledger(&mut self, account: Account) -> &mut Ledger {
        match self.accounts.get_mut(account.0 as usize) {
            Some(Some(ledger)) => ledger,
            _ => &mut self.orphans,
        }
    }
}

/// How many of so many packets are let go at once: an eighth, so that a round pays for many allocations, and at most 1,024,
/// so that it takes some microseconds.
#[inline]
fn share_of(packets: usize) -> usize {
    (packets / 8).clamp(8, 1_024)
}

//! The packets of one publisher in a pool, in the order in which they were shared, and the bytes that they take. The
//! limits are checked by the pool.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::cost;
use crate::Packet;

/// Packets that are checked in search of a free one.
const WINDOW: usize = 4;
/// A packet that is still held although it is this much older than the newest one does not come free in order: caches
/// go back one second.
const STUCK: Duration = Duration::from_secs(2);

/// Names the account of one publisher in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(pub(super) u32);

/// The shared packets of one account, the oldest first, which is the most likely to be free.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    shared: VecDeque<Arc<Packet>>,
    /// When the newest of them arrived.
    newest: Option<Instant>,
    /// Bytes of the buffers that are lent or shared. A lent buffer is one that the caller still fills.
    pub(super) held: usize,
    /// Number of buffers that are lent.
    pub(super) lent: usize,
}

/// Result of a search for free packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Bytes that were reclaimed.
    pub(super) freed: usize,
    /// Packets that were checked.
    pub(super) probes: u64,
}

impl Ledger {
    pub(super) fn push(&mut self, packet: Arc<Packet>) {
        self.newest = Some(packet.meta.arrival);
        self.shared.push_back(packet);
    }

    /// Adds the packets of a closed account.
    pub(super) fn absorb(&mut self, mut closed: Ledger) {
        self.shared.append(&mut closed.shared);
        self.held += closed.held;
        self.newest = self.newest.max(closed.newest);
    }

    /// Bytes held that belong to no shared packet. When an account is closed no buffer is lent any more: such bytes
    /// are of buffers that were lost in a panic.
    pub(super) fn lost_bytes(&self) -> usize {
        let shared: usize = self.shared.iter().map(|packet| cost(packet.capacity())).sum();
        self.held.saturating_sub(shared)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// The packets, the oldest first.
    pub(super) fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.shared.iter().map(Arc::as_ref)
    }

    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    /// Reclaims packets without other references, at most `most`, from the oldest on. Stops when the oldest ones are
    /// still held.
    #[inline]
    pub(super) fn reclaim(&mut self, most: usize, mut take: impl FnMut(Arc<Packet>)) -> Look {
        let (mut look, mut taken) = (Look::default(), 0);
        while taken < most {
            // After a free packet only the next one is checked: usually it is still held, and so are those after it.
            let window = if taken == 0 { WINDOW } else { 1 };
            let mut free = None;
            for (at, packet) in self.shared.iter_mut().take(window).enumerate() {
                look.probes += 1;
                if Arc::get_mut(packet).is_some() {
                    free = Some(at);
                    break;
                }
            }
            let Some(at) = free else { break };
            self.shared.swap(0, at);
            let Some(packet) = self.shared.pop_front() else { break };
            taken += 1;
            look.freed += cost(packet.capacity());
            take(packet);
        }
        if taken == 0 {
            self.put_stuck_back();
        }
        self.held = self.held.saturating_sub(look.freed);
        look
    }

    /// Moves packets that are held much longer than those after them (by a paused track or a slow subscriber) to the
    /// back, so that the search reaches the others.
    fn put_stuck_back(&mut self) {
        for _ in 0..WINDOW.min(self.shared.len()) {
            let front = self.shared.front().map(|packet| packet.meta.arrival);
            let age = front.zip(self.newest).map(|(at, now)| now.saturating_duration_since(at));
            if age.is_none_or(|age| age < STUCK) {
                return;
            }
            self.shared.rotate_left(1);
        }
    }

    /// Checks the `first` oldest packets, and reclaims all that are free. The others keep their order.
    pub(super) fn sweep(&mut self, first: usize, mut take: impl FnMut(Arc<Packet>)) -> Look {
        let (mut look, mut held) = (Look::default(), 0);
        for _ in 0..first.min(self.shared.len()) {
            let Some(mut packet) = self.shared.pop_front() else { break };
            look.probes += 1;
            if Arc::get_mut(&mut packet).is_some() {
                look.freed += cost(packet.capacity());
                take(packet);
            } else {
                held += 1;
                self.shared.push_back(packet);
            }
        }
        self.shared.rotate_right(held);
        self.held = self.held.saturating_sub(look.freed);
        look
    }
}

//! What one publisher has out of a pool: its packets in the order in which they were shared, and how many bytes they
//! take. It knows no limit; that is the pool's.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::cost;
use crate::Packet;

/// Packets that are looked at for one that is free.
const WINDOW: usize = 4;
/// A packet that is this much older than the newest one and still held is out of the order in which packets come free: caches
/// reach back one second.
const STUCK: Duration = Duration::from_secs(2);

/// Names the account of one publisher in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(pub(super) u32);

/// The packets of one account that are shared, the oldest in front, which is most likely to be free again.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    shared: VecDeque<Arc<Packet>>,
    /// When the newest of them came in.
    newest: Option<Instant>,
    /// Bytes of the buffers that are lent or shared.
    pub(super) held: usize,
    /// Buffers that are lent.
    pub(super) lent: usize,
}

/// What a look through a ledger found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Bytes that came back.
    pub(super) freed: usize,
    /// Packets looked at.
    pub(super) probes: u64,
}

impl Ledger {
    pub(super) fn push(&mut self, packet: Arc<Packet>) {
        self.newest = Some(packet.meta.arrival);
        self.shared.push_back(packet);
    }

    /// Adds the packets of an account that is closed.
    pub(super) fn absorb(&mut self, mut closed: Ledger) {
        self.shared.append(&mut closed.shared);
        self.held += closed.held;
        self.newest = self.newest.max(closed.newest);
    }

    /// Bytes that stand behind no shared packet. When an account is closed nothing of it is lent: whoever had such a buffer lost it in
    /// a panic.
    pub(super) fn lost_bytes(&self) -> usize {
        let shared: usize = self.shared.iter().map(|packet| cost(packet.capacity())).sum();
        self.held.saturating_sub(shared)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// The packets, the oldest in front.
    pub(super) fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.shared.iter().map(Arc::as_ref)
    }

    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    /// Takes packets back that nobody else holds, from the oldest on, at most `most` of them. Ends where the oldest ones
    /// are still held.
    #[inline]
    pub(super) fn reclaim(&mut self, most: usize, mut take: impl FnMut(Arc<Packet>)) -> Look {
        let (mut look, mut taken) = (Look::default(), 0);
        while taken < most {
            // Behind one that was free the next is looked at alone: mostly it is still held, and so are those behind it.
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

    /// Packets that are held for much longer than those behind them (a track that paused, a slow subscriber) go to the back, so
    /// that they do not hide the others.
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

    /// Looks at the `first` oldest packets, and takes back all that are free among them. The others keep their places.
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

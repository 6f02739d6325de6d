//! The packets of one layer of the last second, from which retransmissions are made. Bounded in packets and in time.
//! It holds references; the bytes are shared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::MediaKind;
use rtp::sequence::ExtSeq;

use crate::Packet;

/// Most packets of a video layer. A power of two.
const MAX_VIDEO: usize = 1_024;
/// Most packets of an audio track; a power of two.
const MAX_AUDIO: usize = 64;
/// Slots of a cache at first. A power of two.
const FIRST: usize = 32;
/// Packets older than this are removed when a new one arrives.
const MAX_AGE: Duration = Duration::from_secs(1);

/// A ring of packets by extended sequence number.
#[derive(Debug)]
pub struct Cache {
    /// The number of slots is a power of two; packet `n` is in slot `n % len`. Slots outside `tail..head` are empty.
    slots: Vec<Option<Arc<Packet>>>,
    max: usize,
    /// Packets below this number are not kept.
    tail: u64,
    /// One more than the newest.
    head: u64,
}

impl Cache {
    /// An empty cache. It grows with the packet rate, up to 1,024 packets of video or 64 of audio.
    pub(crate) fn new(kind: MediaKind) -> Self {
        let max = match kind {
            MediaKind::Video => MAX_VIDEO,
            MediaKind::Audio => MAX_AUDIO,
        };
        Self { slots: Vec::new(), max, tail: 0, head: 0 }
    }

    /// The packet with this number, if it is still in the cache.
    pub fn find(&self, seq: ExtSeq) -> Option<&Arc<Packet>> {
        if !(self.tail..self.head).contains(&seq.0) {
            return None;
        }
        self.slots.get(self.slot(seq.0))?.as_ref()
    }

    /// The packets from `seq` on, oldest first. Missing ones are skipped.
    pub(crate) fn since(&self, seq: ExtSeq) -> Since<'_> {
        Since { cache: self, at: seq.0.max(self.tail) }
    }

    /// The packet with the highest number.
    pub(crate) fn newest(&self) -> Option<&Arc<Packet>> {
        self.find(ExtSeq(self.head.checked_sub(1)?))
    }

    /// One more than the newest number.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Adds a packet, and removes those that are too old.
    pub(crate) fn insert(&mut self, packet: Arc<Packet>) {
        let (seq, now) = (packet.meta.seq.0, packet.meta.arrival);
        if self.slots.is_empty() {
            self.slots.resize(FIRST.min(self.max), None);
        }
        if self.head == 0 || seq >= self.head + self.max as u64 {
            self.clear();
            self.tail = seq;
            self.head = seq;
        }
        if seq < self.tail {
            return;
        }
        if seq >= self.head {
            self.head = seq + 1;
            self.make_room();
        }
        let slot = self.slot(seq);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(packet);
        }
        self.expire(now);
    }

    /// Removes packets that are too old. `true` if packets are left.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        // A missing number at the tail is as old as the packet before it, which was removed.
        while self.tail < self.head {
            let slot = self.slot(self.tail);
            match &self.slots[slot] {
                Some(p) if now.saturating_duration_since(p.meta.arrival) <= MAX_AGE => break,
                _ => self.slots[slot] = None,
            }
            self.tail += 1;
        }
        self.tail < self.head
    }

    /// Removes the packets below a number, and takes no such packets any more.
    pub(crate) fn forget(&mut self, below: ExtSeq) {
        while self.tail < self.head.min(below.0) {
            let slot = self.slot(self.tail);
            self.slots[slot] = None;
            self.tail += 1;
        }
    }

    /// Removes all packets.
    pub(crate) fn clear(&mut self) {
        if self.head == 0 {
            return;
        }
        self.slots.fill(None);
        self.tail = 0;
        self.head = 0;
    }

    /// Makes `tail..head` fit: by growing up to the bound, then by removing the oldest.
    fn make_room(&mut self) {
        let needed = (self.head - self.tail) as usize;
        if needed > self.slots.len() && self.slots.len() < self.max {
            let len = needed.next_power_of_two().min(self.max);
            let mut slots = vec![None; len];
            for packet in self.slots.drain(..).flatten() {
                let slot = packet.meta.seq.0 as usize & (len - 1);
                slots[slot] = Some(packet);
            }
            self.slots = slots;
        }
        while (self.head - self.tail) as usize > self.slots.len() {
            let slot = self.slot(self.tail);
            self.slots[slot] = None;
            self.tail += 1;
        }
    }

    fn slot(&self, seq: u64) -> usize {
        seq as usize & self.slots.len().wrapping_sub(1)
    }
}

/// The iterator of [`Cache::since`].
#[derive(Debug, Clone)]
pub(crate) struct Since<'c> {
    cache: &'c Cache,
    at: u64,
}

impl<'c> Iterator for Since<'c> {
    type Item = &'c Arc<Packet>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.cache.head {
            let found = self.cache.find(ExtSeq(self.at));
            self.at += 1;
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, arrival: Instant) -> Arc<Packet> {
        let mut packet = Packet::with_capacity(64, arrival);
        packet.meta.seq = ExtSeq(seq);
        Arc::new(packet)
    }

    #[test]
    fn keeps_a_second_and_no_more_than_its_bound() {
        let t = crate::fixtures::start();
        let mut cache = Cache::new(MediaKind::Video);
        for i in 0..5_000u64 {
            // 500 packets a second.
            cache.insert(packet(70_000 + i, t + Duration::from_millis(2 * i)));
        }
        assert!(cache.find(ExtSeq(74_999)).is_some());
        assert!(cache.find(ExtSeq(74_499)).is_some());
        assert!(cache.find(ExtSeq(74_498)).is_none());
        assert_eq!(cache.slots.len(), 512);
        assert_eq!(cache.slots.iter().flatten().count(), 501);
        for i in 5_000..15_000u64 {
            cache.insert(packet(70_000 + i, t + Duration::from_secs(10)));
        }
        assert_eq!(cache.slots.len(), MAX_VIDEO);
        assert_eq!(cache.slots.iter().flatten().count(), MAX_VIDEO);
    }

    #[test]
    fn audio_keeps_64() {
        let t = crate::fixtures::start();
        let mut cache = Cache::new(MediaKind::Audio);
        for i in 0..1_000 {
            cache.insert(packet(70_000 + i, t));
        }
        assert_eq!(cache.slots.iter().flatten().count(), MAX_AUDIO);
        assert!(cache.find(ExtSeq(70_999)).is_some());
        assert!(cache.find(ExtSeq(70_935)).is_none());
    }

    #[test]
    fn late_packets_fill_their_gaps() {
        let t = crate::fixtures::start();
        let mut cache = Cache::new(MediaKind::Video);
        for seq in [100, 103, 101] {
            cache.insert(packet(seq, t));
        }
        cache.insert(packet(99, t));
        let kept: Vec<u64> = cache.since(ExtSeq(0)).map(|p| p.meta.seq.0).collect();
        assert_eq!(kept, [100, 101, 103]);
        assert!(cache.find(ExtSeq(102)).is_none());
        let kept: Vec<u64> = cache.since(ExtSeq(101)).map(|p| p.meta.seq.0).collect();
        assert_eq!(kept, [101, 103]);
    }

    #[test]
    fn forget_removes_the_packets_below_a_number_only() {
        let t = crate::fixtures::start();
        let mut cache = Cache::new(MediaKind::Video);
        (100..200).for_each(|seq| cache.insert(packet(seq, t)));
        cache.forget(ExtSeq(150));
        assert_eq!(cache.slots.iter().flatten().count(), 50);
        cache.insert(packet(149, t));
        assert!(cache.find(ExtSeq(149)).is_none() && cache.find(ExtSeq(150)).is_some());
        cache.forget(ExtSeq(u64::MAX));
        assert_eq!(cache.slots.iter().flatten().count(), 0);
        cache.insert(packet(200, t));
        assert!(cache.find(ExtSeq(200)).is_some());
    }

    #[test]
    fn a_long_jump_empties_the_cache() {
        let t = crate::fixtures::start();
        let mut cache = Cache::new(MediaKind::Video);
        cache.insert(packet(100, t));
        cache.insert(packet(5_000, t));
        assert_eq!(cache.slots.iter().flatten().count(), 1);
        assert!(cache.find(ExtSeq(5_000)).is_some());
        // A jump within the bound keeps what fits.
        cache.insert(packet(5_900, t));
        assert_eq!(cache.slots.iter().flatten().count(), 2);
    }
}

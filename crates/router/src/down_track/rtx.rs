//! Decides which retransmissions a subscriber gets (threats row 33): each packet at most once per round trip, and in
//! all at most 35 % of the bytes that it is sent. Finding and writing the packet is done elsewhere.

use std::time::{Duration, Instant};

use model::{DropReason, MediaKind};

use super::seq_map::WINDOW;

/// Retransmissions may take this share of the bytes sent, in percent. A line that loses a fifth of all packets,
/// retransmissions included, needs 0.2 / (1 - 0.2) = 25 %; the rest is for packets that are requested twice because
/// their retransmission is still under way, and for losses above the mean. With a lower share than the line needs,
/// losses are never repaired, and every picture costs a key frame.
const SHARE: u64 = 35;
/// Bytes that may be resent at once, after enough was sent: a lost burst, or most of a key frame.
const BURST_VIDEO: u64 = 48_000;
/// The same for audio.
const BURST_AUDIO: u64 = 4_000;
/// Round trip time until a receiver report gives one.
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// Bounds of the round trip time as it is used here: a receiver report can be false.
const RTT_BOUNDS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Limits of retransmissions to one subscriber.
#[derive(Debug)]
pub(crate) struct Retransmissions {
    /// In hundredths of a byte.
    budget: u64,
    burst: u64,
    /// Indexed by sequence number modulo its length: the number, and when it was last resent, in milliseconds since
    /// `origin`. Empty until the first NACK arrives.
    resent: Vec<(u16, u32)>,
    slots: usize,
    origin: Option<Instant>,
}

impl Retransmissions {
    pub(crate) fn new(kind: MediaKind) -> Self {
        let (burst, slots) = match kind {
            MediaKind::Video => (BURST_VIDEO, WINDOW as usize),
            MediaKind::Audio => (BURST_AUDIO, 64),
        };
        Self { budget: burst * 100, burst: burst * 100, resent: Vec::new(), slots, origin: None }
    }

    /// Counts bytes that were sent.
    pub(crate) fn earn(&mut self, bytes: usize) {
        self.budget = (self.budget + bytes as u64 * SHARE).min(self.burst);
    }

    /// Whether a packet of `bytes` may be resent; if so, it is counted.
    ///
    /// # Errors
    /// `RtxTooSoon`, `RtxLimit`.
    pub(crate) fn allow(
        &mut self,
        now: Instant,
        sequence: u16,
        bytes: usize,
        rtt: Option<Duration>,
    ) -> Result<(), DropReason> {
        let origin = *self.origin.get_or_insert(now);
        // Never 0, which marks a number that was not resent yet.
        let at = (now.saturating_duration_since(origin).as_millis() as u32).wrapping_add(1).max(1);
        if self.resent.is_empty() {
            self.resent.resize(self.slots, (0, 0));
        }
        let slot = usize::from(sequence) % self.slots;
        let Some(entry) = self.resent.get_mut(slot) else { return Err(DropReason::RtxLimit) };
        let rtt = rtt.unwrap_or(DEFAULT_RTT).clamp(RTT_BOUNDS.0, RTT_BOUNDS.1);
        let (last, last_at) = *entry;
        if last == sequence
            && last_at != 0
            && u128::from(at.wrapping_sub(last_at)) < rtt.as_millis()
        {
            return Err(DropReason::RtxTooSoon);
        }
        let cost = bytes as u64 * 100;
        self.budget = self.budget.checked_sub(cost).ok_or(DropReason::RtxLimit)?;
        *entry = (sequence, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nack_flood_gets_each_packet_once_per_round_trip() {
        let t = crate::fixtures::start();
        let rtt = Some(Duration::from_millis(50));
        let mut r = Retransmissions::new(MediaKind::Video);
        let mut resent = 0;
        for ms in 0..200 {
            match r.allow(t + Duration::from_millis(ms), 7, 100, rtt) {
                Ok(()) => resent += 1,
                Err(reason) => assert_eq!(reason, DropReason::RtxTooSoon),
            }
        }
        assert_eq!(resent, 4);
    }

    #[test]
    fn a_nack_flood_gets_at_most_its_share_of_the_bitrate() {
        let t = crate::fixtures::start();
        let mut r = Retransmissions::new(MediaKind::Video);
        let (mut sent, mut resent) = (0usize, 0usize);
        for i in 0..50_000u32 {
            r.earn(1_200);
            sent += 1_200;
            for back in 0..4u32 {
                let at = t + Duration::from_millis(u64::from(i));
                if r.allow(at, i.wrapping_sub(back * 100) as u16, 1_200, None).is_ok() {
                    resent += 1_200;
                }
            }
        }
        assert!(resent <= sent * 35 / 100 + BURST_VIDEO as usize, "{resent} of {sent}");
        assert!(resent >= sent * 34 / 100, "the share is there to be used: {resent} of {sent}");
    }

    #[test]
    fn nothing_is_allocated_for_subscribers_that_lose_nothing() {
        let mut r = Retransmissions::new(MediaKind::Video);
        r.earn(1_000);
        assert_eq!(r.resent.capacity(), 0);
    }
}

//! One received stream: its sequence numbers, what is missing, what to request, what to report (RFC 3550 appendix A).
//! The module `frames` reads the payloads.

use std::time::{Duration, Instant};

use model::{Codec, MediaKind, NtpTime, Ssrc};
use rtp::{rtcp::ReportBlock, sequence};

use super::frames::Frames;
use crate::stats::Counters;

/// Sequence numbers below the highest within which duplicates are recognised.
const WINDOW: u64 = 1_024;
/// A gap of more than this is a sender that began anew.
const MAX_GAP: u64 = 1_000;
/// Packets that are requested at a time.
const MAX_MISSING: usize = 256;
/// How long a packet may be overtaken before it is requested.
const REORDER: Duration = Duration::from_millis(5);
/// Interval between requests for the same packet.
const ASK_AGAIN: Duration = Duration::from_millis(60);
const MAX_ASKS: u8 = 10;
/// Interval between requests for a key frame.
const KEY_AGAIN: Duration = Duration::from_millis(500);

/// A received stream.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) ssrc: Ssrc,
    pub(crate) codec: Codec,
    pub(crate) frames: Frames,
    /// The server takes NACKs.
    asks: bool,
    /// The highest extended number; 2^16 is added to the first, so that earlier ones can come.
    highest: Option<u64>,
    first: u64,
    seen: [u64; (WINDOW / 64) as usize],
    received: u64,
    missing: Vec<Missing>,
    /// RFC 3550 appendix A.8, in 1/16 of a tick.
    jitter: u64,
    transit: Option<i64>,
    begun: Instant,
    sender_report: Option<(NtpTime, Instant)>,
    expected_before: u64,
    received_before: u64,
    key_asked: Option<Instant>,
}

#[derive(Debug)]
struct Missing {
    sequence: u64,
    due: Instant,
    asks: u8,
}

impl Track {
    pub(crate) fn new(ssrc: Ssrc, codec: Codec, asks: bool, now: Instant) -> Track {
        Track {
            ssrc,
            codec,
            frames: Frames::new(codec, now),
            asks,
            highest: None,
            first: 0,
            seen: [0; (WINDOW / 64) as usize],
            received: 0,
            missing: Vec::new(),
            jitter: 0,
            transit: None,
            begun: now,
            sender_report: None,
            expected_before: 0,
            received_before: 0,
            key_asked: None,
        }
    }

    /// Takes note of a packet; returns its extended number unless it came before.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        number: u16,
        timestamp: u32,
        is_retransmission: bool,
        counters: &mut Counters,
    ) -> Option<u64> {
        let sequence = match self.highest {
            None => self.begin(number, counters),
            Some(highest) => sequence::extend(highest, number),
        };
        let highest = self.highest.unwrap_or(sequence);
        if sequence > highest + MAX_GAP || sequence + WINDOW <= highest {
            if is_retransmission {
                counters.duplicates += 1;
                return None;
            }
            // RFC 3550 appendix A.1 would wait for a second packet, but SRTP has authenticated this one.
            self.seen = [0; (WINDOW / 64) as usize];
            self.missing.clear();
            self.begin(number, counters);
            return self.accept_at(now, sequence & 0xffff | 0x1_0000, timestamp, false, counters);
        }
        self.accept_at(now, sequence, timestamp, is_retransmission, counters)
    }

    fn begin(&mut self, number: u16, counters: &mut Counters) -> u64 {
        let first = 0x1_0000 | u64::from(number);
        (self.highest, self.first) = (Some(first), first);
        (self.received, self.expected_before, self.received_before) = (0, 0, 0);
        counters.expected_packets += 1;
        first
    }

    fn accept_at(
        &mut self,
        now: Instant,
        sequence: u64,
        timestamp: u32,
        is_retransmission: bool,
        counters: &mut Counters,
    ) -> Option<u64> {
        let highest = self.highest.unwrap_or(sequence);
        if sequence > highest {
            self.advance(now, highest, sequence, counters);
        } else if self.is_seen(sequence) {
            counters.duplicates += 1;
            return None;
        } else if sequence < self.first {
            // From before the bot joined: it still counts as sent to us.
            counters.expected_packets += self.first - sequence;
            self.first = sequence;
        }
        if sequence < highest {
            if is_retransmission {
                counters.recovered_packets += 1;
            } else {
                counters.reordered += 1;
            }
            self.missing.retain(|missing| missing.sequence != sequence);
        }
        self.set_seen(sequence);
        self.received += 1;
        counters.received_packets += 1;
        if !is_retransmission {
            self.note_transit(now, timestamp);
        }
        Some(sequence)
    }

    fn advance(&mut self, now: Instant, highest: u64, sequence: u64, counters: &mut Counters) {
        counters.expected_packets += sequence - highest;
        for number in highest + 1..=sequence {
            self.seen[(number / 64 % (WINDOW / 64)) as usize] &= !(1 << (number % 64));
        }
        if self.asks {
            let room = MAX_MISSING - self.missing.len();
            let due = now + REORDER;
            let new = (highest + 1..sequence).take(room);
            self.missing.extend(new.map(|sequence| Missing { sequence, due, asks: 0 }));
        }
        self.highest = Some(sequence);
    }

    fn is_seen(&self, sequence: u64) -> bool {
        self.seen[(sequence / 64 % (WINDOW / 64)) as usize] & 1 << (sequence % 64) != 0
    }

    fn set_seen(&mut self, sequence: u64) {
        self.seen[(sequence / 64 % (WINDOW / 64)) as usize] |= 1 << (sequence % 64);
    }

    fn note_transit(&mut self, now: Instant, timestamp: u32) {
        let arrival = self.ticks(now.saturating_duration_since(self.begun));
        let transit = arrival.wrapping_sub(u64::from(timestamp)) as u32;
        if let Some(before) = self.transit {
            let difference = u64::from((transit.wrapping_sub(before as u32) as i32).unsigned_abs());
            // A jump of more than 10 s is a new time line, not jitter.
            if difference < 10 * self.clock_rate() {
                self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
            }
        }
        self.transit = Some(i64::from(transit));
    }

    fn clock_rate(&self) -> u64 {
        if self.codec.kind() == MediaKind::Audio { 48_000 } else { 90_000 }
    }

    /// In ticks of the codec's clock. Microseconds are exact enough, and need no 128-bit division per packet.
    fn ticks(&self, duration: Duration) -> u64 {
        duration.as_secs() * self.clock_rate()
            + u64::from(duration.subsec_micros()) * self.clock_rate() / 1_000_000
    }

    /// Interarrival jitter.
    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_micros((self.jitter >> 4) * 1_000_000 / self.clock_rate())
    }

    /// Takes note of a sender report.
    pub(crate) fn note_report(&mut self, now: Instant, ntp: NtpTime) {
        self.sender_report = Some((ntp, now));
    }

    /// The block for a receiver report (RFC 3550 section 6.4.1).
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.highest?;
        let expected = highest - self.first + 1;
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received.saturating_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let (last_sr, delay) = match self.sender_report {
            Some((ntp, at)) => {
                let delay = now.saturating_duration_since(at).as_secs_f64() * 65_536.0;
                (ntp.middle(), delay as u32)
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.ssrc.0,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64).clamp(-1 << 23, 1 << 23)
                as i32,
            highest_sequence: (highest - 0x1_0000) as u32,
            jitter: (self.jitter >> 4) as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// Packets that should have come by now and did not.
    pub(crate) fn missing(&self) -> u64 {
        let expected = self.highest.map_or(0, |highest| highest - self.first + 1);
        expected.saturating_sub(self.received)
    }

    /// When packets have to be requested.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.due).min()
    }

    /// When a key frame has to be requested.
    pub(crate) fn key_due(&self) -> Option<Instant> {
        if self.codec.kind() != MediaKind::Video {
            return None;
        }
        let wanted = self.frames.key_wanted_at()?;
        Some(self.key_asked.map_or(wanted, |asked| wanted.max(asked + KEY_AGAIN)))
    }

    /// The numbers to request now; those requested too often are given up.
    pub(crate) fn ask(&mut self, now: Instant, numbers: &mut Vec<u16>) {
        numbers.clear();
        self.missing.retain_mut(|missing| {
            if missing.due > now {
                return true;
            }
            if missing.asks == MAX_ASKS {
                return false;
            }
            missing.asks += 1;
            missing.due = now + ASK_AGAIN;
            numbers.push(missing.sequence as u16);
            true
        });
    }

    /// Whether to request a key frame now.
    pub(crate) fn ask_key(&mut self, now: Instant) -> bool {
        let ask = self.key_due().is_some_and(|due| due <= now);
        if ask {
            self.key_asked = Some(now);
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(now: Instant) -> (Track, Counters) {
        (Track::new(Ssrc(9), Codec::Vp8, true, now), Counters::default())
    }

    #[test]
    fn losses_are_asked_for_and_counted_once() {
        let now = Instant::now();
        let (mut track, mut counters) = track(now);
        for number in (65_500..65_536_u32).chain(65_539..65_600) {
            track.accept(now, number as u16, 0, false, &mut counters);
        }
        assert_eq!((counters.expected_packets, counters.received_packets), (100, 97));
        let mut numbers = Vec::new();
        track.ask(now, &mut numbers);
        assert!(numbers.is_empty(), "they may be late only");
        track.ask(now + REORDER, &mut numbers);
        assert_eq!(numbers, [0, 1, 2]);
        track.accept(now, 1, 0, true, &mut counters);
        track.accept(now, 1, 0, true, &mut counters);
        track.accept(now, 2, 0, false, &mut counters);
        assert_eq!(
            (counters.recovered_packets, counters.duplicates, counters.reordered),
            (1, 1, 1)
        );
        let mut asked = 0;
        let mut later = now;
        while let Some(due) = track.poll_timeout() {
            later = due;
            track.ask(due, &mut numbers);
            asked += numbers.len();
        }
        assert_eq!(asked, usize::from(MAX_ASKS) - 1, "then it is given up");
        let block = track.report(later).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (1, 2));
        assert_eq!(block.highest_sequence, 65_599);
        assert_eq!(track.report(later).unwrap().fraction_lost, 0);
    }

    #[test]
    fn a_sender_that_begins_anew_lost_nothing() {
        let now = Instant::now();
        let (mut track, mut counters) = track(now);
        for number in (100..200).chain(30_000..30_100) {
            assert!(track.accept(now, number, 0, false, &mut counters).is_some());
        }
        assert_eq!((counters.expected_packets, counters.received_packets), (200, 200));
        assert_eq!(track.accept(now, 150, 0, true, &mut counters), None);
    }

    #[test]
    fn an_early_packet_that_comes_late_is_no_gain() {
        let now = Instant::now();
        let (mut track, mut counters) = track(now);
        for number in [10, 8, 9] {
            track.accept(now, number, 0, false, &mut counters);
        }
        assert_eq!((counters.expected_packets, counters.received_packets), (3, 3));
        assert_eq!(track.report(now).unwrap().cumulative_lost, 0);
    }

    #[test]
    fn jitter_is_the_smoothed_difference_of_transit_times() {
        let start = Instant::now();
        let (mut track, mut counters) = track(start);
        for number in 0..1_000_u32 {
            // Every second packet is 8 ms late.
            let late = Duration::from_millis(u64::from(number % 2) * 8);
            let at = start + Duration::from_millis(20) * number + late;
            track.accept(at, number as u16, number * 1_800, false, &mut counters);
        }
        let jitter = track.jitter().as_micros();
        assert!((7_500..8_500).contains(&jitter), "{jitter}");
    }
}

//! Receiver of transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): notes the
//! arrival time of each numbered packet of a transport, and writes the feedback from which the sender makes its
//! estimate. Nothing is estimated here. The wire format is in `rtp::rtcp::twcc`.
//!
//! Order of calls: [`Receiver::record`] for each packet that has a number; when [`Receiver::poll_timeout`] is due,
//! [`Receiver::write_feedback`] until it returns that nothing is left.

use std::time::{Duration, Instant};

use model::Ssrc;
use rtp::rtcp::{NoRoom, RtcpWriter, TwccHeader};
use rtp::sequence;

/// Numbers that are remembered, back from the highest. At 50 Mbit/s that is nearly half a second, more than any
/// reordering that still matters.
const WINDOW: u64 = 2048;

/// Feedback is due this long after the first packet that it is about.
const INTERVAL: Duration = Duration::from_millis(100);

/// The same if many packets wait, so that a fast sender reacts sooner to congestion.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

/// Number of waiting packets that counts as many.
const BUSY: u32 = 40;

/// A unit of deltas on the wire (section 3.1.5).
const TICK_US: u128 = 250;

/// Ticks in a unit of the reference time, 64 ms (section 3.1).
const TICKS_PER_REFERENCE: u64 = 256;

/// A number whose packet has not arrived.
const MISSING: u64 = u64::MAX;

/// Arrival times of the packets of one transport. Its memory is fixed: 2,048 arrivals.
#[derive(Debug)]
pub struct Receiver {
    epoch: Instant,
    /// Arrival in ticks since the epoch, by number modulo [`WINDOW`]; holds the numbers from `highest - WINDOW + 1` on.
    arrivals: Box<[u64]>,
    /// The highest number that arrived, extended; it is never missing.
    highest: Option<u64>,
    /// The first number of the next feedback; beyond `highest` if there is nothing to report.
    next: u64,
    waiting_since: Option<Instant>,
    waiting: u32,
    feedback_count: u8,
}

impl Receiver {
    /// A receiver whose reference time counts from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            arrivals: vec![MISSING; WINDOW as usize].into_boxed_slice(),
            highest: None,
            next: 0,
            waiting_since: None,
            waiting: 0,
            feedback_count: 0,
        }
    }

    /// Notes the arrival of the packet with this transport-wide number. Returns whether feedback will report it:
    /// duplicates, and packets 2,048 or more numbers behind the highest, are not reported.
    ///
    /// After a jump ahead of 2,048 numbers or more the numbers in between are not reported as lost: so large a gap
    /// means that the sender restarted.
    #[inline]
    pub fn record(&mut self, number: u16, arrival: Instant) -> bool {
        let Some(highest) = self.highest else {
            // One wrap up, so that numbers before the first one can still arrive.
            let first = 0x1_0000 + u64::from(number);
            self.next = first;
            return self.advance(first, first, arrival);
        };
        let number = sequence::extend(highest, number);
        if number > highest {
            return self.advance(highest + 1, number, arrival);
        }
        if number + WINDOW <= highest || self.arrival(number) != MISSING {
            return false;
        }
        // A late packet was reported as missing: everything from it on is reported again.
        self.next = self.next.min(number);
        self.set(number, arrival);
        true
    }

    /// When feedback is due; `None` if there is nothing to report.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let interval = if self.waiting >= BUSY { BUSY_INTERVAL } else { INTERVAL };
        self.waiting_since.map(|since| since + interval)
    }

    /// Writes a feedback packet about as many packets as fit. Returns whether more is left, which has to be written
    /// into another RTCP packet at once. Writes nothing if there is nothing to report.
    ///
    /// `sender` is this side's SSRC; `media` any SSRC of the transport that the feedback is about.
    ///
    /// # Errors
    /// [`NoRoom`]: nothing was written, and everything is still to be reported.
    pub fn write_feedback(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        writer: &mut RtcpWriter<'_>,
    ) -> Result<bool, NoRoom> {
        let Some(highest) = self.highest.filter(|&highest| self.next <= highest) else {
            return Ok(false);
        };
        // The highest number has arrived, so the search finds one; at most WINDOW steps.
        let first = (self.next..=highest).map(|n| self.arrival(n)).find(|&a| a != MISSING);
        let reference = first.unwrap_or(0) / TICKS_PER_REFERENCE;
        let header = TwccHeader {
            sender,
            media,
            base: self.next as u16,
            reference_time: (reference & 0x00ff_ffff) as u32,
            feedback_count: self.feedback_count,
        };
        let statuses = Deltas {
            arrivals: &self.arrivals,
            numbers: self.next..highest + 1,
            previous: reference * TICKS_PER_REFERENCE,
        };
        let count = writer.transport_cc(&header, statuses)?;
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.next += count as u64;
        let is_left = self.next <= highest;
        if !is_left {
            self.waiting_since = None;
            self.waiting = 0;
        }
        Ok(is_left)
    }

    /// Makes `number` the highest; the numbers from `from` up to it have not arrived.
    fn advance(&mut self, from: u64, number: u64, arrival: Instant) -> bool {
        if number - from >= WINDOW {
            self.next = number;
        }
        for missing in from.max((number + 1).saturating_sub(WINDOW))..number {
            if let Some(place) = self.arrivals.get_mut((missing % WINDOW) as usize) {
                *place = MISSING;
            }
        }
        self.highest = Some(number);
        // Numbers that were not reported in time are outside the window.
        self.next = self.next.max((number + 1).saturating_sub(WINDOW));
        self.set(number, arrival);
        true
    }

    #[inline]
    fn set(&mut self, number: u64, arrival: Instant) {
        let ticks = arrival.saturating_duration_since(self.epoch).as_micros() / TICK_US;
        if let Some(place) = self.arrivals.get_mut((number % WINDOW) as usize) {
            *place = ticks as u64;
        }
        self.waiting_since.get_or_insert(arrival);
        self.waiting = self.waiting.saturating_add(1);
    }

    #[inline]
    fn arrival(&self, number: u64) -> u64 {
        self.arrivals.get((number % WINDOW) as usize).copied().unwrap_or(MISSING)
    }
}

/// The statuses of a run of numbers: ticks since the previous arrived packet, `None` for a missing one. Ends early if
/// 16 bits cannot hold the time between two packets (8 s); the next feedback continues there with its own reference.
#[derive(Clone)]
struct Deltas<'a> {
    arrivals: &'a [u64],
    numbers: std::ops::Range<u64>,
    previous: u64,
}

impl Iterator for Deltas<'_> {
    type Item = Option<i16>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let number = self.numbers.next()?;
        let arrival = self.arrivals.get((number % WINDOW) as usize).copied().unwrap_or(MISSING);
        if arrival == MISSING {
            return Some(None);
        }
        // Both count ticks since the epoch: 63 bits are 73 million years.
        let delta = i16::try_from(arrival as i64 - self.previous as i64).ok()?;
        self.previous = arrival;
        Some(Some(delta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtp::rtcp::{CompoundIter, RtcpPacket};
    use std::collections::BTreeMap;

    const SENDER: Ssrc = Ssrc(0x0a0b_0c0d);
    const MEDIA: Ssrc = Ssrc(0x1122_3344);

    fn epoch() -> Instant {
        // Any instant will do: the receiver only uses differences.
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        Instant::now()
    }

    fn ms(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    /// All feedback that is due, each packet with `room` bytes.
    fn feedback(receiver: &mut Receiver, room: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let mut buf = vec![0; room];
            let mut writer = RtcpWriter::new(&mut buf);
            let is_left = receiver.write_feedback(SENDER, MEDIA, &mut writer).unwrap();
            if !writer.is_empty() {
                packets.push(writer.as_bytes().to_vec());
            }
            if !is_left {
                return packets;
            }
        }
    }

    /// The arrivals in the feedback: ticks since the epoch, by number.
    fn reported(packets: &[Vec<u8>]) -> BTreeMap<u16, Option<u64>> {
        let mut reported = BTreeMap::new();
        for packet in packets {
            let Some(Ok(RtcpPacket::TransportCc(twcc))) = CompoundIter::new(packet).next() else {
                panic!("{packet:?}")
            };
            let reference = u64::from(twcc.header.reference_time) * TICKS_PER_REFERENCE;
            for status in twcc.statuses() {
                let arrival =
                    status.arrival.map(|ticks| reference.wrapping_add_signed(ticks.into()));
                reported.insert(status.sequence, arrival);
            }
        }
        reported
    }

    #[test]
    fn an_independent_parser_reads_the_same() {
        use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

        let start = epoch();
        let mut receiver = Receiver::new(start);
        // 65,534 and 1 lost, 0 late and out of order.
        for (number, at) in [(65_533, 1000), (65_535, 1003), (2, 1100), (0, 1101), (3, 1102)] {
            assert!(receiver.record(number, ms(start, at)));
        }
        let packets = feedback(&mut receiver, 1200);
        assert_eq!(packets.len(), 1);
        let parsed = rtc_rtcp::packet::unmarshal(&mut &packets[0][..]).unwrap();
        let twcc = parsed[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
        assert_eq!((twcc.sender_ssrc, twcc.media_ssrc), (SENDER.0, MEDIA.0));
        assert_eq!(twcc.base_sequence_number, 65_533);
        assert_eq!(twcc.packet_status_count, 7);
        assert_eq!(twcc.reference_time, 1000 / 64);
        let deltas_us: Vec<i64> = twcc.recv_deltas.iter().map(|d| d.delta).collect();
        assert_eq!(deltas_us, [40_000, 3_000, 98_000, -1_000, 2_000]);
    }

    #[test]
    fn feedback_is_due_after_100_ms_and_after_50_when_busy() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        assert_eq!(receiver.poll_timeout(), None);
        receiver.record(7, ms(start, 10));
        receiver.record(8, ms(start, 20));
        assert_eq!(receiver.poll_timeout(), Some(ms(start, 110)));
        for number in 9..100 {
            receiver.record(number, ms(start, 30));
        }
        assert_eq!(receiver.poll_timeout(), Some(ms(start, 60)));
        assert_eq!(feedback(&mut receiver, 1200).len(), 1);
        assert_eq!(receiver.poll_timeout(), None);
        assert!(feedback(&mut receiver, 1200).is_empty());
    }

    #[test]
    fn a_loss_between_two_reports_is_reported() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(1, start);
        feedback(&mut receiver, 1200);
        receiver.record(4, ms(start, 1));
        let reported = reported(&feedback(&mut receiver, 1200));
        assert_eq!(reported, BTreeMap::from([(2, None), (3, None), (4, Some(4))]));
    }

    #[test]
    fn a_late_packet_is_reported_after_all() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(1, start);
        receiver.record(3, ms(start, 1));
        feedback(&mut receiver, 1200);
        assert!(receiver.record(2, ms(start, 2)));
        assert!(!receiver.record(2, ms(start, 3)), "once");
        assert_eq!(
            reported(&feedback(&mut receiver, 1200)),
            BTreeMap::from([(2, Some(8)), (3, Some(4))])
        );
    }

    #[test]
    fn without_room_nothing_is_lost() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(1, start);
        let mut buf = [0; 23];
        let mut writer = RtcpWriter::new(&mut buf);
        assert_eq!(receiver.write_feedback(SENDER, MEDIA, &mut writer), Err(NoRoom));
        assert!(writer.is_empty());
        assert_eq!(reported(&feedback(&mut receiver, 24)), BTreeMap::from([(1, Some(0))]));
    }

    #[test]
    fn a_pause_longer_than_a_delta_holds_splits_the_feedback() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(1, start);
        receiver.record(2, ms(start, 9_000));
        let packets = feedback(&mut receiver, 1200);
        assert_eq!(packets.len(), 2);
        assert_eq!(reported(&packets), BTreeMap::from([(1, Some(0)), (2, Some(36_000))]));
    }

    #[test]
    fn the_reference_time_wraps_after_12_days() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(1, ms(start, (1 << 24) * 64 + 5));
        assert_eq!(reported(&feedback(&mut receiver, 1200)), BTreeMap::from([(1, Some(20))]));
    }

    #[test]
    fn hostile_jumps_cost_no_more_than_the_window() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        let mut number = 0u16;
        for i in 0..2_000u64 {
            // Ahead by as much as 16 bits can distinguish, then as far back.
            number = number.wrapping_add(if i % 3 == 2 { 32_769 } else { 32_767 });
            receiver.record(number, ms(start, i));
            let packets = feedback(&mut receiver, 1200);
            assert!(packets.len() <= 2, "{}", packets.len());
            assert!(reported(&packets).len() as u64 <= WINDOW);
        }
        assert_eq!(receiver.arrivals.len() as u64, WINDOW);
    }

    #[test]
    fn packets_behind_the_window_are_not_reported() {
        let start = epoch();
        let mut receiver = Receiver::new(start);
        receiver.record(5_000, start);
        assert!(!receiver.record(5_000 - 2_048, start));
        assert!(receiver.record(5_000 - 2_047, start));
    }

    proptest! {
        #[test]
        fn every_arrival_is_reported_to_the_tick(
            first: u16,
            // Steps back and forth; mostly ahead by a few, in microseconds of distance.
            steps in prop::collection::vec((-3i16..8, 0u64..20_000), 1..600),
            every in 1usize..100,
            room in 28usize..1200,
        ) {
            let start = epoch();
            let mut receiver = Receiver::new(start);
            let (mut number, mut us) = (first, 0);
            let mut expected = BTreeMap::new();
            let mut all = BTreeMap::new();
            let mut count = 0u8;
            for (i, (step, later)) in steps.into_iter().enumerate() {
                number = number.wrapping_add_signed(step);
                us += later;
                if receiver.record(number, start + Duration::from_micros(us)) {
                    prop_assert!(expected.insert(number, Some(us / 250)).is_none());
                } else {
                    prop_assert!(expected.contains_key(&number));
                }
                if i % every == 0 {
                    let packets = feedback(&mut receiver, room);
                    for packet in &packets {
                        prop_assert_eq!(packet[19], count, "feedback packets are numbered");
                        prop_assert!(packet.len() <= room);
                        count = count.wrapping_add(1);
                    }
                    all.extend(reported(&packets));
                }
            }
            all.extend(reported(&feedback(&mut receiver, room)));
            all.retain(|_, arrival| arrival.is_some());
            prop_assert_eq!(all, expected);
        }
    }
}

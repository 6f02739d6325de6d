//! Reception statistics of one media SSRC, for the report blocks that its publisher gets (RFC 3550 section 6.4), and
//! conversion of the publisher's clock to the node's. Retransmissions are not counted: the report says what the
//! network lost.

use std::time::{Duration, Instant};

use model::{NtpTime, Ssrc, WallClock};
use rtp::rtcp::ReportBlock;

/// A publisher's sender report and its arrival: it ties RTP timestamps to the publisher's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock time (RFC 3550 section 6.4.1): by the publisher's clock, or by the node's after
    /// [`PublisherClock::tell`].
    pub ntp: NtpTime,
    /// The same moment in RTP timestamp units.
    pub rtp_timestamp: u32,
    /// When the report arrived.
    pub arrival: Instant,
}

/// A report this far from what earlier ones predict means that the publisher's clock was set. A smaller difference is
/// a report that was delayed on the way.
const ANOTHER_CLOCK: Duration = Duration::from_secs(10);

/// Converts times of one publisher's clock to the node's clock. All tracks of the publisher share it, so one capture
/// time is the same in the sender reports of all of them.
///
/// All streams to a subscriber have the node's CNAME, and sources with one CNAME have one reference clock (RFC 3550
/// section 6.4.1). With the publisher's clock, a track whose report arrived would differ by the clocks' difference
/// from a track whose report is still missing, and a receiver would delay one of them by that much.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublisherClock {
    /// Added to the publisher's times, in 32.32 fixed point seconds; `None` before the first report.
    ahead: Option<u64>,
}

impl PublisherClock {
    /// The report with its time by the node's clock. The first report ties the clocks: its time is taken to be its
    /// arrival. The error, the delay on the way, is the same for all tracks.
    pub fn tell(&mut self, info: SenderInfo, node: &WallClock) -> SenderInfo {
        let arrival = node.ntp(info.arrival).0;
        let mut ahead = *self.ahead.get_or_insert(arrival.wrapping_sub(info.ntp.0));
        let off = (info.ntp.0.wrapping_add(ahead).wrapping_sub(arrival) as i64).unsigned_abs();
        if off >> 32 >= ANOTHER_CLOCK.as_secs() {
            ahead = arrival.wrapping_sub(info.ntp.0);
            self.ahead = Some(ahead);
        }
        SenderInfo { ntp: NtpTime(info.ntp.0.wrapping_add(ahead)), ..info }
    }
}

/// Reception statistics of one source (RFC 3550 appendices A.3 and A.8).
#[derive(Debug)]
pub(crate) struct Reception {
    /// Origin of the arrival times that jitter is computed from.
    epoch: Instant,
    base: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<u32>,
    /// In 16ths of a timestamp unit.
    jitter: u32,
    /// Packets arrived since the last report.
    heard: bool,
    /// Packets that the last report was about, and those of them that it called lost.
    reported: (u64, u64),
}

impl Reception {
    /// Statistics that begin with packet `raw`.
    pub(crate) fn new(now: Instant, raw: u64) -> Self {
        Self {
            epoch: now,
            base: raw,
            highest: raw,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter: 0,
            heard: false,
            reported: (0, 0),
        }
    }

    /// Counts a packet.
    pub(crate) fn record(&mut self, now: Instant, raw: u64, timestamp: u32, clock_rate: u32) {
        self.received += 1;
        self.heard = true;
        // A packet older than the first one moves the base; otherwise more packets would be received than expected.
        self.base = self.base.min(raw);
        self.highest = self.highest.max(raw);
        // RFC 3550 appendix A.8, with the arrival in units of the RTP clock.
        let since = now.saturating_duration_since(self.epoch).as_micros() as u64;
        let arrival = (since.wrapping_mul(u64::from(clock_rate)) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let d = (transit.wrapping_sub(last) as i32).unsigned_abs();
            let step = i64::from(d) - i64::from((self.jitter + 8) >> 4);
            self.jitter = (i64::from(self.jitter) + step).clamp(0, i64::from(u32::MAX >> 1)) as u32;
        }
    }

    /// Interarrival jitter in timestamp units.
    pub(crate) fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// How many packets the last [`Reception::block`] was about, and how many of them it called lost; zeros if there was
    /// none to write.
    pub(crate) fn reported(&self) -> (u64, u64) {
        self.reported
    }

    /// A report block for the time since the last one; `None` if no packets arrived.
    pub(crate) fn block(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        sender: Option<&SenderInfo>,
    ) -> Option<ReportBlock> {
        self.reported = (0, 0);
        if !std::mem::take(&mut self.heard) {
            return None;
        }
        // RFC 3550 appendix A.3.
        let expected = self.highest - self.base + 1;
        let cumulative = expected as i64 - self.received as i64;
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received - self.received_prior;
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost = expected_interval.saturating_sub(received_interval);
        self.reported = (expected_interval, lost);
        let fraction = (lost << 8).checked_div(expected_interval).unwrap_or(0).min(255) as u8;
        let (last_sr, delay) = match sender {
            None => (0, 0),
            Some(sender) => {
                let delay = now.saturating_duration_since(sender.arrival).as_micros() * 65_536;
                (sender.ntp.middle(), (delay / 1_000_000).min(u128::from(u32::MAX)) as u32)
            }
        };
        Some(ReportBlock {
            ssrc: ssrc.0,
            fraction_lost: fraction,
            cumulative_lost: cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32,
            // Raw numbers start one wrap up; the cycles in the report start at 0.
            highest_sequence: self.highest.saturating_sub(0x1_0000) as u32,
            jitter: self.jitter(),
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn all_reports_of_a_publisher_are_converted_to_one_clock() {
        let t = crate::fixtures::start();
        let node = WallClock::new(t, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let mut clock = PublisherClock::default();
        let mut tell = |sent: u64, delay: u64, base: u64| {
            let ntp = NtpTime(base << 32).after(Duration::from_millis(sent));
            let arrival = t + Duration::from_millis(sent + delay);
            let info = SenderInfo { ntp, rtp_timestamp: 7, arrival };
            let converted = clock.tell(info, &node).ntp.since(node.ntp(t));
            (converted.as_micros() + 500) / 1_000
        };
        assert_eq!(tell(1_000, 50, 5), 1_050, "by its arrival");
        assert_eq!(tell(3_000, 400, 5), 3_050, "a way that is longer changes nothing");
        assert_eq!(tell(2_000, 20, 5), 2_050);
        // The publisher's clock is set by an hour, back and forth.
        assert_eq!(tell(9_000, 30, 3_605), 9_030);
        assert_eq!(tell(9_500, 60, 3_605), 9_530);
        assert_eq!(tell(10_000, 30, 5), 10_030);
    }

    #[test]
    fn a_quarter_lost_reads_as_64_of_256() {
        let t = crate::fixtures::start();
        let mut r = Reception::new(t, 0x1_0000);
        for i in (0..400u64).filter(|i| i % 4 != 1) {
            r.record(t + Duration::from_millis(i * 20), 0x1_0000 + i, (i * 960) as u32, 48_000);
        }
        let block = r.block(t, Ssrc(7), None).expect("heard");
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 64, 100));
        assert_eq!((block.highest_sequence, block.jitter, block.last_sr), (399, 0, 0));
        assert_eq!(r.block(t, Ssrc(7), None), None, "nothing heard since");
        r.record(t + Duration::from_millis(8_000), 0x1_0000 + 400, 400 * 960, 48_000);
        let block = r.block(t, Ssrc(7), None).expect("heard");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 100));
    }

    #[test]
    fn jitter_follows_rfc_3550_a8() {
        let t = crate::fixtures::start();
        let mut r = Reception::new(t, 0);
        // Arrivals alternate by 10 ms: 480 units at 48 kHz, so the jitter tends towards 480.
        for i in 0..1_000u64 {
            let late = 10 * (i % 2);
            r.record(t + Duration::from_millis(i * 20 + late), i, (i * 960) as u32, 48_000);
        }
        assert!((470..=480).contains(&r.jitter()), "{}", r.jitter());
    }

    #[test]
    fn the_delay_since_the_last_sender_report_is_in_65536ths() {
        let t = crate::fixtures::start();
        let mut r = Reception::new(t, 0);
        r.record(t, 0, 0, 90_000);
        let sender =
            SenderInfo { ntp: NtpTime(0x1122_3344_5566_7788), rtp_timestamp: 0, arrival: t };
        let block =
            r.block(t + Duration::from_millis(1_500), Ssrc(1), Some(&sender)).expect("heard");
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x3344_5566, 98_304));
    }

    #[test]
    fn packets_before_the_first_one_do_not_count_as_surplus() {
        let t = crate::fixtures::start();
        let mut r = Reception::new(t, 100);
        for raw in [100, 98, 99, 101] {
            r.record(t, raw, 0, 90_000);
        }
        assert_eq!(r.block(t, Ssrc(1), None).expect("heard").cumulative_lost, 0);
    }
}

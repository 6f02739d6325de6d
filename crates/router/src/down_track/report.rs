//! Sender reports to a subscriber, and its receiver reports (RFC 3550 section 6.4).
//!
//! A sender report ties the slot's timestamps to the node's wall clock, the one reference clock of the CNAME that all
//! slots have (RFC 3550 section 6.4.1). The capture time is taken from the publisher's own report of the forwarded
//! layer, converted to the node's clock ([`crate::PublisherClock`]), so that audio and video stay in sync. Before that
//! report arrived the arrival time is used: it differs by the time of encoding and transport.

use std::time::{Duration, Instant};

use model::{MediaKind, NtpTime, WallClock};
use rtp::rtcp::ReportBlock;

use super::splice::{Tail, ticks};
use crate::bitrate::duration;
use crate::{DownStats, SenderInfo};

/// Time between the first packet and the first report.
const FIRST: Duration = Duration::from_millis(50);
/// Time until a missing report of the publisher is looked for again.
const RETRY: Duration = Duration::from_millis(200);
/// After this time without a report of the publisher, arrival times are used.
const PUBLISHER_REPORT_WAIT: Duration = Duration::from_secs(2);
/// A slot that sent no packets for this long sends no reports either.
const IDLE: Duration = Duration::from_secs(5);
/// Sender reports that are remembered. A receiver report that answers one of them gives the round trip time.
const REMEMBERED: usize = 8;

/// The reports of one down-track.
#[derive(Debug)]
pub(crate) struct Reports {
    every: Duration,
    due: Option<Instant>,
    /// Since when packets are sent.
    since: Option<Instant>,
    /// Middle NTP bits and send time of the last reports.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    /// The highest sequence number of the subscriber's last report.
    highest: Option<u32>,
}

/// What one report of a subscriber says of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineReport {
    /// Packets that were sent between this report and the one before, at most 65,535; 0 if this is the first one.
    pub expected: u16,
    /// Those of them that did not arrive at first.
    pub lost: u16,
    /// The round trip, if the report answers a sender report.
    pub round_trip: Option<Duration>,
}

impl Reports {
    pub(crate) fn new(kind: MediaKind) -> Self {
        let every = match kind {
            MediaKind::Video => Duration::from_secs(1),
            MediaKind::Audio => Duration::from_secs(2),
        };
        Self { every, due: None, since: None, sent: [None; REMEMBERED], next: 0, highest: None }
    }

    /// A packet was sent.
    pub(crate) fn flowing(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(now + FIRST);
            self.since = Some(now);
        }
    }

    /// Pauses the reports until [`Reports::flowing`] is called again; another track may follow.
    pub(crate) fn pause(&mut self) {
        self.due = None;
    }

    /// When to call [`Reports::tie`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Wall clock and timestamp of `now`, if a report is due and possible. Call [`Reports::sent`] when it was written.
    pub(crate) fn tie(
        &mut self,
        now: Instant,
        clock: &WallClock,
        tail: &Tail,
        clock_rate: u32,
        publisher: Option<&SenderInfo>,
    ) -> Option<(NtpTime, u32)> {
        let due = self.due?;
        if now < due {
            return None;
        }
        let idle = now.saturating_duration_since(tail.arrival);
        if idle > IDLE {
            self.due = None;
            return None;
        }
        if let Some(info) = publisher {
            let elapsed = now.saturating_duration_since(info.arrival);
            let timestamp = info
                .rtp_timestamp
                .wrapping_add(ticks(elapsed, clock_rate))
                .wrapping_add(tail.segment.timestamp);
            return Some((info.ntp.after(elapsed), timestamp));
        }
        if self.since.is_some_and(|since| now < since + PUBLISHER_REPORT_WAIT) {
            self.due = Some(now + RETRY);
            return None;
        }
        Some((clock.ntp(now), tail.timestamp.wrapping_add(ticks(idle, clock_rate))))
    }

    /// A report was written.
    pub(crate) fn sent(&mut self, now: Instant, ntp: NtpTime) {
        self.sent[self.next] = Some((ntp.middle(), now));
        self.next = (self.next + 1) % REMEMBERED;
        self.due = Some(now + self.every);
    }

    /// Takes the subscriber's report block about the slot's stream.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        clock_rate: u32,
        stats: &mut DownStats,
    ) -> LineReport {
        // RFC 3550 section 6.4.1: the fraction is about the packets since the last report. A number that went back, or so
        // far that it cannot be, tells nothing.
        let last = self.highest.replace(block.highest_sequence);
        let expected = last.map_or(0, |last| block.highest_sequence.wrapping_sub(last));
        let expected = u16::try_from(expected).unwrap_or(0);
        let lost = (u32::from(expected) * u32::from(block.fraction_lost) / 256) as u16;
        let mut report = LineReport { expected, lost, round_trip: None };
        stats.fraction_lost = block.fraction_lost;
        stats.cumulative_lost = block.cumulative_lost;
        stats.jitter = duration(block.jitter, clock_rate);
        let answered = self.sent.iter().flatten().find(|(middle, _)| *middle == block.last_sr);
        // RFC 3550 section 6.4.1: LSR is zero before the first sender report.
        if let Some((_, at)) = answered.filter(|_| block.last_sr != 0) {
            let micros = u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536;
            let round = now.saturating_duration_since(*at);
            // A delay longer than the time that passed is false; the round trip time is kept.
            if let Some(rtt) = round.checked_sub(Duration::from_micros(micros)) {
                stats.rtt = Some(rtt);
                report.round_trip = Some(rtt);
            }
        }
        report
    }
}

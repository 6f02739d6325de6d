//! Sender reports to a subscriber, and what its receiver reports say (RFC 3550 section 6.4).
//!
//! A sender report ties the slot's timestamps to the node's wall clock, which is the one reference clock of the CNAME that all slots
//! have (RFC 3550 section 6.4.1). When something was captured is taken from the publisher's own report of the layer
//! that is forwarded, told in the node's clock ([`crate::PublisherClock`]), so that lips and voice stay together. Before that report came,
//! the time of arrival has to do: it differs by what encoding and the way take.

use std::time::{Duration, Instant};

use model::{MediaKind, NtpTime, WallClock};
use rtp::rtcp::ReportBlock;

use super::splice::{Tail, ticks};
use crate::bitrate::duration;
use crate::{DownStats, SenderInfo};

/// Between the first packet and the first report.
const FIRST: Duration = Duration::from_millis(50);
/// When the publisher's report is not there, the time until it is looked for again.
const RETRY: Duration = Duration::from_millis(200);
/// After this long without a report of the publisher, times of arrival have to do.
const PUBLISHER_LATE: Duration = Duration::from_secs(2);
/// A slot that sent nothing for this long sends no reports either.
const IDLE: Duration = Duration::from_secs(5);
/// Sender reports that are remembered, so that a receiver report that answers one gives the round trip.
const REMEMBERED: usize = 8;

/// The reports of one down-track.
#[derive(Debug)]
pub(crate) struct Reports {
    every: Duration,
    due: Option<Instant>,
    /// Since when packets flow.
    since: Option<Instant>,
    /// Middle NTP bits and time of the last reports.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
}

impl Reports {
    pub(crate) fn new(kind: MediaKind) -> Self {
        let every = match kind {
            MediaKind::Video => Duration::from_secs(1),
            MediaKind::Audio => Duration::from_secs(2),
        };
        Self { every, due: None, since: None, sent: [None; REMEMBERED], next: 0 }
    }

    /// A packet was sent.
    pub(crate) fn flowing(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(now + FIRST);
            self.since = Some(now);
        }
    }

    /// Nothing is sent until [`Reports::flowing`] is called again; another track may follow.
    pub(crate) fn pause(&mut self) {
        self.due = None;
    }

    /// When [`Reports::tie`] has something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Wall clock and timestamp of this moment, if a report is due and possible. Call [`Reports::sent`] when it was
    /// written.
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
        if self.since.is_some_and(|since| now < since + PUBLISHER_LATE) {
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

    /// Takes in what the subscriber says about the slot's stream.
    pub(crate) fn received(
        &self,
        now: Instant,
        block: &ReportBlock,
        clock_rate: u32,
        stats: &mut DownStats,
    ) {
        stats.fraction_lost = block.fraction_lost;
        stats.cumulative_lost = block.cumulative_lost;
        stats.jitter = duration(block.jitter, clock_rate);
        let answered = self.sent.iter().flatten().find(|(middle, _)| *middle == block.last_sr);
        // RFC 3550 section 6.4.1: LSR is zero before the first sender report.
        if let Some((_, at)) = answered.filter(|_| block.last_sr != 0) {
            let micros = u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536;
            let round = now.saturating_duration_since(*at);
            // A delay longer than the time that passed cannot be true; the round trip stays what it was.
            if let Some(rtt) = round.checked_sub(Duration::from_micros(micros)) {
                stats.rtt = Some(rtt);
            }
        }
    }
}

//! RTCP to a peer: reports about what it sends and about what it is sent, and requests for missing packets.

use std::time::{Duration, Instant};

use model::{NtpTime, Ssrc};
use rtp::rtcp::{NoRoom, ReportBlock, RtcpWriter};

use crate::{
    core::Worker,
    sessions::{Session, SessionRef},
    tracks::Tracks,
};

/// Time between receiver reports. RFC 3550 section 6.2 allows less than its five seconds where bandwidth is plenty.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Bytes of one RTCP packet before encryption.
const COMPOUND_MAX: usize = 1_200;
/// Blocks of one receiver report (RFC 3550 section 6.4.2: the count has five bits).
const BLOCKS_MAX: usize = 31;
/// Room kept behind sender reports for a receiver report and the CNAME, a reference time and a bitrate.
const REPORTS_RESERVE: usize = 28 + 8 + BLOCKS_MAX * 24 + 64 + 20 + 20 + BLOCKS_MAX * 4;
/// RTCP packets sent in one call: enough for the reports of a session that sends 64 sections of four layers, and for
/// the sender reports of one with 64 slots. The rest waits for the next call.
const COMPOUNDS_MAX: usize = 16;
/// Room for the SRTCP index and tag.
const OVERHEAD: usize = 32;

impl Worker {
    /// Sends the RTCP that is due, if any.
    pub(crate) fn send_feedback(&mut self, now: Instant, slot: SessionRef) {
        let Worker { sessions, tracks, outbox, blocks, config, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(path) = session.path else { return };
        if session.crypto.is_none() {
            return;
        }
        let due = !session.ups.is_empty() && now >= session.report_due;
        let mut reports = Reports { due, left: blocks_due(now, session, due, blocks) };
        if due {
            session.report_due = now + REPORT_EVERY;
            session.set_retries();
            session.measure_quality();
        }
        let ntp = config.wall_clock.ntp(now);
        for _ in 0..COMPOUNDS_MAX {
            let mut packet = [0; COMPOUND_MAX + OVERHEAD];
            let room = &mut packet[..COMPOUND_MAX];
            let compound = write_compound(now, ntp, session, tracks, &mut reports, room);
            if compound.len > 0
                && let Some(crypto) = &mut session.crypto
                && let Ok(len) = crypto.sender.seal_rtcp(&mut packet, compound.len)
            {
                outbox.datagram(path, &packet[..len]);
            }
            if !compound.more {
                break;
            }
        }
    }

    /// Tells the peer that all streams to it end (RFC 3550 section 6.6).
    pub(crate) fn send_bye(&mut self, now: Instant, slot: SessionRef) {
        let Worker { sessions, outbox, blocks, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let (sender, Some(path)) = (session.rtcp_ssrc(), session.path) else { return };
        let ssrcs: Vec<Ssrc> = if session.downs.is_empty() {
            vec![sender]
        } else {
            // A BYE holds 31 sources (RFC 3550 section 6.6); the others end with the DTLS connection.
            session.downs.iter().map(|d| d.ssrc).take(31).collect()
        };
        let mut packet = [0; COMPOUND_MAX + OVERHEAD];
        let mut rtcp = RtcpWriter::new(&mut packet[..COMPOUND_MAX]);
        let mut reports = Reports { due: true, left: blocks_due(now, session, true, blocks) };
        let written = write_reports(&session.orders.plan.cname, sender, &mut rtcp, &mut reports)
            .and_then(|()| rtcp.bye(&ssrcs).map(|_| ()));
        let len = rtcp.len();
        let Some(crypto) = session.crypto.as_mut().filter(|_| written.is_ok()) else { return };
        if let Ok(len) = crypto.sender.seal_rtcp(&mut packet, len) {
            outbox.datagram(path, &packet[..len]);
        }
    }
}

/// The written bytes, and whether more is due.
struct Compound {
    len: usize,
    more: bool,
}

fn write_compound(
    now: Instant,
    ntp: NtpTime,
    session: &mut Session,
    tracks: &mut Tracks,
    reports: &mut Reports<'_>,
    room: &mut [u8],
) -> Compound {
    let sender = session.rtcp_ssrc();
    let mut rtcp = RtcpWriter::new(room);
    let mut some = false;
    let mut more = false;
    for down in &mut session.downs {
        // The receiver report and what follows it must fit as well; the other sender reports go into the next packet.
        if rtcp.room() < REPORTS_RESERVE {
            more = true;
            break;
        }
        let mirror = down.track.and_then(|t| tracks.at(t)).map(|t| &t.mirror);
        match down.down.poll_report(now, mirror, &mut rtcp) {
            Ok(written) => some |= written,
            Err(NoRoom) => more = true,
        }
    }
    let (due, blocks) = (std::mem::take(&mut reports.due), reports.left);
    some |= due || !blocks.is_empty();
    // RFC 3550 section 6.1: a compound begins with a report, unless reduced size was agreed (RFC 5506).
    let cname = &session.orders.plan.cname;
    if (some || !session.orders.plan.rtcp_reduced_size)
        && write_reports(cname, sender, &mut rtcp, reports).is_err()
    {
        more = true;
    }
    more |= !reports.left.is_empty();
    if due {
        write_about_line(now, ntp, session, sender, blocks, &mut rtcp);
    }
    for up in &mut session.ups {
        match up.up.poll_feedback(now, sender, &mut rtcp) {
            Ok(written) => some |= written,
            Err(NoRoom) => more = true,
        }
    }
    if let Some(twcc) = &mut session.twcc
        && twcc.poll_timeout().is_some_and(|at| at <= now)
    {
        some = true;
        // The feedback is about the whole transport, but browsers ignore it unless it names one of their streams.
        match twcc.write_feedback(sender, session.twcc_media, &mut rtcp) {
            Ok(left) => more |= left,
            Err(NoRoom) => more = true,
        }
    }
    Compound { len: if some { rtcp.len() } else { 0 }, more: more && some }
}

/// Written with each report to a publisher: the reference time that its round trip is measured with, and the bitrate
/// (REMB) if transport-wide feedback was not agreed. If there is no room they wait for the next report.
fn write_about_line(
    now: Instant,
    ntp: NtpTime,
    session: &mut Session,
    sender: Ssrc,
    heard: &[ReportBlock],
    rtcp: &mut RtcpWriter<'_>,
) {
    if let Some(trip) = &mut session.round_trip
        && rtcp.reference_time(sender, ntp).is_ok()
    {
        trip.sent(now, ntp.middle());
    }
    if let Some(remb) = &mut session.remb
        && !heard.is_empty()
    {
        let mut ssrcs = [Ssrc(0); BLOCKS_MAX];
        ssrcs.iter_mut().zip(heard).for_each(|(ssrc, block)| *ssrc = block.ssrc());
        let count = heard.len().min(BLOCKS_MAX);
        let _waits = rtcp.remb(sender, remb.bitrate(now), &ssrcs[..count]);
    }
}

/// The reports about the peer's streams that still have to be written.
struct Reports<'a> {
    /// A report is due, even without blocks.
    due: bool,
    /// Blocks that are not written yet.
    left: &'a [ReportBlock],
}

/// If a report is due, collects a block for each SSRC that sent something since the last report.
fn blocks_due<'a>(
    now: Instant,
    session: &mut Session,
    due: bool,
    blocks: &'a mut Vec<ReportBlock>,
) -> &'a [ReportBlock] {
    blocks.clear();
    if due {
        for up in &mut session.ups {
            up.up.report_blocks(now, blocks);
        }
    }
    blocks
}

/// Writes a receiver report, with as many of the blocks as one holds, and the CNAME.
fn write_reports(
    cname: &str,
    sender: Ssrc,
    rtcp: &mut RtcpWriter<'_>,
    reports: &mut Reports<'_>,
) -> Result<(), NoRoom> {
    let (blocks, left) = reports.left.split_at(reports.left.len().min(BLOCKS_MAX));
    if rtcp.is_empty() || !blocks.is_empty() {
        rtcp.rr(sender, blocks)?;
        reports.left = left;
    }
    rtcp.sdes_cname(sender, cname)
}

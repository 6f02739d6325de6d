//! RTCP to a peer: reports about what it sends and of what we send it, requests for what is missing.

use std::time::{Duration, Instant};

use model::Ssrc;
use rtp::rtcp::{NoRoom, ReportBlock, RtcpWriter};

use crate::{
    core::Worker,
    sessions::{Session, SessionRef},
    tracks::Tracks,
};

/// Between receiver reports. RFC 3550 section 6.2 allows less than its five seconds where bandwidth is plenty.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Bytes of one RTCP packet before encryption.
const COMPOUND_MAX: usize = 1_200;
/// Room kept for receiver reports and the CNAME behind sender reports: 20 SSRCs at most are heard in a session.
const REPORTS_RESERVE: usize = 28 + 8 + 20 * 24 + 64;
/// RTCP packets in one go: enough for the reports of a session with 64 slots.
const COMPOUNDS_MAX: usize = 8;
/// Room for the SRTCP index and tag.
const OVERHEAD: usize = 32;

impl Worker {
    /// Sends the RTCP that is due, if any.
    pub(crate) fn send_feedback(&mut self, now: Instant, slot: SessionRef) {
        let Worker { sessions, tracks, outbox, blocks, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(path) = session.path else { return };
        if session.crypto.is_none() {
            return;
        }
        for _ in 0..COMPOUNDS_MAX {
            let mut packet = [0; COMPOUND_MAX + OVERHEAD];
            let compound =
                write_compound(now, session, tracks, blocks, &mut packet[..COMPOUND_MAX]);
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

    /// Says that everything that we send to this peer ends (RFC 3550 section 6.6).
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
        let written = write_reports(now, session, sender, &mut rtcp, blocks, true)
            .and_then(|()| rtcp.bye(&ssrcs).map(|_| ()));
        let len = rtcp.len();
        let Some(crypto) = session.crypto.as_mut().filter(|_| written.is_ok()) else { return };
        if let Ok(len) = crypto.sender.seal_rtcp(&mut packet, len) {
            outbox.datagram(path, &packet[..len]);
        }
    }
}

/// What was written of what is due.
struct Compound {
    len: usize,
    more: bool,
}

fn write_compound(
    now: Instant,
    session: &mut Session,
    tracks: &mut Tracks,
    blocks: &mut Vec<ReportBlock>,
    room: &mut [u8],
) -> Compound {
    let sender = session.rtcp_ssrc();
    let mut rtcp = RtcpWriter::new(room);
    let mut some = false;
    let mut more = false;
    for down in &mut session.downs {
        // What follows must fit as well; the other reports go into the next packet.
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
    let due = !session.ups.is_empty() && now >= session.report_due;
    if due {
        session.report_due = now + REPORT_EVERY;
    }
    some |= due;
    // RFC 3550 section 6.1: a compound begins with a report, unless less was agreed (RFC 5506).
    if (some || !session.orders.plan.rtcp_reduced_size)
        && write_reports(now, session, sender, &mut rtcp, blocks, due).is_err()
    {
        more = true;
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
        // The feedback is about the whole transport; but browsers ignore it unless it names a stream of theirs.
        match twcc.write_feedback(sender, session.twcc_media, &mut rtcp) {
            Ok(left) => more |= left,
            Err(NoRoom) => more = true,
        }
    }
    Compound { len: if some { rtcp.len() } else { 0 }, more: more && some }
}

/// Receiver report (with blocks when they are due) and the CNAME.
fn write_reports(
    now: Instant,
    session: &mut Session,
    sender: Ssrc,
    rtcp: &mut RtcpWriter<'_>,
    blocks: &mut Vec<ReportBlock>,
    due: bool,
) -> Result<(), NoRoom> {
    blocks.clear();
    if due {
        for up in &mut session.ups {
            up.up.report_blocks(now, blocks);
        }
    }
    if rtcp.is_empty() || !blocks.is_empty() {
        rtcp.rr(sender, blocks)?;
    }
    rtcp.sdes_cname(sender, &session.orders.plan.cname)
}

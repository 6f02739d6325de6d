//! RTCP from a peer.

use std::time::Instant;

use model::{DropReason, Event, Path, Ssrc};
use rtp::rtcp::{self, CompoundIter, ReportBlock, RtcpPacket, SenderReport, XrBlock};

use transport::srtp::SrtpError;

use crate::{asks::Ask, core::Worker, sessions::SessionRef};

/// Retransmissions for one NACK; it can name thousands of packets in a few bytes.
const RETRANSMISSIONS_MAX: usize = 512;

impl Worker {
    /// Takes an SRTCP packet of a session of this worker.
    pub(crate) fn take_rtcp(
        &mut self,
        now: Instant,
        slot: SessionRef,
        path: &Path,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let session = self.sessions.at(slot).ok_or(DropReason::UnknownPath)?;
        let crypto = session.crypto.as_mut().ok_or(DropReason::NoKeys)?;
        if !session.rates.allow_rtcp(now, &self.config.rates) {
            return Err(DropReason::RtcpRate);
        }
        let len = crypto.receiver.open_rtcp(datagram).map_err(SrtpError::drop_reason)?;
        session.rates.took_rtcp();
        if session.heard(now, path) {
            (self.config.events)(Event::Back { session: session.id });
        }
        let compound = datagram.get(..len).ok_or(DropReason::RtcpMalformed)?;
        // The whole compound is checked before any part is acted on, because a later part may be malformed.
        rtcp::validate(compound)?;
        self.counters.rtcp.add(1);
        // A round trip ends when the kernel got the report; the time until the worker reads it is no part of it.
        let heard = self.arrived.unwrap_or(now);
        for packet in CompoundIter::new(compound).flatten() {
            self.take_rtcp_packet(now, heard, slot, &packet);
        }
        self.report_quality(now, slot);
        self.arm(now, slot);
        Ok(())
    }

    fn take_rtcp_packet(
        &mut self,
        now: Instant,
        heard: Instant,
        slot: SessionRef,
        packet: &RtcpPacket<'_>,
    ) {
        match packet {
            RtcpPacket::SenderReport(report) => {
                self.take_sender_report(heard, slot, report);
                report.blocks().for_each(|b| self.take_report_block(heard, slot, &b));
            }
            RtcpPacket::ReceiverReport(report) => {
                report.blocks().for_each(|b| self.take_report_block(heard, slot, &b));
            }
            RtcpPacket::Nack(nack) => self.retransmit(now, slot, nack.media, nack.lost()),
            RtcpPacket::Pli { media, .. } => self.picture_lost(now, slot, *media),
            RtcpPacket::Fir(fir) => {
                fir.entries().for_each(|entry| self.picture_lost(now, slot, entry.ssrc));
            }
            RtcpPacket::Xr(xr) => {
                xr.blocks().for_each(|block| self.take_extended_report(heard, slot, &block));
            }
            // SDES and BYE of a WebRTC peer tell nothing that signaling and DTLS do not. The node's answers agree to
            // no congestion feedback from subscribers. docs/rtcp.md tells what the other types are for.
            _ => {}
        }
    }

    fn take_sender_report(&mut self, heard: Instant, slot: SessionRef, report: &SenderReport<'_>) {
        let Worker { sessions, config, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let (ntp, timestamp) = (report.info.ntp, report.info.rtp_timestamp);
        let told = session.ups.iter_mut().find_map(|up| {
            let told = up.up.sender_report(heard, report.ssrc, ntp, timestamp);
            told.map(|(stream, info)| (up.track, stream, info))
        });
        if let Some((track, stream, info)) = told {
            let info = session.clock.tell(info, &config.wall_clock);
            self.tell_sender_report(track, stream, info);
        }
    }

    fn take_report_block(&mut self, heard: Instant, slot: SessionRef, block: &ReportBlock) {
        let Some(session) = self.sessions.at(slot) else { return };
        if let Some(down) = session.downs.iter_mut().find(|d| d.ssrc == block.ssrc()) {
            let told = down.down.report_block(heard, block);
            session.quality.to_peer(told.expected.into(), told.lost.into());
            if let Some(trip) = told.round_trip {
                session.quality.round_trip(trip);
            }
        }
    }

    /// The answer to a reference time that the node sent gives the round trip (RFC 3611 section 4.5).
    fn take_extended_report(&mut self, heard: Instant, slot: SessionRef, block: &XrBlock<'_>) {
        let XrBlock::Dlrr(answers) = block else { return };
        let session = self.sessions.at(slot);
        let Some(trip) = session.and_then(|s| s.round_trip.as_mut()) else { return };
        for answer in answers.entries() {
            trip.answered(heard, answer.last_rr, answer.delay_since_last_rr);
        }
    }

    fn picture_lost(&mut self, now: Instant, slot: SessionRef, media: Ssrc) {
        let Worker { sessions, tracks, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(down) = session.downs.iter_mut().find(|d| d.ssrc == media) else { return };
        down.down.keyframe_requested();
        let Some(track) = down.track else { return };
        let Some(mirror) = tracks.at(track).map(|t| &t.mirror) else { return };
        if let Some(layer) = down.down.wants_keyframe(now, mirror) {
            self.ask(now, track, Ask::KeyFrame(layer));
        } else if down.down.keyframe_deferred(now) {
            self.counters.key_frames_deferred.add(1);
        }
    }

    /// Queues retransmissions: they leave in the receiver's turn, as everything else does.
    fn retransmit(
        &mut self,
        now: Instant,
        slot: SessionRef,
        media: Ssrc,
        lost: impl Iterator<Item = u16>,
    ) {
        let Worker { sessions, counters, rounds, config, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(down) = session.downs.iter().position(|d| d.ssrc == media) else { return };
        if session.downs[down].track.is_none() {
            return;
        }
        for sequence in lost.take(RETRANSMISSIONS_MAX) {
            counters.offered.add(1);
            if !session.rates.take_nack(now, &config.rates) {
                counters.drop_out(DropReason::NackRate);
                continue;
            }
            match session.exit.resend(down as u16, sequence) {
                true => counters.waiting_add(1),
                false => counters.drop_out(DropReason::RtxTooSoon),
            }
        }
        if session.exit.list() {
            rounds.list(slot);
        }
    }
}

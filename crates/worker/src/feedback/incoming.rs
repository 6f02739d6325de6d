//! RTCP from a peer.

use std::time::Instant;

use model::{DropReason, NtpTime, Ssrc};
use rtp::rtcp::{self, CompoundIter, ReportBlock, RtcpPacket, SenderReport};

use transport::srtp::SrtpError;

use crate::{
    core::Worker,
    egress::seal,
    mesh::{Mesh, Word},
    sessions::{Slot, Up},
    tracks::Tracks,
};

/// Retransmissions for one RTCP packet; a NACK can name thousands of packets in a few bytes.
const RETRANSMISSIONS_MAX: usize = 512;

impl Worker {
    /// Takes an SRTCP packet of a session of ours.
    pub(crate) fn take_rtcp(
        &mut self,
        now: Instant,
        slot: Slot,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let session = self.sessions.at(slot).ok_or(DropReason::UnknownPath)?;
        let crypto = session.crypto.as_mut().ok_or(DropReason::NoKeys)?;
        let len = crypto.receiver.open_rtcp(datagram).map_err(SrtpError::drop_reason)?;
        let compound = datagram.get(..len).ok_or(DropReason::RtcpMalformed)?;
        // All or nothing: a packet that lies later must not have been acted on before.
        rtcp::validate(compound)?;
        self.counters.rtcp.add(1);
        // Round trips are told by when a report came, not by when we came to read it.
        let heard = self.arrived.unwrap_or(now);
        for packet in CompoundIter::new(compound).flatten() {
            self.take_rtcp_packet(now, heard, slot, &packet);
        }
        self.arm(now, slot);
        Ok(())
    }

    fn take_rtcp_packet(
        &mut self,
        now: Instant,
        heard: Instant,
        slot: Slot,
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
            // SDES and BYE of a WebRTC peer say nothing that signaling and DTLS do not; feedback on congestion
            // towards subscribers is not asked for; the rest is for others (docs/rtcp.md).
            _ => {}
        }
    }

    fn take_sender_report(&mut self, heard: Instant, slot: Slot, report: &SenderReport<'_>) {
        let Worker { sessions, tracks, mesh, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let (ntp, timestamp) = (report.info.ntp, report.info.rtp_timestamp);
        tell_sender_report(heard, &mut session.ups, tracks, mesh, (report.ssrc, ntp, timestamp));
    }

    fn take_report_block(&mut self, heard: Instant, slot: Slot, block: &ReportBlock) {
        let Some(session) = self.sessions.at(slot) else { return };
        if let Some(down) = session.downs.iter_mut().find(|d| d.ssrc == block.ssrc()) {
            down.down.report_block(heard, block);
        }
    }

    fn picture_lost(&mut self, now: Instant, slot: Slot, media: Ssrc) {
        let Worker { sessions, tracks, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(down) = session.downs.iter_mut().find(|d| d.ssrc == media) else { return };
        down.down.keyframe_requested();
        let Some(track) = down.track else { return };
        let Some(mirror) = tracks.at(track).map(|t| &t.mirror) else { return };
        if let Some(layer) = down.down.wants_keyframe(now, mirror) {
            self.request_key_frame(now, track, layer);
        }
    }

    fn retransmit(
        &mut self,
        now: Instant,
        slot: Slot,
        media: Ssrc,
        lost: impl Iterator<Item = u16>,
    ) {
        let Worker { sessions, tracks, outbox, inbox, counters, .. } = self;
        let Some(session) = sessions.at(slot) else { return };
        let Some(down) = session.downs.iter_mut().find(|d| d.ssrc == media) else { return };
        let Some(mirror) = down.track.and_then(|t| tracks.at(t)).map(|t| &t.mirror) else { return };
        let (Some(crypto), Some(path)) = (&mut session.crypto, session.path) else { return };
        outbox.begin(path);
        for sequence in lost.take(RETRANSMISSIONS_MAX) {
            counters.offered.add(1);
            let Some(room) = outbox.space(inbox, counters) else {
                counters.drop_out(DropReason::SendBufferFull);
                continue;
            };
            let written = down.down.retransmit(now, mirror, sequence, room);
            match written.and_then(|written| seal(&mut crypto.sender, room, written)) {
                Ok(len) => {
                    outbox.commit(len);
                    counters.forwarded.add(1);
                    counters.forwarded_bytes.add(len as u64);
                    counters.retransmitted.add(1);
                }
                Err(reason) => counters.drop_out(reason),
            }
        }
    }
}

/// Lets the track of an SSRC know which NTP time belongs to which RTP timestamp, here and wherever it has subscribers.
pub(crate) fn tell_sender_report(
    now: Instant,
    ups: &mut [Up],
    tracks: &mut Tracks,
    mesh: &mut Mesh,
    (ssrc, ntp, timestamp): (Ssrc, NtpTime, u32),
) {
    for up in ups {
        let told = up.up.sender_report(now, ssrc, ntp, timestamp);
        let Some((layer, epoch, info)) = told else { continue };
        let Some(track) = tracks.at(up.track) else { continue };
        track.mirror.sender_report(layer, epoch, info);
        for &worker in &track.wanted_by {
            mesh.tell(worker, Word::Report { track: track.id, layer, epoch, info });
        }
    }
}

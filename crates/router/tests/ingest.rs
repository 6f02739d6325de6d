//! Which packets an up-track accepts, which it refuses and why, and what feedback it sends to its publisher.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use model::{DropReason, NtpTime, Pt, Ssrc};
use rtp::ParsedExtensions;
use rtp::rtcp::{CompoundIter, ReportBlock, RtcpPacket, RtcpWriter};
use sfumato_router::{PacketPool, PoolLimits, StreamRef, UpTrack};
use support::*;

fn rig() -> Rig {
    Rig::new(video(1, "0", &[], &[(11, 12)]), start())
}

fn packet(sequence: u16, picture: u16, key: bool) -> Raw {
    let vp8 = Vp8 { start: true, key, picture, long_id: true, tl0: 0 };
    Raw::new(11, VP8, sequence, u32::from(picture) * 3_000, vp8.payload(&[5; 300]))
}

fn blocks(rig: &mut Rig, now: std::time::Instant) -> Vec<ReportBlock> {
    let mut blocks = Vec::new();
    rig.up.report_blocks(now, &mut blocks);
    blocks
}

#[test]
fn a_retransmission_fills_its_gap_as_the_original_would_have() {
    let (mut r, t) = (rig(), start());
    let first = r.receive(t, &packet(1, 1, true).bytes()).unwrap();
    assert!(r.last.unwrap().first_of_track);
    r.receive(t, &packet(4, 4, false).bytes()).unwrap();
    assert!(!r.last.unwrap().first_of_track);
    let back = r.receive(t, &packet(2, 2, false).wrapped(12, 900).bytes()).unwrap();
    assert_eq!(back.meta.seq.0, first.meta.seq.0 + 1);
    assert_eq!(
        (back.meta.pt, back.meta.timestamp, back.meta.is_retransmission),
        (VP8, 6_000, true)
    );
    assert_eq!(back.bytes(), packet(2, 2, false).bytes(), "plain RTP again");
    // The original arrives after all, and then once more as a retransmission.
    assert_eq!(r.receive(t, &packet(2, 2, false).bytes()).err(), Some(DropReason::Duplicate));
    let again = packet(2, 2, false).wrapped(12, 901).bytes();
    assert_eq!(r.receive(t, &again).err(), Some(DropReason::Duplicate));
}

#[test]
fn a_track_falls_silent_once_and_the_next_packet_is_its_first_again() {
    let (mut r, t) = (rig(), start());
    assert!(!r.up.fell_silent(t + Duration::from_secs(60)), "it never spoke");
    r.receive(t, &packet(1, 1, true).bytes()).unwrap();
    assert!(!r.up.fell_silent(t + Duration::from_millis(1_999)));
    let later = t + Duration::from_secs(2);
    assert!(r.up.fell_silent(later) && !r.up.fell_silent(later));
    for (sequence, first) in [(2, true), (3, false)] {
        r.receive(later, &packet(sequence, sequence, false).bytes()).unwrap();
        assert_eq!(r.last.unwrap().first_of_track, first);
    }
}

#[test]
fn probes_on_the_ssrc_of_retransmissions_are_not_forwarded() {
    let (mut r, t) = (rig(), start());
    let early = packet(2, 2, false).wrapped(12, 1).bytes();
    assert_eq!(r.receive(t, &early).err(), Some(DropReason::RtxUnmatched));
    r.receive(t, &packet(1, 1, true).bytes()).unwrap();
    let probe = Raw { padding: 255, ..Raw::new(12, VP8_RTX, 2, 0, vec![]) };
    assert_eq!(r.receive(t, &probe.bytes()).err(), Some(DropReason::PaddingOnly));
    let ancient = packet(20_000, 2, false).wrapped(12, 3).bytes();
    assert_eq!(r.receive(t, &ancient).err(), Some(DropReason::TooOld));
}

#[test]
fn bytes_that_are_no_packet_are_refused_and_nothing_panics() {
    let t = start();
    let media = video(1, "0", &[], &[(11, 12)]);
    let mut up = UpTrack::new(&media);
    let mut pool = PacketPool::new(t, PoolLimits::default());
    let account = pool.open();
    let mut random = Random(7);
    for i in 0..20_000u32 {
        let mut buf = pool.alloc(account, 300).unwrap();
        let len = random.below(300) as usize;
        let space = buf.space();
        for byte in &mut space[..len] {
            *byte = random.next() as u8;
        }
        if i % 2 == 0 {
            space[0] = 0x80 | space[0] & 0x3f;
            space[1] = if i % 4 == 0 { VP8.0 } else { VP8_RTX.0 };
        }
        let is_rtx = i % 4 == 2;
        let ssrc = Ssrc(if is_rtx { 12 } else { 11 });
        let layer = random.below(6) as u8;
        let view = rtp::parse_header_unprotected(&buf.space()[..len]);
        let ext = view.ok().and_then(|view| ParsedExtensions::parse(&view, &extensions()).ok());
        let ext = ext.unwrap_or_default();
        let _ = up.ingest(t, StreamRef { up: 0, layer, is_rtx, ssrc }, &mut buf, len, &ext);
        pool.release(buf);
    }
    let mut buf = pool.alloc(account, 300).unwrap();
    let stream = StreamRef { up: 0, layer: 0, is_rtx: false, ssrc: Ssrc(11) };
    let none = ParsedExtensions::default();
    assert_eq!(up.ingest(t, stream, &mut buf, 9_999, &none).err(), Some(DropReason::RtpMalformed));
    assert_eq!(up.ingest(t, stream, &mut buf, 11, &none).err(), Some(DropReason::RtpMalformed));
}

#[test]
fn missing_packets_are_requested_and_feedback_that_does_not_fit_stays_due() {
    let (mut r, t) = (rig(), start());
    for sequence in [1, 3, 6, 7, 8] {
        r.receive(t, &packet(sequence, sequence, sequence == 1).bytes()).unwrap();
    }
    assert_eq!(r.up.poll_timeout(), Some(t));
    let mut none = RtcpWriter::new(&mut []);
    assert!(r.up.poll_feedback(t, Ssrc(9), &mut none).is_err());
    let mut buf = [0; 100];
    let mut rtcp = RtcpWriter::new(&mut buf);
    assert_eq!(r.up.poll_feedback(t, Ssrc(9), &mut rtcp), Ok(true));
    let Some(Ok(RtcpPacket::Nack(nack))) = CompoundIter::new(rtcp.as_bytes()).next() else {
        panic!("no NACK")
    };
    assert_eq!((nack.sender, nack.media), (Ssrc(9), Ssrc(11)));
    assert_eq!(nack.lost().collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(r.up.poll_timeout(), Some(t + ms(100)), "a round trip later");
    r.up.set_retry(ms(40));
    assert_eq!(r.up.stats(t).layers[0].nacked, 3);
}

#[test]
fn a_publisher_that_takes_only_fir_gets_fir() {
    let t = start();
    let mut media = video(1, "0", &[], &[(11, 12)]);
    media.codecs[0].feedback.pli = false;
    let mut r = Rig::new(media, t);
    r.up.request_keyframe(t, 0);
    let mut buf = [0; 100];
    let mut rtcp = RtcpWriter::new(&mut buf);
    assert_eq!(r.up.poll_feedback(t, Ssrc(9), &mut rtcp), Ok(false), "of whom?");
    r.receive(t, &packet(1, 1, false).bytes()).unwrap();
    assert_eq!(r.up.poll_feedback(t, Ssrc(9), &mut rtcp), Ok(true));
    let Some(Ok(RtcpPacket::Fir(fir))) = CompoundIter::new(rtcp.as_bytes()).next() else {
        panic!("no FIR")
    };
    assert_eq!(fir.entries().map(|e| e.ssrc).collect::<Vec<_>>(), [Ssrc(11)]);
    // The key frame arrived; nothing is due any more. A layer that does not exist is not requested.
    r.receive(t, &packet(2, 2, true).bytes()).unwrap();
    r.up.request_keyframe(t, 3);
    assert_eq!(r.up.poll_timeout(), None);
}

#[test]
fn reports_tell_loss_and_answer_the_publishers_reports() {
    let (mut r, t) = (rig(), start());
    assert!(blocks(&mut r, t).is_empty(), "nothing heard");
    for sequence in (0..100u16).filter(|s| s % 10 != 5) {
        r.receive(t, &packet(sequence, 1, sequence == 0).bytes()).unwrap();
    }
    // A retransmission repairs the loss, but the report still counts it.
    r.receive(t, &packet(5, 1, false).wrapped(12, 1).bytes()).unwrap();
    assert!(r.up.sender_report(t, Ssrc(99), NtpTime(1), 0).is_none(), "another's");
    assert!(r.up.sender_report(t, Ssrc(11), NtpTime(0), 0).is_none(), "no clock");
    r.sender_report(t, 11, NtpTime(0xaaaa_bbbb_cccc_dddd), 77);
    let heard = blocks(&mut r, t + Duration::from_secs(2));
    let [block] = heard[..] else { panic!("{heard:?}") };
    assert_eq!((block.ssrc, block.highest_sequence, block.cumulative_lost), (11, 99, 10));
    assert_eq!((block.fraction_lost, block.last_sr), (25, 0xbbbb_cccc));
    assert_eq!(block.delay_since_last_sr, 2 << 16);
    assert!(blocks(&mut r, t).is_empty(), "nothing heard since");
}

#[test]
fn renegotiation_changes_payload_types_and_keeps_the_numbering() {
    let (mut r, t) = (rig(), start());
    let first = r.receive(t, &packet(1, 1, true).bytes()).unwrap();
    let mut media = r.media.clone();
    media.codecs[0].pt = Pt(120);
    r.up.update(&media);
    let refused = r.receive(t, &packet(2, 2, false).bytes());
    assert_eq!(refused.err(), Some(DropReason::UnknownPayloadType));
    let next = r.receive(t, &Raw { pt: Pt(120), ..packet(3, 3, false) }.bytes()).unwrap();
    assert_eq!(next.meta.seq.0, first.meta.seq.0 + 1);
}

/// Each accepted report is sent to every worker with subscribers; a datagram holds more than fifty.
#[test]
fn a_flood_of_sender_reports_is_thinned_out() {
    let (mut r, t) = (rig(), start());
    r.receive(t, &packet(1, 1, true).bytes()).unwrap();
    let taken = (0..20_000).filter(|n| {
        let now = t + Duration::from_micros(50 * n);
        r.up.sender_report(now, Ssrc(11), NtpTime((n + 1) << 20), 77).is_some()
    });
    assert_eq!(taken.count(), 50, "of a second");
}

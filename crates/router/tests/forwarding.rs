//! What one subscriber gets of one track, packet by packet.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Codec, DropReason, NtpTime, Pt, Ssrc};
use rtp::rtcp::{CompoundIter, ReportBlock, RtcpPacket, RtcpWriter};
use sfumato_router::{CatchUpLimits, DownTrack, Packet};
use support::*;

/// One packet, which is a whole picture.
fn picture(ssrc: u32, sequence: u16, picture: u16, key: bool) -> Raw {
    let vp8 = Vp8 { start: true, key, picture, long_id: true, tl0: picture as u8 };
    let timestamp = u32::from(picture).wrapping_mul(3_000);
    Raw { marker: true, ..Raw::new(ssrc, VP8, sequence, timestamp, vp8.payload(&[7; 900])) }
}

struct Flow {
    rig: Rig,
    down: DownTrack,
    now: Instant,
}

impl Flow {
    fn video(rtx: bool) -> Self {
        let now = start();
        let media = video(1, "0", &[], &[(11, 12)]);
        Self { down: down_track(&media, rtx, now), rig: Rig::new(media, now), now }
    }

    fn audio() -> Self {
        let now = start();
        let media = audio(1, "0");
        Self { down: down_track(&media, false, now), rig: Rig::new(media, now), now }
    }

    fn receive(&mut self, raw: &Raw) -> Arc<Packet> {
        self.rig.receive(self.now, &raw.bytes()).unwrap()
    }

    fn pass(&mut self, raw: &Raw) -> Result<Seen, DropReason> {
        let packet = self.rig.receive(self.now, &raw.bytes())?;
        let (written, bytes) = self.rig.forward(self.now, &mut self.down, &packet)?;
        let seen = Seen::parse(&bytes, if raw.pt == VP8 { Codec::Vp8 } else { Codec::Opus });
        assert_eq!((written.ssrc, written.seq.low()), (Ssrc(seen.ssrc), seen.sequence));
        Ok(seen)
    }

    fn nack(&mut self, sequence: u16) -> Result<(sfumato_router::Written, Vec<u8>), DropReason> {
        let mut out = vec![0; 2_048];
        let written =
            self.down.retransmit(&leave(self.now), &self.rig.mirror, sequence, &mut out)?;
        out.truncate(written.len);
        Ok((written, out))
    }
}

#[test]
fn a_packet_gets_the_slots_ssrc_payload_type_and_mid() {
    let mut f = Flow::video(true);
    let seen = f.pass(&picture(11, 500, 3, true)).unwrap();
    assert_eq!((seen.ssrc, seen.pt, seen.marker), (0x5107, DOWN_VP8, true));
    assert_eq!(seen.ext.mid.unwrap().as_str(), "7");
    assert_eq!(seen.ext.rid, None);
    // Sent at 1,700,000,000 s after 1970: the low six bits of the NTP seconds.
    let seconds = (1_700_000_000u64 + 2_208_988_800) & 0x3f;
    assert_eq!(seen.ext.abs_send_time, Some((seconds as u32) << 18));
    assert_eq!((seen.picture, seen.tl0, seen.payload.len()), (Some(3), Some(3), 906));
    let next = f.pass(&picture(11, 501, 4, false)).unwrap();
    assert_eq!(next.sequence, seen.sequence.wrapping_add(1));
    assert_eq!(next.timestamp, seen.timestamp.wrapping_add(3_000));
}

#[test]
fn video_starts_with_a_key_frame_and_audio_at_once() {
    let mut f = Flow::video(true);
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0));
    assert_eq!(f.pass(&picture(11, 500, 3, false)), Err(DropReason::AwaitingKeyFrame));
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), None, "asked just now");
    f.now += ms(500);
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0), "and again");
    assert!(f.pass(&picture(11, 501, 4, true)).is_ok());
    f.now += ms(500);
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), None);
    f.down.keyframe_requested();
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0), "the subscriber's PLI");

    let mut f = Flow::audio();
    let raw = Raw { level: Some(0x85), ..Raw::new(5, OPUS, 9, 960, vec![1, 2, 3]) };
    let seen = f.pass(&raw).unwrap();
    assert_eq!((seen.pt, seen.payload.as_slice()), (DOWN_OPUS, &[1u8, 2, 3][..]));
    assert_eq!(seen.ext.audio_level.map(rtp::AudioLevel::to_byte), Some(0x85));
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), None);
}

#[test]
fn gaps_upstream_stay_gaps_and_late_packets_get_their_number() {
    let mut f = Flow::video(true);
    let first = f.pass(&picture(11, 65_534, 3, true)).unwrap().sequence;
    let third = f.pass(&picture(11, 0, 5, false)).unwrap().sequence;
    assert_eq!(third, first.wrapping_add(2));
    let second = f.pass(&picture(11, 65_535, 4, false)).unwrap();
    assert_eq!((second.sequence, second.picture), (first.wrapping_add(1), Some(4)));
    assert_eq!(f.pass(&picture(11, 65_535, 4, false)), Err(DropReason::Duplicate));
}

#[test]
fn packets_from_before_the_start_are_dropped() {
    let mut f = Flow::video(true);
    assert_eq!(f.pass(&picture(11, 100, 3, false)), Err(DropReason::AwaitingKeyFrame));
    assert!(f.pass(&picture(11, 102, 5, true)).is_ok());
    assert_eq!(f.pass(&picture(11, 101, 4, false)), Err(DropReason::BeforeSplice));
}

#[test]
fn padding_is_not_forwarded_and_leaves_no_gap() {
    let mut f = Flow::video(true);
    let first = f.pass(&picture(11, 1, 3, true)).unwrap().sequence;
    let padding = |sequence| Raw { padding: 200, ..Raw::new(11, VP8, sequence, 9_000, vec![]) };
    assert_eq!(f.pass(&padding(2)), Err(DropReason::PaddingOnly));
    assert_eq!(f.pass(&padding(3)), Err(DropReason::PaddingOnly));
    assert_eq!(f.pass(&picture(11, 5, 5, false)).unwrap().sequence, first.wrapping_add(2));
    // Padding that arrives after its gap was passed on closes the gap with an empty packet.
    let late = f.pass(&padding(4)).unwrap();
    assert_eq!((late.sequence, late.payload.len()), (first.wrapping_add(1), 0));
    // Padding at the end of a packet is removed, and so is the bit that announces it.
    let seen = f.pass(&Raw { padding: 9, ..picture(11, 6, 6, false) }).unwrap();
    assert_eq!(seen.payload.len(), 906);
}

#[test]
fn payload_types_that_were_not_negotiated_leave_no_gap() {
    let mut f = Flow::audio();
    let first = f.pass(&Raw::new(5, OPUS, 9, 960, vec![1])).unwrap().sequence;
    let noise = Raw::new(5, Pt(13), 10, 1_920, vec![1]);
    assert_eq!(f.pass(&noise), Err(DropReason::UnknownPayloadType));
    let next = f.pass(&Raw::new(5, OPUS, 11, 2_880, vec![1])).unwrap();
    assert_eq!(next.sequence, first.wrapping_add(1));
}

#[test]
fn red_is_unwrapped_for_a_subscriber_of_plain_opus() {
    let mut f = Flow::audio();
    // One redundant block of 2 bytes, then the primary one (RFC 2198 section 3).
    let payload = vec![0x80 | OPUS.0, 0x0f, 0x00, 0x02, OPUS.0, 0xaa, 0xbb, 1, 2, 3];
    let seen = f.pass(&Raw::new(5, RED, 9, 960, payload)).unwrap();
    assert_eq!((seen.pt, seen.payload.as_slice()), (DOWN_OPUS, &[1u8, 2, 3][..]));
    assert_eq!(f.pass(&Raw::new(5, RED, 10, 1_920, vec![0x80, 0])), Err(DropReason::RtpMalformed));
}

#[test]
fn a_pause_is_spliced_over_at_a_key_frame() {
    let mut f = Flow::video(true);
    let before = f.pass(&picture(11, 1, 3, true)).unwrap();
    f.down.bind(None);
    assert_eq!(f.pass(&picture(11, 2, 4, false)), Err(DropReason::NoSubscriber));
    f.down.bind(Some(binding(&f.rig.media)));
    f.now += ms(100);
    assert_eq!(f.pass(&picture(11, 3, 5, false)), Err(DropReason::AwaitingKeyFrame));
    let after = f.pass(&picture(11, 4, 6, true)).unwrap();
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(9_000), "the publisher's clock");
    assert_eq!((after.picture, after.tl0), (Some(4), Some(4)));
    assert_eq!(f.down.stats(f.now).splices, 2);
}

#[test]
fn another_track_is_spliced_on_by_the_time_of_arrival() {
    let mut f = Flow::video(true);
    let before = f.pass(&picture(11, 1, 3, true)).unwrap();
    let other = video(2, "0", &[], &[(21, 22)]);
    let rig = Rig::new(other.clone(), f.now);
    f.rig = rig;
    f.down.bind(Some(binding(&other)));
    f.now += ms(250);
    assert_eq!(f.nack(before.sequence).err(), Some(DropReason::RtxExpired), "it is gone");
    let after = f.pass(&picture(21, 7_000, 20_000, true)).unwrap();
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(250 * 90));
    assert_eq!((after.picture, after.tl0), (Some(4), Some(4)));
}

#[test]
fn a_pause_of_hours_is_a_step_forward_and_reports_go_on() {
    let mut f = Flow::video(true);
    let first = f.pass(&picture(11, 500, 3, true)).unwrap();
    // Another publisher is bound to the slot; later, the same one is silent for as long.
    f.now += Duration::from_secs(9 * 3600);
    let media = video(2, "0", &[], &[(31, 32)]);
    f.rig = Rig::new(media.clone(), f.now);
    f.down.bind(Some(binding(&media)));
    let second = f.pass(&picture(31, 40_000, 900, true)).unwrap();
    assert!((second.timestamp.wrapping_sub(first.timestamp) as i32) > 0);
    for sequence in [40_001, 40_002] {
        f.now += Duration::from_secs(3);
        let (mut bytes, mirror) = ([0; 64], Some(&f.rig.mirror));
        let mut rtcp = RtcpWriter::new(&mut bytes);
        assert_eq!(f.down.poll_report(f.now, mirror, &mut rtcp), Ok(true), "{sequence}");
        f.now += Duration::from_secs(9 * 3600);
        // The publisher's clock went on: nine hours are 972,000 pictures.
        let later = Raw { timestamp: 972_900 * 3_000, ..picture(31, sequence, 901, false) };
        f.pass(&later).unwrap();
    }
}

#[test]
fn a_higher_layer_is_spliced_on_by_the_sender_reports_of_both() {
    let now = start();
    let media = video(1, "0", &["q", "f"], &[]);
    let mut f = Flow { down: down_track(&media, true, now), rig: Rig::new(media, now), now };
    let of = |ssrc: u32, sequence: u16, shot: u16, key: bool, rid: &'static str| Raw {
        mid: Some("0"),
        rid: Some(rid),
        ..picture(ssrc, sequence, shot, key)
    };
    let low = f.pass(&of(11, 1, 100, true, "q")).unwrap();
    // Timestamp 300,000 of the low layer and 1,000,000 of the high one are the same moment.
    f.rig.sender_report(f.now, 11, NtpTime(50 << 32), 300_000);
    f.now += ms(40);
    let mut high = of(21, 900, 7, false, "f");
    high.timestamp = 1_000_000 + 3_600;
    assert_eq!(f.pass(&high), Err(DropReason::AwaitingKeyFrame));
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(1));
    f.rig.sender_report(f.now, 21, NtpTime(51 << 32), 1_000_000 + 90_000);
    let still = f.pass(&of(11, 2, 101, false, "q")).unwrap();
    assert_eq!(still.sequence, low.sequence.wrapping_add(1), "the low layer goes on meanwhile");
    let mut high = of(21, 901, 8, true, "f");
    high.timestamp = 1_000_000 + 6_300;
    let spliced = f.pass(&high).unwrap();
    assert_eq!(spliced.sequence, still.sequence.wrapping_add(1));
    assert_eq!(spliced.timestamp, low.timestamp.wrapping_add(6_300));
    assert_eq!((spliced.picture, spliced.tl0), (Some(102), Some(102)));
    assert_eq!(f.pass(&of(11, 3, 102, false, "q")), Err(DropReason::LayerNotSelected));
    // The high layer stops: the slot switches down at a key frame.
    for i in 0..40u16 {
        f.now += ms(33);
        let dropped = f.pass(&of(11, 4 + i, 103 + i, false, "q"));
        assert!(matches!(
            dropped,
            Err(DropReason::LayerNotSelected | DropReason::AwaitingKeyFrame)
        ));
    }
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0));
    let down = f.pass(&of(11, 44, 143, true, "q")).unwrap();
    assert_eq!(down.sequence, spliced.sequence.wrapping_add(1));
    assert_eq!((down.picture, f.down.stats(f.now).splices), (Some(103), 3));
}

#[test]
fn a_source_that_starts_anew_is_spliced_on() {
    let mut f = Flow::video(true);
    let before = f.pass(&picture(11, 1, 3, true)).unwrap();
    f.now += ms(33);
    let new = Raw { mid: Some("0"), ..picture(77, 40_000, 9, false) };
    assert_eq!(f.pass(&new), Err(DropReason::AwaitingKeyFrame));
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0));
    let after = f.pass(&picture(77, 40_001, 10, true)).unwrap();
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(33 * 90));
}

#[test]
fn a_viewer_that_joins_right_after_a_key_frame_starts_from_the_cache() {
    let mut f = Flow::video(true);
    f.receive(&picture(11, 1, 3, true));
    let kept: Vec<_> = (2..20).map(|i| f.receive(&picture(11, i, 3 + i, false))).collect();
    f.now += ms(200);
    let rig = &f.rig;
    let caught: Vec<_> = f.down.catch_up(f.now, &rig.mirror, CatchUpLimits::default()).collect();
    assert_eq!(caught.len(), 19);
    let mut sequences = Vec::new();
    for packet in caught {
        let (written, _) = rig.forward(f.now, &mut f.down, packet).unwrap();
        sequences.push(written.seq.0);
    }
    assert!(sequences.windows(2).all(|w| w[1] == w[0] + 1), "{sequences:?}");
    assert_eq!(f.down.wants_keyframe(f.now, &rig.mirror), None);
    // A packet that the viewer caught up with is not sent twice.
    let last = kept.last().unwrap();
    assert_eq!(rig.forward(f.now, &mut f.down, last).err(), Some(DropReason::Duplicate));

    let mut late = down_track(&f.rig.media, true, f.now);
    let limits = CatchUpLimits { max_age: ms(300), max_packets: 64 };
    let mut none = |limits| late.catch_up(f.now + ms(200), &f.rig.mirror, limits).count();
    assert_eq!(none(limits), 0, "too old");
    assert_eq!(none(CatchUpLimits { max_age: ms(400), max_packets: 18 }), 0, "too many");
    assert_eq!(none(CatchUpLimits { max_age: ms(400), max_packets: 19 }), 19);
}

/// Receives `count` pictures without a viewer, beginning with a key frame.
fn receive_pictures(f: &mut Flow, count: u16) {
    for i in 0..count {
        f.receive(&picture(11, 1 + i, 3 + i, i == 0));
        f.now += ms(33);
    }
}

/// Catches up as a worker does. Returns timestamps and sequence numbers of the packets sent.
fn catch_up(f: &mut Flow) -> Vec<(u32, u16)> {
    let rig = &f.rig;
    let packets: Vec<_> =
        f.down.catch_up(f.now, &rig.mirror, CatchUpLimits::default()).cloned().collect();
    let seen = packets.iter().map(|packet| {
        let (_, bytes) = rig.forward(f.now, &mut f.down, packet).unwrap();
        let seen = Seen::parse(&bytes, Codec::Vp8);
        (seen.timestamp, seen.sequence)
    });
    seen.collect()
}

#[test]
fn timestamps_of_the_catch_up_are_close_together_and_then_the_viewer_is_live() {
    let mut f = Flow::video(true);
    receive_pictures(&mut f, 25);
    let caught = catch_up(&mut f);
    assert_eq!(caught.len(), 25);
    let steps: Vec<u32> = caught.windows(2).map(|w| w[1].0.wrapping_sub(w[0].0)).collect();
    assert!(steps.iter().all(|&step| step == 3_000 / 8), "{steps:?}");
    let last = *caught.last().unwrap();
    let live = f.pass(&picture(11, 26, 28, false)).unwrap();
    assert_eq!((live.timestamp, live.sequence), (last.0 + 3_000, last.1 + 1));
    for (timestamp, sequence) in [caught[1], last] {
        let (_, bytes) = f.nack(sequence).unwrap();
        assert_eq!(Seen::parse(&bytes, Codec::Opus).timestamp, timestamp, "resent as it was");
    }
}

#[test]
fn a_viewer_that_caught_up_stays_live_when_timestamps_wrap() {
    let mut f = Flow::video(true);
    receive_pictures(&mut f, 10);
    let (last, _) = *catch_up(&mut f).last().unwrap();
    // Half a day later, one second before the timestamp that it began with.
    for (sequence, before) in [(11, 90_000), (12, 45_000)] {
        f.now += Duration::from_secs(6 * 3600);
        let timestamp = last.wrapping_sub(before);
        let raw = Raw { timestamp, ..picture(11, sequence, 2 + sequence, false) };
        assert_eq!(f.pass(&raw).unwrap().timestamp, timestamp);
    }
}

#[test]
fn a_viewer_that_comes_back_catches_up_after_what_it_saw_and_is_then_live() {
    let mut f = Flow::video(true);
    let first = f.pass(&picture(11, 1, 3, true)).unwrap();
    f.down.bind(None);
    for i in 0..20 {
        f.now += ms(33);
        f.receive(&picture(11, 2 + i, 4 + i, i == 0));
    }
    f.down.bind(Some(binding(&f.rig.media)));
    let caught = catch_up(&mut f);
    assert_eq!(caught.len(), 20);
    assert!(caught.windows(2).all(|w| w[0].0 < w[1].0), "{caught:?}");
    assert!(caught[0].0 > first.timestamp);
    assert_eq!(caught.last().unwrap().0, first.timestamp + 20 * 3_000, "no time was lost or won");
    // If it leaves and comes back at once, it begins with the same key frame again: the next one would come in a second.
    let last = *caught.last().unwrap();
    f.down.bind(None);
    f.down.bind(Some(binding(&f.rig.media)));
    let again = catch_up(&mut f);
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), None);
    assert_eq!(again.len(), 20);
    assert!(again.windows(2).all(|w| w[0].0 < w[1].0 && w[1].1 == w[0].1 + 1), "{again:?}");
    assert_eq!((again[0].0, again[0].1), (last.0 + 1, last.1 + 1));
    let live = f.pass(&picture(11, 22, 24, false)).unwrap();
    assert_eq!(live.timestamp, again[19].0 + 3_000);
}

#[test]
fn a_viewer_that_changes_tracks_catches_up_with_close_timestamps() {
    let mut f = Flow::video(true);
    let media = video(2, "0", &[], &[(21, 22)]);
    let mut other = Rig::new(media.clone(), f.now);
    for i in 0..20 {
        f.now += ms(33);
        other.receive(f.now, &picture(21, 2 + i, 4 + i, i == 0).bytes()).unwrap();
    }
    let before = f.pass(&picture(11, 1, 3, true)).unwrap();
    f.rig = other;
    f.down.bind(Some(binding(&media)));
    let caught = catch_up(&mut f);
    assert_eq!(caught.len(), 20);
    // The newest packets of both tracks arrived at the same moment.
    assert_eq!(caught[0], (before.timestamp + 1, before.sequence + 1));
    assert_eq!(caught[19].0, before.timestamp + 1 + 19 * 3_000 / 8);
}

#[test]
fn a_lost_packet_is_resent_under_the_ssrc_of_retransmissions() {
    let mut f = Flow::video(true);
    f.pass(&picture(11, 1, 3, true)).unwrap();
    let original = f.pass(&picture(11, 2, 4, false)).unwrap();
    let (first, bytes) = f.nack(original.sequence).unwrap();
    assert_eq!((first.ssrc, first.exact), (Ssrc(0x5108), false));
    let seen = Seen::parse(&bytes, Codec::Opus);
    assert_eq!((seen.pt, seen.timestamp, seen.marker), (DOWN_RTX, original.timestamp, true));
    assert_eq!(seen.payload[..2], original.sequence.to_be_bytes());
    assert_eq!(seen.payload[2..], original.payload[..]);
    f.now += ms(150);
    let (second, _) = f.nack(original.sequence).unwrap();
    assert_eq!(second.seq.0, first.seq.0 + 1);
}

#[test]
fn without_rtx_a_resent_packet_is_the_same_to_the_last_bit() {
    let mut f = Flow::video(false);
    let packet = f.receive(&picture(11, 1, 3, true));
    let (written, bytes) = f.rig.forward(f.now, &mut f.down, &packet).unwrap();
    assert!(written.exact);
    f.now += ms(321);
    let (again, same) = f.nack(written.seq.low()).unwrap();
    assert_eq!((again, same), (written, bytes));
}

#[test]
fn only_packets_that_were_sent_and_are_cached_are_resent() {
    let mut f = Flow::video(true);
    let first = f.pass(&picture(11, 1, 3, true)).unwrap().sequence;
    f.pass(&picture(11, 3, 5, false)).unwrap();
    for never in [first.wrapping_sub(1), first.wrapping_add(1), first.wrapping_add(3), 65_000] {
        assert_eq!(f.nack(never).err(), Some(DropReason::RtxExpired), "{never}");
    }
    // The gap is filled late: the packet is forwarded, and can be requested from then on.
    f.pass(&picture(11, 2, 4, false)).unwrap();
    assert!(f.nack(first.wrapping_add(1)).is_ok());
    for i in 0..100u16 {
        f.now += ms(33);
        f.pass(&picture(11, 4 + i, 6 + i, false)).unwrap();
    }
    assert_eq!(f.nack(first).err(), Some(DropReason::RtxExpired), "older than a second");
}

/// Threats row 33.
#[test]
fn a_nack_flood_is_answered_once_per_round_trip_and_within_its_share() {
    let mut f = Flow::video(true);
    let mut sent = 0u64;
    let mut reasons = std::collections::BTreeMap::new();
    for i in 0..3_000u16 {
        f.now += ms(5);
        let seen = f.pass(&picture(11, i, i, i == 0)).unwrap();
        sent += seen.payload.len() as u64;
        for back in 0..20 {
            if let Err(reason) = f.nack(seen.sequence.wrapping_sub(back)) {
                *reasons.entry(reason).or_insert(0u32) += 1;
            }
        }
    }
    let resent = f.down.stats(f.now).rtx_octets;
    assert!(resent <= sent * 36 / 100 + 48_000, "{resent} of {sent}");
    assert!(reasons[&DropReason::RtxTooSoon] > 0 && reasons[&DropReason::RtxLimit] > 0);
}

/// Threats row 34: many subscribers that request all the time cause one PLI a second.
#[test]
fn a_pli_flood_of_many_subscribers_reaches_the_publisher_once_a_second() {
    let mut f = Flow::video(true);
    f.pass(&picture(11, 0, 0, true)).unwrap();
    let mut downs: Vec<_> = (0..50).map(|_| down_track(&f.rig.media, true, f.now)).collect();
    let mut asked = Vec::new();
    let begin = f.now;
    for i in 1..400u16 {
        f.now += ms(10);
        // A key frame now and then, as an answer or by the encoder's own choice.
        f.pass(&picture(11, i, i, i % 30 == 0)).unwrap();
        for down in &mut downs {
            down.keyframe_requested();
            if let Some(layer) = down.wants_keyframe(f.now, &f.rig.mirror) {
                f.rig.up.request_keyframe(f.now, layer);
            }
        }
        let mut buf = [0; 1_200];
        let mut rtcp = RtcpWriter::new(&mut buf);
        f.rig.up.poll_feedback(f.now, Ssrc(1), &mut rtcp).unwrap();
        if rtcp.is_empty() {
            continue;
        }
        for packet in CompoundIter::new(rtcp.as_bytes()) {
            match packet.unwrap() {
                RtcpPacket::Pli { media, .. } => {
                    assert_eq!(media, Ssrc(11));
                    asked.push((f.now - begin).as_millis());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(asked.windows(2).all(|w| w[1] - w[0] >= 1_000), "{asked:?}");
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[0], 10, "the first at once");
}

/// Threats row 57: the more often one subscriber reports losses, the fewer key frames it causes; another subscriber is
/// answered at once.
#[test]
fn a_viewer_on_a_bad_line_does_not_set_the_key_frame_rate_of_a_room() {
    let mut f = Flow::video(true);
    f.pass(&picture(11, 0, 0, true)).unwrap();
    let mut bad = down_track(&f.rig.media, true, f.now);
    let mut good = down_track(&f.rig.media, true, f.now);
    let (begin, mut keys, mut asked) = (f.now, false, Vec::new());
    let mut answered = None;
    for i in 1..1_000u16 {
        f.now += ms(33);
        let packet = f.receive(&picture(11, i, i, keys));
        let since = (f.now - begin).as_millis() as u64;
        for down in [&mut bad, &mut good] {
            let _ = f.rig.forward(f.now, down, &packet);
        }
        if packet.meta.info.keyframe_start && since > 20_000 {
            answered.get_or_insert(since);
        }
        if i % 6 == 0 {
            bad.keyframe_requested();
        }
        if i == 610 {
            good.keyframe_requested();
        }
        for (who, down) in [(0, &mut bad), (1, &mut good)] {
            if let Some(layer) = down.wants_keyframe(f.now, &f.rig.mirror) {
                f.rig.up.request_keyframe(f.now, layer);
                asked.push((who, since / 1_000));
            }
        }
        let mut buf = [0; 1_200];
        let mut rtcp = RtcpWriter::new(&mut buf);
        keys = f.rig.up.poll_feedback(f.now, Ssrc(1), &mut rtcp).unwrap();
    }
    let of_bad: Vec<u64> = asked.iter().filter(|(who, _)| *who == 0).map(|a| a.1).collect();
    assert!(of_bad.len() <= 8 && of_bad.windows(2).skip(4).all(|w| w[1] - w[0] >= 8), "{of_bad:?}");
    let of_good: Vec<u64> = asked.iter().filter(|(who, _)| *who == 1).map(|a| a.1).collect();
    assert!(of_good.contains(&20), "{of_good:?}");
    assert!(answered.is_some_and(|at| at < 20_300), "{answered:?}");
}

/// Threats row 36: the cost of a subscriber that loses all packets and requests all of them.
#[test]
fn a_slow_subscriber_holds_a_bounded_amount_of_memory_and_hurts_no_other() {
    assert!(size_of::<DownTrack>() < 2_048, "{} bytes", size_of::<DownTrack>());
    let mut f = Flow::video(true);
    let mut other = down_track(&f.rig.media, true, f.now);
    for i in 0..5_000u16 {
        f.now += ms(2);
        let packet = f.receive(&picture(11, i, i, i == 0));
        let (written, _) = f.rig.forward(f.now, &mut f.down, &packet).unwrap();
        for back in 0..30 {
            let _ = f.nack(written.seq.low().wrapping_sub(back));
        }
        assert!(f.rig.forward(f.now, &mut other, &packet).is_ok());
    }
    // The cache holds one second of packets; no packet is held elsewhere.
    let stats = f.rig.pool.stats();
    assert!(stats.buffers <= 1_024 + 64, "{stats:?}");
    assert_eq!(stats.refused, 0);
}

#[test]
fn a_packet_that_does_not_fit_is_dropped_and_its_number_stays_free() {
    let mut f = Flow::video(true);
    let packet = f.receive(&picture(11, 1, 3, true));
    let mut short = [0; 900];
    let refused = f.down.forward(&leave(f.now), &f.rig.mirror, &packet, &mut short);
    assert_eq!(refused, Err(DropReason::TooLarge));
    assert!(f.rig.forward(f.now, &mut f.down, &packet).is_ok());
}

#[test]
fn sender_reports_carry_the_time_of_the_publishers_report() {
    let mut f = Flow::video(true);
    let seen = f.pass(&picture(11, 1, 100, true)).unwrap();
    let due = f.down.poll_timeout().unwrap();
    assert_eq!(due - f.now, ms(50));
    let ntp = NtpTime(0x1234_5678_0000_0000);
    f.rig.sender_report(f.now + ms(20), 11, ntp, 300_000);
    f.now += ms(1_020);
    let mut buf = [0; 200];
    let mut rtcp = RtcpWriter::new(&mut buf);
    assert_eq!(f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp), Ok(true));
    let RtcpPacket::SenderReport(sr) = CompoundIter::new(rtcp.as_bytes()).next().unwrap().unwrap()
    else {
        panic!("no sender report")
    };
    let info = sr.info;
    assert_eq!((sr.ssrc, info.ntp), (Ssrc(0x5107), ntp.after(ms(1_000))));
    assert_eq!(info.rtp_timestamp, seen.timestamp.wrapping_add(90_000));
    assert_eq!((info.packet_count, info.octet_count), (1, 906));
    assert_eq!(f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp), Ok(false));

    // The subscriber answers after 300 ms under way and 200 ms of its own delay.
    let block = ReportBlock {
        ssrc: 0x5107,
        fraction_lost: 26,
        cumulative_lost: 9,
        jitter: 33,
        last_sr: info.ntp.middle(),
        delay_since_last_sr: 65_536 / 5,
        ..ReportBlock::default()
    };
    f.down.report_block(f.now + ms(500), &block);
    let stats = f.down.stats(f.now);
    assert!(stats.rtt.unwrap().abs_diff(ms(300)) < ms(1), "{stats:?}");
    assert_eq!((stats.fraction_lost, stats.cumulative_lost), (26, 9));
    // Blocks about other SSRCs, answers to reports never sent, and impossible delays change nothing.
    f.down.report_block(f.now, &ReportBlock { ssrc: 1, fraction_lost: 1, ..block });
    f.down.report_block(f.now, &ReportBlock { last_sr: 77, ..block });
    f.down.report_block(f.now, &ReportBlock { delay_since_last_sr: u32::MAX, ..block });
    assert_eq!(f.down.stats(f.now), stats);
}

#[test]
fn without_a_report_of_the_publisher_times_of_arrival_serve_after_two_seconds() {
    let mut f = Flow::video(true);
    let mut written = Vec::new();
    let begin = f.now;
    for i in 0..100u16 {
        f.pass(&picture(11, i, i, i == 0)).unwrap();
        let mut buf = [0; 200];
        let mut rtcp = RtcpWriter::new(&mut buf);
        if f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp).unwrap() {
            written.push(f.now - begin);
        }
        f.now += ms(33);
    }
    assert!(written[0] >= Duration::from_secs(2), "{written:?}");
    assert_eq!(written.len(), 2, "{written:?}");
    f.now += Duration::from_secs(6);
    let mut buf = [0; 200];
    let mut rtcp = RtcpWriter::new(&mut buf);
    assert_eq!(f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp), Ok(false));
    assert_eq!(f.down.poll_timeout(), None, "a slot that sends nothing reports nothing");
}

#[test]
fn a_report_that_does_not_fit_stays_due() {
    let mut f = Flow::video(true);
    f.pass(&picture(11, 1, 100, true)).unwrap();
    f.rig.sender_report(f.now, 11, NtpTime(1 << 40), 300_000);
    f.now += ms(60);
    let mut rtcp = RtcpWriter::new(&mut []);
    assert!(f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp).is_err());
    let mut buf = [0; 200];
    let mut rtcp = RtcpWriter::new(&mut buf);
    assert_eq!(f.down.poll_report(f.now, Some(&f.rig.mirror), &mut rtcp), Ok(true));
}

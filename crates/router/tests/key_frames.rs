//! Where a viewer may begin: at a frame that is a key frame by its own type, with the parameter sets that belong to
//! it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use model::{Codec, CodecSpec, DropReason, Ssrc, UpMedia};
use rtp::rtcp::RtcpWriter;
use sfumato_router::{CatchUpLimits, DownTrack, Packet};
use support::*;

const SSRC: u32 = 11;

const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
/// The first fragment of an IDR slice.
const IDR: &[u8] = &[0x7c, 0x85, 0x88, 1];
const IDR_END: &[u8] = &[0x7c, 0x45, 2];
const INTER: &[u8] = &[0x41, 0x9a, 3];
/// STAP-A with both parameter sets.
const BOTH: &[u8] = &[0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 4, 0x68, 0xce, 0x3c, 0x80];

struct Scene {
    rig: Rig,
    now: Instant,
    down: DownTrack,
    /// Payloads that the viewer got, and their sequence numbers.
    seen: Vec<(u16, Vec<u8>)>,
}

impl Scene {
    fn new(which: Codec) -> Self {
        Self::told(which, &[])
    }

    /// A publisher that named these parameter sets in its offer.
    fn told(which: Codec, sets: &[&[u8]]) -> Self {
        let now = start();
        let told: Vec<Box<[u8]>> = sets.iter().map(|set| (*set).into()).collect();
        let parameter_sets = (!told.is_empty()).then(|| told.into());
        let media = UpMedia {
            codecs: vec![CodecSpec { parameter_sets, ..codec(which, VP8, Some(VP8_RTX)) }],
            ..video(1, "0", &[], &[(SSRC, 12)])
        };
        let down = down_track(&media, true, now);
        Self { rig: Rig::new(media, now), now, down, seen: vec![] }
    }

    fn take(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) -> Arc<Packet> {
        self.now += ms(1);
        let raw = Raw::new(SSRC, VP8, sequence, timestamp, payload.to_vec());
        self.rig.receive(self.now, &raw.bytes()).unwrap()
    }

    /// A packet arrives and is offered to the viewer, after the packets that lead to its key frame, as a worker does
    /// it.
    fn live(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) -> Result<(), DropReason> {
        let packet = self.take(sequence, timestamp, payload);
        let lead: Vec<_> =
            self.rig.mirror.lead_in(std::slice::from_ref(&packet)).cloned().collect();
        for packet in lead {
            match self.show(&packet) {
                Ok(()) | Err(DropReason::Duplicate | DropReason::BeforeSplice) => {}
                other => panic!("{other:?}"),
            }
        }
        self.show(&packet)
    }

    fn show(&mut self, packet: &Packet) -> Result<(), DropReason> {
        let (_, bytes) = self.rig.forward(self.now, &mut self.down, packet)?;
        let seen = Seen::parse(&bytes, Codec::H264);
        self.seen.push((seen.sequence, seen.payload));
        Ok(())
    }

    /// What the viewer got in the order of its sequence numbers, and whether these have no gaps.
    fn in_order(&self) -> (Vec<&[u8]>, bool) {
        let mut seen: Vec<_> = self.seen.iter().map(|(n, p)| (*n, &p[..])).collect();
        seen.sort_unstable();
        let whole = seen.windows(2).all(|w| w[1].0 == w[0].0 + 1);
        (seen.into_iter().map(|(_, p)| p).collect(), whole)
    }

    /// Whether a key frame is requested of the publisher now.
    fn asks(&mut self) -> bool {
        let mut buf = [0; 200];
        let mut rtcp = RtcpWriter::new(&mut buf);
        self.rig.up.poll_feedback(self.now, Ssrc(1), &mut rtcp).unwrap();
        !rtcp.is_empty()
    }
}

#[test]
fn no_viewer_begins_at_parameter_sets_before_an_inter_picture() {
    let mut s = Scene::new(Codec::H264);
    for at in 0..5u16 {
        let timestamp = u32::from(at) * 3_000;
        assert_eq!(s.live(3 * at, timestamp, SPS), Err(DropReason::AwaitingKeyFrame));
        assert_eq!(s.live(3 * at + 1, timestamp, PPS), Err(DropReason::AwaitingKeyFrame));
        assert_eq!(s.live(3 * at + 2, timestamp, INTER), Err(DropReason::AwaitingKeyFrame));
    }
    assert_eq!(s.down.catch_up(s.now, &s.rig.mirror, CatchUpLimits::default()).count(), 0);
}

#[test]
fn only_a_key_frame_answers_a_request_for_one() {
    for (which, hint, key) in [
        (Codec::H264, BOTH, IDR),
        // P 0, frame_type 1; then frame_type 0 with its sync code.
        (Codec::Vp9, &[0x08, 0x86, 0, 0, 0][..], &[0x08, 0x82, 0x49, 0x83, 0x42, 0]),
        // A sequence header and an inter frame; then a key frame.
        (Codec::Av1, &[0x28, 2, 0x08, 0, 0x30, 0x30], &[0x28, 2, 0x08, 0, 0x30, 0x10]),
        (Codec::H265, &[33 << 1, 1, 9], &[19 << 1, 1, 0x80]),
    ] {
        let mut s = Scene::new(which);
        s.take(1, 0, INTER);
        let begin = s.now;
        s.rig.up.request_keyframe(begin, 0);
        assert!(s.asks());
        assert_eq!(s.live(2, 3_000, hint), Err(DropReason::AwaitingKeyFrame), "{which:?}");
        s.now = begin + ms(1_000);
        assert!(s.asks(), "{which:?}: a hint does not cancel the request");
        assert_eq!(s.live(3, 6_000, key), Ok(()), "{which:?}");
        s.now = begin + ms(2_000);
        assert!(!s.asks(), "{which:?}: the key frame came");
    }
}

#[test]
fn a_live_viewer_gets_the_parameter_sets_in_front_of_the_key_frame() {
    // In packets of their own with the timestamp of the picture, of the picture before, and both in one.
    for (sets, timestamp) in [(&[SPS, PPS][..], 6_000), (&[SPS, PPS], 3_000), (&[BOTH], 6_000)] {
        let mut s = Scene::new(Codec::H264);
        s.live(10, 3_000, INTER).unwrap_err();
        let mut at = 10;
        for set in sets {
            at += 1;
            s.live(at, timestamp, set).unwrap_err();
        }
        s.live(at + 1, 6_000, IDR).unwrap();
        s.live(at + 2, 6_000, IDR_END).unwrap();
        s.live(at + 3, 9_000, INTER).unwrap();
        let expected = [sets, &[IDR, IDR_END, INTER]].concat();
        assert_eq!(s.in_order(), (expected, true));
    }
}

#[test]
fn a_late_viewer_gets_the_parameter_sets_too() {
    for watched in [true, false] {
        let mut s = Scene::new(Codec::H264);
        s.rig.mirror.want(u8::from(watched));
        for (sequence, timestamp, payload) in [
            (1, 0, INTER),
            (2, 3_000, SPS),
            (3, 3_000, PPS),
            (4, 6_000, IDR),
            (5, 6_000, IDR_END),
            (6, 9_000, INTER),
        ] {
            s.take(sequence, timestamp, payload);
        }
        let caught: Vec<_> =
            s.down.catch_up(s.now, &s.rig.mirror, CatchUpLimits::default()).cloned().collect();
        for packet in caught {
            s.show(&packet).unwrap();
        }
        assert_eq!(s.in_order(), (vec![SPS, PPS, IDR, IDR_END, INTER], true), "{watched}");
    }
}

#[test]
fn parameter_sets_that_arrive_after_the_key_frame_still_reach_a_viewer_that_begins_there() {
    for (which, sets, key, rest) in [
        (Codec::H264, BOTH, IDR, IDR_END),
        (
            Codec::H265,
            &[48 << 1, 1, 0, 3, 33 << 1, 1, 9][..],
            &[19 << 1, 1, 0x80][..],
            &[1 << 1, 1, 1][..],
        ),
    ] {
        // After other packets, and as the very first packets of the source.
        for first in [false, true] {
            let mut s = Scene::new(which);
            if !first {
                s.live(10, 3_000, rest).unwrap_err();
            }
            s.live(12, 6_000, key).unwrap();
            s.live(11, 6_000, sets).unwrap();
            s.live(13, 6_000, rest).unwrap();
            assert_eq!(s.in_order(), (vec![sets, key, rest], true), "{which:?}");
            // A viewer that joins only now.
            let mut late = down_track(&s.rig.media, true, s.now);
            let caught: Vec<_> = late
                .catch_up(s.now, &s.rig.mirror, CatchUpLimits::default())
                .map(|p| s.rig.forward(s.now, &mut late, p).unwrap().1)
                .map(|bytes| Seen::parse(&bytes, which).payload)
                .collect();
            assert_eq!(caught, [sets, key, rest]);
        }
    }
}

#[test]
fn of_late_packets_only_those_that_lead_to_the_key_frame_are_forwarded() {
    let mut s = Scene::new(Codec::H264);
    s.live(10, 0, INTER).unwrap_err();
    s.live(13, 6_000, IDR).unwrap();
    assert_eq!(s.live(11, 3_000, INTER), Err(DropReason::BeforeSplice), "of an older picture");
    s.live(12, 6_000, BOTH).unwrap();
    assert_eq!(s.in_order(), (vec![BOTH, IDR], true));
    let mut out = [0; 1_500];
    let held = s.seen[0].0 - 2;
    let again = s.down.retransmit(&leave(s.now), &s.rig.mirror, held, &mut out);
    assert_eq!(again.map(|w| w.len), Err(DropReason::RtxExpired), "nor is it resent");
}

#[test]
fn a_viewer_that_already_watches_gets_no_packet_twice() {
    let mut s = Scene::new(Codec::H264);
    s.live(1, 0, BOTH).unwrap_err();
    s.live(2, 0, IDR).unwrap();
    for at in 1..20u16 {
        let timestamp = u32::from(at) * 3_000;
        s.live(1 + 2 * at, timestamp, BOTH).unwrap();
        s.live(2 + 2 * at, timestamp, if at % 5 == 0 { IDR } else { INTER }).unwrap();
    }
    assert_eq!(s.seen.len(), 40);
    assert!(s.in_order().1);
    assert_eq!(s.down.stats(s.now).splices, 1);
}

#[test]
fn parameter_sets_that_are_missing_are_asked_for_as_part_of_the_key_frame() {
    let mut s = Scene::new(Codec::H264);
    s.take(10, 0, INTER);
    s.take(12, 3_000, IDR);
    let mut asked = 0;
    for _ in 0..200 {
        s.now += ms(20);
        let before = s.rig.up.stats(s.now).layers[0].nacked;
        s.asks();
        asked += s.rig.up.stats(s.now).layers[0].nacked - before;
    }
    assert_eq!(asked, 10, "as often as a packet that viewers need");
    assert!(s.rig.up.stats(s.now).layers[0].keyframe_requests > 0, "and then another key frame");
}

#[test]
fn a_key_frame_behind_a_jump_in_sequence_numbers_is_whole() {
    for jump in [3_001, 10_000, 40_000] {
        let mut s = Scene::new(Codec::H264);
        s.live(1, 0, BOTH).unwrap_err();
        s.live(2, 0, IDR).unwrap();
        s.live(2 + jump, 3_000, BOTH).unwrap_err();
        s.live(3 + jump, 3_000, IDR).unwrap();
        s.live(4 + jump, 3_000, IDR_END).unwrap();
        assert_eq!(s.in_order(), (vec![BOTH, IDR, BOTH, IDR, IDR_END], true), "{jump}");
    }
}

#[test]
fn parameter_sets_of_the_offer_stand_before_each_key_frame() {
    const VPS: &[u8] = &[32 << 1, 1, 9];
    const SPS_265: &[u8] = &[33 << 1, 1, 9, 9];
    const PPS_265: &[u8] = &[34 << 1, 1, 9, 9, 9];
    const IDR_265: &[u8] = &[19 << 1, 1, 0x80];
    const INTER_265: &[u8] = &[1 << 1, 1, 0x80];
    for (which, sets, key, inter) in [
        (Codec::H264, &[SPS, PPS][..], IDR, INTER),
        (Codec::H265, &[VPS, SPS_265, PPS_265], IDR_265, INTER_265),
    ] {
        let mut s = Scene::told(which, sets);
        s.live(65_534, 0, inter).unwrap_err();
        let mut expected = Vec::new();
        for round in 0..40u16 {
            let (at, timestamp) = (65_535u16.wrapping_add(round * 3), u32::from(round) * 9_000);
            s.live(at, timestamp, key).unwrap();
            s.live(at.wrapping_add(1), timestamp + 3_000, inter).unwrap();
            s.live(at.wrapping_add(2), timestamp + 6_000, inter).unwrap();
            expected.extend([sets, &[key, inter, inter]].concat());
        }
        // In the order in which they were sent, and each can be requested again.
        let seen: Vec<_> = s.seen.iter().map(|(_, payload)| &payload[..]).collect();
        assert_eq!(seen, expected, "{which:?}");
        assert!(s.seen.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1)));
        assert_eq!(s.down.stats(s.now).splices, 1);
        let (number, set) = s.seen[5 * (sets.len() + 3)].clone();
        let mut out = [0; 1_500];
        let again = s.down.retransmit(&leave(s.now), &s.rig.mirror, number, &mut out).unwrap();
        assert!(out[..again.len].ends_with(&set) && set == sets[0]);
    }
}

#[test]
fn a_late_viewer_gets_the_parameter_sets_of_the_offer() {
    for watched in [true, false] {
        let mut s = Scene::told(Codec::H264, &[SPS, PPS]);
        s.rig.mirror.want(u8::from(watched));
        for (sequence, timestamp, payload) in
            [(1, 0, INTER), (2, 3_000, IDR), (3, 3_000, IDR_END), (4, 6_000, INTER)]
        {
            s.take(sequence, timestamp, payload);
        }
        let caught: Vec<_> =
            s.down.catch_up(s.now, &s.rig.mirror, CatchUpLimits::default()).cloned().collect();
        for packet in caught {
            s.show(&packet).unwrap();
        }
        assert_eq!(s.in_order(), (vec![SPS, PPS, IDR, IDR_END, INTER], true), "{watched}");
    }
}

#[test]
fn nothing_is_added_when_a_publisher_sends_its_parameter_sets() {
    let mut s = Scene::told(Codec::H264, &[&[0x67, 1], &[0x68, 1]]);
    s.live(1, 0, BOTH).unwrap_err();
    s.live(2, 0, IDR).unwrap();
    s.live(3, 3_000, IDR).unwrap();
    assert_eq!(s.in_order(), (vec![BOTH, IDR, IDR], true), "those of the offer may be stale");
    let mut s = Scene::told(Codec::H264, &[&[0x67; 1_200], &[0x68, 1]]);
    s.live(1, 0, IDR).unwrap();
    assert_eq!(s.in_order(), (vec![IDR], true), "what fits in no packet is not sent");
}

#[test]
fn no_viewer_begins_at_a_key_frame_without_free_numbers_for_its_parameter_sets() {
    let mut s = Scene::told(Codec::H264, &[SPS, PPS]);
    s.live(1, 0, INTER).unwrap_err();
    s.rig.up.request_keyframe(s.now, 0);
    assert!(s.asks());
    s.live(3, 3_000, IDR_END).unwrap_err();
    assert_eq!(s.live(2, 3_000, IDR), Err(DropReason::AwaitingKeyFrame), "it came late");
    s.now += ms(1_000);
    assert!(s.asks(), "another one is wanted");
    s.live(4, 6_000, IDR).unwrap();
    assert_eq!(s.in_order(), (vec![SPS, PPS, IDR], true));
}

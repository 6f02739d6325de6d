//! Packets that wait between selection and exit, and what is written when they leave.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{DropReason, Extension, MediaKind, WallClock};
use rtp::{ParsedExtensions, RtpPacket};
use sfumato_router::{DownTrack, Leave, Packet, TrackMirror};
use support::*;

struct Flow {
    rig: Rig,
    down: DownTrack,
    now: Instant,
}

impl Flow {
    fn new() -> Self {
        let now = start();
        let media = video(1, "0", &[], &[(11, 12)]);
        Self { down: down_track(&media, true, now), rig: Rig::new(media, now), now }
    }

    /// The nth picture, which is one packet long.
    fn packet(&mut self, n: u16, key: bool) -> Arc<Packet> {
        let vp8 = Vp8 { start: true, key, picture: n, long_id: true, tl0: n as u8 };
        let timestamp = u32::from(n) * 3_000;
        let raw =
            Raw { marker: true, ..Raw::new(11, VP8, 500 + n, timestamp, vp8.payload(&[7; 90])) };
        self.rig.receive(self.now, &raw.bytes()).unwrap()
    }
}

#[test]
fn a_packet_that_waited_for_the_exit_is_written_as_one_that_did_not() {
    let (mut f, mut direct) = (Flow::new(), None);
    let mut waiting = Vec::new();
    for n in 0..6_u16 {
        let packet = f.packet(n, n == 0 || n == 4);
        let pick = f.down.select(&f.rig.mirror, &packet).unwrap();
        waiting.push((packet, pick));
    }
    let mut other = down_track(&f.rig.media, true, f.now);
    let later = f.now + Duration::from_millis(80);
    for (packet, pick) in &waiting {
        let mut out = vec![0; 2_048];
        let written = f.down.write(&leave(later), &f.rig.mirror, packet, *pick, &mut out).unwrap();
        let (at_once, bytes) = f.rig.forward(later, &mut other, packet).unwrap();
        assert_eq!((written, &out[..written.len]), (at_once, &bytes[..]));
        direct = Some(written.seq);
    }
    assert!(direct.is_some());
}

#[test]
fn numbers_have_no_gap_after_waiting_packets_were_given_up() {
    let mut f = Flow::new();
    let first = f.packet(0, true);
    let (sent, _) = f.rig.forward(f.now, &mut f.down, &first).unwrap();
    for n in 1..5 {
        let packet = f.packet(n, false);
        assert!(f.down.select(&f.rig.mirror, &packet).is_ok(), "it waits");
    }
    f.down.interrupt();
    let packet = f.packet(5, false);
    assert_eq!(f.down.select(&f.rig.mirror, &packet), Err(DropReason::AwaitingKeyFrame));
    assert_eq!(f.down.wants_keyframe(f.now, &f.rig.mirror), Some(0));
    let key = f.packet(6, true);
    let (next, _) = f.rig.forward(f.now, &mut f.down, &key).unwrap();
    assert_eq!(next.seq.0, sent.seq.0 + 1);
}

#[test]
fn transport_wide_numbers_are_those_of_the_exit() {
    let mut f = Flow::new();
    let mut ids = extensions();
    ids.set(Extension::TransportCc, 9);
    let clock = WallClock::new(f.now, SystemTime::UNIX_EPOCH);
    let mut down = DownTrack::new(&slot(MediaKind::Video, true), &ids, clock);
    down.bind(Some(binding(&f.rig.media)));
    let packet = f.packet(0, true);
    let (written, bytes) = f.rig.forward(f.now, &mut down, &packet).unwrap();
    assert!(written.transport_cc);
    let view = RtpPacket::parse(&bytes).unwrap();
    assert_eq!(ParsedExtensions::parse(&view, &ids).unwrap().transport_cc, Some(0x4321));
    let mut out = vec![0; 2_048];
    let number = Leave { now: f.now, transport_cc: 7 };
    let again = down.retransmit(&number, &f.rig.mirror, written.seq.low(), &mut out).unwrap();
    let view = RtpPacket::parse(&out[..again.len]).unwrap();
    assert_eq!(ParsedExtensions::parse(&view, &ids).unwrap().transport_cc, Some(7));
}

#[test]
fn a_slot_says_which_packet_its_mirror_lacks() {
    let mut f = Flow::new();
    let packets: Vec<_> = (0..3).map(|n| f.packet(n, n == 0)).collect();
    let mut mirror = TrackMirror::new(&f.rig.media);
    let sequences = [0, 2].map(|n: usize| {
        mirror.receive(packets[n].clone());
        let mut out = vec![0; 2_048];
        f.down.forward(&leave(f.now), &mirror, &packets[n], &mut out).unwrap().seq.low()
    });
    let first = f.down.missing(&mirror, sequences[0]);
    assert_eq!(first, None, "it is there");
    let lacks = f.down.missing(&mirror, sequences[0].wrapping_add(1));
    assert_eq!(lacks, Some((packets[1].meta.stream, packets[1].meta.seq)));
}

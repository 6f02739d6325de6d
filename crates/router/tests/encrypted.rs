//! Media that is encrypted end to end: the node sees header extensions and payload descriptors in the clear, and nothing else. Viewers
//! still begin with key frames, layers are still chosen, and what looks like a key frame by chance is none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Instant;

use model::{Codec, DropReason};
use sfumato_router::DownTrack;
use support::*;

const FRAMES: u16 = 400;
const KEY_EVERY: u16 = 100;

/// Sends frames of three packets, every hundredth a key frame. Returns the frames in which the node saw a key frame.
fn key_frames(of: Codec, mut payload: impl FnMut(bool, bool, u16) -> (Vec<u8>, bool)) -> Vec<u16> {
    let mut media = video(1, "0", &[], &[]);
    media.codecs = vec![codec(of, VP8, None)];
    let (now, mut found) = (start(), Vec::new());
    let mut rig = Rig::new(media, now);
    for frame in 0..FRAMES {
        for part in 0..3 {
            let key = frame % KEY_EVERY == 0;
            let (bytes, described) = payload(key, part == 0, frame);
            let number = frame * 3 + part;
            let mut raw = Raw::new(7, VP8, number, u32::from(frame) * 3_000, bytes);
            raw.marker = part == 2;
            raw.descriptor = described.then(|| descriptor(key, part == 0, part == 2, frame));
            let packet = rig.receive(now, &raw.bytes()).unwrap();
            if packet.meta.info.keyframe_start {
                assert_eq!(part, 0, "not the first packet of frame {frame}");
                found.push(frame);
            }
        }
    }
    found
}

fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.next() as u8).collect()
}

fn expected() -> Vec<u16> {
    (0..FRAMES).step_by(usize::from(KEY_EVERY)).collect()
}

#[test]
fn with_descriptors_key_frames_of_every_codec_are_found_and_noise_is_none() {
    for of in [Codec::H264, Codec::H265, Codec::Av1] {
        let mut random = Random(of as u64);
        let found = key_frames(of, |_, _, _| (noise(&mut random, 200), true));
        assert_eq!(found, expected(), "{of:?}");
    }
    // The payload descriptor of VP9 is made after the encryption, and is in the clear. What follows it is not.
    let mut random = Random(9);
    let found = key_frames(Codec::Vp9, |key, begins, _| {
        let flags = 0x20 | u8::from(!key) << 6 | u8::from(begins) << 3;
        ([&[flags, 0, 0][..], &noise(&mut random, 200)].concat(), true)
    });
    assert_eq!(found, expected());
}

#[test]
fn vp8_is_found_by_its_first_bytes_with_and_without_descriptors() {
    // Encoded transforms of pages leave the first bytes of a VP8 frame as they are: ten of key frames, three of others.
    for described in [false, true] {
        let mut random = Random(8);
        let found = key_frames(Codec::Vp8, |key, begins, frame| {
            let vp8 = Vp8 {
                start: begins,
                key: key && begins,
                picture: frame,
                long_id: true,
                tl0: frame as u8,
            };
            let clear: &[u8] = if key { &[0x9d, 0x01, 0x2a, 0x80, 0x02] } else { &[0x02, 0] };
            let mut payload = vp8.payload(if begins { clear } else { &[] });
            if !begins {
                // In later packets of a frame all bytes behind the descriptor are noise.
                payload.pop();
            }
            payload.extend(noise(&mut random, 200));
            (payload, described)
        });
        assert_eq!(found, expected(), "{described}");
    }
}

/// A viewer of three layers: which of them it gets, after a limit on them was set.
fn watch(
    rig: &Rig,
    down: &mut DownTrack,
    now: Instant,
    packet: &sfumato_router::Packet,
) -> Option<u8> {
    match rig.forward(now, down, packet) {
        Ok(_) => Some(packet.meta.layer()),
        Err(DropReason::LayerNotSelected | DropReason::AwaitingKeyFrame) => None,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn layers_of_encrypted_simulcast_are_switched_at_their_key_frames() {
    let begin = start();
    let mut media = video(1, "0", &["q", "h", "f"], &[]);
    media.codecs = vec![codec(Codec::H264, VP8, None)];
    let mut down = down_track(&media, true, begin);
    let mut rig = Rig::new(media, begin);
    let mut random = Random(3);
    let mut shown = Vec::new();
    for frame in 0..300_u16 {
        let now = begin + ms(33 * u64::from(frame));
        down.set_max_rank(Some(if (100..200).contains(&frame) { 0 } else { 2 }));
        for (layer, rid) in ["q", "h", "f"].into_iter().enumerate() {
            // Each layer has key frames of its own.
            let key = frame % 20 == 7 * layer as u16;
            for part in 0..2 {
                let number = frame * 2 + part;
                let payload = noise(&mut random, 60 << (2 * layer));
                let mut raw =
                    Raw::new(50 + layer as u32, VP8, number, u32::from(frame) * 3_000, payload);
                (raw.mid, raw.rid, raw.marker) = (Some("0"), Some(rid), part == 1);
                raw.descriptor = Some(descriptor(key, part == 0, part == 1, frame));
                let packet = rig.receive(now, &raw.bytes()).unwrap();
                if let Some(got) = watch(&rig, &mut down, now, &packet) {
                    let switched = shown.last().is_none_or(|(_, last)| *last != got);
                    assert!(!switched || (key && part == 0), "frame {frame}, layer {got}");
                    shown.push((frame, got));
                }
            }
        }
    }
    let layer = |at: u16| shown.iter().rfind(|(frame, _)| *frame == at).map(|(_, layer)| *layer);
    assert_eq!((layer(99), layer(150), layer(250)), (Some(2), Some(0), Some(2)));
}

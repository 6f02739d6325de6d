//! Real pictures and sound, encoded beforehand: short loops with real frame sizes, cut into RTP payloads once. They
//! begin with their only key frame; a publisher goes back to it when a key frame is requested, and at the end.
//!
//! The stamp stands where a decoder does not look, so that a browser that watches bots decodes the picture and the
//! sound: behind the last partition of a VP8 frame (RFC 6386 section 9.5: the decoder takes what is left), behind the
//! last slice of an H.264 picture (no byte of it can be part of a start code), in the padding of an Opus packet (RFC
//! 6716 section 3.2.5). A frame has one stamp; the packets before its last one are recognised by their hash.

mod container;
mod packetize;

use std::{sync::LazyLock, time::Duration};

use model::Codec;

use super::{Frame, Piece, STAMP_LEN, Stamp, hash, vp8_descriptor, write_vp8_descriptor};

/// The clips. The number is written into stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Clip {
    /// VP8, 320x180.
    Low = 1,
    /// VP8, 640x360.
    Mid = 2,
    /// VP8, 1280x720.
    High = 3,
    /// H.264, 640x360.
    H264 = 4,
    /// Opus.
    Opus = 5,
}

/// A clip cut into packets.
#[derive(Debug)]
struct Loop {
    pictures: Vec<Picture>,
}

/// One picture or sound.
#[derive(Debug)]
struct Picture {
    key: bool,
    packets: Vec<Cut>,
}

/// The payload of a packet, without VP8's descriptor and without the stamp.
#[derive(Debug)]
struct Cut {
    bytes: Box<[u8]>,
    hash: u64,
}

static LOOPS: LazyLock<[Loop; 5]> = LazyLock::new(|| {
    let vp8 = |file| Loop::new(Codec::Vp8, container::ivf(file));
    [
        vp8(include_bytes!("../../../media/low.ivf")),
        vp8(include_bytes!("../../../media/mid.ivf")),
        vp8(include_bytes!("../../../media/high.ivf")),
        Loop::new(Codec::H264, container::access_units(include_bytes!("../../../media/clip.h264"))),
        Loop::new(Codec::Opus, container::ogg(include_bytes!("../../../../media/testcard.ogg"))),
    ]
});

impl Clip {
    fn frames(self) -> &'static Loop {
        &LOOPS[self as usize - 1]
    }

    fn from_source(source: u8) -> Option<Clip> {
        [Clip::Low, Clip::Mid, Clip::High, Clip::H264, Clip::Opus]
            .into_iter()
            .find(|clip| *clip as u8 == source)
    }

    /// Of what it is.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Clip::Low | Clip::Mid | Clip::High => Codec::Vp8,
            Clip::H264 => Codec::H264,
            Clip::Opus => Codec::Opus,
        }
    }

    /// Time from frame to frame.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Clip::Opus => Duration::from_millis(20),
            _ => Duration::from_secs(1) / 30,
        }
    }

    /// The frame after `last`, or the key frame.
    pub(crate) fn frame(self, last: Option<u16>, wants_key: bool) -> Frame {
        let pictures = &self.frames().pictures;
        let audio = self == Clip::Opus;
        let at = match last {
            Some(last) if audio || !wants_key => (usize::from(last) + 1) % pictures.len().max(1),
            _ => 0,
        };
        let (key, packets) =
            pictures.get(at).map_or((false, 0), |p| (p.key, p.packets.len() as u16));
        Frame { picture: at as u16, key, packets }
    }

    /// Writes the payload of a packet; `None` when there is no room.
    pub(crate) fn write(self, piece: &Piece, out: &mut [u8]) -> Option<usize> {
        let picture = self.frames().pictures.get(usize::from(piece.frame.picture))?;
        let cut = picture.packets.get(usize::from(piece.index))?;
        let mut at = 0;
        if self.codec() == Codec::Vp8 {
            at = write_vp8_descriptor(out, piece.index == 0, piece.number)?;
        }
        out.get_mut(at..at + cut.bytes.len())?.copy_from_slice(&cut.bytes);
        at += cut.bytes.len();
        if usize::from(piece.index) + 1 < picture.packets.len() {
            return Some(at);
        }
        let stamp = Stamp {
            run: piece.run,
            publisher: piece.publisher,
            frame: piece.number,
            picture: piece.frame.picture,
            index: piece.index,
            count: piece.frame.packets,
            sent_ns: piece.sent_ns,
            source: self as u8,
            key: piece.frame.key,
            in_each: false,
        };
        stamp.write(out.get_mut(..at + STAMP_LEN)?).then_some(at + STAMP_LEN)
    }
}

/// Sizes of the pictures of all video clips except the key frames, each divided by the mean of its clip. Every clip
/// has the same weight, because all have the same number of pictures.
pub(crate) fn delta_sizes() -> Vec<f64> {
    let of = |clip: Clip| {
        let bytes = |picture: &Picture| picture.packets.iter().map(|cut| cut.bytes.len()).sum();
        let deltas = clip.frames().pictures.iter().filter(|picture| !picture.key);
        let sizes: Vec<usize> = deltas.map(bytes).collect();
        let mean = sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64;
        sizes.into_iter().map(move |size| size as f64 / mean)
    };
    [Clip::Low, Clip::Mid, Clip::High, Clip::H264].into_iter().flat_map(of).collect()
}

/// Whether the payload of a stamped packet is what the clip has there.
pub(crate) fn is_genuine(codec: Codec, stamp: &Stamp, payload: &[u8]) -> bool {
    let body = match codec {
        Codec::Vp8 => vp8_descriptor(payload).and_then(|len| payload.get(len..)),
        _ => Some(payload),
    };
    let body = body.and_then(|body| body.get(..body.len().checked_sub(STAMP_LEN)?));
    match (cut(stamp, u64::from(stamp.index)), body) {
        (Some(cut), Some(body)) => *cut.bytes == *body,
        _ => false,
    }
}

/// Whether the packet `index` of the stamped frame has this hash.
pub(crate) fn is_genuine_hash(stamp: &Stamp, index: u64, hash: u64) -> bool {
    cut(stamp, index).is_some_and(|cut| cut.hash == hash)
}

fn cut(stamp: &Stamp, index: u64) -> Option<&'static Cut> {
    let clip = Clip::from_source(stamp.source)?;
    let picture = clip.frames().pictures.get(usize::from(stamp.picture))?;
    picture.packets.get(usize::try_from(index).ok()?)
}

impl Loop {
    fn new(codec: Codec, frames: Vec<Vec<u8>>) -> Loop {
        let cut = |bytes: Vec<u8>| Cut { hash: hash_bytes(&bytes), bytes: bytes.into() };
        let picture = |frame: Vec<u8>| {
            let (key, packets) = match codec {
                Codec::H264 => packetize::h264(&frame),
                Codec::Opus => (false, packetize::opus(&frame)),
                _ => packetize::vp8(&frame),
            };
            Picture { key, packets: packets.into_iter().map(cut).collect() }
        };
        Loop { pictures: frames.into_iter().map(picture).collect() }
    }
}

/// As [`hash`], for a payload whose descriptor was already removed.
fn hash_bytes(bytes: &[u8]) -> u64 {
    hash(Codec::H264, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIPS: [Clip; 5] = [Clip::Low, Clip::Mid, Clip::High, Clip::H264, Clip::Opus];

    fn piece(clip: Clip, number: u32, picture: u16, index: u16) -> Piece {
        let frame = clip.frame(Some(picture.wrapping_sub(1)), false);
        assert_eq!(frame.picture, picture);
        Piece { run: 1, publisher: 2, number, frame, index, sent_ns: 3 }
    }

    #[test]
    fn clips_are_what_the_script_made() {
        for clip in CLIPS {
            let frames = clip.frames();
            let (len, seconds) = if clip == Clip::Opus { (500, 10) } else { (90, 3) };
            assert_eq!(frames.pictures.len(), len);
            let time = clip.interval() * len as u32;
            assert!(time.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(1));
            let keys = frames.pictures.iter().filter(|p| p.key).count();
            assert_eq!(keys, usize::from(clip != Clip::Opus));
            assert_eq!(frames.pictures[0].key, clip != Clip::Opus);
        }
        let bytes = |clip: Clip| -> usize {
            let packets = clip.frames().pictures.iter().flat_map(|p| &p.packets);
            packets.map(|packet| packet.bytes.len()).sum()
        };
        assert!(
            bytes(Clip::Low) * 2 < bytes(Clip::Mid) && bytes(Clip::Mid) * 2 < bytes(Clip::High)
        );
    }

    #[test]
    fn sizes_of_all_clips_are_told_over_their_mean() {
        let sizes = delta_sizes();
        assert_eq!(sizes.len(), 4 * 89);
        assert!((sizes.iter().sum::<f64>() / sizes.len() as f64 - 1.0).abs() < 1e-9);
        assert!(sizes.iter().any(|size| *size > 4.0) && sizes.iter().any(|size| *size < 0.3));
    }

    #[test]
    fn every_packet_is_known_again() {
        for clip in CLIPS {
            let mut out = [0; 1_500];
            for (picture, has) in clip.frames().pictures.iter().enumerate().skip(1) {
                let count = has.packets.len() as u16;
                let last = piece(clip, 7, picture as u16, count - 1);
                let len = clip.write(&last, &mut out).unwrap();
                assert!(len <= super::super::MAX_PAYLOAD);
                let stamp = Stamp::read(&out[..len]).unwrap();
                assert!(is_genuine(clip.codec(), &stamp, &out[..len]));
                out[len - STAMP_LEN - 1] ^= 1;
                assert!(!is_genuine(clip.codec(), &stamp, &out[..len]));
                for index in 0..count - 1 {
                    let len = clip.write(&piece(clip, 7, picture as u16, index), &mut out).unwrap();
                    assert!(len <= super::super::MAX_PAYLOAD);
                    assert_eq!(Stamp::read(&out[..len]), None);
                    let hash = hash(clip.codec(), &out[..len]);
                    assert!(is_genuine_hash(&stamp, u64::from(index), hash));
                    assert!(!is_genuine_hash(&stamp, u64::from(index), hash ^ 1));
                    assert!(!is_genuine_hash(&stamp, u64::from(index) + 1, hash));
                }
            }
        }
    }

    #[test]
    fn servers_find_the_key_frames_and_a_key_frame_is_the_beginning() {
        for clip in [Clip::Low, Clip::High, Clip::H264] {
            assert_eq!(clip.frame(Some(44), true), clip.frame(None, false));
            assert_eq!(clip.frame(Some(89), false).picture, 0);
            let mut out = [0; 1_500];
            for picture in [0_u16, 1] {
                let frame = clip.frame(picture.checked_sub(1), false);
                // H.264 has its parameter sets in front, in a packet of their own.
                let starts = (0..2).any(|index| {
                    let piece = Piece { run: 1, publisher: 2, number: 5, frame, index, sent_ns: 3 };
                    clip.write(&piece, &mut out).is_some_and(|len| {
                        rtp::payload::inspect(clip.codec(), &out[..len], None).keyframe_start
                    })
                });
                assert_eq!(starts, picture == 0, "{clip:?}");
            }
        }
        assert_eq!(Clip::Opus.frame(Some(3), true).picture, 4, "sound has no key frames");
    }

    #[test]
    fn sound_keeps_its_frame_inside_padding() {
        let mut out = [0; 1_500];
        let len = Clip::Opus.write(&piece(Clip::Opus, 1, 9, 0), &mut out).unwrap();
        // RFC 6716 section 3.2.5: code 3, one frame, padding, so much of it.
        assert_eq!((out[0] & 3, out[1], usize::from(out[2])), (3, 0x41, STAMP_LEN));
        assert!(len > 3 + STAMP_LEN);
    }
}

//! Made-up frames: so many packets of such a size at such a rate. Video has the headers of VP8, so that servers find
//! its key frames; audio is called Opus. Every packet has a stamp, and the bytes between follow from it.

use std::{sync::LazyLock, time::Duration};

use model::{Codec, MediaKind};

use super::{Frame, Piece, STAMP_LEN, Stamp, vp8_descriptor, write_vp8_descriptor};
use crate::random::Random;

/// What stamps say of these packets.
pub(crate) const SOURCE: u8 = 0;

/// RFC 6386 section 9.1: frame tag of a shown key frame, start code, 640 x 360.
const KEY_HEADER: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
/// Frame tag of a shown frame that is none.
const DELTA_HEADER: [u8; 3] = [0x31, 0x02, 0x00];
/// RFC 6716 section 3.1: one frame of 20 ms.
const OPUS_TOC: u8 = 0xf8;

/// Bytes for all fillings: a packet takes a piece of it. What it is does not matter, only that it is hard to get right
/// by chance and in cache.
static PATTERN: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut random = Random::new(0x5f3a);
    (0..OFFSETS + super::MAX_PAYLOAD).map(|_| random.next() as u8).collect()
});
const OFFSETS: usize = 4_096;

/// Frames of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Synthetic {
    pub(crate) kind: MediaKind,
    /// Packets of a frame, at least 1.
    pub(crate) packets: u16,
    /// Bytes of payload in a packet.
    pub(crate) payload: u16,
    pub(crate) interval: Duration,
    /// A key frame each so many frames; 0: on request only.
    pub(crate) key_every: u32,
}

impl Synthetic {
    /// Least bytes of payload.
    pub(crate) const MIN_PAYLOAD: usize = 4 + KEY_HEADER.len() + STAMP_LEN;

    /// Least bytes of payload of sound, which has a shorter header.
    const MIN_SOUND: usize = 1 + STAMP_LEN;

    pub(crate) fn codec(&self) -> Codec {
        match self.kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        }
    }

    pub(crate) fn frame(&self, number: u32, wants_key: bool) -> Frame {
        let due = self.key_every > 0 && number.is_multiple_of(self.key_every);
        let key = self.kind == MediaKind::Video && (number == 0 || wants_key || due);
        Frame { picture: 0, key, packets: self.packets.max(1) }
    }

    pub(crate) fn write(&self, piece: &Piece, out: &mut [u8]) -> Option<usize> {
        let least = match self.kind {
            MediaKind::Audio => Self::MIN_SOUND,
            MediaKind::Video => Self::MIN_PAYLOAD,
        };
        let len = usize::from(self.payload).clamp(least, super::MAX_PAYLOAD);
        let out = out.get_mut(..len)?;
        let mut at = 0;
        let header = header(self.kind, piece.frame.key, piece.index);
        if self.kind == MediaKind::Video {
            at = write_vp8_descriptor(out, piece.index == 0, piece.number)?;
        }
        out.get_mut(at..at + header.len())?.copy_from_slice(header);
        at += header.len();
        let stamp = Stamp {
            run: piece.run,
            publisher: piece.publisher,
            frame: piece.number,
            picture: 0,
            index: piece.index,
            count: piece.frame.packets,
            sent_ns: piece.sent_ns,
            source: SOURCE,
            key: piece.frame.key,
            in_each: true,
        };
        let filling = len.checked_sub(at + STAMP_LEN)?;
        out[at..at + filling].copy_from_slice(&PATTERN[offset(&stamp)..][..filling]);
        stamp.write(out).then_some(len)
    }
}

/// Whether all bytes follow from the stamp.
pub(crate) fn is_genuine(codec: Codec, stamp: &Stamp, payload: &[u8]) -> bool {
    let body = match codec {
        Codec::Vp8 => vp8_descriptor(payload).and_then(|len| payload.get(len..)),
        _ => Some(payload),
    };
    let header = header(codec.kind(), stamp.key, stamp.index);
    let filling = body
        .and_then(|body| body.get(..body.len().checked_sub(STAMP_LEN)?))
        .and_then(|body| body.strip_prefix(header));
    filling.is_some_and(|filling| PATTERN[offset(stamp)..].get(..filling.len()) == Some(filling))
}

fn header(kind: MediaKind, key: bool, index: u16) -> &'static [u8] {
    match (kind, index, key) {
        (MediaKind::Audio, ..) => &[OPUS_TOC],
        (MediaKind::Video, 0, true) => &KEY_HEADER,
        (MediaKind::Video, 0, false) => &DELTA_HEADER,
        (MediaKind::Video, ..) => &[],
    }
}

fn offset(stamp: &Stamp) -> usize {
    let mixed = stamp.publisher.wrapping_mul(0x9e37_79b9)
        ^ stamp.frame.wrapping_mul(0x85eb_ca6b)
        ^ u32::from(stamp.index).wrapping_mul(0xc2b2_ae35);
    (mixed >> 8) as usize % OFFSETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic(kind: MediaKind) -> Synthetic {
        let interval = Duration::from_millis(20);
        Synthetic { kind, packets: 3, payload: 300, interval, key_every: 100 }
    }

    fn piece(number: u32, index: u16, frame: Frame) -> Piece {
        Piece { run: 5, publisher: 6, number, frame, index, sent_ns: 7 }
    }

    #[test]
    fn packets_are_what_their_stamp_says() {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let feed = synthetic(kind);
            for number in [0, 1, 100] {
                let frame = feed.frame(number, false);
                for index in 0..3 {
                    let mut out = [0; 400];
                    let len = feed.write(&piece(number, index, frame), &mut out).unwrap();
                    assert_eq!(len, 300);
                    let stamp = Stamp::read(&out[..len]).unwrap();
                    assert_eq!((stamp.frame, stamp.index, stamp.count), (number, index, 3));
                    assert!(is_genuine(feed.codec(), &stamp, &out[..len]));
                    out[60] ^= 1;
                    assert!(!is_genuine(feed.codec(), &stamp, &out[..len]));
                    let other = Stamp { index: index + 1, ..stamp };
                    out[60] ^= 1;
                    assert!(!is_genuine(feed.codec(), &other, &out[..len]));
                }
            }
        }
    }

    #[test]
    fn servers_find_the_key_frames() {
        let feed = synthetic(MediaKind::Video);
        for (number, wants, key) in
            [(0, false, true), (1, false, false), (2, true, true), (100, false, true)]
        {
            let frame = feed.frame(number, wants);
            assert_eq!(frame.key, key);
            for index in 0..2 {
                let mut out = [0; 400];
                let len = feed.write(&piece(number, index, frame), &mut out).unwrap();
                let info = rtp::payload::inspect(Codec::Vp8, &out[..len], None);
                assert_eq!(info.keyframe_start, key && index == 0);
                assert_eq!(info.frame_start, index == 0);
            }
        }
    }

    #[test]
    fn a_rewritten_descriptor_is_no_damage() {
        let feed = synthetic(MediaKind::Video);
        let mut out = [0; 400];
        let len = feed.write(&piece(1, 0, feed.frame(1, false)), &mut out).unwrap();
        let stamp = Stamp::read(&out[..len]).unwrap();
        let mut shorter = vec![0x90, 0x80, 0x11];
        shorter.extend_from_slice(&out[4..len]);
        assert!(is_genuine(Codec::Vp8, &stamp, &shorter));
    }

    #[test]
    fn audio_has_no_key_frames() {
        assert!(!synthetic(MediaKind::Audio).frame(0, true).key);
    }
}

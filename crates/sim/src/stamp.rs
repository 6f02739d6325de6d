//! The payloads of the simulated media: who made it, and which picture or sound it is. Behind a real VP8 descriptor,
//! or as the whole payload of a sound.

use model::MediaKind;

const MAGIC: [u8; 4] = *b"SFUM";
/// Bytes of a stamp.
const STAMP: usize = 20;
/// Descriptor with a long picture id and TL0PICIDX, and the first byte of the frame (RFC 7741 section 4.2).
const VP8: usize = 5 + 1;

/// One packet of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The peer that made it.
    pub(crate) peer: u16,
    /// The number of the section that it sends in.
    pub(crate) track: u8,
    pub(crate) layer: u8,
    /// Which picture or sound of the track.
    pub(crate) number: u32,
    /// Which packet of the picture, of how many.
    pub(crate) index: u16,
    pub(crate) of: u16,
    /// A key frame.
    pub(crate) key: bool,
}

/// A payload that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) stamp: Stamp,
    /// VP8: PictureID and TL0PICIDX as they arrived.
    pub(crate) picture: Option<(u16, u8)>,
}

impl Stamp {
    /// A payload of about `len` bytes. `picture` counts the pictures of the stream.
    pub(crate) fn write(&self, kind: MediaKind, picture: u32, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(STAMP + VP8));
        if kind == MediaKind::Video {
            // X bit, and S for the first packet of the picture; then I and L.
            bytes.extend([0x80 | u8::from(self.index == 0) << 4, 0xc0]);
            bytes.extend((0x8000 | (picture as u16) & 0x7fff).to_be_bytes());
            bytes.push(picture as u8);
            // RFC 6386 section 9.1: the lowest bit of the frame tag is 0 in a key frame.
            bytes.push(u8::from(!self.key));
        }
        bytes.extend(MAGIC);
        bytes.extend(self.peer.to_be_bytes());
        bytes.extend([self.track, self.layer]);
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.index.to_be_bytes());
        bytes.extend(self.of.to_be_bytes());
        bytes.extend([u8::from(self.key), 0, 0, 0]);
        let filled = bytes.len();
        bytes.extend((filled..len).map(|at| self.fill(at)));
        bytes
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(kind: MediaKind, payload: &[u8]) -> Result<Read, String> {
        let (picture, body, skip) = match kind {
            MediaKind::Audio => (None, payload, 0),
            MediaKind::Video => {
                let [_, _, p0, p1, tl0, _, body @ ..] = payload else {
                    return Err(format!("a picture of {} bytes", payload.len()));
                };
                let id = u16::from_be_bytes([*p0, *p1]) & 0x7fff;
                (Some((id, *tl0)), body, VP8)
            }
        };
        let Some((head, _)) = body.split_first_chunk::<STAMP>() else {
            return Err(format!("a payload of {} bytes", payload.len()));
        };
        if head[..4] != MAGIC {
            return Err("a payload without a stamp".into());
        }
        let stamp = Stamp {
            peer: u16::from_be_bytes([head[4], head[5]]),
            track: head[6],
            layer: head[7],
            number: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            index: u16::from_be_bytes([head[12], head[13]]),
            of: u16::from_be_bytes([head[14], head[15]]),
            key: head[16] == 1,
        };
        let filling = payload.iter().enumerate().skip(skip + STAMP);
        match filling.into_iter().find(|&(at, &byte)| byte != stamp.fill(at)) {
            Some((at, _)) => Err(format!("byte {at} of {stamp:?} is not what was sent")),
            None => Ok(Read { stamp, picture }),
        }
    }

    fn fill(&self, at: usize) -> u8 {
        let seed = self.number.wrapping_mul(31).wrapping_add(u32::from(self.index) * 7);
        (seed as usize).wrapping_add(at) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { peer: 3, track: 1, layer: 2, number: 70_000, index: 1, of: 4, key: true };

    #[test]
    fn stamps_read_back() {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let payload = STAMP.write(kind, 9, 100);
            assert_eq!((payload.len(), Stamp::read(kind, &payload).unwrap().stamp), (100, STAMP));
        }
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let mut payload = STAMP.write(MediaKind::Video, 70_000, 100);
        payload[60] ^= 1;
        assert!(Stamp::read(MediaKind::Video, &payload).is_err());
    }

    #[test]
    fn pictures_are_vp8() {
        let first = Stamp { index: 0, ..STAMP }.write(MediaKind::Video, 70_000, 100);
        let info = rtp::payload::vp8::inspect(&first);
        assert!(info.keyframe_start);
        let fields = info.vp8.unwrap();
        assert_eq!(fields.picture_id.map(|p| p.value), Some(4_464));
        assert_eq!(fields.tl0_pic_idx.map(|(_, value)| value), Some(70_000_u32 as u8));
        let delta = Stamp { index: 0, key: false, ..STAMP }.write(MediaKind::Video, 70_000, 100);
        assert!(!rtp::payload::vp8::inspect(&delta).keyframe_start);
    }
}

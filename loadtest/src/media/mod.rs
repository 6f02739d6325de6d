//! What bots send. A [`Feed`] says which frames come, and writes the payload of any packet of them, always the same
//! bytes: a publisher remembers which packet it sent and not its bytes, and a receiver knows what must have been sent.
//!
//! - [`stamp`]: who, what and when, in the payload itself
//! - [`synthetic`]: frames of a given number of packets of a given size
//! - [`real`]: the same with the sizes of real pictures
//! - [`clip`]: real pictures and sound, encoded beforehand

pub(crate) mod clip;
pub(crate) mod real;
pub(crate) mod stamp;
pub(crate) mod synthetic;

use std::time::Duration;

use model::Codec;

use clip::Clip;
use real::Real;
pub(crate) use stamp::{STAMP_LEN, Stamp};
use synthetic::Synthetic;

/// Longest payload that bots send: with header, extensions and tag it stays below 1,200 bytes.
pub(crate) const MAX_PAYLOAD: usize = 1_120;

/// Where frames come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Feed {
    /// Synthetic.
    Synthetic(Synthetic),
    /// Synthetic, with the sizes of real pictures.
    Real(Real),
    /// A clip that was encoded beforehand.
    Clip(Clip),
}

/// A frame that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The picture of the clip; in feeds of real sizes the number of pictures since the key frame; 0 in synthetic
    /// ones.
    pub(crate) picture: u16,
    /// A key frame.
    pub(crate) key: bool,
    /// Its number of packets.
    pub(crate) packets: u16,
}

/// One packet of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) run: u32,
    pub(crate) publisher: u32,
    /// Number of the frame.
    pub(crate) number: u32,
    pub(crate) frame: Frame,
    /// Which packet of it.
    pub(crate) index: u16,
    pub(crate) sent_ns: u64,
}

impl Feed {
    /// Of what it is.
    pub(crate) fn codec(&self) -> Codec {
        match self {
            Feed::Synthetic(synthetic) => synthetic.codec(),
            Feed::Real(real) => real.shape().codec(),
            Feed::Clip(clip) => clip.codec(),
        }
    }

    /// The feed of one publisher: where sizes are random, each publisher has its own.
    #[must_use]
    pub(crate) fn of(self, publisher: u32) -> Feed {
        match self {
            Feed::Real(real) => Feed::Real(real.of(publisher)),
            Feed::Synthetic(_) | Feed::Clip(_) => self,
        }
    }

    /// Time from frame to frame.
    pub(crate) fn interval(&self) -> Duration {
        match self {
            Feed::Synthetic(synthetic) => synthetic.interval,
            Feed::Real(real) => real.shape().interval,
            Feed::Clip(clip) => clip.interval(),
        }
    }

    /// The frame with this number, after the picture `last`; a key frame when one is requested.
    pub(crate) fn frame(&self, number: u32, last: Option<u16>, wants_key: bool) -> Frame {
        match self {
            Feed::Synthetic(synthetic) => synthetic.frame(number, wants_key),
            Feed::Real(real) => real.frame(number, last, wants_key),
            Feed::Clip(clip) => clip.frame(last, wants_key),
        }
    }

    /// Writes the payload of a packet and gives its length; `None` when there is no room.
    pub(crate) fn write(&self, piece: &Piece, out: &mut [u8]) -> Option<usize> {
        match self {
            Feed::Synthetic(synthetic) => synthetic.write(piece, out),
            Feed::Real(real) => real.write(piece, out),
            Feed::Clip(clip) => clip.write(piece, out),
        }
    }
}

/// Whether the payload of a stamped packet (without what a server may rewrite) is what was sent.
pub(crate) fn is_genuine(codec: Codec, stamp: &Stamp, payload: &[u8]) -> bool {
    match stamp.source {
        synthetic::SOURCE => synthetic::is_genuine(codec, stamp, payload),
        _ => clip::is_genuine(codec, stamp, payload),
    }
}

/// A hash of what a receiver can know of a payload, for packets whose frame is named by a later one.
pub(crate) fn hash(codec: Codec, payload: &[u8]) -> u64 {
    let body = match codec {
        Codec::Vp8 => vp8_descriptor(payload).map_or(payload, |len| &payload[len..]),
        _ => payload,
    };
    let (words, rest) = body.as_chunks::<8>();
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let sum = words.iter().fold(body.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}

/// Whether the packet `index` of the frame that a stamp names has this hash.
pub(crate) fn is_genuine_hash(stamp: &Stamp, index: u64, hash: u64) -> bool {
    // All packets of synthetic frames have stamps of their own.
    !stamp.in_each && clip::is_genuine_hash(stamp, index, hash)
}

/// Length of the VP8 payload descriptor (RFC 7741 section 4.2); `None` when the payload ends within it. A server may
/// write it anew: picture ids have to be continuous for each receiver.
pub(crate) fn vp8_descriptor(payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    if first & 0x80 == 0 {
        return Some(1);
    }
    let extended = *payload.get(1)?;
    let mut len = 2;
    if extended & 0x80 != 0 {
        len += if payload.get(2)? & 0x80 != 0 { 2 } else { 1 };
    }
    len += usize::from(extended & 0x40 != 0);
    len += usize::from(extended & 0x30 != 0);
    (payload.len() >= len).then_some(len)
}

/// Writes a descriptor with a picture id of 15 bits; returns its length.
pub(crate) fn write_vp8_descriptor(out: &mut [u8], starts: bool, number: u32) -> Option<usize> {
    let [high, low] = (number as u16 | 0x8000).to_be_bytes();
    out.first_chunk_mut::<4>().map(|out| {
        // X, and S at the beginning of the only partition that RTP sees; I.
        *out = [0x80 | u8::from(starts) << 4, 0x80, high, low];
        4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_all_lengths_are_skipped() {
        assert_eq!(vp8_descriptor(&[0x10, 1]), Some(1));
        assert_eq!(vp8_descriptor(&[0x90, 0x80, 0x05, 1]), Some(3));
        assert_eq!(vp8_descriptor(&[0x90, 0x80, 0x85, 0x01, 9]), Some(4));
        assert_eq!(vp8_descriptor(&[0x90, 0xe0, 0x85, 0x01, 7, 0x20, 9]), Some(6));
        for short in [&[][..], &[0x90], &[0x90, 0x80], &[0x90, 0x80, 0x85], &[0x90, 0xe0, 0x85, 1]]
        {
            assert_eq!(vp8_descriptor(short), None);
        }
        let mut out = [0; 8];
        assert_eq!(write_vp8_descriptor(&mut out, true, 70_000), Some(4));
        assert_eq!(vp8_descriptor(&out), Some(4));
    }
}

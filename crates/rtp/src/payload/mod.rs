//! Information for the router in the first bytes of a payload: where a key frame starts, which layer the packet
//! belongs to, and where the numbers are that must stay continuous. Nothing is decoded, and invalid bytes give no
//! information.
//!
//! One file per codec: [`vp8`] (RFC 7741), [`vp9`] (RFC 9628), [`h264`] (RFC 6184), [`h265`] (RFC 7798), [`av1`] (AV1
//! RTP specification 1.0), [`red`] (RFC 2198).

pub mod av1;
pub mod h264;
pub mod h265;
pub mod red;
pub mod vp8;
pub mod vp9;

use model::Codec;

pub use vp8::Vp8Fields;
pub use vp9::Vp9Fields;

/// Information in the first bytes of a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PayloadInfo {
    /// The first packet of a key frame, by the type that the frame itself names: a decoder that has the parameter sets
    /// can begin with it. A mere hint (a parameter set, a sequence header, VP9's P bit) is no proof: some encoders
    /// write it before every picture. Always true for audio.
    pub keyframe_start: bool,
    /// Contains parameter sets (H.264, H.265) or a sequence header (AV1).
    pub parameter_sets: bool,
    /// Contains no part of a picture, only data that precedes one: parameter sets, supplemental information,
    /// delimiters. It belongs to the picture that follows: a decoder that begins with that picture needs this packet
    /// too.
    pub lead: bool,
    /// The first packet of a frame (VP9: of a picture, that is of its lowest spatial layer). For H.264 and H.265 it
    /// may be set on several packets of one frame (parameter sets, then the first slice). Always true for audio.
    pub frame_start: bool,
    /// The payload itself says that it ends a frame (of its spatial layer). If false, the marker bit has to be used.
    pub frame_end: bool,
    /// VP8 only.
    pub vp8: Option<Vp8Fields>,
    /// VP9 only.
    pub vp9: Option<Vp9Fields>,
}

impl PayloadInfo {
    /// Whether a key frame begins here in a codec with parameter sets, but they are not in this packet: they are in
    /// earlier packets, sent by other means (RFC 6184 section 8.4), or late.
    #[inline]
    pub fn lacks_parameter_sets(&self) -> bool {
        self.keyframe_start && !self.parameter_sets && self.vp8.is_none() && self.vp9.is_none()
    }
}

/// A picture id and its position (VP8 and VP9 write it alike).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// Offset of its first byte within the payload.
    pub offset: u8,
    /// Written in 15 bits (two bytes) instead of 7 (one byte).
    pub is_15_bit: bool,
    /// The id, 0 to 127 or 0 to 32,767.
    pub value: u16,
}

/// Reads the first bytes of a payload (without padding). `dd` is the packet's dependency descriptor, if it has one; it
/// gives frame starts and ends that the payload does not. An empty payload gives no information.
#[inline]
pub fn inspect(codec: Codec, payload: &[u8], dd: Option<&[u8]>) -> PayloadInfo {
    if payload.is_empty() {
        return PayloadInfo::default();
    }
    let mut info = match codec {
        Codec::Opus | Codec::Red => {
            PayloadInfo { keyframe_start: true, frame_start: true, ..PayloadInfo::default() }
        }
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::H265 => h265::inspect(payload),
        Codec::Av1 => av1::inspect(payload),
    };
    // AV1 RTP specification appendix A.8.1: start_of_frame and end_of_frame are the two highest bits.
    if matches!(codec, Codec::Av1 | Codec::H264 | Codec::H265)
        && let Some(&[flags, ..]) = dd
    {
        info.frame_start = flags & 0x80 != 0;
        info.frame_end = flags & 0x40 != 0;
    }
    info
}

/// Reads a picture id at `offset` (RFC 7741 section 4.2, RFC 9628 section 4.2: the M bit says how long it is).
#[inline]
pub(crate) fn picture_id(payload: &[u8], offset: usize) -> Option<PictureId> {
    let first = *payload.get(offset)?;
    let is_15_bit = first & 0x80 != 0;
    let value = if is_15_bit {
        u16::from_be_bytes([first & 0x7f, *payload.get(offset + 1)?])
    } else {
        u16::from(first)
    };
    Some(PictureId { offset: u8::try_from(offset).ok()?, is_15_bit, value })
}

impl PictureId {
    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        1 + usize::from(self.is_15_bit)
    }

    /// Always false: it has one or two bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes `value` in its place, truncated to the number of bits.
    #[inline]
    pub(crate) fn rewrite(&self, payload: &mut [u8], value: u16) {
        let offset = usize::from(self.offset);
        let [high, low] = (value & 0x7fff).to_be_bytes();
        if self.is_15_bit {
            if let Some(place) = payload.get_mut(offset..offset + 2) {
                place.copy_from_slice(&[0x80 | high, low]);
            }
        } else if let Some(place) = payload.get_mut(offset) {
            *place = low & 0x7f;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_can_be_joined_anywhere() {
        for codec in [Codec::Opus, Codec::Red] {
            let info = inspect(codec, &[0xfc, 1], None);
            assert!(info.keyframe_start && info.frame_start);
        }
    }

    #[test]
    fn an_empty_payload_gives_no_information() {
        assert_eq!(inspect(Codec::Opus, &[], None), PayloadInfo::default());
        assert_eq!(inspect(Codec::Av1, &[], Some(&[0xc0, 0, 0])), PayloadInfo::default());
    }

    #[test]
    fn the_dependency_descriptor_knows_the_bounds_of_frames() {
        // A fragment in the middle of an OBU has no information itself.
        let info = inspect(Codec::Av1, &[0xd0, 1, 2], Some(&[0x40, 0, 1]));
        assert!(!info.frame_start && info.frame_end && !info.keyframe_start);
        let info = inspect(Codec::Av1, &[0x10, 0x30, 2], Some(&[0x80, 0, 1]));
        assert!(info.frame_start && !info.frame_end);
    }
}

//! H.265 NAL units in RTP (RFC 7798 section 4.4): does a key frame start here. Without decoding order numbers
//! (`sprop-max-don-diff` 0), the only mode that WebRTC uses.

use super::PayloadInfo;

/// RFC 7798 section 4.4.2
const AGGREGATION: u8 = 48;
/// RFC 7798 section 4.4.3
const FRAGMENTATION: u8 = 49;

/// Looks at a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&[head, _], rest)) = payload.split_first_chunk::<2>() else { return info };
    match kind_of(head) {
        AGGREGATION => units(rest, &mut info),
        FRAGMENTATION => {
            if let Some((&fu, rest)) = rest.split_first() {
                // RFC 7798 section 4.4.3: S is the start of the NAL unit, its type in the low six bits.
                if fu & 0x80 != 0 {
                    unit(fu & 0x3f, rest.first(), &mut info);
                }
            }
        }
        kind => unit(kind, rest.first(), &mut info),
    }
    info
}

/// Type of a NAL unit by the first byte of its header (RFC 7798 section 1.1.4).
#[inline]
fn kind_of(head: u8) -> u8 {
    head >> 1 & 0x3f
}

/// The NAL units of an aggregation packet, each behind 16 bits of length. A length that lies ends the look.
fn units(mut rest: &[u8], info: &mut PayloadInfo) {
    while let Some((&size, behind)) = rest.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(size));
        let Some((nal, behind)) = behind.split_at_checked(size) else { return };
        if let Some((&[head, _], body)) = nal.split_first_chunk::<2>() {
            unit(kind_of(head), body.first(), info);
        }
        rest = behind;
    }
}

/// One NAL unit by its type and the first byte behind its header (ITU-T H.265 table 7-1).
#[inline]
fn unit(kind: u8, body: Option<&u8>, info: &mut PayloadInfo) {
    // ITU-T H.265 section 7.3.6.1: a slice begins with first_slice_segment_in_pic_flag.
    let first_slice = body.is_some_and(|b| b & 0x80 != 0);
    info.keyframe_start |= match kind {
        // BLA, IDR and CRA pictures.
        16..=21 => first_slice,
        // Video, sequence and picture parameter sets.
        32..=34 => true,
        _ => false,
    };
    info.frame_start |= match kind {
        0..=31 => first_slice,
        // Parameter sets, access unit delimiter, prefix SEI: before the first slice.
        32..=35 | 39 => true,
        _ => false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(payload: &[u8]) -> (bool, bool) {
        let info = inspect(payload);
        (info.keyframe_start, info.frame_start)
    }

    #[test]
    fn single_nal_units() {
        for irap in 16..=21 {
            assert_eq!(flags(&[irap << 1, 1, 0x80]), (true, true), "type {irap}");
            assert_eq!(flags(&[irap << 1, 1, 0x00]), (false, false), "type {irap}, later slice");
        }
        assert_eq!(flags(&[22 << 1, 1, 0x80]), (false, true), "reserved IRAP");
        for set in [32, 33, 34] {
            assert_eq!(flags(&[set << 1, 1, 0x0c]), (true, true), "type {set}");
        }
        assert_eq!(flags(&[1 << 1, 1, 0x80]), (false, true), "trailing picture");
        assert_eq!(flags(&[40 << 1, 1, 0x80]), (false, false), "suffix SEI");
    }

    #[test]
    fn aggregates_and_fragments() {
        assert_eq!(flags(&[48 << 1, 1, 0, 3, 32 << 1, 1, 9]), (true, true));
        assert_eq!(flags(&[48 << 1, 1, 0, 3, 2, 1, 0, 0, 3, 19 << 1, 1, 0x80]), (true, true));
        assert_eq!(flags(&[48 << 1, 1, 0, 9, 32 << 1, 1]), (false, false), "a length that lies");
        assert_eq!(flags(&[49 << 1, 1, 0x80 | 19, 0x80]), (true, true));
        assert_eq!(flags(&[49 << 1, 1, 19, 0x80]), (false, false), "middle");
        assert_eq!(flags(&[49 << 1, 1, 0x80 | 1, 0x80]), (false, true));
    }
}

//! H.264 NAL units in RTP (RFC 6184 section 5): does a key frame start here. Interleaved mode (MTAP) tells nothing:
//! it is not offered.

use super::PayloadInfo;

/// Coded slice of a non-IDR picture (ITU-T H.264 table 7-1).
const SLICE: u8 = 1;
/// Coded slice of an IDR picture.
const IDR: u8 = 5;
/// Supplemental enhancement information.
const SEI: u8 = 6;
/// Sequence parameter set.
const SPS: u8 = 7;
/// Picture parameter set.
const PPS: u8 = 8;
/// Access unit delimiter.
const DELIMITER: u8 = 9;
/// RFC 6184 section 5.7.1
const STAP_A: u8 = 24;
/// RFC 6184 section 5.7.1
const STAP_B: u8 = 25;
/// RFC 6184 section 5.8
const FU_A: u8 = 28;
/// RFC 6184 section 5.8
const FU_B: u8 = 29;

/// Looks at a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&head, rest)) = payload.split_first() else { return info };
    match head & 0x1f {
        STAP_A => units(rest, &mut info),
        // The decoding order number comes first.
        STAP_B => units(rest.get(2..).unwrap_or_default(), &mut info),
        kind @ (FU_A | FU_B) => {
            let order_number = if kind == FU_B { 2 } else { 0 };
            if let Some((&fu, rest)) = rest.split_first() {
                // RFC 6184 section 5.8: S is the start of the NAL unit, whose first bytes are in this packet.
                if fu & 0x80 != 0 {
                    unit(fu & 0x1f, rest.get(order_number), &mut info);
                }
            }
        }
        kind => unit(kind, rest.first(), &mut info),
    }
    info
}

/// The NAL units of an aggregation packet, each behind 16 bits of length. A length that lies ends the look.
fn units(mut rest: &[u8], info: &mut PayloadInfo) {
    while let Some((&size, behind)) = rest.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(size));
        let Some((nal, behind)) = behind.split_at_checked(size) else { return };
        if let Some((&head, body)) = nal.split_first() {
            unit(head & 0x1f, body.first(), info);
        }
        rest = behind;
    }
}

/// One NAL unit by its type and the first byte behind its header.
#[inline]
fn unit(kind: u8, body: Option<&u8>, info: &mut PayloadInfo) {
    // ITU-T H.264 section 7.3.3: a slice begins with first_mb_in_slice, and ue(0) is a single 1 bit.
    let first_slice = body.is_some_and(|b| b & 0x80 != 0);
    info.keyframe_start |= match kind {
        SPS => true,
        IDR => first_slice,
        _ => false,
    };
    info.frame_start |= match kind {
        // ITU-T H.264 section 7.4.1.2.3: these come before the first slice of a picture.
        SEI | SPS | PPS | DELIMITER => true,
        SLICE | IDR => first_slice,
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
        assert_eq!(flags(&[0x65, 0x88]), (true, true), "IDR, first slice");
        assert_eq!(flags(&[0x65, 0x40]), (false, false), "IDR, a later slice");
        assert_eq!(flags(&[0x67, 0x42]), (true, true), "SPS");
        assert_eq!(flags(&[0x68, 0xce]), (false, true), "PPS alone");
        assert_eq!(flags(&[0x41, 0x9a]), (false, true), "non-IDR, first slice");
        assert_eq!(flags(&[0x41, 0x40]), (false, false), "non-IDR, a later slice");
    }

    #[test]
    fn aggregates_with_parameter_sets() {
        assert_eq!(flags(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]), (true, true));
        assert_eq!(flags(&[0x78, 0, 1, 0x68, 0, 2, 0x65, 0x88]), (true, true));
        assert_eq!(flags(&[0x78, 0, 2, 0x41, 0x40]), (false, false));
        assert_eq!(flags(&[0x79, 0, 0, 0, 2, 0x67, 0x42]), (true, true), "STAP-B");
        assert_eq!(flags(&[0x78, 0, 9, 0x67, 0x42]), (false, false), "a length that lies");
    }

    #[test]
    fn fragments_count_at_their_start() {
        assert_eq!(flags(&[0x7c, 0x85, 0x88]), (true, true));
        assert_eq!(flags(&[0x7c, 0x05, 0x88]), (false, false), "middle");
        assert_eq!(flags(&[0x7c, 0x45, 0x88]), (false, false), "end");
        assert_eq!(flags(&[0x7c, 0x81, 0x9a]), (false, true), "non-IDR");
        assert_eq!(flags(&[0x7d, 0x85, 0, 1, 0x88]), (true, true), "FU-B");
    }
}

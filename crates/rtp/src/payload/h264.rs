//! H.264 NAL units in RTP (RFC 6184 section 5): finds the start of a key frame. Packets of the interleaved mode (MTAP)
//! give no information: the mode is not offered.

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
/// Sequence parameter set extension.
const SPS_EXTENSION: u8 = 13;
/// Subset sequence parameter set.
const SUBSET_SPS: u8 = 15;
/// RFC 6184 section 5.7.1
const STAP_A: u8 = 24;
/// RFC 6184 section 5.7.1
const STAP_B: u8 = 25;
/// RFC 6184 section 5.8
const FU_A: u8 = 28;
/// RFC 6184 section 5.8
const FU_B: u8 = 29;

/// Reads the first bytes of a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&head, rest)) = payload.split_first() else { return info };
    match head & 0x1f {
        STAP_A => units(rest, &mut info),
        // The decoding order number is in front.
        STAP_B => units(rest.get(2..).unwrap_or_default(), &mut info),
        kind @ (FU_A | FU_B) => {
            let order_number = if kind == FU_B { 2 } else { 0 };
            if let Some((&fu, rest)) = rest.split_first() {
                // RFC 6184 section 5.8: S marks the start of the NAL unit, whose first bytes are in this packet.
                if fu & 0x80 != 0 {
                    unit(fu & 0x1f, rest.get(order_number), &mut info);
                }
                info.lead = is_lead(fu & 0x1f);
            }
        }
        kind => {
            unit(kind, rest.first(), &mut info);
            info.lead = is_lead(kind);
        }
    }
    info
}

/// The NAL units of an aggregation packet, each after 16 bits of length. Reading ends at an invalid length.
fn units(mut rest: &[u8], info: &mut PayloadInfo) {
    let mut lead = true;
    let mut any = false;
    while let Some((&size, behind)) = rest.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(size));
        let Some((nal, behind)) = behind.split_at_checked(size) else { return };
        if let Some((&head, body)) = nal.split_first() {
            unit(head & 0x1f, body.first(), info);
            lead &= is_lead(head & 0x1f);
            any = true;
        }
        rest = behind;
    }
    info.lead = lead && any;
}

/// ITU-T H.264 section 7.4.1.2.3: NAL units of these types come before the first slice of a picture.
fn is_lead(kind: u8) -> bool {
    matches!(kind, SEI | SPS | PPS | DELIMITER | SPS_EXTENSION | SUBSET_SPS)
}

/// One NAL unit by its type and the first byte after its header.
#[inline]
fn unit(kind: u8, body: Option<&u8>, info: &mut PayloadInfo) {
    // ITU-T H.264 section 7.3.3: a slice begins with first_mb_in_slice, and ue(0) is a single 1 bit.
    let first_slice = body.is_some_and(|b| b & 0x80 != 0);
    // ITU-T H.264 section 7.4.1.2.4: an IDR picture has slices of type 5 only. Parameter sets and the SEI message of a
    // recovery point do not make a picture that a decoder can begin with.
    info.keyframe_start |= kind == IDR && first_slice;
    info.parameter_sets |= matches!(kind, SPS | PPS);
    info.frame_start |= is_lead(kind) || (matches!(kind, SLICE | IDR) && first_slice);
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
        assert_eq!(flags(&[0x67, 0x42]), (false, true), "SPS");
        assert_eq!(flags(&[0x68, 0xce]), (false, true), "PPS");
        assert_eq!(flags(&[0x06, 0x06, 0x01, 0x80]), (false, true), "SEI, a recovery point");
        assert_eq!(flags(&[0x41, 0x9a]), (false, true), "non-IDR, first slice");
        assert_eq!(flags(&[0x41, 0x40]), (false, false), "non-IDR, a later slice");
    }

    #[test]
    fn parameter_sets_before_an_inter_picture_make_it_no_key_frame() {
        let together = inspect(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x41, 0x9a]);
        assert!(together.parameter_sets && together.frame_start);
        assert!(!together.keyframe_start && !together.lead);
        let before = inspect(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]);
        assert!(before.parameter_sets && before.lead && !before.keyframe_start);
    }

    #[test]
    fn an_idr_slice_is_found_behind_parameter_sets() {
        assert_eq!(flags(&[0x78, 0, 1, 0x68, 0, 2, 0x65, 0x88]), (true, true));
        let info = inspect(&[0x79, 0, 0, 0, 2, 0x67, 0x42, 0, 2, 0x65, 0x88]);
        assert!(info.keyframe_start && info.parameter_sets && !info.lead, "STAP-B");
        assert_eq!(flags(&[0x78, 0, 2, 0x41, 0x40]), (false, false));
        assert_eq!(flags(&[0x78, 0, 9, 0x65, 0x88]), (false, false), "a length that lies");
    }

    #[test]
    fn what_holds_no_slice_leads_to_the_picture_behind_it() {
        for lead in [&[0x67, 0x42][..], &[0x68, 0xce], &[0x06, 1], &[0x09, 0x10], &[0x7c, 0x06, 1]]
        {
            assert!(inspect(lead).lead, "{lead:02x?}");
        }
        for other in [
            &[0x65, 0x88][..],
            &[0x41, 0x9a],
            &[0x0b],
            &[0x7c, 0x05, 1],
            &[0x78],
            &[0x78, 0, 9, 0x67],
        ] {
            assert!(!inspect(other).lead, "{other:02x?}");
        }
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

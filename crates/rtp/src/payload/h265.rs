//! H.265 NAL units in RTP (RFC 7798 section 4.4): finds the start of a key frame. Without decoding order numbers
//! (`sprop-max-don-diff` 0), the only mode that WebRTC uses.

use super::PayloadInfo;

/// RFC 7798 section 4.4.2
const AGGREGATION: u8 = 48;
/// RFC 7798 section 4.4.3
const FRAGMENTATION: u8 = 49;

/// Reads the first bytes of a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&[head, _], rest)) = payload.split_first_chunk::<2>() else { return info };
    match kind_of(head) {
        AGGREGATION => units(rest, &mut info),
        FRAGMENTATION => {
            if let Some((&fu, rest)) = rest.split_first() {
                // RFC 7798 section 4.4.3: S marks the start of the NAL unit; its type is in the low six bits.
                if fu & 0x80 != 0 {
                    unit(fu & 0x3f, rest.first(), &mut info);
                }
                info.lead = is_lead(fu & 0x3f);
            }
        }
        kind => {
            unit(kind, rest.first(), &mut info);
            info.lead = is_lead(kind);
        }
    }
    info
}

/// Type of a NAL unit by the first byte of its header (RFC 7798 section 1.1.4).
#[inline]
fn kind_of(head: u8) -> u8 {
    head >> 1 & 0x3f
}

/// The NAL units of an aggregation packet, each after 16 bits of length. Reading ends at an invalid length.
fn units(mut rest: &[u8], info: &mut PayloadInfo) {
    let mut lead = true;
    let mut any = false;
    while let Some((&size, behind)) = rest.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(size));
        let Some((nal, behind)) = behind.split_at_checked(size) else { return };
        if let Some((&[head, _], body)) = nal.split_first_chunk::<2>() {
            unit(kind_of(head), body.first(), info);
            lead &= is_lead(kind_of(head));
            any = true;
        }
        rest = behind;
    }
    info.lead = lead && any;
}

/// Video, sequence and picture parameter sets, access unit delimiter, prefix SEI: these precede the first slice of a
/// picture (ITU-T H.265 section 7.4.2.4.4).
fn is_lead(kind: u8) -> bool {
    matches!(kind, 32..=35 | 39)
}

/// One NAL unit by its type and the first byte after its header (ITU-T H.265 table 7-1).
#[inline]
fn unit(kind: u8, body: Option<&u8>, info: &mut PayloadInfo) {
    // ITU-T H.265 section 7.3.6.1: a slice begins with first_slice_segment_in_pic_flag.
    let first_slice = body.is_some_and(|b| b & 0x80 != 0);
    // BLA, IDR and CRA pictures. Parameter sets may precede any picture, so they are not used.
    info.keyframe_start |= matches!(kind, 16..=21) && first_slice;
    info.parameter_sets |= matches!(kind, 32..=34);
    info.frame_start |= is_lead(kind) || (kind < 32 && first_slice);
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
            assert_eq!(flags(&[set << 1, 1, 0x0c]), (false, true), "type {set}");
        }
        assert_eq!(flags(&[1 << 1, 1, 0x80]), (false, true), "trailing picture");
        assert_eq!(flags(&[40 << 1, 1, 0x80]), (false, false), "suffix SEI");
    }

    #[test]
    fn aggregates_and_fragments() {
        assert_eq!(flags(&[48 << 1, 1, 0, 3, 32 << 1, 1, 9]), (false, true));
        assert_eq!(flags(&[48 << 1, 1, 0, 3, 2, 1, 0, 0, 3, 19 << 1, 1, 0x80]), (true, true));
        assert_eq!(flags(&[48 << 1, 1, 0, 9, 32 << 1, 1]), (false, false), "a length that lies");
        assert_eq!(flags(&[49 << 1, 1, 0x80 | 19, 0x80]), (true, true));
        assert_eq!(flags(&[49 << 1, 1, 19, 0x80]), (false, false), "middle");
        assert_eq!(flags(&[49 << 1, 1, 0x80 | 1, 0x80]), (false, true));
    }

    #[test]
    fn parameter_sets_before_an_inter_picture_make_it_no_key_frame() {
        let together = inspect(&[48 << 1, 1, 0, 3, 33 << 1, 1, 9, 0, 3, 1 << 1, 1, 0x80]);
        assert!(together.parameter_sets && together.frame_start);
        assert!(!together.keyframe_start && !together.lead);
        let before = inspect(&[34 << 1, 1, 9]);
        assert!(before.parameter_sets && before.lead && !before.keyframe_start);
    }

    #[test]
    fn what_holds_no_slice_leads_to_the_picture_behind_it() {
        for kind in [32, 33, 34, 35, 39] {
            assert!(inspect(&[kind << 1, 1, 9]).lead, "type {kind}");
            assert!(inspect(&[49 << 1, 1, kind, 9]).lead, "fragment of type {kind}");
        }
        for kind in [0, 1, 19, 21, 36, 37, 38, 40] {
            assert!(!inspect(&[kind << 1, 1, 9]).lead, "type {kind}");
        }
        assert!(!inspect(&[48 << 1, 1]).lead, "an empty aggregate");
    }
}

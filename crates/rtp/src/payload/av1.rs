//! AV1 in RTP (AV1 RTP specification 1.0, section 4): does a coded video sequence start here. Frame bounds are the
//! dependency descriptor's; without one they are guessed from the first OBU.

use super::PayloadInfo;

/// OBU_SEQUENCE_HEADER (AV1 bitstream specification, section 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
/// OBU_FRAME_HEADER
const FRAME_HEADER: u8 = 3;
/// OBU_FRAME
const FRAME: u8 = 6;

/// Looks at a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&head, mut rest)) = payload.split_first() else { return info };
    // AV1 RTP specification section 4.4: Z Y W W N - - -.
    let continues = head & 0x80 != 0;
    let count = head >> 4 & 0x03;
    info.keyframe_start = head & 0x08 != 0 && !continues;
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        // With W the last element has no length; without W each has one.
        let element = if count != 0 && index == count {
            std::mem::take(&mut rest)
        } else {
            let Some((len, behind)) = leb128(rest) else { return info };
            let Some((element, behind)) = behind.split_at_checked(len) else { return info };
            rest = behind;
            element
        };
        let is_fragment = continues && index == 1;
        if let (Some(&obu), false) = (element.first(), is_fragment) {
            let kind = obu >> 3 & 0x0f;
            info.keyframe_start |= kind == SEQUENCE_HEADER;
            info.frame_start |= matches!(kind, SEQUENCE_HEADER | FRAME_HEADER | FRAME);
        }
        index = index.min(4);
    }
    info
}

/// A length in LEB128 (AV1 bitstream specification, section 4.10.5), of four bytes at most: no packet needs more.
#[inline]
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..).unwrap_or_default()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(payload: &[u8]) -> (bool, bool) {
        let info = inspect(payload);
        (info.keyframe_start, info.frame_start)
    }

    #[test]
    fn n_marks_a_new_coded_video_sequence() {
        assert_eq!(flags(&[0x18, 0x30, 1]), (true, true));
        assert_eq!(flags(&[0x10, 0x30, 1]), (false, true));
        assert_eq!(flags(&[0x98, 0x30, 1]), (false, false), "N may not be set in a continuation");
    }

    #[test]
    fn a_sequence_header_starts_a_key_frame_without_n() {
        assert_eq!(flags(&[0x10, 0x08, 1]), (true, true), "alone, W 1");
        assert_eq!(flags(&[0x20, 2, 0x10, 0, 0x08, 1]), (true, true), "second of two");
        assert_eq!(flags(&[0x00, 2, 0x08, 0, 1, 0x30]), (true, true), "without W");
    }

    #[test]
    fn continued_obus_are_not_taken_for_headers() {
        assert_eq!(flags(&[0x90, 0x08, 1]), (false, false));
        assert_eq!(flags(&[0xa0, 1, 0x08, 0x30, 1]), (false, true), "a frame behind the fragment");
    }

    #[test]
    fn lengths_that_lie_end_the_look() {
        assert_eq!(flags(&[0x00, 9, 0x08]), (false, false));
        assert_eq!(flags(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0x08]), (false, false));
        assert_eq!(flags(&[0x00, 0, 0, 0, 0, 0]), (false, false), "empty elements");
    }
}

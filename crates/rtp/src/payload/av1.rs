//! AV1 in RTP (AV1 RTP specification 1.0, section 4): finds the start of a key frame. Frame bounds are taken from the
//! dependency descriptor; without one they are guessed from the first OBU.

use super::PayloadInfo;

/// OBU_SEQUENCE_HEADER (AV1 bitstream specification, section 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
/// OBU_FRAME_HEADER
const FRAME_HEADER: u8 = 3;
/// OBU_FRAME
const FRAME: u8 = 6;

/// OBU_TILE_GROUP
const TILE_GROUP: u8 = 4;
/// OBU_TILE_LIST
const TILE_LIST: u8 = 8;

/// Reads the first bytes of a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let Some((&head, mut rest)) = payload.split_first() else { return info };
    // AV1 RTP specification section 4.4: Z Y W W N - - -.
    let continues = head & 0x80 != 0;
    let count = head >> 4 & 0x03;
    let mut look = Look { picture: continues, ..Look::default() };
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        // If W is set, the last element has no length; if it is 0, each element has one.
        let element = if count != 0 && index == count {
            std::mem::take(&mut rest)
        } else {
            let Some((len, behind)) = leb128(rest) else { break };
            let Some((element, behind)) = behind.split_at_checked(len) else { break };
            rest = behind;
            element
        };
        let is_fragment = continues && index == 1;
        if let (Some((&obu, body)), false) = (element.split_first(), is_fragment) {
            look.obu(obu, body);
        }
        index = index.min(4);
    }
    // N marks the first packet of a coded video sequence, which has a sequence header. Both are hints: some encoders
    // write them before every picture. They are used only if the frame's own header is cut off.
    let hint = look.sequence_header || (head & 0x08 != 0 && !continues);
    info.keyframe_start = look.frame && look.key.unwrap_or(hint);
    info.frame_start = look.frame || look.sequence_header;
    info.parameter_sets = look.sequence_header;
    info.lead = look.sequence_header && !look.picture;
    info
}

/// What was read from the OBUs of one packet so far.
#[derive(Debug, Default)]
struct Look {
    sequence_header: bool,
    /// The sequence header says that all frames are key frames and have no type of their own.
    still: bool,
    /// A frame of the base layer begins.
    frame: bool,
    /// The first of them is a key frame; `None` before it is read.
    key: Option<bool>,
    /// The packet contains a part of a picture.
    picture: bool,
}

impl Look {
    /// Reads an OBU by its header byte and the bytes after it (AV1 bitstream specification, section 5.3).
    #[inline]
    fn obu(&mut self, head: u8, body: &[u8]) {
        let kind = head >> 3 & 0x0f;
        let (spatial_id, body) = match (head & 0x04 != 0, body.split_first()) {
            (false, _) => (0, body),
            (true, Some((&extension, body))) => (extension >> 3 & 0x03, body),
            (true, None) => (0, body),
        };
        // obu_has_size_field: the AV1 RTP specification asks senders to omit it, and not all do.
        let body = match head & 0x02 != 0 {
            true => leb128(body).map_or(&[][..], |(_, behind)| behind),
            false => body,
        };
        match kind {
            SEQUENCE_HEADER => {
                self.sequence_header = true;
                // Section 5.5.1: seq_profile (3 bits), still_picture, reduced_still_picture_header.
                self.still = body.first().is_some_and(|b| b & 0x08 != 0);
            }
            FRAME_HEADER | FRAME => {
                self.picture = true;
                self.frame = true;
                if self.key.is_none() {
                    self.key = body.first().map(|b| spatial_id == 0 && self.is_key(*b));
                }
            }
            TILE_GROUP | TILE_LIST => self.picture = true,
            _ => {}
        }
    }

    /// Section 5.9.2: show_existing_frame (it shows an earlier frame again), frame_type (0 is KEY_FRAME), show_frame.
    /// A key frame that is not shown keeps other references, so a decoder cannot begin with it.
    fn is_key(&self, first: u8) -> bool {
        self.still || (first & 0x80 == 0 && first >> 5 & 0x03 == 0 && first & 0x10 != 0)
    }
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

    /// OBU_FRAME, then show_existing_frame 0, frame_type KEY_FRAME, show_frame 1.
    const KEY: [u8; 2] = [0x30, 0x10];
    /// The same with frame_type INTER_FRAME.
    const INTER: [u8; 2] = [0x30, 0x30];

    #[test]
    fn the_frame_itself_says_that_it_is_a_key_frame() {
        assert_eq!(flags(&[0x18, KEY[0], KEY[1]]), (true, true), "with N");
        assert_eq!(flags(&[0x10, KEY[0], KEY[1]]), (true, true), "without");
        assert_eq!(flags(&[0x18, INTER[0], INTER[1]]), (false, true), "N on every picture");
        assert_eq!(flags(&[0x18, 0x30, 0x50]), (false, true), "INTRA_ONLY_FRAME");
        assert_eq!(flags(&[0x18, 0x18, 0x90]), (false, true), "show_existing_frame");
        assert_eq!(flags(&[0x18, 0x30, 0x00]), (false, true), "not shown");
        assert_eq!(flags(&[0x98, 0x30, 0x10]), (false, false), "a continuation");
        assert_eq!(flags(&[0x18, 0x34, 0x08, 0x10]), (false, true), "spatial layer 1");
        assert_eq!(flags(&[0x18, 0x34, 0x00, 0x10]), (true, true), "spatial layer 0");
        assert_eq!(flags(&[0x18, 0x32, 0x05, 0x10]), (true, true), "behind its size");
    }

    #[test]
    fn a_sequence_header_before_every_picture_makes_none_a_key_frame() {
        assert_eq!(flags(&[0x20, 2, 0x08, 0, INTER[0], INTER[1]]), (false, true));
        assert_eq!(flags(&[0x20, 2, 0x08, 0, KEY[0], KEY[1]]), (true, true));
        assert_eq!(flags(&[0x00, 2, 0x08, 0, 2, KEY[0], KEY[1]]), (true, true), "without W");
        assert_eq!(flags(&[0x20, 2, 0x08, 0x18, 0x30, 0xff]), (true, true), "a still picture");
        let alone = inspect(&[0x18, 0x08, 1]);
        assert!(alone.lead && alone.parameter_sets && alone.frame_start && !alone.keyframe_start);
        assert!(!inspect(&[0x20, 2, 0x08, 0, INTER[0], INTER[1]]).lead);
        assert!(!inspect(&[0xa0, 1, 0x08, 0x08, 1]).lead, "behind a fragment");
    }

    #[test]
    fn where_the_frame_header_is_cut_off_hints_count() {
        assert_eq!(flags(&[0x18, 0x30]), (true, true), "N");
        assert_eq!(flags(&[0x20, 2, 0x08, 0, 0x30]), (true, true), "sequence header");
        assert_eq!(flags(&[0x10, 0x30]), (false, true));
    }

    #[test]
    fn continued_obus_are_not_taken_for_headers() {
        assert_eq!(flags(&[0x90, 0x08, 1]), (false, false));
        assert_eq!(flags(&[0xa0, 1, 0x08, 0x30, 1]), (false, true), "a frame behind the fragment");
    }

    #[test]
    fn invalid_lengths_end_the_reading() {
        assert_eq!(flags(&[0x00, 9, 0x08]), (false, false));
        assert_eq!(flags(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0x08]), (false, false));
        assert_eq!(flags(&[0x00, 0, 0, 0, 0, 0]), (false, false), "empty elements");
    }
}

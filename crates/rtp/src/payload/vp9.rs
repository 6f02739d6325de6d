//! VP9 payload descriptor (RFC 9628 section 4.2), as far as layers and frame bounds are concerned. References between
//! frames and the scalability structure are left to the decoder.

use super::{PayloadInfo, PictureId, picture_id};

/// The fields of the descriptor. Offsets are in bytes within the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp9Fields {
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX (non-flexible mode): its offset and value.
    pub tl0_pic_idx: Option<(u8, u8)>,
    /// Temporal layer; 0 if there are none.
    pub tid: u8,
    /// Spatial layer; 0 if there are none.
    pub sid: u8,
    /// U bit: a receiver may switch up to this temporal layer here.
    pub switching_up: bool,
    /// D bit: depends on the lower spatial layer of the same picture.
    pub inter_layer: bool,
    /// P bit: depends on earlier pictures.
    pub inter_picture: bool,
    /// B bit: first packet of a frame of this spatial layer.
    pub begins_frame: bool,
    /// E bit: last packet of a frame of this spatial layer.
    pub ends_frame: bool,
    /// Z bit: no higher spatial layer refers to this frame.
    pub non_reference: bool,
    /// F bit: flexible mode.
    pub flexible: bool,
    /// V bit: contains the scalability structure.
    pub has_structure: bool,
}

/// Reads the first bytes of a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let Some((fields, at)) = read(payload) else { return PayloadInfo::default() };
    let frame_start = fields.begins_frame && fields.sid == 0;
    PayloadInfo {
        keyframe_start: frame_start && is_key_frame(payload, &fields, at),
        frame_start,
        frame_end: fields.ends_frame,
        vp9: Some(fields),
        ..PayloadInfo::default()
    }
}

/// Whether the frame that begins in this packet is a key frame. `at` is the end of the layer indices.
///
/// The frame's own header decides. The P bit (RFC 9628 section 4.2) is only the packetizer's view: some write P 0 in
/// every packet. It is used only if the header cannot be read, as in media that is encrypted end to end.
#[inline]
fn is_key_frame(payload: &[u8], fields: &Vp9Fields, at: usize) -> bool {
    let frame = frame_at(payload, fields, at).and_then(|at| payload.get(at..));
    frame.and_then(names_key_frame).unwrap_or(!fields.inter_picture)
}

/// Reads the uncompressed header (VP9 bitstream specification, section 6.2); `None` if it is invalid or cut off.
#[inline]
fn names_key_frame(frame: &[u8]) -> Option<bool> {
    const SYNC_CODE: u32 = 0x49_8342;
    let first = u32::from(*frame.first()?);
    // frame_marker is 2.
    if first >> 6 != 2 {
        return None;
    }
    // Two bits of profile, low bit first; profile 3 has a reserved bit after them, which is 0.
    let shift = usize::from(first >> 4 & 0x03 == 3);
    if shift == 1 && first & 0x08 != 0 {
        return None;
    }
    // show_existing_frame: it shows an earlier frame again. frame_type: 0 is KEY_FRAME. An intra-only frame has the
    // other type: later frames may use earlier references, which a decoder that begins here does not have.
    let (shows_existing, inter) = (first << shift & 0x08 != 0, first << shift & 0x04 != 0);
    if shows_existing || inter {
        return Some(false);
    }
    let &[a, b, c, d] = frame.get(1..)?.first_chunk()?;
    let behind = u32::from_be_bytes([a, b, c, d]);
    // Without the sync code these bits are not a header.
    (behind >> (8 - shift) & 0xff_ffff == SYNC_CODE).then_some(true)
}

/// Position of the frame, after reference indices and scalability structure (RFC 9628 section 4.2).
#[inline]
fn frame_at(payload: &[u8], fields: &Vp9Fields, mut at: usize) -> Option<usize> {
    if fields.flexible && fields.inter_picture {
        // P_DIFF, up to three; the low bit says that another one follows.
        for _ in 0..3 {
            at += 1;
            if payload.get(at - 1)? & 0x01 == 0 {
                break;
            }
        }
    }
    if !fields.has_structure {
        return Some(at);
    }
    // RFC 9628 section 4.2.1: N_S Y G, a size for each spatial layer, N_G pictures with R indices each.
    let head = *payload.get(at)?;
    at += 1;
    if head & 0x10 != 0 {
        at += 4 * (usize::from(head >> 5) + 1);
    }
    if head & 0x08 != 0 {
        let pictures = *payload.get(at)?;
        at += 1;
        for _ in 0..pictures {
            at += 1 + usize::from(payload.get(at)? >> 2 & 0x03);
        }
    }
    Some(at)
}

/// Reads the descriptor up to the layer indices; `None` if the payload ends inside them.
#[inline]
pub fn parse(payload: &[u8]) -> Option<Vp9Fields> {
    read(payload).map(|(fields, _)| fields)
}

/// Reads the descriptor up to the layer indices, and returns their end.
#[inline]
fn read(payload: &[u8]) -> Option<(Vp9Fields, usize)> {
    let first = *payload.first()?;
    let mut fields = Vp9Fields {
        inter_picture: first & 0x40 != 0,
        flexible: first & 0x10 != 0,
        begins_frame: first & 0x08 != 0,
        ends_frame: first & 0x04 != 0,
        has_structure: first & 0x02 != 0,
        non_reference: first & 0x01 != 0,
        ..Vp9Fields::default()
    };
    let mut at = 1;
    if first & 0x80 != 0 {
        let id = picture_id(payload, at)?;
        at += id.len();
        fields.picture_id = Some(id);
    }
    if first & 0x20 != 0 {
        let layer = *payload.get(at)?;
        at += 1;
        fields.tid = layer >> 5;
        fields.switching_up = layer & 0x10 != 0;
        fields.sid = layer >> 1 & 0x07;
        fields.inter_layer = layer & 0x01 != 0;
        if !fields.flexible {
            fields.tl0_pic_idx = Some((at as u8, *payload.get(at)?));
            at += 1;
        }
    }
    payload.get(at)?;
    Some((fields, at))
}

/// Writes picture id and TL0PICIDX where the descriptor has them; its length is not changed. `fields` must be those of
/// the same payload. A 7-bit picture id keeps the low seven bits of `picture_id`.
#[inline]
pub fn rewrite_picture(payload: &mut [u8], fields: &Vp9Fields, picture_id: u16, tl0_pic_idx: u8) {
    if let Some(id) = fields.picture_id {
        id.rewrite(payload, picture_id);
    }
    if let Some((offset, _)) = fields.tl0_pic_idx
        && let Some(place) = payload.get_mut(usize::from(offset))
    {
        *place = tl0_pic_idx;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_flexible_mode_has_tl0picidx() {
        // I L B, 15-bit id 1, TID 1 U SID 0 D, TL0 7.
        let mut payload = [0xa8, 0x80, 0x01, 0x31, 0x07, 0x1a];
        let info = inspect(&payload);
        assert!(info.keyframe_start && info.frame_start && !info.frame_end);
        let fields = info.vp9.unwrap();
        assert_eq!((fields.tid, fields.sid), (1, 0));
        assert!(fields.switching_up && fields.inter_layer && !fields.flexible);
        assert_eq!(fields.tl0_pic_idx, Some((4, 7)));
        rewrite_picture(&mut payload, &fields, 300, 8);
        assert_eq!(payload, [0xa8, 0x81, 0x2c, 0x31, 0x08, 0x1a]);
    }

    #[test]
    fn flexible_mode_has_none() {
        // I P L F E, 7-bit id, TID 2 SID 1.
        let info = inspect(&[0xf4, 0x05, 0x42, 0xaa, 0xbb]);
        let fields = info.vp9.unwrap();
        assert_eq!((fields.tid, fields.sid, fields.tl0_pic_idx), (2, 1, None));
        assert_eq!(fields.picture_id.unwrap().value, 5);
        assert!(info.frame_end && !info.frame_start && !info.keyframe_start);
    }

    /// Uncompressed headers: frame_marker, profile 0, then frame_type, show_frame, sync code.
    const KEY: [u8; 5] = [0x82, 0x49, 0x83, 0x42, 0];
    const INTER: [u8; 5] = [0x86, 0, 0x40, 0x92, 0x9c];
    /// frame_type 1, show_frame 0, intra_only 1, then the sync code.
    const INTRA_ONLY: [u8; 5] = [0x84, 0x92, 0x49, 0x83, 0x42];
    const SHOWS_EXISTING: [u8; 1] = [0x88];

    fn starts(descriptor: &[u8], frame: &[u8]) -> bool {
        inspect(&[descriptor, frame].concat()).keyframe_start
    }

    #[test]
    fn the_frame_itself_says_that_it_is_a_key_frame() {
        assert!(starts(&[0x08], &KEY));
        assert!(starts(&[0x48], &KEY), "whatever P says");
        assert!(!starts(&[0x08], &INTER), "P 0 on every packet");
        assert!(!starts(&[0x08], &INTRA_ONLY), "earlier references stay in use");
        assert!(!starts(&[0x08], &SHOWS_EXISTING));
        assert!(!starts(&[0x38, 0x02], &KEY), "SID 1");
        assert!(!starts(&[0x00], &KEY), "not the first packet");
    }

    #[test]
    fn profile_3_has_a_reserved_bit_in_front() {
        // Marker 10, profile 11, reserved 0, show_existing 0, type 0, show 1; error 0, then the sync code.
        let sync = (0x49_8342u32 << 7).to_be_bytes();
        assert!(starts(&[0x08], &[&[0xb1], &sync[..], &[0]].concat()));
        assert!(!starts(&[0x08], &[0xb3, 0, 0, 0, 0]), "type 1");
    }

    #[test]
    fn the_frame_stands_behind_references_and_structure() {
        // F P, TID SID, two P_DIFF.
        assert!(starts(&[0x78, 0x00, 0x03, 0x02], &KEY));
        assert!(!starts(&[0x78, 0x00, 0x03, 0x02], &INTER));
        // V: two layers with sizes, two pictures with one and no index.
        let structure = [0x0a, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0x04, 9, 0x00];
        assert!(starts(&structure, &KEY));
        assert!(!starts(&structure, &INTER));
        assert!(!starts(&[0x4a, 0x38, 1, 2], &[]), "cut off: P counts");
    }

    #[test]
    fn where_the_frame_cannot_be_read_its_descriptor_counts() {
        for encrypted in [&[0x12, 0x34, 0x56][..], &[0x82, 1, 2, 3, 4], &[0x82]] {
            assert!(starts(&[0x08], encrypted), "{encrypted:02x?}");
            assert!(!starts(&[0x48], encrypted), "{encrypted:02x?}");
        }
    }

    #[test]
    fn a_cut_descriptor_gives_no_information() {
        let full = [0xa8, 0x80, 0x01, 0x31, 0x07];
        for len in 0..=full.len() {
            assert_eq!(inspect(&full[..len]), PayloadInfo::default(), "{len}");
        }
    }
}

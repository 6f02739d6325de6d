//! VP9 payload descriptor (RFC 9628 section 4.2), as far as layers and frame bounds go. References between frames
//! and the scalability structure are left to the decoder.

use super::{PayloadInfo, PictureId, picture_id};

/// What the descriptor holds. Offsets are in bytes within the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp9Fields {
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX (non-flexible mode): its offset and value.
    pub tl0_pic_idx: Option<(u8, u8)>,
    /// Temporal layer; 0 where there are none.
    pub tid: u8,
    /// Spatial layer; 0 where there are none.
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
    /// V bit: carries the scalability structure.
    pub has_structure: bool,
}

/// Looks at a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let Some(fields) = parse(payload) else { return PayloadInfo::default() };
    let frame_start = fields.begins_frame && fields.sid == 0;
    PayloadInfo {
        // RFC 9628 section 4.2: P 0 says that no earlier picture is needed; in the base layer that is a key frame.
        keyframe_start: frame_start && !fields.inter_picture,
        frame_start,
        frame_end: fields.ends_frame,
        vp9: Some(fields),
        ..PayloadInfo::default()
    }
}

/// Reads the descriptor up to the layer indices; `None` when the payload ends inside them.
#[inline]
pub fn parse(payload: &[u8]) -> Option<Vp9Fields> {
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
    Some(fields)
}

/// Writes picture id and TL0PICIDX where the descriptor has them; its length stays. `fields` come from the same
/// payload. A 7-bit picture id keeps the low seven bits of `picture_id`.
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
        let mut payload = [0xa8, 0x80, 0x01, 0x31, 0x07, 0xaa];
        let info = inspect(&payload);
        assert!(info.keyframe_start && info.frame_start && !info.frame_end);
        let fields = info.vp9.unwrap();
        assert_eq!((fields.tid, fields.sid), (1, 0));
        assert!(fields.switching_up && fields.inter_layer && !fields.flexible);
        assert_eq!(fields.tl0_pic_idx, Some((4, 7)));
        rewrite_picture(&mut payload, &fields, 300, 8);
        assert_eq!(payload, [0xa8, 0x81, 0x2c, 0x31, 0x08, 0xaa]);
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

    #[test]
    fn only_the_base_layer_starts_a_key_frame() {
        assert!(inspect(&[0x08, 0xaa]).keyframe_start);
        assert!(!inspect(&[0x48, 0xaa]).keyframe_start, "P: refers to earlier pictures");
        assert!(!inspect(&[0x38, 0x02, 0xaa]).keyframe_start, "SID 1");
        assert!(!inspect(&[0x00, 0xaa]).keyframe_start, "not the first packet");
    }

    #[test]
    fn a_cut_descriptor_tells_nothing() {
        let full = [0xa8, 0x80, 0x01, 0x31, 0x07];
        for len in 0..=full.len() {
            assert_eq!(inspect(&full[..len]), PayloadInfo::default(), "{len}");
        }
    }
}

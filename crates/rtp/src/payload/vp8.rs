//! VP8 payload descriptor (RFC 7741 section 4.2): reads it, and rewrites picture id and TL0PICIDX in place.

use super::{PayloadInfo, PictureId, picture_id};

/// The fields of the descriptor. Offsets are in bytes within the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp8Fields {
    /// PictureID.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: its offset and value.
    pub tl0_pic_idx: Option<(u8, u8)>,
    /// Temporal layer; 0 if there are none.
    pub tid: u8,
    /// Y bit: depends on the base layer only, so a receiver may switch up here.
    pub layer_sync: bool,
    /// N bit: no other frame refers to this one, so it can be dropped.
    pub non_reference: bool,
    /// Length of the descriptor in bytes; the VP8 data begins there.
    pub descriptor_len: u8,
}

/// Reads the first bytes of a payload.
#[inline]
pub fn inspect(payload: &[u8]) -> PayloadInfo {
    let Some(fields) = parse(payload) else { return PayloadInfo::default() };
    // RFC 7741 section 4.2: S is the start of a partition, and partition 0 starts the frame.
    let frame_start = payload.first().is_some_and(|&b| b & 0x10 != 0 && b & 0x07 == 0);
    // RFC 7741 section 4.3: the P bit of the payload header is 0 in a key frame; only partition 0 has that header.
    let key = payload.get(usize::from(fields.descriptor_len)).is_some_and(|&b| b & 0x01 == 0);
    PayloadInfo {
        keyframe_start: frame_start && key,
        frame_start,
        vp8: Some(fields),
        ..PayloadInfo::default()
    }
}

/// Reads the descriptor; `None` if the payload ends inside it or directly after it.
#[inline]
pub fn parse(payload: &[u8]) -> Option<Vp8Fields> {
    let first = *payload.first()?;
    let mut fields =
        Vp8Fields { non_reference: first & 0x20 != 0, descriptor_len: 1, ..Vp8Fields::default() };
    let mut at = 1;
    if first & 0x80 != 0 {
        let has = *payload.get(1)?;
        at = 2;
        if has & 0x80 != 0 {
            let id = picture_id(payload, at)?;
            at += id.len();
            fields.picture_id = Some(id);
        }
        if has & 0x40 != 0 {
            fields.tl0_pic_idx = Some((at as u8, *payload.get(at)?));
            at += 1;
        }
        if has & 0x30 != 0 {
            let layer = *payload.get(at)?;
            at += 1;
            // The byte is shared: TID and Y are valid only with the T bit, KEYIDX only with the K bit.
            if has & 0x20 != 0 {
                fields.tid = layer >> 6;
                fields.layer_sync = layer & 0x20 != 0;
            }
        }
    }
    // A descriptor without data after it contains no picture.
    payload.get(at)?;
    fields.descriptor_len = at as u8;
    Some(fields)
}

/// Writes picture id and TL0PICIDX where the descriptor has them; its length is not changed. `fields` must be those of
/// the same payload. A 7-bit picture id keeps the low seven bits of `picture_id`.
#[inline]
pub fn rewrite_picture(payload: &mut [u8], fields: &Vp8Fields, picture_id: u16, tl0_pic_idx: u8) {
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
    fn a_full_descriptor_reads_field_by_field() {
        // X N S; I L T K; 15-bit id 0x1234; TL0 0x56; TID 2, Y, KEYIDX 9; key frame.
        let payload = [0xb0, 0xf0, 0x92, 0x34, 0x56, 0xa9, 0x10, 0x02];
        let info = inspect(&payload);
        assert!(info.keyframe_start && info.frame_start);
        let fields = info.vp8.unwrap();
        let id = fields.picture_id.unwrap();
        assert_eq!((id.offset, id.is_15_bit, id.value), (2, true, 0x1234));
        assert_eq!(fields.tl0_pic_idx, Some((4, 0x56)));
        assert_eq!((fields.tid, fields.layer_sync, fields.non_reference), (2, true, true));
        assert_eq!(fields.descriptor_len, 6);
    }

    #[test]
    fn key_frames_start_in_partition_0_with_p_clear() {
        assert!(inspect(&[0x10, 0x00]).keyframe_start);
        assert!(!inspect(&[0x10, 0x01]).keyframe_start, "an inter frame");
        assert!(inspect(&[0x10, 0x01]).frame_start);
        assert!(!inspect(&[0x00, 0x00]).frame_start, "a later packet of the partition");
        assert!(!inspect(&[0x11, 0x00]).frame_start, "partition 1");
    }

    #[test]
    fn tid_counts_only_with_its_bit() {
        let fields = parse(&[0x80, 0x10, 0xff, 0x00]).unwrap();
        assert_eq!((fields.tid, fields.layer_sync, fields.descriptor_len), (0, false, 3));
    }

    #[test]
    fn rewriting_keeps_the_length_of_ids() {
        let mut long = [0x90, 0xc0, 0x80, 0x01, 0x02, 0xaa];
        let fields = parse(&long).unwrap();
        rewrite_picture(&mut long, &fields, 0x7fff, 0x77);
        assert_eq!(long, [0x90, 0xc0, 0xff, 0xff, 0x77, 0xaa]);

        let mut short = [0x90, 0xc0, 0x01, 0x02, 0xaa];
        let fields = parse(&short).unwrap();
        rewrite_picture(&mut short, &fields, 0x0185, 0x78);
        assert_eq!(short, [0x90, 0xc0, 0x05, 0x78, 0xaa]);

        // Fields of another, longer payload have no effect.
        rewrite_picture(&mut short[..2], &fields, 9, 9);
        assert_eq!(short[..2], [0x90, 0xc0]);
    }

    #[test]
    fn a_descriptor_without_data_is_none() {
        let full = [0xb0, 0xf0, 0x92, 0x34, 0x56, 0xa9];
        for len in 0..=full.len() {
            assert_eq!(parse(&full[..len]), None, "{len}");
        }
    }
}

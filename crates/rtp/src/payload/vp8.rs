//! VP8 payload descriptor (RFC 7741 section 4.2): read, and picture id and TL0PICIDX rewritten in place.

use super::{PayloadInfo, PictureId, picture_id};

/// What the descriptor holds. Offsets are in bytes within the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vp8Fields {
    /// PictureID.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: its offset and value.
    pub tl0_pic_idx: Option<(u8, u8)>,
    /// Temporal layer; 0 where there are none.
    pub tid: u8,
    /// Y bit: depends on the base layer only, so a receiver may switch up here.
    pub layer_sync: bool,
    /// N bit: no other frame refers to this one, so it can be left out.
    pub non_reference: bool,
    /// Length of the descriptor in bytes; the VP8 data begins there.
    pub descriptor_len: u8,
}

/// Looks at a payload.
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

/// Reads the descriptor; `None` when the payload ends inside it or right behind it.
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
            // The byte is shared: TID and Y count only with the T bit, KEYIDX only with the K bit.
            if has & 0x20 != 0 {
                fields.tid = layer >> 6;
                fields.layer_sync = layer & 0x20 != 0;
            }
        }
    }
    // A descriptor with nothing behind it carries no picture.
    payload.get(at)?;
    fields.descriptor_len = at as u8;
    Some(fields)
}

/// Writes picture id and TL0PICIDX where the descriptor has them; its length stays. `fields` come from the same
/// payload. A 7-bit picture id keeps the low seven bits of `picture_id`.
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

//! Redundant audio (RFC 2198): the primary block, for subscribers that take plain Opus.

use model::Pt;

/// The primary block's payload type and data: what the packet would have been without redundancy. `None` when the
/// blocks do not add up.
#[inline]
pub fn primary(payload: &[u8]) -> Option<(Pt, &[u8])> {
    let mut rest = payload;
    let mut redundant = 0;
    loop {
        let (&head, behind) = rest.split_first()?;
        let pt = Pt(head & 0x7f);
        if head & 0x80 == 0 {
            // RFC 2198 section 3: the header of the primary block comes last and has no length; its data is the rest.
            return Some((pt, behind.get(redundant..)?));
        }
        let (&[_, high, low], behind) = behind.split_first_chunk::<3>()?;
        // 14 bits of timestamp offset, 10 bits of length.
        redundant += usize::from(u16::from_be_bytes([high & 0x03, low]));
        rest = behind;
    }
}

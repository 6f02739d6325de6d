//! Redundant audio (RFC 2198): the primary block, for subscribers that receive plain Opus.

use model::Pt;

/// The primary block's payload type and data: the packet without redundancy. `None` if the lengths of the blocks are
/// invalid.
#[inline]
pub fn primary(payload: &[u8]) -> Option<(Pt, &[u8])> {
    let mut rest = payload;
    let mut redundant = 0;
    loop {
        let (&head, behind) = rest.split_first()?;
        let pt = Pt(head & 0x7f);
        if head & 0x80 == 0 {
            // RFC 2198 section 3: the header of the primary block is the last one and has no length; its data is the
            // rest.
            return Some((pt, behind.get(redundant..)?));
        }
        let (&[_, high, low], behind) = behind.split_first_chunk::<3>()?;
        // 14 bits of timestamp offset, 10 bits of length.
        redundant += usize::from(u16::from_be_bytes([high & 0x03, low]));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_block_is_the_last() {
        // Two redundant blocks of 2 and 1 bytes, then the primary of payload type 111.
        let payload = [0xef, 0, 0, 2, 0xef, 0, 0, 1, 111, 1, 1, 2, 3, 4, 5];
        assert_eq!(primary(&payload), Some((Pt(111), &[3, 4, 5][..])));
        assert_eq!(primary(&[111, 9]), Some((Pt(111), &[9][..])), "no redundancy");
    }

    #[test]
    fn blocks_with_invalid_lengths_give_none() {
        assert_eq!(primary(&[]), None);
        assert_eq!(primary(&[0xef, 0, 0]), None);
        assert_eq!(primary(&[0xef, 0, 0, 2]), None, "no primary block");
        assert_eq!(primary(&[0xef, 0, 0x03, 0xff, 111, 1]), None, "1,023 bytes in one");
    }
}

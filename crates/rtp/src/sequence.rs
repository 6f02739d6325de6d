//! 16-bit sequence numbers and 32-bit timestamps, extended to 64 bits that never wrap. Gaps and statistics are not
//! handled here.

/// An extended sequence number: the low 16 bits are those in the packet, the bits above are the rollover counter of
/// RFC 3711 section 3.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ExtSeq(pub u64);

impl ExtSeq {
    /// The number in the packet.
    #[inline]
    pub const fn low(self) -> u16 {
        self.0 as u16
    }

    /// Rollover counter, as SRTP uses it.
    #[inline]
    pub const fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The number nearest to this one whose low bits are `sequence`, see [`extend`].
    #[inline]
    pub const fn extend(self, sequence: u16) -> ExtSeq {
        ExtSeq(extend(self.0, sequence))
    }

    /// The number after this one.
    #[inline]
    pub const fn next(self) -> ExtSeq {
        ExtSeq(self.0 + 1)
    }
}

/// The number nearest to `last` whose low 16 bits are `sequence`: at most 32,767 after it and 32,768 before it (the
/// RFC 3711 section 3.3.1 estimate of the index). If it would be below 0, the next one after `last` is returned; a
/// receiver that may see packets older than its first one starts at `0x1_0000 + sequence`.
#[inline]
pub const fn extend(last: u64, sequence: u16) -> u64 {
    let step = sequence.wrapping_sub(last as u16) as i16;
    match last.checked_add_signed(step as i64) {
        Some(number) => number,
        None => last.wrapping_add(sequence.wrapping_sub(last as u16) as u64),
    }
}

/// As [`extend`], for 32-bit timestamps.
#[inline]
pub const fn extend_timestamp(last: u64, timestamp: u32) -> u64 {
    let step = timestamp.wrapping_sub(last as u32) as i32;
    match last.checked_add_signed(step as i64) {
        Some(number) => number,
        None => last.wrapping_add(timestamp.wrapping_sub(last as u32) as u64),
    }
}

/// Whether `a` is after `b` modulo 2^16.
#[inline]
pub const fn is_newer(a: u16, b: u16) -> bool {
    (a.wrapping_sub(b) as i16) > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequence_numbers_unroll_over_the_wrap_in_both_directions() {
        assert_eq!(extend(65_535, 0), 65_536);
        assert_eq!(extend(65_536, 65_535), 65_535);
        assert_eq!(extend(0x1_0005, 0x0001), 0x1_0001);
        assert_eq!(ExtSeq(0x2_fffe).extend(3), ExtSeq(0x3_0003));
        assert_eq!(ExtSeq(0x3_0003).roc(), 3);
        assert_eq!(ExtSeq(0x3_0003).low(), 3);
    }

    #[test]
    fn a_number_before_zero_is_the_next_one_instead() {
        assert_eq!(extend(5, 65_530), 65_530);
        assert_eq!(extend_timestamp(5, u32::MAX), u64::from(u32::MAX));
    }

    #[test]
    fn newer_is_half_the_circle() {
        assert!(is_newer(0, 65_535));
        assert!(!is_newer(65_535, 0));
        assert!(!is_newer(7, 7));
    }

    proptest! {
        #[test]
        fn extending_finds_the_nearest(last in 70_000u64..u64::MAX / 2, step in -32_768i64..=32_767) {
            let number = last.wrapping_add_signed(step);
            prop_assert_eq!(extend(last, number as u16), number);
        }

        #[test]
        fn extending_timestamps_finds_the_nearest(last in (1u64 << 33)..u64::MAX / 2, step in i32::MIN..=i32::MAX) {
            let number = last.wrapping_add_signed(i64::from(step));
            prop_assert_eq!(extend_timestamp(last, number as u32), number);
        }
    }
}

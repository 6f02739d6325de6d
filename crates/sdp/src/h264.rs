//! H.264 profiles in SDP: what a `profile-level-id` means, and which streams a decoder takes.
//! Levels are not compared: the node cannot re-encode, and browsers allow level asymmetry.

/// A profile by the rows of RFC 6184 table 5. Constraint flags say what a stream makes no use of, so they only ever narrow a profile: where
/// they do not name a row of their own (interlaced coding that is left out, B slices but not others) they are passed over. Hardware encoders
/// set them as they like: `4d4c28` is Main, `641028` is High.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Constrained Baseline
    ConstrainedBaseline,
    /// Baseline
    Baseline,
    /// Main
    Main,
    /// Extended
    Extended,
    /// High
    High,
    /// Constrained High (no B slices)
    ConstrainedHigh,
    /// Any other `profile_idc`; with constraint_set3_flag its intra profile (ITU-T H.264 annex A.2.8 and up).
    Other {
        /// `profile_idc`
        idc: u8,
        /// All pictures are intra pictures.
        intra: bool,
    },
}

/// The profile when the parameter is absent: Baseline (RFC 6184 section 8.1).
pub const DEFAULT_PROFILE: Profile = Profile::Baseline;

impl Profile {
    /// Reads the six hexadecimal digits of a `profile-level-id`. `None` when they are none.
    pub fn parse(text: &str) -> Option<Profile> {
        if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u32::from_str_radix(text, 16).ok()?;
        let (idc, flags) = ((value >> 16) as u8, (value >> 8) as u8);
        // ITU-T H.264 section 7.4.2.1.1: constraint_set0_flag is the highest bit.
        let set = |n: u8| flags & (0x80 >> n) != 0;
        Some(match idc {
            0x42 if set(1) => Profile::ConstrainedBaseline,
            0x42 => Profile::Baseline,
            0x4d if set(0) => Profile::ConstrainedBaseline,
            0x4d => Profile::Main,
            0x58 if set(0) && set(1) => Profile::ConstrainedBaseline,
            0x58 if set(0) => Profile::Baseline,
            0x58 => Profile::Extended,
            // Annex A.2.4.2: both flags; one of them alone is Progressive High, which every High decoder takes.
            0x64 if set(4) && set(5) => Profile::ConstrainedHigh,
            0x64 => Profile::High,
            idc => Profile::Other { idc, intra: set(3) },
        })
    }

    /// A number below 512 for each profile: twice its `profile_idc`, and one more for the second that has the same.
    pub(crate) fn number(self) -> u16 {
        let (idc, second) = match self {
            Profile::ConstrainedBaseline => (0x42, true),
            Profile::Baseline => (0x42, false),
            Profile::Main => (0x4d, false),
            Profile::Extended => (0x58, false),
            Profile::High => (0x64, false),
            Profile::ConstrainedHigh => (0x64, true),
            Profile::Other { idc, intra } => (idc, intra),
        };
        u16::from(idc) << 1 | u16::from(second)
    }

    /// How well a decoder of profile `self` takes a stream of `stream`: 0 exact, higher is worse, `None` not at all.
    pub fn takes(self, stream: Profile) -> Option<u8> {
        use Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        match (stream, self) {
            (a, b) if a == b => Some(0),
            // Baseline differs from Constrained Baseline by slice groups, arbitrary slice order and redundant
            // slices, which no encoder for real time uses: 42001f and 42e01f name the same streams.
            (ConstrainedBaseline, Baseline) | (Baseline, ConstrainedBaseline) => Some(1),
            // ITU-T H.264 annex A.2: these decoders decode those streams.
            (ConstrainedHigh, High) => Some(1),
            (ConstrainedBaseline, Main) => Some(2),
            (ConstrainedBaseline, High | ConstrainedHigh) | (Main, High) => Some(3),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_follow_table_5() {
        for (text, profile) in [
            ("42e01f", Profile::ConstrainedBaseline),
            ("42c015", Profile::ConstrainedBaseline),
            ("4D8028", Profile::ConstrainedBaseline),
            ("58c01f", Profile::ConstrainedBaseline),
            ("42001f", Profile::Baseline),
            ("4d001f", Profile::Main),
            ("4d4028", Profile::Main),
            ("58001e", Profile::Extended),
            ("64001f", Profile::High),
            ("640c1f", Profile::ConstrainedHigh),
            ("4d4c28", Profile::Main),
            ("4d4828", Profile::Main),
            ("64081f", Profile::High),
            ("641028", Profile::High),
            ("42f01f", Profile::ConstrainedBaseline),
            ("420c1f", Profile::Baseline),
            ("f4001f", Profile::Other { idc: 0xf4, intra: false }),
            ("6e1028", Profile::Other { idc: 0x6e, intra: true }),
        ] {
            assert_eq!(Profile::parse(text), Some(profile), "{text}");
        }
        for bad in ["", "42e0", "42e01g", "42e01f00", "+2e01f"] {
            assert_eq!(Profile::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn larger_decoders_take_smaller_streams_and_not_the_reverse() {
        let p = |t| Profile::parse(t).unwrap();
        assert_eq!(p("42001f").takes(p("42e01f")), Some(1));
        assert_eq!(p("42e01f").takes(p("42001f")), Some(1));
        assert_eq!(p("64001f").takes(p("42e01f")), Some(3));
        assert_eq!(p("64001f").takes(p("4d001f")), Some(3));
        assert_eq!(p("42e01f").takes(p("64001f")), None);
        assert_eq!(p("4d001f").takes(p("42001f")), None);
        assert_eq!(p("f4001f").takes(p("64001f")), None);
    }
}

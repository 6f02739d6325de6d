//! H.264 profiles in SDP: the meaning of a `profile-level-id`, and which streams a decoder takes. Levels are not
//! compared: the node cannot re-encode, and browsers allow level asymmetry.

/// A profile, as the rows of RFC 6184 table 5 define it. A constraint flag says that a stream does not use a feature,
/// so it only narrows a profile. Flags that do not select a row of their own (no interlaced coding, no B slices
/// without the other flag) are ignored, because hardware encoders set them arbitrarily: `4d4c28` is Main, `641028` is
/// High.
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
    /// Parses the six hexadecimal digits of a `profile-level-id`. `None` when the text is something else.
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
            // ITU-T H.264 annex A.2.4.2: Constrained High has both flags. One alone is Progressive High, which every
            // High decoder takes.
            0x64 if set(4) && set(5) => Profile::ConstrainedHigh,
            0x64 => Profile::High,
            idc => Profile::Other { idc, intra: set(3) },
        })
    }

    /// A number below 512 for each profile: twice its `profile_idc`, plus one for the second profile with the same
    /// `profile_idc`.
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

    /// How well a decoder of profile `self` takes a stream of profile `stream`: 0 is exact, higher is worse, `None` is
    /// not at all.
    pub fn takes(self, stream: Profile) -> Option<u8> {
        use Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        match (stream, self) {
            (a, b) if a == b => Some(0),
            // Baseline differs from Constrained Baseline by slice groups, arbitrary slice order and redundant slices,
            // which no real-time encoder uses: 42001f and 42e01f mean the same streams.
            (ConstrainedBaseline, Baseline) | (Baseline, ConstrainedBaseline) => Some(1),
            // ITU-T H.264 annex A.2: decoders of the first profile decode streams of the second.
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

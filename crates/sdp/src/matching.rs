//! Maps the payload types of a publisher to those of a viewer. The parameters that matter are parsed once, into a
//! [`Key`]: a long offer is matched with many others, and when its parameters were parsed each time, one request cost
//! a second.

use std::fmt;

use model::{Codec, CodecSpec, PtMapping};

use crate::fmtp::Parameters;
use crate::h264::{self, Profile};

/// The codec and those of its parameters that matter when a publisher is matched with a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    codec: Codec,
    variant: Variant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// No parameter matters.
    Only,
    /// `profile-id` of VP9 (RFC 9628 section 7: 0 to 3), `profile` of AV1 (specification section 6.4.1: 0 to 2).
    Profile(u8),
    /// `profile-id` and `tier-flag` of H.265 (ITU-T H.265 annex A: 1 to 11 so far).
    Tier(u8, bool),
    /// Profile, and whether `packetization-mode` is 1.
    H264(Profile, bool),
}

impl Key {
    /// The key of a codec with these parameters. `None` when they are invalid or not served. RFC 6184 section 8.2.2:
    /// mode 2 (interleaved) is not served.
    pub fn new(codec: Codec, fmtp: Parameters<'_>) -> Option<Key> {
        let number = |name, default, most: u8| {
            let number = u8::try_from(fmtp.number(name, default)?).ok();
            number.filter(|number| *number <= most)
        };
        let variant = match codec {
            Codec::Opus | Codec::Red | Codec::Vp8 => Variant::Only,
            Codec::Vp9 => Variant::Profile(number("profile-id", 0, 3)?),
            Codec::Av1 => Variant::Profile(number("profile", 0, 2)?),
            Codec::H265 => {
                Variant::Tier(number("profile-id", 1, 15)?, number("tier-flag", 0, 1)? == 1)
            }
            Codec::H264 => {
                let text = fmtp.value("profile-level-id");
                let profile = text.map_or(Some(h264::DEFAULT_PROFILE), Profile::parse)?;
                Variant::H264(profile, number("packetization-mode", 0, 1)? == 1)
            }
        };
        Some(Key { codec, variant })
    }

    fn of(codec: &CodecSpec) -> Option<Key> {
        Key::new(codec.codec, Parameters(&codec.fmtp))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec.as_str())?;
        match self.variant {
            Variant::Only => Ok(()),
            Variant::Profile(profile) | Variant::Tier(profile, false) => {
                write!(f, " of profile {profile}")
            }
            Variant::Tier(profile, true) => write!(f, " of profile {profile}, high tier"),
            Variant::H264(profile, mode) => {
                write!(f, " {profile:?} in packetization-mode {}", u8::from(mode))
            }
        }
    }
}

/// The keys of a list of codecs. `has` and `needs` are sets of keys: a publisher fits a viewer if one of the keys that
/// the publisher needs is among those that the viewer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    keys: Vec<Option<Key>>,
    has: Classes,
    needs: Classes,
}

impl Keyed {
    /// Computes the keys of the codecs.
    pub fn new(codecs: &[CodecSpec]) -> Self {
        let keys: Vec<Option<Key>> = codecs.iter().map(Key::of).collect();
        let (mut has, mut needs) = (Classes::default(), Classes::default());
        for key in keys.iter().flatten() {
            has.insert(*key);
            takers(*key, &mut |taker| needs.insert(taker));
        }
        Self { keys, has, needs }
    }

    /// Whether a viewer with these codecs can take any of our codecs. Costs a few instructions.
    pub fn fits(&self, viewer: &Keyed) -> bool {
        self.needs.meets(&viewer.has)
    }
}

/// A set of keys: one bit for each possible key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Classes {
    h264: [u64; 16],
    others: u64,
}

impl Classes {
    fn insert(&mut self, key: Key) {
        // Bits: Opus 0, RED 1, VP8 2, VP9 from 4, AV1 from 8, H.265 from 16.
        self.others |= 1
            << match (key.codec, key.variant) {
                (_, Variant::H264(profile, mode)) => {
                    let class = usize::from(profile.number()) << 1 | usize::from(mode);
                    self.h264[class / 64] |= 1 << (class % 64);
                    return;
                }
                (Codec::Vp9, Variant::Profile(profile)) => 4 + profile,
                (_, Variant::Profile(profile)) => 8 + profile,
                (_, Variant::Tier(profile, tier)) => 16 + (profile << 1 | u8::from(tier)),
                (Codec::Opus, _) => 0,
                (Codec::Red, _) => 1,
                (_, Variant::Only) => 2,
            };
    }

    fn meets(&self, other: &Classes) -> bool {
        let h264 = self.h264.iter().zip(&other.h264);
        self.others & other.others != 0 || h264.fold(0, |all, (a, b)| all | (a & b)) != 0
    }
}

/// Calls `tell` with each viewer's key that takes a publisher's codec, at most sixteen times.
fn takers(up: Key, tell: &mut dyn FnMut(Key)) {
    let mut offer = |codec, variant| {
        let down = Key { codec, variant };
        if fit(up, down).is_some() {
            tell(down);
        }
    };
    match up.variant {
        Variant::Only => [Codec::Opus, Codec::Red, Codec::Vp8]
            .into_iter()
            .for_each(|codec| offer(codec, Variant::Only)),
        Variant::Profile(_) => (0..=3).for_each(|n| offer(up.codec, Variant::Profile(n))),
        Variant::Tier(profile, _) => [profile, 2].into_iter().for_each(|profile| {
            [false, true]
                .into_iter()
                .for_each(|tier| offer(up.codec, Variant::Tier(profile, tier)));
        }),
        Variant::H264(profile, _) => {
            let named = [
                Profile::ConstrainedBaseline,
                Profile::Baseline,
                Profile::Main,
                Profile::High,
                Profile::ConstrainedHigh,
            ];
            for profile in named.into_iter().chain([profile]) {
                [false, true].into_iter().for_each(|m| offer(up.codec, Variant::H264(profile, m)));
            }
        }
    }
}

/// The payload type of the viewer for each payload type of a publisher. Payload types that the viewer cannot take are
/// left out; the list is empty when nothing fits.
pub fn map_payload_types(publisher: &[CodecSpec], viewer: &[CodecSpec]) -> Vec<PtMapping> {
    map_keyed((publisher, &Keyed::new(publisher)), (viewer, &Keyed::new(viewer)))
}

/// As [`map_payload_types`], with the keys of both lists.
pub fn map_keyed(
    (publisher, up_keys): (&[CodecSpec], &Keyed),
    (viewer, down_keys): (&[CodecSpec], &Keyed),
) -> Vec<PtMapping> {
    let best = |(up, key): (&CodecSpec, &Option<Key>)| {
        let key = (*key)?;
        let downs = viewer.iter().zip(&down_keys.keys);
        let ranked = downs.filter_map(|(down, other)| Some((fit(key, (*other)?)?, down)));
        let (_, down) = ranked.min_by_key(|&(rank, _)| rank)?;
        Some(PtMapping {
            up: up.pt,
            down: down.pt,
            down_rtx: down.rtx_pt,
            unwrap_red: up.codec == Codec::Red && down.codec == Codec::Opus,
            clock_rate: down.clock_rate,
        })
    };
    publisher.iter().zip(&up_keys.keys).filter_map(best).collect()
}

/// How well a viewer's codec takes a publisher's: 0 is exact, higher is worse, `None` is not at all.
fn fit(up: Key, down: Key) -> Option<u8> {
    // RED is unwrapped for a viewer that only has plain Opus.
    if up.codec == Codec::Red && down.codec == Codec::Opus {
        return Some(10);
    }
    if up.codec != down.codec {
        return None;
    }
    match (up.variant, down.variant) {
        (Variant::Only, Variant::Only) => Some(0),
        // AV1 specification section 6.4.1: a High decoder takes Main, and a Professional decoder takes both.
        (Variant::Profile(up), Variant::Profile(profile)) if down.codec == Codec::Av1 => {
            profile.checked_sub(up)
        }
        (Variant::Profile(up), Variant::Profile(down)) => (up == down).then_some(0),
        (Variant::Tier(up, high), Variant::Tier(down, takes_high)) => {
            // ITU-T H.265 annex A.3: a Main 10 decoder (2) takes Main (1).
            let profile = match (up, down) {
                (up, down) if up == down => 0,
                (1, 2) => 1,
                _ => return None,
            };
            (!high || takes_high).then_some(profile)
        }
        // RFC 6184 section 8.2.2: the same profile and packetization mode. Beyond that, a larger decoder takes smaller
        // profiles, and a viewer of mode 1 takes the single NAL units of mode 0 (section 6.3), but not the reverse.
        (Variant::H264(up, mode), Variant::H264(down, takes_mode)) => {
            let mode = match (mode, takes_mode) {
                (a, b) if a == b => 0,
                (false, true) => 5,
                _ => return None,
            };
            down.takes(up).map(|rank| rank + mode)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use model::{Feedback, MediaKind, Pt};

    use super::*;

    fn spec(pt: u8, codec: Codec, fmtp: &str) -> CodecSpec {
        CodecSpec {
            pt: Pt(pt),
            rtx_pt: (codec.kind() == MediaKind::Video).then_some(Pt(pt + 1)),
            codec,
            clock_rate: if codec.kind() == MediaKind::Audio { 48_000 } else { 90_000 },
            channels: if codec.kind() == MediaKind::Audio { 2 } else { 1 },
            fmtp: fmtp.into(),
            feedback: Feedback::default(),
            parameter_sets: None,
        }
    }

    fn mapped(up: &[CodecSpec], down: &[CodecSpec]) -> Vec<(u8, u8, bool)> {
        map_payload_types(up, down).iter().map(|m| (m.up.0, m.down.0, m.unwrap_red)).collect()
    }

    #[test]
    fn red_flows_as_red_or_is_unwrapped() {
        let up = [spec(111, Codec::Opus, ""), spec(63, Codec::Red, "111/111")];
        let with_red = [spec(109, Codec::Opus, ""), spec(50, Codec::Red, "109/109")];
        assert_eq!(mapped(&up, &with_red), [(111, 109, false), (63, 50, false)]);
        assert_eq!(mapped(&up, &[spec(96, Codec::Opus, "")]), [(111, 96, false), (63, 96, true)]);
    }

    #[test]
    fn h264_goes_to_the_nearest_profile_of_the_same_mode() {
        let up = [spec(102, Codec::H264, "packetization-mode=1;profile-level-id=42e01f")];
        let down = [
            spec(96, Codec::H264, "packetization-mode=1;profile-level-id=64001f"),
            spec(98, Codec::H264, "packetization-mode=0;profile-level-id=42e01f"),
            spec(100, Codec::H264, "packetization-mode=1;profile-level-id=42001f"),
        ];
        assert_eq!(mapped(&up, &down), [(102, 100, false)]);
        assert_eq!(mapped(&up, &down[..2]), [(102, 96, false)]);
        assert_eq!(mapped(&up, &down[1..2]), []);
        let single = [spec(102, Codec::H264, "profile-level-id=42c01f")];
        assert_eq!(mapped(&single, &down[2..]), [(102, 100, false)]);
    }

    #[test]
    fn profiles_of_vp9_av1_and_h265_are_told_apart() {
        let vp9 = |pt, f| spec(pt, Codec::Vp9, f);
        assert_eq!(mapped(&[vp9(98, "profile-id=2")], &[vp9(96, "profile-id=0")]), []);
        assert_eq!(mapped(&[vp9(98, "")], &[vp9(96, "profile-id=0")]), [(98, 96, false)]);
        let av1 = |pt, f| spec(pt, Codec::Av1, f);
        assert_eq!(mapped(&[av1(45, "profile=0")], &[av1(41, "profile=1")]), [(45, 41, false)]);
        assert_eq!(mapped(&[av1(45, "profile=1")], &[av1(41, "")]), []);
        let h265 = |pt, f| spec(pt, Codec::H265, f);
        assert_eq!(mapped(&[h265(49, "")], &[h265(51, "profile-id=2")]), [(49, 51, false)]);
        assert_eq!(mapped(&[h265(49, "tier-flag=1")], &[h265(51, "")]), []);
    }

    #[test]
    fn codecs_of_different_names_never_meet() {
        assert_eq!(mapped(&[spec(96, Codec::Vp8, "")], &[spec(96, Codec::Vp9, "")]), []);
        assert_eq!(mapped(&[spec(111, Codec::Opus, "")], &[spec(63, Codec::Red, "111/111")]), []);
    }

    /// A codec for each possible key, as SDP writes it.
    fn all() -> Vec<CodecSpec> {
        let mut all = vec![spec(111, Codec::Opus, ""), spec(63, Codec::Red, "111/111")];
        all.push(spec(96, Codec::Vp8, ""));
        all.extend((0..=3).map(|n| spec(98, Codec::Vp9, &format!("profile-id={n}"))));
        all.extend((0..=2).map(|n| spec(45, Codec::Av1, &format!("profile={n}"))));
        for (profile, tier) in (0..=15).flat_map(|profile| [(profile, 0), (profile, 1)]) {
            let fmtp = format!("profile-id={profile};tier-flag={tier}");
            all.push(spec(49, Codec::H265, &fmtp));
        }
        for profile in 0..=u16::MAX {
            // All values of profile_idc, with all combinations of the flags that matter.
            if profile & 0x43 == 0 {
                for mode in 0..=1 {
                    let fmtp =
                        format!("packetization-mode={mode};profile-level-id={profile:04x}1f");
                    all.push(spec(102, Codec::H264, &fmtp));
                }
            }
        }
        all
    }

    #[test]
    fn sets_of_keys_meet_exactly_when_a_payload_type_fits() {
        let all = all();
        let mut lists: Vec<Keyed> = Vec::new();
        for codec in &all {
            let keyed = Keyed::new(std::slice::from_ref(codec));
            // One list for each key.
            if keyed.keys.iter().all(Option::is_some) && lists.iter().all(|k| k.keys != keyed.keys)
            {
                lists.push(keyed);
            }
        }
        assert!(lists.len() > 200, "{}", lists.len());
        for up in &lists {
            for down in &lists {
                let fits = fit(up.keys[0].unwrap(), down.keys[0].unwrap()).is_some();
                assert_eq!(up.fits(down), fits, "{:?} to {:?}", up.keys, down.keys);
            }
        }
    }
}

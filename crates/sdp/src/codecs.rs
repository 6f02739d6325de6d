//! Which offered codecs are agreed, with which parameters and feedback; and which payload type of a publisher becomes
//! which one of a viewer. The node never decodes: it takes any profile, and matches publishers to viewers later.

use model::{Codec, CodecSpec, Feedback, MediaKind, Pt, PtMapping};

use crate::fmtp::{self, Parameters};
use crate::h264::{self, Profile};
use crate::section::{Payload, Section, SectionKind};

/// Which way media goes in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The peer sends, we receive.
    FromPeer,
    /// We send, the peer receives.
    ToPeer,
}

/// Names of the served codecs of a kind, for error texts.
pub fn served(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "opus/48000/2, and red/48000/2 around it",
        MediaKind::Video => "VP8, VP9, H264 (packetization-mode 0 or 1), H265 and AV1 at 90000",
    }
}

/// Codecs of a section that are agreed: those of the offer that are served, in its order, RED after Opus.
/// `transport_cc` says whether the header extension was agreed that this feedback needs.
pub fn choose(section: &Section, flow: Flow, transport_cc: bool) -> Vec<CodecSpec> {
    let SectionKind::Media(kind) = section.kind else { return Vec::new() };
    let mut agreed: Vec<CodecSpec> = Vec::new();
    for payload in section.payloads.iter().filter(|p| is_usable(p.pt)) {
        let Some((codec, clock_rate, channels)) = identify(payload, kind) else { continue };
        let Some(fmtp) = parameters(codec, Parameters(&payload.fmtp), flow) else { continue };
        agreed.push(CodecSpec {
            pt: payload.pt,
            rtx_pt: retransmission(section, payload),
            codec,
            clock_rate,
            channels,
            fmtp,
            feedback: feedback(payload.feedback, flow, transport_cc),
            parameter_sets: None,
        });
    }
    // RED comes last, so that plain Opus is what a publisher sends unless it decides otherwise; and only around an
    // Opus that is agreed too (RFC 2198 section 5).
    let opus: Vec<Pt> = agreed.iter().filter(|c| c.codec == Codec::Opus).map(|c| c.pt).collect();
    agreed.retain(|c| c.codec != Codec::Red || red_blocks(&c.fmtp, &opus));
    agreed.sort_by_key(|c| c.codec == Codec::Red);
    agreed
}

/// With RTP and RTCP on one port, payload types 64 to 95 read as RTCP (RFC 5761 section 4).
fn is_usable(pt: Pt) -> bool {
    !(64..=95).contains(&pt.0)
}

fn identify(payload: &Payload, kind: MediaKind) -> Option<(Codec, u32, u8)> {
    const KNOWN: [(Codec, u32, u8); 7] = [
        (Codec::Opus, 48_000, 2),
        (Codec::Red, 48_000, 2),
        (Codec::Vp8, 90_000, 1),
        (Codec::Vp9, 90_000, 1),
        (Codec::H264, 90_000, 1),
        (Codec::H265, 90_000, 1),
        (Codec::Av1, 90_000, 1),
    ];
    KNOWN.into_iter().find(|&(codec, clock, channels)| {
        codec.kind() == kind
            && payload.name.eq_ignore_ascii_case(codec.as_str())
            && payload.clock_rate == clock
            && payload.channels == channels
    })
}

/// Parameters as they stand in the answer; `None` when the codec cannot be served with those of the offer.
fn parameters(codec: Codec, offered: Parameters<'_>, flow: Flow) -> Option<String> {
    match codec {
        Codec::Opus => Some(opus(offered, flow)),
        Codec::Red => Some(offered.0.trim().to_owned()).filter(|f| !f.is_empty()),
        Codec::Vp8 => Some(String::new()),
        Codec::Vp9 => {
            offered.number("profile-id", 0)?;
            Some(offered.keep(&["profile-id"]))
        }
        Codec::Av1 => {
            offered.number("profile", 0)?;
            Some(offered.keep(&["level-idx", "profile", "tier"]))
        }
        // RFC 6184 section 8.2.2: packetization-mode is answered as offered; 2 (interleaved) is not served. The profile is
        // answered as offered; so is the level, which is right with level-asymmetry-allowed and without.
        Codec::H264 => {
            let mode = offered.number("packetization-mode", 0)?;
            let profile = offered
                .value("profile-level-id")
                .map_or(Some(h264::DEFAULT_PROFILE), Profile::parse);
            (mode <= 1 && profile.is_some()).then(|| {
                offered.keep(&["level-asymmetry-allowed", "packetization-mode", "profile-level-id"])
            })
        }
        // RFC 7798 section 7.2.2: profile, tier and level are answered as offered; one RTP stream (SRST) only.
        Codec::H265 => {
            offered.number("profile-id", 1)?;
            let single = offered.value("tx-mode").is_none_or(|m| m.eq_ignore_ascii_case("SRST"));
            single.then(|| offered.keep(&["level-id", "profile-id", "tier-flag", "tx-mode"]))
        }
    }
}

/// RFC 7587 section 7.1: each side says what it wants to receive. To a publisher we ask back what it can do; to a viewer we say
/// with `sprop-stereo` that stereo may come where it asked for stereo.
fn opus(offered: Parameters<'_>, flow: Flow) -> String {
    let mut agreed = offered.keep(&["minptime", "useinbandfec", "usedtx"]);
    match flow {
        Flow::FromPeer if offered.is_on("stereo") || offered.is_on("sprop-stereo") => {
            fmtp::append(&mut agreed, "stereo", "1");
        }
        Flow::ToPeer if offered.is_on("stereo") => {
            fmtp::append(&mut agreed, "sprop-stereo", "1");
        }
        _ => {}
    }
    agreed
}

/// Whether `111/111` names agreed payload types only.
fn red_blocks(fmtp: &str, opus: &[Pt]) -> bool {
    fmtp.split('/').all(|block| block.trim().parse().is_ok_and(|pt| opus.contains(&Pt(pt))))
}

/// The payload type of retransmissions (RFC 4588 section 8.1: `apt` names what is retransmitted).
fn retransmission(section: &Section, of: &Payload) -> Option<Pt> {
    let fits = |p: &&Payload| {
        p.name.eq_ignore_ascii_case("rtx")
            && is_usable(p.pt)
            && p.clock_rate == of.clock_rate
            && Parameters(&p.fmtp).number("apt", 255) == Some(u32::from(of.pt.0))
    };
    section.payloads.iter().find(fits).map(|p| p.pt)
}

fn feedback(offered: Feedback, flow: Flow, transport_cc: bool) -> Feedback {
    Feedback {
        nack: offered.nack,
        pli: offered.pli,
        fir: offered.fir,
        // Towards viewers nothing on our side would use the reports.
        transport_cc: offered.transport_cc && transport_cc && flow == Flow::FromPeer,
        remb: false,
    }
}

/// What each payload type of a publisher becomes for a viewer; payload types that the viewer cannot take are left
/// out. Empty when nothing fits.
pub fn map_payload_types(publisher: &[CodecSpec], viewer: &[CodecSpec]) -> Vec<PtMapping> {
    let best = |up: &CodecSpec| {
        let ranked = viewer.iter().filter_map(|down| Some((fit(up, down)?, down)));
        let (_, down) = ranked.min_by_key(|&(rank, _)| rank)?;
        Some(PtMapping {
            up: up.pt,
            down: down.pt,
            down_rtx: down.rtx_pt,
            unwrap_red: up.codec == Codec::Red && down.codec == Codec::Opus,
            clock_rate: down.clock_rate,
        })
    };
    publisher.iter().filter_map(best).collect()
}

/// How well a viewer's codec takes a publisher's: 0 exact, higher is worse, `None` not at all.
fn fit(up: &CodecSpec, down: &CodecSpec) -> Option<u8> {
    // RED is unwrapped for a viewer that has plain Opus only.
    if up.codec == Codec::Red && down.codec == Codec::Opus {
        return Some(10);
    }
    if up.codec != down.codec || up.clock_rate != down.clock_rate {
        return None;
    }
    let (a, b) = (Parameters(&up.fmtp), Parameters(&down.fmtp));
    let number = |p: Parameters<'_>, name, default| p.number(name, default).unwrap_or(default);
    match up.codec {
        Codec::Opus | Codec::Red | Codec::Vp8 => Some(0),
        Codec::Vp9 => (number(a, "profile-id", 0) == number(b, "profile-id", 0)).then_some(0),
        // AV1 specification section 6.4.1: Main is part of High, and High of Professional.
        Codec::Av1 => number(b, "profile", 0)
            .checked_sub(number(a, "profile", 0))
            .map(|more| more.min(9) as u8),
        Codec::H265 => {
            // ITU-T H.265 annex A.3: a Main 10 decoder (2) takes Main (1).
            let profile = match (number(a, "profile-id", 1), number(b, "profile-id", 1)) {
                (up, down) if up == down => 0,
                (1, 2) => 1,
                _ => return None,
            };
            (number(a, "tier-flag", 0) <= number(b, "tier-flag", 0)).then_some(profile)
        }
        Codec::H264 => fit_h264(a, b),
    }
}

/// RFC 6184 section 8.2.2: the same profile and packetization mode; beyond that, what a larger decoder takes. A viewer of
/// mode 1 takes the single NAL units of mode 0 (section 6.3), not the reverse.
fn fit_h264(up: Parameters<'_>, down: Parameters<'_>) -> Option<u8> {
    let profile = |p: Parameters<'_>| {
        p.value("profile-level-id").map_or(Some(h264::DEFAULT_PROFILE), Profile::parse)
    };
    let mode = match (up.number("packetization-mode", 0)?, down.number("packetization-mode", 0)?) {
        (a, b) if a == b => 0,
        (0, 1) => 5,
        _ => return None,
    };
    profile(down)?.takes(profile(up)?).map(|rank| rank + mode)
}

#[cfg(test)]
mod tests {
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
}

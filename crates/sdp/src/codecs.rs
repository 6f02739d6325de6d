//! Which offered codecs are agreed, with which parameters and feedback. The node never decodes: it takes any profile, and matches publishers
//! to viewers later ([`crate::matching`]).

use std::fmt;

use model::{Codec, CodecSpec, Feedback, MediaKind, Pt};

use crate::fmtp::{self, Parameters};
use crate::matching::Key;
use crate::parameter_sets::parameter_sets;
use crate::section::{Payload, Section, SectionKind};

/// What a payload type stands for, as far as a later offer must not change it (RFC 3264 section 8.3.2). Levels and the like may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A codec, with so many channels.
    Codec(Key, u8),
    /// Retransmissions of a payload type, with this clock.
    Retransmissions(u32, u32),
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Codec(key, channels @ 2..) => write!(f, "{key} of {channels} channels"),
            Meaning::Codec(key, _) => key.fmt(f),
            Meaning::Retransmissions(of, _) => write!(f, "rtx of {of}"),
        }
    }
}

/// What a payload type stands for; `None` when it is nothing that is served.
pub fn meaning(payload: &Payload) -> Option<Meaning> {
    let fmtp = Parameters(&payload.fmtp);
    if payload.name.eq_ignore_ascii_case("rtx") {
        let of = fmtp.number("apt", 255)?;
        return Some(Meaning::Retransmissions(of, payload.clock_rate));
    }
    let kinds = [MediaKind::Audio, MediaKind::Video];
    let (codec, ..) = kinds.into_iter().find_map(|kind| identify(payload, kind))?;
    Some(Meaning::Codec(Key::new(codec, fmtp)?, payload.channels))
}

/// A codec that is agreed, and what matters of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The codec.
    pub spec: CodecSpec,
    /// What its payload type stands for.
    pub key: Key,
}

impl Chosen {
    /// What its payload types stand for, that of its retransmissions among them.
    pub fn meanings(&self) -> impl Iterator<Item = (Pt, Meaning)> + use<> {
        let CodecSpec { pt, rtx_pt, clock_rate, channels, .. } = self.spec;
        let rtx = rtx_pt.map(|rtx| (rtx, Meaning::Retransmissions(pt.0.into(), clock_rate)));
        [(pt, Meaning::Codec(self.key, channels))].into_iter().chain(rtx)
    }
}

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

/// Most codecs that are agreed for one section, the first of the offer; browsers offer some twenty. What is agreed is matched with what others
/// agreed.
pub const MAX_CODECS: usize = 32;

/// Codecs of a section that are agreed: those of the offer that are served, in its order, RED after Opus. Of several that differ in nothing that
/// matters here ([`Key`]) the first one counts. `transport_cc` says whether the header extension was agreed that this feedback needs.
pub fn choose(section: &Section, flow: Flow, transport_cc: bool) -> Vec<CodecSpec> {
    choose_keyed(section, flow, transport_cc).into_iter().map(|chosen| chosen.spec).collect()
}

/// The same, with what matters of each.
pub fn choose_keyed(section: &Section, flow: Flow, transport_cc: bool) -> Vec<Chosen> {
    let SectionKind::Media(kind) = section.kind else { return Vec::new() };
    let mut agreed: Vec<Chosen> = Vec::new();
    let retransmissions = Retransmissions::of(section);
    for payload in section.payloads.iter().filter(|p| is_usable(p.pt)) {
        if agreed.len() == MAX_CODECS {
            break;
        }
        let Some((codec, clock_rate, channels)) = identify(payload, kind) else { continue };
        let offered = Parameters(&payload.fmtp);
        let known = |key: &Key| agreed.iter().any(|chosen| chosen.key == *key);
        let Some(key) = Key::new(codec, offered).filter(|key| !known(key)) else { continue };
        let Some(fmtp) = parameters(codec, offered, flow) else { continue };
        let spec = CodecSpec {
            pt: payload.pt,
            rtx_pt: retransmissions.find(payload),
            codec,
            clock_rate,
            channels,
            fmtp,
            feedback: feedback(payload.feedback, flow, transport_cc),
            parameter_sets: match flow {
                Flow::FromPeer => parameter_sets(codec, offered),
                Flow::ToPeer => None,
            },
        };
        agreed.push(Chosen { spec, key });
    }
    // RED comes last, so that plain Opus is what a publisher sends unless it decides otherwise; and only around an
    // Opus that is agreed too (RFC 2198 section 5).
    let specs = agreed.iter().map(|chosen| &chosen.spec);
    let opus: Vec<Pt> = specs.filter(|c| c.codec == Codec::Opus).map(|c| c.pt).collect();
    agreed.retain(|c| c.spec.codec != Codec::Red || red_blocks(&c.spec.fmtp, &opus));
    agreed.sort_by_key(|c| c.spec.codec == Codec::Red);
    agreed
}

/// With RTP and RTCP on one port, payload types 64 to 95 read as RTCP (RFC 5761 section 4).
fn is_usable(pt: Pt) -> bool {
    !(64..=95).contains(&pt.0)
}

fn identify(payload: &Payload, kind: MediaKind) -> Option<(Codec, u32, u8)> {
    // RFC 7587 section 7 wants opus/48000/2 whatever is sent; cameras and GStreamer write opus/48000 and opus/48000/1. Taken as they
    // stand, and answered so: a packet says itself how many channels it has.
    const KNOWN: [(Codec, u32, u8); 7] = [
        (Codec::Opus, 48_000, 2),
        (Codec::Red, 48_000, 2),
        (Codec::Vp8, 90_000, 1),
        (Codec::Vp9, 90_000, 1),
        (Codec::H264, 90_000, 1),
        (Codec::H265, 90_000, 1),
        (Codec::Av1, 90_000, 1),
    ];
    let known = KNOWN.into_iter().find(|&(codec, clock, channels)| {
        codec.kind() == kind
            && payload.name.eq_ignore_ascii_case(codec.as_str())
            && payload.clock_rate == clock
            && payload.channels <= channels
    });
    known.map(|(codec, clock, _)| (codec, clock, payload.channels))
}

/// Parameters as they stand in the answer; `None` when the codec cannot be served with those of the offer.
fn parameters(codec: Codec, offered: Parameters<'_>, flow: Flow) -> Option<String> {
    match codec {
        Codec::Opus => Some(opus(offered, flow)),
        Codec::Red => Some(offered.0.trim().to_owned()).filter(|f| !f.is_empty()),
        Codec::Vp8 => Some(String::new()),
        Codec::Vp9 => Some(offered.keep(&["profile-id"])),
        Codec::Av1 => Some(offered.keep(&["level-idx", "profile", "tier"])),
        // RFC 6184 section 8.2.2: packetization-mode is answered as offered; 2 (interleaved) is not served. The profile is
        // answered as offered; so is the level, which is right with level-asymmetry-allowed and without.
        Codec::H264 => Some(offered.keep(&[
            "level-asymmetry-allowed",
            "packetization-mode",
            "profile-level-id",
        ])),
        // RFC 7798 section 7.2.2: profile, tier and level are answered as offered; one RTP stream (SRST) only.
        Codec::H265 => {
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

/// The payload types of retransmissions in a section (RFC 4588 section 8.1: `apt` names what is retransmitted). Found once for all codecs:
/// to look through all payload types for each of them would cost thousands of comparisons in a long offer.
struct Retransmissions(Vec<(u32, Pt, u32)>);

impl Retransmissions {
    fn of(section: &Section) -> Self {
        let rtx = section
            .payloads
            .iter()
            .filter(|p| is_usable(p.pt) && p.name.eq_ignore_ascii_case("rtx"));
        let of = |p: &Payload| Some((Parameters(&p.fmtp).number("apt", 255)?, p.pt, p.clock_rate));
        Self(rtx.filter_map(of).collect())
    }

    fn find(&self, of: &Payload) -> Option<Pt> {
        let mut all = self.0.iter();
        all.find(|(apt, _, clock)| *apt == u32::from(of.pt.0) && *clock == of.clock_rate)
            .map(|(_, pt, _)| *pt)
    }
}

fn feedback(offered: Feedback, flow: Flow, transport_cc: bool) -> Feedback {
    Feedback {
        nack: offered.nack,
        pli: offered.pli,
        fir: offered.fir,
        // Towards viewers nothing on our side would use the reports.
        transport_cc: offered.transport_cc && transport_cc && flow == Flow::FromPeer,
        // Who can do without is told by transport-wide feedback, which says more.
        remb: offered.remb && !(offered.transport_cc && transport_cc) && flow == Flow::FromPeer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_gets_remb_where_it_offers_that_and_no_transport_wide_feedback_is_agreed() {
        let agreed = |transport_cc, flow, extension| {
            let offered = Feedback { remb: true, transport_cc, ..Feedback::default() };
            feedback(offered, flow, extension).remb
        };
        assert!(agreed(false, Flow::FromPeer, false));
        assert!(
            agreed(true, Flow::FromPeer, false),
            "transport-cc is nothing without its extension"
        );
        assert!(!agreed(true, Flow::FromPeer, true));
        assert!(!agreed(false, Flow::ToPeer, false), "nothing here would use it");
        assert!(!feedback(Feedback::default(), Flow::FromPeer, false).remb, "it was not offered");
    }
}

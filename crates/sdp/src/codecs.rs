//! Which offered codecs are agreed, with which parameters and feedback. The node never decodes, so it accepts any
//! profile here, and matches publishers to viewers later ([`crate::matching`]).

use std::fmt;

use model::{Codec, CodecSpec, Feedback, MediaKind, Pt};

use crate::fmtp::{self, Parameters};
use crate::matching::Key;
use crate::parameter_sets::parameter_sets;
use crate::section::{Payload, Section, SectionKind};

/// The meaning of a payload type, as far as a later offer must not change it (RFC 3264 section 8.3.2). The level and
/// the like do not belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A codec, with its number of channels.
    Codec(Key, u8),
    /// Retransmissions of this payload type, with this clock rate.
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

/// The meaning of a payload type; `None` when the node does not serve its codec.
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

/// An agreed codec, with the key of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The codec.
    pub spec: CodecSpec,
    /// The parameters that matter for matching.
    pub key: Key,
}

impl Chosen {
    /// The meanings of its payload types, including that of its retransmissions.
    pub fn meanings(&self) -> impl Iterator<Item = (Pt, Meaning)> + use<> {
        let CodecSpec { pt, rtx_pt, clock_rate, channels, .. } = self.spec;
        let rtx = rtx_pt.map(|rtx| (rtx, Meaning::Retransmissions(pt.0.into(), clock_rate)));
        [(pt, Meaning::Codec(self.key, channels))].into_iter().chain(rtx)
    }
}

/// The direction of media in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The peer sends, this node receives.
    FromPeer,
    /// This node sends, the peer receives.
    ToPeer,
}

/// Names of the served codecs of a kind, for error texts.
pub fn served(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "opus/48000/2, and red/48000/2 around it",
        MediaKind::Video => "VP8, VP9, H264 (packetization-mode 0 or 1), H265 and AV1 at 90000",
    }
}

/// The number of codecs that are agreed for one section: the first ones of the offer. Browsers offer about twenty. The
/// bound limits the work of matching the lists of publishers and viewers.
pub const MAX_CODECS: usize = 32;

/// The agreed codecs of a section: the served codecs of the offer, in its order, RED last. Of several with the same
/// [`Key`] only the first is taken. `transport_cc`: the header extension that this feedback needs was agreed.
pub fn choose(section: &Section, flow: Flow, transport_cc: bool) -> Vec<CodecSpec> {
    choose_keyed(section, flow, transport_cc).into_iter().map(|chosen| chosen.spec).collect()
}

/// As [`choose`], with the key of each codec.
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
    // RED comes last, so that a publisher sends plain Opus unless it decides otherwise. RED is only agreed if all its
    // blocks are Opus that is agreed too (RFC 2198 section 5).
    let specs = agreed.iter().map(|chosen| &chosen.spec);
    let opus: Vec<Pt> = specs.filter(|c| c.codec == Codec::Opus).map(|c| c.pt).collect();
    agreed.retain(|c| c.spec.codec != Codec::Red || red_blocks(&c.spec.fmtp, &opus));
    agreed.sort_by_key(|c| c.spec.codec == Codec::Red);
    agreed
}

/// With RTP and RTCP on one port, packets of payload types 64 to 95 would be taken for RTCP (RFC 5761 section 4).
fn is_usable(pt: Pt) -> bool {
    !(64..=95).contains(&pt.0)
}

fn identify(payload: &Payload, kind: MediaKind) -> Option<(Codec, u32, u8)> {
    // RFC 7587 section 7 requires opus/48000/2 whatever is sent, but cameras and GStreamer write opus/48000 and
    // opus/48000/1. These are accepted and answered as written: each Opus packet says itself how many channels it has.
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

/// The parameters for the answer; `None` when the codec cannot be served with the offered ones.
fn parameters(codec: Codec, offered: Parameters<'_>, flow: Flow) -> Option<String> {
    match codec {
        Codec::Opus => Some(opus(offered, flow)),
        Codec::Red => Some(offered.0.trim().to_owned()).filter(|f| !f.is_empty()),
        Codec::Vp8 => Some(String::new()),
        Codec::Vp9 => Some(offered.keep(&["profile-id"])),
        Codec::Av1 => Some(offered.keep(&["level-idx", "profile", "tier"])),
        // RFC 6184 section 8.2.2: packetization-mode is answered as offered; 2 (interleaved) is not served. The
        // profile and the level are answered as offered too, which is correct with and without
        // level-asymmetry-allowed.
        Codec::H264 => Some(offered.keep(&[
            "level-asymmetry-allowed",
            "packetization-mode",
            "profile-level-id",
        ])),
        // RFC 7798 section 7.2.2: profile, tier and level are answered as offered; only a single RTP stream (SRST) is
        // served.
        Codec::H265 => {
            let single = offered.value("tx-mode").is_none_or(|m| m.eq_ignore_ascii_case("SRST"));
            single.then(|| offered.keep(&["level-id", "profile-id", "tier-flag", "tx-mode"]))
        }
    }
}

/// RFC 7587 section 7.1: each side states what it wants to receive. A publisher is asked for what it offers; a viewer
/// that asked for stereo is told by `sprop-stereo` that stereo may come.
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

/// Whether all payload types of `111/111` are agreed ones.
fn red_blocks(fmtp: &str, opus: &[Pt]) -> bool {
    fmtp.split('/').all(|block| block.trim().parse().is_ok_and(|pt| opus.contains(&Pt(pt))))
}

/// The payload types of retransmissions in a section (RFC 4588 section 8.1: `apt` names the retransmitted payload
/// type). They are collected once for all codecs: a search through all payload types for each codec would cost
/// thousands of comparisons in a long offer.
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
        // Only publishers: towards viewers the node has no sender-side estimator that would use the reports.
        transport_cc: offered.transport_cc && transport_cc && flow == Flow::FromPeer,
        // REMB only without transport-wide feedback, which says more.
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

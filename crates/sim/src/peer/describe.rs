//! A peer's offer as text, and the node's answer as what the peer takes from it.

use std::net::SocketAddr;

use model::{Extension, MediaKind, Mid, Pt, Rid, Ssrc, StreamSsrc};
use sdp::{Fragment, Offer, Section, SectionKind};

/// Header extension ids of all offers.
pub(crate) const EXTENSIONS: [(u8, Extension); 6] = [
    (2, Extension::AbsSendTime),
    (3, Extension::TransportCc),
    (4, Extension::Mid),
    (10, Extension::Rid),
    (11, Extension::RepairedRid),
    (14, Extension::AudioLevel),
];
const FINGERPRINT: &str = "sha-256 07:14:21:2E:3B:48:55:62:6F:7C:89:96:A3:B0:BD:CA:D7:E4:F1:FE:0B:18:25:32:3F:4C:59:66:73:80:8D:9A";

/// A media section that is offered.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    /// Its mid is this number.
    pub(crate) number: u8,
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    /// The peer sends in it, receives in it, or both.
    pub(crate) sends: bool,
    pub(crate) receives: bool,
    /// The section is not wanted any more (port 0).
    pub(crate) stopped: bool,
    pub(crate) pt: Pt,
    pub(crate) rtx_pt: Option<Pt>,
    pub(crate) nack: bool,
    pub(crate) transport_cc: bool,
    /// Simulcast layers, the lowest first; none without simulcast.
    pub(crate) rids: Vec<Rid>,
    /// SSRCs as named in the offer; none with simulcast, where the rid tells.
    pub(crate) ssrcs: Vec<StreamSsrc>,
}

/// One section of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    /// The node receives in it.
    pub(crate) receives: bool,
    /// The node sends in it.
    pub(crate) sends: Option<StreamSsrc>,
    pub(crate) pt: Pt,
    pub(crate) rtx_pt: Option<Pt>,
    pub(crate) nack: bool,
    pub(crate) pli: bool,
    pub(crate) transport_cc: bool,
    /// Simulcast layers that the node takes.
    pub(crate) rids: Vec<Rid>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) node: SocketAddr,
    pub(crate) sections: Vec<Answered>,
}

/// The offer as `application/sdp`. `version` counts the offers of the session.
pub(crate) fn offer(version: u64, ufrag: &str, pwd: &str, sections: &[Offered]) -> String {
    let mut out = format!("v=0\r\no=- 4711 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let live = sections.iter().filter(|s| !s.stopped);
    let bundle: Vec<&str> = live.map(|s| s.mid.as_str()).collect();
    out += &format!("a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n", bundle.join(" "));
    out += "a=msid-semantic: WMS *\r\n";
    for section in sections {
        write_section(&mut out, ufrag, pwd, section);
    }
    out
}

fn write_section(out: &mut String, ufrag: &str, pwd: &str, section: &Offered) {
    let Offered { mid, kind, pt, rtx_pt, .. } = section;
    let port = if section.stopped { 0 } else { 9 };
    let formats = rtx_pt.map_or(format!("{pt}"), |rtx| format!("{pt} {rtx}"));
    *out += &format!("m={} {port} UDP/TLS/RTP/SAVPF {formats}\r\n", kind.as_str());
    *out += &format!("c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    *out += "a=ice-options:trickle\r\n";
    *out += &format!("a=fingerprint:{FINGERPRINT}\r\na=setup:actpass\r\na=mid:{mid}\r\n");
    for (id, extension) in EXTENSIONS {
        let fits = match extension {
            Extension::TransportCc => section.transport_cc,
            Extension::Rid | Extension::RepairedRid => *kind == MediaKind::Video,
            Extension::AudioLevel => *kind == MediaKind::Audio,
            _ => true,
        };
        if fits {
            *out += &format!("a=extmap:{id} {}\r\n", extension.uri());
        }
    }
    *out += match (section.sends, section.receives) {
        (true, true) => "a=sendrecv\r\n",
        (true, false) => "a=sendonly\r\n",
        (false, true) => "a=recvonly\r\n",
        (false, false) => "a=inactive\r\n",
    };
    *out += "a=rtcp-mux\r\na=rtcp-rsize\r\n";
    let name = match kind {
        MediaKind::Audio => "opus/48000/2",
        MediaKind::Video => "VP8/90000",
    };
    *out += &format!("a=rtpmap:{pt} {name}\r\n");
    let feedback = [
        (section.transport_cc, "transport-cc"),
        (section.nack, "nack"),
        (*kind == MediaKind::Video, "nack pli"),
        (*kind == MediaKind::Video, "ccm fir"),
    ];
    for (_, text) in feedback.into_iter().filter(|(agreed, _)| *agreed) {
        *out += &format!("a=rtcp-fb:{pt} {text}\r\n");
    }
    if let Some(rtx) = rtx_pt {
        *out += &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
    }
    for rid in &section.rids {
        *out += &format!("a=rid:{rid} send\r\n");
    }
    if !section.rids.is_empty() {
        let rids: Vec<&str> = section.rids.iter().map(Rid::as_str).collect();
        *out += &format!("a=simulcast:send {}\r\n", rids.join(";"));
    }
    for StreamSsrc { media, rtx } in &section.ssrcs {
        if let Some(rtx) = rtx {
            *out += &format!("a=ssrc-group:FID {media} {rtx}\r\n");
        }
        for ssrc in [Some(media), rtx.as_ref()].into_iter().flatten() {
            *out += &format!("a=ssrc:{ssrc} cname:peer\r\n");
        }
    }
}

/// Reads an answer.
///
/// Says what is wrong, when no peer could use the answer.
/// What of it no peer could use.
pub(crate) fn answer(text: &str) -> Result<Answer, String> {
    let parsed =
        Offer::parse(text).map_err(|e| format!("the answer does not parse: {e}\n{text}"))?;
    let transport = parsed.peer_transport().map_err(|e| format!("the answer: {e}\n{text}"))?;
    let node = transport.candidates.first().copied();
    let node = node.ok_or_else(|| format!("the answer has no candidate\n{text}"))?;
    let sections = parsed.sections.iter().filter(|s| !s.rejected).filter_map(section).collect();
    Ok(Answer { ufrag: transport.ufrag, pwd: transport.pwd, node, sections })
}

fn section(section: &Section) -> Option<Answered> {
    let SectionKind::Media(kind) = section.kind else { return None };
    let is_rtx = |name: &str| name.eq_ignore_ascii_case("rtx");
    let media = section.payloads.iter().find(|p| !is_rtx(&p.name))?;
    let apt = format!("apt={}", media.pt);
    let rtx = section.payloads.iter().find(|p| is_rtx(&p.name) && p.fmtp == apt);
    Some(Answered {
        mid: section.mid?,
        kind,
        receives: section.direction.receives(),
        sends: section.streams().first().copied().filter(|_| section.direction.sends()),
        pt: media.pt,
        rtx_pt: rtx.map(|p| p.pt),
        nack: media.feedback.nack,
        pli: media.feedback.pli,
        transport_cc: media.feedback.transport_cc,
        rids: section.rids.iter().map(|r| r.id).collect(),
    })
}

/// The fragment that asks for an ICE restart (RFC 9725 section 4.3.3).
pub(crate) fn restart(ufrag: &str, pwd: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")
}

/// The node's new credentials.
///
/// # Errors
/// Says what is wrong, when no peer could use the fragment.
pub(crate) fn restarted(text: &str) -> Result<(String, String), String> {
    let fragment = Fragment::parse(text).map_err(|e| format!("the fragment: {e}\n{text}"))?;
    fragment.ufrag.zip(fragment.pwd).ok_or_else(|| format!("no credentials in\n{text}"))
}

/// Which of the peer's SSRCs is used for what: random as RFC 3550 section 8 wants, and never the same twice in a run.
pub(crate) fn ssrc(peer: u16, nth: u32, noise: u64) -> Ssrc {
    Ssrc(u32::from(peer) << 20 | (nth & 0xff) << 12 | (noise as u32 & 0xfff) | 1 << 31)
}

/// The mid of a section.
///
/// # Errors
/// Numbers are mids, so none.
pub(crate) fn mid_of(number: u8) -> Result<Mid, String> {
    Mid::parse(&number.to_string()).map_err(|e| format!("mid {number}: {e}"))
}

/// The number of a section.
pub(crate) fn number_of(mid: Mid) -> Option<u8> {
    mid.as_str().parse().ok()
}

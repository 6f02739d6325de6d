//! Chooses the media sections of an offer that are accepted, and their codecs; makes tracks of those in which the peer
//! sends, and slots of those in which it receives.

use model::{
    CodecSpec, DownMedia, Extension, ExtensionMap, MediaKind, Mid, Pt, Ssrc, StreamSsrc, UpMedia,
};
use sdp::attributes::RidLine;
use sdp::codecs::Meaning;
use sdp::{Direction, Flow, Offer, SdpError, Section, SectionKind};

use crate::extensions::accepts;
use crate::negotiate::Negotiation;
use crate::settings::allows;

/// The number of SSRCs that one publisher may name, retransmissions included.
const MAX_SSRCS: usize = 20;
/// The number of simulcast layers of one section; further ones are not accepted.
const MAX_LAYERS: usize = 4;
/// Protocols of RTP sections (RFC 8829 section 5.1.2). Keys always come from DTLS-SRTP.
const PROTOCOLS: [&str; 6] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
];
/// A section that will be accepted.
pub(crate) struct Chosen<'o> {
    pub(crate) section: &'o Section,
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    pub(crate) codecs: Vec<CodecSpec>,
    /// What the payload types of the codecs mean.
    pub(crate) meanings: Vec<(Pt, Meaning)>,
    /// From the view of this node.
    pub(crate) direction: Direction,
}

impl Chosen<'_> {
    pub(crate) fn is_up(&self) -> bool {
        self.direction.receives()
    }

    pub(crate) fn is_down(&self) -> bool {
        self.direction.sends()
    }
}

impl Negotiation<'_, '_> {
    /// Chooses the sections that are accepted. If the client needs a section that cannot be served, the whole offer
    /// fails, since half a session misleads its user (RFC 9725 section 4.4.3). A session may consist of data channels only.
    pub(crate) fn choose_sections<'o>(
        &self,
        offer: &'o Offer,
        extensions: &ExtensionMap,
        has_data: bool,
    ) -> Result<Vec<Chosen<'o>>, SdpError> {
        let mut chosen: Vec<Chosen<'o>> = Vec::new();
        for section in offer.sections.iter().filter(|s| !s.rejected) {
            let kind = match &section.kind {
                SectionKind::Media(kind) => *kind,
                // Data channels: see `data`.
                SectionKind::Application => continue,
                SectionKind::Other(_) => {
                    let wrong = "audio, video and application are the kinds allowed";
                    return Err(SdpError::unsupported(section.place(), wrong));
                }
            };
            let Some(mid) = section.mid else { continue };
            let up = self.roles.from_peer() && section.direction.sends();
            let down = self.roles.to_peer() && section.direction.receives();
            let wanted = up || down;
            check_form(section)?;
            if offer.bundle.is_empty() && !chosen.is_empty()
                || !offer.bundle.is_empty() && !offer.bundle.contains(&mid)
            {
                let wrong = "it is outside the BUNDLE group; all sections in one group are allowed";
                return Err(SdpError::unsupported(section.place(), wrong));
            }
            let old = self.before.and_then(|b| b.sections.get(section.number - 1));
            if let Some(old) = old {
                old.check_payloads(section)?;
            }
            let transport_cc = accepts(section, extensions, Extension::TransportCc);
            // In a section of both directions the codecs that the peer sends are the narrower choice.
            let flow = if up || !self.roles.to_peer() { Flow::FromPeer } else { Flow::ToPeer };
            let codecs = sdp::codecs::choose_keyed(section, flow, transport_cc);
            let meanings = codecs.iter().flat_map(sdp::codecs::Chosen::meanings).collect();
            let mut codecs: Vec<CodecSpec> = codecs.into_iter().map(|chosen| chosen.spec).collect();
            if up {
                codecs.retain(|codec| allows(self.allowed, codec.codec));
            }
            if codecs.is_empty() {
                if !wanted {
                    continue;
                }
                let wrong = self.no_codec(kind, up);
                return Err(SdpError::unsupported(section.place(), wrong));
            }
            let direction = match (up, down) {
                (false, false) => Direction::Inactive,
                (true, false) => Direction::RecvOnly,
                (false, true) => Direction::SendOnly,
                (true, true) => Direction::SendRecv,
            };
            chosen.push(Chosen { section, mid, kind, codecs, meanings, direction });
        }
        // In a live session all sections may be inactive: the peer paused them.
        let flows = chosen.iter().any(|c| c.direction != Direction::Inactive);
        match flows || has_data || self.before.is_some() && !chosen.is_empty() {
            true => Ok(chosen),
            false => Err(self.nothing_flows()),
        }
    }

    fn no_codec(&self, kind: MediaKind, up: bool) -> String {
        if !up || self.allowed.is_empty() {
            return format!("no codec that is served; allowed are {}", sdp::codecs::served(kind));
        }
        let names: Vec<&str> = self.allowed.iter().map(|codec| codec.as_str()).collect();
        format!("no codec that this room allows; allowed are {}", names.join(", "))
    }

    pub(crate) fn up_media(
        &mut self,
        chosen: &[Chosen<'_>],
        extensions: &ExtensionMap,
    ) -> Result<Vec<UpMedia>, SdpError> {
        let mut up = Vec::new();
        let mut seen: Vec<Ssrc> = Vec::new();
        for c in chosen.iter().filter(|c| c.is_up()) {
            let ssrcs = c.section.streams();
            for ssrc in ssrcs.iter().flat_map(|s| [Some(s.media), s.rtx]).flatten() {
                if seen.contains(&ssrc) {
                    let wrong =
                        format!("SSRC {ssrc} is named twice in the description; once is allowed");
                    return Err(SdpError::malformed(c.section.place(), wrong));
                }
                if seen.len() == MAX_SSRCS {
                    let wrong = format!("one SSRC too many; at most {MAX_SSRCS} are allowed");
                    return Err(SdpError::unsupported(c.section.place(), wrong));
                }
                seen.push(ssrc);
            }
            let before = self.before.filter(|b| b.keeps(c.section));
            let stays = before.and_then(|b| b.plan.up.iter().find(|u| u.mid == c.mid));
            up.push(UpMedia {
                track: stays.map_or_else(|| self.ids.track(), |u| u.track),
                mid: c.mid,
                kind: c.kind,
                codecs: c.codecs.clone(),
                rids: layers(c, extensions).into_iter().map(|r| r.id).collect(),
                ssrcs,
            });
        }
        Ok(up)
    }

    /// The slots, and the group of each: the nth slots of both kinds belong together. Slots that stay keep their SSRCs
    /// and group.
    pub(crate) fn down_media(&mut self, chosen: &[Chosen<'_>]) -> (Vec<DownMedia>, Vec<usize>) {
        let agreed = self.before;
        let before = agreed.map_or(&[][..], |b| &b.plan.down);
        let groups_before = agreed.map_or(&[][..], |b| &b.groups);
        let streams = before.iter().flat_map(|d| [Some(d.ssrc.media), d.ssrc.rtx]);
        let mut used: Vec<Ssrc> = streams.flatten().collect();
        let slots: Vec<&Chosen<'_>> = chosen.iter().filter(|c| c.is_down()).collect();
        // A mid that moved to another section is a new slot with new SSRCs. With the old ones a receiver would assign
        // the packets to the old section.
        let old = |c: &Chosen<'_>| {
            agreed.filter(|b| b.keeps(c.section))?;
            before.iter().zip(groups_before).find(|(d, _)| d.mid == c.mid)
        };
        let mut taken: Vec<(MediaKind, usize)> =
            slots.iter().filter_map(|c| Some((c.kind, *old(c)?.1))).collect();
        let (mut down, mut groups) = (Vec::new(), Vec::new());
        for c in slots {
            let stays = old(c);
            let group = stays.map_or_else(
                || (0..).find(|n| !taken.contains(&(c.kind, *n))).unwrap_or(0),
                |(_, group)| *group,
            );
            if stays.is_none() {
                taken.push((c.kind, group));
            }
            let ssrc = stays.map(|(d, _)| d.ssrc);
            let media = ssrc.map_or_else(|| self.fresh_ssrc(&mut used), |s| s.media);
            let has_rtx = c.codecs.iter().any(|codec| codec.rtx_pt.is_some());
            let rtx = ssrc.and_then(|s| s.rtx);
            let rtx = rtx.or_else(|| has_rtx.then(|| self.fresh_ssrc(&mut used)));
            down.push(DownMedia {
                mid: c.mid,
                kind: c.kind,
                ssrc: StreamSsrc { media, rtx },
                codecs: c.codecs.clone(),
            });
            groups.push(group);
        }
        (down, groups)
    }

    /// An SSRC that the session does not use yet.
    fn fresh_ssrc(&mut self, used: &mut Vec<Ssrc>) -> Ssrc {
        let mut ssrc = self.random.ssrc();
        // At most 128 are used, so the loop ends even if the source of randomness repeats itself.
        while used.contains(&ssrc) {
            ssrc = Ssrc(ssrc.0.wrapping_add(1).max(1));
        }
        used.push(ssrc);
        ssrc
    }
}

/// Checks what every RTP section needs, whatever its direction.
fn check_form(section: &Section) -> Result<(), SdpError> {
    if !PROTOCOLS.contains(&section.protocol.as_str()) {
        let allowed = PROTOCOLS.join(", ");
        let wrong = format!("protocol {}; allowed are {allowed}", section.protocol);
        return Err(SdpError::unsupported(section.place(), wrong));
    }
    // RFC 8843 section 9.3: bundled RTP needs RTP and RTCP on one port; the node has only one port.
    if !section.rtcp_mux {
        let wrong = "a=rtcp-mux is missing; RTCP on a port of its own is not served";
        return Err(SdpError::unsupported(section.place(), wrong));
    }
    Ok(())
}

/// The simulcast layers that the answer accepts by rid. Without the rid extension their packets could not be told
/// apart (layers that are named by SSRC can), so none is accepted and the publisher sends one stream.
pub(crate) fn layers<'o>(c: &Chosen<'o>, extensions: &ExtensionMap) -> Vec<&'o RidLine> {
    if !accepts(c.section, extensions, Extension::Rid) {
        return Vec::new();
    }
    // RFC 8851 section 6.3: a layer that is restricted to payload types is usable if one of them is agreed.
    let usable = |rid: &&RidLine| {
        rid.payload_types.is_empty()
            || rid.payload_types.iter().any(|pt| c.codecs.iter().any(|codec| codec.pt == *pt))
    };
    c.section.send_layers().into_iter().filter(usable).take(MAX_LAYERS).collect()
}

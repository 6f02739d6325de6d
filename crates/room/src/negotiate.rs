//! From an offer to an answer and a session plan. No state of rooms: what is agreed with a peer depends on its offer
//! and on this node alone, so that slots can be filled later with whatever comes.

use model::{
    CodecSpec, DownMedia, Extension, ExtensionMap, IceCredentials, MediaKind, Mid, SessionId,
    SessionPlan, Ssrc, StreamSsrc, TrackId, UpMedia,
};
use sdp::section::OfferedExtension;
use sdp::{
    AcceptedSection, Answer, AnswerSection, Direction, Flow, LocalTransport, Offer, RidAnswer,
    SdpError, Section, SectionKind, Sending,
};

use crate::RoomConfig;
use crate::random::Random;

/// Most SSRCs of one publisher, retransmissions included.
const MAX_SSRCS: usize = 20;
/// Most simulcast layers of one section; more are not asked for.
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
/// Extensions that viewers get. Transport-wide numbers are absent: no sender-side estimator would read the reports.
const DOWNLINK: [Extension; 6] = [
    Extension::Mid,
    Extension::AbsSendTime,
    Extension::AudioLevel,
    Extension::VideoOrientation,
    Extension::PlayoutDelay,
    Extension::DependencyDescriptor,
];

/// What was agreed.
pub(crate) struct Negotiated {
    pub(crate) plan: SessionPlan,
    pub(crate) answer: String,
    pub(crate) restart: RestartFacts,
}

/// What an ICE restart has to repeat.
#[derive(Debug, Clone)]
pub(crate) struct RestartFacts {
    pub(crate) ice_options: Vec<String>,
    pub(crate) bundle: Vec<Mid>,
    /// Kind, protocol and mid of the section that carries the candidates.
    pub(crate) tagged: (&'static str, String, Mid),
}

/// One negotiation. `next_track` gives ids to the tracks of a publisher.
pub(crate) struct Negotiation<'a> {
    pub(crate) config: &'a RoomConfig,
    pub(crate) random: &'a mut Random,
    pub(crate) next_track: &'a mut u64,
    pub(crate) session: SessionId,
    pub(crate) flow: Flow,
}

/// A section that will be accepted.
struct Chosen<'o> {
    section: &'o Section,
    mid: Mid,
    kind: MediaKind,
    codecs: Vec<CodecSpec>,
    /// As seen by us.
    direction: Direction,
}

impl Negotiation<'_> {
    /// Parses the offer and answers it.
    pub(crate) fn run(mut self, offer: &str) -> Result<Negotiated, SdpError> {
        let offer = Offer::parse(offer)?;
        self.check_whole(&offer)?;
        let peer = offer.peer_transport()?;
        let extensions = self.agree_extensions(&offer);
        let chosen = self.choose_sections(&offer, &extensions)?;
        let (up, down) = match self.flow {
            Flow::FromPeer => (self.up_media(&chosen, &extensions)?, Vec::new()),
            Flow::ToPeer => (Vec::new(), self.down_media(&chosen)),
        };
        let ice = IceCredentials {
            local_ufrag: self.random.ufrag(),
            local_pwd: self.random.pwd(),
            remote_ufrag: peer.ufrag,
            remote_pwd: peer.pwd,
        };
        // RFC 8838 section 3 and RFC 8445 section 10: both tags say what we do too.
        let known = |tag: &String| matches!(tag.as_str(), "trickle" | "ice2");
        let ice_options: Vec<String> = peer.ice_options.into_iter().filter(known).take(2).collect();
        let in_bundle = |mid: &Mid| chosen.iter().any(|c| c.mid == *mid);
        let bundle: Vec<Mid> = offer.bundle.iter().copied().filter(in_bundle).collect();
        let answer = Answer {
            id: self.random.origin_id(),
            bundle: bundle.clone(),
            extmap_allow_mixed: offer.extmap_allow_mixed,
            ice_options: ice_options.clone(),
            transport: LocalTransport {
                ufrag: ice.local_ufrag.clone(),
                pwd: ice.local_pwd.clone(),
                fingerprint: self.config.fingerprint.clone(),
                role: peer.our_role,
                candidates: self.config.candidates.clone(),
            },
            sections: self.answer_sections(&offer, &chosen, &extensions, &up, &down),
        };
        let tagged = bundle.first().and_then(|&mid| chosen.iter().find(|c| c.mid == mid));
        let tagged = tagged.or(chosen.first()).ok_or_else(|| self.nothing_flows())?;
        let restart = RestartFacts {
            tagged: (tagged.kind.as_str(), tagged.section.protocol.clone(), tagged.mid),
            ice_options,
            bundle,
        };
        let plan = SessionPlan {
            id: self.session,
            ice,
            dtls_role: peer.our_role,
            fingerprints: peer.fingerprints,
            extensions,
            up,
            down,
            rtcp_reduced_size: chosen.iter().all(|c| c.section.rtcp_rsize),
            cname: self.config.cname.clone(),
            remote_candidates: peer.candidates,
        };
        Ok(Negotiated { plan, answer: answer.to_text(), restart })
    }

    fn check_whole(&self, offer: &Offer) -> Result<(), SdpError> {
        let most = self.config.limits.sections_per_session;
        if offer.sections.len() > most {
            let wrong =
                format!("{} media sections; at most {most} are allowed", offer.sections.len());
            return Err(SdpError::unsupported("description", wrong));
        }
        // RFC 8445 section 2.5: of two lite agents none would ever send media checks to the other.
        if offer.ice_lite {
            let wrong = "a=ice-lite; this node is ICE-lite too, so the peer has to be a full agent";
            return Err(SdpError::unsupported("head of the description", wrong));
        }
        Ok(())
    }

    fn nothing_flows(&self) -> SdpError {
        let wanted = match self.flow {
            Flow::FromPeer => {
                "no section sends; to publish, at least one must be sendonly or sendrecv"
            }
            Flow::ToPeer => {
                "no section receives; to watch, at least one must be recvonly or sendrecv"
            }
        };
        SdpError::unsupported("description", wanted)
    }

    /// Which sections are accepted. One that the client wants and that cannot be served fails the whole offer, since
    /// half a session misleads its user (RFC 9725 section 4.4.3).
    fn choose_sections<'o>(
        &self,
        offer: &'o Offer,
        extensions: &ExtensionMap,
    ) -> Result<Vec<Chosen<'o>>, SdpError> {
        let mut chosen: Vec<Chosen<'o>> = Vec::new();
        for section in offer.sections.iter().filter(|s| !s.rejected) {
            let kind = match &section.kind {
                SectionKind::Media(kind) => *kind,
                // Data channels are not served; a section of theirs is no media that anyone would miss.
                SectionKind::Application => continue,
                SectionKind::Other(_) => {
                    let wrong = "audio, video and application are the kinds allowed";
                    return Err(SdpError::unsupported(section.place(), wrong));
                }
            };
            let Some(mid) = section.mid else { continue };
            let wanted = match self.flow {
                Flow::FromPeer => section.direction.sends(),
                Flow::ToPeer => section.direction.receives(),
            };
            check_form(section)?;
            if offer.bundle.is_empty() && !chosen.is_empty()
                || !offer.bundle.is_empty() && !offer.bundle.contains(&mid)
            {
                let wrong = "it is outside the BUNDLE group; all sections in one group are allowed";
                return Err(SdpError::unsupported(section.place(), wrong));
            }
            let transport_cc = accepts(section, extensions, Extension::TransportCc);
            let codecs = sdp::choose(section, self.flow, transport_cc);
            if codecs.is_empty() {
                if !wanted {
                    continue;
                }
                let wrong =
                    format!("no codec that is served; allowed are {}", sdp::codecs::served(kind));
                return Err(SdpError::unsupported(section.place(), wrong));
            }
            let direction = match (wanted, self.flow) {
                (false, _) => Direction::Inactive,
                (true, Flow::FromPeer) => Direction::RecvOnly,
                (true, Flow::ToPeer) => Direction::SendOnly,
            };
            chosen.push(Chosen { section, mid, kind, codecs, direction });
        }
        match chosen.iter().any(|c| c.direction != Direction::Inactive) {
            true => Ok(chosen),
            false => Err(self.nothing_flows()),
        }
    }

    /// One map for the bundle; the first id that an extension has counts.
    fn agree_extensions(&self, offer: &Offer) -> ExtensionMap {
        let mut map = ExtensionMap::new();
        let is_media = |s: &&Section| !s.rejected && matches!(s.kind, SectionKind::Media(_));
        for offered in offer.sections.iter().filter(is_media).flat_map(|s| &s.extensions) {
            let Some(extension) = offered.extension else { continue };
            if self.serves(offered, extension) && map.id(extension).is_none() {
                map.set(extension, offered.id);
            }
        }
        map
    }

    fn serves(&self, offered: &OfferedExtension, extension: Extension) -> bool {
        match self.flow {
            Flow::FromPeer => offered.direction.is_none_or(Direction::sends),
            Flow::ToPeer => {
                offered.direction.is_none_or(Direction::receives) && DOWNLINK.contains(&extension)
            }
        }
    }

    fn up_media(
        &mut self,
        chosen: &[Chosen<'_>],
        extensions: &ExtensionMap,
    ) -> Result<Vec<UpMedia>, SdpError> {
        let mut up = Vec::new();
        let mut seen: Vec<Ssrc> = Vec::new();
        for c in chosen.iter().filter(|c| c.direction != Direction::Inactive) {
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
            up.push(UpMedia {
                track: TrackId(*self.next_track),
                mid: c.mid,
                kind: c.kind,
                codecs: c.codecs.clone(),
                rids: layers(c, extensions).into_iter().map(|r| r.id).collect(),
                ssrcs,
            });
            *self.next_track += 1;
        }
        Ok(up)
    }

    fn down_media(&mut self, chosen: &[Chosen<'_>]) -> Vec<DownMedia> {
        let mut used: Vec<Ssrc> = Vec::new();
        let mut down = Vec::new();
        for c in chosen.iter().filter(|c| c.direction != Direction::Inactive) {
            let media = self.fresh_ssrc(&mut used);
            let has_rtx = c.codecs.iter().any(|codec| codec.rtx_pt.is_some());
            let rtx = has_rtx.then(|| self.fresh_ssrc(&mut used));
            down.push(DownMedia {
                mid: c.mid,
                kind: c.kind,
                ssrc: StreamSsrc { media, rtx },
                codecs: c.codecs.clone(),
            });
        }
        down
    }

    /// An SSRC that the session does not have yet.
    fn fresh_ssrc(&mut self, used: &mut Vec<Ssrc>) -> Ssrc {
        let mut ssrc = self.random.ssrc();
        // At most 128 are used, so the walk ends even if the source of randomness is stuck.
        while used.contains(&ssrc) {
            ssrc = Ssrc(ssrc.0.wrapping_add(1).max(1));
        }
        used.push(ssrc);
        ssrc
    }

    fn answer_sections(
        &self,
        offer: &Offer,
        chosen: &[Chosen<'_>],
        extensions: &ExtensionMap,
        up: &[UpMedia],
        down: &[DownMedia],
    ) -> Vec<AnswerSection> {
        let mut of_kind = [0_usize; 2];
        let mut answered = Vec::with_capacity(offer.sections.len());
        for section in &offer.sections {
            let Some(c) = chosen.iter().find(|c| c.section.number == section.number) else {
                answered.push(AnswerSection::Rejected {
                    kind: section.kind.as_str().to_owned(),
                    protocol: section.protocol.clone(),
                    formats: section.formats.clone(),
                    mid: section.mid,
                });
                continue;
            };
            let sending = down.iter().find(|d| d.mid == c.mid).map(|d| {
                let count = &mut of_kind[usize::from(d.kind == MediaKind::Video)];
                let place = *count;
                *count += 1;
                Sending {
                    ssrc: d.ssrc,
                    cname: self.config.cname.clone(),
                    // The nth audio and the nth video slot always carry the same participant (slots.rs).
                    stream: format!("s{place}"),
                    track: format!("{}{place}", d.kind.as_str()),
                }
            });
            let receives = up.iter().any(|u| u.mid == c.mid);
            answered.push(AnswerSection::Accepted(Box::new(AcceptedSection {
                mid: c.mid,
                protocol: section.protocol.clone(),
                direction: c.direction,
                codecs: c.codecs.clone(),
                extensions: self.answer_extensions(section, extensions),
                rids: if receives { answer_rids(c, extensions) } else { Vec::new() },
                simulcast: section.simulcast.is_some(),
                rtcp_mux_only: section.rtcp_mux_only,
                rtcp_rsize: section.rtcp_rsize,
                sending,
            })));
        }
        answered
    }

    /// Ids of the offer are echoed (RFC 8285 section 8); a direction is answered by its reverse.
    fn answer_extensions(
        &self,
        section: &Section,
        map: &ExtensionMap,
    ) -> Vec<(u8, Option<Direction>, String)> {
        let agreed = section.extensions.iter().filter(|offered| {
            offered
                .extension
                .is_some_and(|e| self.serves(offered, e) && map.id(e) == Some(offered.id))
        });
        agreed
            .map(|offered| {
                (offered.id, offered.direction.map(Direction::reversed), offered.uri.clone())
            })
            .collect()
    }
}

/// What every RTP section needs, whatever flows in it.
fn check_form(section: &Section) -> Result<(), SdpError> {
    if !PROTOCOLS.contains(&section.protocol.as_str()) {
        let allowed = PROTOCOLS.join(", ");
        let wrong = format!("protocol {}; allowed are {allowed}", section.protocol);
        return Err(SdpError::unsupported(section.place(), wrong));
    }
    // RFC 8843 section 9.3: bundled RTP needs RTP and RTCP on one port; the node has only one.
    if !section.rtcp_mux {
        let wrong = "a=rtcp-mux is missing; RTCP on a port of its own is not served";
        return Err(SdpError::unsupported(section.place(), wrong));
    }
    Ok(())
}

/// Whether a section uses an agreed extension.
fn accepts(section: &Section, map: &ExtensionMap, extension: Extension) -> bool {
    let id = map.id(extension);
    id.is_some()
        && section.extensions.iter().any(|e| e.extension == Some(extension) && Some(e.id) == id)
}

/// Simulcast layers that are asked for. Packets of layers are told apart by the rid extension or by SSRC; with neither
/// of them simulcast is not agreed, and the publisher sends one stream.
fn layers<'o>(c: &Chosen<'o>, extensions: &ExtensionMap) -> Vec<&'o sdp::attributes::RidLine> {
    if !accepts(c.section, extensions, Extension::Rid) {
        return Vec::new();
    }
    // RFC 8851 section 6.3: a layer that is bound to payload types needs one of them agreed.
    let usable = |rid: &&sdp::attributes::RidLine| {
        rid.payload_types.is_empty()
            || rid.payload_types.iter().any(|pt| c.codecs.iter().any(|codec| codec.pt == *pt))
    };
    c.section.send_layers().into_iter().filter(usable).take(MAX_LAYERS).collect()
}

fn answer_rids(c: &Chosen<'_>, extensions: &ExtensionMap) -> Vec<RidAnswer> {
    let answer = |rid: &sdp::attributes::RidLine| {
        let agreed = |pt: &&model::Pt| c.codecs.iter().any(|codec| codec.pt == **pt);
        let pts: Vec<String> =
            rid.payload_types.iter().filter(agreed).map(ToString::to_string).collect();
        let mut restrictions = String::new();
        if !pts.is_empty() {
            restrictions = format!("pt={}", pts.join(","));
        }
        if !rid.restrictions.is_empty() {
            if !restrictions.is_empty() {
                restrictions.push(';');
            }
            restrictions.push_str(&rid.restrictions);
        }
        RidAnswer { id: rid.id, restrictions }
    };
    layers(c, extensions).into_iter().map(answer).collect()
}

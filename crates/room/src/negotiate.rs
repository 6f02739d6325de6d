//! From an offer to an answer and a session plan. No state of rooms: what is agreed with a peer depends on its offer, on what was
//! agreed with it before, and on this node alone, so that slots can be filled later with whatever comes.

use std::sync::Arc;

use model::{
    CodecSpec, DownMedia, Extension, ExtensionMap, IceCredentials, MediaKind, Mid, SessionId,
    SessionPlan, Ssrc, StreamSsrc, UpMedia,
};
use sdp::section::OfferedExtension;
use sdp::{
    AcceptedSection, Answer, AnswerSection, Direction, Flow, LocalTransport, Offer, PeerTransport,
    RidAnswer, SdpError, Section, SectionKind, Sending,
};

use crate::agreement::{AgreedSection, Agreement, Roles};
use crate::ids::Ids;
use crate::random::Random;
use crate::{RoomConfig, RoomError};

/// Most SSRCs of one publisher, retransmissions included.
const MAX_SSRCS: usize = 20;
/// Most codecs of one section, the first of the offer; browsers offer some twenty. What is agreed is matched with what others agreed.
const MAX_CODECS: usize = 32;
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

/// What a negotiation came to. It changes nothing until the room takes it in.
#[derive(Debug, Clone)]
pub struct Agreed {
    pub(crate) agreement: Agreement,
    /// The answer, `application/sdp`.
    pub(crate) answer: String,
    /// The offer had new credentials: ICE begins anew.
    pub(crate) restarts: bool,
}

impl Agreed {
    /// The session that it is about.
    pub fn session(&self) -> SessionId {
        self.agreement.plan.id
    }
}

/// What an ICE restart has to repeat.
#[derive(Debug, Clone)]
pub(crate) struct RestartFacts {
    pub(crate) ice_options: Vec<String>,
    pub(crate) bundle: Vec<Mid>,
    /// Kind, protocol and mid of the section that carries the candidates.
    pub(crate) tagged: (&'static str, String, Mid),
}

/// From an offer to an answer, outside of any room's turn: it depends on the offer, on this node, and, where a session is
/// renegotiated, on what was agreed before.
pub struct Negotiator<'a> {
    config: &'a RoomConfig,
    ids: &'a Ids,
    random: Random<'a>,
}

/// A negotiation under way.
struct Negotiation<'n, 'a> {
    config: &'n RoomConfig,
    ids: &'n Ids,
    random: &'n mut Random<'a>,
    roles: Roles,
    before: Option<&'n Agreement>,
}

impl<'a> Negotiator<'a> {
    /// `random` fills a buffer from the operating system's generator; credentials and SSRCs come from it.
    pub fn new(config: &'a RoomConfig, ids: &'a Ids, random: &'a mut dyn FnMut(&mut [u8])) -> Self {
        Self { config, ids, random: Random::new(random) }
    }

    /// Answers the first offer of a session.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`.
    pub fn answer(&mut self, roles: Roles, offer: &str) -> Result<Agreed, RoomError> {
        self.negotiation(roles, None).run(offer).map_err(RoomError::from)
    }

    /// Answers a later offer of a session (RFC 3264 section 8). What stays keeps its tracks, SSRCs, payload types and extension
    /// ids.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`.
    pub fn answer_again(&mut self, before: &Agreement, offer: &str) -> Result<Agreed, RoomError> {
        self.negotiation(before.roles, Some(before)).run(offer).map_err(RoomError::from)
    }

    fn negotiation<'n>(
        &'n mut self,
        roles: Roles,
        before: Option<&'n Agreement>,
    ) -> Negotiation<'n, 'a> {
        let Self { config, ids, random } = self;
        Negotiation { config, ids, random, roles, before }
    }
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

impl Chosen<'_> {
    fn is_up(&self) -> bool {
        self.direction.receives()
    }

    fn is_down(&self) -> bool {
        self.direction.sends()
    }
}

impl Negotiation<'_, '_> {
    /// Parses the offer and answers it.
    fn run(mut self, offer: &str) -> Result<Agreed, SdpError> {
        let offer = Offer::parse(offer)?;
        self.check_whole(&offer)?;
        let peer = offer.peer_transport()?;
        self.check_certificate(&peer)?;
        let extensions = self.agree_extensions(&offer)?;
        let chosen = self.choose_sections(&offer, &extensions)?;
        let up = self.up_media(&chosen, &extensions)?;
        let (down, groups) = self.down_media(&chosen);
        let (ice, restarts) = self.credentials(&peer);
        // RFC 8842 section 5.5: without a new DTLS association the roles stay, whatever a=setup says.
        let role = self.before.map_or(peer.our_role, |b| b.plan.dtls_role);
        // RFC 8838 section 3 and RFC 8445 section 10: both tags say what we do too.
        let known = |tag: &String| matches!(tag.as_str(), "trickle" | "ice2");
        let ice_options: Vec<String> = peer.ice_options.into_iter().filter(known).take(2).collect();
        let in_bundle = |mid: &Mid| chosen.iter().any(|c| c.mid == *mid);
        let bundle: Vec<Mid> = offer.bundle.iter().copied().filter(in_bundle).collect();
        let slots: Vec<(&DownMedia, usize)> = down.iter().zip(groups.iter().copied()).collect();
        let answer = Answer {
            id: self.before.map_or_else(|| self.random.origin_id(), |b| b.origin),
            version: self.before.map_or(1, |b| b.version + 1),
            bundle: bundle.clone(),
            extmap_allow_mixed: offer.extmap_allow_mixed,
            ice_options: ice_options.clone(),
            transport: LocalTransport {
                ufrag: ice.local_ufrag.clone(),
                pwd: ice.local_pwd.clone(),
                fingerprint: self.config.fingerprint_line(),
                role,
                candidates: self.config.candidates.clone(),
            },
            sections: self.answer_sections(&offer, &chosen, &extensions, &up, &slots),
        };
        let tagged = bundle.first().and_then(|&mid| chosen.iter().find(|c| c.mid == mid));
        let tagged = tagged.or(chosen.first()).ok_or_else(|| self.nothing_flows())?;
        let restart = RestartFacts {
            tagged: (tagged.kind.as_str(), tagged.section.protocol.clone(), tagged.mid),
            ice_options,
            bundle,
        };
        let sections = agreed_sections(&offer, &chosen);
        let plan = SessionPlan {
            id: self.before.map_or_else(|| self.ids.session(), |b| b.plan.id),
            ice: ice.clone(),
            dtls_role: role,
            fingerprints: peer.fingerprints,
            extensions,
            up,
            down,
            rtcp_reduced_size: chosen.iter().all(|c| c.section.rtcp_rsize),
            cname: self.config.cname.clone(),
            remote_candidates: peer.candidates,
        };
        let agreement = Agreement {
            plan: Arc::new(plan),
            roles: self.roles,
            ice,
            restart,
            origin: answer.id,
            version: answer.version,
            sections,
            groups,
            number: self.before.map_or(0, |b| b.number),
        };
        Ok(Agreed { agreement, answer: answer.to_text(), restarts })
    }

    /// A session has one certificate: another one would be another DTLS association (RFC 8842 section 4).
    fn check_certificate(&self, peer: &PeerTransport) -> Result<(), SdpError> {
        let Some(before) = self.before else { return Ok(()) };
        if before.plan.fingerprints == peer.fingerprints {
            return Ok(());
        }
        let wrong = "a=fingerprint is another one than before; a session keeps its certificate, a new one needs a new session";
        Err(SdpError::unsupported("head of the description, or its first media section", wrong))
    }

    /// Credentials stay while the peer's do; new ones of the peer are an ICE restart (RFC 8839 section 4.4.1.1.1).
    fn credentials(&mut self, peer: &PeerTransport) -> (IceCredentials, bool) {
        let same =
            |b: &&Agreement| b.ice.remote_ufrag == peer.ufrag && b.ice.remote_pwd == peer.pwd;
        if let Some(before) = self.before.filter(same) {
            return (before.ice.clone(), false);
        }
        let ice = IceCredentials {
            local_ufrag: self.random.ufrag(),
            local_pwd: self.random.pwd(),
            remote_ufrag: peer.ufrag.clone(),
            remote_pwd: peer.pwd.clone(),
        };
        (ice, self.before.is_some())
    }

    fn check_whole(&self, offer: &Offer) -> Result<(), SdpError> {
        if let Some(before) = self.before {
            before.check_successor(offer)?;
        }
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
        let wanted = match self.roles {
            Roles::FromPeer => {
                "no section sends; to publish, at least one must be sendonly or sendrecv"
            }
            Roles::ToPeer => {
                "no section receives; to watch, at least one must be recvonly or sendrecv"
            }
            Roles::Both => "no section sends or receives; at least one must",
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
            let transport_cc = accepts(section, extensions, Extension::TransportCc);
            // In a section of both directions the peer's own codecs are the narrower choice.
            let flow = if up || !self.roles.to_peer() { Flow::FromPeer } else { Flow::ToPeer };
            let mut codecs = sdp::choose(section, flow, transport_cc);
            codecs.truncate(MAX_CODECS);
            if codecs.is_empty() {
                if !wanted {
                    continue;
                }
                let wrong =
                    format!("no codec that is served; allowed are {}", sdp::codecs::served(kind));
                return Err(SdpError::unsupported(section.place(), wrong));
            }
            let direction = match (up, down) {
                (false, false) => Direction::Inactive,
                (true, false) => Direction::RecvOnly,
                (false, true) => Direction::SendOnly,
                (true, true) => Direction::SendRecv,
            };
            let old = self.before.and_then(|b| b.sections.get(section.number - 1));
            if let Some(old) = old {
                old.check_codecs(section, &codecs)?;
            }
            chosen.push(Chosen { section, mid, kind, codecs, direction });
        }
        // A session that is there may pause everything.
        let flows = chosen.iter().any(|c| c.direction != Direction::Inactive);
        match flows || self.before.is_some() && !chosen.is_empty() {
            true => Ok(chosen),
            false => Err(self.nothing_flows()),
        }
    }

    /// One map for the bundle; the first id that an extension has counts. Ids that were agreed keep their meaning
    /// (RFC 8285 section 5).
    fn agree_extensions(&self, offer: &Offer) -> Result<ExtensionMap, SdpError> {
        let mut map = ExtensionMap::new();
        let is_media = |s: &&Section| !s.rejected && matches!(s.kind, SectionKind::Media(_));
        for section in offer.sections.iter().filter(is_media) {
            for offered in &section.extensions {
                let Some(extension) = offered.extension else { continue };
                if !self.serves(offered, extension) || map.id(extension).is_some() {
                    continue;
                }
                self.check_extension(section, extension, offered.id)?;
                map.set(extension, offered.id);
            }
        }
        Ok(map)
    }

    fn check_extension(
        &self,
        section: &Section,
        extension: Extension,
        id: u8,
    ) -> Result<(), SdpError> {
        let Some(before) = self.before.map(|b| &b.plan.extensions) else { return Ok(()) };
        let (was, had) = (before.extension(id), before.id(extension));
        if was.is_none_or(|was| was == extension) && had.is_none_or(|had| had == id) {
            return Ok(());
        }
        let wrong =
            format!("a=extmap:{id} {}: ids of extensions keep their meaning", extension.uri());
        Err(SdpError::unsupported(section.place(), wrong))
    }

    fn serves(&self, offered: &OfferedExtension, extension: Extension) -> bool {
        let up = self.roles.from_peer() && offered.direction.is_none_or(Direction::sends);
        let down = self.roles.to_peer()
            && offered.direction.is_none_or(Direction::receives)
            && DOWNLINK.contains(&extension);
        up || down
    }

    fn up_media(
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
            let stays = self.before.and_then(|b| b.plan.up.iter().find(|u| u.mid == c.mid));
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

    /// The slots, and the group of each: the nth slots of both kinds belong together. Slots that stay keep SSRCs and group.
    fn down_media(&mut self, chosen: &[Chosen<'_>]) -> (Vec<DownMedia>, Vec<usize>) {
        let before = self.before.map_or(&[][..], |b| &b.plan.down);
        let groups_before = self.before.map_or(&[][..], |b| &b.groups);
        let streams = before.iter().flat_map(|d| [Some(d.ssrc.media), d.ssrc.rtx]);
        let mut used: Vec<Ssrc> = streams.flatten().collect();
        let slots: Vec<&Chosen<'_>> = chosen.iter().filter(|c| c.is_down()).collect();
        let old = |mid: Mid| before.iter().zip(groups_before).find(|(d, _)| d.mid == mid);
        let mut taken: Vec<(MediaKind, usize)> =
            slots.iter().filter_map(|c| Some((c.kind, *old(c.mid)?.1))).collect();
        let (mut down, mut groups) = (Vec::new(), Vec::new());
        for c in slots {
            let stays = old(c.mid);
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
        slots: &[(&DownMedia, usize)],
    ) -> Vec<AnswerSection> {
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
            let sending = slots.iter().find(|(d, _)| d.mid == c.mid).map(|(d, place)| {
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

/// What a later offer is held against.
fn agreed_sections(offer: &Offer, chosen: &[Chosen<'_>]) -> Arc<[AgreedSection]> {
    let agreed = |section: &Section| {
        let chosen = chosen.iter().find(|c| c.section.number == section.number);
        AgreedSection {
            mid: section.mid,
            kind: section.kind.as_str().to_owned(),
            free: chosen.is_none(),
            codecs: chosen.map(|c| c.codecs.clone()).unwrap_or_default(),
        }
    };
    offer.sections.iter().map(agreed).collect()
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

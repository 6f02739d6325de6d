//! From an offer to an answer and a session plan. No room is involved: the result depends only on the offer, on what
//! was agreed with this peer before, and on this node. So it runs without a room's lock, and the slots can be filled
//! later with any track.

use std::sync::Arc;

use model::{
    Codec, DownMedia, Extension, ExtensionMap, IceCredentials, Mid, SessionId, SessionPlan,
};
use sdp::{Answer, LocalTransport, Offer, PeerTransport, SdpError};

use crate::agreement::{Agreement, Roles};
use crate::answering::agreed_sections;
use crate::data::ChosenData;
use crate::ids::Ids;
use crate::media::Chosen;
use crate::random::Random;
use crate::{RoomConfig, RoomError};

/// The place that errors name when they concern what all sections share.
const TRANSPORT: &str = "head of the description, or its first media section";

/// The result of a negotiation. It changes nothing until [`crate::Room::enter`] or [`crate::Room::renegotiate`]
/// applies it.
#[derive(Debug, Clone)]
pub struct Agreed {
    pub(crate) agreement: Agreement,
    /// The answer, `application/sdp`.
    pub(crate) answer: String,
    /// The offer has new ICE credentials: ICE restarts.
    pub(crate) restarts: bool,
    remarks: Vec<String>,
}

impl Agreed {
    /// The session that was negotiated.
    pub fn session(&self) -> SessionId {
        self.agreement.plan.id
    }

    /// Parts of the offer that were ignored although the client may need them: for the log, at a level that is off by
    /// default.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

/// What the answer to an ICE restart has to repeat.
#[derive(Debug, Clone)]
pub(crate) struct RestartFacts {
    pub(crate) ice_options: Vec<String>,
    pub(crate) bundle: Vec<String>,
    /// Kind, protocol and `a=mid` of the section that carries the candidates.
    pub(crate) tagged: (&'static str, String, Option<String>),
}

/// Makes answers to offers, without a room's lock: an answer depends on the offer, on this node, and, for a
/// renegotiation, on what was agreed before.
pub struct Negotiator<'a> {
    config: &'a RoomConfig,
    ids: &'a Ids,
    random: Random<'a>,
    allowed: &'a [Codec],
}

/// A negotiation under way. Its steps are in `extensions`, `media` and `answering`.
pub(crate) struct Negotiation<'n, 'a> {
    pub(crate) config: &'n RoomConfig,
    pub(crate) ids: &'n Ids,
    pub(crate) random: &'n mut Random<'a>,
    pub(crate) roles: Roles,
    pub(crate) before: Option<&'n Agreement>,
    /// Codecs that the peer may send; empty: all.
    pub(crate) allowed: &'n [Codec],
}

impl<'a> Negotiator<'a> {
    /// `random` fills a buffer from the operating system's random generator; it yields credentials and SSRCs.
    pub fn new(config: &'a RoomConfig, ids: &'a Ids, random: &'a mut dyn FnMut(&mut [u8])) -> Self {
        Self { config, ids, random: Random::new(random), allowed: &[] }
    }

    /// The codecs that the peer may send ([`crate::RoomSettings::codecs`]); without this call, or with none: all.
    #[must_use]
    pub fn allowing(mut self, codecs: &'a [Codec]) -> Self {
        self.allowed = codecs;
        self
    }

    /// Answers the first offer of a session.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`.
    pub fn answer(&mut self, roles: Roles, offer: &str) -> Result<Agreed, RoomError> {
        self.negotiation(roles, None).run(offer).map_err(RoomError::from)
    }

    /// Answers a later offer of a session (RFC 3264 section 8). Sections that stay keep their tracks, SSRCs, payload
    /// types and extension ids.
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
        let Self { config, ids, random, allowed } = self;
        Negotiation { config, ids, random, roles, before, allowed }
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
        let data = self.choose_data(&offer)?;
        let chosen = self.choose_sections(&offer, &extensions, data.is_some())?;
        let up = self.up_media(&chosen, &extensions)?;
        let (down, groups) = self.down_media(&chosen);
        let (ice, restarts) = self.credentials(&peer)?;
        // RFC 8842 section 5.5: without a new DTLS association the roles stay, whatever a=setup says.
        let role = self.before.map_or(peer.our_role, |b| b.plan.dtls_role);
        let restart = self.restart_facts(&offer, &peer, &chosen, data.as_ref())?;
        let slots: Vec<(&DownMedia, usize)> = down.iter().zip(groups.iter().copied()).collect();
        let answer = Answer {
            id: self.before.map_or_else(|| self.random.origin_id(), |b| b.origin),
            version: self.before.map_or(1, |b| b.version + 1),
            bundle: restart.bundle.clone(),
            extmap_allow_mixed: offer.extmap_allow_mixed,
            ice_options: restart.ice_options.clone(),
            transport: LocalTransport {
                ufrag: ice.local_ufrag.clone(),
                pwd: ice.local_pwd.clone(),
                fingerprint: self.config.fingerprint_line(),
                role,
                candidates: self.config.candidates.clone(),
            },
            sections: self.answer_sections(
                &offer,
                &chosen,
                data.as_ref(),
                &extensions,
                &up,
                &slots,
            ),
        };
        let (sections, extension_ids) = (
            agreed_sections(&offer, &chosen, data.as_ref(), self.before),
            self.extension_ids(&extensions),
        );
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
            data: data.map(|data| data.plan),
            remote_candidates: peer.candidates,
        };
        let agreement = Agreement {
            plan: Arc::new(plan),
            roles: self.roles,
            ice,
            restart,
            origin: answer.id,
            version: answer.version,
            extension_ids,
            sections,
            groups,
            number: self.before.map_or(0, |b| b.number),
        };
        let remarks = offer.dropped_extensions;
        Ok(Agreed { agreement, answer: answer.to_text(), restarts, remarks })
    }

    /// What the answer says about the bundle and ICE, and what a later ICE restart has to repeat.
    fn restart_facts(
        &self,
        offer: &Offer,
        peer: &PeerTransport,
        chosen: &[Chosen<'_>],
        data: Option<&ChosenData<'_>>,
    ) -> Result<RestartFacts, SdpError> {
        // RFC 8838 section 3 and RFC 8445 section 10: both options hold for this node too. Other options are not
        // echoed.
        let known = |tag: &&String| matches!(tag.as_str(), "trickle" | "ice2");
        let ice_options = peer.ice_options.iter().filter(known).take(2).cloned().collect();
        let media = chosen.iter().map(|c| (c.mid, c.kind.as_str(), &c.section.protocol));
        let data = data.map(|data| (data.plan.mid, "application", &data.section.protocol));
        let accepted: Vec<_> = media.chain(data).collect();
        let in_bundle = |mid: &&Mid| accepted.iter().any(|(accepted, ..)| accepted == *mid);
        let bundle: Vec<Mid> = offer.bundle.iter().filter(in_bundle).copied().collect();
        let tagged = bundle.first().and_then(|&mid| accepted.iter().find(|(m, ..)| *m == mid));
        let (mid, kind, protocol) =
            *tagged.or(accepted.first()).ok_or_else(|| self.nothing_flows())?;
        Ok(RestartFacts {
            tagged: (kind, protocol.clone(), offer.mid_text(mid)),
            ice_options,
            bundle: bundle.into_iter().filter_map(|mid| offer.mid_text(mid)).collect(),
        })
    }

    /// All ids that extensions have or had in this session.
    fn extension_ids(&self, now: &ExtensionMap) -> Vec<(u8, Extension)> {
        let mut ids = self.before.map(|b| b.extension_ids.clone()).unwrap_or_default();
        for (extension, id) in now.iter() {
            if !ids.contains(&(id, extension)) {
                ids.push((id, extension));
            }
        }
        ids
    }

    /// A session keeps its certificate: another one would need another DTLS association (RFC 8842 section 4).
    fn check_certificate(&self, peer: &PeerTransport) -> Result<(), SdpError> {
        let Some(before) = self.before else { return Ok(()) };
        if before.plan.fingerprints == peer.fingerprints {
            return Ok(());
        }
        let wrong = "a=fingerprint is another one than before; a session keeps its certificate, a new one needs a new session";
        Err(SdpError::unsupported(TRANSPORT, wrong))
    }

    /// Our credentials stay as long as the peer's do. New credentials of the peer are an ICE restart, and get new ones
    /// of ours.
    fn credentials(&mut self, peer: &PeerTransport) -> Result<(IceCredentials, bool), SdpError> {
        if let Some(before) = self.before {
            let same = [before.ice.remote_ufrag == peer.ufrag, before.ice.remote_pwd == peer.pwd];
            match same {
                [true, true] => return Ok((before.ice.clone(), false)),
                [false, false] => {}
                // RFC 8839 section 4.4.1.1.1: a restart changes both. If only one changed, it is a mistake of the
                // client, and every connectivity check would fail after it.
                _ => {
                    let wrong = "one of a=ice-ufrag and a=ice-pwd is new; an ICE restart needs both to be new";
                    return Err(SdpError::unsupported(TRANSPORT, wrong));
                }
            }
        }
        let ice = IceCredentials {
            local_ufrag: self.random.ufrag(),
            local_pwd: self.random.pwd(),
            remote_ufrag: peer.ufrag.clone(),
            remote_pwd: peer.pwd.clone(),
        };
        Ok((ice, self.before.is_some()))
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
        // RFC 8445 section 2.5: a lite agent sends no checks, so two of them would never connect.
        if offer.ice_lite {
            let wrong = "a=ice-lite; this node is ICE-lite too, so the peer has to be a full agent";
            return Err(SdpError::unsupported("head of the description", wrong));
        }
        Ok(())
    }

    pub(crate) fn nothing_flows(&self) -> SdpError {
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
}

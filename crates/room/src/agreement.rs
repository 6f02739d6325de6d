//! What was agreed with a peer, and what a later offer of the same session has to keep (RFC 3264 section 8, RFC 8829 section 5.2.2).

use std::sync::Arc;

use model::{Extension, IceCredentials, Mid, Pt, SessionId, SessionPlan};
use sdp::codecs::Meaning;
use sdp::{MidText, Offer, SdpError, Section};

use crate::negotiate::RestartFacts;

/// Which directions a session's media sections may have. Roles belong to sections: a session may have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// The peer sends (WHIP).
    FromPeer,
    /// The peer receives (WHEP).
    ToPeer,
    /// Either, or both in one section (a room session).
    Both,
}

impl Roles {
    /// Whether the peer may send.
    pub fn from_peer(self) -> bool {
        self != Roles::ToPeer
    }

    /// Whether the peer may receive.
    pub fn to_peer(self) -> bool {
        self != Roles::FromPeer
    }
}

/// What was agreed with the peer of one session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agreement {
    pub(crate) plan: Arc<SessionPlan>,
    pub(crate) roles: Roles,
    /// The current ICE credentials.
    pub(crate) ice: IceCredentials,
    pub(crate) restart: RestartFacts,
    /// `sess-id` of the answers' origin line.
    pub(crate) origin: u64,
    /// `sess-version` of the last answer.
    pub(crate) version: u64,
    /// All ids that header extensions have or had in this session.
    pub(crate) extension_ids: Vec<(u8, Extension)>,
    /// The sections of the last offer, in its order.
    pub(crate) sections: Arc<[AgreedSection]>,
    /// The group of each slot, in the order of `SessionPlan::down`.
    pub(crate) groups: Vec<usize>,
    /// Counts the changes of the session. A negotiation that began at another number is refused: it does not know the
    /// last change and would undo it.
    pub(crate) number: u64,
}

/// A section of the last offer.
#[derive(Debug, Clone)]
pub(crate) struct AgreedSection {
    pub(crate) mid: Option<Mid>,
    pub(crate) mid_text: MidText,
    pub(crate) kind: String,
    /// The section was rejected, by the peer or by this node: a later offer may use its place for something else.
    pub(crate) free: bool,
    /// The offer says that the section carries slides (RFC 4796 section 5).
    pub(crate) slides: bool,
    /// All meanings that agreed payload types have or had in this section, including those of retransmissions.
    pub(crate) payloads: Vec<(Pt, Meaning)>,
}

impl Agreement {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.plan.id
    }

    /// The directions that its sections may have.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// Whether the offer says that this section carries slides.
    pub(crate) fn is_slides(&self, mid: Mid) -> bool {
        self.sections.iter().any(|section| section.mid == Some(mid) && section.slides)
    }

    /// Whether a section of a later offer continues the section that had its place before. False when it uses the
    /// place of a rejected one.
    pub(crate) fn keeps(&self, section: &Section) -> bool {
        let old = self.sections.get(section.number - 1);
        old.is_some_and(|old| !old.free && old.mid == section.mid)
    }

    /// Checks that an offer may follow the last one.
    pub(crate) fn check_successor(&self, offer: &Offer) -> Result<(), SdpError> {
        let (before, now) = (self.sections.len(), offer.sections.len());
        if now < before {
            // RFC 3264 section 8: the number of m-lines never falls.
            let wrong = format!(
                "{now} media sections where the last offer had {before}; sections are given up with port 0, not left out"
            );
            return Err(SdpError::unsupported("description", wrong));
        }
        for (old, section) in self.sections.iter().zip(&offer.sections) {
            old.check_successor(section)?;
        }
        Ok(())
    }
}

impl AgreedSection {
    fn check_successor(&self, section: &Section) -> Result<(), SdpError> {
        if self.free || section.rejected {
            return Ok(());
        }
        let same = (self.mid, &self.mid_text) == (section.mid, &section.mid_text);
        if self.kind != section.kind.as_str() || !same {
            let mid = match (&self.mid_text, self.mid) {
                (MidText::Same, Some(mid)) => format!(" with a=mid:{mid}"),
                (MidText::Long(text), _) => format!(" with a=mid:{text}"),
                _ => String::new(),
            };
            let wrong = format!(
                "the last offer had m={}{mid} at this place; sections keep their order, kind and mid",
                self.kind
            );
            return Err(SdpError::unsupported(section.place(), wrong));
        }
        Ok(())
    }

    /// RFC 3264 section 8.3.2: a payload type keeps its meaning. Unserved codecs are checked too: if a payload type
    /// changed to one of them, its packets under way would be taken for the agreed codec.
    pub(crate) fn check_payloads(&self, section: &Section) -> Result<(), SdpError> {
        if self.free {
            return Ok(());
        }
        for payload in &section.payloads {
            let known = self.payloads.iter().find(|(pt, _)| *pt == payload.pt);
            let Some((pt, before)) = known else { continue };
            if sdp::codecs::meaning(payload) != Some(*before) {
                let wrong = format!(
                    "payload type {pt} was {before} in an earlier offer; payload types keep their meaning"
                );
                return Err(SdpError::unsupported(section.place(), wrong));
            }
        }
        Ok(())
    }
}

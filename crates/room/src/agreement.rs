//! What was agreed with a peer, and what a later offer of the same session has to keep (RFC 3264 section 8, RFC 8829 section 5.2.2).

use std::sync::Arc;

use model::{CodecSpec, IceCredentials, Mid, SessionId, SessionPlan};
use sdp::{Offer, SdpError, Section};

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

/// One session's agreement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agreement {
    pub(crate) plan: Arc<SessionPlan>,
    pub(crate) roles: Roles,
    /// Credentials now.
    pub(crate) ice: IceCredentials,
    pub(crate) restart: RestartFacts,
    /// Of the origin line.
    pub(crate) origin: u64,
    /// `sess-version` of the last answer.
    pub(crate) version: u64,
    /// The sections of the last offer, in order.
    pub(crate) sections: Arc<[AgreedSection]>,
    /// Slots and their groups, as `SessionPlan::down`.
    pub(crate) groups: Vec<usize>,
    /// Counts changes: whoever negotiated on another state of the session has to begin anew.
    pub(crate) number: u64,
}

/// A section of the last offer.
#[derive(Debug, Clone)]
pub(crate) struct AgreedSection {
    pub(crate) mid: Option<Mid>,
    pub(crate) kind: String,
    /// Rejected, by either side: the place may be used for something else.
    pub(crate) free: bool,
    pub(crate) codecs: Vec<CodecSpec>,
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

    /// Whether an offer may follow the last one.
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
        if self.kind != section.kind.as_str() || self.mid != section.mid {
            let mid = self.mid.map_or_else(String::new, |mid| format!(" with a=mid:{mid}"));
            let wrong = format!(
                "the last offer had m={}{mid} at this place; sections keep their order, kind and mid",
                self.kind
            );
            return Err(SdpError::unsupported(section.place(), wrong));
        }
        Ok(())
    }

    /// RFC 3264 section 8.3.2: a payload type keeps its meaning.
    pub(crate) fn check_codecs(
        &self,
        section: &Section,
        codecs: &[CodecSpec],
    ) -> Result<(), SdpError> {
        if self.free {
            return Ok(());
        }
        for codec in codecs {
            let same = |c: &&CodecSpec| c.pt == codec.pt;
            let moved = self.codecs.iter().find(same).filter(|old| {
                (old.codec, old.clock_rate, old.channels)
                    != (codec.codec, codec.clock_rate, codec.channels)
            });
            if let Some(old) = moved {
                let wrong = format!(
                    "payload type {} was {} in the last offer; payload types keep their meaning",
                    codec.pt,
                    old.codec.as_str()
                );
                return Err(SdpError::unsupported(section.place(), wrong));
            }
        }
        Ok(())
    }
}

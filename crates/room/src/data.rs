//! Chooses the section of an offer that carries data channels (RFC 8841), and answers it.

use model::data::MESSAGE_MAX;
use model::{DataPlan, Mid};
use sdp::{AnswerSection, DataSection, Offer, SdpError, Section, SectionKind};

use crate::agreement::Roles;
use crate::negotiate::Negotiation;

/// Protocols of data channel sections (RFC 8841 section 4.2). Over TCP the peer would need ICE candidates of TCP, which it does not use
/// with this node; the word alone changes nothing (RFC 8841 section 9.1 has it for the default candidate).
const PROTOCOLS: [&str; 2] = ["UDP/DTLS/SCTP", "TCP/DTLS/SCTP"];
/// The format of data channel sections (RFC 8832 section 8.1).
const FORMAT: &str = "webrtc-datachannel";
/// The port where an offer has no `a=sctp-port`: the one that all browsers use.
const DEFAULT_PORT: u16 = 5_000;
/// RFC 8841 section 6.1: without `a=max-message-size` it is 64 KiB.
const DEFAULT_MESSAGE_SIZE: u32 = 65_536;

/// A data channel section that will be accepted.
pub(crate) struct ChosenData<'o> {
    pub(crate) section: &'o Section,
    pub(crate) plan: DataPlan,
}

impl Negotiation<'_, '_> {
    /// The first section of data channels in an offer to a room session. Any other is answered with port 0, and the offer is not
    /// refused: no media is missing, and messages come over the events too. WHIP and WHEP have no data channels (RFC 9725 section 4.4).
    pub(crate) fn choose_data<'o>(
        &self,
        offer: &'o Offer,
    ) -> Result<Option<ChosenData<'o>>, SdpError> {
        let serves = |section: &&Section| {
            section.kind == SectionKind::Application
                && !section.rejected
                && PROTOCOLS.contains(&section.protocol.as_str())
                && section.formats == FORMAT
                // RFC 8841 section 5.2: port 0 means that the association is closed.
                && section.sctp_port != Some(0)
        };
        if self.roles != Roles::Both {
            return Ok(None);
        }
        let Some(section) = offer.sections.iter().find(serves) else { return Ok(None) };
        let Some(mid) = section.mid else { return Ok(None) };
        if !self.shares_transport(offer, section, mid) {
            let wrong = "it is outside the BUNDLE group; all sections in one group are allowed";
            return Err(SdpError::unsupported(section.place(), wrong));
        }
        let plan = DataPlan {
            mid,
            sctp_port: section.sctp_port.unwrap_or(DEFAULT_PORT),
            max_message_size: section.max_message_size.unwrap_or(DEFAULT_MESSAGE_SIZE),
        };
        Ok(Some(ChosenData { section, plan }))
    }

    /// Without a group each section would have a transport of its own, so only one could be served.
    fn shares_transport(&self, offer: &Offer, section: &Section, mid: Mid) -> bool {
        let others = offer.sections.iter().filter(|other| !other.rejected);
        offer.bundle.contains(&mid)
            || offer.bundle.is_empty() && others.count() == 1 && !section.rejected
    }
}

impl ChosenData<'_> {
    pub(crate) fn answer(&self, offer: &Offer) -> AnswerSection {
        AnswerSection::Data(DataSection {
            mid: offer.mid_text(self.plan.mid),
            protocol: self.section.protocol.clone(),
            sctp_port: self.plan.sctp_port,
            max_message_size: MESSAGE_MAX,
        })
    }
}

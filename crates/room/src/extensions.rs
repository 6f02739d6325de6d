//! Header extensions (RFC 8285): one map of ids for all sections of the bundle.

use model::{Extension, ExtensionMap};
use sdp::section::OfferedExtension;
use sdp::{Direction, Offer, SdpError, Section, SectionKind};

use crate::negotiate::Negotiation;

/// Extensions of what is sent to viewers. Transport-wide sequence numbers are absent: the node has no sender-side
/// estimator that would read the reports.
const DOWNLINK: [Extension; 6] = [
    Extension::Mid,
    Extension::AbsSendTime,
    Extension::AudioLevel,
    Extension::VideoOrientation,
    Extension::PlayoutDelay,
    Extension::DependencyDescriptor,
];

impl Negotiation<'_, '_> {
    /// Agrees one map for the bundle. If an extension has several ids in the offer, the first usable one is taken.
    pub(crate) fn agree_extensions(&self, offer: &Offer) -> Result<ExtensionMap, SdpError> {
        let mut map = ExtensionMap::new();
        let is_media = |s: &&Section| !s.rejected && matches!(s.kind, SectionKind::Media(_));
        for section in offer.sections.iter().filter(is_media) {
            for offered in &section.extensions {
                self.check_extension(section, offered)?;
                let Some(extension) = offered.extension else { continue };
                let usable =
                    self.serves(offered, extension) && self.fits(offer, offered, extension);
                if usable && map.id(extension).is_none() {
                    map.set(extension, offered.id);
                }
            }
        }
        Ok(map)
    }

    /// An agreed id keeps its meaning as long as the session lives (RFC 8285 section 5). It must not change to an
    /// unknown extension either: packets under way would be misread.
    fn check_extension(
        &self,
        section: &Section,
        offered: &OfferedExtension,
    ) -> Result<(), SdpError> {
        let agreed = self.before.map_or(&[][..], |b| &b.extension_ids);
        let moved = agreed
            .iter()
            .find(|(id, extension)| (*id == offered.id) != (Some(*extension) == offered.extension));
        let Some((id, extension)) = moved else { return Ok(()) };
        let wrong = format!(
            "a=extmap:{} {}, though {id} was {}: ids of extensions keep their meaning",
            offered.id,
            offered.uri,
            extension.uri()
        );
        Err(SdpError::unsupported(section.place(), wrong))
    }

    /// Whether packets to the peer may carry the extension. If the peer does not allow the one-byte and the two-byte
    /// form in one stream (RFC 8285 section 4.1.2), only extensions that always fit into the one-byte form are used.
    /// The mid extension is used only if the mids fit into it; otherwise it could not tell sections apart.
    fn fits(&self, offer: &Offer, offered: &OfferedExtension, extension: Extension) -> bool {
        let one_byte = offered.id <= 14 && extension != Extension::DependencyDescriptor;
        let form = !self.roles.to_peer() || one_byte || offer.allows_mixed();
        form && (extension != Extension::Mid || offer.mids_are_theirs())
    }

    fn serves(&self, offered: &OfferedExtension, extension: Extension) -> bool {
        let up = self.roles.from_peer() && offered.direction.is_none_or(Direction::sends);
        let down = self.roles.to_peer()
            && offered.direction.is_none_or(Direction::receives)
            && DOWNLINK.contains(&extension);
        up || down
    }

    /// The extensions of an answer: the ids of the offer (RFC 8285 section 8), each direction reversed.
    pub(crate) fn answer_extensions(
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

/// Whether a section offers an agreed extension under the agreed id.
pub(crate) fn accepts(section: &Section, map: &ExtensionMap, extension: Extension) -> bool {
    let id = map.id(extension);
    id.is_some()
        && section.extensions.iter().any(|e| e.extension == Some(extension) && Some(e.id) == id)
}

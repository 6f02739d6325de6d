//! Header extensions (RFC 8285): one map of ids for the whole bundle.

use model::{Extension, ExtensionMap};
use sdp::section::OfferedExtension;
use sdp::{Direction, Offer, SdpError, Section, SectionKind};

use crate::negotiate::Negotiation;

/// Extensions that viewers get. Transport-wide numbers are absent: no sender-side estimator would read the reports.
const DOWNLINK: [Extension; 6] = [
    Extension::Mid,
    Extension::AbsSendTime,
    Extension::AudioLevel,
    Extension::VideoOrientation,
    Extension::PlayoutDelay,
    Extension::DependencyDescriptor,
];

impl Negotiation<'_, '_> {
    /// One map for the bundle; the first id that an extension has counts.
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

    /// Ids that were agreed keep their meaning as long as the session lives (RFC 8285 section 5), also towards extensions that are
    /// unknown here: a packet that is on its way would be misread.
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

    /// Whether what is sent to the peer may carry the extension. Where the two forms of extensions must not be mixed in a stream
    /// (RFC 8285 section 4.1.2), only those are used that always fit into the one-byte form. The mid extension tells sections apart only
    /// where their names fit into it.
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

    /// Ids of the offer are echoed (RFC 8285 section 8); a direction is answered by its reverse.
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

/// Whether a section uses an agreed extension.
pub(crate) fn accepts(section: &Section, map: &ExtensionMap, extension: Extension) -> bool {
    let id = map.id(extension);
    id.is_some()
        && section.extensions.iter().any(|e| e.extension == Some(extension) && Some(e.id) == id)
}

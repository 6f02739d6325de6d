//! A peer's offer as a typed view. Its form is checked here; what of it is served is decided elsewhere.

use std::net::SocketAddr;

use model::{DtlsRole, Fingerprint, Mid};
use sdp_types::ParserError;

use crate::section::{Direction, MidText, Section, SectionKind, value_of};
use crate::transport::{Setup, TransportLines};
use crate::{SdpError, attributes, candidate, form, limits};

/// The place that errors name when they concern no media section.
const HEAD: &str = "head of the description";

/// A session description that a peer offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Sections of the BUNDLE group in its order, by [`Section::mid`]; empty when there is no such group.
    pub bundle: Vec<Mid>,
    /// The peer is ICE-lite.
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` (RFC 8285 section 6) for the whole description.
    pub extmap_allow_mixed: bool,
    /// The ICE and DTLS lines at the session level.
    pub transport: TransportLines,
    /// Media sections in their order.
    pub sections: Vec<Section>,
    /// Extensions that were ignored since their id has another meaning in an earlier section, as texts.
    pub dropped_extensions: Vec<String>,
}

/// The peer's side of the single transport, collected from the sections and the session level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTransport {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// ICE options.
    pub ice_options: Vec<String>,
    /// Certificate fingerprints; one has to match.
    pub fingerprints: Vec<Fingerprint>,
    /// The DTLS role that is left for this node.
    pub our_role: DtlsRole,
    /// The candidates that can be used.
    pub candidates: Vec<SocketAddr>,
}

impl Offer {
    /// Parses a description.
    ///
    /// # Errors
    /// [`Fault::Malformed`](crate::Fault::Malformed) with the line or section, what is wrong and what is allowed;
    /// [`Fault::Unsupported`](crate::Fault::Unsupported) for more than one BUNDLE group.
    pub fn parse(text: &str) -> Result<Offer, SdpError> {
        let text = form::tidied(text);
        limits::check(&text)?;
        let parsed = sdp_types::Session::parse(text.as_bytes()).map_err(parser_error)?;
        let mut offer = Offer {
            bundle: Vec::new(),
            ice_lite: false,
            extmap_allow_mixed: false,
            transport: TransportLines::default(),
            sections: Vec::new(),
            dropped_extensions: Vec::new(),
        };
        let head = |wrong| SdpError::malformed(HEAD, wrong);
        let mut direction = Direction::SendRecv;
        let mut bundle: Option<&str> = None;
        for attribute in &parsed.attributes {
            let value = value_of(attribute);
            match attribute.attribute.as_str() {
                // Other groupings (such as LS) do not concern a forwarder.
                "group" if value.split_ascii_whitespace().next() == Some("BUNDLE") => {
                    if bundle.replace(value).is_some() {
                        let wrong = "two BUNDLE groups; one is allowed";
                        return Err(SdpError::unsupported(HEAD, wrong));
                    }
                }
                "ice-lite" => offer.ice_lite = true,
                "extmap-allow-mixed" => offer.extmap_allow_mixed = true,
                name => {
                    offer.transport.read(name, value).map_err(head)?;
                    direction = Direction::parse(name).unwrap_or(direction);
                }
            }
        }
        let is_alone = parsed.medias.len() == 1;
        for (at, media) in parsed.medias.iter().enumerate() {
            let section = Section::parse(at + 1, media, direction, is_alone)?;
            offer.sections.push(section);
        }
        offer.name_sections();
        offer.check_mids()?;
        offer.read_group(bundle.unwrap_or(""))?;
        offer.drop_extensions();
        Ok(offer)
    }

    /// The text of a section's `a=mid`; `None` when the section has none.
    pub fn mid_text(&self, mid: Mid) -> Option<String> {
        let section = self.sections.iter().find(|s| s.mid == Some(mid));
        match section.map(|s| &s.mid_text) {
            Some(MidText::Long(text)) => Some(text.clone()),
            Some(MidText::Absent) => None,
            _ => Some(mid.to_string()),
        }
    }

    /// Whether all sections have the mids that the peer wrote. Only then can the mid header extension tell them apart.
    pub fn mids_are_theirs(&self) -> bool {
        self.sections.iter().all(|s| s.mid_text == MidText::Same)
    }

    /// Whether both forms of header extensions may be sent to the peer in one stream (RFC 8285 section 6), in every
    /// section.
    pub fn allows_mixed(&self) -> bool {
        let asks = |s: &Section| !s.rejected && matches!(s.kind, SectionKind::Media(_));
        self.extmap_allow_mixed
            || self.sections.iter().filter(|s| asks(s)).all(|s| s.extmap_allow_mixed)
    }

    /// The peer's side of the transport. Each value is taken from the first bundled section that has it, in the order
    /// of the group, since that is the offerer-tagged one (RFC 8843 section 7.1); otherwise from the session level.
    ///
    /// # Errors
    /// Credentials or fingerprint missing (`Malformed`); hash function or setup role not supported (`Unsupported`).
    pub fn peer_transport(&self) -> Result<PeerTransport, SdpError> {
        let place = || "head of the description, or its first media section";
        let missing = |line: &str| SdpError::malformed(place(), format!("{line} is missing"));
        let sections = self.in_bundle_order();
        let lines: Vec<&TransportLines> =
            sections.iter().map(|s| &s.transport).chain([&self.transport]).collect();
        // Both credentials are taken from the same place (RFC 8839 section 5.4).
        let with_ufrag = lines.iter().find(|l| l.ufrag.is_some());
        let ufrag =
            with_ufrag.and_then(|l| l.ufrag.clone()).ok_or_else(|| missing("a=ice-ufrag"))?;
        let pwd = with_ufrag.and_then(|l| l.pwd.clone()).ok_or_else(|| missing("a=ice-pwd"))?;
        let fingerprints = lines.iter().find(|l| !l.fingerprints.is_empty());
        let fingerprints = match fingerprints {
            Some(lines) => lines.fingerprints.clone(),
            None if lines.iter().any(|l| l.foreign_fingerprint) => {
                let allowed = "the hash of a=fingerprint is not served; sha-256, sha-384 and sha-512 are allowed";
                return Err(SdpError::unsupported(place(), allowed));
            }
            None => return Err(missing("a=fingerprint")),
        };
        // RFC 8842 section 5.2 requires actpass in an offer. RFC 9725 section 4.4.4 allows active for WHIP clients,
        // and some write passive. Without the line, the choice is this node's.
        let our_role = match lines.iter().find_map(|l| l.setup) {
            None | Some(Setup::ActPass | Setup::Active) => DtlsRole::Passive,
            Some(Setup::Passive) => DtlsRole::Active,
            Some(Setup::HoldConn) => {
                let allowed = "a=setup:holdconn; actpass, active and passive are allowed";
                return Err(SdpError::unsupported(place(), allowed));
            }
        };
        let ice_options = lines.iter().find(|l| !l.ice_options.is_empty());
        let mut candidates: Vec<SocketAddr> = Vec::new();
        for &address in lines.iter().flat_map(|l| &l.candidates) {
            if candidates.len() < candidate::MAX_CANDIDATES && !candidates.contains(&address) {
                candidates.push(address);
            }
        }
        Ok(PeerTransport {
            ufrag,
            pwd,
            ice_options: ice_options.map(|l| l.ice_options.clone()).unwrap_or_default(),
            fingerprints,
            our_role,
            candidates,
        })
    }

    /// The sections that are not rejected: those of the bundle in its order, then the others.
    pub fn in_bundle_order(&self) -> Vec<&Section> {
        let place = |s: &Section| {
            self.bundle.iter().position(|&mid| Some(mid) == s.mid).unwrap_or(usize::MAX)
        };
        let mut sections: Vec<&Section> = self.sections.iter().filter(|s| !s.rejected).collect();
        sections.sort_by_key(|s| place(s));
        sections
    }

    fn read_group(&mut self, value: &str) -> Result<(), SdpError> {
        for text in value.split_ascii_whitespace().skip(1) {
            let wrong = |w: String| SdpError::malformed(HEAD, format!("a=group:BUNDLE: {w}"));
            let named = attributes::mid(text).map_err(wrong)?;
            let is_named = |s: &&Section| match &s.mid_text {
                MidText::Same => s.mid.is_some() && s.mid == named,
                MidText::Long(long) => long == text,
                // The section is the only one, so the group means it.
                MidText::Absent => true,
            };
            let Some(mid) = self.sections.iter().find(is_named).and_then(|s| s.mid) else {
                return Err(wrong(format!("it names mid {text}, which no section has")));
            };
            if !self.bundle.contains(&mid) {
                self.bundle.push(mid);
            }
        }
        Ok(())
    }

    /// Names the sections without a mid that the node can use: `~` and their number, or the next number that is free.
    fn name_sections(&mut self) {
        for at in 0..self.sections.len() {
            if self.sections[at].mid.is_some() || self.sections[at].mid_text == MidText::Same {
                continue;
            }
            let taken = |name: Mid| self.sections.iter().any(|s| s.mid == Some(name));
            let names = (at + 1..).map(|number| Mid::parse(&format!("~{number}")));
            // At most as many names are taken as there are sections.
            let free = names.take(2 * limits::MAX_SECTIONS).flatten().find(|name| !taken(*name));
            self.sections[at].mid = free;
        }
    }

    fn check_mids(&self) -> Result<(), SdpError> {
        for (at, section) in self.sections.iter().enumerate() {
            let is_same = |s: &Section| {
                s.mid.is_some() && s.mid == section.mid
                    || matches!(s.mid_text, MidText::Long(_)) && s.mid_text == section.mid_text
            };
            if self.sections[..at].iter().any(is_same) {
                let wrong = "its mid is that of an earlier section; each needs its own";
                return Err(SdpError::malformed(section.place(), wrong));
            }
        }
        Ok(())
    }

    /// Within a bundle an id stands for one extension (RFC 8843 section 9.2, RFC 8285 section 8). Some clients number
    /// each section independently: then the first section's meaning of an id is taken, and extensions with another
    /// meaning are ignored.
    fn drop_extensions(&mut self) {
        let mut uris: [Option<String>; 256] = [const { None }; 256];
        for section in &mut self.sections {
            let place = section.place();
            section.extensions.retain(|extension| {
                let known = &mut uris[usize::from(extension.id)];
                let uri = known.get_or_insert_with(|| extension.uri.clone());
                let keeps = *uri == extension.uri;
                if !keeps {
                    let dropped = format!("{place}: a=extmap:{} {}", extension.id, extension.uri);
                    self.dropped_extensions.push(format!("{dropped}; the id stands for {uri}"));
                }
                keeps
            });
        }
    }
}

/// Keeps the parser's text, which names the line, and changes only the type of the error.
fn parser_error(error: ParserError) -> SdpError {
    let place = match &error {
        ParserError::InvalidLineFormat(n, _)
        | ParserError::InvalidFieldEncoding(n, _)
        | ParserError::InvalidFieldFormat(n, _)
        | ParserError::MissingField(n, _)
        | ParserError::FieldTrailingData(n, _)
        | ParserError::InvalidVersion(n, _)
        | ParserError::MultipleVersions(n)
        | ParserError::MultipleOrigins(n)
        | ParserError::MultipleSessionNames(n)
        | ParserError::MultipleSessionDescription(n)
        | ParserError::MultipleUris(n)
        | ParserError::MultipleConnections(n)
        | ParserError::MultipleTimeZones(n)
        | ParserError::MultipleMediaTitles(n)
        | ParserError::MultipleKeys(n)
        | ParserError::RepeatWithoutTime(n) => format!("line {n}"),
        _ => "line 1".to_owned(),
    };
    let reason = match &error {
        ParserError::NoVersion => "a description begins with v=0 (RFC 8866 section 5.1)".to_owned(),
        ParserError::InvalidVersion(..) => "v=0 is the only version".to_owned(),
        ParserError::InvalidLineFormat(_, what) => {
            format!("{what}; a letter, '=' and a value are allowed (RFC 8866 section 5)")
        }
        ParserError::InvalidFieldEncoding(_, field) => format!("{field} is not UTF-8"),
        ParserError::InvalidFieldFormat(_, field) => {
            format!("{field} is not of the form of RFC 8866 section 5")
        }
        ParserError::MissingField(_, field) => format!("{field} is missing"),
        ParserError::FieldTrailingData(_, field) => format!("{field} has more fields than allowed"),
        other => format!("{other}; once is allowed"),
    };
    SdpError::malformed(place, reason)
}

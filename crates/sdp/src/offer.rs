//! A peer's offer as a typed view: what it wrote, checked for form. What is served of it is decided elsewhere.

use std::net::SocketAddr;

use model::{DtlsRole, Fingerprint, Mid};
use sdp_types::ParserError;

use crate::section::{Direction, Section, Setup, TransportLines};
use crate::{SdpError, attributes, candidate, limits};

/// A session description that a peer offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Mids of the BUNDLE group in its order; empty when nothing is bundled.
    pub bundle: Vec<Mid>,
    /// The peer is ICE-lite.
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` (RFC 8285 section 6) for the whole description.
    pub extmap_allow_mixed: bool,
    /// ICE and DTLS lines at the head of the description.
    pub transport: TransportLines,
    /// Media sections in their order.
    pub sections: Vec<Section>,
}

/// The peer's side of the one transport, put together from the sections and the head.
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
    /// The role that falls to us.
    pub our_role: DtlsRole,
    /// Candidates of use.
    pub candidates: Vec<SocketAddr>,
}

impl Offer {
    /// Parses a description.
    ///
    /// # Errors
    /// [`Fault::Malformed`](crate::Fault::Malformed) with the line or section, what is wrong and what is allowed;
    /// [`Fault::Unsupported`](crate::Fault::Unsupported) for more than one BUNDLE group.
    pub fn parse(text: &str) -> Result<Offer, SdpError> {
        limits::check(text)?;
        let parsed = sdp_types::Session::parse(text.as_bytes()).map_err(parser_error)?;
        let mut offer = Offer {
            bundle: Vec::new(),
            ice_lite: false,
            extmap_allow_mixed: false,
            transport: TransportLines::default(),
            sections: Vec::new(),
        };
        let head = |wrong| SdpError::malformed("head of the description", wrong);
        let mut direction = Direction::SendRecv;
        for attribute in &parsed.attributes {
            let value = attribute.value.as_deref().unwrap_or("");
            match attribute.attribute.as_str() {
                "group" => offer.read_group(value)?,
                "ice-lite" => offer.ice_lite = true,
                "extmap-allow-mixed" => offer.extmap_allow_mixed = true,
                name => {
                    offer.transport.read(name, value).map_err(head)?;
                    direction = Direction::parse(name).unwrap_or(direction);
                }
            }
        }
        for (at, media) in parsed.medias.iter().enumerate() {
            let section = Section::parse(at + 1, media, direction)?;
            offer.sections.push(section);
        }
        offer.check_mids()?;
        offer.check_extension_ids()?;
        Ok(offer)
    }

    /// The peer's side of the transport. A value is taken from the first bundled section that states it, in the order
    /// of the group, since that is the offerer-tagged one (RFC 8843 section 7.1); else from the head.
    ///
    /// # Errors
    /// Credentials or fingerprint missing (`Malformed`); hash function or setup role not served (`Unsupported`).
    pub fn peer_transport(&self) -> Result<PeerTransport, SdpError> {
        let place = || "head of the description, or its first media section";
        let missing = |line: &str| SdpError::malformed(place(), format!("{line} is missing"));
        let sections = self.in_bundle_order();
        let lines: Vec<&TransportLines> =
            sections.iter().map(|s| &s.transport).chain([&self.transport]).collect();
        // Both credentials come from the same place (RFC 8839 section 5.4).
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
        // RFC 8842 section 5.2 wants actpass of an offer; RFC 9725 section 4.4.4 lets WHIP clients say active, and
        // some say passive. Without the line the peer is taken to leave the choice to us.
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

    /// Sections that are not rejected: those of the bundle in its order, then the others.
    pub fn in_bundle_order(&self) -> Vec<&Section> {
        let place = |s: &Section| {
            self.bundle.iter().position(|&mid| Some(mid) == s.mid).unwrap_or(usize::MAX)
        };
        let mut sections: Vec<&Section> = self.sections.iter().filter(|s| !s.rejected).collect();
        sections.sort_by_key(|s| place(s));
        sections
    }

    fn read_group(&mut self, value: &str) -> Result<(), SdpError> {
        let place = "head of the description";
        let mut fields = value.split_ascii_whitespace();
        // Other groupings (LS) say nothing that concerns a forwarder.
        if fields.next() != Some("BUNDLE") {
            return Ok(());
        }
        if !self.bundle.is_empty() {
            return Err(SdpError::unsupported(place, "two BUNDLE groups; one is allowed"));
        }
        for text in fields {
            let mid = attributes::mid(text)
                .map_err(|w| SdpError::malformed(place, format!("a=group:BUNDLE: {w}")))?;
            if self.bundle.len() == limits::MAX_SECTIONS {
                let most = limits::MAX_SECTIONS;
                let wrong = format!("a=group:BUNDLE names too many sections; {most} are allowed");
                return Err(SdpError::malformed(place, wrong));
            }
            if !self.bundle.contains(&mid) {
                self.bundle.push(mid);
            }
        }
        Ok(())
    }

    fn check_mids(&self) -> Result<(), SdpError> {
        for (at, section) in self.sections.iter().enumerate() {
            let Some(mid) = section.mid else { continue };
            if self.sections[..at].iter().any(|s| s.mid == Some(mid)) {
                let wrong = "its mid is that of an earlier section; each needs its own";
                return Err(SdpError::malformed(section.place(), wrong));
            }
        }
        match self.bundle.iter().find(|&&mid| !self.sections.iter().any(|s| s.mid == Some(mid))) {
            Some(mid) => Err(SdpError::malformed(
                "head of the description",
                format!("a=group:BUNDLE names mid {mid}, which no section has"),
            )),
            None => Ok(()),
        }
    }

    /// In a bundle an id stands for one extension (RFC 8843 section 9.2, RFC 8285 section 8).
    fn check_extension_ids(&self) -> Result<(), SdpError> {
        let mut uris: [Option<&str>; 256] = [None; 256];
        for section in &self.sections {
            for extension in &section.extensions {
                let known = &mut uris[usize::from(extension.id)];
                match known {
                    Some(uri) if *uri != extension.uri => {
                        let wrong = format!(
                            "a=extmap:{} stands for {}, and for {uri} in an earlier section; one is allowed",
                            extension.id, extension.uri
                        );
                        return Err(SdpError::malformed(section.place(), wrong));
                    }
                    _ => *known = Some(&extension.uri),
                }
            }
        }
        Ok(())
    }
}

/// The parser names the line in its text; only the form of the error is changed.
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

//! The ICE and DTLS lines of a section, or of the session level of a description or fragment.

use std::net::SocketAddr;

use model::Fingerprint;

use crate::attributes::{self, Wrong};
use crate::candidate;

/// The number of fingerprints that are kept; one of them has to match.
const MAX_FINGERPRINTS: usize = 8;

/// `a=setup` (RFC 4145 section 4, RFC 8842 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// The peer can take either role.
    ActPass,
    /// The peer begins the handshake.
    Active,
    /// The peer waits for the handshake.
    Passive,
    /// No connection for now; not supported.
    HoldConn,
}

/// The ICE and DTLS lines of a section, or of the session level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportLines {
    /// `a=ice-ufrag`
    pub ufrag: Option<String>,
    /// `a=ice-pwd`
    pub pwd: Option<String>,
    /// `a=ice-options`
    pub ice_options: Vec<String>,
    /// `a=fingerprint` lines with a supported hash function.
    pub fingerprints: Vec<Fingerprint>,
    /// There was a fingerprint with an unsupported hash function.
    pub foreign_fingerprint: bool,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=candidate` lines that can be used, at most [`candidate::MAX_CANDIDATES`].
    pub candidates: Vec<SocketAddr>,
}

impl TransportLines {
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        match name {
            "ice-ufrag" => self.ufrag = Some(attributes::ice_text(name, value, 4)?),
            "ice-pwd" => self.pwd = Some(attributes::ice_text(name, value, 22)?),
            "ice-options" => {
                // RFC 8839 section 5.6 separates them by spaces; libdatachannel writes commas.
                let tags = value.split([' ', ',']).filter(|t| !t.is_empty());
                self.ice_options = tags.map(str::to_owned).collect();
            }
            "fingerprint" => match attributes::fingerprint(value)? {
                Some(f) if self.fingerprints.len() < MAX_FINGERPRINTS => self.fingerprints.push(f),
                Some(_) => {}
                None => self.foreign_fingerprint = true,
            },
            "setup" => {
                self.setup = Some(match value {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "holdconn" => Setup::HoldConn,
                    other => {
                        return Err(format!(
                            "a=setup:{other}; actpass, active and passive are allowed"
                        ));
                    }
                });
            }
            "candidate" if self.candidates.len() < candidate::MAX_CANDIDATES => {
                self.candidates.extend(candidate::parse(value));
            }
            _ => {}
        }
        Ok(())
    }
}

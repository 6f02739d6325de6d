//! `[http]`, second part: requests that the node makes itself.

use std::path::PathBuf;

use signaling::{Network, Outbound};

use super::raw::{ConfigError, Raw, RawConfig};

/// Where the node's own requests may go, and whose certificates they trust.
#[derive(Debug)]
pub(crate) struct OutboundSettings {
    /// Private ranges that may be connected to.
    allow: Vec<Network>,
    /// A file with roots of certificates beside the public ones.
    ca: Option<PathBuf>,
}

impl OutboundSettings {
    pub(super) fn resolve(raw: &mut RawConfig) -> Result<Self, ConfigError> {
        let allow = raw.take(
            "http.outbound_allow",
            "a list of IP addresses and networks, as in \"10.0.0.0/8\"",
            |raw| raw.list()?.iter().map(|text| text.parse().ok()).collect(),
        )?;
        let plain = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
        let ca = raw.take(
            "http.outbound_ca",
            "the path of a PEM file with certificates",
            |raw: &Raw| raw.text().filter(plain).map(PathBuf::from),
        )?;
        let settings = Self { allow: allow.unwrap_or_default(), ca };
        settings.build().map(|_| settings)
    }

    /// What makes the requests. The file is read.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn build(&self) -> Result<Outbound, ConfigError> {
        Outbound::new(self.allow.clone(), self.ca.as_deref())
            .map_err(|error| ConfigError::Conflict(format!("http.outbound_ca: {error}")))
    }
}

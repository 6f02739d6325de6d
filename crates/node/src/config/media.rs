//! `[media]`: the UDP port, the addresses that clients are told, the workers.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use transport::Consent;

use super::bounds::MediaBounds;
use super::raw::{ConfigError, Raw, RawConfig};

/// The settings of the media side.
#[derive(Debug)]
pub(crate) struct MediaSettings {
    /// The UDP port of all media; 0: any free one.
    pub(crate) port: u16,
    /// Addresses to bind; empty: all.
    pub(crate) bind: Vec<IpAddr>,
    /// Addresses that clients are told; empty: those of the interfaces.
    pub(crate) advertise: Vec<IpAddr>,
    /// Interfaces whose addresses are used; empty: all.
    pub(crate) interfaces: Vec<String>,
    /// Worker threads; `None`: one for each core.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Pin each worker to a core.
    pub(crate) pin: bool,
    /// What keeps a session alive.
    pub(crate) consent: Consent,
    /// The resources that one participant may use.
    pub(crate) bounds: MediaBounds,
}

const DEFAULT_PORT: u16 = 7882;
const MAX_WORKERS: usize = 253;

impl MediaSettings {
    pub(super) fn resolve(raw: &mut RawConfig) -> Result<Self, ConfigError> {
        let port = raw
            .take("media.port", "a UDP port from 1 to 65535, or 0 for any free one", Raw::parse)?
            .unwrap_or(DEFAULT_PORT);
        let bind = raw
            .take("media.bind", "a list of IP addresses, at most one of each family", |raw| {
                addresses(raw).filter(|list| {
                    list.iter().filter(|ip| ip.is_ipv4()).count() <= 1
                        && list.iter().filter(|ip| ip.is_ipv6()).count() <= 1
                })
            })?
            .unwrap_or_default();
        let advertise = raw
            .take("media.advertise", "a list of IP addresses that clients can reach", |raw| {
                addresses(raw)
                    .filter(|list| list.iter().all(|ip| !ip.is_unspecified() && !ip.is_multicast()))
            })?
            .unwrap_or_default();
        let interfaces = raw
            .take("media.interfaces", "a list of interface names", Raw::list)?
            .unwrap_or_default();
        let workers = raw.take("media.workers", "a whole number from 1 to 253", |raw| {
            raw.parse().filter(|n: &NonZeroUsize| n.get() <= MAX_WORKERS)
        })?;
        let pin = raw.take("media.pin", "true or false", |raw| raw.boolean())?.unwrap_or(true);
        let consent = raw
            .take("media.consent", "checks, checks-or-media or any", |raw| match raw.text()? {
                "checks" => Some(Consent::Checks),
                "checks-or-media" => Some(Consent::ChecksOrMedia),
                "any" => Some(Consent::Any),
                _ => None,
            })?
            .unwrap_or_default();
        let bounds = MediaBounds::resolve(raw)?;
        Ok(Self { port, bind, advertise, interfaces, workers, pin, consent, bounds })
    }
}

fn addresses(raw: &Raw) -> Option<Vec<IpAddr>> {
    raw.list()?.iter().map(|text| text.parse().ok()).collect()
}

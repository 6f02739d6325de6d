//! `[http]`: listeners, origins, rate limits.

use std::net::SocketAddr;

use signaling::{Limits, OriginRule, Rate};

use super::raw::{ConfigError, Raw, RawConfig};

/// The HTTP side.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    /// Where the world connects.
    pub(crate) listen: SocketAddr,
    /// Where metrics and health are served without authentication, if anywhere.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Pages of other origins that may call.
    pub(crate) cors_origins: Vec<OriginRule>,
    /// Rates, sizes, deadlines.
    pub(crate) limits: Limits,
}

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

const ADDRESS: &str = "an IP address and a port, as in 127.0.0.1:8080 or [::]:8080";

impl HttpSettings {
    pub(super) fn resolve(raw: &mut RawConfig) -> Result<Self, ConfigError> {
        let listen = raw.take("http.listen", ADDRESS, Raw::parse)?.unwrap_or(DEFAULT_LISTEN);
        let metrics_listen = raw.take("http.metrics_listen", ADDRESS, Raw::parse)?;
        let origins = raw.take(
            "http.cors_origins",
            "a list of origins as in \"https://app.example\"; a port may be *, and a lone * is \
             every origin",
            |raw| raw.list()?.iter().map(|text| OriginRule::parse(text).ok()).collect(),
        )?;
        // A page that somebody develops on this machine may call a node on this machine.
        let cors_origins = match origins {
            Some(origins) => origins,
            None if listen.ip().is_loopback() => OriginRule::localhost(),
            None => Vec::new(),
        };
        Ok(Self { listen, metrics_listen, cors_origins, limits: limits(raw)? })
    }

    /// Whether only this machine can connect.
    pub(crate) fn is_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

fn limits(raw: &mut RawConfig) -> Result<Limits, ConfigError> {
    let defaults = Limits::default();
    let rate = |raw: &mut RawConfig, per_second, burst, default: Rate| {
        Ok::<Rate, ConfigError>(Rate {
            per_second: raw
                .take(per_second, "a number of requests per second, 0 for no limit", |raw| {
                    raw.parse().filter(|n: &f64| n.is_finite() && *n >= 0.0)
                })?
                .unwrap_or(default.per_second),
            burst: raw
                .take(burst, "a whole number from 1", |raw| raw.parse().filter(|n: &u32| *n > 0))?
                .unwrap_or(default.burst),
        })
    };
    Ok(Limits {
        per_address: rate(
            raw,
            "http.requests_per_second",
            "http.requests_burst",
            defaults.per_address,
        )?,
        per_token: rate(
            raw,
            "http.token_requests_per_second",
            "http.token_requests_burst",
            defaults.per_token,
        )?,
        connections: raw
            .take("http.connections", "a whole number from 1 to 1000000", |raw| {
                raw.parse().filter(|n: &usize| (1..=1_000_000).contains(n))
            })?
            .unwrap_or(defaults.connections),
        ..defaults
    })
}

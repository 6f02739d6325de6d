//! `[http]`: listeners, TLS, proxies, origins, rate limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use signaling::{Limits, Network, OriginRule, Rate};

use super::raw::{ConfigError, Raw, RawConfig};

/// The settings of the HTTP side.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    /// The address of the public listener.
    pub(crate) listen: SocketAddr,
    /// The address of the listener for metrics and health without authentication, if there is one.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Certificate chain and key of `listen`, if it uses TLS.
    pub(crate) tls: Option<TlsFiles>,
    /// Proxies whose word on their clients' addresses is taken.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Those proxies use the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    /// Origins whose pages may call the API.
    pub(crate) cors_origins: Vec<OriginRule>,
    /// Rates, sizes, deadlines.
    pub(crate) limits: Limits,
}

/// The files of certificate and key, in PEM.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    /// The chain, the node's own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

const ADDRESS: &str = "an IP address and a port, as in 127.0.0.1:8080 or [::]:8080";

impl HttpSettings {
    /// The settings, and the origins if they are configured. Their default depends on authentication, which is
    /// resolved after the address: the caller takes it from [`HttpSettings::default_origins`].
    pub(super) fn resolve(
        raw: &mut RawConfig,
    ) -> Result<(Self, Option<Vec<OriginRule>>), ConfigError> {
        let listen = raw.take("http.listen", ADDRESS, Raw::parse)?.unwrap_or(DEFAULT_LISTEN);
        let metrics_listen = raw.take("http.metrics_listen", ADDRESS, Raw::parse)?;
        let tls = tls(raw)?;
        let trusted_proxies: Vec<Network> = raw
            .take(
                "http.trusted_proxies",
                "a list of IP addresses and networks, as in \"10.0.0.0/8\"",
                |raw| raw.list()?.iter().map(|text| text.parse().ok()).collect(),
            )?
            .unwrap_or_default();
        let proxy_protocol = proxy_protocol(raw, &trusted_proxies)?;
        let origins = raw.take(
            "http.cors_origins",
            "a list of origins as in \"https://app.example\"; a port may be *, and a lone * is \
             every origin",
            |raw| raw.list()?.iter().map(|text| OriginRule::parse(text).ok()).collect(),
        )?;
        let limits = limits(raw)?;
        let cors_origins = Vec::new();
        let settings = Self {
            listen,
            metrics_listen,
            tls,
            trusted_proxies,
            proxy_protocol,
            cors_origins,
            limits,
        };
        Ok((settings, origins))
    }

    /// The origins whose pages may call the API by default; `open`: no tokens are required.
    pub(super) fn default_origins(&self, open: bool) -> Vec<OriginRule> {
        if !open {
            // What a page may do depends on the token that it sends. A browser adds nothing of its own to a call,
            // neither a cookie nor a certificate, so a page without a token may do no more than any other client
            // without one.
            return vec![OriginRule::any()];
        }
        // A page that is developed on this machine may call a node on this machine.
        if self.is_loopback() { OriginRule::localhost() } else { Vec::new() }
    }

    /// Whether only this machine can connect.
    pub(crate) fn is_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

fn tls(raw: &mut RawConfig) -> Result<Option<TlsFiles>, ConfigError> {
    let plain = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    let path = |raw: &Raw| raw.text().filter(plain).map(PathBuf::from);
    let certificate =
        raw.take("http.tls_cert", "the path of a PEM file with certificates", path)?;
    let key = raw.take("http.tls_key", "the path of a PEM file with a private key", path)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (one, _) => {
            let (set, missing) = match one {
                Some(_) => ("http.tls_cert", "http.tls_key"),
                None => ("http.tls_key", "http.tls_cert"),
            };
            Err(ConfigError::Conflict(format!(
                "{set} is set, and {missing} is not; TLS needs both"
            )))
        }
    }
}

fn proxy_protocol(raw: &mut RawConfig, trusted: &[Network]) -> Result<bool, ConfigError> {
    let on =
        raw.take("http.proxy_protocol", "true or false", |raw| raw.boolean())?.unwrap_or(false);
    if on && trusted.is_empty() {
        return Err(ConfigError::Conflict(
            "http.proxy_protocol is on, and http.trusted_proxies is empty: anybody can write such a header, so it is \
             read from trusted proxies only. Name them"
                .into(),
        ));
    }
    Ok(on)
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
        idle_timeout: raw
            .take("http.idle_seconds", "a whole number of seconds from 1 to 3600", |raw| {
                raw.parse().filter(|n: &u64| (1..=3600).contains(n)).map(Duration::from_secs)
            })?
            .unwrap_or(defaults.idle_timeout),
        ..defaults
    })
}

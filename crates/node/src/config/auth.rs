//! `[auth]`: keys of bearer tokens, or the explicit setting that turns authentication off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signaling::{
    AuthConfig, ExpiredSessions, FixedKeys, KeysFile, KeysUrl, Outbound, OutboundUrl, Secret,
    TokenConfig,
};
use toml::Value;

use super::Mode;
use super::raw::{ConfigError, Raw, RawConfig};

/// The settings of authentication.
#[derive(Debug)]
pub(crate) struct AuthSettings {
    /// Secrets by id.
    pub(crate) keys: BTreeMap<String, Secret>,
    /// Public keys by id: a PEM text, or the path of a file with one.
    public_keys: BTreeMap<String, String>,
    /// The file of `auth.jwks_file`.
    jwks_file: Option<PathBuf>,
    /// The URL of `auth.jwks_url`.
    jwks_url: Option<OutboundUrl>,
    /// How long a session stays after its token expired.
    expiry_grace: Duration,
    /// Which sessions end when their token expires.
    expired_sessions: ExpiredSessions,
    /// The audience that tokens must name.
    pub(crate) audience: Option<String>,
    /// Authentication is off because the operator explicitly set it so.
    pub(crate) insecure_no_auth: bool,
}

/// HS256 needs a key of at least the hash's size (RFC 7518 section 3.2).
const MIN_KEY_BYTES: usize = 32;

impl AuthSettings {
    pub(super) fn resolve(
        raw: &mut RawConfig,
        mode: Mode,
        loopback: bool,
    ) -> Result<Self, ConfigError> {
        let keys = raw
            .take_secret(
                "auth.keys",
                "a table of id = \"secret\" (elsewhere id=secret,..) with secrets of 32 bytes or more",
                keys,
            )?
            .unwrap_or_default();
        let public_keys = raw
            .take(
                "auth.public_keys",
                "a table of id = \"path of a PEM file, or its text\" (elsewhere id=path,..)",
                public_keys,
            )?
            .unwrap_or_default();
        let jwks_file = raw.take("auth.jwks_file", "the path of a JSON file", path)?;
        let jwks_url = raw.take(
            "auth.jwks_url",
            "an https URL (http only with an address of this machine)",
            |raw| raw.text()?.parse().ok(),
        )?;
        let expiry_grace = raw.take(
            "auth.expiry_grace_seconds",
            "a whole number of seconds from 0 to 3600",
            |raw| raw.parse().filter(|n: &u64| *n <= 3_600).map(Duration::from_secs),
        )?;
        let expired_sessions =
            raw.take("auth.expired_sessions", "members, all or keep", |raw| match raw.text()? {
                "members" => Some(ExpiredSessions::Members),
                "all" => Some(ExpiredSessions::All),
                "keep" => Some(ExpiredSessions::Keep),
                _ => None,
            })?;
        let audience = raw.take("auth.audience", "a text that is not empty", |raw| {
            raw.text().filter(|text| !text.is_empty()).map(str::to_owned)
        })?;
        let no_auth = raw
            .take("auth.insecure_no_auth", "true or false", |raw| raw.boolean())?
            .unwrap_or(false);
        let settings = Self {
            keys,
            public_keys,
            jwks_file,
            jwks_url,
            expiry_grace: expiry_grace.unwrap_or(Duration::from_secs(30)),
            expired_sessions: expired_sessions.unwrap_or_default(),
            audience,
            insecure_no_auth: no_auth,
        };
        settings.check(mode, loopback)?;
        Ok(settings)
    }

    fn check(&self, mode: Mode, loopback: bool) -> Result<(), ConfigError> {
        let no_auth = self.insecure_no_auth;
        if let Some(key) = self.source()
            && (no_auth || mode == Mode::Demo)
        {
            let other = if no_auth { "auth.insecure_no_auth" } else { "demo" };
            return Err(ConfigError::Conflict(format!(
                "{key} is set, and {other} turns authentication off; only one is possible"
            )));
        }
        if self.is_open() && !no_auth && !loopback {
            return Err(ConfigError::Conflict(
                "http.listen is no loopback address, and no key of tokens is set: everyone who reaches \
                 the node could publish and watch. Set auth.keys, auth.public_keys, auth.jwks_file or \
                 auth.jwks_url, or allow this explicitly with auth.insecure_no_auth = true or --insecure-no-auth"
                    .into(),
            ));
        }
        self.token_config().map(|_| ())
    }

    /// The first setting that brings keys.
    fn source(&self) -> Option<&'static str> {
        [
            ("auth.keys", !self.keys.is_empty()),
            ("auth.public_keys", !self.public_keys.is_empty()),
            ("auth.jwks_file", self.jwks_file.is_some()),
            ("auth.jwks_url", self.jwks_url.is_some()),
        ]
        .into_iter()
        .find_map(|(key, set)| set.then_some(key))
    }

    /// Whether there is no authentication.
    pub(crate) fn is_open(&self) -> bool {
        self.source().is_none()
    }

    /// The same settings as signaling takes them. Files are read.
    ///
    /// # Errors
    /// A key or a file that cannot be used.
    pub(crate) fn for_signaling(&self, outbound: &Outbound) -> Result<AuthConfig, ConfigError> {
        if self.is_open() {
            return Ok(AuthConfig::Open);
        }
        let url = self.jwks_url.clone().map(|url| Arc::new(KeysUrl::new(url, outbound.clone())));
        let tokens = self.token_config()?;
        Ok(AuthConfig::Tokens(TokenConfig { url, ..tokens }))
    }

    /// All but the keys of the URL.
    fn token_config(&self) -> Result<TokenConfig, ConfigError> {
        let mut keys = FixedKeys::default();
        for (id, secret) in &self.keys {
            let added = keys.add_secret(id, secret);
            added.map_err(|why| ConfigError::Conflict(format!("auth.keys, {id}: {why}")))?;
        }
        for (id, text) in &self.public_keys {
            let bad = |why: &dyn std::fmt::Display| {
                ConfigError::Conflict(format!("auth.public_keys, {id}: {why}"))
            };
            let pem = match text.contains("-----BEGIN") {
                true => text.clone(),
                false => std::fs::read_to_string(Path::new(text))
                    .map_err(|error| bad(&format_args!("{text}: {error}")))?,
            };
            keys.add_public(id, &pem).map_err(|why| bad(&why))?;
        }
        let load = |path: &PathBuf| KeysFile::load(path.clone());
        let file = self.jwks_file.as_ref().map(load).transpose();
        let file =
            file.map_err(|error| ConfigError::Conflict(format!("auth.jwks_file: {error}")))?;
        Ok(TokenConfig {
            keys,
            file: file.map(Arc::new),
            url: None,
            audience: self.audience.clone(),
            expiry_grace: self.expiry_grace,
            expired_sessions: self.expired_sessions,
        })
    }
}

fn keys(raw: &Raw) -> Option<BTreeMap<String, Secret>> {
    let pairs = pairs(raw)?;
    let good = pairs.iter().all(|(id, secret)| !id.is_empty() && secret.len() >= MIN_KEY_BYTES);
    good.then(|| pairs.into_iter().map(|(id, secret)| (id, Secret::new(secret))).collect())
}

fn public_keys(raw: &Raw) -> Option<BTreeMap<String, String>> {
    let pairs = pairs(raw)?;
    let good = |(id, text): &(String, String)| !id.is_empty() && !text.is_empty();
    pairs.iter().all(good).then(|| pairs.into_iter().collect())
}

fn path(raw: &Raw) -> Option<PathBuf> {
    let plain = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    raw.text().filter(plain).map(PathBuf::from)
}

/// A table of texts in the file; `key=value,..` elsewhere.
fn pairs(raw: &Raw) -> Option<Vec<(String, String)>> {
    match raw {
        Raw::Toml(Value::Table(table)) => {
            table.iter().map(|(id, text)| Some((id.clone(), text.as_str()?.to_owned()))).collect()
        }
        Raw::Toml(_) => None,
        Raw::Text(text) => text
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| pair.split_once('='))
            .map(|pair| pair.map(|(id, text)| (id.trim().to_owned(), text.trim().to_owned())))
            .collect(),
    }
}

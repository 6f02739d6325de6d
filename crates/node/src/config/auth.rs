//! `[auth]`: keys of bearer tokens, or the explicit setting that turns authentication off.

use std::collections::BTreeMap;

use signaling::{AuthConfig, Secret};
use toml::Value;

use super::Mode;
use super::raw::{ConfigError, Raw, RawConfig};

/// The settings of authentication.
#[derive(Debug)]
pub(crate) struct AuthSettings {
    /// Keys by id. Without keys there is no authentication.
    pub(crate) keys: BTreeMap<String, Secret>,
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
        let audience = raw.take("auth.audience", "a text that is not empty", |raw| {
            raw.text().filter(|text| !text.is_empty()).map(str::to_owned)
        })?;
        let no_auth = raw
            .take("auth.insecure_no_auth", "true or false", |raw| raw.boolean())?
            .unwrap_or(false);
        if !keys.is_empty() && (no_auth || mode == Mode::Demo) {
            let other = if no_auth { "auth.insecure_no_auth" } else { "demo" };
            return Err(ConfigError::Conflict(format!(
                "auth.keys is set, and {other} turns authentication off; only one is possible"
            )));
        }
        if keys.is_empty() && !no_auth && !loopback {
            return Err(ConfigError::Conflict(
                "http.listen is no loopback address, and auth.keys is empty: everyone who reaches \
                 the node could publish and watch. Set auth.keys, or allow this explicitly with \
                 auth.insecure_no_auth = true or --insecure-no-auth"
                    .into(),
            ));
        }
        Ok(Self { keys, audience, insecure_no_auth: no_auth })
    }

    /// Whether there is no authentication.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The same settings as signaling takes them.
    pub(crate) fn for_signaling(&self) -> AuthConfig {
        if self.is_open() {
            return AuthConfig::Open;
        }
        let keys = self.keys.iter().map(|(id, secret)| (id.clone(), secret.clone())).collect();
        AuthConfig::Tokens { keys, audience: self.audience.clone() }
    }
}

fn keys(raw: &Raw) -> Option<BTreeMap<String, Secret>> {
    let pairs: Vec<(String, String)> = match raw {
        Raw::Toml(Value::Table(table)) => table
            .iter()
            .map(|(id, secret)| Some((id.clone(), secret.as_str()?.to_owned())))
            .collect::<Option<_>>()?,
        Raw::Toml(_) => return None,
        Raw::Text(text) => text
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| pair.split_once('='))
            .map(|pair| pair.map(|(id, secret)| (id.trim().to_owned(), secret.trim().to_owned())))
            .collect::<Option<_>>()?,
    };
    let good = pairs.iter().all(|(id, secret)| !id.is_empty() && secret.len() >= MIN_KEY_BYTES);
    good.then(|| pairs.into_iter().map(|(id, secret)| (id, Secret::new(secret))).collect())
}

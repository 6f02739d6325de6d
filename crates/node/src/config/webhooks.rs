//! `[webhooks]`: who is told what happens in the rooms.

use std::path::PathBuf;

use signaling::{OutboundUrl, WebhookConfig, WebhookLimits, WebhookSecret};

use super::raw::{ConfigError, Raw, RawConfig};

/// Most URLs: each gets every event.
const URLS_MAX: usize = 8;

/// The settings of webhooks; `None` without a URL.
pub(super) fn resolve(raw: &mut RawConfig) -> Result<Option<WebhookConfig>, ConfigError> {
    let urls: Option<Vec<OutboundUrl>> = raw.take_secret(
        "webhooks.urls",
        "a list of at most 8 https URLs (http only with an address of this machine)",
        |raw| {
            let urls = raw.list().filter(|urls| urls.len() <= URLS_MAX)?;
            urls.iter().map(|url| url.parse().ok()).collect()
        },
    )?;
    let secrets: Option<Vec<WebhookSecret>> = raw.take_secret(
        "webhooks.secret",
        "whsec_ and base64 of 24 bytes or more, or a text of 24 bytes or more; or a list of such",
        secrets,
    )?;
    let plain = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    let dir = raw.take("webhooks.dir", "the path of a directory", |raw: &Raw| {
        raw.text().filter(plain).map(PathBuf::from)
    })?;
    let urls = urls.unwrap_or_default();
    if urls.is_empty() {
        return Ok(None);
    }
    let need = |key: &str, why: &str| {
        ConfigError::Conflict(format!("webhooks.urls is set, and {key} is not: {why}"))
    };
    let secrets = secrets.ok_or_else(|| {
        need("webhooks.secret", "receivers could not tell the node's requests from those of others")
    })?;
    let dir = dir.ok_or_else(|| {
        need("webhooks.dir", "events that wait would be lost when the node stops")
    })?;
    Ok(Some(WebhookConfig { urls, secrets, dir, limits: WebhookLimits::default() }))
}

/// One secret, or several in a list.
fn secrets(raw: &Raw) -> Option<Vec<WebhookSecret>> {
    let texts = match raw {
        Raw::Toml(toml::Value::String(one)) => vec![one.clone()],
        raw => raw.list()?,
    };
    let secrets: Option<Vec<_>> = texts.iter().map(|text| text.parse().ok()).collect();
    secrets.filter(|secrets| !secrets.is_empty())
}

//! `[log]`: level and format of the log.

use tracing_subscriber::EnvFilter;

use super::raw::{ConfigError, RawConfig};

/// The settings of the log.
#[derive(Debug)]
pub(crate) struct LogSettings {
    /// A level, or directives of `tracing`: `info,sfumato_signaling=debug`.
    pub(crate) level: String,
    /// The format of a line.
    pub(crate) format: LogFormat,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people to read.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogSettings {
    pub(super) fn resolve(raw: &mut RawConfig) -> Result<Self, ConfigError> {
        let level = raw.take(
            "log.level",
            "error, warn, info, debug or trace, or directives as in info,sfumato_signaling=debug",
            |raw| {
                let text = raw.text()?.trim();
                // `tracing` would read a single word that is no level as the name of a module.
                let lone = !text.contains(['=', ',']);
                let level = matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace");
                (EnvFilter::try_new(text).is_ok() && (level || !lone)).then(|| text.to_owned())
            },
        )?;
        let format = raw.take("log.format", "text or json", |raw| match raw.text()? {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?;
        Ok(Self {
            level: level.unwrap_or_else(|| "info".into()),
            format: format.unwrap_or(LogFormat::Text),
        })
    }
}

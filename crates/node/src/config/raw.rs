//! The first step of configuration: collects the values with their origin, without judging them. File, environment and
//! flags are merged; for each key the value with the highest precedence is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::cli;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "in {}", path.display()),
            Origin::Env(name) => write!(f, "in the environment as {name}"),
            Origin::Flag(flag) => write!(f, "as {flag}"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// The file cannot be read, or is not TOML.
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system or of the parser.
        why: String,
    },
    /// A key that does not exist.
    UnknownKey {
        /// The key.
        key: String,
        /// Where the key was found.
        origin: Origin,
        /// The keys that exist in its section, or the sections.
        known: Vec<String>,
    },
    /// A value that its key does not allow.
    Value {
        /// The key.
        key: &'static str,
        /// The value as text; a placeholder when it is secret.
        value: String,
        /// What is allowed.
        allowed: String,
        /// Where the value was found.
        origin: Origin,
    },
    /// Values that are valid alone, but not together.
    Conflict(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File { path, why } => {
                write!(f, "cannot use the configuration file {}: {why}", path.display())
            }
            ConfigError::UnknownKey { key, origin, known } => {
                write!(f, "unknown key {key} ({origin}); known: {}", known.join(", "))
            }
            ConfigError::Value { key, value, allowed, origin } => {
                write!(f, "{key} = {value} ({origin}) is not allowed: {allowed}")
            }
            ConfigError::Conflict(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A value before it is parsed: typed when it comes from the file, otherwise a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// From the file.
    Toml(Value),
    /// From the environment or a flag.
    Text(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Toml(value) => value.fmt(f),
            Raw::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Raw {
    /// The value, if it is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Raw::Toml(Value::String(text)) | Raw::Text(text) => Some(text),
            Raw::Toml(_) => None,
        }
    }

    /// The value parsed as a `T`, if it is a text or an integer.
    pub(crate) fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        match self {
            Raw::Toml(Value::Integer(n)) => n.to_string().parse().ok(),
            Raw::Toml(Value::Float(n)) => n.to_string().parse().ok(),
            _ => self.text()?.trim().parse().ok(),
        }
    }

    /// The value, if it is `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self {
            Raw::Toml(Value::Boolean(b)) => Some(*b),
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::Toml(_) => None,
        }
    }

    /// A list of texts: an array in the file, a text with commas elsewhere.
    pub(crate) fn list(&self) -> Option<Vec<String>> {
        match self {
            Raw::Toml(Value::Array(values)) => {
                values.iter().map(|v| v.as_str().map(str::to_owned)).collect()
            }
            Raw::Toml(_) => None,
            Raw::Text(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|t| !t.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
        }
    }
}

/// All values by key (`section.key`).
#[derive(Debug, Default)]
pub(crate) struct RawConfig {
    entries: BTreeMap<String, (Raw, Origin)>,
    asked: BTreeSet<&'static str>,
}

/// Prefix of the environment variables of this program.
const PREFIX: &str = "SFUMATO_";

impl RawConfig {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// A file that cannot be read, or a `--set` without the form of a setting.
    pub(crate) fn gather(
        flags: &cli::Settings,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut raw = Self::default();
        if let Some(path) = &flags.config {
            let text = std::fs::read_to_string(path)
                .map_err(|e| ConfigError::File { path: path.clone(), why: e.to_string() })?;
            raw.add_file(path, &text)?;
        }
        raw.add_environment(environment);
        raw.add_flags(flags)?;
        Ok(raw)
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let bad = |why: String| ConfigError::File { path: path.to_owned(), why };
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| bad(explain_toml(&e, text)))?;
        for (section, value) in table {
            let Value::Table(keys) = value else {
                return Err(bad(format!("{section} stands outside of a [section]")));
            };
            for (key, value) in keys {
                let origin = Origin::File(path.to_owned());
                self.entries.insert(format!("{section}.{key}"), (Raw::Toml(value), origin));
            }
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            // The command line reads SFUMATO_CONFIG. Kubernetes sets SFUMATO_SERVICE_* and SFUMATO_PORT* for a service
            // named sfumato.
            if rest == "CONFIG" || rest.starts_with("SERVICE_") || rest.starts_with("PORT") {
                continue;
            }
            let rest = rest.to_ascii_lowercase();
            let key = match rest.split_once('_') {
                Some((section, key)) => format!("{section}.{key}"),
                None => rest,
            };
            self.entries.insert(key, (Raw::Text(value), Origin::Env(name)));
        }
    }

    fn add_flags(&mut self, flags: &cli::Settings) -> Result<(), ConfigError> {
        for setting in &flags.set {
            let Some((key, value)) = setting.split_once('=') else {
                // The text may be a secret without its key, so it is not repeated.
                return Err(ConfigError::Conflict(
                    "--set takes SECTION.KEY=VALUE, as in --set http.connections=100".into(),
                ));
            };
            let value = Raw::Text(value.to_owned());
            self.entries.insert(key.trim().to_owned(), (value, Origin::Flag("--set")));
        }
        let no_auth = flags.insecure_no_auth.then(|| "true".to_owned());
        for (flag, key, value) in [
            ("--listen", "http.listen", &flags.listen),
            ("--media-port", "media.port", &flags.media_port),
            ("--advertise", "media.advertise", &flags.advertise),
            ("--workers", "media.workers", &flags.workers),
            ("--insecure-no-auth", "auth.insecure_no_auth", &no_auth),
            ("--log-level", "log.level", &flags.log_level),
            ("--log-format", "log.format", &flags.log_format),
        ] {
            if let Some(value) = value {
                self.entries.insert(key.to_owned(), (Raw::Text(value.clone()), Origin::Flag(flag)));
            }
        }
        Ok(())
    }

    /// Removes the value of a key and returns it, parsed by `read`.
    ///
    /// # Errors
    /// `read` returned nothing; the error says what is `allowed`.
    pub(crate) fn take<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Raw) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.take_shown(key, allowed, Raw::to_string, read)
    }

    /// As [`RawConfig::take`], for secret values, which no error may show.
    pub(crate) fn take_secret<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Raw) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.take_shown(key, allowed, |_| "[redacted]".into(), read)
    }

    fn take_shown<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        show: impl FnOnce(&Raw) -> String,
        read: impl FnOnce(&Raw) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.asked.insert(key);
        let Some((raw, origin)) = self.entries.remove(key) else { return Ok(None) };
        match read(&raw) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Value {
                key,
                value: show(&raw),
                allowed: allowed.to_owned(),
                origin,
            }),
        }
    }

    /// Checks that no key is left over. Environment variables that have our prefix and name no section may belong to
    /// another program (`SFUMATO_BIN` in a script): their names are returned.
    ///
    /// # Errors
    /// The first key that does not exist, with the known keys of its section, or with all sections.
    pub(crate) fn finish(self) -> Result<Vec<String>, ConfigError> {
        let mut strangers = Vec::new();
        for (key, (_, origin)) in self.entries {
            let of_section = |asked: &&&str| section(asked) == section(&key);
            let mut known: Vec<String> =
                self.asked.iter().filter(of_section).map(|&asked| asked.to_owned()).collect();
            if known.is_empty() {
                if let Origin::Env(name) = origin {
                    strangers.push(name);
                    continue;
                }
                let sections: BTreeSet<&str> =
                    self.asked.iter().map(|asked| section(asked)).collect();
                known = sections.into_iter().map(|section| format!("[{section}]")).collect();
            }
            return Err(ConfigError::UnknownKey { key, origin, known });
        }
        Ok(strangers)
    }
}

fn section(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// The parser's message with the line number, but without the text of the line, which may contain a secret.
fn explain_toml(error: &toml::de::Error, text: &str) -> String {
    let line =
        error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

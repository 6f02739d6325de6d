//! Sets up logging, once per process, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogSettings};

/// Starts logging. A second call changes nothing.
pub(crate) fn start(settings: &LogSettings) {
    // The level was already checked with the configuration.
    let filter = filter(&settings.level);
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => {
            builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(error, "logging was set up before");
    }
}

/// The SCTP library logs what peers do wrong as warnings and errors, as often as they do it: a peer could fill the disk. It is silent unless
/// the level names it.
fn filter(level: &str) -> EnvFilter {
    const LIBRARY: &str = "sctp_proto";
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    match format!("{LIBRARY}=off").parse() {
        Ok(off) if !level.contains(LIBRARY) => filter.add_directive(off),
        _ => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn the_sctp_library_is_silent_unless_it_is_asked_for() {
        assert!(filter("info").to_string().contains("sctp_proto=off"));
        assert!(filter("debug,sctp_proto=debug").to_string().contains("sctp_proto=debug"));
        assert!(!filter("debug,sctp_proto=debug").to_string().contains("sctp_proto=off"));
    }
}

//! `[limits]`: how much the rooms may hold.

use super::raw::{ConfigError, RawConfig};

pub(super) fn resolve(raw: &mut RawConfig) -> Result<room::Limits, ConfigError> {
    let mut limits = room::Limits::default();
    for (key, limit, max) in [
        ("limits.rooms", &mut limits.rooms, 1_000_000),
        ("limits.participants_per_room", &mut limits.participants_per_room, 100_000),
        ("limits.sessions", &mut limits.sessions, 1_000_000),
        ("limits.sections_per_session", &mut limits.sections_per_session, 1_000),
    ] {
        let allowed = format!("a whole number from 1 to {max}");
        let value =
            raw.take(key, &allowed, |raw| raw.parse().filter(|n: &usize| (1..=max).contains(n)))?;
        if let Some(value) = value {
            *limit = value;
        }
    }
    Ok(limits)
}

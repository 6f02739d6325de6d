//! `[limits]`: numbers of rooms, participants and sessions.

use super::raw::{ConfigError, RawConfig};

pub(super) fn resolve(raw: &mut RawConfig) -> Result<room::Limits, ConfigError> {
    let mut limits = room::Limits::default();
    // For keys whose least value is 0, this value means no limit.
    for (key, limit, least, max) in [
        ("limits.rooms", &mut limits.rooms, 1, 1_000_000),
        ("limits.participants_per_room", &mut limits.participants_per_room, 1, 100_000),
        ("limits.sessions", &mut limits.sessions, 1, 1_000_000),
        ("limits.viewers_per_room", &mut limits.viewers_per_room, 0, 1_000_000),
        ("limits.sessions_per_subject", &mut limits.sessions_per_subject, 0, 1_000_000),
        ("limits.sections_per_session", &mut limits.sections_per_session, 1, 1_000),
    ] {
        let allowed = format!("a whole number from {least} to {max}");
        let fits = |n: &usize| (least..=max).contains(n);
        let value = raw.take(key, &allowed, |raw| raw.parse().filter(fits))?;
        if let Some(value) = value {
            *limit = value;
        }
    }
    Ok(limits)
}

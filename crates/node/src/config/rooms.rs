//! `[rooms]`: the settings of rooms that begin with their first session.

use std::time::Duration;

use model::Codec;
use room::RoomSettings;

use super::raw::{ConfigError, Raw, RawConfig};

const WEEK: u64 = 7 * 24 * 3_600;
const YEAR: u64 = 366 * 24 * 3_600;

pub(super) fn resolve(raw: &mut RawConfig) -> Result<RoomSettings, ConfigError> {
    let mut settings = RoomSettings::default();
    for (key, value, least, most) in [
        ("rooms.members_max", &mut settings.members_max, 0, 100_000),
        ("rooms.audible", &mut settings.audible, 1, RoomSettings::AUDIBLE_MAX),
    ] {
        let allowed = format!("a whole number from {least} to {most}");
        let fits = |n: &usize| (least..=most).contains(n);
        *value = raw.take(key, &allowed, |raw| raw.parse().filter(fits))?.unwrap_or(*value);
    }
    let names = RoomSettings::CODECS.map(Codec::as_str).join(", ");
    let codecs = raw.take("rooms.codecs", &format!("a list of {names}"), codecs)?;
    settings.codecs = codecs.unwrap_or_default();
    let mut seconds = |key: &'static str, most: u64| {
        let allowed = format!("whole seconds from 0 to {most}");
        raw.take(key, &allowed, |raw| {
            raw.parse().filter(|n: &u64| *n <= most).map(Duration::from_secs)
        })
    };
    let empty = seconds("rooms.empty_timeout_seconds", WEEK)?;
    let lost = seconds("rooms.lost_timeout_seconds", WEEK)?;
    let lifetime = seconds("rooms.lifetime_seconds", YEAR)?;
    settings.empty_timeout = empty.unwrap_or(settings.empty_timeout);
    settings.lost_timeout = lost.unwrap_or(settings.lost_timeout);
    settings.lifetime = lifetime.filter(|lifetime| !lifetime.is_zero());
    let newer = raw.take("rooms.newer_wins", "true or false", Raw::boolean)?;
    settings.newer_wins = newer.unwrap_or(settings.newer_wins);
    Ok(settings)
}

fn codecs(raw: &Raw) -> Option<Vec<Codec>> {
    raw.list()?.iter().map(|name| RoomSettings::codec(name)).collect()
}

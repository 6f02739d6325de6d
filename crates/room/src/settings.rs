//! The settings of a room: what is allowed, and how a change of them takes effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Codec;

use crate::room::Room;
use crate::{ErrorKind, Notice, RoomError, RoomSettings, SettingsChange};

/// The longest time that an empty room or a lost member stays.
const STAY_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest lifetime of a room.
const LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

impl RoomSettings {
    /// Checks that all values are within their bounds.
    ///
    /// # Errors
    /// `Unsupported`; the text names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), RoomError> {
        let wrong = |text: String| Err(RoomError::new(ErrorKind::Unsupported, text));
        let (length, most) = (self.metadata.len(), RoomSettings::METADATA_MAX);
        if length > most {
            return wrong(format!("metadata: {length} bytes; at most {most} are allowed"));
        }
        if !(1..=RoomSettings::AUDIBLE_MAX).contains(&self.audible) {
            let (is, most) = (self.audible, RoomSettings::AUDIBLE_MAX);
            return wrong(format!("audible: {is}; 1 to {most} are allowed"));
        }
        let seconds = [
            ("empty_timeout", Some(self.empty_timeout), STAY_MAX),
            ("lost_timeout", Some(self.lost_timeout), STAY_MAX),
            ("lifetime", self.lifetime, LIFETIME_MAX),
        ];
        for (name, value, most) in seconds {
            if let Some(value) = value.filter(|value| *value > most) {
                let (is, most) = (value.as_secs(), most.as_secs());
                return wrong(format!("{name}: {is} seconds; at most {most} are allowed"));
            }
        }
        Ok(())
    }

    /// Whether a member may publish this codec. RED is Opus with redundancy, so who allows Opus allows it too.
    pub fn allows(&self, codec: Codec) -> bool {
        allows(&self.codecs, codec)
    }

    /// These settings with the change.
    #[must_use]
    pub fn changed(&self, change: SettingsChange) -> Self {
        let old = self.clone();
        Self {
            metadata: change.metadata.unwrap_or(old.metadata),
            members_max: change.members_max.unwrap_or(old.members_max),
            audible: change.audible.unwrap_or(old.audible),
            codecs: change.codecs.unwrap_or(old.codecs),
            empty_timeout: change.empty_timeout.unwrap_or(old.empty_timeout),
            lost_timeout: change.lost_timeout.unwrap_or(old.lost_timeout),
            lifetime: change.lifetime.unwrap_or(old.lifetime),
            newer_wins: change.newer_wins.unwrap_or(old.newer_wins),
        }
    }
}

/// As [`RoomSettings::allows`], for a list of allowed codecs.
pub(crate) fn allows(allowed: &[Codec], codec: Codec) -> bool {
    let is_red = codec == Codec::Red && allowed.contains(&Codec::Opus);
    allowed.is_empty() || allowed.contains(&codec) || is_red
}

impl Room {
    /// The room's settings.
    pub fn settings(&self) -> &Arc<RoomSettings> {
        &self.settings
    }

    /// Changes the settings. Codecs and numbers of members bind later offers only; the loudest set and the
    /// lifetime follow at once. How long a lost member or the empty room stays is decided when that begins.
    pub(crate) fn change_settings(
        &mut self,
        now: Instant,
        change: SettingsChange,
    ) -> Result<(), RoomError> {
        let settings = self.settings.changed(change);
        settings.check()?;
        if settings == *self.settings {
            return Ok(());
        }
        self.settings = Arc::new(settings);
        self.set_audible(self.settings.audible);
        self.notices.push_back(Notice::Settings(self.settings.clone()));
        // A lifetime that is shorter than the room's age ends the room now.
        self.handle_timeout(now);
        Ok(())
    }
}

//! Members with room sessions (`--mode room`): from the settings to what each member of a room does.

use std::time::Duration;

use url::Url;

use crate::{
    args::{Mode, Settings},
    bot::{Membership, Sends, Turns},
    plan::Plan,
};

/// Slots of a member by default: as many voices as a room lets through, and a page of pictures.
const AUDIO_SLOTS: u8 = 4;
const VIDEO_SLOTS: u8 = 9;
/// Most slots of each kind: servers bound the sections of an offer.
const MAX_SLOTS: u8 = 31;
/// How long one speaks by default.
const SPEAKER_EVERY: Duration = Duration::from_secs(5);
/// Shortest time between two choices: a member has a rate of commands.
const FASTEST_SWITCH: Duration = Duration::from_millis(100);

/// What members of a room have in common.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// The endpoint, with `{room}`.
    endpoint: String,
    /// Publishers of a room that have a camera: the first ones.
    cameras: u32,
    audio_slots: usize,
    video_slots: usize,
    grow: bool,
    speaker_every: Duration,
    /// Nobody ever speaks.
    silent: bool,
    muted: bool,
    switch_every: Option<Duration>,
}

/// Reads the settings of members; `None` when bots join by WHIP and WHEP.
///
/// # Errors
/// The setting that is impossible, and what is allowed.
pub(crate) fn resolve(settings: &Settings) -> Result<Option<Members>, String> {
    if settings.mode != Some(Mode::Room) {
        return match given(settings) {
            Some(name) => Err(format!("{name} is a matter of mode = room")),
            None => Ok(None),
        };
    }
    if settings.whip.is_some() || settings.whep.is_some() {
        return Err("mode = room has one endpoint: give --server, not --whip or --whep".to_owned());
    }
    let server = settings.server.as_deref().ok_or("where is the server? --server URL")?;
    let server = server.trim_end_matches('/');
    let scheme = if server.contains("://") { "" } else { "http://" };
    if server.starts_with("https") {
        // The swarm holds its WebSockets without TLS.
        return Err(format!("{server}: mode = room needs a server with http"));
    }
    let slots = |name: &str, slots: Option<u8>, default: u8| match slots.unwrap_or(default) {
        slots @ 0..=MAX_SLOTS => Ok(usize::from(slots)),
        slots => Err(format!("{name} = {slots}: 0 to {MAX_SLOTS} are allowed")),
    };
    let speaker_every = settings.speaker_every.map_or(SPEAKER_EVERY, |time| time.0);
    let switch_every = settings.switch_every.map(|time| time.0);
    if speaker_every < Duration::from_millis(100) {
        return Err(format!("speaker-every = {speaker_every:?}: 100 ms or more are allowed"));
    }
    if switch_every.is_some_and(|every| every < FASTEST_SWITCH) {
        return Err(format!("switch-every: {FASTEST_SWITCH:?} or more are allowed"));
    }
    let publishers = settings.publishers.unwrap_or(1);
    Ok(Some(Members {
        endpoint: format!("{scheme}{server}/v1/rooms/{{room}}/sessions"),
        cameras: settings.cameras.unwrap_or(publishers).min(publishers),
        audio_slots: slots("audio-slots", settings.audio_slots, AUDIO_SLOTS)?,
        video_slots: slots("video-slots", settings.video_slots, VIDEO_SLOTS)?,
        grow: settings.grow.unwrap_or(false),
        speaker_every,
        silent: settings.audio == Some(crate::args::Audio::Dtx),
        muted: settings.muted.unwrap_or(false),
        switch_every,
    }))
}

/// A setting that only members have.
fn given(settings: &Settings) -> Option<&'static str> {
    let given = [
        ("cameras", settings.cameras.is_some()),
        ("audio-slots", settings.audio_slots.is_some()),
        ("video-slots", settings.video_slots.is_some()),
        ("grow", settings.grow.is_some()),
        ("speaker-every", settings.speaker_every.is_some()),
        ("muted", settings.muted.is_some()),
        ("switch-every", settings.switch_every.is_some()),
    ];
    given.into_iter().find_map(|(name, given)| given.then_some(name))
}

impl Members {
    /// The endpoint of a room.
    pub(crate) fn url(&self, room: &str) -> Result<Url, String> {
        let text = self.endpoint.replace("{room}", room);
        let url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
        match url.scheme() {
            "http" => Ok(url),
            _ => Err(format!("{text}: mode = room needs a server with http")),
        }
    }

    /// The endpoint, with `{room}`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// In a few words.
    pub(crate) fn describe(&self) -> String {
        let Members { cameras, audio_slots, video_slots, .. } = self;
        let mut text = format!(
            "room sessions with {audio_slots} slots for sound and {video_slots} for pictures, {cameras} cameras"
        );
        if self.grow {
            text += ", slots as they are wanted";
        }
        if self.muted {
            text += ", muted";
        }
        if let Some(every) = self.switch_every {
            text += &format!(", viewers choose another track each {every:?}");
        }
        text
    }

    /// What a member does. `place`: which of the room's publishers it is; `publisher`: its number in stamps, when it
    /// publishes.
    pub(crate) fn member(
        &self,
        plan: &Plan,
        identity: &str,
        place: u32,
        publisher: Option<u32>,
    ) -> Membership {
        let sends = publisher.map(|publisher| {
            let has_camera = place < self.cameras;
            let video = if has_camera { plan.video.as_slice() } else { &[] };
            Sends {
                publisher,
                audio: plan.audio.map(|feed| feed.of(publisher)),
                video: video.iter().map(|feed| feed.of(publisher)).collect(),
            }
        });
        let switch_every = self.switch_every.filter(|_| publisher.is_none());
        let video = if switch_every.is_some() { 1 } else { self.video_slots };
        let most = [self.audio_slots, video];
        let sees_others = self.cameras > u32::from(publisher.is_some() && place < self.cameras);
        Membership {
            identity: identity.to_owned(),
            named: plan.tokens.is_empty(),
            sends,
            slots: if self.grow { most.map(|slots| slots.min(1)) } else { most },
            most,
            muted: self.muted,
            turns: (!self.silent).then(|| Turns {
                every: self.speaker_every,
                turn: place,
                of: plan.publishers.max(1),
            }),
            awaits_video: video > 0 && sees_others && !plan.video.is_empty(),
            switch_every,
        }
    }
}

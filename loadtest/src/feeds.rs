//! From the settings to the media that publishers send.

use std::time::Duration;

use model::MediaKind;

use crate::{
    args::{Audio, Settings, Video},
    media::{
        Feed, MAX_PAYLOAD, STAMP_LEN,
        clip::Clip,
        real::{MAX_PACKETS, Real, Sizes},
        synthetic::Synthetic,
    },
    units::Span,
};

/// Packets of a key frame in real video by default.
const KEY_PACKETS: Span = Span { low: 40, high: 150 };
/// Seconds from one key frame to the next in real video by default.
const KEY_SECONDS: u32 = 3;

/// Bytes of a packet of silence, and the time from one to the next, as Opus does it with discontinuous transmission
/// (RFC 6716 section 2.1.9). An encoder's packet has fewer bytes; this one carries a stamp.
const SILENCE: u16 = 36;
const SILENCE_EVERY: Duration = Duration::from_millis(400);

/// What publishers send.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    pub(crate) audio: Option<Feed>,
    /// Layers, the lowest first; one: no simulcast.
    pub(crate) video: Vec<Feed>,
    /// Packets of a frame that leave at once, if set.
    pub(crate) burst: Option<u16>,
    /// A description for people.
    pub(crate) words: String,
}

/// Resolves the settings; `seed` decides what is random.
///
/// # Errors
/// The setting that is impossible, and what is allowed.
pub(crate) fn resolve(settings: &Settings, seed: u64) -> Result<Feeds, String> {
    let (video, pictures) = video(settings, seed)?;
    let (audio, sound) = audio(settings)?;
    let burst = settings.burst;
    if burst.is_some_and(|burst| !(1..=MAX_PACKETS).contains(&burst)) {
        let burst = burst.unwrap_or_default();
        return Err(format!("burst = {burst}: 1 to {MAX_PACKETS} packets are allowed"));
    }
    let bursts = burst.map(|burst| format!("bursts of {burst}"));
    let words: Vec<String> = [pictures, sound, bursts].into_iter().flatten().collect();
    Ok(Feeds { audio, video, burst, words: words.join(", ") })
}

fn video(settings: &Settings, seed: u64) -> Result<(Vec<Feed>, Option<String>), String> {
    // Settings of synthetic media imply synthetic media.
    let shaped = settings.fps.is_some()
        || settings.packets.is_some()
        || settings.payload.is_some()
        || settings.key_every.is_some();
    let kind = match settings.video {
        Some(video) => video,
        None if settings.key_packets.is_some() => Video::Real,
        None if shaped => Video::Synthetic,
        None => Video::Vp8,
    };
    if settings.key_packets.is_some() && kind != Video::Real {
        return Err("key-packets is a matter of video = real".to_owned());
    }
    let (feeds, words) = match kind {
        Video::Off => return Ok((Vec::new(), None)),
        Video::Vp8 => (vec![Feed::Clip(Clip::Mid)], "VP8 of 640x360".to_owned()),
        Video::Simulcast => (
            vec![Feed::Clip(Clip::Low), Feed::Clip(Clip::Mid), Feed::Clip(Clip::High)],
            "VP8 in three layers up to 1280x720".to_owned(),
        ),
        Video::H264 => (vec![Feed::Clip(Clip::H264)], "H.264 of 640x360".to_owned()),
        Video::Synthetic => synthetic(settings)?,
        Video::Real => real(settings, seed)?,
    };
    Ok((feeds, Some(words)))
}

fn synthetic(settings: &Settings) -> Result<(Vec<Feed>, String), String> {
    let (fps, mut shape) = shape(settings)?;
    shape.packets = settings.packets.unwrap_or(10).clamp(1, MAX_PACKETS);
    shape.key_every = settings.key_every.unwrap_or(0);
    let Synthetic { packets, payload, .. } = shape;
    let words = format!("{fps} frames a second of {packets} x {payload} bytes");
    Ok((vec![Feed::Synthetic(shape)], words))
}

fn real(settings: &Settings, seed: u64) -> Result<(Vec<Feed>, String), String> {
    let (fps, shape) = shape(settings)?;
    let every = settings.key_every.unwrap_or(KEY_SECONDS * fps);
    let key_every = u16::try_from(every)
        .map_err(|_| format!("key-every = {every}: at most {} are allowed", u16::MAX))?;
    let sizes = Sizes {
        mean: settings.packets.unwrap_or(10),
        key: settings.key_packets.unwrap_or(KEY_PACKETS),
        key_every,
        seed,
    };
    let Sizes { mean, key, .. } = sizes;
    let payload = shape.payload;
    let keys = match key_every {
        0 => "on request".to_owned(),
        every => format!("each {every} frames"),
    };
    let words = format!(
        "{fps} frames a second of real sizes, {mean} x {payload} bytes on average, key frames of {key} packets {keys}"
    );
    Ok((vec![Feed::Real(Real::new(shape, sizes)?)], words))
}

/// Frames per second, and the packets of a frame.
fn shape(settings: &Settings) -> Result<(u32, Synthetic), String> {
    let fps = settings.fps.unwrap_or(30);
    if !(1..=240).contains(&fps) {
        return Err(format!("fps = {fps}: 1 to 240 are allowed"));
    }
    let shape = Synthetic {
        kind: MediaKind::Video,
        packets: 1,
        payload: size("payload", settings.payload.unwrap_or(1_100))?,
        interval: Duration::from_secs(1) / fps,
        key_every: 0,
    };
    Ok((fps, shape))
}

fn audio(settings: &Settings) -> Result<(Option<Feed>, Option<String>), String> {
    let default = if settings.audio_payload.is_some() { Audio::Synthetic } else { Audio::Opus };
    let (feed, words) = match settings.audio.unwrap_or(default) {
        Audio::Off => return Ok((None, None)),
        Audio::Opus => (Feed::Clip(Clip::Opus), "Opus".to_owned()),
        Audio::Synthetic => {
            let payload = size("audio-payload", settings.audio_payload.unwrap_or(120))?;
            let feed = Synthetic {
                kind: MediaKind::Audio,
                packets: 1,
                payload,
                interval: Duration::from_millis(20),
                key_every: 0,
            };
            (Feed::Synthetic(feed), format!("50 sounds a second of {payload} bytes"))
        }
        Audio::Dtx => (
            Feed::Synthetic(Synthetic {
                kind: MediaKind::Audio,
                packets: 1,
                payload: SILENCE,
                interval: SILENCE_EVERY,
                key_every: 0,
            }),
            format!("silence of {SILENCE} bytes every {SILENCE_EVERY:?}"),
        ),
    };
    Ok((Some(feed), Some(words)))
}

fn size(name: &str, bytes: u16) -> Result<u16, String> {
    let least = Synthetic::MIN_PAYLOAD;
    if (least..=MAX_PAYLOAD).contains(&usize::from(bytes)) {
        return Ok(bytes);
    }
    Err(format!(
        "{name} = {bytes}: {least} to {MAX_PAYLOAD} bytes are allowed, of which {STAMP_LEN} are a stamp"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(settings: Settings) -> String {
        resolve(&settings, 1).unwrap().words
    }

    #[test]
    fn who_says_how_made_up_media_looks_wants_it() {
        assert_eq!(words(Settings::default()), "VP8 of 640x360, Opus");
        let shaped = Settings { packets: Some(4), audio_payload: Some(80), ..Settings::default() };
        let text = words(shaped);
        assert_eq!(text, "30 frames a second of 4 x 1100 bytes, 50 sounds a second of 80 bytes");
        let key_packets = Some(Span { low: 100, high: 100 });
        let real = Settings { key_packets, burst: Some(100), ..Settings::default() };
        let text = words(real);
        assert!(text.contains("real sizes, 10 x 1100") && text.contains("100 packets each 90"));
        assert!(text.ends_with("bursts of 100"), "{text}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_a_reason() {
        let refused = |settings: Settings| resolve(&settings, 1).unwrap_err();
        let base = Settings { video: Some(Video::Real), ..Settings::default() };
        let few = Settings { packets: Some(1), ..base.clone() };
        assert!(refused(few).contains("at least"));
        let rare = Settings { key_every: Some(70_000), ..base.clone() };
        assert!(refused(rare).contains("65535"));
        let key_packets = Some(KEY_PACKETS);
        let other = Settings { key_packets, video: Some(Video::Synthetic), ..base.clone() };
        assert!(refused(other).contains("video = real"));
        assert!(refused(Settings { burst: Some(0), ..base }).contains("1 to 500"));
    }
}

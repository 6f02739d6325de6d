//! What the tracks of an offer are: the source and the name of each sending section, from what the client says of it, from
//! the offer, or by default.

use model::{MediaKind, Mid, Permissions, Profile, TrackSource, UpMedia};

use crate::agreement::Agreement;
use crate::mappings::Mappings;
use crate::records::TrackRecord;
use crate::{ErrorKind, RoomError, TrackDescription};

/// Makes the records of the tracks that an agreement has. `before`: the tracks of the session so far; those that stay and
/// are not described anew keep source, name and mute.
///
/// # Errors
/// `Unsupported` when a description does not fit the offer; `Forbidden` when a track is of a source that the permissions
/// do not allow. A track that was allowed when it began only stays without being forwarded: its client must be able to
/// offer again for other reasons.
pub(crate) fn describe(
    agreement: &Agreement,
    given: &[TrackDescription],
    before: &[TrackRecord],
    permissions: &Permissions,
    mappings: &mut Mappings,
) -> Result<Vec<TrackRecord>, RoomError> {
    let up = &agreement.plan.up;
    check(given, up)?;
    let described = |mid: Mid| given.iter().find(|description| description.mid == mid);
    let known = |media: &UpMedia| before.iter().find(|track| track.id == media.track);
    let mut taken: Vec<TrackSource> = Vec::new();
    for media in up {
        let source = described(media.mid).map(|d| d.source);
        taken.extend(source.or(known(media).map(|track| track.source)));
    }
    let mut tracks = Vec::with_capacity(up.len());
    for media in up {
        let mut track = TrackRecord::of_plan(media, mappings.list(&media.codecs).codecs);
        let (old, description) = (known(media), described(media.mid));
        if let Some(old) = old {
            (track.source, track.name, track.muted) = (old.source, old.name.clone(), old.muted);
        }
        if let Some(d) = description {
            (track.source, track.name, track.muted) = (d.source, d.name.clone(), d.muted);
        }
        if old.is_none() && description.is_none() {
            track.source = by_default(media.kind, agreement.is_slides(media.mid), &taken);
            taken.push(track.source);
        }
        track.forbidden = !may_publish(permissions, track.source);
        if track.forbidden && old.is_none_or(|old| old.source != track.source) {
            return Err(forbidden(media.mid, track.source, permissions));
        }
        tracks.push(track);
    }
    Ok(tracks)
}

/// Whether a member with these permissions may publish the source. Tracks of a hidden member would show that it is there,
/// so it publishes nothing.
pub(crate) fn may_publish(permissions: &Permissions, source: TrackSource) -> bool {
    !permissions.hidden && permissions.publish.contains(source)
}

/// Checks a profile: the name, and the length of the metadata.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn check_profile(profile: &Profile) -> Result<(), RoomError> {
    check_name("name", &profile.name)?;
    check_length("metadata", &profile.metadata, Profile::METADATA_MAX)
}

/// Checks a name for people. Control characters and those that turn the direction of what follows are refused (as in names of RFC 8264
/// section 9): with them a member could look like another one, or turn around the text beside its name.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), RoomError> {
    check_length(what, name, Profile::NAME_MAX)?;
    let is_bad = |c: &char| {
        let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    match name.chars().find(is_bad) {
        Some(bad) => {
            let code = u32::from(bad);
            let text =
                format!("the {what} has the control character U+{code:04X}; none is allowed");
            Err(RoomError::new(ErrorKind::Unsupported, text))
        }
        None => Ok(()),
    }
}

/// Checks the length of a text.
///
/// # Errors
/// `Unsupported`; the text says what, how long it is, and how long it may be.
pub(crate) fn check_length(what: &str, text: &str, most: usize) -> Result<(), RoomError> {
    if text.len() <= most {
        return Ok(());
    }
    let text = format!("the {what} has {} bytes; at most {most} are allowed", text.len());
    Err(RoomError::new(ErrorKind::Unsupported, text))
}

fn check(given: &[TrackDescription], up: &[UpMedia]) -> Result<(), RoomError> {
    for (at, TrackDescription { mid, source, name, .. }) in given.iter().enumerate() {
        let wrong = |text: String| {
            let text = format!("tracks: the description of mid {mid}: {text}");
            Err(RoomError::new(ErrorKind::Unsupported, text))
        };
        if given[..at].iter().any(|earlier| earlier.mid == *mid) {
            return wrong("it is there twice; once is allowed".into());
        }
        let Some(media) = up.iter().find(|media| media.mid == *mid) else {
            return wrong("no section with this mid sends".into());
        };
        if media.kind != source.kind() {
            let (is, kind) = (source.kind().as_str(), media.kind.as_str());
            return wrong(format!("source {source} is {is}, and the section is {kind}"));
        }
        check_name("name of a track", name)?;
    }
    Ok(())
}

/// The source of a section of which the client says nothing: the first of a kind is the microphone or the camera, further
/// ones are the shared screen and its sound. `slides`: RFC 4796 section 5, the section carries slides.
fn by_default(kind: MediaKind, slides: bool, taken: &[TrackSource]) -> TrackSource {
    let (first, further) = match kind {
        MediaKind::Audio => (TrackSource::Microphone, TrackSource::ScreenAudio),
        MediaKind::Video => (TrackSource::Camera, TrackSource::Screen),
    };
    match slides || taken.contains(&first) {
        true => further,
        false => first,
    }
}

fn forbidden(mid: Mid, source: TrackSource, permissions: &Permissions) -> RoomError {
    let allowed: Vec<&str> = permissions
        .publish
        .iter()
        .filter(|s| may_publish(permissions, *s))
        .map(TrackSource::as_str)
        .collect();
    let allowed = match allowed.is_empty() {
        true => "none is".to_owned(),
        false => format!("allowed: {}", allowed.join(", ")),
    };
    let text = format!(
        "mid {mid}: source {source} may not be published with these permissions; {allowed}"
    );
    RoomError::new(ErrorKind::Forbidden, text)
}

//! What the publishers of a room can put into the slots of one viewer.
//!
//! A *source* is what one publisher can put into one group of slots: an audio track with a video track, or one of them. Tracks that flow in a
//! group stay together, so that a slot that shows a live track keeps it. What flows nowhere yet first completes the sources that lack a track
//! of its kind; what is left pairs up in the order of the offer.

use model::{MediaKind, ParticipantId, SessionId, TrackId};

use crate::Target;
use crate::mappings::CodecList;
use crate::publishers::{Publisher, Publishers};
use crate::slots::SlotTable;

/// A publisher's session, and which of its sources.
pub(crate) type SourceKey = (SessionId, usize);

/// A track as far as slots are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTrack<'a> {
    pub(crate) id: TrackId,
    pub(crate) codecs: &'a CodecList,
    /// Its media comes.
    pub(crate) live: bool,
}

/// What a publisher can put into one group.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The participant that publishes it.
    pub(crate) participant: &'a ParticipantId,
    pub(crate) session: SessionId,
    /// Tells the sources of one publisher apart. A source that has a group keeps its number.
    pub(crate) place: usize,
    pub(crate) audio: Option<SourceTrack<'a>>,
    pub(crate) video: Option<SourceTrack<'a>>,
}

impl<'a> Source<'a> {
    pub(crate) fn key(&self) -> SourceKey {
        (self.session, self.place)
    }

    /// The source, and what it consists of now.
    pub(crate) fn content(&self) -> (SourceKey, [Option<TrackId>; 2]) {
        (self.key(), [self.audio, self.video].map(|track| track.map(|t| t.id)))
    }

    pub(crate) fn tracks(&self) -> impl Iterator<Item = SourceTrack<'a>> + use<'a> {
        [self.audio, self.video].into_iter().flatten()
    }

    /// Whether media of any of its tracks comes. A source of which nothing comes gives its group to one that is live and waits.
    pub(crate) fn is_live(&self) -> bool {
        self.tracks().any(|track| track.live)
    }
}

/// A group that a source has: its place, and the tracks that flow.
pub(crate) type Held = (SourceKey, [Option<TrackId>; 2]);

/// What a viewer is to see, in order of arrival. Of everyone it is not shown itself; by name it may ask for itself,
/// to watch from elsewhere what it sends.
pub(crate) fn sources<'p>(
    publishers: &'p Publishers,
    viewer: Option<&ParticipantId>,
    target: &Target,
    slots: &SlotTable,
) -> Vec<Source<'p>> {
    let mut held: Vec<Held> = slots.held().collect();
    held.sort_unstable();
    let mut sources = Vec::new();
    for publisher in publishers.iter() {
        let (id, session) = (&publisher.record.id, publisher.record.session);
        let wanted = match &target.participant {
            Some(wanted) => wanted == id,
            None => Some(id) != viewer,
        };
        if wanted {
            let from = held.partition_point(|((of, _), _)| *of < session);
            let to = held.partition_point(|((of, _), _)| *of <= session);
            pair(publisher, target, &held[from..to], &mut sources);
        }
    }
    sources
}

/// Pairs the tracks of one publisher; `held` are the groups that it has.
fn pair<'p>(
    publisher: &'p Publisher,
    target: &Target,
    held: &[Held],
    sources: &mut Vec<Source<'p>>,
) {
    let flows = |id: TrackId| held.iter().any(|(_, tracks)| tracks.contains(&Some(id)));
    let of_kind = |kind| {
        let wanted = target.kind.is_none_or(|k| k == kind);
        let tracks = publisher.tracks().filter(move |(track, _)| wanted && track.kind == kind);
        tracks.map(|(t, codecs)| SourceTrack { id: t.id, codecs, live: t.active || t.awaited })
    };
    let known = |kind, id: Option<TrackId>| id.and_then(|id| of_kind(kind).find(|t| t.id == id));
    let mut audio = of_kind(MediaKind::Audio).filter(|t| !flows(t.id));
    let mut video = of_kind(MediaKind::Video).filter(|t| !flows(t.id));
    let (participant, session) = (&publisher.record.id, publisher.record.session);
    for &((_, place), [heard, seen]) in held {
        let audio = known(MediaKind::Audio, heard).or_else(|| audio.next());
        let video = known(MediaKind::Video, seen).or_else(|| video.next());
        if audio.is_some() || video.is_some() {
            sources.push(Source { participant, session, place, audio, video });
        }
    }
    let free = (0..).filter(|place| held.iter().all(|((_, taken), _)| taken != place));
    for place in free {
        let (audio, video) = (audio.next(), video.next());
        if audio.is_none() && video.is_none() {
            break;
        }
        sources.push(Source { participant, session, place, audio, video });
    }
}

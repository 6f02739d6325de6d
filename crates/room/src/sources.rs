//! What the publishers of a room can put into the slots of one viewer.
//!
//! A *source* is what one publisher can put into one group of slots: an audio track with a video track, or one of
//! them. Tracks that flow in a group stay together, so that a slot that shows a live track keeps it. Tracks that do
//! not flow yet first complete sources that lack a track of their kind; the remaining ones are paired in the order of
//! the offer.

use model::{MediaKind, ParticipantId, SessionId, TrackId};

use crate::Target;
use crate::mappings::CodecList;
use crate::publishers::{Publisher, Publishers};
use crate::slots::SlotTable;

/// The session of the publisher, and the number of the source among its sources.
pub(crate) type SourceKey = (SessionId, usize);

/// What the slots have to know of a track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTrack<'a> {
    pub(crate) id: TrackId,
    pub(crate) codecs: &'a CodecList,
    /// Its media arrives, or is expected.
    pub(crate) live: bool,
}

/// What a publisher can put into one group.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The participant that publishes the source.
    pub(crate) participant: &'a ParticipantId,
    pub(crate) session: SessionId,
    /// The number of this source among those of its publisher. A source that has a group keeps its number.
    pub(crate) place: usize,
    pub(crate) audio: Option<SourceTrack<'a>>,
    pub(crate) video: Option<SourceTrack<'a>>,
}

impl<'a> Source<'a> {
    pub(crate) fn key(&self) -> SourceKey {
        (self.session, self.place)
    }

    /// The source with its present tracks.
    pub(crate) fn content(&self) -> (SourceKey, [Option<TrackId>; 2]) {
        (self.key(), [self.audio, self.video].map(|track| track.map(|t| t.id)))
    }

    pub(crate) fn tracks(&self) -> impl Iterator<Item = SourceTrack<'a>> + use<'a> {
        [self.audio, self.video].into_iter().flatten()
    }

    /// Whether one of its tracks is live. A source without a live track gives its group to a live source that waits.
    pub(crate) fn is_live(&self) -> bool {
        self.tracks().any(|track| track.live)
    }
}

/// A source that has a group, and the tracks that flow there.
pub(crate) type Held = (SourceKey, [Option<TrackId>; 2]);

/// The sources for a viewer, in order of arrival. A viewer that watches all participants is not shown itself; it may
/// ask for itself by name, to see its own media from elsewhere.
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

/// Pairs the tracks of one publisher; `held` are the groups that its sources have.
fn pair<'p>(
    publisher: &'p Publisher,
    target: &Target,
    held: &[Held],
    sources: &mut Vec<Source<'p>>,
) {
    let flows = |id: TrackId| held.iter().any(|(_, tracks)| tracks.contains(&Some(id)));
    let of_kind = |kind| {
        let wanted = target.kind.is_none_or(|k| k == kind);
        let tracks = publisher
            .tracks()
            .filter(move |(track, _)| wanted && track.kind == kind && track.is_candidate());
        tracks.map(|(t, codecs)| SourceTrack {
            id: t.id,
            codecs,
            live: publisher.record.is_live(t),
        })
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

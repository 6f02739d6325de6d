//! Which track flows through which slot of a viewer.
//!
//! Slots come in groups: the nth audio slot and the nth video slot of an offer belong together, share a MediaStream, and
//! always carry the same participant, so that lips and voice stay in step. A *source* is what one publisher can put
//! into one group: its nth audio track with its nth video track. Sources take groups in order of arrival, keep them
//! until they go, and wait while none is free.
//!
//! Among free groups a source takes the one where most of its tracks flow; among these the one with the fewest slots
//! left idle: a voice alone does not take a video slot that somebody else could fill.

use std::collections::BTreeSet;

use model::{Binding, CodecSpec, DownMedia, MediaKind, Mid, PtMapping, SessionId, TrackId};

use crate::view::SlotInfo;

/// A track as far as slots are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTrack<'a> {
    pub(crate) id: TrackId,
    pub(crate) codecs: &'a [CodecSpec],
}

/// What a publisher can put into one group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) session: SessionId,
    /// 0 for the first audio and video track of the publisher, 1 for the second ones, ...
    pub(crate) place: usize,
    pub(crate) audio: Option<SourceTrack<'a>>,
    pub(crate) video: Option<SourceTrack<'a>>,
}

/// What has changed in one viewer.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) binds: Vec<(Mid, Option<Binding>)>,
    /// Tracks that cannot flow to this viewer, told for the first time: track and its publisher.
    pub(crate) incompatible: Vec<(TrackId, SessionId)>,
}

type SourceKey = (SessionId, usize);

/// The slots of one viewer.
#[derive(Debug)]
pub(crate) struct SlotTable {
    groups: Vec<Group>,
    /// Mids in the order of the offer.
    order: Vec<Mid>,
    /// Sources of which nothing can flow here. Neither their codecs nor ours change, so they are not tried again.
    hopeless: BTreeSet<SourceKey>,
    /// Tracks that were found incompatible, with their source.
    incompatible: Vec<(TrackId, SourceKey)>,
}

#[derive(Debug, Default)]
struct Group {
    audio: Option<Slot>,
    video: Option<Slot>,
    holder: Option<SourceKey>,
}

#[derive(Debug)]
struct Slot {
    mid: Mid,
    codecs: Vec<CodecSpec>,
    track: Option<TrackId>,
}

/// A source fitted into a group.
struct Fit {
    audio: Vec<PtMapping>,
    video: Vec<PtMapping>,
    /// How many of its tracks flow.
    flowing: usize,
    /// How many slots of the group stay idle.
    idle: usize,
}

impl SlotTable {
    pub(crate) fn new(down: &[DownMedia]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut counts = [0_usize; 2];
        for media in down {
            let count = &mut counts[usize::from(media.kind == MediaKind::Video)];
            if *count == groups.len() {
                groups.push(Group::default());
            }
            let slot = Slot { mid: media.mid, codecs: media.codecs.clone(), track: None };
            match media.kind {
                MediaKind::Audio => groups[*count].audio = Some(slot),
                MediaKind::Video => groups[*count].video = Some(slot),
            }
            *count += 1;
        }
        let order = down.iter().map(|d| d.mid).collect();
        Self { groups, order, hopeless: BTreeSet::new(), incompatible: Vec::new() }
    }

    /// Fits the sources, given in order of arrival, into the groups, and says what changed.
    pub(crate) fn assign(&mut self, sources: &[Source<'_>]) -> Changes {
        let mut changes = Changes::default();
        self.release(sources, &mut changes);
        for source in sources {
            if self.groups.iter().all(|g| g.holder.is_some()) {
                break;
            }
            let key = (source.session, source.place);
            if self.hopeless.contains(&key) || self.groups.iter().any(|g| g.holder == Some(key)) {
                continue;
            }
            self.place(source, &mut changes);
        }
        // A slot that one source left and another took is bound once, to the latter.
        for at in (0..changes.binds.len()).rev() {
            let mid = changes.binds[at].0;
            if changes.binds[at + 1..].iter().any(|(later, _)| *later == mid) {
                changes.binds.remove(at);
            }
        }
        changes
    }

    /// Frees the groups of sources that are gone.
    fn release(&mut self, sources: &[Source<'_>], changes: &mut Changes) {
        let there: BTreeSet<SourceKey> = sources.iter().map(|s| (s.session, s.place)).collect();
        self.hopeless.retain(|key| there.contains(key));
        self.incompatible.retain(|(_, key)| there.contains(key));
        for group in &mut self.groups {
            if group.holder.is_none_or(|key| there.contains(&key)) {
                continue;
            }
            group.holder = None;
            for slot in [&mut group.audio, &mut group.video].into_iter().flatten() {
                if slot.track.take().is_some() {
                    changes.binds.push((slot.mid, None));
                }
            }
        }
    }

    fn place(&mut self, source: &Source<'_>, changes: &mut Changes) {
        let key = (source.session, source.place);
        let free = self.groups.iter().enumerate().filter(|(_, g)| g.holder.is_none());
        let fits = free.map(|(at, group)| (at, group.fit(source)));
        let best = fits.min_by_key(|(at, fit)| (usize::MAX - fit.flowing, fit.idle, *at));
        let Some((at, fit)) = best else { return };
        self.note_incompatible(source, changes);
        if fit.flowing == 0 {
            // With groups that are not alike, a busy one might still take it later.
            if !self.groups.iter().any(|g| g.holder.is_some() && g.fit(source).flowing > 0) {
                self.hopeless.insert(key);
            }
            return;
        }
        let group = &mut self.groups[at];
        group.holder = Some(key);
        let pairs = [
            (&mut group.audio, source.audio, fit.audio),
            (&mut group.video, source.video, fit.video),
        ];
        for (slot, track, payload_types) in pairs {
            if let (Some(slot), Some(track), false) = (slot, track, payload_types.is_empty()) {
                slot.track = Some(track.id);
                let publisher = source.session;
                let payload_types = payload_types.into();
                let binding = Binding { track: track.id, publisher, payload_types };
                changes.binds.push((slot.mid, Some(binding)));
            }
        }
    }

    /// Notes tracks for which there are slots, and none that takes their codecs.
    fn note_incompatible(&mut self, source: &Source<'_>, changes: &mut Changes) {
        let key = (source.session, source.place);
        for (track, is_video) in [(source.audio, false), (source.video, true)] {
            let Some(track) = track else { continue };
            if self.incompatible.iter().any(|(id, _)| *id == track.id) {
                continue;
            }
            let slot = |g: &'_ Group| -> Option<bool> {
                let slot = if is_video { g.video.as_ref() } else { g.audio.as_ref() };
                slot.map(|s| sdp::map_payload_types(track.codecs, &s.codecs).is_empty())
            };
            let mut empty = self.groups.iter().filter_map(slot).peekable();
            if empty.peek().is_some() && empty.all(|nothing_fits| nothing_fits) {
                self.incompatible.push((track.id, key));
                changes.incompatible.push((track.id, source.session));
            }
        }
    }

    /// All slots in the order of the offer.
    pub(crate) fn listing(&self) -> Vec<SlotInfo> {
        let find = |mid: &Mid| {
            self.groups.iter().find_map(|g| {
                let slots = [(MediaKind::Audio, &g.audio), (MediaKind::Video, &g.video)];
                slots.into_iter().find_map(|(kind, slot)| {
                    let slot = slot.as_ref().filter(|s| s.mid == *mid)?;
                    Some(SlotInfo { mid: slot.mid, kind, track: slot.track })
                })
            })
        };
        self.order.iter().filter_map(find).collect()
    }

    /// Tracks that cannot flow here.
    pub(crate) fn incompatible(&self) -> Vec<TrackId> {
        self.incompatible.iter().map(|(track, _)| *track).collect()
    }
}

impl Group {
    fn fit(&self, source: &Source<'_>) -> Fit {
        let map = |slot: &Option<Slot>, track: Option<SourceTrack<'_>>| match (slot, track) {
            (Some(slot), Some(track)) => sdp::map_payload_types(track.codecs, &slot.codecs),
            _ => Vec::new(),
        };
        let audio = map(&self.audio, source.audio);
        let video = map(&self.video, source.video);
        let flowing = usize::from(!audio.is_empty()) + usize::from(!video.is_empty());
        let slots = usize::from(self.audio.is_some()) + usize::from(self.video.is_some());
        Fit { audio, video, flowing, idle: slots - flowing }
    }
}

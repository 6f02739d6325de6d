//! Which track flows through which slot of a viewer.
//!
//! Slots come in groups: the nth audio slot and the nth video slot of an offer belong together, share a MediaStream, and
//! always carry the same participant, so that lips and voice stay in step. A *source* is what one publisher can put
//! into one group: its nth audio track with its nth video track. Sources take groups in order of arrival, keep them
//! until they go, and wait while none is free; a policy may put some of them in front of others ([`crate::policy`]).
//!
//! Among free groups a source takes the one where most of its tracks flow; among these the one with the fewest slots
//! left idle: a voice alone does not take a video slot that somebody else could fill.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Binding, DownMedia, MediaKind, Mid, ParticipantId, PtMapping, SessionId, TrackId};

use crate::mappings::{CodecList, Mappings};
use crate::policy::SlotPolicy;
use crate::view::SlotInfo;

/// A track as far as slots are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTrack<'a> {
    pub(crate) id: TrackId,
    pub(crate) codecs: &'a CodecList,
}

/// What a publisher can put into one group.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Who publishes it.
    pub(crate) participant: &'a ParticipantId,
    pub(crate) session: SessionId,
    /// 0 for the first audio and video track of the publisher, 1 for the second ones, ...
    pub(crate) place: usize,
    pub(crate) audio: Option<SourceTrack<'a>>,
    pub(crate) video: Option<SourceTrack<'a>>,
}

impl Source<'_> {
    /// The source, and what it consists of now.
    fn content(&self) -> (SourceKey, [Option<TrackId>; 2]) {
        let tracks = [self.audio, self.video].map(|track| track.map(|t| t.id));
        ((self.session, self.place), tracks)
    }
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
    /// Sources of which nothing can flow here, with the tracks that they had. They are tried again when their tracks or our codecs change.
    hopeless: BTreeSet<(SourceKey, [Option<TrackId>; 2])>,
    /// Tracks that were found incompatible, with their source.
    incompatible: Vec<(TrackId, SourceKey)>,
    /// Slots whose binding does not hold any more.
    unbound: Vec<Mid>,
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
    codecs: CodecList,
    track: Option<TrackId>,
}

/// A source fitted into a group.
struct Fit {
    audio: Option<Arc<[PtMapping]>>,
    video: Option<Arc<[PtMapping]>>,
    /// How many of its tracks flow.
    flowing: usize,
    /// How many slots of the group stay idle.
    idle: usize,
}

impl SlotTable {
    /// Slots as agreed; the number beside each says in which group it is.
    pub(crate) fn new(down: &[(DownMedia, usize)], mappings: &mut Mappings) -> Self {
        let mut table = Self {
            groups: Vec::new(),
            order: Vec::new(),
            hopeless: BTreeSet::new(),
            incompatible: Vec::new(),
            unbound: Vec::new(),
        };
        table.update(down, mappings);
        table
    }

    /// Takes renegotiated slots in. Those that stay keep what flows through them, unless their codecs changed.
    pub(crate) fn update(&mut self, down: &[(DownMedia, usize)], mappings: &mut Mappings) {
        self.order = down.iter().map(|(media, _)| media.mid).collect();
        self.hopeless.clear();
        self.incompatible.clear();
        let most = down.iter().map(|(_, group)| group + 1).max().unwrap_or(0);
        self.groups.resize_with(most.max(self.groups.len()), Group::default);
        for group in &mut self.groups {
            for slot in [&mut group.audio, &mut group.video] {
                if slot.as_ref().is_some_and(|s| !self.order.contains(&s.mid)) {
                    *slot = None;
                }
            }
        }
        for (media, group) in down {
            let codecs = mappings.list(&media.codecs);
            let place = self.groups[*group].slot(media.kind);
            match place {
                Some(slot) if slot.mid == media.mid => {
                    if !Arc::ptr_eq(&slot.codecs.codecs, &codecs.codecs) {
                        // What flows is bound anew, with the payload types of now, or not at all.
                        (slot.codecs, slot.track) = (codecs, None);
                        self.unbound.push(media.mid);
                    }
                }
                _ => {
                    *place = Some(Slot { mid: media.mid, codecs, track: None });
                }
            }
        }
        for group in &mut self.groups {
            if group.audio.is_none() && group.video.is_none() {
                group.holder = None;
            }
        }
        while self.groups.last().is_some_and(|g| g.audio.is_none() && g.video.is_none()) {
            self.groups.pop();
        }
    }

    /// Fits the sources, given in order of arrival, into the groups, and says what changed.
    pub(crate) fn assign(
        &mut self,
        sources: &mut [Source<'_>],
        policy: &dyn SlotPolicy,
        mappings: &mut Mappings,
    ) -> Changes {
        let mut changes = Changes::default();
        changes.binds.extend(self.unbound.drain(..).map(|mid| (mid, None)));
        self.release(sources, &mut changes, mappings);
        let first = policy.arrange(sources).min(sources.len());
        self.make_room(sources, first, &mut changes);
        for source in &*sources {
            if self.groups.iter().all(|g| g.holder.is_some()) {
                break;
            }
            let key = (source.session, source.place);
            if self.hopeless.contains(&source.content())
                || self.groups.iter().any(|g| g.holder == Some(key))
            {
                continue;
            }
            self.place(source, &mut changes, mappings);
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

    /// Frees as many groups as the sources in front lack, the holders that stand last first.
    fn make_room(&mut self, sources: &[Source<'_>], first: usize, changes: &mut Changes) {
        let key = |s: &Source<'_>| (s.session, s.place);
        let wanted = first.min(self.groups.len());
        let held = |key: SourceKey, groups: &[Group]| groups.iter().any(|g| g.holder == Some(key));
        let lacking = sources[..wanted]
            .iter()
            .filter(|s| !held(key(s), &self.groups) && !self.hopeless.contains(&s.content()))
            .count();
        let free = self.groups.iter().filter(|g| g.holder.is_none()).count();
        let rank = |key: SourceKey| {
            sources.iter().position(|s| (s.session, s.place) == key).unwrap_or(sources.len())
        };
        for _ in free..lacking {
            let holders = self.groups.iter_mut().filter(|g| g.holder.is_some());
            let last = holders.max_by_key(|g| g.holder.map(rank));
            let Some(group) = last.filter(|g| g.holder.is_some_and(|k| rank(k) >= wanted)) else {
                break;
            };
            group.vacate(changes);
        }
    }

    /// Frees the groups of sources that are gone.
    fn release(&mut self, sources: &[Source<'_>], changes: &mut Changes, mappings: &mut Mappings) {
        let there: BTreeSet<SourceKey> = sources.iter().map(|s| (s.session, s.place)).collect();
        let contents: BTreeSet<_> = sources.iter().map(Source::content).collect();
        self.hopeless.retain(|content| contents.contains(content));
        self.incompatible.retain(|(_, key)| there.contains(key));
        for group in &mut self.groups {
            if group.holder.is_none_or(|key| there.contains(&key)) {
                continue;
            }
            group.vacate(changes);
        }
        // A track that its publisher gave up, or that a new slot could show: the source is placed anew.
        for group in &mut self.groups {
            let Some(key) = group.holder else { continue };
            let source = sources.iter().find(|s| (s.session, s.place) == key);
            if source.is_some_and(|source| group.is_outdated(source, mappings)) {
                group.vacate(changes);
            }
        }
    }

    fn place(&mut self, source: &Source<'_>, changes: &mut Changes, mappings: &mut Mappings) {
        let key = (source.session, source.place);
        let free = self.groups.iter().enumerate().filter(|(_, g)| g.holder.is_none());
        let fits = free.map(|(at, group)| (at, group.fit(source, mappings)));
        let best = fits.min_by_key(|(at, fit)| (usize::MAX - fit.flowing, fit.idle, *at));
        let Some((at, fit)) = best else { return };
        self.note_incompatible(source, changes, mappings);
        if fit.flowing == 0 {
            // With groups that are not alike, a busy one might still take it later.
            if !self
                .groups
                .iter()
                .any(|g| g.holder.is_some() && g.fit(source, mappings).flowing > 0)
            {
                self.hopeless.insert(source.content());
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
            if let (Some(slot), Some(track), Some(payload_types)) = (slot, track, payload_types) {
                slot.track = Some(track.id);
                let publisher = source.session;
                let binding = Binding { track: track.id, publisher, payload_types };
                changes.binds.push((slot.mid, Some(binding)));
            }
        }
    }

    /// Notes tracks for which there are slots, and none that takes their codecs.
    fn note_incompatible(
        &mut self,
        source: &Source<'_>,
        changes: &mut Changes,
        mappings: &mut Mappings,
    ) {
        let key = (source.session, source.place);
        for (track, is_video) in [(source.audio, false), (source.video, true)] {
            let Some(track) = track else { continue };
            if self.incompatible.iter().any(|(id, _)| *id == track.id) {
                continue;
            }
            let mut slot = |g: &'_ Group| -> Option<bool> {
                let slot = if is_video { g.video.as_ref() } else { g.audio.as_ref() };
                slot.map(|s| mappings.table(track.codecs, &s.codecs).is_empty())
            };
            let mut empty = self.groups.iter().filter_map(&mut slot).peekable();
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
    fn slot(&mut self, kind: MediaKind) -> &mut Option<Slot> {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    /// Takes what flows out of the group.
    fn vacate(&mut self, changes: &mut Changes) {
        self.holder = None;
        for slot in [&mut self.audio, &mut self.video].into_iter().flatten() {
            if slot.track.take().is_some() {
                changes.binds.push((slot.mid, None));
            }
        }
    }

    /// Whether something flows that the source has no longer, or the source has a track that could flow through an idle slot.
    fn is_outdated(&self, source: &Source<'_>, mappings: &mut Mappings) -> bool {
        let pairs = [(&self.audio, source.audio), (&self.video, source.video)];
        pairs.into_iter().any(|(slot, track)| {
            let Some(slot) = slot else { return false };
            match (slot.track, track) {
                (Some(flows), track) => Some(flows) != track.map(|t| t.id),
                (None, Some(track)) => !mappings.table(track.codecs, &slot.codecs).is_empty(),
                (None, None) => false,
            }
        })
    }

    fn fit(&self, source: &Source<'_>, mappings: &mut Mappings) -> Fit {
        let mut map = |slot: &Option<Slot>, track: Option<SourceTrack<'_>>| {
            let table = mappings.table(track?.codecs, &slot.as_ref()?.codecs);
            (!table.is_empty()).then_some(table)
        };
        let audio = map(&self.audio, source.audio);
        let video = map(&self.video, source.video);
        let flowing = usize::from(audio.is_some()) + usize::from(video.is_some());
        let slots = usize::from(self.audio.is_some()) + usize::from(self.video.is_some());
        Fit { audio, video, flowing, idle: slots - flowing }
    }
}

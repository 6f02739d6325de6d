//! Which track flows through which slot of a viewer.
//!
//! Slots come in groups: the nth audio slot and the nth video slot of an offer belong together, share a MediaStream,
//! and always carry the same participant, so that sound and picture stay in sync. Each group has at most one source
//! ([`crate::sources`]). Sources get groups in order of arrival and keep them until they end; a policy may prefer some
//! of them ([`crate::policy`]). A silent source gives its group to a live source that waits: otherwise a publisher
//! that died and came back under another name would stay invisible until the consent of its dead session expires, 30 s
//! later.
//!
//! Among the open groups a source takes the one where most of its tracks flow; among equal ones a free group, and then
//! the one with the fewest idle slots, so that a source without video does not take a video slot that another source
//! could fill. A source moves to another group only if more of its tracks flow there, for example when it adds a
//! camera and its group has no video slot.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Binding, DownMedia, MediaKind, Mid, SessionId, Ssrc, TrackId};

use crate::mappings::{CodecList, Mappings};
use crate::policy::SlotPolicy;
use crate::seats::Seats;
use crate::sources::{Held, Source, SourceKey, SourceTrack};
use crate::view::SlotInfo;

/// What changed for one viewer.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) binds: Vec<(Mid, Option<Binding>)>,
    /// Tracks that cannot flow to this viewer, reported for the first time: track and its publisher.
    pub(crate) incompatible: Vec<(TrackId, SessionId)>,
}

/// The slots of one viewer.
#[derive(Debug)]
pub(crate) struct SlotTable {
    groups: Vec<Group>,
    /// Mids in the order of the offer.
    order: Vec<Mid>,
    /// Sources of which no track fits any slot, with their tracks. They are tried again when their tracks or the
    /// viewer's codecs change.
    hopeless: BTreeSet<(SourceKey, [Option<TrackId>; 2])>,
    /// Tracks that no slot has a codec for.
    incompatible: Vec<TrackId>,
    /// Slots whose binding no longer holds.
    unbound: Vec<Mid>,
    /// A source waits for a group, or could show more tracks in another group.
    crowded: bool,
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
    /// A mid that moved to another section has another SSRC, and is another slot.
    ssrc: Ssrc,
    codecs: CodecList,
    track: Option<TrackId>,
}

/// How well a source fits into a group.
#[derive(Debug, Clone, Copy)]
struct Fit {
    /// The number of its tracks that would flow.
    flowing: usize,
    /// The number of the group's slots that would be idle.
    idle: usize,
}

impl SlotTable {
    /// A table for the agreed slots, each with the number of its group.
    pub(crate) fn new(down: &[(&DownMedia, usize)], mappings: &mut Mappings) -> Self {
        let mut table = Self {
            groups: Vec::new(),
            order: Vec::new(),
            hopeless: BTreeSet::new(),
            incompatible: Vec::new(),
            unbound: Vec::new(),
            crowded: false,
        };
        table.update(down, mappings);
        table
    }

    /// Applies renegotiated slots. Slots that stay keep their track, unless their codecs changed.
    pub(crate) fn update(&mut self, down: &[(&DownMedia, usize)], mappings: &mut Mappings) {
        self.order = down.iter().map(|(media, _)| media.mid).collect();
        self.hopeless.clear();
        self.incompatible.clear();
        let most = down.iter().map(|(_, group)| group + 1).max().unwrap_or(0);
        self.groups.resize_with(most.max(self.groups.len()), Group::default);
        for group in &mut self.groups {
            for slot in [&mut group.audio, &mut group.video] {
                let stays = |s: &Slot| {
                    let same = |m: &&DownMedia| (m.mid, m.ssrc.media) == (s.mid, s.ssrc);
                    down.iter().any(|(media, _)| same(media))
                };
                let gone = slot.take_if(|s| !stays(s)).filter(|s| s.track.is_some());
                // The mid now names another section; the old track must not flow there.
                self.unbound.extend(gone.filter(|s| self.order.contains(&s.mid)).map(|s| s.mid));
            }
        }
        for (media, group) in down {
            let codecs = mappings.list(&media.codecs);
            let place = self.groups[*group].slot(media.kind);
            match place {
                Some(slot) if (slot.mid, slot.ssrc) == (media.mid, media.ssrc.media) => {
                    if !Arc::ptr_eq(&slot.codecs.codecs, &codecs.codecs) {
                        // The track is bound again with the new payload types, or not at all if they do not fit.
                        (slot.codecs, slot.track) = (codecs, None);
                        self.unbound.push(media.mid);
                    }
                }
                _ => {
                    *place =
                        Some(Slot { mid: media.mid, ssrc: media.ssrc.media, codecs, track: None });
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

    /// The groups that have a source, with the tracks that flow in them.
    pub(crate) fn held(&self) -> impl Iterator<Item = Held> {
        self.groups.iter().filter_map(|group| Some((group.holder?, group.flows())))
    }

    /// Whether a source waits for a group, or for a better one than it has.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Fits the sources, given in order of arrival, into the groups, and returns what changed.
    pub(crate) fn assign(
        &mut self,
        sources: &mut [Source<'_>],
        policy: &dyn SlotPolicy,
        mappings: &mut Mappings,
    ) -> Changes {
        let mut changes = Changes::default();
        changes.binds.extend(self.unbound.drain(..).map(|mid| (mid, None)));
        let first = policy.arrange(sources).min(sources.len());
        let mut seats = Seats::new(sources, self.groups.iter().map(|g| g.holder), first);
        self.release(&mut seats, &mut changes, mappings);
        self.make_room(&mut seats, &mut changes);
        // A source that lost its group to a live one may fit into another group, so another pass is made.
        for _ in 0..=self.groups.len() {
            if !self.seat_all(&mut seats, &mut changes, mappings) {
                break;
            }
        }
        // A source waits only if the session has a slot for one of its kinds; a pure publisher has none.
        let waits = |source: &Source<'_>| {
            self.most(source) > 0 && !self.hopeless.contains(&source.content())
        };
        self.crowded = seats.waiting().any(waits)
            || seats.seated().any(|(source, at)| self.groups[at].flowing() < self.most(source));
        // A slot that was freed and bound in the same call gets only the last binding.
        for at in (0..changes.binds.len()).rev() {
            let mid = changes.binds[at].0;
            if changes.binds[at + 1..].iter().any(|(later, _)| *later == mid) {
                changes.binds.remove(at);
            }
        }
        changes
    }

    /// Frees the groups whose source ended. In the other groups the source's present tracks flow: a slot whose track
    /// is still there is not touched.
    fn release(
        &mut self,
        seats: &mut Seats<'_, '_>,
        changes: &mut Changes,
        mappings: &mut Mappings,
    ) {
        let contents: BTreeSet<_> = seats.sources.iter().map(Source::content).collect();
        self.hopeless.retain(|content| contents.contains(content));
        let tracks: BTreeSet<TrackId> =
            seats.sources.iter().flat_map(Source::tracks).map(|t| t.id).collect();
        self.incompatible.retain(|track| tracks.contains(track));
        for (at, group) in self.groups.iter_mut().enumerate() {
            match seats.source_at(at) {
                Some(source) => group.fill(source, changes, mappings),
                None => group.vacate(changes),
            }
            if group.flowing() == 0 {
                group.holder = None;
                seats.leave(at);
            }
        }
    }

    /// Frees as many groups as the preferred sources at the front need. The groups of the sources that stand last are
    /// freed first.
    fn make_room(&mut self, seats: &mut Seats<'_, '_>, changes: &mut Changes) {
        let wanted = seats.first.min(self.groups.len());
        let lacking = (0..wanted)
            .filter(|&source| {
                seats.group_of[source].is_none()
                    && !self.hopeless.contains(&seats.sources[source].content())
            })
            .count();
        let free = seats.holders.iter().filter(|holder| holder.is_none()).count();
        for _ in free..lacking {
            let held = seats.holders.iter().enumerate();
            let last = held.filter_map(|(at, holder)| Some((holder.as_ref()?, at))).max();
            let Some((_, at)) = last.filter(|(source, _)| **source >= wanted) else { break };
            self.groups[at].vacate(changes);
            seats.leave(at);
        }
    }

    /// Gives each source, in order, the group where most of its tracks flow. A source that has a group moves only if
    /// more of its tracks flow in the other. `true` when a group was freed, so that another pass may place more
    /// sources.
    fn seat_all(
        &mut self,
        seats: &mut Seats<'_, '_>,
        changes: &mut Changes,
        mappings: &mut Mappings,
    ) -> bool {
        let mut freed = false;
        for at in 0..seats.sources.len() {
            if !seats.has_open() {
                break;
            }
            let source = seats.sources[at];
            let (before, content) = (seats.group_of[at], source.content());
            let flowing = before.map_or(0, |group| self.groups[group].flowing());
            if flowing >= self.most(&source) || self.hopeless.contains(&content) {
                continue;
            }
            self.note_incompatible(&source, changes);
            let open = (0..self.groups.len()).filter(|&group| seats.is_open(group, &source));
            let fits = open.map(|group| (group, self.groups[group].fit(&source)));
            let best = fits.min_by_key(|&(group, fit)| {
                (usize::MAX - fit.flowing, seats.holders[group].is_some(), fit.idle, group)
            });
            let Some((group, _)) = best.filter(|(_, fit)| fit.flowing > flowing) else {
                // The source may still fit into a group that is taken now, so it is hopeless only if it fits into
                // none.
                let mut all = self.groups.iter();
                if flowing == 0 && all.all(|g| g.fit(&source).flowing == 0) {
                    self.hopeless.insert(content);
                }
                continue;
            };
            freed |= before.is_some() || seats.holders[group].is_some();
            for left in [before, Some(group)].into_iter().flatten() {
                self.groups[left].vacate(changes);
                seats.leave(left);
            }
            self.groups[group].holder = Some(source.key());
            self.groups[group].fill(&source, changes, mappings);
            seats.take(group, at);
        }
        freed
    }

    /// How many tracks of a source could flow in the best group. A track whose kind has no slot cannot flow.
    fn most(&self, source: &Source<'_>) -> usize {
        let has_audio = self.groups.iter().any(|group| group.audio.is_some());
        let has_video = self.groups.iter().any(|group| group.video.is_some());
        let tracks = [source.audio.filter(|_| has_audio), source.video.filter(|_| has_video)];
        tracks.iter().flatten().filter(|track| !self.incompatible.contains(&track.id)).count()
    }

    /// Notes tracks whose kind has slots, none of which takes their codecs.
    fn note_incompatible(&mut self, source: &Source<'_>, changes: &mut Changes) {
        for (track, is_video) in [(source.audio, false), (source.video, true)] {
            let Some(track) = track else { continue };
            if self.incompatible.contains(&track.id) {
                continue;
            }
            let mut slot = |g: &'_ Group| -> Option<bool> {
                let slot = if is_video { g.video.as_ref() } else { g.audio.as_ref() };
                slot.map(|s| !track.codecs.fits(&s.codecs))
            };
            let mut empty = self.groups.iter().filter_map(&mut slot).peekable();
            if empty.peek().is_some() && empty.all(|nothing_fits| nothing_fits) {
                self.incompatible.push(track.id);
                changes.incompatible.push((track.id, source.session));
            }
        }
    }

    /// All slots, in the order of the offer.
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

    /// Tracks that cannot flow to this viewer.
    pub(crate) fn incompatible(&self) -> Vec<TrackId> {
        self.incompatible.clone()
    }
}

impl Group {
    fn slot(&mut self, kind: MediaKind) -> &mut Option<Slot> {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    /// Frees the group: its source and the tracks in its slots.
    fn vacate(&mut self, changes: &mut Changes) {
        self.holder = None;
        for slot in [&mut self.audio, &mut self.video].into_iter().flatten() {
            if slot.track.take().is_some() {
                changes.binds.push((slot.mid, None));
            }
        }
    }

    /// The tracks that flow: audio, video.
    fn flows(&self) -> [Option<TrackId>; 2] {
        [&self.audio, &self.video].map(|slot| slot.as_ref().and_then(|s| s.track))
    }

    /// How many tracks flow.
    fn flowing(&self) -> usize {
        self.flows().iter().flatten().count()
    }

    /// Binds the tracks of a source to the slots whose codecs take them. Slots that already carry the track are not
    /// touched.
    fn fill(&mut self, source: &Source<'_>, changes: &mut Changes, mappings: &mut Mappings) {
        let publisher = source.session;
        for (slot, track) in [(&mut self.audio, source.audio), (&mut self.video, source.video)] {
            let Some(slot) = slot.as_mut().filter(|s| s.track != track.map(|t| t.id)) else {
                continue;
            };
            if let Some(track) = track.filter(|track| track.codecs.fits(&slot.codecs)) {
                let payload_types = mappings.table(track.codecs, &slot.codecs);
                let binding = Binding { track: track.id, publisher, payload_types };
                slot.track = Some(track.id);
                changes.binds.push((slot.mid, Some(binding)));
            } else if slot.track.take().is_some() {
                changes.binds.push((slot.mid, None));
            }
        }
    }

    fn fit(&self, source: &Source<'_>) -> Fit {
        let flows = |slot: &Option<Slot>, track: Option<SourceTrack<'_>>| {
            let (Some(slot), Some(track)) = (slot, track) else { return false };
            track.codecs.fits(&slot.codecs)
        };
        let flowing = usize::from(flows(&self.audio, source.audio))
            + usize::from(flows(&self.video, source.video));
        let slots = usize::from(self.audio.is_some()) + usize::from(self.video.is_some());
        Fit { flowing, idle: slots - flowing }
    }
}

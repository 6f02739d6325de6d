//! What a room offers to its members, worked out once for all of them: the tracks, the order in which video tracks
//! deserve a slot, and the audio tracks that are heard. A change costs time for each track; fitting the slots of one
//! member then costs time for each of its slots only, however many tracks there are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use model::{MediaKind, ParticipantId, SessionId, TrackId, TrackSource};

use crate::RoomSettings;
use crate::mappings::CodecList;
use crate::publishers::Publishers;
use crate::speakers::{AudioTrack, Heard, Speakers};

/// Rounds that begin because a member's slots had to wait are at least this far apart.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// How much a video track deserves a slot: what is less goes first. Tracks of the same rank do not displace each
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Pinned by the member that watches; its place in the list.
    Pinned(usize),
    /// A shared screen, by arrival.
    Screen(usize),
    /// Of a member who speaks, by how much it dominates.
    Speaking(usize),
    /// Of a member who spoke: less for who spoke later.
    Spoke(u32),
    /// Of a member who did not speak.
    Live,
    /// Nothing arrives.
    Silent,
}

/// A track that members of the room know of.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) id: TrackId,
    pub(crate) member: ParticipantId,
    pub(crate) session: SessionId,
    pub(crate) kind: MediaKind,
    pub(crate) codecs: CodecList,
    pub(crate) muted: bool,
    /// Of a video track.
    pub(crate) rank: Rank,
    source: TrackSource,
    live: bool,
}

/// Who is shown something: nobody is shown its own tracks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) session: SessionId,
    pub(crate) identity: Option<&'a ParticipantId>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Floor {
    /// Rises with every change that may concern the slots of a member.
    pub(crate) revision: u64,
    /// The number of sessions with a stage. Without one nothing is worked out.
    pub(crate) stages: usize,
    /// The time of the latest call of the room.
    pub(crate) now: Option<Instant>,
    pub(crate) speakers: Speakers,
    /// Audio tracks that are heard at a time.
    audible: usize,
    /// In order of arrival, those of one member in the order of its offer.
    tracks: Vec<Offered>,
    /// Positions in `tracks`, by track id and by member.
    by_id: Vec<usize>,
    by_member: Vec<usize>,
    /// Positions of the video tracks that may be shown, those that deserve it most first.
    ranking: Vec<usize>,
    /// The number of audio and of video tracks, muted or not.
    counts: [usize; 2],
    /// The records changed since the tracks were read from them.
    is_stale: bool,
    retry: Option<Instant>,
    retried: Option<Instant>,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            revision: 0,
            stages: 0,
            now: None,
            speakers: Speakers::default(),
            audible: RoomSettings::default().audible,
            tracks: Vec::new(),
            by_id: Vec::new(),
            by_member: Vec::new(),
            ranking: Vec::new(),
            counts: [0, 0],
            is_stale: true,
            retry: None,
            retried: None,
        }
    }
}

impl Floor {
    /// The records of the room changed.
    pub(crate) fn tracks_changed(&mut self) {
        self.is_stale = true;
    }

    /// A session with a stage ended, or did not enter. After the last one levels are not listened to, so that who spoke is
    /// forgotten.
    pub(crate) fn stage_left(&mut self) {
        self.stages -= 1;
        if self.stages == 0 {
            (self.speakers, self.is_stale) = (Speakers::default(), true);
        }
    }

    /// Whether the slots of a member that were fitted to this revision may have to change.
    pub(crate) fn is_newer_than(&self, revision: u64) -> bool {
        self.is_stale || self.revision != revision
    }

    /// Sets how many audio tracks are heard at a time.
    pub(crate) fn set_audible(&mut self, audible: usize) {
        let audible = audible.clamp(1, RoomSettings::AUDIBLE_MAX);
        self.is_stale |= std::mem::replace(&mut self.audible, audible) != audible;
    }

    /// How many audio tracks are heard at a time.
    pub(crate) fn audible(&self) -> usize {
        self.audible
    }

    /// Reads the tracks from the records, if these changed. Returns what that changed of who is heard.
    pub(crate) fn refresh(&mut self, publishers: &Publishers) -> Heard {
        let (Some(now), true) = (self.now, self.is_stale) else { return Heard::default() };
        self.is_stale = false;
        self.revision += 1;
        self.tracks.clear();
        self.ranking.clear();
        for publisher in publishers.iter().filter(|p| !p.record.hidden) {
            let record = &publisher.record;
            let tracks = publisher.tracks().filter(|(track, _)| !track.forbidden);
            self.tracks.extend(tracks.map(|(track, codecs)| Offered {
                id: track.id,
                member: record.id.clone(),
                session: record.session,
                kind: track.kind,
                codecs: codecs.clone(),
                muted: track.muted,
                rank: Rank::Silent,
                source: track.source,
                live: record.is_live(track),
            }));
        }
        let tracks = &self.tracks;
        for list in [&mut self.by_id, &mut self.by_member] {
            list.clear();
            list.extend(0..tracks.len());
        }
        self.by_id.sort_unstable_by_key(|&at| tracks[at].id);
        self.by_member.sort_by(|&a, &b| tracks[a].member.cmp(&tracks[b].member));
        self.counts = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| tracks.iter().filter(|t| t.kind == kind).count());
        let voices = tracks.iter().filter(|t| t.kind == MediaKind::Audio && !t.muted);
        let voices = voices.map(|t| AudioTrack {
            id: t.id,
            session: t.session,
            member: &t.member,
            source: t.source,
            live: t.live,
        });
        // A member whose connection is lost has no tracks, and is still there.
        let members: BTreeSet<&ParticipantId> = publishers.iter().map(|p| &p.record.id).collect();
        let is_present = |who: &ParticipantId| members.contains(who);
        self.speakers.set_tracks(now, voices, is_present, self.audible);
        let heard = self.speakers.update(now);
        self.rank();
        heard
    }

    /// Orders the video tracks anew. `true` when the order changed.
    pub(crate) fn rank(&mut self) -> bool {
        let before = std::mem::take(&mut self.ranking);
        let ranks: Vec<Rank> = before.iter().map(|&at| self.tracks[at].rank).collect();
        for at in 0..self.tracks.len() {
            self.tracks[at].rank = self.own_rank(at);
        }
        let speaking: Vec<ParticipantId> = self.speakers.speaking().cloned().collect();
        // The last one is set first: a member who speaks with two voices has the better rank.
        for (place, member) in speaking.iter().enumerate().rev() {
            let (from, to) = self.range_of(member);
            for &at in &self.by_member[from..to] {
                let track = &mut self.tracks[at];
                if matches!(track.rank, Rank::Speaking(_) | Rank::Spoke(_) | Rank::Live) {
                    track.rank = Rank::Speaking(place);
                }
            }
        }
        let tracks = &self.tracks;
        let shown = |at: &usize| tracks[*at].kind == MediaKind::Video && !tracks[*at].muted;
        self.ranking.extend((0..tracks.len()).filter(shown));
        // Who arrived last goes first among equals.
        self.ranking.sort_by_key(|&at| (tracks[at].rank, std::cmp::Reverse(at)));
        self.ranking != before
            || self.ranking.iter().zip(&ranks).any(|(&at, r)| tracks[at].rank != *r)
    }

    /// The rank of a track, but for who speaks now.
    fn own_rank(&self, at: usize) -> Rank {
        let track = &self.tracks[at];
        match (track.live, track.source, self.speakers.spoke(&track.member)) {
            (false, ..) => Rank::Silent,
            // A still screen may send nothing for seconds; its owner is there, so `live` says nothing else than that.
            (true, TrackSource::Screen, _) => Rank::Screen(at),
            (true, _, Some(turn)) => Rank::Spoke(u32::MAX - turn),
            (true, _, None) => Rank::Live,
        }
    }

    /// A track by its id.
    pub(crate) fn find(&self, id: TrackId) -> Option<&Offered> {
        let place = self.by_id.binary_search_by_key(&id, |&at| self.tracks[at].id).ok()?;
        Some(&self.tracks[self.by_id[place]])
    }

    /// The video tracks of a member that may be shown, in the order of its offer.
    pub(crate) fn videos_of(&self, member: &ParticipantId) -> impl Iterator<Item = &Offered> {
        let (from, to) = self.range_of(member);
        let tracks = self.by_member[from..to].iter().map(|&at| &self.tracks[at]);
        tracks.filter(|track| track.kind == MediaKind::Video && !track.muted)
    }

    /// The video tracks that may be shown, those that deserve it most first.
    pub(crate) fn ranking(&self) -> impl Iterator<Item = &Offered> {
        self.ranking.iter().map(|&at| &self.tracks[at])
    }

    /// The audio tracks that are heard, those that matter most first.
    pub(crate) fn loudest(&self) -> impl Iterator<Item = &Offered> {
        self.speakers.loudest().iter().filter_map(|id| self.find(*id))
    }

    /// The number of audio and of video tracks of others, muted or not.
    pub(crate) fn counts_for(&self, who: Who<'_>) -> [usize; 2] {
        let mut counts = self.counts;
        if let Some(identity) = who.identity {
            let (from, to) = self.range_of(identity);
            for &at in &self.by_member[from..to] {
                counts[usize::from(self.tracks[at].kind == MediaKind::Video)] -= 1;
            }
        }
        counts
    }

    fn range_of(&self, member: &ParticipantId) -> (usize, usize) {
        let from = self.by_member.partition_point(|&at| self.tracks[at].member < *member);
        let own = self.by_member[from..].iter();
        (from, from + own.take_while(|at| self.tracks[**at].member == *member).count())
    }

    /// Something has to be tried again at this time.
    pub(crate) fn retry_at(&mut self, at: Instant) {
        let at = self.retried.map_or(at, |last| at.max(last + RETRY_EVERY));
        self.retry = Some(self.retry.map_or(at, |retry| retry.min(at)));
    }

    /// Whether something has to be tried again now.
    pub(crate) fn take_retry(&mut self, now: Instant) -> bool {
        let due = self.retry.take_if(|at| *at <= now).is_some();
        if due {
            self.retried = Some(now);
        }
        due
    }

    /// When the room has to look at its floor again.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = self.speakers.due().into_iter().chain(self.retry).min();
        due.filter(|_| self.stages > 0)
    }
}

impl Offered {
    /// Whether it is one of this member's own tracks.
    pub(crate) fn is_of(&self, who: Who<'_>) -> bool {
        self.session == who.session || Some(&self.member) == who.identity
    }
}

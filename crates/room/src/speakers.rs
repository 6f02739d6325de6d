//! Who speaks in a room, and which audio tracks are heard. Sans-IO: levels come in ([`Speakers::level`]), time is an
//! argument, and [`Speakers::update`] says what changed.
//!
//! Two answers come from the same levels:
//!
//! - The *speakers*: members who speak, the dominant one first. A member becomes a speaker after [`ATTACK`] above the
//!   threshold, so that a cough does not take over, and stays one for [`RELEASE`] afterwards, so that a pause between
//!   two sentences does not lose the floor. The sound of a shared screen makes nobody a speaker.
//! - The *loudest set*: at most `audible` audio tracks, which all members hear. While there are no more tracks than
//!   that, it holds all of them, so that nobody's first word is lost. A track outside comes in when a place is free; when a track
//!   inside was silent for [`HOLD`]; or when it speaks, and is louder than the quietest one inside by [`MARGIN_DB`].
//!
//! A track whose packets carry no level (many WHIP publishers) is heard as one of [`UNKNOWN`], and makes nobody a speaker: it would be
//! one as long as it sends.
//!
//! Which level counts as speech is decided by the worker, which tells 127 for everything below. Tracks that are silent
//! cause no events and no work: only the *warm* voices, which spoke within [`HOLD`], are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Loudness, ParticipantId, SessionId, TrackId, TrackSource};

use crate::Speaker;

/// The level that the worker tells when a track does not speak (RFC 6464 section 3: digital silence).
const SILENCE: u8 = 127;
/// The level that a track of unknown loudness has in the loudest set: less than a loud voice, more than silence.
const UNKNOWN: u8 = 40;
/// How long a voice has to be above the threshold of speech until its member is a speaker.
const ATTACK: Duration = Duration::from_millis(300);
/// How long a speaker stays one after its last sound.
const RELEASE: Duration = Duration::from_millis(1_700);
/// How long a track keeps its place among the loudest after its last sound, even if another one needs the place.
const HOLD: Duration = Duration::from_secs(4);
/// How much louder a track has to be than another one to go before it.
const MARGIN_DB: f32 = 6.0;
/// How fast the level that is compared follows the level that is told.
const SMOOTHING: Duration = Duration::from_secs(2);
/// Least time between two computations, whatever comes in between.
const UPDATE_EVERY: Duration = Duration::from_millis(100);
/// How often levels that still settle are compared again, if nothing else happens.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Least time between two lists of speakers that are told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// A speaker's level is told again when it changed by this much.
const LEVEL_STEP: u8 = 6;
/// Most speakers in a list; those who dominate less are left out.
pub(crate) const SPEAKERS_MAX: usize = 16;

/// An audio track that may be heard: published, not muted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AudioTrack<'a> {
    pub(crate) id: TrackId,
    pub(crate) session: SessionId,
    pub(crate) member: &'a ParticipantId,
    pub(crate) source: TrackSource,
    /// Its media arrives, or is expected.
    pub(crate) live: bool,
}

/// What changed with [`Speakers::update`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The loudest set.
    pub(crate) loudest: bool,
    /// Who speaks, or their order.
    pub(crate) order: bool,
    /// A list to tell to all members.
    pub(crate) told: Option<Arc<[Speaker]>>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Speakers {
    voices: BTreeMap<TrackId, Voice>,
    /// Voices that spoke within [`HOLD`]: the only ones that [`Speakers::update`] looks at.
    warm: BTreeSet<TrackId>,
    loudest: Vec<TrackId>,
    /// Voices that speak, the dominant one first.
    order: Vec<TrackId>,
    /// For each member who spoke: a number that rises with each turn of speech that ends.
    spoke: BTreeMap<ParticipantId, u32>,
    turns: u32,
    audible: usize,
    told: Arc<[Speaker]>,
    told_at: Option<Instant>,
    updated: Option<Instant>,
    due: Option<Instant>,
    /// The order changed since the last [`Speakers::update`], by a voice whose loudness is not known any more.
    reordered: bool,
}

#[derive(Debug)]
struct Voice {
    session: SessionId,
    member: ParticipantId,
    source: TrackSource,
    live: bool,
    /// Its place in the order of arrival.
    arrival: usize,
    /// The level told last; [`SILENCE`] below the threshold of speech.
    level: u8,
    /// Its packets carry a level, as far as is known.
    measured: bool,
    /// Since when it is above the threshold without a break.
    above_since: Option<Instant>,
    last_above: Option<Instant>,
    speaks: bool,
    /// Loudness above silence in decibels, following `level` while it speaks; it stays while it pauses.
    loudness: f32,
    settled_at: Instant,
}

/// How much a track needs to be heard: a later variant goes before an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nothing of it arrives.
    Absent,
    /// It arrives, and was silent for [`HOLD`] or longer, or never told a level.
    Silent,
    /// It speaks, or did so within [`HOLD`].
    Speaks,
}

impl Default for Speakers {
    fn default() -> Self {
        Self {
            voices: BTreeMap::new(),
            warm: BTreeSet::new(),
            loudest: Vec::new(),
            order: Vec::new(),
            spoke: BTreeMap::new(),
            turns: 0,
            audible: 0,
            told: Arc::new([]),
            told_at: None,
            updated: None,
            due: None,
            reordered: false,
        }
    }
}

impl Speakers {
    /// The audio tracks that may be heard, in order of arrival, the members that are present, and how many tracks are heard at a
    /// time. The next [`Speakers::update`], which is due now, takes this into account.
    pub(crate) fn set_tracks<'a>(
        &mut self,
        now: Instant,
        tracks: impl Iterator<Item = AudioTrack<'a>>,
        is_present: impl Fn(&ParticipantId) -> bool,
        audible: usize,
    ) {
        let mut before = std::mem::take(&mut self.voices);
        for (arrival, track) in tracks.enumerate() {
            let mut voice = match before.remove(&track.id) {
                Some(voice) => voice,
                None => Voice::new(now, &track),
            };
            (voice.live, voice.arrival) = (track.live, arrival);
            if !voice.live {
                voice.set_level(now, SILENCE);
            }
            self.voices.insert(track.id, voice);
        }
        for (id, gone) in before {
            self.warm.remove(&id);
            self.order.retain(|speaking| *speaking != id);
            if gone.speaks && gone.may_be_speaker() {
                self.turns += 1;
                self.spoke.insert(gone.member, self.turns);
            }
        }
        self.spoke.retain(|member, _| is_present(member));
        self.audible = audible;
        self.due = Some(now);
    }

    /// The level of a track, as the worker told it. A track that is not known is ignored, and so is one of another
    /// session than the worker says.
    pub(crate) fn level(
        &mut self,
        now: Instant,
        session: SessionId,
        track: TrackId,
        level: Loudness,
    ) {
        let Some(voice) = self.voices.get_mut(&track).filter(|v| v.session == session) else {
            return;
        };
        let (level, measured) = match level {
            Loudness::Level(level) => (level.min(SILENCE), true),
            Loudness::Unknown => (UNKNOWN, false),
        };
        if !voice.live && level < SILENCE {
            // The first packets of a track may be heard of before the track is known to be active.
            voice.live = true;
        }
        if (voice.level, voice.measured) == (level, measured) {
            return;
        }
        if voice.measured != measured {
            // It begins anew, so that it becomes a speaker by what is known of it only.
            voice.measured = measured;
            (voice.speaks, voice.above_since) = (false, None);
            let before = self.order.len();
            self.order.retain(|speaking| *speaking != track);
            self.reordered |= self.order.len() != before;
        }
        voice.set_level(now, level);
        self.warm.insert(track);
        let next = self.updated.map_or(now, |at| at + UPDATE_EVERY).max(now);
        self.due = Some(self.due.map_or(next, |due| due.min(next)));
    }

    /// When [`Speakers::update`] has to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The tracks that are heard, those that matter most first.
    pub(crate) fn loudest(&self) -> &[TrackId] {
        &self.loudest
    }

    /// The list of speakers that was told last.
    pub(crate) fn told(&self) -> &Arc<[Speaker]> {
        &self.told
    }

    /// Members who speak now, the dominant one first. A member with two voices may come twice.
    pub(crate) fn speaking(&self) -> impl Iterator<Item = &ParticipantId> {
        self.order.iter().filter_map(|id| self.voices.get(id)).map(|voice| &voice.member)
    }

    /// When a member last ended speaking, as a number that is higher for who spoke later; `None`: it never spoke.
    pub(crate) fn spoke(&self, member: &ParticipantId) -> Option<u32> {
        self.spoke.get(member).copied()
    }

    /// Works out who speaks and which tracks are heard, as of now. Costs time for each warm voice; for each track only
    /// when the loudest set has a free place.
    pub(crate) fn update(&mut self, now: Instant) -> Heard {
        (self.updated, self.due) = (Some(now), None);
        let order = self.turns_of_speech(now);
        let loudest = self.choose_loudest(now);
        let told = self.tell(now);
        Heard { loudest, order, told }
    }

    /// Lets voices become speakers and cease to be; notes when the next one will.
    fn turns_of_speech(&mut self, now: Instant) -> bool {
        let mut changed = std::mem::take(&mut self.reordered);
        let (mut above, mut settles) = (0, false);
        let mut next: Option<Instant> = None;
        let mut cooled: Vec<TrackId> = Vec::new();
        for &id in &self.warm {
            let Some(voice) = self.voices.get_mut(&id) else { continue };
            voice.settle(now);
            above += usize::from(voice.is_above());
            settles |= voice.is_above() && !voice.is_settled();
            let at = voice.next_turn();
            if at.is_some_and(|at| at <= now) {
                changed |= voice.may_be_speaker();
                voice.speaks = !voice.speaks;
                if voice.speaks && voice.may_be_speaker() {
                    self.order.push(id);
                } else if voice.may_be_speaker() {
                    self.order.retain(|speaking| *speaking != id);
                    self.turns += 1;
                    self.spoke.insert(voice.member.clone(), self.turns);
                }
            }
            let later = voice.next_turn().or_else(|| voice.cools_at());
            match later.filter(|at| *at > now) {
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None if !voice.is_above() => cooled.push(id),
                None => {}
            }
        }
        for id in cooled {
            self.warm.remove(&id);
        }
        if settles && above > 1 {
            let at = now + SETTLE_EVERY;
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.due = next.map(|at| at.max(now + UPDATE_EVERY));
        let voices = &self.voices;
        changed
            | arrange(&mut self.order, |a, b| match (voices.get(a), voices.get(b)) {
                (Some(a), Some(b)) => a.loudness >= b.loudness + MARGIN_DB,
                _ => false,
            })
    }

    fn choose_loudest(&mut self, now: Instant) -> bool {
        let before = self.loudest.clone();
        let voices = &self.voices;
        self.loudest.retain(|id| voices.contains_key(id));
        while self.loudest.len() > self.audible {
            let Some(at) = weakest(voices, &self.loudest, now) else { break };
            self.loudest.remove(at);
        }
        let free = self.audible.min(voices.len()) - self.loudest.len().min(voices.len());
        if free > 0 {
            let outside = voices.iter().filter(|(id, _)| !self.loudest.contains(id));
            let mut ranked: Vec<_> =
                outside.map(|(id, v)| (v.strength(now), v.arrival, *id)).collect();
            ranked.sort_by(|a, b| by_strength(b.0, a.0).then(a.1.cmp(&b.1)));
            self.loudest.extend(ranked.into_iter().take(free).map(|(_, _, id)| id));
        }
        let loudest = &mut self.loudest;
        // Silent voices claim a place only where one inside stopped sending; otherwise only warm ones are looked at.
        let absent = |id: &TrackId| voices.get(id).is_some_and(|v| v.need(now) == Need::Absent);
        let all = loudest.iter().any(absent).then(|| voices.keys());
        let warm = all.is_none().then(|| self.warm.iter());
        let candidates = all.into_iter().flatten().chain(warm.into_iter().flatten());
        let mut claims: Vec<_> = candidates
            .filter(|id| !loudest.contains(id))
            .filter_map(|id| Some((*id, voices.get(id)?)))
            .map(|(id, voice)| (voice.strength(now), voice.arrival, id))
            .collect();
        claims.sort_by(|a, b| by_strength(b.0, a.0).then(a.1.cmp(&b.1)));
        // Those that need a place most come first. Claims beyond the bound wait for the next update: by then the first
        // ones are inside, or were too short to count.
        for (_, _, id) in claims.into_iter().take(2 * self.audible) {
            let Some(at) = weakest(voices, loudest, now) else { break };
            let (Some(claim), Some(held)) = (voices.get(&id), voices.get(&loudest[at])) else {
                break;
            };
            if claim.displaces(held, now) {
                loudest[at] = id;
            }
        }
        arrange(loudest, |a, b| match (voices.get(a), voices.get(b)) {
            (Some(a), Some(b)) => a.displaces(b, now),
            _ => false,
        });
        *loudest != before
    }

    /// The list of speakers, when it is another one than was told and may be told now.
    fn tell(&mut self, now: Instant) -> Option<Arc<[Speaker]>> {
        let mut list: Vec<Speaker> = Vec::new();
        for voice in self.order.iter().filter_map(|id| self.voices.get(id)) {
            if let Some(speaker) = list.iter_mut().find(|s| s.member == voice.member) {
                speaker.level = speaker.level.min(voice.level);
            } else if list.len() < SPEAKERS_MAX {
                list.push(Speaker { member: voice.member.clone(), level: voice.level });
            }
        }
        let same = list.len() == self.told.len()
            && list.iter().zip(self.told.iter()).all(|(new, old)| {
                new.member == old.member && new.level.abs_diff(old.level) < LEVEL_STEP
            });
        if same {
            return None;
        }
        if let Some(at) = self.told_at.map(|at| at + TELL_EVERY).filter(|at| *at > now) {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
            return None;
        }
        self.told_at = Some(now);
        self.told = list.into();
        Some(self.told.clone())
    }
}

impl Voice {
    fn new(now: Instant, track: &AudioTrack<'_>) -> Self {
        Self {
            session: track.session,
            member: track.member.clone(),
            source: track.source,
            live: track.live,
            arrival: 0,
            level: SILENCE,
            measured: true,
            above_since: None,
            last_above: None,
            speaks: false,
            loudness: 0.0,
            settled_at: now,
        }
    }

    /// Whether it makes its member a speaker when it speaks.
    fn may_be_speaker(&self) -> bool {
        self.source != TrackSource::ScreenAudio && self.measured
    }

    fn is_above(&self) -> bool {
        self.level < SILENCE
    }

    fn set_level(&mut self, now: Instant, level: u8) {
        self.settle(now);
        let rests = self.last_above.is_none_or(|at| now.saturating_duration_since(at) >= HOLD);
        self.level = level;
        if !self.is_above() {
            self.above_since = None;
            return;
        }
        if rests && self.above_since.is_none() {
            self.loudness = self.target();
        }
        self.above_since.get_or_insert(now);
        self.last_above = Some(now);
    }

    fn target(&self) -> f32 {
        f32::from(SILENCE - self.level)
    }

    /// Lets the loudness follow the level up to now.
    fn settle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.settled_at).as_secs_f32();
        self.settled_at = now;
        if self.is_above() {
            let part = passed / (passed + SMOOTHING.as_secs_f32());
            self.loudness += (self.target() - self.loudness) * part;
            self.last_above = Some(now);
        }
    }

    fn is_settled(&self) -> bool {
        (self.target() - self.loudness).abs() < 1.0
    }

    /// When it becomes a speaker or ceases to be one, if its level stays as it is.
    fn next_turn(&self) -> Option<Instant> {
        match (self.speaks, self.above_since) {
            (false, Some(since)) => Some(since + ATTACK),
            (true, None) => self.last_above.map(|at| at + RELEASE),
            (false, None) | (true, Some(_)) => None,
        }
    }

    /// When it loses its claim to be heard, if it stays silent.
    fn cools_at(&self) -> Option<Instant> {
        self.last_above.filter(|_| !self.is_above()).map(|at| at + HOLD)
    }

    fn need(&self, now: Instant) -> Need {
        let recent = self.last_above.is_some_and(|at| now.saturating_duration_since(at) < HOLD);
        match self.live {
            _ if self.is_above() || recent => Need::Speaks,
            true => Need::Silent,
            false => Need::Absent,
        }
    }

    fn strength(&self, now: Instant) -> (Need, f32) {
        (self.need(now), self.loudness)
    }

    /// Whether it takes the place of another one among the loudest. A sound shorter than [`ATTACK`], as a knock, takes
    /// only the place of a silent one.
    fn displaces(&self, other: &Voice, now: Instant) -> bool {
        let (mine, others) = (self.need(now), other.need(now));
        match (mine, others) {
            (Need::Speaks, Need::Speaks) => {
                self.speaks && self.is_above() && self.loudness >= other.loudness + MARGIN_DB
            }
            (Need::Speaks, _) => self.is_above(),
            (Need::Silent, Need::Absent) => true,
            _ => false,
        }
    }
}

fn by_strength(a: (Need, f32), b: (Need, f32)) -> std::cmp::Ordering {
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}

/// The position of the track that needs its place least; of equal ones the last.
fn weakest(voices: &BTreeMap<TrackId, Voice>, set: &[TrackId], now: Instant) -> Option<usize> {
    let strength = |id: &TrackId| voices.get(id).map_or((Need::Absent, 0.0), |v| v.strength(now));
    let ranked = set.iter().enumerate().map(|(at, id)| (at, strength(id)));
    ranked.min_by(|a, b| by_strength(a.1, b.1).then(b.0.cmp(&a.0))).map(|(at, _)| at)
}

/// Moves each element forward past those before it that it goes before. `true` when something moved. An element moves
/// only by a clear margin, so that two of about the same loudness keep their order.
fn arrange(list: &mut [TrackId], goes_before: impl Fn(&TrackId, &TrackId) -> bool) -> bool {
    let mut moved = false;
    for from in 1..list.len() {
        let mut at = from;
        while at > 0 && goes_before(&list[at], &list[at - 1]) {
            list.swap(at, at - 1);
            (at, moved) = (at - 1, true);
        }
    }
    moved
}

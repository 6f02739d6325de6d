//! Who should see whom: a second, slow and simple model of rooms and slots. Its input is what signaling accepted and
//! ended.
//!
//! Publishers are placed in order of arrival. A participant that publishes again while connected keeps its place; the new
//! session is shown once it is connected. A source is what a publisher can put into one group of slots: a sound with a
//! picture. It takes the open group in which most of it flows and the fewest slots stay idle, and keeps it until it ends;
//! it moves only to a group in which more of it flows. Tracks that flow in a group stay together. A group is open when it
//! is free; for a source that sends, also when the source in it is silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{MediaKind, SessionId};

/// A track: its session, and the number of its section.
pub(crate) type Track = (SessionId, u8);

/// Sections by kind, in the order of the offer: sound, pictures.
pub(crate) type ByKind = [Vec<u8>; 2];

/// The name of a viewer, and of the participant that it watches, where there is one.
pub(crate) type Names = (Option<u16>, Option<u16>);

/// How long the tracks of a publisher count as sending before their first packet: from its offer, and from its connecting.
const AWAITED_FOR: Duration = Duration::from_secs(3);
/// Viewers are assigned anew because of silent tracks at most once in this time.
const LIVENESS_EVERY: Duration = Duration::from_secs(1);

/// A member of a room that sends.
#[derive(Debug)]
struct Publisher {
    session: SessionId,
    who: u16,
    tracks: ByKind,
    connected: bool,
    /// Sections from which media comes.
    live: BTreeSet<u8>,
    /// Sections from which media is about to come, until when.
    awaited: Option<(Duration, BTreeSet<u8>)>,
}

/// What a publisher can put into one group.
#[derive(Debug, Clone, Copy)]
struct Source {
    key: (SessionId, usize),
    tracks: [Option<Track>; 2],
    is_live: bool,
}

/// One section in which a viewer receives.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) kind: MediaKind,
    /// The number of the section.
    pub(crate) number: u8,
    pub(crate) flows: Option<Track>,
    pub(crate) since: Duration,
    /// What flowed through it before, and until when.
    before: Vec<(Track, Duration)>,
}

/// Slots that belong together.
#[derive(Debug, Default)]
struct Group {
    slots: [Option<Slot>; 2],
    /// The publisher's session, and the number of its pair of tracks.
    holder: Option<(SessionId, usize)>,
}

#[derive(Debug)]
struct Viewer {
    session: SessionId,
    names: Names,
    groups: Vec<Group>,
    /// At the last assignment a source waited for slots, as the room remembers it.
    crowded: bool,
}

#[derive(Debug, Default)]
struct Room {
    publishers: Vec<Publisher>,
    /// Sessions that will replace another one of the same name when they are connected.
    successors: Vec<Publisher>,
    viewers: Vec<Viewer>,
    /// When viewers were last assigned anew because of silent tracks, and when they are next.
    looked: Option<Duration>,
    look_at: Option<Duration>,
}

/// The rooms of a node. See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    rooms: BTreeMap<u8, Room>,
}

impl Oracle {
    /// A peer publishes.
    pub(crate) fn publish(
        &mut self,
        now: Duration,
        room: u8,
        who: u16,
        session: SessionId,
        tracks: ByKind,
    ) {
        let room = self.rooms.entry(room).or_default();
        let (live, sections) = (BTreeSet::new(), tracks.concat().into_iter().collect());
        let room_has = room.publishers.iter().find(|p| p.who == who);
        // A successor is awaited from the moment at which it is connected.
        let succeeds = room_has.is_some_and(|old| old.connected);
        let until = if succeeds { Duration::MAX } else { now + AWAITED_FOR };
        let awaited = Some((until, sections));
        let new = Publisher { session, who, tracks, connected: false, live, awaited };
        match room.publishers.iter_mut().find(|p| p.who == who) {
            Some(old) if old.connected => return room.successors.push(new),
            Some(place) => *place = new,
            None => room.publishers.push(new),
        }
        room.assign(now);
    }

    /// A session is connected.
    pub(crate) fn connected(&mut self, now: Duration, session: SessionId) {
        for room in self.rooms.values_mut() {
            if let Some(at) = room.successors.iter().position(|p| p.session == session) {
                let mut new = room.successors.remove(at);
                new.awaited = Some((now + AWAITED_FOR, new.tracks.concat().into_iter().collect()));
                match room.publishers.iter_mut().find(|p| p.who == new.who) {
                    Some(place) => *place = new,
                    None => room.publishers.push(new),
                }
                room.assign(now);
            }
            if let Some(publisher) = room.publishers.iter_mut().find(|p| p.session == session) {
                publisher.connected = true;
                let all = publisher.tracks.concat().into_iter();
                let silent = all.filter(|number| !publisher.live.contains(number)).collect();
                publisher.awaited = Some((now + AWAITED_FOR, silent));
            }
        }
    }

    /// Media of a track comes, or comes no more. The track: its kind, and which one of that kind.
    pub(crate) fn heard(
        &mut self,
        now: Duration,
        session: SessionId,
        (kind, nth): (MediaKind, usize),
        live: bool,
    ) {
        for room in self.rooms.values_mut() {
            let Some(publisher) = room.publishers.iter_mut().find(|p| p.session == session) else {
                continue;
            };
            let Some(&number) = publisher.tracks[of(kind)].get(nth) else { continue };
            let changed = match live {
                true => publisher.live.insert(number),
                false => publisher.live.remove(&number),
            };
            if let Some((_, awaited)) = &mut publisher.awaited {
                awaited.remove(&number);
            }
            if changed {
                room.look_anew(now);
            }
        }
        self.tick(now);
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self, now: Duration) {
        for room in self.rooms.values_mut() {
            let mut over = false;
            for publisher in &mut room.publishers {
                let ended = publisher.awaited.take_if(|(until, _)| *until <= now);
                over |= ended.is_some_and(|(_, sections)| !sections.is_empty());
            }
            if over {
                room.look_anew(now);
            }
            if room.look_at.take_if(|at| *at <= now).is_some() {
                room.looked = Some(now);
                room.assign(now);
            }
        }
    }

    /// A peer watches.
    pub(crate) fn subscribe(
        &mut self,
        now: Duration,
        room: u8,
        names: Names,
        session: SessionId,
        slots: &ByKind,
    ) {
        let room = self.rooms.entry(room).or_default();
        let mut viewer = Viewer { session, names, groups: Vec::new(), crowded: false };
        viewer.update(now, slots);
        viewer.assign(now, &room.publishers);
        room.viewers.push(viewer);
    }

    /// A session was negotiated again.
    pub(crate) fn update(
        &mut self,
        now: Duration,
        session: SessionId,
        tracks: &ByKind,
        slots: &ByKind,
    ) {
        for room in self.rooms.values_mut() {
            let publishes = room.publishers.iter().any(|p| p.session == session);
            let mut publishers = room.publishers.iter_mut().chain(&mut room.successors);
            if let Some(publisher) = publishers.find(|p| p.session == session) {
                publisher.tracks.clone_from(tracks);
                let there = |number: &u8| tracks.iter().any(|kind| kind.contains(number));
                publisher.live.retain(there);
                if let Some((_, awaited)) = &mut publisher.awaited {
                    awaited.retain(there);
                }
            }
            if let Some(viewer) = room.viewers.iter_mut().find(|v| v.session == session) {
                viewer.update(now, slots);
                viewer.assign(now, &room.publishers);
            }
            if publishes {
                room.assign(now);
            }
        }
    }

    /// A session is over.
    pub(crate) fn ended(&mut self, now: Duration, session: SessionId) {
        for room in self.rooms.values_mut() {
            room.successors.retain(|p| p.session != session);
            if let Some(at) = room.publishers.iter().position(|p| p.session == session) {
                let who = room.publishers[at].who;
                match room.successors.iter().position(|p| p.who == who) {
                    Some(next) => room.publishers[at] = room.successors.remove(next),
                    None => {
                        room.publishers.remove(at);
                    }
                }
                room.assign(now);
            }
            room.viewers.retain(|v| v.session != session);
        }
        self.rooms.retain(|_, room| !room.publishers.is_empty() || !room.viewers.is_empty());
    }

    /// Whether the session is in any room.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.rooms.values().any(|room| {
            room.publishers.iter().chain(&room.successors).any(|p| p.session == session)
                || room.viewers.iter().any(|v| v.session == session)
        })
    }

    /// The slots of a viewer.
    pub(crate) fn slots(&self, viewer: SessionId) -> impl Iterator<Item = &Slot> {
        let viewers = self.rooms.values().flat_map(|r| &r.viewers);
        let groups = viewers.filter(move |v| v.session == viewer).flat_map(|v| &v.groups);
        groups.flat_map(|g| g.slots.iter().flatten())
    }
}

impl Slot {
    /// Whether this track flowed here at any time since then.
    pub(crate) fn had(&self, track: Track, since: Duration) -> bool {
        self.flows == Some(track)
            || self.before.iter().any(|(t, until)| *t == track && *until >= since)
    }

    fn set(&mut self, now: Duration, flows: Option<Track>) {
        if let Some(before) = self.flows.take() {
            self.before.push((before, now));
        }
        (self.flows, self.since) = (flows, now);
    }
}

impl Room {
    /// A track fell silent or sends again. If any viewer lacks slots, all will be assigned anew.
    fn look_anew(&mut self, now: Duration) {
        if self.viewers.iter().any(|viewer| viewer.crowded) {
            let next = self.looked.map_or(now, |last| last + LIVENESS_EVERY);
            self.look_at = Some(next.max(now));
        }
    }

    fn assign(&mut self, now: Duration) {
        // This assignment already regards silent tracks.
        self.look_at = None;
        for viewer in &mut self.viewers {
            viewer.assign(now, &self.publishers);
        }
    }
}

impl Viewer {
    /// Takes the negotiated slots. Slots that stay keep their group; a new slot joins the first group that has none of
    /// its kind.
    fn update(&mut self, now: Duration, slots: &ByKind) {
        for group in &mut self.groups {
            for (kind, slot) in group.slots.iter_mut().enumerate() {
                slot.take_if(|s| !slots[kind].contains(&s.number));
            }
        }
        for (at, kind) in [(0, MediaKind::Audio), (1, MediaKind::Video)] {
            for &number in &slots[at] {
                let known = |g: &Group| g.slots[at].as_ref().is_some_and(|s| s.number == number);
                if self.groups.iter().any(known) {
                    continue;
                }
                let free = self.groups.iter().position(|g| g.slots[at].is_none());
                let place = free.unwrap_or_else(|| {
                    self.groups.push(Group::default());
                    self.groups.len() - 1
                });
                let slot = Slot { kind, number, flows: None, since: now, before: Vec::new() };
                self.groups[place].slots[at] = Some(slot);
            }
        }
        for group in self.groups.iter_mut().filter(|g| g.slots.iter().all(Option::is_none)) {
            group.holder = None;
        }
    }

    /// What the publishers can put into groups here.
    fn sources(&self, publishers: &[Publisher]) -> Vec<Source> {
        let seen = |p: &&Publisher| match self.names.1 {
            Some(whom) => p.who == whom,
            None => Some(p.who) != self.names.0,
        };
        publishers.iter().filter(seen).flat_map(|p| self.pair(p)).collect()
    }

    fn pair(&self, publisher: &Publisher) -> Vec<Source> {
        let session = publisher.session;
        let mut held: Vec<(usize, [Option<Track>; 2])> = Vec::new();
        for group in &self.groups {
            let holder = group.holder.filter(|(of, _)| *of == session);
            held.extend(holder.map(|(_, place)| (place, group.flows())));
        }
        held.sort_unstable();
        let mut rest = [0, 1].map(|kind| {
            let tracks = publisher.tracks[kind].iter().map(|number| (session, *number));
            let flows = |t: &Track| held.iter().any(|(_, tracks)| tracks[kind] == Some(*t));
            tracks.filter(|t| !flows(t)).collect::<Vec<_>>().into_iter()
        });
        let there = |kind: usize, t: Track| publisher.tracks[kind].contains(&t.1);
        let mut pairs: Vec<(usize, [Option<Track>; 2])> = Vec::new();
        for &(place, flows) in &held {
            let tracks =
                [0, 1].map(|k| flows[k].filter(|t| there(k, *t)).or_else(|| rest[k].next()));
            pairs.push((place, tracks));
        }
        for place in (0..).filter(|place| held.iter().all(|(taken, _)| taken != place)) {
            let tracks = [0, 1].map(|kind| rest[kind].next());
            if tracks == [None, None] {
                break;
            }
            pairs.push((place, tracks));
        }
        let awaited = publisher.awaited.as_ref().map(|(_, sections)| sections);
        let is_live = |(_, number): &Track| {
            publisher.live.contains(number) || awaited.is_some_and(|a| a.contains(number))
        };
        let source = |(place, tracks): (usize, [Option<Track>; 2])| {
            let is_live = tracks.iter().flatten().any(is_live);
            Source { key: (session, place), tracks, is_live }
        };
        pairs.into_iter().map(source).filter(|s| s.tracks != [None, None]).collect()
    }

    /// Whether a source lacks a slot.
    fn is_crowded(&self, publishers: &[Publisher]) -> bool {
        let has_slots = |kind: usize| self.groups.iter().any(|group| group.slots[kind].is_some());
        self.sources(publishers).iter().any(|source| {
            let most =
                (0..2).filter(|&kind| source.tracks[kind].is_some() && has_slots(kind)).count();
            let group = self.groups.iter().find(|g| g.holder == Some(source.key));
            group.map_or(0, |g| g.flows().iter().flatten().count()) < most
        })
    }

    fn assign(&mut self, now: Duration, publishers: &[Publisher]) {
        let sources = self.sources(publishers);
        let find = |key: Option<(SessionId, usize)>| sources.iter().find(|s| Some(s.key) == key);
        for group in &mut self.groups {
            let tracks = find(group.holder).map(|s| s.tracks).unwrap_or_default();
            if group.fit(tracks).0 == 0 {
                group.holder = None;
            }
        }
        let mut again = true;
        while std::mem::take(&mut again) {
            for source in &sources {
                let has = self.groups.iter().position(|g| g.holder == Some(source.key));
                let flowing = has.map_or(0, |at| self.groups[at].fit(source.tracks).0);
                let open = |g: &Group| match find(g.holder) {
                    None => true,
                    Some(holder) => source.is_live && !holder.is_live,
                };
                let open = self.groups.iter().enumerate().filter(|(_, g)| open(g));
                let fits = open.map(|(at, g)| (g.fit(source.tracks), g.holder.is_some(), at));
                let better = fits.filter(|((flows, _), ..)| *flows > flowing);
                let best = better
                    .min_by_key(|&((flows, idle), held, at)| (usize::MAX - flows, held, idle, at));
                let Some((_, held, at)) = best else { continue };
                again |= held || has.is_some();
                if let Some(has) = has {
                    self.groups[has].holder = None;
                }
                self.groups[at].holder = Some(source.key);
            }
        }
        for group in &mut self.groups {
            let tracks = find(group.holder).map(|s| s.tracks).unwrap_or_default();
            for (slot, track) in group.slots.iter_mut().zip(tracks) {
                if let Some(slot) = slot.as_mut().filter(|s| s.flows != track) {
                    slot.set(now, track);
                }
            }
        }
        self.crowded = self.is_crowded(publishers);
    }
}

impl Group {
    /// How many of these tracks would flow here, and how many slots would stay idle.
    fn fit(&self, tracks: [Option<Track>; 2]) -> (usize, usize) {
        let there = |kind: &usize| self.slots[*kind].is_some();
        let flows = (0..2).filter(|kind| there(kind) && tracks[*kind].is_some()).count();
        (flows, (0..2).filter(there).count() - flows)
    }

    fn flows(&self) -> [Option<Track>; 2] {
        [0, 1].map(|kind| self.slots[kind].as_ref().and_then(|s| s.flows))
    }
}

/// Where a kind stands in the pairs of this file.
pub(crate) fn of(kind: MediaKind) -> usize {
    usize::from(kind == MediaKind::Video)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    /// This many sections of each kind.
    fn count(sounds: u8, pictures: u8) -> ByKind {
        [(0..sounds).collect(), (10..10 + pictures).collect()]
    }

    /// The publisher whose pictures flow.
    fn pictures(oracle: &Oracle, viewer: u64) -> Vec<Option<u64>> {
        let slots = oracle.slots(SessionId(viewer)).filter(|s| s.kind == MediaKind::Video);
        slots.map(|s| s.flows.map(|(session, _)| session.0)).collect()
    }

    #[test]
    fn groups_are_taken_in_order_of_arrival_and_kept() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(2, 2));
        for publisher in 2..=4 {
            oracle.publish(NOW, 0, publisher as u16, SessionId(publisher), count(1, 1));
        }
        assert_eq!(pictures(&oracle, 1), [Some(2), Some(3)]);
        oracle.ended(NOW, SessionId(2));
        assert_eq!(pictures(&oracle, 1), [Some(4), Some(3)]);
        oracle.publish(NOW, 0, 3, SessionId(5), count(1, 1));
        assert_eq!(pictures(&oracle, 1), [Some(4), Some(5)]);
        let slot = oracle.slots(SessionId(1)).last().unwrap();
        assert!(slot.had((SessionId(3), 10), NOW) && !slot.had((SessionId(4), 10), NOW));
    }

    #[test]
    fn nobody_is_shown_themselves_and_one_may_be_asked_for() {
        let mut oracle = Oracle::default();
        oracle.publish(NOW, 0, 7, SessionId(1), count(1, 1));
        oracle.publish(NOW, 0, 8, SessionId(2), count(1, 1));
        oracle.subscribe(NOW, 0, (Some(7), None), SessionId(3), &count(2, 2));
        oracle.subscribe(NOW, 0, (None, Some(8)), SessionId(4), &count(2, 2));
        assert_eq!(pictures(&oracle, 3), [Some(2), None]);
        assert_eq!(pictures(&oracle, 4), [Some(2), None]);
    }

    #[test]
    fn a_voice_alone_does_not_take_a_slot_for_pictures_that_is_not_needed() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(2, 1));
        oracle.publish(NOW, 0, 2, SessionId(2), count(1, 0));
        oracle.publish(NOW, 0, 3, SessionId(3), count(1, 1));
        assert_eq!(pictures(&oracle, 1), [Some(3)]);
    }

    #[test]
    fn a_slot_more_shows_who_waits_and_a_slot_less_takes_somebody_away() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(0, 1));
        oracle.publish(NOW, 0, 2, SessionId(2), count(0, 1));
        oracle.publish(NOW, 0, 3, SessionId(3), count(0, 1));
        oracle.update(NOW, SessionId(1), &ByKind::default(), &count(0, 2));
        assert_eq!(pictures(&oracle, 1), [Some(2), Some(3)]);
        oracle.update(NOW, SessionId(1), &ByKind::default(), &[Vec::new(), vec![11]]);
        assert_eq!(pictures(&oracle, 1), [Some(3)]);
    }

    #[test]
    fn a_screen_stays_where_it_is_when_the_camera_stops() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(2, 2));
        oracle.publish(NOW, 0, 2, SessionId(2), count(1, 2));
        oracle.update(NOW, SessionId(2), &[vec![0], vec![11]], &ByKind::default());
        let flows: Vec<_> = oracle.slots(SessionId(1)).map(|s| s.flows).collect();
        let (voice, screen) = (Some((SessionId(2), 0)), Some((SessionId(2), 11)));
        assert_eq!(flows, [voice, None, None, screen]);
    }

    #[test]
    fn who_is_silent_gives_way_and_a_successor_is_awaited() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(0, 1));
        let picture = (MediaKind::Video, 0);
        for publisher in 2..=3 {
            oracle.publish(NOW, 0, publisher as u16, SessionId(publisher), count(0, 1));
            oracle.connected(NOW, SessionId(publisher));
            oracle.heard(NOW, SessionId(publisher), picture, true);
        }
        assert_eq!(pictures(&oracle, 1), [Some(2)]);
        oracle.publish(NOW, 0, 2, SessionId(4), count(0, 1));
        assert_eq!(pictures(&oracle, 1), [Some(2)]);
        oracle.connected(NOW, SessionId(4));
        assert_eq!(pictures(&oracle, 1), [Some(4)]);
        oracle.tick(NOW + AWAITED_FOR);
        assert_eq!(pictures(&oracle, 1), [Some(3)]);
    }
}

//! Who should see whom: a second, slow and simple model of rooms and slots. Its input is what signaling accepted and
//! ended.
//!
//! Publishers are placed in order of arrival; a participant that publishes again keeps its place. One part of a
//! publisher (its nth sound and its nth picture) takes the free group of slots in which most of it flows and the
//! fewest slots stay idle. It keeps the group until it ends, or until something else would flow there than before.

use std::{collections::BTreeMap, time::Duration};

use model::{MediaKind, SessionId};

/// A track: its session, and the number of its section.
pub(crate) type Track = (SessionId, u8);

/// Sections by kind, in the order of the offer: sound, pictures.
pub(crate) type ByKind = [Vec<u8>; 2];

/// The name of a viewer, and of the participant that it watches, where there is one.
pub(crate) type Names = (Option<u16>, Option<u16>);

/// A participant that publishes.
#[derive(Debug)]
struct Publisher {
    session: SessionId,
    who: u16,
    tracks: ByKind,
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
}

#[derive(Debug, Default)]
struct Room {
    publishers: Vec<Publisher>,
    viewers: Vec<Viewer>,
}

/// The rooms of a node. See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    rooms: BTreeMap<u8, Room>,
}

impl Oracle {
    /// A peer publishes. Returns the session that this one replaces.
    pub(crate) fn publish(
        &mut self,
        now: Duration,
        room: u8,
        who: u16,
        session: SessionId,
        tracks: ByKind,
    ) -> Option<SessionId> {
        let room = self.rooms.entry(room).or_default();
        let new = Publisher { session, who, tracks };
        let replaced = match room.publishers.iter_mut().find(|p| p.who == who) {
            Some(place) => Some(std::mem::replace(place, new).session),
            None => {
                room.publishers.push(new);
                None
            }
        };
        room.assign(now);
        replaced
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
        let mut viewer = Viewer { session, names, groups: Vec::new() };
        viewer.update(now, slots);
        room.viewers.push(viewer);
        room.assign(now);
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
            if let Some(publisher) = room.publishers.iter_mut().find(|p| p.session == session) {
                publisher.tracks.clone_from(tracks);
            }
            if let Some(viewer) = room.viewers.iter_mut().find(|v| v.session == session) {
                viewer.update(now, slots);
            }
            room.assign(now);
        }
    }

    /// A session is over.
    pub(crate) fn ended(&mut self, now: Duration, session: SessionId) {
        for room in self.rooms.values_mut() {
            room.publishers.retain(|p| p.session != session);
            room.viewers.retain(|v| v.session != session);
            room.assign(now);
        }
        self.rooms.retain(|_, room| !room.publishers.is_empty() || !room.viewers.is_empty());
    }

    /// Whether the session is in any room.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.rooms.values().any(|room| {
            room.publishers.iter().any(|p| p.session == session)
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
    fn assign(&mut self, now: Duration) {
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

    fn assign(&mut self, now: Duration, publishers: &[Publisher]) {
        let seen = |p: &&Publisher| match self.names.1 {
            Some(whom) => p.who == whom,
            None => Some(p.who) != self.names.0,
        };
        let seen: Vec<&Publisher> = publishers.iter().filter(seen).collect();
        let pair = |(session, place): (SessionId, usize)| {
            let publisher = seen.iter().find(|p| p.session == session)?;
            let tracks = [0, 1].map(|k| publisher.tracks[k].get(place).map(|n| (session, *n)));
            tracks.iter().any(Option::is_some).then_some(tracks)
        };
        let flowed: Vec<[Option<Track>; 2]> = self.groups.iter().map(Group::flows).collect();
        for group in &mut self.groups {
            group
                .holder
                .take_if(|h| pair(*h).is_none_or(|tracks| !group_fits(&group.slots, tracks)));
        }
        for publisher in &seen {
            for place in 0..publisher.tracks[0].len().max(publisher.tracks[1].len()) {
                let holder = (publisher.session, place);
                let Some(tracks) = pair(holder) else { continue };
                if self.groups.iter().any(|g| g.holder == Some(holder)) {
                    continue;
                }
                let fit = |g: &Group| {
                    let there = |k: &usize| g.slots[*k].is_some();
                    let flows = (0..2).filter(|k| there(k) && tracks[*k].is_some()).count();
                    (flows, (0..2).filter(there).count() - flows)
                };
                let free = self.groups.iter().enumerate().filter(|(_, g)| g.holder.is_none());
                let best = free.map(|(at, g)| (fit(g), at)).filter(|((flows, _), _)| *flows > 0);
                let best = best.min_by_key(|&((flows, idle), at)| (usize::MAX - flows, idle, at));
                if let Some((_, at)) = best {
                    self.groups[at].holder = Some(holder);
                }
            }
        }
        for (group, flowed) in self.groups.iter_mut().zip(flowed) {
            let tracks = group.holder.and_then(pair).unwrap_or_default();
            for (kind, slot) in group.slots.iter_mut().enumerate() {
                let Some(slot) = slot else { continue };
                if flowed[kind] != tracks[kind] {
                    slot.set(now, tracks[kind]);
                }
            }
        }
    }
}

impl Group {
    fn flows(&self) -> [Option<Track>; 2] {
        [0, 1].map(|kind| self.slots[kind].as_ref().and_then(|s| s.flows))
    }
}

/// Whether these slots show exactly these tracks already.
fn group_fits(slots: &[Option<Slot>; 2], tracks: [Option<Track>; 2]) -> bool {
    (0..2).all(|kind| slots[kind].as_ref().is_none_or(|slot| slot.flows == tracks[kind]))
}

/// The index of a kind in the pairs of this file.
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
        let replaced = oracle.publish(NOW, 0, 3, SessionId(5), count(1, 1));
        assert_eq!(replaced, Some(SessionId(3)));
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
    fn a_screen_goes_on_in_the_place_of_the_camera_that_stopped() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), &count(2, 2));
        oracle.publish(NOW, 0, 2, SessionId(2), count(1, 2));
        oracle.update(NOW, SessionId(2), &[vec![0], vec![11]], &ByKind::default());
        let flows: Vec<_> = oracle.slots(SessionId(1)).map(|s| s.flows).collect();
        let (voice, screen) = (Some((SessionId(2), 0)), Some((SessionId(2), 11)));
        assert_eq!(flows, [voice, screen, None, None]);
    }
}

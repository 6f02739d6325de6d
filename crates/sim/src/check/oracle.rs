//! Who should see whom: a second, slow and simple model of rooms and slots, fed with what signaling accepted and ended.
//!
//! Publishers are placed in order of arrival; who publishes again keeps the place. What a publisher can put into one group of slots (its nth
//! sound with its nth picture) takes the free group where most of it flows and least stays idle, and keeps it until it goes.

use std::{collections::BTreeMap, time::Duration};

use model::{MediaKind, SessionId};

/// What flows through a group: whose session, and which of its pairs of tracks.
pub(crate) type Holder = (SessionId, u8);

/// A member of a room that sends.
#[derive(Debug)]
struct Publisher {
    session: SessionId,
    who: u16,
    /// Tracks by kind: sound, pictures.
    tracks: [u8; 2],
}

/// Slots that belong together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// There is a slot for sound, for pictures.
    pub(crate) slots: [bool; 2],
    pub(crate) holder: Option<Holder>,
    pub(crate) since: Duration,
    /// Who had it before, and until when.
    before: Vec<(Holder, Duration)>,
}

#[derive(Debug)]
struct Viewer {
    session: SessionId,
    who: Option<u16>,
    whom: Option<u16>,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct Room {
    publishers: Vec<Publisher>,
    viewers: Vec<Viewer>,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    rooms: BTreeMap<u8, Room>,
}

impl Oracle {
    /// Somebody publishes. Returns the session that is replaced by it.
    pub(crate) fn publish(
        &mut self,
        now: Duration,
        room: u8,
        who: u16,
        session: SessionId,
        tracks: [u8; 2],
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

    /// Somebody watches, with so many slots for sound and for pictures.
    pub(crate) fn subscribe(
        &mut self,
        now: Duration,
        room: u8,
        (who, whom): (Option<u16>, Option<u16>),
        session: SessionId,
        slots: [u8; 2],
    ) {
        let room = self.rooms.entry(room).or_default();
        let count = slots[0].max(slots[1]);
        let group = |n| Group { slots: slots.map(|s| n < s), ..Group::default() };
        let groups = (0..count).map(group).collect();
        room.viewers.push(Viewer { session, who, whom, groups });
        room.assign(now);
    }

    /// A session is over.
    pub(crate) fn ended(&mut self, now: Duration, session: SessionId) {
        for room in self.rooms.values_mut() {
            let before = room.publishers.len();
            room.publishers.retain(|p| p.session != session);
            room.viewers.retain(|v| v.session != session);
            if room.publishers.len() != before {
                room.assign(now);
            }
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

    /// The groups of a viewer.
    pub(crate) fn groups(&self, viewer: SessionId) -> &[Group] {
        let viewers = self.rooms.values().flat_map(|r| &r.viewers);
        viewers.into_iter().find(|v| v.session == viewer).map_or(&[], |v| &v.groups)
    }
}

impl Group {
    /// Whether this flowed here at any time since.
    pub(crate) fn had(&self, holder: Holder, since: Duration) -> bool {
        self.holder == Some(holder)
            || self.before.iter().any(|(h, until)| *h == holder && *until >= since)
    }

    fn set(&mut self, now: Duration, holder: Option<Holder>) {
        if let Some(before) = self.holder.take() {
            self.before.push((before, now));
        }
        (self.holder, self.since) = (holder, now);
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
    fn assign(&mut self, now: Duration, publishers: &[Publisher]) {
        let there = |(session, _): Holder| publishers.iter().any(|p| p.session == session);
        for group in &mut self.groups {
            if group.holder.is_some_and(|h| !there(h)) {
                group.set(now, None);
            }
        }
        let seen = publishers.iter().filter(|p| match self.whom {
            Some(whom) => p.who == whom,
            None => Some(p.who) != self.who,
        });
        for publisher in seen {
            for place in 0..publisher.tracks[0].max(publisher.tracks[1]) {
                let holder = (publisher.session, place);
                if self.groups.iter().any(|g| g.holder == Some(holder)) {
                    continue;
                }
                let has = publisher.tracks.map(|count| place < count);
                let fit = |g: &Group| {
                    let flows = (0..2).filter(|&k| g.slots[k] && has[k]).count();
                    (flows, g.slots.iter().filter(|s| **s).count() - flows)
                };
                let free = self.groups.iter().enumerate().filter(|(_, g)| g.holder.is_none());
                let best = free.map(|(at, g)| (fit(g), at)).filter(|((flows, _), _)| *flows > 0);
                let best = best.min_by_key(|&((flows, idle), at)| (usize::MAX - flows, idle, at));
                if let Some((_, at)) = best {
                    self.groups[at].set(now, Some(holder));
                }
            }
        }
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

    fn holders(oracle: &Oracle, viewer: u64) -> Vec<Option<u64>> {
        let groups = oracle.groups(SessionId(viewer)).iter();
        groups.map(|g| g.holder.map(|(session, _)| session.0)).collect()
    }

    #[test]
    fn groups_are_taken_in_order_of_arrival_and_kept() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), [2, 2]);
        for publisher in 2..=4 {
            oracle.publish(NOW, 0, publisher as u16, SessionId(publisher), [1, 1]);
        }
        assert_eq!(holders(&oracle, 1), [Some(2), Some(3)]);
        oracle.ended(NOW, SessionId(2));
        assert_eq!(holders(&oracle, 1), [Some(4), Some(3)]);
        assert_eq!(oracle.publish(NOW, 0, 3, SessionId(5), [1, 1]), Some(SessionId(3)));
        assert_eq!(holders(&oracle, 1), [Some(4), Some(5)]);
        let group = &oracle.groups(SessionId(1))[1];
        assert!(group.had((SessionId(3), 0), NOW) && !group.had((SessionId(4), 0), NOW));
    }

    #[test]
    fn nobody_is_shown_themselves_and_one_may_be_asked_for() {
        let mut oracle = Oracle::default();
        oracle.publish(NOW, 0, 7, SessionId(1), [1, 1]);
        oracle.publish(NOW, 0, 8, SessionId(2), [1, 1]);
        oracle.subscribe(NOW, 0, (Some(7), None), SessionId(3), [2, 2]);
        oracle.subscribe(NOW, 0, (None, Some(8)), SessionId(4), [2, 2]);
        assert_eq!(holders(&oracle, 3), [Some(2), None]);
        assert_eq!(holders(&oracle, 4), [Some(2), None]);
    }

    #[test]
    fn a_voice_alone_does_not_take_a_slot_for_pictures_that_is_not_needed() {
        let mut oracle = Oracle::default();
        oracle.subscribe(NOW, 0, (None, None), SessionId(1), [2, 1]);
        oracle.publish(NOW, 0, 2, SessionId(2), [1, 0]);
        oracle.publish(NOW, 0, 3, SessionId(3), [1, 1]);
        assert_eq!(holders(&oracle, 1), [Some(3), Some(2)]);
    }
}

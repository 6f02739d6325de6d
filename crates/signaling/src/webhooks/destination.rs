//! What a URL gets next, and when. Rooms are independent of each other; the events of one room go one after the other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::WebhookLimits;
use crate::outbound::OutboundUrl;

/// One URL.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) key: String,
    pub(super) url: OutboundUrl,
    rooms: HashMap<String, Room>,
    /// Rooms with an event that may be sent then. A room whose event is under way is not in it.
    due: BTreeSet<(Instant, String)>,
    busy: usize,
    off: bool,
}

#[derive(Debug, Default)]
struct Room {
    waiting: VecDeque<u64>,
    /// Failures of the first one.
    failures: u32,
}

/// A name for a URL in the file of the queue, where the URL itself, a secret perhaps, does not stand.
pub(super) fn key(url: &OutboundUrl) -> String {
    let hash = digest::digest(&digest::SHA256, url.whole().as_bytes());
    hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Destination {
    pub(super) fn new(url: OutboundUrl) -> Self {
        let (key, rooms, due) = (key(&url), HashMap::new(), BTreeSet::new());
        Self { key, url, rooms, due, busy: 0, off: false }
    }

    /// Whether it gets events: it never answered that it is gone.
    pub(super) fn is_on(&self) -> bool {
        !self.off
    }

    /// An event of a room has to go there, after those of before.
    pub(super) fn push(&mut self, now: Instant, room: &str, number: u64) {
        match self.rooms.get_mut(room) {
            Some(there) => there.waiting.push_back(number),
            None => {
                let waiting = VecDeque::from([number]);
                self.rooms.insert(room.to_owned(), Room { waiting, failures: 0 });
                self.due.insert((now, room.to_owned()));
            }
        }
    }

    /// The event that is sent now, with its room. It counts as under way until the room's result is told.
    pub(super) fn next(&mut self, now: Instant, limits: &WebhookLimits) -> Option<(String, u64)> {
        if self.busy >= limits.at_once || self.due.first()?.0 > now {
            return None;
        }
        let (_, room) = self.due.pop_first()?;
        let number = *self.rooms.get(&room)?.waiting.front()?;
        self.busy += 1;
        Some((room, number))
    }

    /// When [`Destination::next`] may have something.
    pub(super) fn next_at(&self, limits: &WebhookLimits) -> Option<Instant> {
        let (at, _) = self.due.first()?;
        (self.busy < limits.at_once).then_some(*at)
    }

    /// The event of this room that was under way is done, and the next one may go.
    pub(super) fn done(&mut self, now: Instant, room: &str) {
        self.busy -= 1;
        let Some(there) = self.rooms.get_mut(room) else { return };
        there.waiting.pop_front();
        there.failures = 0;
        if there.waiting.is_empty() {
            self.rooms.remove(room);
        } else {
            self.due.insert((now, room.to_owned()));
        }
    }

    /// The event of this room that was under way has to be sent again, after a pause. `random`: from 0 to 1.
    pub(super) fn failed(&mut self, now: Instant, room: &str, random: f64, limits: &WebhookLimits) {
        self.busy -= 1;
        let Some(there) = self.rooms.get_mut(room) else { return };
        let pause = pause(there.failures, random, limits);
        there.failures = there.failures.saturating_add(1);
        self.due.insert((now + pause, room.to_owned()));
    }

    /// Nothing goes there any more. Gives the events that waited.
    pub(super) fn turn_off(&mut self) -> Vec<u64> {
        self.off = true;
        self.due.clear();
        self.rooms.drain().flat_map(|(_, room)| room.waiting).collect()
    }
}

/// The pause doubles with each failure. It varies by a quarter, so that what failed together is not sent again together.
fn pause(failures: u32, random: f64, limits: &WebhookLimits) -> Duration {
    let doubled =
        limits.first_pause.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    doubled.min(limits.longest_pause).mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> WebhookLimits = WebhookLimits::default;

    fn destination() -> Destination {
        Destination::new("https://app.example/hook".parse().unwrap())
    }

    #[test]
    fn events_of_a_room_go_one_after_the_other_and_rooms_side_by_side() {
        let (mut to, now, limits) = (destination(), Instant::now(), LIMITS());
        for (room, number) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            to.push(now, room, number);
        }
        let first = to.next(now, &limits).unwrap();
        let second = to.next(now, &limits).unwrap();
        assert_eq!((first, second), (("a".into(), 1), ("b".into(), 3)));
        assert_eq!(to.next(now, &limits), None, "the others of room a wait");
        to.failed(now, "a", 0.5, &limits);
        to.done(now, "b");
        assert_eq!(to.next(now, &limits), None);
        let later = to.next_at(&limits).unwrap();
        assert_eq!(later - now, limits.first_pause);
        assert_eq!(to.next(later, &limits), Some(("a".into(), 1)), "the same again");
        to.done(later, "a");
        assert_eq!(to.next(later, &limits), Some(("a".into(), 2)));
        to.done(later, "a");
        assert_eq!(to.next(later, &limits), Some(("a".into(), 4)));
        to.done(later, "a");
        assert!(to.rooms.is_empty() && to.due.is_empty() && to.busy == 0);
    }

    #[test]
    fn only_so_many_requests_are_under_way_and_a_url_that_is_gone_gets_none() {
        let (mut to, now, limits) = (destination(), Instant::now(), LIMITS());
        for number in 0..20 {
            to.push(now, &format!("room-{number}"), number);
        }
        let begun = std::iter::from_fn(|| to.next(now, &limits)).count();
        assert_eq!(begun, limits.at_once);
        assert_eq!(to.next_at(&limits), None);
        assert_eq!(to.turn_off().len(), 20);
        assert!(!to.is_on() && to.next(now, &limits).is_none());
        to.done(now, "room-0");
        assert_eq!(to.next_at(&limits), None);
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_vary() {
        let limits = LIMITS();
        let at = |failures, random| pause(failures, random, &limits).as_secs_f64();
        assert_eq!((at(0, 0.5), at(1, 0.5), at(5, 0.5)), (5.0, 10.0, 160.0));
        assert_eq!((at(0, 0.0), at(0, 1.0)), (3.75, 6.25));
        assert_eq!((at(20, 0.5), at(1_000, 0.5)), (3_600.0, 3_600.0));
    }

    #[test]
    fn keys_of_urls_differ_and_show_nothing() {
        let of = |url: &str| key(&url.parse().unwrap());
        let one = of("https://app.example/hook?token=secret");
        assert_ne!(one, of("https://app.example/hook?token=other"));
        assert_eq!(one, of("https://app.example/hook?token=secret"));
        assert_eq!(one.len(), 16);
    }
}

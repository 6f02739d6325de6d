//! What a member knows from its numbered events alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::{Duration, Instant},
};

use signaling::messages::{Member, Message, PermissionSet, Quality, Room, Slot, Snapshot, Speaker};

/// All of a snapshot that events keep current, without the order of arrival, which they do not tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) room: Room,
    pub(crate) permissions: PermissionSet,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) slots: BTreeMap<String, Slot>,
    pub(crate) speakers: Vec<Speaker>,
    pub(crate) quality: BTreeMap<String, Quality>,
}

impl State {
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        let members = snapshot.members.into_iter().map(|m| (m.identity.clone(), m)).collect();
        let slots = snapshot.slots.into_iter().map(|s| (s.mid.clone(), s)).collect();
        let Snapshot { room, permissions, speakers, quality, .. } = snapshot;
        Self { room, permissions, members, slots, speakers, quality }
    }
}

impl State {
    /// What differs from the truth, one line each.
    pub(crate) fn differences(&self, truth: &State) -> Vec<String> {
        let mut all = Vec::new();
        compare(&mut all, "room", &self.room, &truth.room);
        compare(&mut all, "permissions", &self.permissions, &truth.permissions);
        compare(&mut all, "speakers", &self.speakers, &truth.speakers);
        compare_each(&mut all, "member", &self.members, &truth.members);
        compare_each(&mut all, "slot", &self.slots, &truth.slots);
        compare_each(&mut all, "quality", &self.quality, &truth.quality);
        all
    }
}

fn compare<T: PartialEq + Debug>(all: &mut Vec<String>, what: &str, view: &T, truth: &T) {
    if view != truth {
        all.push(format!("{what}: {view:?}, in truth {truth:?}"));
    }
}

fn compare_each<T: PartialEq + Debug>(
    all: &mut Vec<String>,
    what: &str,
    view: &BTreeMap<String, T>,
    truth: &BTreeMap<String, T>,
) {
    let keys: BTreeSet<&String> = view.keys().chain(truth.keys()).collect();
    for key in keys {
        compare(all, &format!("{what} {key}"), &view.get(key), &truth.get(key));
    }
}

/// A slot's track before a change, which may still arrive for a moment.
#[derive(Debug, Clone)]
struct Before {
    track: Option<String>,
    until: Instant,
}

/// Packets that left before a change may arrive so long after it.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// See the module's head.
pub(crate) struct View {
    pub(crate) me: String,
    pub(crate) state: State,
    /// The number of the last message.
    pub(crate) last: u64,
    /// The last word on how many slots could be used: audio, video.
    pub(crate) wanted: (usize, usize),
    pub(crate) closed: Option<String>,
    /// When it began again with a snapshot; data messages before that may be missed.
    pub(crate) restarted: Option<Instant>,
    /// Since when each slot has its track and state.
    pub(crate) since: BTreeMap<String, Instant>,
    before: BTreeMap<String, Before>,
}

impl View {
    pub(crate) fn new(me: &str, number: u64, snapshot: Snapshot, now: Instant) -> Self {
        let wanted = (snapshot.slots_wanted.audio, snapshot.slots_wanted.video);
        let state = State::of(snapshot);
        let since = state.slots.keys().map(|mid| (mid.clone(), now)).collect();
        let me = me.to_owned();
        Self {
            me,
            state,
            last: number,
            wanted,
            closed: None,
            restarted: None,
            since,
            before: BTreeMap::new(),
        }
    }

    /// Begins again with a snapshot, as after a connection that was away too long.
    pub(crate) fn restart(&mut self, number: u64, snapshot: Snapshot, now: Instant) {
        assert!(number > self.last, "{}: numbers rise", self.me);
        self.wanted = (snapshot.slots_wanted.audio, snapshot.slots_wanted.video);
        let state = State::of(snapshot);
        for slot in state.slots.values() {
            self.change_slot(slot.clone(), now);
        }
        (self.state, self.last, self.restarted) = (state, number, Some(now));
    }

    /// The next message. Returns a data message: who sent it, and the text.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        number: u64,
        message: Message,
    ) -> Option<(Option<String>, String)> {
        assert_eq!(number, self.last + 1, "{}: a number is left out", self.me);
        assert!(self.closed.is_none(), "{}: a message after the last one", self.me);
        self.last = number;
        let state = &mut self.state;
        match message {
            Message::Member { member } => {
                state.members.insert(member.identity.clone(), member);
            }
            Message::MemberLeft { identity, .. } => {
                let known = state.members.remove(&identity);
                assert!(known.is_some(), "{}: {identity} left and was never there", self.me);
                state.quality.remove(&identity);
            }
            Message::Slots { slots } => {
                slots.into_iter().for_each(|slot| self.change_slot(slot, now));
            }
            Message::SlotsWanted(wanted) => self.wanted = (wanted.audio, wanted.video),
            Message::Speakers { speakers } => state.speakers = speakers,
            Message::Quality { identity, quality } => _ = state.quality.insert(identity, quality),
            Message::Room { room } => state.room = room,
            Message::Permissions { permissions } => state.permissions = permissions,
            Message::Closed { reason, .. } => self.closed = Some(reason),
            Message::Data { from, text, .. } => return Some((from, text.unwrap())),
            Message::Muted { .. } => {}
            other => panic!("{}: not a message of this test: {other:?}", self.me),
        }
        None
    }

    fn change_slot(&mut self, slot: Slot, now: Instant) {
        let mid = slot.mid.clone();
        let old = self.state.slots.insert(mid.clone(), slot.clone());
        let Some(old) = old else {
            self.since.insert(mid, now);
            return;
        };
        if (&old.track, old.state) != (&slot.track, slot.state) {
            self.since.insert(mid.clone(), now);
            self.before.insert(mid, Before { track: old.track, until: now + UNDER_WAY });
        }
    }

    /// Whether a packet of this track may come through the slot now.
    pub(crate) fn may_flow(&self, mid: &str, track: &str, now: Instant) -> bool {
        let slot = self.state.slots.get(mid);
        let shows = slot.is_some_and(|slot| {
            slot.track.as_deref() == Some(track)
                && slot.state == signaling::messages::SlotStateName::Flowing
        });
        let before = self.before.get(mid);
        shows || before.is_some_and(|b| b.track.as_deref() == Some(track) && now <= b.until)
    }
}

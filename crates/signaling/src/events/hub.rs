//! Hears what happens in the rooms and fills the logs of their sessions.
//!
//! The rooms call it under their lock, so it only makes messages, puts them into logs, and wakes connections. A message for several
//! members is written once. In a room without room sessions no message is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ParticipantId, RoomId, SessionId};
use room::{EndReason, Notice, ParticipantRecord, RecordChange};

use super::convert;
use super::log::Feed;
use super::messages::{Message, SlotsWanted};
use super::metrics::EventCounts;

/// The logs of all sessions, and what the hub has to know of the rooms.
#[derive(Default)]
pub(crate) struct Hub {
    rooms: Mutex<HashMap<RoomId, Arc<Mutex<RoomFeeds>>>>,
    feeds: Mutex<HashMap<SessionId, Arc<Feed>>>,
    counts: EventCounts,
}

/// One room. As large as the room: what ended is taken out.
#[derive(Default)]
struct RoomFeeds {
    feeds: HashMap<SessionId, Arc<Feed>>,
    /// The members as they were told last. One that is hidden is told to itself only, and named to nobody.
    members: HashMap<ParticipantId, Arc<ParticipantRecord>>,
    /// The sessions of the records, and why they ended. A member whose connection was lost stays for a time.
    ended: HashMap<SessionId, Option<EndReason>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The lock is used even if a thread panicked under it: a panic ends the request that caused it, not the node.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Begins the log of a session. It keeps nothing before its first connection, which gets a snapshot.
    pub(crate) fn open(&self, session: SessionId, room: &RoomId, identity: ParticipantId) {
        let feed = Arc::new(Feed::new(session, room.clone(), identity));
        // The same order of locks as everywhere: the room's first.
        let state = self.room(room);
        let mut state = lock(&state);
        state.feeds.insert(session, feed.clone());
        lock(&self.feeds).insert(session, feed);
    }

    /// Removes the log of a session that ended before its log began.
    pub(crate) fn forget(&self, session: SessionId) {
        let Some(feed) = lock(&self.feeds).remove(&session) else { return };
        let mut rooms = lock(&self.rooms);
        let Some(state) = rooms.get(&feed.room) else { return };
        let unused = {
            let mut room = lock(state);
            room.feeds.remove(&session);
            room.is_empty()
        };
        // The room may have ended before the log began, and nothing else would take out what `open` made. Nobody else can get
        // hold of it while the table is locked.
        if unused && Arc::strong_count(state) == 1 {
            rooms.remove(&feed.room);
        }
    }

    /// The log of a session.
    pub(crate) fn feed(&self, session: SessionId) -> Option<Arc<Feed>> {
        lock(&self.feeds).get(&session).cloned()
    }

    /// Sends a message to one session; nothing happens when there is no such room session.
    pub(crate) fn tell(&self, session: SessionId, message: &Message) {
        if let Some(feed) = self.feed(session)
            && let Some(body) = write(message)
        {
            feed.push(body);
        }
    }

    /// Numbers of the connections.
    pub(crate) fn counts(&self) -> &EventCounts {
        &self.counts
    }

    fn room(&self, room: &RoomId) -> Arc<Mutex<RoomFeeds>> {
        lock(&self.rooms).entry(room.clone()).or_default().clone()
    }

    /// A room ended.
    pub(crate) fn closed(&self, room: &RoomId) {
        lock(&self.rooms).remove(room);
    }

    /// Something happened to a session or a room.
    pub(crate) fn notice(&self, room: &RoomId, notice: &Notice) {
        let state = self.room(room);
        let mut state = lock(&state);
        if let Notice::SessionClosed { session, reason } = notice {
            self.end(&mut state, *session, *reason);
        } else if !state.feeds.is_empty() {
            state.notice(room, notice);
        }
    }

    fn end(&self, state: &mut RoomFeeds, session: SessionId, reason: EndReason) {
        if let Some(ended) = state.ended.get_mut(&session) {
            *ended = Some(reason);
        }
        if let Some(feed) = state.feeds.remove(&session) {
            lock(&self.feeds).remove(&session);
            if let Some(body) = write(&convert::closed(reason)) {
                feed.end(body);
            }
        }
    }

    /// A member came, changed or left.
    pub(crate) fn record(&self, room: &RoomId, change: &RecordChange) {
        let state = self.room(room);
        let mut state = lock(&state);
        match change {
            RecordChange::Put(record) => state.put(record),
            RecordChange::Gone { session, id, replaced, .. } => {
                let reason = state.ended.remove(session).flatten();
                if !replaced {
                    state.leave(id, reason.map_or("left", EndReason::as_str));
                }
            }
        }
    }
}

impl RoomFeeds {
    fn is_empty(&self) -> bool {
        self.feeds.is_empty() && self.members.is_empty() && self.ended.is_empty()
    }

    fn put(&mut self, record: &Arc<ParticipantRecord>) {
        self.ended.entry(record.session).or_insert(None);
        let before = self.members.insert(record.id.clone(), record.clone());
        if record.hidden && before.as_ref().is_some_and(|before| !before.hidden) {
            self.tell_left(&record.id, "hidden");
        }
        let hears = |feed: &Feed| !record.hidden || feed.identity == record.id;
        if !self.feeds.values().any(|feed| hears(feed)) {
            return;
        }
        let member = convert::member(record);
        // Records hold more than members are told, as how long the first packet of a track is awaited.
        let same = |before: &Arc<ParticipantRecord>| {
            before.hidden == record.hidden && convert::member(before) == member
        };
        if !before.as_ref().is_some_and(same) {
            self.send(&Message::Member { member }, hears);
        }
    }

    fn leave(&mut self, id: &ParticipantId, reason: &str) {
        if self.members.remove(id).is_some_and(|record| !record.hidden) {
            self.tell_left(id, reason);
        }
    }

    /// Tells the others that a member is not there any more.
    fn tell_left(&self, id: &ParticipantId, reason: &str) {
        if !self.feeds.is_empty() {
            let (identity, reason) = (id.to_string(), reason.to_owned());
            self.send(&Message::MemberLeft { identity, reason }, |feed| feed.identity != *id);
        }
    }

    /// Whether the others know of a member.
    fn is_visible(&self, id: &ParticipantId) -> bool {
        self.members.get(id).is_some_and(|record| !record.hidden)
    }

    fn notice(&self, room: &RoomId, notice: &Notice) {
        match notice {
            Notice::Slots { session, slots } => self.tell(*session, |feed| {
                let slots = slots.iter().map(|slot| convert::slot(slot, |id| self.names(id, feed)));
                Message::Slots { slots: slots.collect() }
            }),
            Notice::SlotsWanted { session, audio, video } => self.tell(*session, |_| {
                Message::SlotsWanted(SlotsWanted { audio: *audio, video: *video })
            }),
            Notice::Speakers(speakers) => {
                let speakers = convert::speakers(speakers, |id| self.is_visible(id));
                self.send(&Message::Speakers { speakers }, |_| true);
            }
            Notice::Quality { member, quality } => {
                let (identity, quality) = (member.to_string(), convert::quality(*quality));
                let to_all = self.is_visible(member);
                self.send(&Message::Quality { identity, quality }, |feed| {
                    to_all || feed.identity == *member
                });
            }
            Notice::Settings(settings) => {
                self.send(&Message::Room { room: convert::room(room, settings) }, |_| true);
            }
            Notice::Permissions { session, permissions } => self.tell(*session, |_| {
                Message::Permissions { permissions: convert::permissions(permissions) }
            }),
            Notice::Muted { session, track, muted } => {
                self.tell(*session, |_| Message::Muted { track: track.to_string(), muted: *muted })
            }
            Notice::Data { from, message, channels: _, events } => {
                let from = from.as_ref().filter(|id| self.is_visible(id));
                let Some(body) = write(&convert::data(from, message)) else { return };
                for feed in events.iter().filter_map(|session| self.feeds.get(session)) {
                    feed.push(body.clone());
                }
            }
            Notice::DataLost { session, messages } => {
                self.tell(*session, |_| Message::DataLost { messages: *messages });
            }
            Notice::SessionClosed { .. } | Notice::Incompatible { .. } => {}
        }
    }

    /// Whether a member may be named to this session.
    fn names(&self, id: &ParticipantId, feed: &Feed) -> bool {
        self.is_visible(id) || feed.identity == *id
    }

    fn tell(&self, session: SessionId, message: impl FnOnce(&Feed) -> Message) {
        if let Some(feed) = self.feeds.get(&session)
            && let Some(body) = write(&message(feed))
        {
            feed.push(body);
        }
    }

    fn send(&self, message: &Message, hears: impl Fn(&Feed) -> bool) {
        let Some(body) = write(message) else { return };
        for feed in self.feeds.values().filter(|feed| hears(feed)) {
            feed.push(body.clone());
        }
    }
}

/// The message as JSON. Messages hold nothing that JSON cannot say, so this gives `Some` always.
pub(super) fn write(message: &Message) -> Option<Arc<str>> {
    serde_json::to_string(message).ok().map(Into::into)
}

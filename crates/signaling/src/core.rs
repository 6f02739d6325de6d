//! Signaling without HTTP: all rooms of a node, each with its own lock, and what they share: ids, limits, names, and
//! the room of each session. It is synchronous; time and random bytes come from the caller, so that a simulator can
//! drive it.
//!
//! There are three kinds of locks, each held for a moment only: the lock of a room, for a call into it; the locks of
//! the tables (names, sessions, deadlines), for a look-up or a change, also under a room's lock; the lock of the
//! random bytes. No table is locked while a thread waits for a room's lock, so a busy room does not delay the others.
//! Offers are parsed and matched under no lock at all.

mod commands;
mod data;
mod listings;
mod telling;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use model::{Command, Event, NodeId, ParticipantId, RoomId, SessionId};
use room::{
    Accepted, Agreed, Entering, ErrorKind, Ids, LocalMedia, LocalPublished, Negotiator, Notice,
    RecordChange, Renegotiated, Roles, Room, RoomConfig, RoomError, RoomSettings, Target,
    TrackDescription,
};

use crate::capacity::{Place, Totals, Wanted};

/// Sessions of a room that one slice of [`Core::work`] looks at.
const SLICE: usize = 256;

/// Delivers the rooms' commands to the workers.
///
/// It is called under a room's lock, so that the room's commands keep their order. It must neither block nor call back
/// into the rooms.
pub trait CommandSink: Send + Sync {
    /// Delivers a command.
    fn send(&self, command: Command);
}

impl<F: Fn(Command) + Send + Sync> CommandSink for F {
    fn send(&self, command: Command) {
        self(command);
    }
}

/// Hears what happens in the rooms.
///
/// It is called under a room's lock, so that it hears things in the order in which they happened. Of one call into a room it hears
/// first which members came or changed, then the notices, which may name them, and then which members left: the end of a session
/// is a notice. It must neither block nor call back into the rooms.
pub trait Observer: Send + Sync {
    /// Something happened to a session or a room.
    fn notice(&self, room: &RoomId, notice: &Notice);
    /// A member came, changed or left. Several changes of one member may come as one.
    fn record(&self, _room: &RoomId, _change: &RecordChange) {}
    /// The room began.
    fn opened(&self, _room: &RoomId) {}
    /// The room ended: nobody is in it any more.
    fn closed(&self, _room: &RoomId) {}
}

impl<F: Fn(&Notice) + Send + Sync> Observer for F {
    fn notice(&self, _room: &RoomId, notice: &Notice) {
        self(notice);
    }
}

/// Fills a buffer with random bytes.
type Fill = Box<dyn FnMut(&mut [u8]) + Send>;

/// The rooms by name.
type Names = BTreeMap<RoomId, Arc<Cell>>;

/// All rooms of a node.
pub struct Core {
    config: RoomConfig,
    default_settings: Arc<RoomSettings>,
    node: NodeId,
    epoch: u64,
    ids: Ids,
    random: Mutex<Fill>,
    sink: Box<dyn CommandSink>,
    observer: Box<dyn Observer>,
    names: Mutex<Names>,
    sessions: Mutex<HashMap<SessionId, Arc<Cell>>>,
    /// When each room has to be called next.
    deadlines: Mutex<BTreeSet<(Instant, RoomId)>>,
    /// Rooms with a change that not all of their viewers were fitted to.
    busy: Mutex<VecDeque<Arc<Cell>>>,
    totals: Totals,
    /// Data messages that were refused.
    data_refused: AtomicU64,
}

/// One room with its lock.
struct Cell {
    id: RoomId,
    state: Mutex<CellState>,
}

struct CellState {
    room: Room,
    /// The room was empty and was removed from the table of names; a later session of that name gets a new room.
    gone: bool,
    listed_deadline: Option<Instant>,
    is_busy: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The lock is used even if a thread panicked under it: a panic ends the request that caused it, not the node.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// A core without rooms. `epoch` tells this start of the node from earlier ones; `random` fills a buffer from the
    /// operating system's random generator; `observer` receives the notices, under the lock of a room.
    pub fn new(
        config: RoomConfig,
        epoch: u64,
        random: impl FnMut(&mut [u8]) + Send + 'static,
        sink: impl CommandSink + 'static,
        observer: impl Observer + 'static,
    ) -> Self {
        Self {
            default_settings: Arc::new(config.default_settings.clone()),
            config,
            // There is no cluster, so the node has number 1.
            node: NodeId(1),
            epoch,
            ids: Ids::default(),
            random: Mutex::new(Box::new(random)),
            sink: Box::new(sink),
            observer: Box::new(observer),
            names: Mutex::default(),
            sessions: Mutex::default(),
            deadlines: Mutex::default(),
            busy: Mutex::default(),
            totals: Totals::default(),
            data_refused: AtomicU64::new(0),
        }
    }

    /// Opens a publishing session (WHIP). The room is created if it does not exist.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`, `Full`, `Conflict`. Nothing has changed then.
    pub fn publish(
        &self,
        now: Instant,
        room: &RoomId,
        participant: &ParticipantId,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let participant = Some(participant.clone());
        let entering =
            Entering { participant, identity: None, target: Target::any(), admission: None };
        self.enter(now, room, entering, Roles::FromPeer, offer)
    }

    /// Opens a watching session (WHEP).
    ///
    /// # Errors
    /// As [`Core::publish`].
    pub fn subscribe(
        &self,
        now: Instant,
        room: &RoomId,
        viewer: Option<&ParticipantId>,
        target: Target,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let entering =
            Entering { participant: None, identity: viewer.cloned(), target, admission: None };
        self.enter(now, room, entering, Roles::ToPeer, offer)
    }

    /// Opens a session with any roles.
    ///
    /// # Errors
    /// As [`Core::publish`].
    pub fn enter(
        &self,
        now: Instant,
        room: &RoomId,
        entering: Entering,
        roles: Roles,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        self.enter_for(now, None, room, entering, roles, offer)
    }

    /// As [`Core::enter`], for the bearer of a token with this subject, whose sessions are counted.
    ///
    /// # Errors
    /// As [`Core::publish`]; `Quota` when the subject has reached its limit of sessions.
    pub fn enter_for(
        &self,
        now: Instant,
        subject: Option<&ParticipantId>,
        room: &RoomId,
        entering: Entering,
        roles: Roles,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        let mut place = self.reserve(now, subject, room, &entering, roles)?;
        let settings = self.settings(room).unwrap_or_else(|| self.default_settings.clone());
        let agreed = self.negotiate(&settings, |negotiator| negotiator.answer(roles, offer))?;
        let session = agreed.session();
        log_remarks(&agreed);
        self.in_room(room, |room, cell| {
            let there = entering.participant.as_ref().is_some_and(|who| room.publishes(who));
            if place.is_instead()
                && !there
                && let Err(full) = place.stand_alone(&self.config.limits)
            {
                return (Err(full), 0);
            }
            lock(&self.sessions).insert(session, cell.clone());
            place.belongs_to(session);
            let (entering, agreed) = (entering.clone(), agreed.clone());
            let entered = match place.is_instead() {
                true => room.enter_instead(now, &self.config, entering, agreed),
                false => room.enter(now, &self.config, entering, agreed),
            };
            if entered.is_err() {
                lock(&self.sessions).remove(&session);
                self.totals.forget(session);
                return (entered, 0);
            }
            (entered, place.used())
        })?
    }

    /// Adds an in-process publisher; a publisher of the same name is replaced.
    ///
    /// # Errors
    /// `Full`; `Unsupported` when there is no track or a track has no codec.
    pub fn publish_local(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        self.in_room(room, |room, cell| {
            let published = room.publish_local(&self.config, &self.ids, participant, media.clone());
            if let Ok(published) = &published {
                lock(&self.sessions).insert(published.session, cell.clone());
            }
            (published, 0)
        })?
    }

    /// Answers a later offer of a session. Media that stays is not touched. `tracks`: what the sending sections are; with
    /// `None`, tracks that stay keep their description.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`, `Unsupported`; `Forbidden` when a new track is of a source that the member may not publish;
    /// `Conflict` when the session changed during the negotiation. Nothing has changed then.
    pub fn renegotiate(
        &self,
        now: Instant,
        session: SessionId,
        offer: &str,
        tracks: Option<&[TrackDescription]>,
    ) -> Result<Renegotiated, RoomError> {
        let read = |room: &mut Room| (room.agreement(session), room.settings().clone());
        let (before, settings) = self.of_session(session, read)?;
        let before = before?;
        let agreed = self.negotiate(&settings, |n| n.answer_again(&before, offer))?;
        log_remarks(&agreed);
        self.of_session(session, |room| room.renegotiate(now, agreed, tracks))?
    }

    /// See [`Room::trickle`].
    ///
    /// # Errors
    /// Those of [`Room::trickle`].
    pub fn trickle(&self, session: SessionId, fragment: &str) -> Result<(), RoomError> {
        self.of_session(session, |room| room.trickle(session, fragment))?
    }

    /// See [`Room::restart`].
    ///
    /// # Errors
    /// Those of [`Room::restart`].
    pub fn restart(
        &self,
        now: Instant,
        session: SessionId,
        fragment: &str,
    ) -> Result<String, RoomError> {
        let mut random = |bytes: &mut [u8]| lock(&self.random)(bytes);
        self.of_session(session, |room| {
            room.restart(now, &self.config, &mut random, session, fragment)
        })?
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn close(&self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        self.of_session(session, |room| room.close(now, session))?
    }

    /// An event from a worker. Events of sessions that are gone are ignored.
    pub fn handle_event(&self, now: Instant, event: Event) {
        let session = event.session();
        if let Event::Data { message, .. } = &event {
            return self.take_data(now, session, message);
        }
        let _gone = self.of_session(session, |room| room.handle_event(now, event));
    }

    /// When [`Core::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        lock(&self.deadlines).first().map(|(at, _)| *at)
    }

    /// Calls the rooms that are due: sessions that did not connect in time end.
    pub fn handle_timeout(&self, now: Instant) {
        loop {
            let due = lock(&self.deadlines).first().filter(|(at, _)| *at <= now).cloned();
            let Some((at, id)) = due else { return };
            let cell = lock(&self.names).get(&id).cloned();
            let called = cell.and_then(|cell| self.turn(&cell, |room| room.handle_timeout(now)));
            if called.is_none() {
                lock(&self.deadlines).remove(&(at, id));
            }
        }
    }

    /// Fits viewers of one room to its last change, for about a millisecond. `true` when there may be more to do.
    pub fn work(&self) -> bool {
        let Some(cell) = lock(&self.busy).pop_front() else { return false };
        lock(&cell.state).is_busy = false;
        self.turn(&cell, |room| room.work(SLICE));
        !lock(&self.busy).is_empty()
    }

    /// Whether [`Core::work`] has something to do.
    pub fn has_work(&self) -> bool {
        !lock(&self.busy).is_empty()
    }
}

impl Core {
    fn negotiate<T>(&self, settings: &RoomSettings, f: impl FnOnce(&mut Negotiator<'_>) -> T) -> T {
        let mut random = |bytes: &mut [u8]| lock(&self.random)(bytes);
        let negotiator = Negotiator::new(&self.config, &self.ids, &mut random);
        f(&mut negotiator.allowing(&settings.codecs))
    }

    /// Reserves a place for one more session. Overdue sessions are ended first, even if their timer is late. If the
    /// room would refuse the session, it is refused here, before its offer is read.
    fn reserve(
        &self,
        now: Instant,
        subject: Option<&ParticipantId>,
        room: &RoomId,
        entering: &Entering,
        roles: Roles,
    ) -> Result<Place<'_>, RoomError> {
        let (limits, who) = (&self.config.limits, entering.participant.as_ref());
        let look = |room: &Room| -> Result<bool, RoomError> {
            who.map_or(Ok(()), |who| room.check_publisher(&self.config, who))?;
            if who.is_none() && roles.to_peer() {
                room.check_viewer(&self.config)?;
            }
            Ok(who.is_some_and(|who| room.publishes(who)))
        };
        let again = self.look(room, look).unwrap_or(Ok(false))?;
        let wanted = Wanted { subject, again, own: again && subject == who };
        let place = self.totals.reserve(limits, wanted, || self.handle_timeout(now))?;
        let names = lock(&self.names);
        if !names.contains_key(room) && names.len() >= limits.rooms {
            return Err(too_many_rooms(room, limits.rooms));
        }
        drop(names);
        Ok(place)
    }

    /// Calls into the room of this name, as [`Core::turn_with_places`]. The room is created if it does not exist.
    fn in_room<T>(
        &self,
        id: &RoomId,
        mut f: impl FnMut(&mut Room, &Arc<Cell>) -> (T, usize),
    ) -> Result<T, RoomError> {
        loop {
            let cell = self.cell(id)?;
            if let Some(result) = self.turn_with_places(&cell, |room| f(room, &cell)) {
                return Ok(result);
            }
            // The last session ended between the look-up and the call; a new room of the name is created.
        }
    }

    fn cell(&self, id: &RoomId) -> Result<Arc<Cell>, RoomError> {
        let mut names = lock(&self.names);
        if let Some(cell) = names.get(id) {
            return Ok(cell.clone());
        }
        let most = self.config.limits.rooms;
        if names.len() >= most {
            return Err(too_many_rooms(id, most));
        }
        let settings = self.default_settings.clone();
        let room = Room::with_settings(id.clone(), self.node, self.epoch, settings);
        Ok(self.begin(&mut names, room))
    }

    /// Enters a new room into the table of names.
    fn begin(&self, names: &mut Names, room: Room) -> Arc<Cell> {
        let id = room.id().clone();
        let state = CellState { room, gone: false, listed_deadline: None, is_busy: false };
        let cell = Arc::new(Cell { id: id.clone(), state: Mutex::new(state) });
        names.insert(id.clone(), cell.clone());
        self.observer.opened(&id);
        cell
    }

    /// Calls into the room of a session.
    fn of_session<T>(
        &self,
        session: SessionId,
        f: impl FnOnce(&mut Room) -> T,
    ) -> Result<T, RoomError> {
        let cell = lock(&self.sessions).get(&session).cloned();
        let done = cell.and_then(|cell| self.turn(&cell, f));
        done.ok_or_else(|| RoomError::new(ErrorKind::NotFound, format!("no session {session}")))
    }

    /// Calls into a room under its lock, and delivers its commands and notices. `None` when the room was removed.
    fn turn<T>(&self, cell: &Arc<Cell>, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.turn_with_places(cell, |room| (f(room), 0))
    }

    /// As [`Core::turn`], for calls that add sessions. `f` also returns how many of the added sessions are already
    /// counted as reserved places ([`Core::reserve`]), so that no session is counted twice.
    fn turn_with_places<T>(
        &self,
        cell: &Arc<Cell>,
        f: impl FnOnce(&mut Room) -> (T, usize),
    ) -> Option<T> {
        let mut state = lock(&cell.state);
        if state.gone {
            return None;
        }
        let before = state.room.counts();
        let (result, counted) = f(&mut state.room);
        while let Some(command) = state.room.poll_command() {
            self.sink.send(command);
        }
        self.tell(&cell.id, &mut state.room);
        self.totals.change(&before, &state.room.counts(), counted);
        self.list(cell, &mut state);
        Some(result)
    }

    /// Updates the tables of deadlines, busy rooms and names after a call into the room.
    fn list(&self, cell: &Arc<Cell>, state: &mut CellState) {
        let deadline = state.room.poll_timeout();
        if deadline != state.listed_deadline {
            let mut deadlines = lock(&self.deadlines);
            if let Some(at) = state.listed_deadline {
                deadlines.remove(&(at, cell.id.clone()));
            }
            if let Some(at) = deadline {
                deadlines.insert((at, cell.id.clone()));
            }
            state.listed_deadline = deadline;
        }
        if state.room.has_work() && !std::mem::replace(&mut state.is_busy, true) {
            lock(&self.busy).push_back(cell.clone());
        }
        if state.room.is_empty() {
            state.gone = true;
            let mut names = lock(&self.names);
            names.remove(&cell.id);
            // Under the lock of the names, so that the end is told before the next room of that name begins.
            self.observer.closed(&cell.id);
        }
    }
}

/// At most one line for each header extension of an offer; the rate of offers is limited.
fn log_remarks(agreed: &Agreed) {
    for remark in agreed.remarks() {
        tracing::debug!(session = %agreed.session(), remark, "a part of an offer was passed over");
    }
}

fn too_many_rooms(room: &RoomId, most: usize) -> RoomError {
    let text = format!("room {room}: the node has {most} rooms, which is its limit");
    RoomError::new(ErrorKind::Full, text)
}

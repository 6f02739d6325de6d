//! How sessions enter and leave a room.
//!
//! Viewers see one publishing session of each participant. When a participant publishes again while its session is
//! connected, the new session is a *successor*: it negotiates and connects beside the old one; once it is connected,
//! viewers are moved to it and the old session is closed. A successor that never connects changes nothing for viewers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Command, DownMedia, MemberKind, NodeId, ParticipantId, Profile, SessionId};

use crate::agreement::Agreement;
use crate::describing::{check_profile, describe};
use crate::members::{Member, PUBLISHER};
use crate::negotiate::Agreed;
use crate::policy::ByArrival;
use crate::records::{ParticipantRecord, TrackRecord};
use crate::room::{AT_ONCE, CONNECT_TIMEOUT, Entering, Room};
use crate::session::{Session, Viewing, Watching};
use crate::slots::SlotTable;
use crate::spending::Spending;
use crate::stage::floor::Who;
use crate::{
    Accepted, Admission, EndReason, ErrorKind, Ids, LocalMedia, LocalPublished, Notice, RoomConfig,
    RoomError, Target, TrackDescription,
};

/// How long the tracks of a publisher count as live before their first packet: from its offer, and again from the
/// moment at which it is connected. When two publishers start together, either one's first packet may be first;
/// without this time the later publisher would take the slots of the earlier one for good, with a gap in the sound.
const AWAITED_FOR: Duration = Duration::from_secs(3);

impl Room {
    /// Checks that a participant may publish under this name.
    ///
    /// # Errors
    /// `Conflict` when an in-process publisher has the name: it would be closed, and would not publish again; also when the
    /// participant is connected and the room's settings keep the older session. `Full`.
    pub fn check_publisher(
        &self,
        config: &RoomConfig,
        participant: &ParticipantId,
    ) -> Result<(), RoomError> {
        let room = self.id();
        let old = self.publishers.session_of(participant);
        let is_local =
            |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.agreement.is_none());
        if old.as_ref().is_some_and(is_local) {
            let text = format!(
                "participant {participant} is an in-process publisher of this node; choose another name"
            );
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let (there, limit) = (self.publishers.len(), config.limits.participants_per_room);
        let most = match self.settings.members_max {
            0 => limit,
            set => set.min(limit),
        };
        if old.is_none() && there >= most {
            let text = format!("room {room} has {there} participants; at most {most} are allowed");
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        let is_lost = self.publishers.of(participant).is_none_or(|record| record.lost);
        if !self.settings.newer_wins && !is_lost && self.is_connected(participant) {
            let text = format!(
                "participant {participant} is connected, and room {room} lets no second session replace the first"
            );
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        Ok(())
    }

    /// Checks that one more viewer may watch. Members are not counted as viewers, whether they watch or not.
    ///
    /// # Errors
    /// `Full`.
    pub fn check_viewer(&self, config: &RoomConfig) -> Result<(), RoomError> {
        let (room, there, most) = (self.id(), self.viewers, config.limits.viewers_per_room);
        if most > 0 && there >= most {
            let text = format!("room {room} has {there} viewers; at most {most} are allowed");
            return Err(RoomError::new(ErrorKind::Full, text));
        }
        Ok(())
    }

    /// Adds a new session to the room. If the participant already publishes over a connected session, the new session
    /// is its successor: once it is connected, viewers are moved to it and the old session is closed. An old session
    /// that is not connected is closed at once. A viewer may enter before any publisher: it stays connected and gets
    /// media when a publisher comes. Otherwise pages that were opened before a show would all reconnect when it
    /// begins.
    ///
    /// # Errors
    /// Those of [`Room::check_publisher`] and [`Room::check_viewer`]; `Quota` when the participant comes again and again. The room is
    /// then unchanged.
    pub fn enter(
        &mut self,
        now: Instant,
        config: &RoomConfig,
        entering: Entering,
        agreed: Agreed,
    ) -> Result<Accepted, RoomError> {
        self.enter_as(now, config, entering, agreed, false)
    }

    /// As [`Room::enter`], but the old session of the participant is closed at once: for a node whose limits leave no
    /// place for both.
    ///
    /// # Errors
    /// Those of [`Room::enter`].
    pub fn enter_instead(
        &mut self,
        now: Instant,
        config: &RoomConfig,
        entering: Entering,
        agreed: Agreed,
    ) -> Result<Accepted, RoomError> {
        self.enter_as(now, config, entering, agreed, true)
    }

    fn enter_as(
        &mut self,
        now: Instant,
        config: &RoomConfig,
        entering: Entering,
        agreed: Agreed,
        at_once: bool,
    ) -> Result<Accepted, RoomError> {
        self.handle_timeout(now);
        let Entering { participant, identity, target, admission } = entering;
        if let Some(participant) = &participant {
            self.check_publisher(config, participant)?;
        } else if admission.is_some() {
            let text = "a session that enters as a member needs an identity";
            return Err(RoomError::new(ErrorKind::Internal, text));
        }
        let Agreed { agreement, answer, .. } = agreed;
        if participant.is_none() && agreement.roles.to_peer() {
            self.check_viewer(config)?;
        }
        let (plan, session) = (agreement.plan.clone(), agreement.plan.id);
        let who = Who { session, identity: participant.as_ref().or(identity.as_ref()) };
        let mut entered = None;
        if let Some(id) = &participant {
            let record = self.record(id.clone(), &agreement, admission.as_deref())?;
            let permissions = admission.as_ref().map_or(PUBLISHER, |a| a.permissions);
            let member = Member::new(permissions, self.spend_entry(now, &record)?);
            entered = Some((record, Box::new(member)));
        }
        let watching = match agreement.roles.to_peer() {
            true => Some(match &admission {
                Some(admission) => self.stage_for(who, &agreement, admission)?,
                None => self.watching(&agreement, target),
            }),
            false => None,
        };
        let (record, member) = entered.unzip();
        self.is_entered(now);
        self.viewers += usize::from(watching.is_some() && member.is_none());
        let deadline = now + CONNECT_TIMEOUT;
        self.deadlines.insert((deadline, session));
        let (identity, deadline) = (participant.or(identity), Some(deadline));
        let agreement = Some(agreement);
        let state = Session { identity, connected: false, deadline, agreement, member, watching };
        self.sessions.insert(session, state);
        self.commands.push_back(Command::Open(plan));
        if let Some(record) = record {
            match !at_once && self.is_connected(&record.id) {
                true => self.line_up(record),
                false => {
                    self.enter_publisher(record);
                    self.await_media(now, session);
                }
            }
        }
        self.fit(session);
        Ok(Accepted { session, answer })
    }

    /// Whether the participant publishes over a connected session.
    fn is_connected(&self, participant: &ParticipantId) -> bool {
        let session = self.publishers.session_of(participant);
        session.and_then(|id| self.sessions.get(&id)).is_some_and(|s| s.connected)
    }

    /// Stores a successor until it is connected. An earlier successor of the participant is closed: a client that
    /// offers again has given up its last attempt.
    fn line_up(&mut self, record: ParticipantRecord) {
        if let Some(earlier) = self.successors.insert(record.id.clone(), record) {
            self.leave(earlier.session, EndReason::Replaced, None);
            self.work(AT_ONCE);
        }
    }

    /// When this session is a successor, moves the viewers to it, since it is connected now. False when it is none.
    pub(crate) fn succeed(&mut self, session: SessionId) -> bool {
        let Some(mut record) = self.take_successor(session) else { return false };
        record.connected = true;
        record.tracks.iter_mut().for_each(|track| track.awaited = true);
        self.enter_publisher(record);
        true
    }

    /// Lets the tracks of a publisher that send nothing yet count as live for [`AWAITED_FOR`].
    pub(crate) fn await_media(&mut self, now: Instant, session: SessionId) {
        let has_tracks = |record: &Arc<ParticipantRecord>| !record.tracks.is_empty();
        if !self.publishers.of_session(session).is_some_and(has_tracks) {
            return;
        }
        self.awaited.retain(|(_, awaited)| *awaited != session);
        self.awaited.insert((now + AWAITED_FOR, session));
        self.publishers.update(session, &mut self.mappings, |record| {
            record.tracks.iter_mut().for_each(|track| track.awaited = !track.active);
        });
    }

    /// The record of a session that is a successor.
    pub(crate) fn successor(&mut self, session: SessionId) -> Option<&mut ParticipantRecord> {
        let identity = self.sessions.get(&session)?.identity.as_ref()?;
        self.successors.get_mut(identity).filter(|record| record.session == session)
    }

    fn take_successor(&mut self, session: SessionId) -> Option<ParticipantRecord> {
        let identity = self.successor(session)?.id.clone();
        self.successors.remove(&identity)
    }

    /// The record of a participant of this node that enters with a peer connection.
    fn record(
        &mut self,
        id: ParticipantId,
        agreement: &Agreement,
        admission: Option<&Admission>,
    ) -> Result<ParticipantRecord, RoomError> {
        let mut record = blank(id, agreement.plan.id);
        let mut permissions = PUBLISHER;
        let mut given: &[TrackDescription] = &[];
        if let Some(admission) = admission {
            check_profile(&admission.profile)?;
            record.kind = admission.kind;
            record.profile = admission.profile.clone();
            (permissions, given) = (admission.permissions, &admission.tracks);
            record.hidden = permissions.hidden;
        }
        record.tracks = describe(agreement, given, &[], &permissions, &mut self.mappings)?;
        Ok(record)
    }

    fn watching(&mut self, agreement: &Agreement, target: Target) -> Watching {
        let slots = SlotTable::new(&slots_of(agreement), &mut self.mappings);
        let policy = Box::new(ByArrival);
        Watching::Viewer(Box::new(Viewing { target, slots, policy, revision: 0 }))
    }

    /// Adds an in-process publisher; a publisher of the same name is replaced. No `Open` command is made, since there
    /// is no peer connection; viewers are bound to its tracks as to any other's.
    ///
    /// # Errors
    /// `Full`; `Unsupported` when there is no track or a track has no codec.
    pub fn publish_local(
        &mut self,
        config: &RoomConfig,
        ids: &Ids,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        if media.is_empty() || media.iter().any(|m| m.codecs.is_empty()) {
            let text = format!(
                "participant {participant}: at least one track, each with a codec, is needed"
            );
            return Err(RoomError::new(ErrorKind::Unsupported, text));
        }
        if self.publishers.session_of(participant).is_none() {
            self.check_publisher(config, participant)?;
        }
        let session = ids.session();
        let made = media.into_iter().map(|media| {
            let codecs = self.mappings.list(&media.codecs).codecs;
            TrackRecord::of_local(ids.track(), media, codecs)
        });
        let tracks: Vec<TrackRecord> = made.collect();
        let published =
            LocalPublished { session, tracks: tracks.iter().map(|track| track.id).collect() };
        let record = ParticipantRecord {
            kind: MemberKind::Local,
            connected: true,
            local: true,
            tracks,
            ..blank(participant.clone(), session)
        };
        let state = Session {
            identity: Some(participant.clone()),
            connected: true,
            deadline: None,
            agreement: None,
            member: Some(Box::new(Member::new(PUBLISHER, Spending::default()))),
            watching: None,
        };
        self.sessions.insert(session, state);
        self.connected += 1;
        self.enter_publisher(record);
        Ok(published)
    }

    /// Whether a participant is connected to this node, or connecting.
    pub fn publishes(&self, participant: &ParticipantId) -> bool {
        let session = self.publishers.session_of(participant);
        session.is_some_and(|session| self.sessions.contains_key(&session))
    }

    /// Adds a publisher to the room and closes the sessions that it replaces. Viewers are bound to the new session
    /// before the old one is closed. A member that was lost keeps its place.
    fn enter_publisher(&mut self, record: ParticipantRecord) {
        let (id, session) = (record.id.clone(), record.session);
        let successor = self.successors.remove(&id).map(|record| record.session);
        let earlier = self.publishers.session_of(&id).and_then(|old| self.sessions.get(&old));
        let earlier = earlier.and_then(|old| old.member.as_ref()?.lost_until);
        let lost_until = self.found_again(&id).or(earlier);
        if let Ok(member) = self.member_mut(session) {
            member.lost_until = lost_until;
        }
        let old_tracks = self.publishers.of(&id).map_or(0, |old| old.tracks.len());
        // A member that neither had nor has tracks changes nothing for the viewers.
        let tracks = old_tracks + record.tracks.len();
        let old = self.put_record(record);
        if tracks > 0 {
            self.tracks_changed();
        }
        for replaced in [old, successor].into_iter().flatten() {
            self.leave(replaced, EndReason::Replaced, None);
        }
        self.work(AT_ONCE);
    }

    /// Enters a record, or replaces that of the participant. Returns the session with which it published before.
    fn put_record(&mut self, record: ParticipantRecord) -> Option<SessionId> {
        let session = record.session;
        let was_hidden = self.publishers.of(&record.id).is_some_and(|old| old.hidden);
        let old = self.publishers.put(record, &mut self.mappings);
        if was_hidden {
            self.tell_quality(session);
        }
        old
    }

    /// Removes a session from the room and frees the slots that show it. Its member may stay as a lost one. False when
    /// the room has no such session.
    pub(crate) fn end(&mut self, now: Instant, id: SessionId, reason: EndReason) -> bool {
        let until = self.stays_until(now, id, reason);
        let has_left = self.leave(id, reason, until);
        if has_left {
            self.note_empty(now);
            self.work(AT_ONCE);
        }
        has_left
    }

    /// As [`Room::end`], without the work for the viewers. `until`: how long the member stays without a session.
    pub(crate) fn leave(
        &mut self,
        id: SessionId,
        reason: EndReason,
        until: Option<Instant>,
    ) -> bool {
        self.take_successor(id);
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(deadline) = session.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.awaited.retain(|(_, awaited)| *awaited != id);
        self.connected -= usize::from(session.connected);
        if let Some(watching) = &session.watching {
            self.viewers -= usize::from(session.member.is_none());
            self.round.crowded -= usize::from(watching.is_crowded());
            if watching.is_member() {
                self.floor.stage_left();
            }
        }
        // The record of a publisher that was replaced already names the new session.
        if let Some(record) = self.publishers.of_session(id).cloned() {
            self.leave_record(&record, until);
        }
        // Workers know nothing of an in-process publisher, so they get no `Close`.
        if session.agreement.is_some() {
            self.farewells.push_back(id);
        }
        self.notices.push_back(Notice::SessionClosed { session: id, reason });
        true
    }

    /// The session of a record is over. If a successor is not connected yet, it takes the place in the order of arrival
    /// now.
    fn leave_record(&mut self, record: &ParticipantRecord, until: Option<Instant>) {
        let mut tracks = record.tracks.len();
        match (self.successors.remove(&record.id), until) {
            (Some(successor), _) => {
                tracks += successor.tracks.len();
                self.put_record(successor);
            }
            (None, Some(until)) => self.lose(record.session, until),
            (None, None) => {
                self.qualities.remove(&record.id);
                self.publishers.remove(record.session);
            }
        }
        if tracks > 0 {
            self.tracks_changed();
        }
    }
}

/// A record of a participant of this node, without tracks. The author enters its own name when it takes the record.
fn blank(id: ParticipantId, session: SessionId) -> ParticipantRecord {
    ParticipantRecord {
        id,
        session,
        author: NodeId(0),
        epoch: 0,
        version: 0,
        kind: MemberKind::Whip,
        profile: Profile::default(),
        hidden: false,
        lost: false,
        connected: false,
        local: false,
        tracks: Vec::new(),
    }
}

/// The receiving sections of an agreement, and the group of each.
pub(crate) fn slots_of(agreement: &Agreement) -> Vec<(&DownMedia, usize)> {
    agreement.plan.down.iter().zip(agreement.groups.iter().copied()).collect()
}

//! The room as its rules say it is: members in order of arrival, each with the session that the others see, perhaps one
//! that will follow it, and how long it stays without one.

use std::time::{Duration, Instant};

use model::{Permissions, Presence, SessionId, TrackSource};
use sfumato_room::{CONNECT_TIMEOUT, ParticipantRecord};

use crate::{SENT, name};

const LOST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why something is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    NotThere,
    Lost,
}

/// What is seen of a member: name, hidden, presence, name for people, and its tracks: source, muted, forbidden.
pub(crate) type Seen = (String, bool, Presence, String, Vec<(TrackSource, bool, bool)>);

pub(crate) fn seen(record: &ParticipantRecord) -> Seen {
    let tracks = record.tracks.iter().map(|track| (track.source, track.muted, track.forbidden));
    let (id, name) = (record.id.to_string(), record.profile.name.to_string());
    (id, record.hidden, record.presence(), name, tracks.collect())
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    since: Instant,
    connected: bool,
    lost: bool,
    /// It is over, and its member stays until then; or it follows such a session, and is not connected yet.
    stays_until: Option<Instant>,
    is_over: bool,
    may: Permissions,
    name: String,
    tracks: Vec<(TrackSource, bool, bool)>,
}

#[derive(Debug)]
struct Member {
    who: usize,
    current: Session,
    next: Option<Session>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    now: Option<Instant>,
    members: Vec<Member>,
}

fn may_publish(may: Permissions, source: TrackSource) -> bool {
    !may.hidden && may.publish.contains(source)
}

fn sources(sends: u8) -> impl Iterator<Item = TrackSource> {
    SENT.into_iter().enumerate().filter(move |(at, _)| sends & 1 << at != 0).map(|(_, s)| s)
}

impl Model {
    /// Whether an offer that sends this, after one that sent `before`, is refused.
    pub(crate) fn refuses(may: Permissions, sends: u8, before: u8) -> bool {
        sources(sends & !before).any(|source| !may_publish(may, source))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn find(&mut self, who: usize) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.who == who)
    }

    /// The member, if the session that the others see is not over.
    fn live(&mut self, who: usize) -> Option<&mut Member> {
        self.find(who).filter(|member| !member.current.is_over)
    }

    pub(crate) fn session(&mut self, who: usize) -> Option<SessionId> {
        self.live(who).map(|member| member.current.id)
    }

    /// What the member sends, and what it may.
    pub(crate) fn sent(&mut self, who: usize) -> (u8, Permissions) {
        let current = &self.live(who).unwrap().current;
        let sent = |source: &TrackSource| current.tracks.iter().any(|(s, ..)| s == source);
        let bits = SENT.iter().enumerate().filter(|(_, source)| sent(source));
        (bits.map(|(at, _)| 1 << at).sum(), current.may)
    }

    pub(crate) fn join(
        &mut self,
        who: usize,
        now: Instant,
        id: SessionId,
        may: Permissions,
        sends: u8,
    ) {
        self.now = Some(now);
        let mut session = Session {
            id,
            since: now,
            connected: false,
            lost: false,
            stays_until: None,
            is_over: false,
            may,
            name: String::new(),
            tracks: sources(sends).map(|source| (source, false, false)).collect(),
        };
        match self.find(who) {
            None => self.members.push(Member { who, current: session, next: None }),
            Some(member) if member.current.connected => member.next = Some(session),
            Some(member) => {
                session.stays_until = member.current.stays_until;
                (member.current, member.next) = (session, None);
            }
        }
    }

    /// The session that connects now: the newest one that is not connected.
    pub(crate) fn connect(&mut self, who: usize) -> Option<SessionId> {
        let member = self.live(who)?;
        if let Some(next) = member.next.take() {
            member.current = next;
        } else if member.current.connected {
            return None;
        }
        (member.current.connected, member.current.stays_until) = (true, None);
        Some(member.current.id)
    }

    pub(crate) fn leave(&mut self, who: usize) -> Option<SessionId> {
        let member = self.live(who)?;
        let id = member.current.id;
        match member.next.take() {
            Some(next) => member.current = next,
            None => self.members.retain(|member| member.who != who),
        }
        Some(id)
    }

    pub(crate) fn break_off(&mut self, who: usize) -> Option<SessionId> {
        let now = self.now?;
        let member = self.live(who)?;
        let id = member.current.id;
        if let Some(next) = member.next.take() {
            member.current = next;
            return Some(id);
        }
        let until = match member.current.connected {
            true => Some(now + LOST_TIMEOUT),
            false => member.current.stays_until,
        };
        self.end(who, until);
        Some(id)
    }

    /// The session of a member is over. The member stays until then, or leaves.
    fn end(&mut self, who: usize, until: Option<Instant>) {
        let Some(until) = until else {
            self.members.retain(|member| member.who != who);
            return;
        };
        let current = &mut self.find(who).unwrap().current;
        (current.is_over, current.connected, current.lost) = (true, false, true);
        current.stays_until = Some(until);
        current.tracks.clear();
    }

    pub(crate) fn set_lost(&mut self, who: usize, lost: bool) -> Option<SessionId> {
        let member = self.live(who).filter(|member| member.current.connected)?;
        member.current.lost = lost;
        Some(member.current.id)
    }

    pub(crate) fn publish(&mut self, who: usize, sends: u8) {
        let current = &mut self.live(who).unwrap().current;
        let before = std::mem::take(&mut current.tracks);
        let track = |source| {
            let known = before.iter().find(|(known, ..)| *known == source);
            known.copied().unwrap_or((source, false, false))
        };
        current.tracks = sources(sends).map(track).collect();
    }

    pub(crate) fn mute(&mut self, who: usize, nth: usize, muted: bool) {
        self.live(who).unwrap().current.tracks[nth].1 = muted;
    }

    pub(crate) fn permit(&mut self, who: usize, may: Permissions) -> Result<(), Refusal> {
        let member = self.find(who).ok_or(Refusal::NotThere)?;
        if member.current.is_over {
            return Err(Refusal::Lost);
        }
        for session in [Some(&mut member.current), member.next.as_mut()].into_iter().flatten() {
            session.may = may;
            for (source, _, forbidden) in &mut session.tracks {
                *forbidden = !may_publish(may, *source);
            }
        }
        Ok(())
    }

    pub(crate) fn rename(&mut self, who: usize, to: &str) -> Result<(), Refusal> {
        let member = self.find(who).ok_or(Refusal::NotThere)?;
        for session in [Some(&mut member.current), member.next.as_mut()].into_iter().flatten() {
            to.clone_into(&mut session.name);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, who: usize) -> Result<(), Refusal> {
        self.find(who).ok_or(Refusal::NotThere)?;
        self.members.retain(|member| member.who != who);
        Ok(())
    }

    /// Sessions that are not connected in time end, and then the members that were lost for too long.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.now = Some(now);
        let late = |session: &Session| !session.connected && now >= session.since + CONNECT_TIMEOUT;
        for who in self.members.iter().map(|member| member.who).collect::<Vec<_>>() {
            let Some(member) = self.live(who) else { continue };
            member.next.take_if(|next| late(next));
            if late(&member.current) {
                let until = member.current.stays_until.filter(|until| *until > now);
                self.end(who, until);
            }
        }
        let is_over = |session: &Session| {
            session.is_over && session.stays_until.is_none_or(|until| until <= now)
        };
        self.members.retain(|member| !is_over(&member.current));
    }

    pub(crate) fn members(&self) -> Vec<Seen> {
        self.members.iter().map(Member::seen).collect()
    }

    /// All sessions that are not over, by rising id.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        let of = |member: &Member| {
            let current = Some(member.current.id).filter(|_| !member.current.is_over);
            [current, member.next.as_ref().map(|next| next.id)]
        };
        let mut sessions: Vec<SessionId> = self.members.iter().flat_map(of).flatten().collect();
        sessions.sort_unstable();
        sessions
    }

    /// The members that the member of a session sees, and what it may do.
    pub(crate) fn seen_by(&self, session: SessionId) -> (Vec<Seen>, Permissions) {
        let is_next = |m: &Member| m.next.as_ref().is_some_and(|next| next.id == session);
        let mut members = self.members.iter();
        let me = members.find(|m| m.current.id == session || is_next(m)).unwrap();
        let visible = |m: &&Member| !m.current.may.hidden || m.who == me.who;
        let may = if is_next(me) { me.next.as_ref().unwrap().may } else { me.current.may };
        (self.members.iter().filter(visible).map(Member::seen).collect(), may)
    }
}

impl Member {
    fn seen(&self) -> Seen {
        let current = &self.current;
        let presence = match (current.lost, current.connected) {
            (true, _) => Presence::Lost,
            (false, true) => Presence::Connected,
            (false, false) => Presence::Connecting,
        };
        let tracks = current.tracks.clone();
        (name(self.who), current.may.hidden, presence, current.name.clone(), tracks)
    }
}

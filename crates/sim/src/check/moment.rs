//! Checks at every moment of a run and after it: who sees whom, why sessions end, and what is left.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use model::{CloseReason, SessionId};
use room::EndReason;

use super::{counters, witness::Left};
use crate::{
    net::Weather,
    peer::{End, Phase, describe::number_of, ice},
    world::World,
};

/// A change of a slot may be under way between workers for this long.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

impl World {
    /// Checks everything that must hold at every moment.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        self.counted.given = self.node.given;
        counters::check(&self.node.metrics(), &self.counted, self.node.is_still())?;
        for viewer in 0..self.lines.len() {
            self.sees_whom_it_should(viewer)?;
        }
        Ok(())
    }

    /// How long a viewer may wait for a publisher, and for the next picture of one.
    ///
    /// On a calm network: the publisher may have been asked for a key frame just before, and is asked at most once a
    /// second. Where packets are lost: a picture is given up after some time, and then the request for a key frame and
    /// the key frame itself have to arrive, several times if one of them is lost again. `late`: packets were lost
    /// although the network is calm, because a peer moved, a worker stalled, or a viewer had not read its answer; or
    /// another layer has to be found.
    fn patience(&self, late: bool) -> (Duration, Duration) {
        let (first, next) = match self.weather {
            Weather::Calm if !late => (1_000, 500),
            Weather::Calm => (2_500, 2_500),
            Weather::Breezy => (4_000, 4_000),
            Weather::Stormy => (8_000, 8_000),
        };
        (Duration::from_millis(first), Duration::from_millis(next))
    }

    fn sees_whom_it_should(&mut self, at: usize) -> Result<(), String> {
        let viewer = &self.lines[at];
        let (Some(session), Some(fine), Some(input)) =
            (viewer.peer.session, viewer.peer.fine_since, &viewer.peer.input)
        else {
            return Ok(());
        };
        if viewer.strained {
            return Ok(());
        }
        let mut waited = Duration::ZERO;
        for slot in self.oracle.slots(session) {
            let Some((publisher, number)) = slot.flows else { continue };
            let Some(&from) = self.sessions.get(&publisher) else { continue };
            let line = &self.lines[from];
            let Some((ready, late)) = line.sends(number).filter(|_| !line.strained) else {
                continue;
            };
            // The viewer must have read the answer.
            let known = input.slots.iter().find(|s| s.number() == slot.number);
            let Some(known) = known else { continue };
            let stalled = self.stalled_until > Duration::ZERO;
            let late = late || known.added.is_some() || viewer.peer.has_moved || stalled;
            let (first, next) = self.patience(late);
            let since = fine.max(ready).max(slot.since).max(self.stalled_until);
            let since = since.max(known.added.unwrap_or_default());
            let seen = input.seen.get(&(known.mid, (line.peer.id, number))).copied();
            let last = seen.filter(|seen| *seen >= since);
            if last.is_none() && !late {
                waited = waited.max(self.now.saturating_sub(since));
            }
            let quiet = self.now.saturating_sub(last.unwrap_or(since));
            if quiet > if last.is_some() { next } else { first } {
                return Err(format!(
                    "viewer {at} has not had {:?} {number} of publisher {from} in section {} for {} ms, though both are fine since {since:?}",
                    slot.kind,
                    slot.number,
                    quiet.as_millis()
                ));
            }
        }
        self.longest_wait = self.longest_wait.max(waited);
        Ok(())
    }

    /// Checks that nothing is left after all peers have been gone for long.
    pub(crate) fn at_the_end(&mut self) -> Result<(), String> {
        self.look()?;
        let left = self.node.left_behind();
        if !left.is_empty() {
            return Err(format!("left behind: {}", left.join(", ")));
        }
        let stray = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 9));
        let credentials: Vec<(String, String)> =
            self.lines.iter().flat_map(|l| l.peer.credentials.clone()).collect();
        for (ufrag, pwd) in credentials {
            let check = ice::check(7, &format!("{ufrag}:x"), &pwd, true)?;
            let at = self.worker_of(stray);
            self.node.arrive(at, stray, check);
            if !self.node.turn(at, self.now).1.is_empty() {
                return Err(format!("the node still answers to {ufrag}"));
            }
        }
        Ok(())
    }

    /// Checks that nobody is sent a track that does not flow through the slot, and did not a moment ago.
    pub(crate) fn may_see(&self, left: &Left) -> Result<(), String> {
        let Some(stamp) = left.stamp else { return Ok(()) };
        let line = self.lines.get(usize::from(stamp.peer));
        let Some(publisher) = line.and_then(|l| l.peer.session) else {
            return Err(format!("media of peer {}, who has no session", stamp.peer));
        };
        let mut slots = self.oracle.slots(left.session);
        let Some(slot) = slots.find(|s| number_of(left.mid) == Some(s.number)) else {
            // The viewer's session or section has ended, and its worker has not been told yet.
            return Ok(());
        };
        if left.skipped.is_some_and(|since| slot.since + ON_ITS_WAY < since) {
            return Err(format!(
                "section {} of session {}: sounds before {stamp:?} are missing, and nothing else was bound",
                left.mid, left.session
            ));
        }
        match slot.had((publisher, stamp.track), self.now.saturating_sub(ON_ITS_WAY)) {
            true => Ok(()),
            false => Err(format!(
                "section {} of session {} carries {} of session {publisher}, and should carry {:?}",
                left.mid, left.session, stamp.track, slot.flows
            )),
        }
    }

    /// Sessions end only for a reason that their peers caused.
    pub(crate) fn may_end(&self, session: SessionId, reason: EndReason) -> Result<(), String> {
        let Some(line) = self.sessions.get(&session).and_then(|at| self.lines.get(*at)) else {
            return Err(format!("session {session}, which nobody has, ended"));
        };
        let (peer, over) = (&line.peer, line.peer.is_over());
        let fits = match reason {
            EndReason::Deleted => peer.phase == Phase::Over(End::Left),
            EndReason::Replaced => peer.wish.sends(),
            EndReason::NeverConnected => over || self.weather == Weather::Stormy,
            EndReason::Transport(CloseReason::ConsentExpired) => over,
            EndReason::Removed | EndReason::RoomClosed | EndReason::Expired => false,
            EndReason::Transport(_) => false,
        };
        match fits {
            true => Ok(()),
            false => {
                let phase = peer.phase;
                Err(format!("session {session} of peer {} ({phase:?}) ended: {reason:?}", peer.id))
            }
        }
    }
}

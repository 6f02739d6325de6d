//! Changes of a live session: its media sections and its ICE credentials.

use std::time::Instant;

use model::{Command, IceCredentials, SessionId};
use sdp::Fragment;

use crate::agreement::Agreement;
use crate::describing::describe;
use crate::members::PUBLISHER;
use crate::negotiate::Agreed;
use crate::random::Random;
use crate::records::TrackRecord;
use crate::room::{AT_ONCE, Renegotiated, Room, not_found};
use crate::{ErrorKind, RoomConfig, RoomError, TrackDescription};

impl Room {
    /// What was agreed with a session's peer: the start of a renegotiation, which runs without the room's lock.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn agreement(&self, session: SessionId) -> Result<Agreement, RoomError> {
        self.session(session)?.agreement().cloned()
    }

    /// Applies a renegotiation. Media that stays is not touched. `tracks`: what the sending sections are; those that stay
    /// and are not named keep their description.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the session changed after the negotiation took its [`Agreement`]; `Unsupported` when a
    /// description does not fit the offer; `Forbidden` when a new track is of a source that the member may not publish;
    /// `Quota` when it changes its tracks too often. Nothing has changed then.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        agreed: Agreed,
        tracks: Option<&[TrackDescription]>,
    ) -> Result<Renegotiated, RoomError> {
        self.handle_timeout(now);
        let Agreed { mut agreement, answer, restarts, .. } = agreed;
        let (plan, id) = (agreement.plan.clone(), agreement.plan.id);
        let current = self.session(id)?.agreement()?;
        if current.number != agreement.number {
            let text = format!("session {id}: it was changed meanwhile; offer again");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let described = self.describe_again(&agreement, tracks.unwrap_or_default())?;
        self.spend_tracks(now, id, &described)?;
        agreement.number += 1;
        let ice = agreement.ice.clone();
        let mappings = &mut self.mappings;
        let Some(session) = self.sessions.get_mut(&id) else { return Err(not_found(id)) };
        if let Some(watching) = &mut session.watching {
            watching.update(&agreement, mappings);
        }
        session.agreement = Some(agreement);
        self.commands.push_back(Command::Update(plan.clone()));
        if restarts {
            self.commands.push_back(Command::Restart { session: id, ice });
        }
        if let Some(record) = self.successor(id) {
            record.update_tracks(described);
        } else if let Some(before) = self.publishers.of_session(id).cloned() {
            let mappings = &mut self.mappings;
            self.publishers.update(id, mappings, |record| record.update_tracks(described));
            let after = self.publishers.of_session(id);
            if after.is_some_and(|after| after.tracks != before.tracks) {
                self.tracks_changed();
            }
        }
        self.fit(id);
        self.work(AT_ONCE);
        Ok(Renegotiated { answer, restarts })
    }

    /// The tracks of a renegotiated session; none when it has no record.
    fn describe_again(
        &mut self,
        agreement: &Agreement,
        given: &[TrackDescription],
    ) -> Result<Vec<TrackRecord>, RoomError> {
        let id = agreement.session();
        let Some(before) = self.record_of(id).map(|record| record.tracks.clone()) else {
            return Ok(Vec::new());
        };
        let permissions = self.permissions(id).unwrap_or(PUBLISHER);
        describe(agreement, given, &before, &permissions, &mut self.mappings)
    }

    /// A trickle fragment (RFC 8840, PATCH with the session's ETag). Its candidates are dropped silently: an ICE-lite
    /// server sends no checks and needs none.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`; `Conflict` when the fragment is of another ICE generation.
    pub fn trickle(&mut self, session: SessionId, frag: &str) -> Result<(), RoomError> {
        let ice = &self.session(session)?.agreement()?.ice;
        let fragment = Fragment::parse(frag)?;
        match &fragment.ufrag {
            Some(ufrag) if *ufrag != ice.remote_ufrag => Err(RoomError::new(
                ErrorKind::Conflict,
                format!(
                    "session {session}: the fragment's a=ice-ufrag is not the current one; restart ICE to change it"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// An ICE restart (PATCH with `If-Match: *`): the answer is a fragment with our new credentials and candidates.
    ///
    /// # Errors
    /// `NotFound`; `BadSdp`, also when credentials are missing; `Conflict` when they are not new. After an error the
    /// session goes on as before.
    pub fn restart(
        &mut self,
        now: Instant,
        config: &RoomConfig,
        random: &mut dyn FnMut(&mut [u8]),
        session: SessionId,
        frag: &str,
    ) -> Result<String, RoomError> {
        self.handle_timeout(now);
        let current = &self.session(session)?.agreement()?.ice;
        let fragment = Fragment::parse(frag)?;
        let (Some(ufrag), Some(pwd)) = (fragment.ufrag, fragment.pwd) else {
            let text = format!("session {session}: a restart needs a=ice-ufrag and a=ice-pwd");
            return Err(RoomError::new(ErrorKind::BadSdp, text));
        };
        // RFC 8839 section 4.4.1.1.1: a restart changes both.
        if ufrag == current.remote_ufrag || pwd == current.remote_pwd {
            let text =
                format!("session {session}: a restart needs a new a=ice-ufrag and a new a=ice-pwd");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        let mut random = Random::new(random);
        let credentials = IceCredentials {
            local_ufrag: random.ufrag(),
            local_pwd: random.pwd(),
            remote_ufrag: ufrag,
            remote_pwd: pwd,
        };
        let agreement = self.sessions.get_mut(&session).and_then(|s| s.agreement.as_mut());
        let Some(agreement) = agreement else { return Err(not_found(session)) };
        agreement.ice = credentials.clone();
        agreement.number += 1;
        let (kind, protocol, mid) = &agreement.restart.tagged;
        let answer = Fragment::restart_answer(
            &credentials.local_ufrag,
            &credentials.local_pwd,
            &agreement.restart.ice_options,
            &agreement.restart.bundle,
            (kind, protocol, mid.as_deref()),
            &config.candidates,
        );
        self.commands.push_back(Command::Restart { session, ice: credentials });
        Ok(answer)
    }
}

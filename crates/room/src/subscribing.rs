//! How room sessions get what they see and hear: subscriptions, levels, and the rounds in which a change of who speaks
//! reaches the slots of all members.

use std::sync::Arc;
use std::time::Instant;

use model::{Command, Loudness, SessionId, TrackId};

use crate::agreement::Agreement;
use crate::room::{AT_ONCE, Room, not_found};
use crate::session::Watching;
use crate::speakers::Heard;
use crate::stage::Stage;
use crate::stage::floor::Who;
use crate::{Admission, Notice, RoomError, SlotView, SlotWish, Speaker, Subscription};

impl Room {
    /// Sets how the video slots of a room session are filled from now on. Nothing changes after an error.
    ///
    /// # Errors
    /// `NotFound`: no such room session, or a slot or track that the member does not have or see. `Unsupported`: more
    /// than 64 wishes or pinned members, or one slot or track twice.
    pub fn subscribe(
        &mut self,
        session: SessionId,
        subscription: Subscription,
    ) -> Result<(), RoomError> {
        self.refresh_floor();
        let Some(now) = self.floor.now else { return Err(not_found(session)) };
        let Some(state) = self.sessions.get_mut(&session) else { return Err(not_found(session)) };
        let who = Who { session, identity: state.identity.as_ref() };
        let Some(Watching::Member(stage)) = &mut state.watching else {
            return Err(not_found(session));
        };
        stage.subscribe(subscription, &self.floor, who, now)?;
        self.fit(session);
        Ok(())
    }

    /// What flows through the slots of a room session, in the order of its offer; empty for other sessions.
    pub fn slot_views(&self, session: SessionId) -> Vec<SlotView> {
        self.stage(session).map(Stage::views).unwrap_or_default()
    }

    /// The slots that a room session could use: audio, video.
    pub fn slots_wanted(&self, session: SessionId) -> (usize, usize) {
        self.stage(session).map(Stage::wanted).unwrap_or_default()
    }

    /// What a room session wishes for each of its video slots, with sizes and priorities; empty while its policy is the
    /// automatic one.
    pub fn slot_wishes(&self, session: SessionId) -> Vec<SlotWish> {
        self.stage(session).map(Stage::wishes).unwrap_or_default()
    }

    /// Who speaks, the dominant one first, as [`Notice::Speakers`] told it last.
    pub fn speakers(&self) -> Arc<[Speaker]> {
        self.floor.speakers.told().clone()
    }

    /// The stage of a member that enters. Counts it among the stages, unless its subscription is refused.
    ///
    /// # Errors
    /// As [`Room::subscribe`].
    pub(crate) fn stage_for(
        &mut self,
        who: Who<'_>,
        agreement: &Agreement,
        admission: &Admission,
    ) -> Result<Watching, RoomError> {
        let plan = &agreement.plan;
        let mut stage = Stage::new(&plan.down, plan.up.len(), &mut self.mappings);
        stage.allow(admission.permissions.subscribe);
        self.floor.stages += 1;
        self.refresh_floor();
        let now = self.floor.now.ok_or_else(|| not_found(who.session));
        let subscription = admission.subscription.clone();
        match now.and_then(|now| stage.subscribe(subscription, &self.floor, who, now)) {
            Ok(()) => Ok(Watching::Member(Box::new(stage))),
            Err(error) => {
                self.floor.stage_left();
                Err(error)
            }
        }
    }

    /// Sets whether a room session may receive the tracks of others.
    pub fn allow_receiving(&mut self, session: SessionId, may_receive: bool) {
        let watching = self.sessions.get_mut(&session).and_then(|s| s.watching.as_mut());
        if let Some(Watching::Member(stage)) = watching
            && stage.allow(may_receive)
        {
            self.fit(session);
        }
    }

    /// Sets how many audio tracks the members hear at a time.
    pub fn set_audible(&mut self, audible: usize) {
        self.floor.set_audible(audible);
        self.begin_stage_round();
    }

    /// The level of an audio track, as a worker told it.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        session: SessionId,
        track: TrackId,
        level: Loudness,
    ) {
        if self.floor.stages > 0 {
            self.refresh_floor();
            self.floor.speakers.level(now, session, track, level);
        }
    }

    /// Works out who speaks and who is heard, if that is due, and lets the members' slots follow.
    pub(crate) fn floor_timeout(&mut self, now: Instant) {
        self.floor.now = Some(now);
        if self.floor.stages == 0 {
            return;
        }
        let mut changed = self.floor.take_retry(now);
        if self.floor.speakers.due().is_some_and(|due| due <= now) {
            let heard = self.floor.speakers.update(now);
            changed |= heard.loudest;
            changed |= heard.order && self.floor.rank();
            self.tell_speakers(heard);
        }
        if changed {
            self.floor.revision += 1;
            self.begin_stage_round();
        }
    }

    /// Begins a round of the members whose slots are not fitted to the present floor.
    fn begin_stage_round(&mut self) {
        self.round_of_all();
        self.work(AT_ONCE);
    }

    fn refresh_floor(&mut self) {
        if self.floor.stages > 0 {
            let heard = self.floor.refresh(&self.publishers);
            self.tell_speakers(heard);
        }
    }

    fn tell_speakers(&mut self, heard: Heard) {
        self.notices.extend(heard.told.map(Notice::Speakers));
    }

    /// Fits the tracks of the room into the slots of a room session.
    pub(crate) fn fit_stage(&mut self, id: SessionId) {
        self.refresh_floor();
        let Some(now) = self.floor.now else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let who = Who { session: id, identity: session.identity.as_ref() };
        let Some(Watching::Member(stage)) = &mut session.watching else { return };
        let was_crowded = stage.is_crowded();
        let change = stage.fit(&self.floor, who, now, &mut self.mappings);
        let is_crowded = stage.is_crowded();
        self.round_crowded(was_crowded, is_crowded);
        if !change.binds.is_empty() {
            self.commands.push_back(Command::Bind { session: id, slots: change.binds });
        }
        if !change.views.is_empty() {
            self.notices.push_back(Notice::Slots { session: id, slots: change.views });
        }
        let wanted = change.wanted;
        let told = wanted.map(|[audio, video]| Notice::SlotsWanted { session: id, audio, video });
        self.notices.extend(told);
        if let Some(at) = change.retry {
            self.floor.retry_at(at);
        }
    }

    fn stage(&self, session: SessionId) -> Option<&Stage> {
        match &self.sessions.get(&session)?.watching {
            Some(Watching::Member(stage)) => Some(stage),
            _ => None,
        }
    }
}

//! What a room knows of one session. Plain state, which `room` changes.

use std::time::Instant;

use model::{ParticipantId, TrackId};

use crate::agreement::Agreement;
use crate::entering::slots_of;
use crate::mappings::Mappings;
use crate::members::Member;
use crate::policy::SlotPolicy;
use crate::slots::SlotTable;
use crate::stage::Stage;
use crate::{RoomError, SlotInfo, Target};

/// One peer connection, or an in-process publisher.
#[derive(Debug)]
pub(crate) struct Session {
    /// The participant. A viewer that watches all participants is not shown its own tracks.
    pub(crate) identity: Option<ParticipantId>,
    pub(crate) connected: bool,
    pub(crate) deadline: Option<Instant>,
    /// Absent for an in-process publisher.
    pub(crate) agreement: Option<Agreement>,
    /// What a member may do; absent for a session that has no record.
    pub(crate) member: Option<Box<Member>>,
    /// What the peer receives; absent when it only sends.
    pub(crate) watching: Option<Watching>,
}

/// The receiving half of a session.
#[derive(Debug)]
pub(crate) enum Watching {
    /// A viewer: grouped slots, which follow a target.
    Viewer(Box<Viewing>),
    /// A member with a room session: independent slots.
    Member(Box<Stage>),
}

/// What a viewer (WHEP) receives.
#[derive(Debug)]
pub(crate) struct Viewing {
    pub(crate) target: Target,
    pub(crate) slots: SlotTable,
    pub(crate) policy: Box<dyn SlotPolicy>,
    /// The revision of the room's tracks that the slots are fitted to.
    pub(crate) revision: u64,
}

impl Watching {
    /// Whether it is a member's with a room session.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Watching::Member(_))
    }

    /// Whether something waits for a slot, so that a change of liveness may concern this session.
    pub(crate) fn is_crowded(&self) -> bool {
        match self {
            Watching::Viewer(viewing) => viewing.slots.is_crowded(),
            Watching::Member(stage) => stage.is_crowded(),
        }
    }

    /// All slots, in the order of the offer.
    pub(crate) fn listing(&self) -> Vec<SlotInfo> {
        match self {
            Watching::Viewer(viewing) => viewing.slots.listing(),
            Watching::Member(stage) => stage.listing(),
        }
    }

    /// Tracks that cannot flow to this session.
    pub(crate) fn incompatible(&self) -> Vec<TrackId> {
        match self {
            Watching::Viewer(viewing) => viewing.slots.incompatible(),
            // The states of the slots say it.
            Watching::Member(_) => Vec::new(),
        }
    }

    /// Applies the receiving sections of a renegotiation.
    pub(crate) fn update(&mut self, agreement: &Agreement, mappings: &mut Mappings) {
        match self {
            Watching::Viewer(viewing) => viewing.slots.update(&slots_of(agreement), mappings),
            Watching::Member(stage) => {
                stage.update(&agreement.plan.down, agreement.plan.up.len(), mappings);
            }
        }
    }
}

impl Session {
    pub(crate) fn agreement(&self) -> Result<&Agreement, RoomError> {
        let local = || {
            let text = "the session is this node's own and has no peer to negotiate with";
            RoomError::new(crate::ErrorKind::NotFound, text)
        };
        self.agreement.as_ref().ok_or_else(local)
    }
}

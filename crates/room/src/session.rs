//! What a room knows of one session. Plain state, which `room` changes.

use std::time::Instant;

use model::ParticipantId;

use crate::agreement::Agreement;
use crate::members::Member;
use crate::policy::SlotPolicy;
use crate::slots::SlotTable;
use crate::{RoomError, Subscription, Target};

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
pub(crate) struct Watching {
    pub(crate) target: Target,
    pub(crate) slots: SlotTable,
    pub(crate) policy: Box<dyn SlotPolicy>,
    /// How a member wants its slots to be filled; the default for WHEP.
    pub(crate) subscription: Subscription,
    /// The revision of the room's tracks that the slots are fitted to.
    pub(crate) revision: u64,
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

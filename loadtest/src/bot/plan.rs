//! What a bot is made from: who it is, what it does, over which line.

use std::{sync::Arc, time::Duration};

use model::MediaKind;
use url::Url;

use super::{Membership, link::Faults};
use crate::media::Feed;

/// A bot's id, unique in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BotId(pub(crate) u32);

/// What a bot does in the session.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Sends.
    Publish {
        /// Its number in stamps.
        publisher: u32,
        audio: Option<Feed>,
        /// Layers, the lowest first; one: no simulcast.
        video: Vec<Feed>,
    },
    /// Receives.
    Watch {
        /// Receiving sections of each kind.
        audio: usize,
        video: usize,
    },
    /// Both, in one room session.
    Member(Box<Membership>),
}

impl Role {
    pub(super) fn awaits(&self) -> MediaKind {
        match self {
            Role::Watch { video: 0, .. } => MediaKind::Audio,
            Role::Member(membership) if !membership.awaits_video => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// It has a room session.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Role::Member(_))
    }

    /// Its number in stamps, when it sends.
    pub(crate) fn publisher(&self) -> Option<u32> {
        match self {
            Role::Publish { publisher, .. } => Some(*publisher),
            Role::Watch { .. } => None,
            Role::Member(membership) => membership.sends.as_ref().map(|sends| sends.publisher),
        }
    }
}

/// What a bot is made from.
#[derive(Debug, Clone)]
pub(crate) struct BotPlan {
    pub(crate) id: BotId,
    pub(crate) role: Role,
    /// The endpoint: WHIP, WHEP, or the sessions of a room.
    pub(crate) url: Url,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) faults: Faults,
    /// Most time that joining may take.
    pub(crate) patience: Duration,
    /// Whether its view is reported apart (a bystander).
    pub(crate) bystands: bool,
    /// Whether it stops reading with its first frame.
    pub(crate) stalls: bool,
}

//! What a token allows, as values.

use std::time::SystemTime;

use model::{ParticipantId, Permissions, Profile, RoomId};

/// What a token allows, and whom it names.
#[derive(Debug, Clone)]
pub(crate) struct Grants {
    pub(super) identity: Option<ParticipantId>,
    pub(super) room: RoomGrant,
    pub(super) permissions: Permissions,
    pub(super) profile: Profile,
    pub(super) expires: SystemTime,
    pub(super) jti: Option<String>,
}

/// The rooms that a token is for.
#[derive(Debug, Clone)]
pub(super) enum RoomGrant {
    Every,
    One(RoomId),
}

impl RoomGrant {
    pub(super) fn holds(&self, room: &RoomId) -> bool {
        match self {
            RoomGrant::Every => true,
            RoomGrant::One(one) => one == room,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send media into a room.
    Publish,
    /// Receive the media of a room, or list its publishers.
    Subscribe,
}

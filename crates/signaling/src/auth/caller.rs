//! The caller of a request: what it may do, who it is, and whose sessions are its own.

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use model::{ParticipantId, Permissions, Profile, RoomId};

use super::grants::{Action, Grants, RoomGrant};
use crate::http::problem::{Problem, ProblemKind};

/// The caller of a request.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Authentication is off: every caller may do everything.
    Anyone,
    /// The bearer of a valid token.
    Bearer(Arc<Bearer>),
}

/// The bearer of a valid token.
#[derive(Debug)]
pub(crate) struct Bearer {
    pub(super) grants: Grants,
    pub(super) owner: Owner,
}

/// Whom a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Everybody: authentication is off.
    Anyone,
    /// The subject of the token that opened it.
    Subject(ParticipantId),
    /// The token that opened it, by a keyed hash, since the token has no subject: the bearers of two such tokens are strangers to each
    /// other. Tokens of one key with the same `jti` are one.
    Token([u8; 32]),
}

/// What a session was opened with.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Whom it belongs to.
    pub(crate) owner: Owner,
    /// When the token expires; `None` when authentication is off.
    pub(crate) expires: Option<SystemTime>,
}

impl Owner {
    /// The subject of the token, whose sessions are counted.
    pub(crate) fn subject(&self) -> Option<&ParticipantId> {
        match self {
            Owner::Subject(subject) => Some(subject),
            Owner::Anyone | Owner::Token(_) => None,
        }
    }
}

fn forbidden(why: &'static str) -> Problem {
    let challenge = "Bearer realm=\"sfumato\", error=\"insufficient_scope\"";
    Problem::new(ProblemKind::FORBIDDEN, why)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

impl Caller {
    /// Checks that the token grants this action in the room.
    ///
    /// # Errors
    /// 403 when it does not.
    pub(crate) fn may(&self, action: Action, room: &RoomId) -> Result<(), Problem> {
        let permissions = self.permissions(room)?;
        let (granted, missing) = match action {
            Action::Publish => {
                (!permissions.publish.is_empty(), "The token does not grant publish.")
            }
            Action::Subscribe => (permissions.subscribe, "The token does not grant subscribe."),
        };
        if granted { Ok(()) } else { Err(forbidden(missing)) }
    }

    /// What the caller may do in the room.
    ///
    /// # Errors
    /// 403 when the token is for another room.
    pub(crate) fn permissions(&self, room: &RoomId) -> Result<Permissions, Problem> {
        match self {
            Caller::Anyone => Ok(Permissions::ALL),
            Caller::Bearer(bearer) if bearer.grants.room.holds(room) => {
                Ok(bearer.grants.permissions)
            }
            Caller::Bearer(_) => Err(forbidden("The token is for another room.")),
        }
    }

    /// How others see the caller, as its token says; empty when it says nothing.
    pub(crate) fn profile(&self) -> Profile {
        match self {
            Caller::Anyone => Profile::default(),
            Caller::Bearer(bearer) => bearer.grants.profile.clone(),
        }
    }

    /// When the token expires; `None` when authentication is off.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        match self {
            Caller::Anyone => None,
            Caller::Bearer(bearer) => Some(bearer.grants.expires),
        }
    }

    /// Checks that the caller may read what concerns the whole node.
    ///
    /// # Errors
    /// 403 without an admin grant for all rooms.
    pub(crate) fn may_administer(&self) -> Result<(), Problem> {
        match self {
            Caller::Anyone => Ok(()),
            Caller::Bearer(bearer) => match &bearer.grants {
                Grants { permissions, room: RoomGrant::Every, .. } if permissions.admin => Ok(()),
                _ => Err(forbidden("The token does not grant admin over all rooms.")),
            },
        }
    }

    /// Checks that the caller may read what concerns the whole room.
    ///
    /// # Errors
    /// 403 without an admin grant for this room.
    pub(crate) fn may_administer_room(&self, room: &RoomId) -> Result<(), Problem> {
        if self.administers(room) {
            return Ok(());
        }
        Err(forbidden("The token does not grant admin over this room."))
    }

    fn administers(&self, room: &RoomId) -> bool {
        match self {
            Caller::Anyone => true,
            Caller::Bearer(bearer) => {
                bearer.grants.permissions.admin && bearer.grants.room.holds(room)
            }
        }
    }

    /// The participant's name: the token's `sub`, or the requested name when authentication is off. `None`: the caller
    /// gets a generated name.
    ///
    /// # Errors
    /// 400 when the requested name is no id; 403 when it is not the token's.
    pub(crate) fn identity(&self, wish: Option<&str>) -> Result<Option<ParticipantId>, Problem> {
        let wish = wish.map(ParticipantId::parse).transpose().map_err(|e| {
            Problem::new(ProblemKind::BAD_PARTICIPANT, format!("The participant: {e}."))
        })?;
        match self {
            Caller::Anyone => Ok(wish),
            Caller::Bearer(bearer) if wish.is_none() || bearer.grants.identity == wish => {
                Ok(bearer.grants.identity.clone())
            }
            Caller::Bearer(_) => Err(forbidden("The token is for another participant.")),
        }
    }

    /// Whether the caller may use a session in `room` that belongs to `owner`. An administrator of the room may use any.
    pub(crate) fn owns(&self, room: &RoomId, owner: &Owner) -> bool {
        match self {
            Caller::Anyone => true,
            Caller::Bearer(bearer) => {
                bearer.grants.room.holds(room)
                    && (bearer.grants.permissions.admin || bearer.owner == *owner)
            }
        }
    }

    /// Checks that this caller's token may take the place of the one with which `owner` uses a session in `room`: it is for the room, and
    /// it has the same subject, or neither has one.
    ///
    /// # Errors
    /// 403 when it may not.
    pub(crate) fn may_take_over(&self, room: &RoomId, owner: &Owner) -> Result<(), Problem> {
        self.permissions(room)?;
        match self {
            Caller::Anyone => Ok(()),
            Caller::Bearer(bearer) if bearer.owner.subject() == owner.subject() => Ok(()),
            Caller::Bearer(_) => Err(forbidden("The token is for another participant.")),
        }
    }

    /// What a session that this caller opens is opened with.
    pub(crate) fn claim(&self) -> Claim {
        Claim { owner: self.owner(), expires: self.expires() }
    }

    /// Whom this caller's sessions belong to.
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Caller::Anyone => Owner::Anyone,
            Caller::Bearer(bearer) => bearer.owner.clone(),
        }
    }
}

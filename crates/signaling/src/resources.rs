//! Session resources by the secret in their URL, and which callers may use them. The table is locked for single
//! look-ups only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{RoomId, SessionId};

use crate::auth::{Caller, Owner};
use crate::http::problem::Problem;

/// Session resources by the secret in their URL.
#[derive(Default)]
pub(crate) struct Resources(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_token: HashMap<String, Arc<Resource>>,
    tokens: HashMap<SessionId, String>,
}

/// WHIP, WHEP or the session API: under which path a resource lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    Whip,
    Whep,
    Session,
}

impl Face {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Face::Whip => "whip",
            Face::Whep => "whep",
            Face::Session => "session",
        }
    }

    /// The path of a resource.
    pub(crate) fn location(self, room: &RoomId, token: &str) -> String {
        match self {
            Face::Whip | Face::Whep => format!("/{}/{room}/sessions/{token}", self.as_str()),
            Face::Session => format!("/v1/rooms/{room}/sessions/{token}"),
        }
    }
}

pub(crate) struct Resource {
    pub(crate) face: Face,
    pub(crate) room: RoomId,
    pub(crate) session: SessionId,
    /// Whom it belongs to. Another token of the same bearer may take over.
    pub(crate) owner: Mutex<Owner>,
    /// Locked for the whole of a PATCH. Otherwise two PATCHes at once would match the same tag, and the second would
    /// overwrite what the first agreed. Now the second one waits, and is compared with the new tag.
    pub(crate) etag: Mutex<String>,
}

/// The resource that a request's URL names.
#[derive(Debug, Clone)]
pub(crate) struct ResourceKey {
    pub(crate) face: Face,
    pub(crate) room: RoomId,
    pub(crate) token: String,
}

impl Resources {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        // The lock is used even if a thread panicked under it: a panic ends the request that caused it, not the node.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, token: String, resource: Resource) {
        let mut tables = self.lock();
        tables.tokens.insert(resource.session, token.clone());
        tables.by_token.insert(token, Arc::new(resource));
    }

    pub(crate) fn remove(&self, session: SessionId) {
        let mut tables = self.lock();
        if let Some(token) = tables.tokens.remove(&session) {
            tables.by_token.remove(&token);
        }
    }

    pub(crate) fn find(
        &self,
        key: &ResourceKey,
        caller: &Caller,
    ) -> Result<Arc<Resource>, Problem> {
        let resource = self.named(key)?;
        let owns = caller.owns(&resource.room, &resource.owner());
        owns.then_some(resource).ok_or_else(Problem::not_found)
    }

    /// The resource of this URL, whoever asks. Only for a caller that says later who it is.
    pub(crate) fn named(&self, key: &ResourceKey) -> Result<Arc<Resource>, Problem> {
        let resource = self.lock().by_token.get(&key.token).cloned();
        resource
            .filter(|resource| resource.face == key.face && resource.room == key.room)
            .ok_or_else(Problem::not_found)
    }
}

impl Resource {
    pub(crate) fn owner(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn etag(&self) -> MutexGuard<'_, String> {
        self.etag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The admin API: what an application does with rooms and their members over HTTP. Each request needs a token with `admin` for the
//! room; on a node without authentication everybody may do everything.
//!
//! `rooms` has the rooms, `members` their members and tracks, `data` messages from the application; `bodies` has the types of the
//! JSON bodies, `read` reads them.

pub mod bodies;
mod data;
mod members;
mod read;
mod rooms;

use std::time::Instant;

use axum::routing::{MethodRouter, get, patch, post};
use model::RoomId;
use room::{AdminCommand, ErrorKind, Room, RoomError};

use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::router::Route;
use crate::sessions::refused;
use crate::state::Signaling;

/// The routes of the admin API.
pub(crate) fn routes() -> [Route; 6] {
    let rooms = get(rooms::list).post(rooms::create);
    let room = get(rooms::read).patch(rooms::change).delete(rooms::close);
    let member = get(members::read).patch(members::change).delete(members::remove);
    let (track, data) = (patch(members::mute), post(data::send));
    [
        ("/v1/rooms", allowing(rooms, "GET, HEAD, POST, OPTIONS")),
        ("/v1/rooms/{room}", allowing(room, "GET, HEAD, PATCH, DELETE, OPTIONS")),
        ("/v1/rooms/{room}/members", allowing(get(members::list), "GET, HEAD, OPTIONS")),
        (
            "/v1/rooms/{room}/members/{identity}",
            allowing(member, "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ),
        ("/v1/rooms/{room}/members/{identity}/tracks/{track}", allowing(track, "PATCH, OPTIONS")),
        ("/v1/rooms/{room}/data", allowing(data, "POST, OPTIONS")),
    ]
}

/// Adds OPTIONS, and 405 for all methods that are not `allowed`.
fn allowing(methods: MethodRouter<Signaling>, allowed: &'static str) -> MethodRouter<Signaling> {
    methods
        .options(move || async move { offer::allowed(allowed) })
        .fallback(move || async move { offer::method_not_allowed(allowed) })
}

/// What a room refused, told to an administrator of it: he may know what is in the room and what is not.
fn refused_to_admin(error: &RoomError) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::new(ProblemKind::NOT_FOUND, format!("{error}.")),
        ErrorKind::Unsupported => Problem::bad_field(format!("{error}.")),
        _ => refused(error),
    }
}

impl Signaling {
    /// Runs a call that concerns one room.
    ///
    /// # Errors
    /// 503 when the room was busy for too long.
    async fn in_room<T: Send + 'static>(
        &self,
        room: &RoomId,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.0.calls.run(room, call).await
    }

    /// Reads from a room.
    ///
    /// # Errors
    /// 404 when there is no such room, 503 when it was busy for too long.
    async fn look<T: Send + 'static>(
        &self,
        room: &RoomId,
        read: impl FnOnce(&Room) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (signaling, id) = (self.clone(), room.clone());
        let read = self.in_room(room, move || signaling.core().look(&id, read)).await?;
        read.ok_or_else(|| rooms::no_room(room))
    }

    /// Does what `decide` asks for, in a room that it has read.
    ///
    /// # Errors
    /// What the room refuses.
    async fn administer(
        &self,
        room: &RoomId,
        decide: impl FnOnce(&Room) -> Result<Vec<AdminCommand>, RoomError> + Send + 'static,
    ) -> Result<(), Problem> {
        let (signaling, id) = (self.clone(), room.clone());
        let call = move || {
            let done = signaling.core().administer_after(Instant::now(), &id, decide);
            signaling.0.changed.notify_one();
            done.map_err(|error| refused_to_admin(&error))
        };
        self.in_room(room, call).await?
    }
}

//! `{session}/events` and `{session}/commands`: the messages of a room session, over a WebSocket, or as Server-Sent Events with
//! commands as POSTs. Both have the same messages ([`crate::events::messages`]).

mod commands;
mod conversation;
mod guarded;
mod sse;
mod websocket;

pub(crate) use commands::post;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, Method, Response};
use model::RoomId;
use serde::Deserialize;

use crate::http::cors;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::whip::bad_query;
use crate::resources::{Face, ResourceKey};
use crate::server::Stay;
use crate::state::Signaling;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";

/// The query of the events.
#[derive(Deserialize)]
pub(crate) struct EventsQuery {
    after: Option<u64>,
}

/// `GET /v1/rooms/{room}/sessions/{token}/events`: a WebSocket, or a stream of events.
pub(crate) async fn get(
    State(signaling): State<Signaling>,
    stay: Option<Extension<Stay>>,
    Path((room, token)): Path<(String, String)>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    if !cors::may_connect(&signaling.config().cors_origins, &headers) {
        return Err(Problem::new(
            ProblemKind::FOREIGN_ORIGIN,
            "Pages of this origin may not connect; http.cors_origins names those that may.",
        ));
    }
    let Query(query) = query.map_err(bad_query)?;
    let room = RoomId::parse(&room).map_err(|_| Problem::not_found())?;
    let key = ResourceKey { face: Face::Session, room, token };
    let auth = signaling.auth();
    if websocket::is_asked_for(&headers) {
        // A browser page cannot send the field with a WebSocket, so the token may come with the first message.
        let caller = match auth.is_on() && !headers.contains_key(AUTHORIZATION) {
            true => None,
            false => Some(auth.caller(&headers)?),
        };
        let resource = match &caller {
            Some(caller) => signaling.0.resources.find(&key, caller)?,
            None => signaling.0.resources.named(&key)?,
        };
        let knows = if caller.is_some() { None } else { Some(key) };
        let stay = stay.ok_or_else(websocket::needs_http1)?.0;
        return websocket::accept(signaling, resource, knows, stay, &headers);
    }
    let caller = auth.caller(&headers)?;
    let resource = signaling.0.resources.find(&key, &caller)?;
    if !accepts_events(&headers) {
        return Err(Problem::new(
            ProblemKind::NOT_ACCEPTABLE,
            "Events come over a WebSocket (Upgrade: websocket), or as text/event-stream, which Accept has to name.",
        ));
    }
    let feed = signaling.hub().feed(resource.session).ok_or_else(Problem::not_found)?;
    if method == Method::HEAD {
        return Ok(sse::head());
    }
    // A stream that was cut goes on after the last event that came (HTML standard, section 9.2.4).
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.parse().ok());
    sse::stream(&signaling, &feed, last.or(query.after), stay.map(|stay| stay.0)).await
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENT_STREAM)
    })
}

const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const POST_METHODS: &str = "POST, OPTIONS";

/// OPTIONS of the events.
pub(crate) async fn options() -> Response<Body> {
    crate::http::offer::allowed(READ_METHODS)
}

/// 405 for all other methods of the events.
pub(crate) async fn refuse() -> Response<Body> {
    crate::http::offer::method_not_allowed(READ_METHODS)
}

/// OPTIONS of the commands.
pub(crate) async fn command_options() -> Response<Body> {
    crate::http::offer::allowed(POST_METHODS)
}

/// 405 for all other methods of the commands.
pub(crate) async fn refuse_command() -> Response<Body> {
    crate::http::offer::method_not_allowed(POST_METHODS)
}

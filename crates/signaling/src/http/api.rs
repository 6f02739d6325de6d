//! The small JSON API: what a page needs to know of the node and of a room.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use room::{ParticipantInfo, TrackInfo};
use serde::Serialize;

use crate::auth::Action;
use crate::config::IceServer;
use crate::http::offer;
use crate::http::problem::Problem;
use crate::state::Signaling;

#[derive(Serialize)]
struct ConfigView<'a> {
    auth: &'static str,
    version: &'a str,
    ice_servers: Vec<IceServerView<'a>>,
    demo_room: Option<&'a str>,
}

#[derive(Serialize)]
struct IceServerView<'a> {
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

#[derive(Serialize)]
struct RoomView<'a> {
    room: &'a str,
    participants: Vec<ParticipantView<'a>>,
    viewers: usize,
}

#[derive(Serialize)]
struct ParticipantView<'a> {
    id: &'a str,
    connected: bool,
    local: bool,
    tracks: Vec<TrackView<'a>>,
}

#[derive(Serialize)]
struct TrackView<'a> {
    id: u64,
    kind: &'static str,
    codecs: &'a [&'static str],
    rids: &'a [String],
    active: bool,
}

#[derive(Serialize)]
struct RoomSummary {
    room: String,
    participants: usize,
    viewers: usize,
}

/// `GET /api/config`: open to all. Servers that have a password are shown to those who have a token.
pub(crate) async fn config(State(signaling): State<Signaling>, headers: HeaderMap) -> Response {
    let config = signaling.config();
    let trusted = signaling.auth().caller(&headers).is_ok();
    let view = ConfigView {
        auth: if signaling.auth().is_on() { "token" } else { "none" },
        version: &config.version,
        ice_servers: config
            .ice_servers
            .iter()
            .filter(|server| trusted || server.credential.is_none())
            .map(view_server)
            .collect(),
        demo_room: config.demo_room.as_ref().map(model::RoomId::as_str),
    };
    fresh(Json(view).into_response())
}

fn view_server(server: &IceServer) -> IceServerView<'_> {
    IceServerView {
        urls: &server.urls,
        username: server.username.as_deref(),
        credential: server.credential.as_ref().map(crate::Secret::reveal),
    }
}

/// `GET /api/rooms`: all rooms, for administrators.
pub(crate) async fn rooms(
    State(signaling): State<Signaling>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.auth().caller(&headers)?.may_administer()?;
    let rooms: Vec<RoomSummary> = signaling
        .core()
        .rooms()
        .into_iter()
        .map(|info| RoomSummary {
            room: info.id.to_string(),
            participants: info.participants,
            viewers: info.viewers,
        })
        .collect();
    Ok(fresh(Json(rooms).into_response()))
}

/// `GET /api/rooms/{room}`: who publishes what. A room that nobody opened yet is an empty one.
pub(crate) async fn room(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = signaling.auth().caller(&headers)?;
    let room = offer::room(&room)?;
    caller.may(Action::Subscribe, &room)?;
    let (participants, viewers) = signaling.core().participants(&room).unwrap_or_default();
    let view = RoomView {
        room: room.as_str(),
        participants: participants.iter().map(view_participant).collect(),
        viewers,
    };
    Ok(fresh(Json(view).into_response()))
}

fn view_participant(info: &ParticipantInfo) -> ParticipantView<'_> {
    ParticipantView {
        id: info.id.as_str(),
        connected: info.connected,
        local: info.local,
        tracks: info.tracks.iter().map(view_track).collect(),
    }
}

fn view_track(info: &TrackInfo) -> TrackView<'_> {
    TrackView {
        id: info.id.0,
        kind: info.kind.as_str(),
        codecs: &info.codecs,
        rids: &info.rids,
        active: info.active,
    }
}

fn fresh(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

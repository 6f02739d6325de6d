//! The small JSON API: what a page has to know of the node and of a room.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use room::{ParticipantInfo, TrackInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Action;
use crate::config::IceServer;
use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeConfiguration")]
pub(crate) struct ConfigView<'a> {
    auth: &'static str,
    version: &'a str,
    ice_servers: Vec<IceServerView<'a>>,
    demo_room: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IceServer")]
pub(crate) struct IceServerView<'a> {
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoomPublishers")]
pub(crate) struct RoomView<'a> {
    room: &'a str,
    participants: Vec<ParticipantView<'a>>,
    viewers: usize,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Publisher")]
pub(crate) struct ParticipantView<'a> {
    id: &'a str,
    connected: bool,
    local: bool,
    tracks: Vec<TrackView<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PublishedTrack")]
pub(crate) struct TrackView<'a> {
    id: u64,
    kind: &'static str,
    codecs: &'a [&'static str],
    rids: &'a [String],
    active: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoomSummary")]
pub(crate) struct RoomSummary {
    room: String,
    participants: usize,
    viewers: usize,
}

/// `GET /api/config`: without authentication. ICE servers with a password are shown only with a valid token.
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
    fresh(Json(view).into_response(), None)
}

fn view_server(server: &IceServer) -> IceServerView<'_> {
    IceServerView {
        urls: &server.urls,
        username: server.username.as_deref(),
        credential: server.credential.as_ref().map(crate::Secret::reveal),
    }
}

/// `GET /api/rooms?limit=&after=`: the rooms by name, for administrators.
pub(crate) async fn rooms(
    State(signaling): State<Signaling>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.auth().caller(&headers)?.may_administer()?;
    let page = Page::read(query)?;
    let after = page.after.as_deref().map(offer::room).transpose()?;
    let most = page.wanted();
    let mut rooms = signaling.listing(move |core| core.rooms_after(after.as_ref(), most)).await?;
    let link = page.cut(&mut rooms).map(|last| page.next("/api/rooms", last.id.as_str()));
    let rooms: Vec<RoomSummary> = rooms
        .into_iter()
        .map(|info| RoomSummary {
            room: info.id.to_string(),
            participants: info.participants,
            viewers: info.viewers,
        })
        .collect();
    Ok(fresh(Json(rooms).into_response(), link))
}

/// `GET /api/rooms/{room}?limit=&after=`: the publishers with their tracks, in order of arrival. A room that does not
/// exist is shown as empty.
pub(crate) async fn room(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = signaling.auth().caller(&headers)?;
    let room = offer::room(&room)?;
    caller.may(Action::Subscribe, &room)?;
    let page = Page::read(query)?;
    let (mut records, viewers) = signaling.records(&room).await?;
    if caller.may_administer_room(&room).is_err() {
        // Hidden members are there for administrators alone.
        records.retain(|record| !record.hidden);
    }
    let from = match &page.after {
        Some(after) => {
            let place = records.iter().position(|record| record.id.as_str() == after);
            place.ok_or_else(gone)? + 1
        }
        None => 0,
    };
    let shown = &records[from..records.len().min(from.saturating_add(page.limit))];
    let next = shown.last().filter(|_| from + shown.len() < records.len());
    let link = next.map(|last| page.next(&format!("/api/rooms/{room}"), last.id.as_str()));
    let participants: Vec<ParticipantInfo> = shown.iter().map(|record| record.info()).collect();
    let view = RoomView {
        room: room.as_str(),
        participants: participants.iter().map(view_participant).collect(),
        viewers,
    };
    Ok(fresh(Json(view).into_response(), link))
}

/// The query of a listing.
#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<usize>,
    after: Option<String>,
}

/// Which part of a listing a request wants.
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) after: Option<String>,
}

/// Entries of a page: the default and the maximum.
const PAGE: usize = 500;
const LARGEST_PAGE: usize = 1000;

impl Page {
    pub(crate) fn read(query: Result<Query<PageQuery>, QueryRejection>) -> Result<Self, Problem> {
        let bad = || {
            let text = format!(
                "limit is a number from 1 to {LARGEST_PAGE}, after is the last entry of the page before."
            );
            Problem::new(ProblemKind::BAD_QUERY, text)
        };
        let Query(PageQuery { limit, after }) = query.map_err(|_| bad())?;
        let limit = limit.unwrap_or(PAGE);
        if (1..=LARGEST_PAGE).contains(&limit) { Ok(Self { limit, after }) } else { Err(bad()) }
    }

    /// The number of entries to request: one more than the page holds. If that one exists, there is a next page.
    pub(crate) fn wanted(&self) -> usize {
        self.limit + 1
    }

    /// Cuts the requested entries to the page. Returns its last entry if there is a next page.
    pub(crate) fn cut<'e, T>(&self, entries: &'e mut Vec<T>) -> Option<&'e T> {
        let is_last = entries.len() <= self.limit;
        entries.truncate(self.limit);
        entries.last().filter(|_| !is_last)
    }

    /// The `Link` to the next page (RFC 8288 section 3). Ids contain only unreserved characters of a URI, so nothing
    /// is escaped.
    pub(crate) fn next(&self, path: &str, last: &str) -> String {
        Self::link(&self.path(path, last))
    }

    /// The path of the next page.
    pub(crate) fn path(&self, path: &str, last: &str) -> String {
        format!("{path}?limit={}&after={last}", self.limit)
    }

    /// The `Link` to the next page with this path.
    pub(crate) fn link(path: &str) -> String {
        format!("<{path}>; rel=\"next\"")
    }
}

/// `after` names a participant that has left, so it is unknown where the next page begins. An error is better than a
/// page that skips a participant.
pub(crate) fn gone() -> Problem {
    Problem::new(
        ProblemKind::PAGE_GONE,
        "The participant named in after has left the room. Begin with the first page again.",
    )
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

/// Marks an answer as not to be cached, and adds the `link` to the next page.
pub(crate) fn fresh(mut response: Response, link: Option<String>) -> Response {
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

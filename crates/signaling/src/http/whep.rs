//! WHEP endpoints (draft-ietf-wish-whep): a session watches a room, or one participant of it. An offer always gets an
//! answer, never a counter-offer (the draft's 406 with an offer of the server). It is not refused when the room has no
//! publisher: the session waits, and media begins when a publisher comes.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Response};
use model::{MediaKind, ParticipantId};
use room::Target;
use serde::Deserialize;

use crate::auth::Action;
use crate::http::body::BodySlot;
use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::whip::bad_query;
use crate::state::Signaling;

/// The query of a WHEP endpoint.
#[derive(Deserialize)]
pub(crate) struct WhepQuery {
    participant: Option<String>,
    kind: Option<Kind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Audio,
    Video,
}

/// `POST /whep/{room}?participant=&kind=`: watches all participants of the room. `participant` is the viewer's name.
pub(crate) async fn watch_room(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path(room): Path<String>,
    query: Result<Query<WhepQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    watch(&signaling, &body, &room, None, query, &headers).await
}

/// `POST /whep/{room}/{participant}`: watches one participant.
pub(crate) async fn watch_participant(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path((room, watched)): Path<(String, String)>,
    query: Result<Query<WhepQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    watch(&signaling, &body, &room, Some(&watched), query, &headers).await
}

async fn watch(
    signaling: &Signaling,
    body: &BodySlot,
    room: &str,
    watched: Option<&str>,
    query: Result<Query<WhepQuery>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    signaling.welcome()?;
    let caller = signaling.auth().caller(headers)?;
    let room = offer::room(room)?;
    caller.may(Action::Subscribe, &room)?;
    let Query(query) = query.map_err(bad_query)?;
    let viewer = caller.identity(query.participant.as_deref())?;
    let participant = watched.map(ParticipantId::parse).transpose().map_err(|e| {
        Problem::new(ProblemKind::BAD_PARTICIPANT, format!("The participant: {e}."))
    })?;
    let kind = query.kind.map(|kind| match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    });
    let offer = offer::read(signaling, headers, body).await?;
    let target = Target { participant, kind };
    let opened = signaling.subscribe(room, viewer, target, caller.claim(), offer).await?;
    Ok(offer::created(signaling, opened))
}

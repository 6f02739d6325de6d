//! WHIP endpoints (RFC 9725): a participant publishes into a room.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Response};
use serde::Deserialize;

use crate::auth::Action;
use crate::http::body::BodySlot;
use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// The query of a WHIP endpoint.
#[derive(Deserialize)]
pub(crate) struct WhipQuery {
    participant: Option<String>,
}

/// `POST /whip/{room}?participant=`
pub(crate) async fn publish(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path(room): Path<String>,
    query: Result<Query<WhipQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    signaling.welcome()?;
    let caller = signaling.auth().caller(&headers)?;
    let room = offer::room(&room)?;
    caller.may(Action::Publish, &room)?;
    let permissions = caller.permissions(&room)?;
    let Query(query) = query.map_err(bad_query)?;
    let participant = caller.identity(query.participant.as_deref())?;
    let offer = offer::read(&signaling, &headers, &body).await?;
    let opened = signaling.publish(room, participant, caller.claim(), permissions, offer).await?;
    Ok(offer::created(&signaling, opened))
}

pub(crate) fn bad_query(_: QueryRejection) -> Problem {
    Problem::new(
        ProblemKind::BAD_QUERY,
        "The query does not parse: each parameter may stand once, and kind is audio or video.",
    )
}

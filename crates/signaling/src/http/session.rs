//! The session API's endpoint: a member joins a room with one peer connection for both directions.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use model::{MemberKind, Profile};
use room::Admission;
use serde::Deserialize;

use crate::auth::Action;
use crate::events::messages::{JoinRequest, Joined, Renegotiate, Renegotiated};
use crate::events::{bad_json, limited, section_descriptions, subscription};
use crate::http::body::BodySlot;
use crate::http::offer::{
    self, ACCEPT_POST, JSON, SDP, SESSION_PATCHES, SESSION_POSTS, require_acceptance, require_type,
};
use crate::http::problem::Problem;
use crate::http::whip::bad_query;
use crate::sessions::{Joining, Opened, Patch};
use crate::state::Signaling;

/// The query, for offers that come as SDP.
#[derive(Deserialize)]
pub(crate) struct JoinQuery {
    identity: Option<String>,
    name: Option<String>,
}

/// `POST /v1/rooms/{room}/sessions`
pub(crate) async fn join(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path(room): Path<String>,
    query: Result<Query<JoinQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    signaling.welcome()?;
    let caller = signaling.auth().caller(&headers)?;
    let room = offer::room(&room)?;
    let permissions = caller.permissions(&room)?;
    if permissions.publish.is_empty() && !permissions.data {
        // Who may do nothing at all has no place in the room, not even to see who is there.
        caller.may(Action::Subscribe, &room)?;
    }
    let Query(query) = query.map_err(bad_query)?;
    let kind = require_type(&headers, &[SDP, JSON], "An offer")
        .map_err(|problem| problem.header(ACCEPT_POST, HeaderValue::from_static(SESSION_POSTS)))?;
    require_acceptance(&headers, kind)?;
    let text = body.text(&signaling.config().limits).await?;
    let request = match kind {
        JSON => serde_json::from_str(&text).map_err(|error| bad_json(&error))?,
        _ => JoinRequest {
            sdp: text,
            identity: query.identity,
            name: query.name,
            metadata: None,
            tracks: Vec::new(),
            subscribe: None,
        },
    };
    let identity = caller.identity(request.identity.as_deref())?;
    let asked = Profile {
        name: limited("name", request.name.unwrap_or_default(), Profile::NAME_MAX)?,
        metadata: limited("metadata", request.metadata.unwrap_or_default(), Profile::METADATA_MAX)?,
    };
    let admission = Admission {
        kind: MemberKind::Session,
        profile: granted(caller.profile(), asked),
        permissions,
        tracks: section_descriptions(request.tracks)?,
        subscription: request.subscribe.map(subscription).transpose()?.unwrap_or_default(),
    };
    let (claim, offer) = (caller.claim(), request.sdp);
    let opened = signaling.join(Joining { room, identity, claim, admission, offer }).await?;
    created(&signaling, opened, kind)
}

/// The profile of a member: what its token says, and for the rest what it asked for.
fn granted(by_token: Profile, asked: Profile) -> Profile {
    let or = |said: std::sync::Arc<str>, asked| if said.is_empty() { asked } else { said };
    Profile { name: or(by_token.name, asked.name), metadata: or(by_token.metadata, asked.metadata) }
}

fn created(
    signaling: &Signaling,
    opened: Opened,
    kind: &'static str,
) -> Result<Response<Body>, Problem> {
    let mut response = offer::created_without_body(signaling, &opened, SESSION_PATCHES);
    let body = match kind {
        JSON => {
            let identity = opened.identity.map(|id| id.to_string()).unwrap_or_default();
            let session = opened.session.to_string();
            json(&Joined { sdp: opened.answer, identity, session })?
        }
        _ => opened.answer,
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = Body::from(body);
    Ok(response)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|_| Problem::internal())
}

/// Reads a PATCH with a later offer as JSON.
///
/// # Errors
/// 400 when it does not parse, 422 when a track's description is not possible.
pub(crate) fn read_renegotiation(text: &str) -> Result<Patch, Problem> {
    let request: Renegotiate = serde_json::from_str(text).map_err(|error| bad_json(&error))?;
    let tracks = request.tracks.map(section_descriptions).transpose()?;
    Ok(Patch::Offer(request.sdp, tracks))
}

/// The body of the answer to such a PATCH.
pub(crate) fn renegotiated(sdp: String) -> Result<String, Problem> {
    json(&Renegotiated { sdp })
}

/// GET and HEAD: success without content.
pub(crate) async fn found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(SESSION_POSTS));
    response
}

/// OPTIONS: as for WHIP.
pub(crate) async fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(offer::METHODS));
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(SESSION_POSTS));
    response
}

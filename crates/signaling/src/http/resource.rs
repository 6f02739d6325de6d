//! Session resources, which a `Location` names. PATCH with a fragment trickles or restarts ICE (RFC 9725 section 4.3;
//! the same in WHEP); PATCH with a whole offer renegotiates the media sections; DELETE ends the session (section 4.2).

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use model::RoomId;

use crate::auth::Caller;
use crate::http::body::BodySlot;
use crate::http::offer::{
    ACCEPT_PATCH, ACCEPT_POST, JSON, PATCHES, SDP, SDP_FRAGMENT, SESSION_PATCHES, has_type,
    method_not_allowed,
};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::session;
use crate::resources::{Face, ResourceKey};
use crate::sessions::{Patch, Patched};
use crate::state::Signaling;

const METHODS: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

/// `PATCH /whip/{room}/sessions/{token}`, and the same under `/whep` and `/v1/rooms`.
pub(crate) async fn patch(
    State(signaling): State<Signaling>,
    Extension(face): Extension<Face>,
    Extension(body): Extension<BodySlot>,
    Path((room, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (caller, key) = locate(&signaling, face, &room, &token, &headers)?;
    signaling.check(&key, &caller)?;
    let kind = patch_type(face, &headers)?;
    let text = body.text(&signaling.config().limits).await?;
    let precondition = Precondition::read(&headers)?;
    let patch = match kind {
        SDP => Patch::Offer(text, None),
        JSON => session::read_renegotiation(&text)?,
        _ => Patch::Fragment(text),
    };
    match signaling.patch(&key, &caller, precondition, patch).await? {
        Patched::Trickled => {
            // No ETag (RFC 9725 section 4.3.2): the ICE session stays the same.
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        Patched::Restarted { etag, fragment } => answer(fragment, SDP_FRAGMENT, &etag),
        Patched::Renegotiated { etag, answer: description } if kind == JSON => {
            answer(session::renegotiated(description)?, JSON, &etag)
        }
        Patched::Renegotiated { etag, answer: description } => answer(description, SDP, &etag),
    }
}

/// The media type of a PATCH, one of those that this kind of session takes.
fn patch_type(face: Face, headers: &HeaderMap) -> Result<&'static str, Problem> {
    let wanted = match face {
        Face::Whip | Face::Whep => &[SDP_FRAGMENT, SDP][..],
        Face::Session => &[SDP_FRAGMENT, SDP, JSON],
    };
    let kind = wanted.iter().find(|kind| has_type(headers, kind));
    kind.copied().ok_or_else(|| {
        Problem::new(ProblemKind::UNSUPPORTED_MEDIA_TYPE,
            "A PATCH has the type application/trickle-ice-sdpfrag to trickle or to restart ICE, application/sdp (or, for a room \
             session, application/json) to renegotiate.",
        )
        .header(ACCEPT_PATCH, HeaderValue::from_static(patches(face)))
    })
}

/// The media types that a PATCH may have.
fn patches(face: Face) -> &'static str {
    match face {
        Face::Whip | Face::Whep => PATCHES,
        Face::Session => SESSION_PATCHES,
    }
}

fn answer(body: String, kind: &'static str, etag: &str) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ETAG, HeaderValue::from_str(etag).map_err(|_| Problem::internal())?);
    Ok(response)
}

/// `DELETE` of a session. `If-Match` is ignored, since the tag belongs to the ICE session and not to the resource (RFC
/// 9725 section 4.3.1).
pub(crate) async fn delete(
    State(signaling): State<Signaling>,
    Extension(face): Extension<Face>,
    Path((room, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (caller, key) = locate(&signaling, face, &room, &token, &headers)?;
    signaling.delete(&key, &caller).await?;
    Ok(Response::new(Body::empty()))
}

/// `GET` and `HEAD` of a session: success without content.
pub(crate) async fn get(
    State(signaling): State<Signaling>,
    Extension(face): Extension<Face>,
    Path((room, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (caller, key) = locate(&signaling, face, &room, &token, &headers)?;
    let etag = signaling.etag(&key, &caller).await?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&etag).map_err(|_| Problem::internal())?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(patches(face)));
    Ok(response)
}

/// `OPTIONS` of a session. The answer is the same if there is no such session, so a preflight tells nothing.
pub(crate) async fn options(Extension(face): Extension<Face>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(patches(face)));
    response
}

/// 405 for all other methods.
pub(crate) async fn refuse() -> Response<Body> {
    method_not_allowed(METHODS)
}

pub(crate) fn locate(
    signaling: &Signaling,
    face: Face,
    room: &str,
    token: &str,
    headers: &HeaderMap,
) -> Result<(Caller, ResourceKey), Problem> {
    let caller = signaling.auth().caller(headers)?;
    let room = RoomId::parse(room).map_err(|_| Problem::not_found())?;
    Ok((caller, ResourceKey { face, room, token: token.to_owned() }))
}

/// The `If-Match` of a PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// `*`: any current ICE session. A restart uses it.
    Any,
    /// One of these strong entity tags, quotes included.
    OneOf(Vec<String>),
}

impl Precondition {
    /// Reads the field.
    ///
    /// # Errors
    /// 428 when it is missing (RFC 6585 section 3).
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        for value in headers.get_all(IF_MATCH) {
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                match tag {
                    // The example of RFC 9725 section 4.3.3 has the star in quotes, and some clients do the same.
                    "*" | "\"*\"" => return Ok(Self::Any),
                    "" => {}
                    tag => tags.push(tag.to_owned()),
                }
            }
        }
        if tags.is_empty() {
            return Err(Problem::new(
                ProblemKind::PRECONDITION_REQUIRED,
                "A PATCH has an If-Match: the ETag of the session to trickle or to renegotiate, * to restart ICE.",
            ));
        }
        Ok(Self::OneOf(tags))
    }

    /// Whether the precondition holds for the current tag. The comparison is strong: a weak tag never matches, nor
    /// does a tag without quotes (RFC 9110 section 8.8.3.2).
    pub(crate) fn holds(&self, current: &str) -> bool {
        match self {
            Precondition::Any => true,
            Precondition::OneOf(tags) => tags.iter().any(|tag| tag == current),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Precondition {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, value.parse().unwrap());
        Precondition::read(&headers).unwrap()
    }

    #[test]
    fn preconditions_compare_strongly() {
        assert!(read("*").holds("\"a\""));
        assert!(read("\"*\"").holds("\"a\""));
        assert!(read("\"a\"").holds("\"a\""));
        assert!(read("\"x\", \"a\"").holds("\"a\""));
        assert!(!read("W/\"a\"").holds("\"a\""));
        assert!(!read("a").holds("\"a\""));
        assert!(!read("\"b\"").holds("\"a\""));
        let missing = Precondition::read(&HeaderMap::new()).unwrap_err();
        assert_eq!(missing.status(), StatusCode::PRECONDITION_REQUIRED);
    }
}

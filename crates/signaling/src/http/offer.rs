//! What WHIP and WHEP endpoints share: an offer comes in, an answer goes out, and a session resource is made.

use axum::body::Body;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use model::RoomId;

use crate::config::IceServer;
use crate::http::body::BodySlot;
use crate::http::problem::{Problem, ProblemKind};
use crate::sessions::Opened;
use crate::state::Signaling;

/// The media type of offers and answers (RFC 8866 section 8.1).
pub(crate) const SDP: &str = "application/sdp";
/// The media type of the session API's own bodies.
pub(crate) const JSON: &str = "application/json";
/// The media type of fragments (RFC 8840 section 10).
pub(crate) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The media types that a PATCH of a session may have (RFC 5789 section 3.1).
pub(crate) const PATCHES: &str = "application/trickle-ice-sdpfrag, application/sdp";

/// The media types that a PATCH of a room session may have.
pub(crate) const SESSION_PATCHES: &str =
    "application/trickle-ice-sdpfrag, application/sdp, application/json";
/// The media types with which a room session may be opened.
pub(crate) const SESSION_POSTS: &str = "application/sdp, application/json";

pub(crate) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
pub(crate) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

pub(crate) const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// Checks that the request has an offer and that the client accepts an answer, and reads the offer.
///
/// # Errors
/// 415, 406, and those of [`BodySlot::text`].
pub(crate) async fn read(
    signaling: &Signaling,
    headers: &HeaderMap,
    body: &BodySlot,
) -> Result<String, Problem> {
    if !has_type(headers, SDP) {
        return Err(Problem::new(
            ProblemKind::UNSUPPORTED_MEDIA_TYPE,
            "An offer has the type application/sdp.",
        )
        .header(ACCEPT_POST, HeaderValue::from_static(SDP)));
    }
    require_acceptance(headers, SDP)?;
    body.text(&signaling.config().limits).await
}

/// Checks that the client accepts an answer of this type.
///
/// # Errors
/// 406.
pub(crate) fn require_acceptance(headers: &HeaderMap, kind: &str) -> Result<(), Problem> {
    if accepts(headers, kind) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::NOT_ACCEPTABLE,
        format!("The answer has the type {kind}, and Accept excludes it."),
    ))
}

/// Checks that the request has one of these types, and returns it.
///
/// # Errors
/// 415. `what` begins the sentence of the problem.
pub(crate) fn require_type(
    headers: &HeaderMap,
    kinds: &[&'static str],
    what: &str,
) -> Result<&'static str, Problem> {
    let kind = kinds.iter().find(|kind| has_type(headers, kind));
    kind.copied().ok_or_else(|| {
        Problem::new(
            ProblemKind::UNSUPPORTED_MEDIA_TYPE,
            format!("{what} has the type {}.", kinds.join(" or ")),
        )
    })
}

/// Reads the room from the path of an endpoint.
///
/// # Errors
/// 400 when the text is no room id.
pub(crate) fn room(text: &str) -> Result<RoomId, Problem> {
    RoomId::parse(text).map_err(|e| Problem::new(ProblemKind::BAD_ROOM, format!("The room: {e}.")))
}

/// 201 with the answer (RFC 9725 section 4.2).
pub(crate) fn created(signaling: &Signaling, opened: Opened) -> Response<Body> {
    let mut response = created_without_body(signaling, &opened, PATCHES);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    *response.body_mut() = Body::from(opened.answer);
    response
}

/// 201 with the header fields of a new session, which takes PATCHes of these types.
pub(crate) fn created_without_body(
    signaling: &Signaling,
    opened: &Opened,
    patches: &'static str,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    for (name, text) in [(LOCATION, &opened.location), (ETAG, &opened.etag)] {
        // Both texts consist of unreserved characters and quotes, which are valid in every header field.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(patches));
    for value in signaling.config().ice_servers.iter().flat_map(links) {
        headers.append(LINK, value);
    }
    response
}

/// GET and HEAD: success without content, and the media type by which players recognize an endpoint
/// (draft-ietf-wish-whep section 4.1).
pub(crate) async fn found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    response
}

/// OPTIONS: 200 with the media type that may be posted (RFC 9725 section 4.2). ICE servers are never included: a
/// preflight is not authenticated, and TURN credentials are not public.
pub(crate) async fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    response
}

/// 405 for all other methods.
pub(crate) async fn refuse() -> Response<Body> {
    method_not_allowed(METHODS)
}

const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// OPTIONS of resources that can only be read.
pub(crate) async fn readable_options() -> Response<Body> {
    allowed(READ_METHODS)
}

/// The answer to OPTIONS: the methods that are allowed.
pub(crate) fn allowed(methods: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// 405 for all other methods of resources that can only be read.
pub(crate) async fn refuse_readable() -> Response<Body> {
    method_not_allowed(READ_METHODS)
}

/// 405 with the methods that are allowed (RFC 9110 section 15.5.6).
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    Problem::new(ProblemKind::METHOD_NOT_ALLOWED, format!("Allowed here: {allowed}."))
        .header(ALLOW, HeaderValue::from_static(allowed))
        .into_response()
}

/// Whether the content type is `wanted`; parameters are ignored.
pub(crate) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// Whether `Accept` allows `application/` with this subtype; without the field every type is allowed (RFC 9110 section 12.5.1). If
/// several ranges match, the most specific one counts.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut best: Option<(u8, bool)> = None;
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for range in value.split(',').filter(|range| !range.trim().is_empty()) {
            any = true;
            let mut parts = range.split(';');
            let specificity = match parts.next().unwrap_or_default().trim() {
                "*/*" => 0,
                t if t.eq_ignore_ascii_case("application/*") => 1,
                t if t.eq_ignore_ascii_case(wanted) => 2,
                _ => continue,
            };
            let quality = parts
                .filter_map(|p| p.trim().strip_prefix("q="))
                .find_map(|q| q.trim().parse::<f32>().ok())
                .unwrap_or(1.0);
            if best.is_none_or(|(known, _)| specificity >= known) {
                best = Some((specificity, quality > 0.0));
            }
        }
    }
    !any || best.is_some_and(|(_, wanted)| wanted)
}

/// `Link` fields of one ICE server (RFC 9725 section 4.6).
fn links(server: &IceServer) -> Vec<HeaderValue> {
    let mut attributes = String::from("; rel=\"ice-server\"");
    if let Some(username) = &server.username {
        attributes += &format!("; username={}", quoted(username));
    }
    if let Some(credential) = &server.credential {
        attributes +=
            &format!("; credential={}; credential-type=\"password\"", quoted(credential.reveal()));
    }
    server
        .urls
        .iter()
        .filter_map(|url| HeaderValue::from_str(&format!("<{url}>{attributes}")).ok())
        .map(|mut value| {
            value.set_sensitive(true);
            value
        })
        .collect()
}

/// A quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn accepts_sdp(value: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(ACCEPT, value.parse().unwrap());
        }
        accepts(&headers, SDP)
    }

    #[test]
    fn accept_is_read_by_the_most_specific_range() {
        assert!(accepts_sdp(None));
        assert!(accepts_sdp(Some("*/*")));
        assert!(accepts_sdp(Some("text/html, application/*;q=0.5")));
        assert!(accepts_sdp(Some("application/SDP")));
        assert!(!accepts_sdp(Some("application/json")));
        assert!(!accepts_sdp(Some("application/sdp;q=0, */*")));
        assert!(accepts_sdp(Some("application/sdp, */*; q=0")));
    }

    #[test]
    fn content_types_match_without_their_parameters() {
        let mut headers = HeaderMap::new();
        assert!(!has_type(&headers, SDP));
        headers.insert(CONTENT_TYPE, "Application/SDP; charset=utf-8".parse().unwrap());
        assert!(has_type(&headers, SDP));
        headers.insert(CONTENT_TYPE, "application/sdpx".parse().unwrap());
        assert!(!has_type(&headers, SDP));
    }

    #[test]
    fn links_quote_what_needs_quoting() {
        let server = IceServer {
            urls: vec!["turn:t.example?transport=udp".into(), "bad\nurl".into()],
            username: Some("a\"b\\c".into()),
            credential: Some(Secret::new("p")),
        };
        let links = links(&server);
        assert_eq!(links.len(), 1);
        assert_eq!(
            links[0].to_str().unwrap(),
            "<turn:t.example?transport=udp>; rel=\"ice-server\"; username=\"a\\\"b\\\\c\"; \
             credential=\"p\"; credential-type=\"password\""
        );
    }
}

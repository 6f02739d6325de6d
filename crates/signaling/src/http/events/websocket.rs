//! The opening handshake of a WebSocket (RFC 6455 section 4.2).

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::conversation;
use crate::http::problem::{Problem, ProblemKind};
use crate::resources::{Resource, ResourceKey};
use crate::server::Stay;
use crate::state::Signaling;

const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Whether the request asks for a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(wanted))
}

/// The refusal of a WebSocket on a connection that carries other requests too.
pub(super) fn needs_http1() -> Problem {
    Problem::new(ProblemKind::BAD_UPGRADE, "A WebSocket begins with a GET over HTTP/1.1.")
}

/// Answers the handshake; the conversation begins when the answer is sent. `unknown` is the key under which the resource is looked
/// up again, when the client says only then who it is.
///
/// # Errors
/// 400 and 426 for a handshake that breaks the rules.
pub(super) fn accept(
    signaling: Signaling,
    resource: Arc<Resource>,
    unknown: Option<ResourceKey>,
    stay: Stay,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Problem::new(
            ProblemKind::UPGRADE_REQUIRED,
            "The version of the WebSocket protocol has to be 13.",
        )
        .header(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    if !is_key || !has_token(headers, &CONNECTION, "upgrade") {
        let why = "The handshake needs Connection: Upgrade and a Sec-WebSocket-Key of 16 bytes.";
        return Err(Problem::new(ProblemKind::BAD_UPGRADE, why));
    }
    let answer = HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| Problem::internal())?;
    let held = stay.clone();
    let taken_over =
        stay.take_over(move |taken| conversation::hold(signaling, resource, unknown, held, taken));
    if !taken_over {
        return Err(needs_http1());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, answer);
    Ok(response)
}

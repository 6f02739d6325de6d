//! What every request passes before its handler, and every answer after it: rate limits, problem details, CORS.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{EXPECT, ORIGIN};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;

use crate::auth;
use crate::http::body::BodySlot;
use crate::http::cors;
use crate::http::problem::{Problem, ProblemKind, render};
use crate::limits::address_key;
use crate::server::Client;
use crate::state::Signaling;

/// `Retry-After` for a client that has too many requests under way through proxies.
const CROWDED_WAIT: Duration = Duration::from_secs(1);

/// The middleware around all routes.
pub(crate) async fn gate(
    State(signaling): State<Signaling>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let origin = parts.headers.get(ORIGIN).cloned();
    let preflight = cors::is_preflight(&parts.method, &parts.headers);
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    // A client that waits for 100 (Continue) has sent no body yet, so there is nothing to discard.
    let waits = parts.headers.contains_key(EXPECT);
    let client = parts.extensions.get().map(|client: &Client| client.address);
    let slot = BodySlot::new(body);
    parts.extensions.insert(slot.clone());

    let mut response = match admit(&signaling, &parts) {
        Ok(()) => {
            if let Some(token) = auth::bearer(&parts.headers) {
                signaling.auth().learn(token).await;
            }
            next.run(Request::from_parts(parts, Body::empty())).await
        }
        Err(problem) => problem.into_response(),
    };
    if !waits {
        slot.drain().await;
    }
    if !response.status().is_success() && response.extensions().get::<Problem>().is_none() {
        response = explain(response);
    }
    let mut response = render(response, &path);
    cors::decorate(
        &signaling.config().cors_origins,
        origin.as_ref(),
        preflight,
        response.headers_mut(),
    );
    response.headers_mut().insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    signaling.counters().count(&method, response.status());
    // The path is not logged, because session URLs are secrets.
    tracing::debug!(%method, status = response.status().as_u16(), client = client.map(tracing::field::display), "answered");
    response
}

/// Counts a request against the limit of its address and that of its token (without a token: of its session URL).
fn admit(signaling: &Signaling, parts: &axum::http::request::Parts) -> Result<(), Problem> {
    if parts.extensions.get::<Client>().is_some_and(|client| client.crowded) {
        return Err(too_many(CROWDED_WAIT));
    }
    // A connection of events may begin with a snapshot of the whole room, which costs more than most PATCHes.
    let opens_events = parts.uri.path().ends_with("/events");
    if !matches!(parts.method, Method::POST | Method::PATCH | Method::DELETE) && !opens_events {
        return Ok(());
    }
    let now = Instant::now();
    if let Some(client) = parts.extensions.get::<Client>() {
        signaling.by_address().take(address_key(client.address), now).map_err(too_many)?;
    }
    let key = auth::bearer(&parts.headers).or_else(|| session_token(parts.uri.path()));
    match key {
        Some(key) => signaling.take_by_token(key, now).map_err(too_many),
        None => Ok(()),
    }
}

fn session_token(path: &str) -> Option<&str> {
    // Below a session are its events and its commands, which count for the session too.
    let (_, below) = path.split_once("/sessions/")?;
    below.split('/').next()
}

/// 429.
pub(crate) fn too_many(wait: Duration) -> Problem {
    Problem::new(ProblemKind::TOO_MANY_REQUESTS, "Come back after the time in Retry-After.")
        .retry_after(wait)
}

/// Gives an error that a library made (for a path that is not UTF-8, say) the body that all errors have.
fn explain(response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED || !(status.is_client_error() || status.is_server_error())
    {
        return response;
    }
    let problem = Problem::of_http(status);
    let headers = response.headers().clone();
    let mut answer = problem.into_response();
    for (name, value) in &headers {
        if name != axum::http::header::CONTENT_LENGTH {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}

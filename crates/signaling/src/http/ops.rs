//! For operators: metrics and health.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::calls::blocking;
use crate::http::problem::Problem;
use crate::state::Signaling;

/// `GET /metrics` on the public listener: with authentication on, for administrators.
pub(crate) async fn guarded_metrics(
    State(signaling): State<Signaling>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.auth().caller(&headers)?.may_administer()?;
    metrics(State(signaling)).await
}

/// `GET /metrics` in the Prometheus text format.
pub(crate) async fn metrics(State(signaling): State<Signaling>) -> Result<Response, Problem> {
    // The node's own numbers come from files of the kernel.
    let text = blocking(move || {
        let mut text = String::new();
        let counts = signaling.core().counts();
        signaling.counters().write(counts, &mut text);
        (signaling.operations().metrics)(&mut text);
        text
    });
    let mut response = text.await?.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

/// `GET /healthz`: the process answers.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: new sessions are welcome.
pub(crate) async fn ready(State(signaling): State<Signaling>) -> Response {
    if !signaling.is_draining() && (signaling.operations().ready)() {
        return "ready\n".into_response();
    }
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "Service unavailable",
        "The node takes no new sessions.",
    )
    .retry_after(std::time::Duration::from_secs(5))
    .into_response()
}

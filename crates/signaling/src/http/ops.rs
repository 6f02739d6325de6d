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

/// `GET /readyz`: new sessions are welcome. A node at a limit is ready all the same: taken out of service it would end the calls of
/// those who are there, and there is room again when one of them leaves. The body says so.
pub(crate) async fn ready(State(signaling): State<Signaling>) -> Response {
    let ready = match signaling.is_draining() {
        true => Err("The node is leaving."),
        false => (signaling.operations().ready)(),
    };
    let why = match ready {
        Ok(()) => {
            let full = signaling.full();
            return match full.is_empty() {
                true => "ready\n".into_response(),
                false => format!("ready, but full: {}\n", full.join(", ")).into_response(),
            };
        }
        Err(why) => why,
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "not-ready", "Service unavailable", why)
        .retry_after(std::time::Duration::from_secs(5))
        .into_response()
}

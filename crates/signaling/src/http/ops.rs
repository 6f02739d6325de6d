//! For operators: metrics and health.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use crate::calls::blocking;
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// `GET /metrics` on the public listener: with authentication on, only for administrators.
pub(crate) async fn guarded_metrics(
    State(signaling): State<Signaling>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.auth().caller(&headers)?.may_administer()?;
    metrics(State(signaling)).await
}

/// `GET /metrics` in the Prometheus text format.
pub(crate) async fn metrics(State(signaling): State<Signaling>) -> Result<Response, Problem> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Numbers(signaling)));
    // Not on the runtime's threads, because reading /proc may block.
    let text = blocking(move || {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).map(|()| text)
    });
    let text = text.await?.map_err(|_| Problem::internal())?;
    let content_type = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

/// All metrics of a node, collected at the time of the request.
struct Numbers(Signaling);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Numbers(signaling) = self;
        let core = signaling.core();
        signaling.counters().encode(core.counts(), core.data_refused(), &mut encoder)?;
        signaling.hub().counts().encode(&mut encoder)?;
        if let Some(webhooks) = &signaling.config().webhooks {
            webhooks.counts().encode(&mut encoder)?;
        }
        (signaling.operations().metrics)(&mut encoder)
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numbers")
    }
}

/// `GET /healthz`: the process answers.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether the node accepts new sessions. A node at a limit still counts as ready: a load balancer that
/// took it out of service could end its present calls, and a place is free again when one of them ends. The body names
/// the limit.
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
    Problem::new(ProblemKind::NOT_READY, why)
        .retry_after(std::time::Duration::from_secs(5))
        .into_response()
}

//! Request bodies: read once and whole, within limits of size and time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::config::Limits;
use crate::http::problem::{Problem, ProblemKind};

/// The body of a request, stored in its extensions. When a handler answers without reading the body, the body stays
/// here, and the gate reads and discards it.
#[derive(Clone)]
pub(crate) struct BodySlot(Arc<Mutex<Option<Body>>>);

/// Bytes that are read and discarded before the answer, of a body that no handler read. After a body that was read to
/// its end the connection can be used again; after a longer body it is closed (`server` lingers there).
const DRAIN_BYTES: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

impl BodySlot {
    /// Holds a body.
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads the whole body as text.
    ///
    /// # Errors
    /// 413 when it is too large, 408 when it comes too slowly, 400 when it breaks off or is not UTF-8.
    pub(crate) async fn text(&self, limits: &Limits) -> Result<String, Problem> {
        let mut body = self.take().unwrap_or_else(Body::empty);
        let read = timeout(limits.body_timeout, collect(&mut body, limits.body_size)).await;
        let bytes = match read {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => {
                drain(body).await;
                return Err(Problem::new(
                    ProblemKind::BODY_TOO_LARGE,
                    format!("The body is over {} bytes.", limits.body_size),
                ));
            }
            Ok(Err(_)) => {
                return Err(Problem::new(ProblemKind::BAD_BODY, "The body broke off."));
            }
            Err(_) => {
                return Err(Problem::new(
                    ProblemKind::BODY_TOO_SLOW,
                    "The body did not come in time.",
                ));
            }
        };
        String::from_utf8(bytes)
            .map_err(|_| Problem::new(ProblemKind::BAD_BODY, "The body is not UTF-8."))
    }

    /// Reads and discards the rest of the body, within the bounds.
    pub(crate) async fn drain(&self) {
        if let Some(body) = self.take() {
            drain(body).await;
        }
    }
}

/// The whole body, or `None` when it is over `limit` bytes.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    use axum::body::HttpBody;
    if body.size_hint().lower() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}

async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // When the time is over, the answer is sent all the same, and the connection is closed after it.
    timeout(DRAIN_TIME, read).await.unwrap_or_default();
}

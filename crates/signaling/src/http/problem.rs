//! Errors as problem details (RFC 9457). They say what was wrong with the request, and nothing about other clients'
//! resources.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::events::messages::ProblemDetails;
pub(crate) use crate::http::kinds::ProblemKind;

/// An error answer. [`render`] writes the body, once the request's path is known.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind; `detail` says what was wrong with this request.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), headers: Vec::new() }
    }

    /// An error that a library found in a request, with the status that it chose.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or(ProblemKind::HTTP.title);
        let kind = ProblemKind { status, title, ..ProblemKind::HTTP };
        Self::new(kind, "The request cannot be served.")
    }

    /// Adds a header field to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `Retry-After`, whole seconds rounded up, at least one (RFC 9110 section 10.2.3).
    pub(crate) fn retry_after(self, wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The problem as a message of the session API tells it.
    pub(crate) fn details(&self) -> ProblemDetails {
        ProblemDetails {
            r#type: self.kind.uri(),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail.clone(),
        }
    }

    /// The status code.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// The same answer for resources that never existed, have ended, or belong to another caller, so that it tells
    /// nothing.
    pub(crate) fn not_found() -> Self {
        Self::new(ProblemKind::NOT_FOUND, "There is nothing here for this request.")
    }

    /// A field of a body or message that is not known, is missing, or has a value that is not allowed.
    pub(crate) fn bad_field(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::BAD_FIELD, detail)
    }

    /// A defect of this node; the log has the details.
    pub(crate) fn internal() -> Self {
        Self::new(ProblemKind::INTERNAL, "The server failed; its log has the cause.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind.status;
        for (name, value) in &self.headers {
            response.headers_mut().append(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
}

/// Writes the body of an answer that has a [`Problem`]; `path` becomes its `instance`.
pub(crate) fn render(mut response: Response<Body>, path: &str) -> Response<Body> {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let details = Details {
        r#type: problem.kind.uri(),
        title: problem.kind.title,
        status: problem.kind.status.as_u16(),
        detail: &problem.detail,
        instance: path,
    };
    let body = serde_json::to_vec(&details).unwrap_or_default();
    *response.body_mut() = Body::from(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

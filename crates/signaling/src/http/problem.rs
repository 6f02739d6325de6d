//! Errors as problem details (RFC 9457). They say what was wrong with the request, and nothing about other clients'
//! resources.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::events::messages::ProblemDetails;

/// An error answer. [`render`] writes the body, once the request's path is known.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of the kind `slug`. The slug ends the `type` URI, so its meaning never changes.
    pub(crate) fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, slug, title, detail: detail.into(), headers: Vec::new() }
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
            r#type: self.type_uri(),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
        }
    }

    fn type_uri(&self) -> String {
        format!("urn:sfumato:problem:{}", self.slug)
    }

    /// The status code.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The same answer for resources that never existed, have ended, or belong to another caller, so that it tells
    /// nothing.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            "There is nothing here for this request.",
        )
    }

    /// The request does not parse.
    pub(crate) fn bad_request(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, slug, "Bad request", detail)
    }

    /// A field of a body or message that is not known, is missing, or has a value that is not allowed.
    pub(crate) fn bad_field(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "bad-field", "Unprocessable content", detail)
    }

    /// A defect of this node; the log has the details.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "The server failed; its log has the cause.",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
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
        r#type: problem.type_uri(),
        title: problem.title,
        status: problem.status.as_u16(),
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

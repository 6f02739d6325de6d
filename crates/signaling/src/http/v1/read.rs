//! Reads JSON bodies of the admin API.

use axum::http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::body::BodySlot;
use crate::http::offer::{ACCEPT_PATCH, ACCEPT_POST, JSON, require_type};
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// The media type of RFC 7396, which a PATCH may have too.
const MERGE_PATCH: &str = "application/merge-patch+json";
const PATCHES: &str = "application/json, application/merge-patch+json";

/// The body of a POST.
///
/// # Errors
/// 415, 400 for what is no JSON, 422 for what is not allowed in it, and those of [`BodySlot::text`].
pub(super) async fn posted<T: DeserializeOwned>(
    signaling: &Signaling,
    headers: &HeaderMap,
    body: &BodySlot,
) -> Result<T, Problem> {
    require_type(headers, &[JSON], "The body")
        .map_err(|problem| problem.header(ACCEPT_POST, HeaderValue::from_static(JSON)))?;
    parse(&body.text(&signaling.config().limits).await?)
}

/// The body of a PATCH.
///
/// # Errors
/// As [`posted`].
pub(super) async fn patched<T: DeserializeOwned>(
    signaling: &Signaling,
    headers: &HeaderMap,
    body: &BodySlot,
) -> Result<T, Problem> {
    require_type(headers, &[JSON, MERGE_PATCH], "A change")
        .map_err(|problem| problem.header(ACCEPT_PATCH, HeaderValue::from_static(PATCHES)))?;
    parse(&body.text(&signaling.config().limits).await?)
}

/// Fields that have fields of their own.
const OBJECTS: [&str; 2] = ["settings", "permissions"];

/// Reads a JSON object; an error names the field.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    // serde takes an array for a structure, too: the values of its fields in order. Here it would change what nobody named.
    let value: Value = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let Value::Object(fields) = value else {
        return Err(Problem::bad_field("The body is no JSON object."));
    };
    for name in OBJECTS {
        if fields.get(name).is_some_and(|value| !value.is_object()) {
            return Err(Problem::bad_field(format!("{name}: it is no JSON object.")));
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => Problem::bad_field(format!("{}.", error.into_inner())),
            _ => Problem::bad_field(format!("{path}: {}.", error.into_inner())),
        }
    })
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemKind::BAD_BODY, format!("The body is no JSON: {error}."))
}

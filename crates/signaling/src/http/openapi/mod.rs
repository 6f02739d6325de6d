//! The OpenAPI document (version 3.1.1) of everything that the node serves over HTTP, made from the code: `rooms`, `sessions` and `node`
//! are tables with each method of each path but HEAD and OPTIONS, `parts` says what their entries consist of. Schemas come from the types that the handlers read and write.

mod node;
mod parts;
mod rooms;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::http::kinds::ProblemKind;
use crate::http::offer::JSON;
use crate::http::page::has_tag;
use crate::http::problem::Problem;
use parts::{Access, Answer, Content, Operation, Parameter};

/// The document as it is sent, and its strong entity tag.
static DOCUMENT: LazyLock<(String, String)> = LazyLock::new(|| {
    let text = serde_json::to_string(&document()).unwrap_or_default();
    let hash = digest(&SHA256, text.as_bytes());
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..18]));
    (text, etag)
});

/// `GET /v1/openapi.json`: the same for everybody.
pub(crate) async fn serve(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    let (text, etag) = &*DOCUMENT;
    let etag = HeaderValue::from_str(etag).map_err(|_| Problem::internal())?;
    let mut response = match has_tag(&headers, &etag) {
        true => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => Response::new(Body::from(text.as_str())),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    // It may be stored, but has to be revalidated, so that an update of the node shows at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

const DESCRIPTION: &str = "Paths under `/v1`, `/whip` and `/whep` are stable: what is added does not break a client that passes over \
    fields that it does not know. Every path that has GET has HEAD too, and every path has OPTIONS. Errors are problem details \
    (RFC 9457); a program decides by `type`.";

const TAGS: [(&str, &str); 6] = [
    ("Rooms", "Administer rooms, members and tracks. Needs a token with admin for the room."),
    ("Sessions", "Join a room: one peer connection for both directions, with events and commands."),
    ("WHIP", "Publish (RFC 9725)."),
    ("WHEP", "Watch (draft-ietf-wish-whep)."),
    ("Node", "Health, metrics and this document."),
    ("Before v1", "Listings of earlier versions. They stay; `/v1/rooms` has more."),
];

fn operations() -> impl Iterator<Item = &'static Operation> {
    [rooms::OPERATIONS, sessions::OPERATIONS, node::OPERATIONS].into_iter().flatten()
}

/// The document.
pub(crate) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = SchemaGenerator::new(settings);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let described = describe(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| {
            let names = operation.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            let parameters: Vec<Value> = names.map(|(name, _)| path_parameter(name)).collect();
            Map::from_iter([("parameters".to_owned(), Value::Array(parameters))])
        });
        path.insert(operation.method.to_lowercase(), described);
    }
    let mut definitions = schemas.take_definitions(true);
    definitions.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Sfumato",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "servers": [{ "url": "/" }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token with grants (RFC 6750). A node without authentication needs none.",
                },
            },
        },
    })
}

fn describe(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": responses(operation, schemas),
        "security": match operation.access {
            Access::Public => json!([]),
            // Without authentication on the node, no token is needed.
            Access::Token => json!([{ "token": [] }, {}]),
        },
    });
    let mut parameters: Vec<Value> = operation.query.iter().map(query_parameter).collect();
    parameters.extend(operation.headers.iter().map(header_parameter));
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if !operation.request.is_empty() {
        described["requestBody"] =
            json!({ "required": true, "content": contents(operation.request, schemas) });
    }
    described
}

fn contents(contents: &[Content], schemas: &mut SchemaGenerator) -> Value {
    let described = contents.iter().map(|content| {
        let mut described = json!({ "schema": (content.schema)(schemas) });
        if let Some(example) = content.example {
            described["example"] = match content.is_json() {
                true => serde_json::from_str(example).unwrap_or_default(),
                false => Value::from(example),
            };
        }
        (content.media_type.to_owned(), described)
    });
    Value::Object(described.collect())
}

fn responses(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for Answer { status, meaning, content } in operation.answers {
        let mut response = json!({ "description": meaning });
        if !content.is_empty() {
            response["content"] = contents(content, schemas);
        }
        responses.insert(status.to_string(), response);
    }
    for (status, kinds) in problems(operation) {
        let says: Vec<String> =
            kinds.iter().map(|kind| format!("`{}`: {}", kind.slug, kind.meaning)).collect();
        let types: Vec<String> = kinds.iter().map(ProblemKind::uri).collect();
        let schema = json!({
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "type": { "enum": types } },
        });
        let response = json!({
            "description": says.join("\n\n"),
            "content": { "application/problem+json": { "schema": schema } },
        });
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// The problems of an operation: its own ones, and those of all operations like it.
fn problems(operation: &Operation) -> BTreeMap<u16, Vec<ProblemKind>> {
    use ProblemKind as P;
    let mut kinds = vec![P::MISDIRECTED_REQUEST, P::INTERNAL];
    if operation.access == Access::Token {
        kinds.extend([P::UNAUTHORIZED, P::FORBIDDEN]);
    }
    if operation.path.contains("{room}") {
        kinds.extend([P::BAD_ROOM, P::BUSY]);
    }
    if operation.method != "GET" {
        kinds.push(P::TOO_MANY_REQUESTS);
    }
    if !operation.query.is_empty() {
        kinds.push(P::BAD_QUERY);
    }
    if !operation.request.is_empty() {
        kinds.extend([P::BAD_BODY, P::BODY_TOO_LARGE, P::BODY_TOO_SLOW, P::UNSUPPORTED_MEDIA_TYPE]);
    }
    kinds.extend(operation.problems);
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for kind in kinds.into_iter().filter(|kind| seen.insert(kind.slug)) {
        by_status.entry(kind.status.as_u16()).or_default().push(kind);
    }
    by_status
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let types: Vec<String> = ProblemKind::ALL.iter().map(ProblemKind::uri).collect();
    json!({
        "description": "Why a request was refused (RFC 9457).",
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": {
                "type": "string",
                "enum": types,
                "description": "The kind of problem; a program decides by it.",
            },
            "title": text("The kind in words."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": text("What was wrong with this request, for people."),
            "instance": text("The path of the request."),
        },
    })
}

fn path_parameter(name: &str) -> Value {
    let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$" });
    let (description, schema) = match name {
        "room" => ("The room.", id),
        "participant" => ("The identity of the participant.", id),
        "identity" => ("The identity of the member.", id),
        "track" => ("The track's id: digits.", json!({ "type": "string", "pattern": "^[0-9]+$" })),
        _ => ("The secret part of the session's URL, from Location.", json!({ "type": "string" })),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema: Value = serde_json::from_str(parameter.schema).unwrap_or_default();
    json!({ "name": parameter.name, "in": "query", "description": parameter.meaning, "schema": schema })
}

fn header_parameter(parameter: &Parameter) -> Value {
    let mut described = query_parameter(parameter);
    described["in"] = "header".into();
    described["required"] = parameter.required.into();
    described
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::router;

    #[test]
    fn the_paths_of_the_router_are_those_of_the_document() {
        let routed: BTreeSet<&str> = router::table().iter().map(|(path, _)| *path).collect();
        let described: BTreeSet<&str> = operations().map(|o| o.path).collect();
        assert_eq!(routed, described);
    }

    #[test]
    fn examples_parse_as_what_they_are_examples_of() {
        let mut checked = 0;
        for operation in operations() {
            let answers = operation.answers.iter().flat_map(|answer| answer.content);
            for content in operation.request.iter().chain(answers) {
                if let (Some(check), Some(example)) = (content.check, content.example) {
                    let parsed = check(example);
                    assert_eq!(parsed, Ok(()), "{} {}", operation.method, operation.path);
                    checked += 1;
                }
            }
            for content in operation.request {
                assert!(content.example.is_some(), "{} {}", operation.method, operation.path);
            }
        }
        assert!(checked >= 10, "{checked}");
    }

    #[test]
    fn operations_have_names_of_their_own_and_known_tags() {
        let ids: BTreeSet<&str> = operations().map(|o| o.id).collect();
        assert_eq!(ids.len(), operations().count());
        for operation in operations() {
            assert!(TAGS.iter().any(|(name, _)| *name == operation.tag), "{}", operation.id);
            assert!(!operation.answers.is_empty(), "{}", operation.id);
        }
    }

    /// All `$ref`s of the document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.insert(to.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_no_name_stands_for_two() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for to in found {
            let pointer = to.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{to}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            // schemars numbers a second type of the same name.
            assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
        }
    }
}

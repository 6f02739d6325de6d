//! What an entry of the table of operations consists of.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::http::kinds::ProblemKind;
use crate::http::offer::JSON;

/// One method of one path.
pub(super) struct Operation {
    /// The method.
    pub(super) method: &'static str,
    /// The path as in the router.
    pub(super) path: &'static str,
    /// Its name in generated clients.
    pub(super) id: &'static str,
    /// The group that it is listed in.
    pub(super) tag: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// Who may call it.
    pub(super) access: Access,
    /// Parameters of the query.
    pub(super) query: &'static [Parameter],
    /// Header fields.
    pub(super) headers: &'static [Parameter],
    /// The bodies that it takes; empty: none.
    pub(super) request: &'static [Content],
    /// The answers of a request that succeeded.
    pub(super) answers: &'static [Answer],
    /// The problems that not all operations of its kind have.
    pub(super) problems: &'static [ProblemKind],
}

/// What most operations have.
pub(super) const NOTHING: Operation = Operation {
    method: "GET",
    path: "",
    id: "",
    tag: "",
    summary: "",
    access: Access::Token,
    query: &[],
    headers: &[],
    request: &[],
    answers: &[],
    problems: &[],
};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Public,
    /// Who has a token that grants it.
    Token,
}

/// A parameter of the query, or a header field.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// Its JSON schema.
    pub(super) schema: &'static str,
    pub(super) required: bool,
}

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) meaning: &'static str,
    pub(super) content: &'static [Content],
}

/// A body of one media type.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(super) example: Option<&'static str>,
    /// Whether a text is such a body; `None` when the node does not read it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds the examples against it"))]
    pub(super) check: Option<Check>,
}

/// Whether a text is such a body, and if not, why.
pub(super) type Check = fn(&str) -> Result<(), String>;

impl Content {
    pub(super) fn is_json(&self) -> bool {
        self.media_type.ends_with("json")
    }
}

/// A JSON body that is read somewhere.
pub(super) const fn json<T: JsonSchema + DeserializeOwned>(example: &'static str) -> Content {
    Content {
        media_type: JSON,
        schema: SchemaGenerator::subschema_for::<T>,
        example: Some(example),
        check: Some(parses::<T>),
    }
}

/// A JSON body that is only written.
pub(super) const fn written<T: JsonSchema>() -> Content {
    Content {
        media_type: JSON,
        schema: SchemaGenerator::subschema_for::<T>,
        example: None,
        check: None,
    }
}

/// A text of this media type.
pub(super) const fn text(media_type: &'static str, example: &'static str) -> Content {
    Content {
        media_type,
        schema: SchemaGenerator::subschema_for::<String>,
        example: Some(example),
        check: None,
    }
}

fn parses<T: DeserializeOwned>(text: &str) -> Result<(), String> {
    serde_json::from_str::<T>(text).map(drop).map_err(|error| error.to_string())
}

/// An answer without content.
pub(super) const fn empty(status: u16, meaning: &'static str) -> Answer {
    Answer { status, meaning, content: &[] }
}

/// An optional parameter.
pub(super) const fn optional(
    name: &'static str,
    meaning: &'static str,
    schema: &'static str,
) -> Parameter {
    Parameter { name, meaning, schema, required: false }
}

/// Any text.
pub(super) const TEXT: &str = r#"{"type":"string"}"#;

/// The parameters of a listing.
pub(super) const PAGE: &[Parameter] = &[
    optional(
        "limit",
        "Entries of the page.",
        r#"{"type":"integer","minimum":1,"maximum":1000,"default":500}"#,
    ),
    optional(
        "after",
        "The last entry of the page before; next and Link lead to the next page.",
        TEXT,
    ),
];

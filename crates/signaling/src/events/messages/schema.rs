//! The JSON schema of the session API, made from the types.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{ClientMessage, JoinRequest, Joined, Message, Renegotiate, Renegotiated};

/// The schema of all messages and bodies (JSON Schema 2020-12), as `proto/session.schema.json` has it.
///
/// `$defs/ServerMessage` is what the node sends over the events, `$defs/ClientMessage` what it takes; the others are bodies of
/// requests and their parts.
pub fn session_schema() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let roots = [
        generator.subschema_for::<ClientMessage>(),
        generator.subschema_for::<JoinRequest>(),
        generator.subschema_for::<Joined>(),
        generator.subschema_for::<Renegotiate>(),
        generator.subschema_for::<Renegotiated>(),
    ];
    let message = generator.subschema_for::<Message>();
    let mut defs: Map<String, Value> = generator.take_definitions(true);
    defs.insert("ServerMessage".into(), numbered(message.to_value()));
    let any: Vec<Value> = std::iter::once(json!({ "$ref": "#/$defs/ServerMessage" }))
        .chain(roots.into_iter().map(|root| root.to_value()))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Session API",
        "description": "Messages and bodies of room sessions. docs/session-api.md explains them.",
        "anyOf": any,
        "$defs": defs,
    })
}

/// A message with its number. `welcome` has a `seq` of its own meaning; `reply` and `pong` have none.
fn numbered(message: Value) -> Value {
    json!({
        "description": "A message of the node with its number.",
        "allOf": [message],
        "properties": {
            "seq": {
                "description": "Rises by one from message to message. Not in reply and pong.",
                "type": "integer",
                "minimum": 0,
            },
        },
    })
}

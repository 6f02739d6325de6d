//! `proto/session.schema.json` is made from the types of the messages, and has to be what they are now.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::Node;
use serde_json::{Value, json};
use sfumato_signaling::messages::{ClientMessage, session_schema};

#[test]
fn the_schema_in_the_repository_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/session.schema.json");
    let mut current = serde_json::to_string_pretty(&session_schema()).unwrap();
    current.push('\n');
    if std::env::var_os("SFUMATO_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "proto/session.schema.json is not what the messages are now; write it anew with\n\
         SFUMATO_WRITE_SCHEMA=1 cargo test -p sfumato-signaling --test schema"
    );
}

/// The `type`s that a definition of the schema has.
fn types(definition: &Value, found: &mut Vec<String>) {
    match definition {
        Value::Object(map) => {
            if let Some(name) = map.get("type").and_then(|kind| kind.get("const")) {
                found.push(name.as_str().unwrap().to_owned());
            }
            map.values().for_each(|value| types(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| types(value, found)),
        _ => {}
    }
}

#[test]
fn the_schema_names_every_message() {
    let schema = session_schema();
    let named = |definition: &str| {
        let mut found = Vec::new();
        types(&schema["$defs"][definition], &mut found);
        found.sort();
        found
    };
    assert_eq!(
        named("ClientMessage"),
        [
            "hello",
            "leave",
            "ping",
            "refresh_token",
            "send_data",
            "subscribe",
            "update_me",
            "update_track"
        ]
    );
    assert_eq!(
        named("Message"),
        [
            "closed",
            "data",
            "data_lost",
            "member",
            "member_left",
            "muted",
            "permissions",
            "pong",
            "quality",
            "reply",
            "room",
            "slots",
            "slots_wanted",
            "snapshot",
            "speakers",
            "token_expiring",
            "welcome"
        ]
    );
    for body in ["JoinRequest", "Joined", "Renegotiate", "Renegotiated", "ServerMessage"] {
        assert!(schema["$defs"][body].is_object(), "{body}");
    }
}

#[tokio::test]
async fn what_the_node_sends_is_what_the_types_say() {
    let node = Node::start().await;
    let ann = node.join("ann", "AVav").await;
    let (mut events, snapshot) = node.snapshot(&ann).await;
    // Reading and writing again loses nothing but the number.
    let again = |message: &Value| {
        let read: sfumato_signaling::messages::Message =
            serde_json::from_value(message.clone()).unwrap();
        let mut written = serde_json::to_value(&read).unwrap();
        if let Some(seq) = message.get("seq") {
            written["seq"] = seq.clone();
        }
        assert_eq!(&written, message);
    };
    again(&snapshot);
    node.join("bob", "Aa").await;
    again(&events.next_of("member").await);
    again(&events.ask(json!({ "type": "update_me", "name": "A" })).await);
    again(&events.ask(json!({ "type": "update_track", "track": "x" })).await);
}

#[test]
fn commands_are_read_as_they_are_documented() {
    for text in [
        r#"{"id":"1","type":"hello","token":"ey...","after":41}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"leave"}"#,
        r#"{"type":"subscribe","policy":"auto","pinned":["bob"]}"#,
        r#"{"type":"subscribe","policy":"auto"}"#,
        r#"{"type":"subscribe","policy":"manual","slots":[{"mid":"3","track":"12","width":640,"height":360,"priority":2,"paused":false},{"mid":"4","track":null}]}"#,
        r#"{"type":"update_track","track":"12","muted":true,"name":"slides"}"#,
        r#"{"type":"update_me","name":"Ann","metadata":"{}"}"#,
        r#"{"type":"send_data","topic":"chat","to":["bob"],"delivery":"lossy","text":"hello"}"#,
        r#"{"type":"send_data","topic":"chat","base64":"AAEC","unknown":1}"#,
        r#"{"type":"refresh_token","token":"ey..."}"#,
    ] {
        let read: ClientMessage = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<ClientMessage>(&written).unwrap(), read, "{text}");
    }
}

//! The OpenAPI document against the node that serves it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use common::members::JSON;
use common::{Node, bearer, with_keys};
use serde_json::{Value, json};

async fn document(node: &Node) -> Value {
    let reply = node.request("GET", "/v1/openapi.json", &[], "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(JSON)));
    reply.json()
}

/// A path with something in the place of its parameters.
fn filled(path: &str) -> String {
    let mut parts = path.split('{');
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        filled += if name == "track" { "1" } else { "x" };
        filled += rest;
    }
    filled
}

#[tokio::test]
async fn the_methods_of_every_path_are_those_of_the_document() {
    let node = Node::start().await;
    let document = document(&node).await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 23, "{}", paths.len());
    for (path, described) in paths {
        let described: BTreeSet<String> = described
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "parameters")
            .map(|name| name.to_uppercase())
            .collect();
        let path = filled(path);
        let allowed = node.request("OPTIONS", &path, &[], "").await;
        assert_eq!(allowed.status, 200, "{path}");
        let allowed: BTreeSet<String> =
            allowed.header("allow").unwrap().split(", ").map(str::to_owned).collect();
        let mut expected = described.clone();
        expected.insert("OPTIONS".to_owned());
        if described.contains("GET") {
            expected.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, expected, "{path}");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let status = node.request(method, &path, &[], "").await.status;
            assert_eq!(status != 405, expected.contains(method), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn what_needs_no_token_is_what_the_document_says() {
    let node = Node::configured(with_keys()).await;
    let document = document(&node).await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let method = method.to_uppercase();
            let status = node.request(&method, &filled(path), &[], "").await.status;
            let public = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(status != 401, public, "{method} {path}: {status}");
            assert_eq!(operation["responses"].get("401").is_none(), public, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_sent_again_only_when_it_changed() {
    let node = Node::start().await;
    let first = node.request("GET", "/v1/openapi.json", &[], "").await;
    let etag = first.header("etag").unwrap();
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    let again = node.request("GET", "/v1/openapi.json", &[("If-None-Match", etag)], "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let other = node.request("GET", "/v1/openapi.json", &[("If-None-Match", "\"x\"")], "").await;
    assert_eq!((other.status, other.body), (200, first.body));
}

#[tokio::test]
async fn examples_of_the_document_are_bodies_that_work() {
    let node = Node::configured(with_keys()).await;
    let (document, admin) = (document(&node).await, bearer(Some("root"), "*", "a"));
    let headers = [("Content-Type", JSON), ("Authorization", admin.as_str())];
    let example = |path: &str, method: &str| {
        let body = &document["paths"][path][method]["requestBody"];
        body["content"][JSON]["example"].to_string()
    };
    for (method, path, expected) in [
        ("post", "/v1/rooms", 201),
        ("patch", "/v1/rooms/{room}", 200),
        ("post", "/v1/rooms/{room}/data", 204),
    ] {
        let body = example(path, method);
        let path = path.replace("{room}", "standup");
        let reply = node.request(&method.to_uppercase(), &path, &headers, &body).await;
        assert_eq!(reply.status, expected, "{method} {path}: {}", reply.body);
    }
}

#[tokio::test]
async fn problems_are_among_those_that_the_document_names() {
    let node = Node::start().await;
    let document = document(&node).await;
    for (method, path, body) in [
        ("POST", "/v1/rooms", "{"),
        ("POST", "/v1/rooms", r#"{"x":1}"#),
        ("GET", "/v1/rooms/{room}", ""),
        ("PATCH", "/v1/rooms/{room}", "{}"),
        ("DELETE", "/v1/rooms/{room}/members/{identity}", ""),
        ("GET", "/v1/rooms/{room}/sessions/{token}", ""),
        ("POST", "/v1/rooms/{room}/sessions", "{}"),
        ("POST", "/whip/{room}", "{}"),
        ("POST", "/whep/{room}", "{}"),
    ] {
        let reply = node.request(method, &filled(path), &[("Content-Type", JSON)], body).await;
        let problem = reply.json();
        let status = reply.status.to_string();
        let described = &document["paths"][path][method.to_lowercase()]["responses"][&status];
        let schema = &described["content"]["application/problem+json"]["schema"];
        let types = schema["properties"]["type"]["enum"].as_array().unwrap();
        assert!(types.contains(&problem["type"]), "{method} {path}: {problem}");
    }
    assert_eq!(document["openapi"], json!("3.1.1"));
}

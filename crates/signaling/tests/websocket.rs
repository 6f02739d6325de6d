//! The rules of a WebSocket of events: the handshake, the first message, sizes, rates, who may connect.

mod common;

use std::time::{Duration, Instant};

use common::members::{EventStream, JSON, offer};
use common::{Node, bearer, with_keys};
use serde_json::json;
use sfumato_signaling::{Config, Limits, OriginRule, Rate};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_connection_without_hello_is_closed_after_five_seconds() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let begin = Instant::now();
    let mut silent = node.try_events(&ann, &[]).await.unwrap();
    assert_eq!(silent.close_code().await, Some(4408));
    assert!(begin.elapsed() >= Duration::from_secs(4), "{:?}", begin.elapsed());
    for first in ["{\"type\":\"ping\"}", "{", "[]", "\"hello\""] {
        let mut wrong = node.try_events(&ann, &[]).await.unwrap();
        wrong.send_raw(Message::text(first)).await;
        assert_eq!(wrong.close_code().await, Some(4400), "{first}");
    }
}

#[tokio::test]
async fn big_messages_and_binary_ones_end_the_connection() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let hello = |padding: usize| {
        let pad = "x".repeat(padding);
        Message::text(json!({ "type": "hello", "pad": pad }).to_string())
    };
    let mut small = node.try_events(&ann, &[]).await.unwrap();
    small.send_raw(hello(65_000)).await;
    assert_eq!(small.next().await["type"], "welcome");
    for size in [65_536, 80_000, 900_000] {
        let mut early = node.try_events(&ann, &[]).await.unwrap();
        early.send_raw(hello(size)).await;
        assert_eq!(early.close_code().await, Some(1009), "{size} bytes before hello");
    }
    let (mut events, _) = node.snapshot(&ann).await;
    let name = "n".repeat(1_000_000);
    let reply = events.ask(json!({ "type": "update_me", "name": name })).await;
    assert_eq!(reply["problem"]["status"], 422, "under the bound it is a command like others");
    events.send_raw(Message::text("x".repeat(1_100_000))).await;
    assert_eq!(events.close_code().await, Some(1009));
    for greeted in [false, true] {
        let mut events = match greeted {
            true => node.snapshot(&ann).await.0,
            false => node.try_events(&ann, &[]).await.unwrap(),
        };
        events.send_raw(Message::binary(vec![0, 1, 2])).await;
        assert_eq!(events.close_code().await, Some(1003));
    }
}

#[tokio::test]
async fn bad_messages_are_answered_and_too_many_of_them_end_the_connection() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for text in ["", "{", "null", "{\"type\":\"dance\"}", "{\"type\":1}", nested.as_str()] {
        events.send_raw(Message::text(text)).await;
        let reply = events.next_of("reply").await;
        assert_eq!(reply["problem"]["type"], "urn:sfumato:problem:bad-command", "{text}");
    }
    let long = json!({ "id": "i".repeat(65), "type": "ping" });
    events.send(long).await;
    assert_eq!(events.next_of("reply").await["ok"], false);
    // A good one begins the count anew.
    events.send(json!({ "type": "ping" })).await;
    events.next_of("pong").await;
    for _ in 0..20 {
        events.send_raw(Message::text("{")).await;
    }
    assert_eq!(events.close_code().await, Some(1008));
}

#[tokio::test]
async fn a_flood_of_commands_is_answered_with_429_and_then_ended() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let (mut events, _) = node.snapshot(&ann).await;
    let mut refused = 0;
    // A slow machine lets some more pass.
    for n in 0..2_000 {
        events.send(json!({ "id": n.to_string(), "type": "update_me" })).await;
        let reply = events.next_of("reply").await;
        assert_eq!(reply["id"], n.to_string());
        if reply["ok"] == false {
            assert_eq!(reply["problem"]["status"], 429, "{reply}");
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 1);
    let path = format!("{ann}/commands");
    // The limit is the session's, whichever way the command comes.
    let command = json!({ "type": "ping" }).to_string();
    let mut flood = Vec::new();
    for _ in 0..5 {
        flood.push(node.request("POST", &path, &[("Content-Type", JSON)], &command).await.status);
    }
    assert!(flood.contains(&429), "{flood:?}");
    for _ in 0..2_000 {
        if futures_util::SinkExt::send(&mut events.socket, Message::text("{}")).await.is_err() {
            break;
        }
    }
    // Bad messages within the rate end it too, with the same code.
    assert_eq!(events.close_code().await, Some(1008));
}

#[tokio::test]
async fn pages_of_other_sites_may_not_connect() {
    let cors_origins = vec![OriginRule::parse("https://app.example").unwrap()];
    let node = Node::configured(Config { cors_origins, ..Config::default() }).await;
    let ann = node.join("ann", "Aa").await;
    let connect = async |origin: &str| node.try_events(&ann, &[("Origin", origin)]).await.err();
    assert_eq!(connect("https://evil.example").await, Some(403));
    assert_eq!(connect("null").await, Some(403));
    assert_eq!(connect("https://app.example").await, None);
    assert_eq!(connect(&format!("http://{}", node.address)).await, None, "its own page");
    let path = format!("{ann}/events");
    let stream = EventStream::open(&node, &path, &[("Origin", "https://evil.example")]).await;
    assert!(stream.head.starts_with("HTTP/1.1 403"), "{}", stream.head);
    let stream = EventStream::open(&node, &path, &[("Origin", "https://app.example")]).await;
    assert!(stream.head.contains("access-control-allow-origin: https://app.example"));
}

#[tokio::test]
async fn the_token_comes_with_the_request_or_with_hello_and_owns_the_session() {
    let node = Node::configured(with_keys()).await;
    let token = |identity: &str| bearer(Some(identity), "r", "ps");
    let (ann, bob) = (token("ann"), token("bob"));
    let body = json!({ "sdp": offer("Aa") });
    let session = node.join_with("r", &[("Authorization", &ann)], &body).await.session().0;
    let plain = |token: &str| token.strip_prefix("Bearer ").unwrap().to_owned();

    let mut events = node.try_events(&session, &[("Authorization", &ann)]).await.unwrap();
    events.send(json!({ "type": "hello" })).await;
    assert_eq!(events.next().await["type"], "welcome");
    let mut events = node.try_events(&session, &[]).await.unwrap();
    events.send(json!({ "type": "hello", "token": plain(&ann) })).await;
    assert_eq!(events.next().await["type"], "welcome");

    let refused = node.try_events(&session, &[("Authorization", &bob)]).await.err();
    assert_eq!(refused, Some(404), "as for a session that is not there");
    let refused = node.try_events(&session, &[("Authorization", "Bearer x")]).await.err();
    assert_eq!(refused, Some(401));
    for (hello, code) in [
        (json!({ "type": "hello" }), 4401),
        (json!({ "type": "hello", "token": "x" }), 4401),
        (json!({ "type": "hello", "token": plain(&bob) }), 4404),
    ] {
        let mut events = node.try_events(&session, &[]).await.unwrap();
        events.send(hello).await;
        assert_eq!(events.close_code().await, Some(code));
    }
    let unknown = "/v1/rooms/r/sessions/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(node.try_events(unknown, &[]).await.err(), Some(404));
    let path = format!("{session}/events");
    let accept = ("Accept", "text/event-stream");
    assert_eq!(node.request("GET", &path, &[accept], "").await.status, 401);
    let foreign = [accept, ("Authorization", bob.as_str())];
    assert_eq!(node.request("GET", &path, &foreign, "").await.status, 404);
    let post = async |token: &str| {
        let headers = [("Content-Type", JSON), ("Authorization", token)];
        let path = format!("{session}/commands");
        node.request("POST", &path, &headers, "{\"type\":\"ping\"}").await.status
    };
    assert_eq!((post(&ann).await, post(&bob).await), (200, 404));
}

#[tokio::test]
async fn a_newer_token_of_the_same_identity_goes_on_with_what_it_grants() {
    let node = Node::configured(with_keys()).await;
    let token = |identity: &str, room: &str, grants: &str| bearer(Some(identity), room, grants);
    let plain = |token: String| token.strip_prefix("Bearer ").unwrap().to_owned();
    let ann = token("ann", "r", "ps");
    let body = json!({ "sdp": offer("Aa") });
    let session = node.join_with("r", &[("Authorization", &ann)], &body).await.session().0;
    let mut events = node.try_events(&session, &[("Authorization", &ann)]).await.unwrap();
    events.send(json!({ "type": "hello" })).await;
    events.next_of("snapshot").await;
    let refresh = |token: String| json!({ "type": "refresh_token", "token": token });
    for (token, status) in [
        ("x".to_owned(), 401),
        ("a b\n".to_owned(), 401),
        (plain(token("bob", "r", "ps")), 403),
        (plain(token("boss", "*", "a")), 403),
        (plain(token("ann", "s", "ps")), 403),
    ] {
        let reply = events.ask(refresh(token)).await;
        assert_eq!(reply["problem"]["status"], status, "{reply}");
    }
    events.send(refresh(plain(token("ann", "r", "s")))).await;
    let told = events.next_of("permissions").await;
    assert_eq!(told["permissions"]["publish"], json!([]));
    assert_eq!(told["permissions"]["subscribe"], true);
}

#[tokio::test]
async fn handshakes_that_break_the_rules_are_refused() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let path = format!("{ann}/events");
    let ask = async |headers: &[(&str, &str)]| node.request("GET", &path, headers, "").await;
    let (upgrade, key) =
        (("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="));
    let old = ask(&[upgrade, key, ("Sec-WebSocket-Version", "8")]).await;
    assert_eq!((old.status, old.header("sec-websocket-version")), (426, Some("13")));
    // `Node::request` sends `Connection: close`.
    let thirteen = ("Sec-WebSocket-Version", "13");
    assert_eq!(ask(&[upgrade, key, thirteen]).await.status, 400);
    assert_eq!(ask(&[upgrade, ("Sec-WebSocket-Key", "short"), thirteen]).await.status, 400);
}

#[tokio::test]
async fn events_outlast_the_time_that_a_connection_may_be_idle() {
    let idle_timeout = Duration::from_millis(200);
    let limits =
        Limits { idle_timeout, per_token: Rate { per_second: 0.0, burst: 0 }, ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    let (mut events, _) = node.snapshot(&ann).await;
    let mut stream = EventStream::open(&node, &format!("{bob}/events"), &[]).await;
    stream.next_of("snapshot").await;
    tokio::time::sleep(8 * idle_timeout).await;
    node.join("carl", "Aa").await;
    for _ in 0..2 {
        // Both are still there and hear of the newcomer.
        events.next_of("member").await;
        stream.next_of("member").await;
        node.join("dora", "Aa").await;
    }
}

#[tokio::test]
async fn connections_of_events_are_counted() {
    let node = Node::start().await;
    let ann = node.join("ann", "Aa").await;
    let metrics = async |name: &str| {
        let text = node.request("GET", "/metrics", &[], "").await.body;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let (mut events, snapshot) = node.snapshot(&ann).await;
    assert_eq!(metrics("sfumato_events_connections{kind=\"websocket\"}").await, "1");
    assert_eq!(metrics("sfumato_events_snapshots_total").await, "1");
    let (mut again, _) = node.events(&ann, snapshot["seq"].as_u64()).await;
    assert_eq!(events.close_code().await, Some(4409));
    assert_eq!(metrics("sfumato_events_resumed_total").await, "1");
    again.ask(json!({ "type": "leave" })).await;
    assert_eq!(again.close_code().await, Some(1000));
    assert_eq!(metrics("sfumato_events_connections_ended_total{reason=\"replaced\"}").await, "1");
    assert_eq!(metrics("sfumato_events_connections_ended_total{reason=\"session\"}").await, "1");
    assert_eq!(metrics("sfumato_events_connections{kind=\"websocket\"}").await, "0");
}

#[tokio::test]
async fn connections_of_events_count_against_the_limit_of_requests() {
    let per_token = Rate { per_second: 0.01, burst: 3 };
    let limits = Limits { per_token, ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let (ann, bob) = (node.join("ann", "Aa").await, node.join("bob", "Aa").await);
    for _ in 0..3 {
        node.snapshot(&ann).await;
    }
    assert_eq!(node.try_events(&ann, &[]).await.err(), Some(429));
    // The commands of a session count with its events.
    assert_eq!(node.command(&ann, &json!({ "type": "ping" })).await.status, 429);
    node.snapshot(&bob).await;
}

//! Access control: bearer tokens, rate limits, cross-origin requests, slow clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{
    FRAGMENT, Node, PUBLISH, SDP, WATCH, bearer, bearer_of, trickle, with_ice_servers, with_keys,
};
use model::{ParticipantId, TrackSource};
use sfumato_signaling::{Config, Limits, NewToken, OriginRule, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn post_as(node: &Node, path: &str, token: &str, offer: &str) -> common::Reply {
    let headers = [("Content-Type", SDP), ("Authorization", token)];
    node.request("POST", path, &headers, offer).await
}

#[tokio::test]
async fn tokens_open_what_they_grant() {
    let node = Node::configured(with_keys()).await;
    let nobody = node.post("/whip/r", PUBLISH).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"sfumato\""));
    let forged = post_as(&node, "/whip/r", "Bearer a.b.c", PUBLISH).await;
    assert_eq!(forged.status, 401);
    assert!(forged.header("www-authenticate").unwrap().contains("invalid_token"));

    let ann = bearer(Some("ann"), "r", "p");
    post_as(&node, "/whip/r", &ann, PUBLISH).await.session();
    assert_eq!(post_as(&node, "/whip/s", &ann, PUBLISH).await.status, 403);
    let watches = post_as(&node, "/whep/r", &ann, WATCH).await;
    assert!(watches.status == 403 && watches.body.contains("not grant subscribe"), "{watches:?}");
    assert_eq!(post_as(&node, "/whip/r?participant=bob", &ann, PUBLISH).await.status, 403);
    let bob = bearer(Some("bob"), "*", "s");
    post_as(&node, "/whep/r", &bob, WATCH).await.session();
    let sends = post_as(&node, "/whip/r", &bob, PUBLISH).await;
    assert!(sends.status == 403 && sends.body.contains("not grant publish"), "{sends:?}");

    let listing = async |token: Option<&str>| {
        let headers: Vec<_> = token.map(|token| ("Authorization", token)).into_iter().collect();
        node.request("GET", "/api/rooms/r", &headers, "").await
    };
    assert_eq!(listing(None).await.status, 401);
    assert_eq!(listing(Some(&ann)).await.status, 403);
    let seen = listing(Some(&bob)).await;
    assert_eq!(seen.json()["participants"][0]["id"], "ann", "the sub of the token");
}

#[tokio::test]
async fn a_source_that_the_token_does_not_grant_is_not_published_over_whip_either() {
    let node = Node::configured(with_keys()).await;
    let token = |publish: &[TrackSource], hidden| {
        let publish = publish.iter().copied().collect();
        let (room, identity) = ("r".to_owned(), Some(ParticipantId::parse("ann").unwrap()));
        bearer_of(NewToken { room, identity, publish, hidden, ..NewToken::default() })
    };
    let sound = token(&[TrackSource::Microphone], false);
    let refused = post_as(&node, "/whip/r", &sound, PUBLISH).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("source camera may not be published"), "{refused:?}");
    let all = [TrackSource::Microphone, TrackSource::Camera];
    let ghost = post_as(&node, "/whip/r", &token(&all, true), PUBLISH).await;
    assert_eq!(ghost.status, 403, "who is hidden publishes nothing: {ghost:?}");
    post_as(&node, "/whip/r", &token(&all, false), PUBLISH).await.session();
}

#[tokio::test]
async fn hidden_members_are_listed_to_administrators_alone() {
    let node = Node::configured(with_keys()).await;
    let room = || "r".to_owned();
    let identity = Some(ParticipantId::parse("ghost").unwrap());
    let ghost =
        NewToken { room: room(), identity, subscribe: true, hidden: true, ..NewToken::default() };
    let headers = [("Content-Type", SDP), ("Authorization", &bearer_of(ghost))];
    node.request("POST", "/v1/rooms/r/sessions", &headers, WATCH).await.session();
    post_as(&node, "/whip/r", &bearer(Some("ann"), "r", "p"), PUBLISH).await.session();
    let listed = async |grants: &str, query: &str| {
        let token = bearer(None, "r", grants);
        let path = format!("/api/rooms/r{query}");
        node.request("GET", &path, &[("Authorization", &token)], "").await
    };
    let names = |reply: &common::Reply| -> Vec<String> {
        let listing = reply.json();
        let all = listing["participants"].as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&listed("sa", "").await), ["ghost", "ann"]);
    assert_eq!(names(&listed("s", "").await), ["ann"]);
    assert_eq!(listed("s", "?after=ghost").await.status, 410, "as for a name that is not there");
    for path in ["/v1/rooms/r/members", "/v1/rooms/r/members/ghost", "/api/rooms/r/stats"] {
        let token = bearer(Some("ann"), "r", "ps");
        let reply = node.request("GET", path, &[("Authorization", &token)], "").await;
        assert_eq!(reply.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_subject_with_too_many_sessions_gets_429_and_is_told_why() {
    let limits = room::Limits { sessions_per_subject: 1, ..room::Limits::default() };
    let node = Node::with(with_keys(), limits).await;
    let (ann, bob) = (bearer(Some("ann"), "*", "s"), bearer(Some("bob"), "*", "s"));
    post_as(&node, "/whep/r", &ann, WATCH).await.session();
    let second = post_as(&node, "/whep/other", &ann, WATCH).await;
    assert_eq!((second.status, second.header("retry-after")), (429, Some("5")));
    assert!(second.body.contains("at most 1 are allowed for one token subject"), "{second:?}");
    post_as(&node, "/whep/r", &bob, WATCH).await.session();
}

#[tokio::test]
async fn sessions_of_others_look_as_if_they_were_not_there() {
    let node = Node::configured(with_keys()).await;
    let ann = bearer(Some("ann"), "r", "ps");
    let (session, etag) = post_as(&node, "/whip/r", &ann, PUBLISH).await.session();
    let touch = async |method: &str, path: &str, token: &str| {
        let mut headers = vec![("Content-Type", FRAGMENT), ("If-Match", etag.as_str())];
        if !token.is_empty() {
            headers.push(("Authorization", token));
        }
        node.request(method, path, &headers, &trickle(PUBLISH)).await.status
    };
    let nowhere = "/whip/r/sessions/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let bob = bearer(Some("bob"), "r", "ps");
    let elsewhere = bearer(Some("ann"), "s", "ps");
    for method in ["GET", "PATCH", "DELETE"] {
        for path in [session.as_str(), nowhere] {
            assert_eq!(touch(method, path, "").await, 401, "{method}");
            assert_eq!(touch(method, path, &bob).await, 404, "{method}");
            assert_eq!(touch(method, path, &elsewhere).await, 404, "{method}");
        }
    }
    assert_eq!(touch("PATCH", &session, &ann).await, 204);
    let admin = bearer(None, "r", "a");
    assert_eq!(touch("DELETE", &session, &admin).await, 200);
}

#[tokio::test]
async fn turn_passwords_are_for_those_with_a_token() {
    let config = Config { ice_servers: with_ice_servers().ice_servers, ..with_keys() };
    let node = Node::configured(config).await;
    let seen = node.request("GET", "/api/config", &[], "").await;
    assert_eq!(seen.json()["auth"], "token");
    assert!(!seen.body.contains("turn-password") && seen.body.contains("stun:s.example"));
    let token = bearer(Some("ann"), "r", "p");
    let seen = node.request("GET", "/api/config", &[("Authorization", token.as_str())], "").await;
    assert!(seen.body.contains("turn-password"));
    let refused = node.post("/whip/r", PUBLISH).await;
    assert!(refused.all("link").is_empty());
}

#[tokio::test]
async fn metrics_are_for_administrators_when_tokens_are_asked_for() {
    let node = Node::configured(with_keys()).await;
    let read = async |token: Option<String>| {
        let headers: Vec<_> =
            token.as_deref().map(|token| ("Authorization", token)).into_iter().collect();
        node.request("GET", "/metrics", &headers, "").await.status
    };
    assert_eq!(read(None).await, 401);
    assert_eq!(read(Some(bearer(None, "r", "a"))).await, 403);
    assert_eq!(read(Some(bearer(None, "*", "ps"))).await, 403);
    assert_eq!(read(Some(bearer(None, "*", "a"))).await, 200);
    assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn requests_are_limited_by_address() {
    let per_address = Rate { per_second: 0.5, burst: 3 };
    let limits = Limits { per_address, ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let (session, _) = node.post("/whip/r", PUBLISH).await.session();
    assert_eq!(node.request("PATCH", &session, &[], "").await.status, 415);
    assert_eq!(node.request("DELETE", &session, &[], "").await.status, 200);
    let refused = node.post("/whip/r", PUBLISH).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(node.request("GET", "/api/config", &[], "").await.status, 200, "reading goes on");
}

/// The session API and the admin API share the limit with WHIP and WHEP.
#[tokio::test]
async fn sessions_commands_and_the_admin_api_are_limited_by_address() {
    let per_address = Rate { per_second: 0.5, burst: 3 };
    let limits = Limits { per_address, ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let joined = node.post("/v1/rooms/r/sessions", PUBLISH).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let session = joined.header("location").unwrap().to_owned();
    let json = [("content-type", "application/json")];
    let commands = format!("{session}/commands");
    let ping = r#"{"type":"ping"}"#;
    assert_eq!(node.request("POST", &commands, &json, ping).await.status, 200);
    assert_eq!(node.request("POST", "/v1/rooms", &json, "{}").await.status, 201);
    let floods = [
        ("POST", "/v1/rooms/r/sessions", "{}"),
        ("POST", commands.as_str(), ping),
        ("PATCH", session.as_str(), "{}"),
        ("DELETE", session.as_str(), ""),
        ("POST", "/v1/rooms", "{}"),
        ("PATCH", "/v1/rooms/r", "{}"),
        ("DELETE", "/v1/rooms/r/members/ann", ""),
        ("POST", "/v1/rooms/r/data", "{}"),
    ];
    for (method, path, body) in floods {
        let refused = node.request(method, path, &json, body).await;
        assert_eq!(refused.status, 429, "{method} {path}");
        assert!(refused.header("retry-after").is_some(), "{method} {path}");
    }
    assert_eq!(node.request("GET", "/v1/rooms/r", &[], "").await.status, 200, "reading goes on");
}

#[tokio::test]
async fn requests_are_limited_by_token_and_by_session() {
    let per_token = Rate { per_second: 0.1, burst: 2 };
    let limits = Limits { per_token, ..Limits::default() };
    let node = Node::configured(Config { limits: limits.clone(), ..with_keys() }).await;
    let (ann, bob) = (bearer(Some("ann"), "r", "p"), bearer(Some("bob"), "r", "p"));
    assert_eq!(post_as(&node, "/whip/r", &ann, PUBLISH).await.status, 201);
    assert_eq!(post_as(&node, "/whip/r", &ann, PUBLISH).await.status, 201);
    assert_eq!(post_as(&node, "/whip/r", &ann, PUBLISH).await.status, 429);
    assert_eq!(post_as(&node, "/whip/r", &bob, PUBLISH).await.status, 201);

    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let (session, etag) = node.post("/whip/r", PUBLISH).await.session();
    for expected in [204, 204, 429] {
        let reply = node.patch(&session, Some(&etag), &trickle(PUBLISH)).await;
        assert_eq!(reply.status, expected);
    }
}

// Threats, row 42: a foreign page's name that resolves to this machine (DNS rebinding) makes the page's origin that of
// the node.
#[tokio::test]
async fn without_authentication_foreign_names_are_refused() {
    let node = Node::configured(Config { local_names_only: true, ..Config::default() }).await;
    let get = async |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        node.exchange(request.as_bytes(), false).await
    };
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "app.localhost"] {
        assert_eq!(get("/api/rooms", host).await.status, 200, "{host}");
    }
    for path in ["/", "/api/rooms", "/metrics", "/whep/r", "/whip/r/sessions/x"] {
        assert_eq!(get(path, "rebound.example:8080").await.status, 421, "{path}");
    }
    assert_eq!(get("http://rebound.example/", "localhost").await.status, 421);
    let posted = node.post("/whip/r", PUBLISH).await;
    assert_eq!((posted.status, node.commands().len()), (421, 0));
    assert!(posted.body.contains("auth.insecure_no_auth"), "{}", posted.body);

    let open = Node::start().await;
    assert_eq!(
        open.request("GET", "/api/rooms", &[], "").await.status,
        200,
        "any name, when asked for"
    );
}

#[tokio::test]
async fn origins_on_the_list_may_call_and_others_may_not() {
    let cors_origins = vec![OriginRule::parse("https://app.example").unwrap()];
    let node = Node::configured(Config { cors_origins, ..with_ice_servers() }).await;
    let preflight = |origin: &'static str| {
        [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type, authorization"),
        ]
    };
    let allowed = node.request("OPTIONS", "/whip/r", &preflight("https://app.example"), "").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    for needed in ["POST", "PATCH", "DELETE"] {
        assert!(allowed.header("access-control-allow-methods").unwrap().contains(needed));
    }
    for needed in ["Authorization", "Content-Type", "If-Match"] {
        assert!(allowed.header("access-control-allow-headers").unwrap().contains(needed));
    }
    assert!(allowed.all("link").is_empty(), "a preflight carries no TURN password");
    let other = node.request("OPTIONS", "/whip/r", &preflight("https://evil.example"), "").await;
    assert!(other.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
    assert!(other.all("link").is_empty());

    let headers = [("Content-Type", SDP), ("Origin", "https://app.example")];
    let made = node.request("POST", "/whip/r", &headers, PUBLISH).await;
    assert_eq!(made.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(made.header("vary"), Some("Origin"));
    let exposed = made.header("access-control-expose-headers").unwrap();
    for name in ["Location", "ETag", "Link", "Accept-Patch"] {
        assert!(exposed.contains(name), "{name}");
    }
    let refused = node.request("POST", "/whip/r", &headers[1..], "").await;
    assert_eq!(refused.status, 415);
    assert!(refused.header("access-control-allow-origin").is_some(), "errors can be read too");
}

/// The server's answer to these bytes, on a connection that sends nothing more, and how long the connection lasts.
async fn stall(node: &Node, bytes: &[u8]) -> (String, Duration) {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let start = Instant::now();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection stays open");
    (String::from_utf8(answer).unwrap(), start.elapsed())
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_end_the_connection() {
    assert_eq!(Limits::default().header_timeout, Duration::from_secs(5));
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    for bytes in [&b""[..], b"POST /whip", b"POST /whip/r HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let (_, took) = stall(&node, bytes).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let body = format!(
        "POST /whip/r HTTP/1.1\r\nHost: x\r\nContent-Type: {SDP}\r\nContent-Length: 100\r\n\r\nv=0"
    );
    let (answer, took) = stall(&node, body.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let node = Node::start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for request in [long, many] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        // The server may close the connection before all bytes are written.
        let _may_fail = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).await.is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 431");
        }
    }
    assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
}

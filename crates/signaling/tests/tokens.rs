//! Tokens over HTTP: keys that come from a URL, sessions of others, and what happens when a token expires.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{KEY, Node, PUBLISH, Reply, SDP, WATCH};
use sfumato_signaling::{
    AuthConfig, Config, ExpiredSessions, FixedKeys, KeysUrl, NewToken, Outbound, Secret,
    SigningKey, TokenConfig, mint, new_keys,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

fn tokens(expiry_grace: Duration, expired_sessions: ExpiredSessions) -> Config {
    let mut keys = FixedKeys::default();
    keys.add_secret("k", &Secret::new(KEY)).unwrap();
    let tokens = TokenConfig { keys, expiry_grace, expired_sessions, ..TokenConfig::default() };
    Config { auth: AuthConfig::Tokens(tokens), ..Config::default() }
}

fn guest(room: &str, ttl: u64) -> NewToken {
    NewToken {
        room: room.to_owned(),
        publish: model::Sources::ALL,
        subscribe: true,
        ttl: Duration::from_secs(ttl),
        ..NewToken::default()
    }
}

fn signed(token: &NewToken) -> String {
    mint(&SigningKey::secret("k", &Secret::new(KEY)), token, SystemTime::now()).unwrap()
}

async fn call(node: &Node, method: &str, path: &str, token: &str, kind: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    node.request(method, path, &[("Authorization", &bearer), ("Content-Type", kind)], body).await
}

async fn join(node: &Node, room: &str, token: &str) -> String {
    let path = format!("/v1/rooms/{room}/sessions");
    call(node, "POST", &path, token, SDP, PUBLISH).await.session().0
}

/// The events of a session as they come, as JSON; ends with the connection.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn of(node: &Node, session: &str, token: &str) -> Self {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let request = format!(
            "GET {session}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event of this type; others are passed over.
    async fn next(&mut self, kind: &str) -> serde_json::Value {
        let find = async {
            loop {
                let mut line = String::new();
                assert!(
                    self.0.read_line(&mut line).await.unwrap() > 0,
                    "the events ended before {kind}"
                );
                if let Some(data) = line.strip_prefix("data:") {
                    let event: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
                    if event["type"] == kind {
                        return event;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), find).await.unwrap()
    }
}

#[tokio::test]
async fn a_member_is_told_of_the_expiry_and_leaves_unless_a_newer_token_comes() {
    let node = Node::configured(tokens(Duration::ZERO, ExpiredSessions::Members)).await;
    let (first, second) = (signed(&guest("r", 3)), signed(&guest("r", 7)));
    let session = join(&node, "r", &first).await;
    let mut events = Events::of(&node, &session, &first).await;
    let soon = events.next("token_expiring").await;
    assert!(soon["seconds"].as_u64().unwrap() <= 3, "{soon}");

    // Another guest's token does not open this session, not even to bring a newer token.
    let commands = format!("{session}/commands");
    let refresh = format!("{{\"type\":\"refresh_token\",\"token\":\"{second}\"}}");
    let json = "application/json";
    assert_eq!(call(&node, "POST", &commands, &second, json, &refresh).await.status, 404);
    let named =
        NewToken { identity: Some(model::ParticipantId::parse("ann").unwrap()), ..guest("r", 60) };
    for other in [signed(&named), signed(&guest("s", 60)), "a.b.c".into()] {
        let refresh = format!("{{\"type\":\"refresh_token\",\"token\":\"{other}\"}}");
        let refused = call(&node, "POST", &commands, &first, json, &refresh).await;
        assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    }

    let refreshed = call(&node, "POST", &commands, &first, json, &refresh).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let soon = events.next("token_expiring").await;
    assert!((3..=7).contains(&soon["seconds"].as_u64().unwrap()), "{soon}");
    // The session belongs to the newer token now.
    assert_eq!(
        call(&node, "POST", &commands, &second, json, "{\"type\":\"ping\"}").await.status,
        200
    );
    let closed = events.next("closed").await;
    assert_eq!(closed["reason"], "expired", "{closed}");
    gone(&node).await;
}

/// Waits until no session is left.
async fn gone(node: &Node) {
    let begin = std::time::Instant::now();
    while node.signaling.core().counts().sessions > 0 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the sessions stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whip_and_whep_sessions_outlive_their_tokens_unless_the_operator_wants_otherwise() {
    let token = signed(&guest("r", 1));
    let sessions = async |which| {
        let node = Node::configured(tokens(Duration::ZERO, which)).await;
        call(&node, "POST", "/whip/r", &token, SDP, PUBLISH).await.session();
        call(&node, "POST", "/whep/r", &token, SDP, WATCH).await.session();
        node
    };
    let (all, members) =
        (sessions(ExpiredSessions::All).await, sessions(ExpiredSessions::Members).await);
    gone(&all).await;
    assert_eq!(members.signaling.core().counts().sessions, 2);
}

// Threats, row 39 and 43: a token without a subject says nothing about who its bearer is, so nobody else's counts as the same.
#[tokio::test]
async fn a_guest_cannot_use_the_session_of_another_guest() {
    let node = Node::configured(tokens(Duration::ZERO, ExpiredSessions::Members)).await;
    let (one, two) = (signed(&guest("r", 600)), signed(&guest("r", 601)));
    let (session, _) = call(&node, "POST", "/whip/r", &one, SDP, PUBLISH).await.session();
    assert_eq!(call(&node, "DELETE", &session, &two, SDP, "").await.status, 404);
    let admin = signed(&NewToken { admin: true, ..guest("r", 600) });
    let (other, _) = call(&node, "POST", "/whip/r", &two, SDP, PUBLISH).await.session();
    assert_eq!(call(&node, "DELETE", &other, &admin, SDP, "").await.status, 200);
    assert_eq!(call(&node, "DELETE", &session, &one, SDP, "").await.status, 200);
}

#[tokio::test]
async fn the_key_of_a_token_is_fetched_when_it_is_not_known_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let made = new_keys().unwrap();
    // The first fetch finds no key yet: the provider makes a new one between the node's start and the first token.
    let (empty, set) = ("{\"keys\":[]}".to_owned(), made.set.clone());
    tokio::spawn(async move {
        for body in [empty, set] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _head = stream.read(&mut [0; 4_096]).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    let outbound = Outbound::new(vec!["127.0.0.1".parse().unwrap()], None).unwrap();
    let keys = KeysUrl::new(url.parse().unwrap(), outbound).with_pause(Duration::ZERO);
    let tokens = TokenConfig { url: Some(Arc::new(keys)), ..TokenConfig::default() };
    let node =
        Node::configured(Config { auth: AuthConfig::Tokens(tokens), ..Config::default() }).await;
    let key = SigningKey::ed25519(None, &made.private).unwrap();
    let token = mint(&key, &guest("r", 60), SystemTime::now()).unwrap();
    let begin = std::time::Instant::now();
    // A request may come before the fetch of the start, and then the set is still empty.
    while call(&node, "POST", "/whip/r", &token, SDP, PUBLISH).await.status != 201 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the key does not come");
    }
}

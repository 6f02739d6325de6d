//! Webhooks of real rooms: which events a member's life makes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Node, PUBLISH, SDP, WATCH};
use model::{CloseReason, Command, Event, Permissions, SessionId, Sources, TrackSource};
use serde_json::{Value, json};
use sfumato_signaling::{Config, Outbound, WebhookConfig, WebhookLimits, Webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A node with a receiver of its webhooks.
struct Told {
    node: Node,
    events: Arc<Mutex<Vec<Value>>>,
    seen: usize,
    dir: std::path::PathBuf,
}

impl Told {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = events.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut text, mut part) = (String::new(), [0; 16_384]);
                let body = loop {
                    let len = stream.read(&mut part).await.unwrap();
                    text.push_str(std::str::from_utf8(&part[..len]).unwrap());
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                    if let Some(Ok(body)) = body.map(serde_json::from_str::<Value>) {
                        break body;
                    }
                };
                kept.lock().unwrap().push(body);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        });
        let name = format!("sfumato-told-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::remove_dir_all(&dir).unwrap_or_default();
        let config = WebhookConfig {
            urls: vec![url],
            secrets: vec!["a secret of the tests, long".parse().unwrap()],
            dir: dir.clone(),
            limits: WebhookLimits::default(),
        };
        let outbound = Outbound::new(vec!["127.0.0.1".parse().unwrap()], None).unwrap();
        let webhooks = Some(Arc::new(Webhooks::open(config, outbound).unwrap()));
        let node = Node::configured(Config { webhooks, ..Config::default() }).await;
        Self { node, events, seen: 0, dir }
    }

    /// The sessions that the workers were told of, in their order.
    fn opened(&self) -> Vec<SessionId> {
        let commands = self.node.commands.lock().unwrap();
        let open = |command: &Command| match command {
            Command::Open(plan) => Some(plan.id),
            _ => None,
        };
        commands.iter().filter_map(open).collect()
    }

    async fn join(&self, identity: &str) -> SessionId {
        let path = format!("/v1/rooms/r/sessions?identity={identity}&name=A%20name");
        self.node.request("POST", &path, &[("Content-Type", SDP)], PUBLISH).await.session();
        *self.opened().last().unwrap()
    }

    fn tell(&self, event: Event) {
        self.node.events.send(event).unwrap();
    }

    /// The next events, and no other ones.
    async fn next(&mut self, types: &[&str]) -> Vec<Value> {
        let begin = Instant::now();
        while self.events.lock().unwrap().len() < self.seen + types.len() {
            let so_far = self.events.lock().unwrap()[self.seen..].to_vec();
            assert!(begin.elapsed() < Duration::from_secs(60), "wanted {types:?}: {so_far:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let next = self.events.lock().unwrap()[self.seen..].to_vec();
        let got: Vec<&str> = next.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(got, types);
        self.seen += types.len();
        next
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

#[tokio::test]
async fn a_member_joins_when_it_is_connected_and_leaves_with_reason_and_duration() {
    let mut told = Told::start("life").await;
    let session = told.join("ann").await;
    let started = told.next(&["room_started"]).await;
    assert_eq!(started[0]["room"], json!({ "id": "r" }));
    assert!(started[0].get("member").is_none());

    told.tell(Event::Connected { session });
    let joined = told.next(&["member_joined", "track_published", "track_published"]).await;
    assert_eq!(
        joined[0]["member"],
        json!({ "identity": "ann", "name": "A name", "metadata": "", "kind": "session", "hidden": false })
    );
    let sources: Vec<&Value> = joined[1..].iter().map(|event| &event["track"]["source"]).collect();
    assert!(sources.contains(&&json!("camera")) && sources.contains(&&json!("microphone")));
    assert!(joined[0]["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(joined[0]["node"], started[0]["node"]);

    told.tell(Event::Closed { session, reason: CloseReason::PeerClosed });
    let left =
        told.next(&["track_unpublished", "track_unpublished", "member_left", "room_ended"]).await;
    assert_eq!(
        (&left[2]["member"]["identity"], &left[2]["reason"]),
        (&json!("ann"), &json!("peer_closed"))
    );
    assert!(left[2]["duration_seconds"].as_u64().unwrap() < 60);
    let ids: std::collections::HashSet<String> =
        told.events.lock().unwrap().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), told.seen);
}

#[tokio::test]
async fn who_never_connects_joins_never_and_viewers_are_no_members() {
    let mut told = Told::start("never").await;
    let session = told.join("ann").await;
    told.next(&["room_started"]).await;
    told.node.post("/whep/r", WATCH).await.session();
    let viewer = *told.opened().last().unwrap();
    told.tell(Event::Connected { session: viewer });
    told.tell(Event::Closed { session, reason: CloseReason::NeverConnected });
    told.tell(Event::Closed { session: viewer, reason: CloseReason::PeerClosed });
    told.next(&["room_ended"]).await;
}

#[tokio::test]
async fn a_track_that_may_not_be_published_any_more_is_unpublished() {
    let mut told = Told::start("forbidden").await;
    let session = told.join("ann").await;
    told.tell(Event::Connected { session });
    told.next(&["room_started", "member_joined", "track_published", "track_published"]).await;
    let may = |publish| {
        let permissions = Permissions { publish, ..Permissions::ALL };
        let core = told.node.signaling.core();
        core.change_permissions_of(Instant::now(), session, permissions).unwrap();
    };
    may(Sources::NONE.with(TrackSource::Microphone));
    may(Sources::ALL);
    let events = told.next(&["track_unpublished", "track_published"]).await;
    assert!(events.iter().all(|event| event["track"]["source"] == "camera"));
}

#[tokio::test]
async fn a_member_that_is_lost_and_comes_back_neither_leaves_nor_joins() {
    let mut told = Told::start("lost").await;
    let first = told.join("ann").await;
    told.tell(Event::Connected { session: first });
    told.next(&["room_started", "member_joined", "track_published", "track_published"]).await;
    told.tell(Event::Lost { session: first });
    told.tell(Event::Back { session: first });
    told.tell(Event::Closed { session: first, reason: CloseReason::ConsentExpired });
    // It comes back with a fresh session, whose tracks are new.
    let second = told.join("ann").await;
    told.tell(Event::Connected { session: second });
    let types = ["track_unpublished", "track_unpublished", "track_published", "track_published"];
    let moved = told.next(&types).await;
    assert!(moved.iter().all(|event| event["member"]["identity"] == "ann"));
    assert_ne!(moved[0]["track"]["id"], moved[2]["track"]["id"]);
}

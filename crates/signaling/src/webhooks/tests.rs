//! Delivery to a receiver on loopback: order, repetition, restarts, bounds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::event::What;
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as the receiver got it.
#[derive(Debug, Clone)]
struct Got {
    headers: HashMap<String, String>,
    body: String,
    room: String,
}

impl Got {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

type Judge = Box<dyn Fn(&Got) -> &'static str + Send + Sync>;

/// A receiver. `judge` says with which status a request is answered.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    async fn start(judge: Judge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (kept, judge) = (got.clone(), Arc::new(judge));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (kept, judge) = (kept.clone(), judge.clone());
                tokio::spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    let status = judge(&request);
                    kept.lock().unwrap().push(request);
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    // The node may have been stopped in between.
                    let _may_fail = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, got }
    }

    fn url(&self) -> OutboundUrl {
        format!("http://{}/hook?token=hidden", self.address).parse().unwrap()
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Got> {
        let begin = Instant::now();
        while self.got().len() < count {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} of {count}", self.got().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.got()
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Option<Got> {
    let mut text = Vec::new();
    loop {
        let mut part = [0; 4_096];
        let len = stream.read(&mut part).await.ok().filter(|len| *len > 0)?;
        text.extend(&part[..len]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let headers: HashMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        if body.len() >= headers["content-length"].parse().unwrap() {
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            let room = json["room"]["id"].as_str().unwrap().to_owned();
            return Some(Got { headers, body: body.to_owned(), room });
        }
    }
}

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sfumato-hooks-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).unwrap_or_default();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn fast() -> WebhookLimits {
    let (first_pause, longest_pause) = (Duration::from_millis(20), Duration::from_millis(100));
    WebhookLimits { first_pause, longest_pause, ..WebhookLimits::default() }
}

async fn open(dir: &Dir, urls: Vec<OutboundUrl>, limits: WebhookLimits) -> Arc<Webhooks> {
    let secrets = vec![SECRET.parse().unwrap()];
    let config = WebhookConfig { urls, secrets, dir: dir.0.clone(), limits };
    let begin = std::time::Instant::now();
    loop {
        match Webhooks::open(config.clone(), Outbound::to_loopback()) {
            Ok(webhooks) => return Arc::new(webhooks),
            // The tasks of an aborted run end when the runtime comes to them, and hold the file until then.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn happens(webhooks: &Webhooks, room: &str) {
    let room = model::RoomId::parse(room).unwrap();
    let at = SystemTime::now();
    webhooks.note(Happening { room, at, what: What::RoomStarted });
}

fn ids(got: &[Got], room: &str) -> Vec<String> {
    got.iter().filter(|got| got.room == room).map(|got| got.id().to_owned()).collect()
}

#[tokio::test]
async fn events_are_signed_and_come_in_order() {
    let (dir, receiver) =
        (Dir::new("order"), Receiver::start(Box::new(|_| "204 No Content")).await);
    let webhooks = open(&dir, vec![receiver.url()], fast()).await;
    let running = tokio::spawn(webhooks.clone().run());
    for _ in 0..20 {
        happens(&webhooks, "a");
    }
    let got = receiver.wait_for(20).await;
    let of_a = ids(&got, "a");
    let bodies: Vec<String> = got.iter().map(|got| got.body.clone()).collect();
    assert!(of_a.iter().zip(&bodies).all(|(id, body)| body.contains(id)));
    let mut unique = of_a.clone();
    unique.dedup();
    assert_eq!(unique.len(), 20);
    let first = &got[0];
    let seconds: u64 = first.headers["webhook-timestamp"].parse().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(seconds) < 60);
    let secrets = [SECRET.parse().unwrap()];
    let expected = sign::signatures(&secrets, first.id(), seconds, &first.body);
    assert_eq!(first.headers["webhook-signature"], expected);
    assert_eq!(first.headers["content-type"], "application/json");
    webhooks.stop().await;
    running.await.unwrap();
    assert_eq!((webhooks.counts.delivered.get(), webhooks.counts.waiting.get()), (20, 0));
}

#[tokio::test]
async fn a_room_whose_event_fails_waits_and_other_rooms_go_on() {
    let failures = Mutex::new(5);
    let judge = move |got: &Got| {
        let mut left = failures.lock().unwrap();
        if got.room == "bad" && *left > 0 {
            *left -= 1;
            // A redirect is a failure too: nobody follows it.
            return if *left % 2 == 0 { "302 Found" } else { "500 Oops" };
        }
        "200 OK"
    };
    let (dir, receiver) = (Dir::new("fail"), Receiver::start(Box::new(judge)).await);
    let webhooks = open(&dir, vec![receiver.url()], fast()).await;
    tokio::spawn(webhooks.clone().run());
    for room in ["bad", "bad", "good", "good", "bad"] {
        happens(&webhooks, room);
    }
    let got = receiver.wait_for(10).await;
    let bad = ids(&got, "bad");
    assert!(bad[..6].iter().all(|id| *id == bad[0]), "the first is repeated with its id: {bad:?}");
    assert!(bad[6] != bad[0] && bad[7] != bad[6] && bad.len() == 8);
    let place = |room: &str| got.iter().rposition(|got| got.room == room).unwrap();
    assert!(place("good") < place("bad"), "the good room did not wait for the bad one");
    webhooks.stop().await;
    assert_eq!((webhooks.counts.delivered.get(), webhooks.counts.failed.get()), (5, 5));
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_a_restart_with_the_same_id() {
    let dir = Dir::new("restart");
    let down = Receiver::start(Box::new(|_| "503 Later")).await;
    let webhooks = open(&dir, vec![down.url()], fast()).await;
    let running = tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "a");
    let first = down.wait_for(2).await;
    happens(&webhooks, "b");
    happens(&webhooks, "a");
    down.wait_for(6).await;
    let config = WebhookConfig { ..webhooks.config.clone() };
    let second = Webhooks::open(config, Outbound::to_loopback()).unwrap_err();
    assert!(second.to_string().contains("another process uses"), "{second}");
    // As when the process is killed: nothing is told, nothing is written any more.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let url = webhooks.config.urls[0].clone();
    drop(webhooks);
    // The kill came in the middle of a line.
    let path = dir.0.join("queue.jsonl");
    let mut text = std::fs::read(&path).unwrap();
    text.extend(b"{\"event\":[99,{\"id\":\"torn");
    std::fs::write(&path, &text).unwrap();

    let before = down.got().len();
    let webhooks = open(&dir, vec![url.clone()], fast()).await;
    assert_eq!((webhooks.counts.waiting.get(), webhooks.counts.damaged.get()), (3, 1));
    tokio::spawn(webhooks.clone().run());
    let again = down.wait_for(before + 2).await;
    let repeated: Vec<&str> = again[before..].iter().map(Got::id).collect();
    assert!(repeated.contains(&first[0].id()), "{repeated:?}");
    assert_eq!(again.iter().find(|got| got.id() == first[0].id()).unwrap().body, first[0].body);
    webhooks.stop().await;
    drop(webhooks);

    // Another URL than before gets none of the old events, and the old one's are dropped.
    let other = Receiver::start(Box::new(|_| "200 OK")).await;
    let webhooks = open(&dir, vec![other.url()], fast()).await;
    assert_eq!(webhooks.counts.waiting.get(), 0);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("hidden"), "no URL in the file");
}

#[tokio::test]
async fn stopping_writes_what_was_noted() {
    let dir = Dir::new("stop");
    let receiver = Receiver::start(Box::new(|_| "200 OK")).await;
    let limits = fast();
    let webhooks = open(&dir, vec![receiver.url()], limits).await;
    let running = tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "a");
    receiver.wait_for(1).await;
    for _ in 0..100 {
        happens(&webhooks, "b");
    }
    webhooks.stop().await;
    running.await.unwrap();
    let (waiting, delivered) = (webhooks.counts.waiting.get(), webhooks.counts.delivered.get());
    assert_eq!(waiting + delivered, 101);
    drop(webhooks);
    let webhooks = open(&dir, vec![receiver.url()], limits).await;
    // A request that was under way at the stop may be repeated, none is missing.
    assert_eq!(webhooks.counts.waiting.get(), waiting);
}

#[tokio::test]
async fn at_the_bound_the_oldest_events_are_dropped_and_counted() {
    let dir = Dir::new("bound");
    let receiver = Receiver::start(Box::new(|_| "200 OK")).await;
    let limits = WebhookLimits { events: 10, ..fast() };
    let webhooks = open(&dir, vec![receiver.url()], limits).await;
    // Nothing takes them yet.
    for n in 0..15 {
        happens(&webhooks, &format!("room-{n}"));
    }
    assert_eq!(webhooks.counts.dropped.get(), 5);
    tokio::spawn(webhooks.clone().run());
    let got = receiver.wait_for(10).await;
    let rooms: Vec<&str> = got.iter().map(|got| got.room.as_str()).collect();
    assert!(rooms.contains(&"room-14") && !rooms.contains(&"room-4"), "{rooms:?}");
    webhooks.stop().await;

    let dir = Dir::new("bytes");
    let down = Receiver::start(Box::new(|_| "503 Later")).await;
    let limits = WebhookLimits { bytes: 2_000, ..fast() };
    let webhooks = open(&dir, vec![down.url()], limits).await;
    let running = tokio::spawn(webhooks.clone().run());
    for _ in 0..100 {
        happens(&webhooks, "a");
    }
    while webhooks.counts.dropped.get() + webhooks.counts.waiting.get() < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(webhooks.counts.waiting_bytes.get() <= 2_000);
    assert!(webhooks.counts.waiting.get() > 0);
    running.abort();
    running.await.unwrap_err();
    let waiting = webhooks.counts.waiting.get();
    drop(webhooks);
    let webhooks = open(&dir, vec![down.url()], limits).await;
    assert_eq!(webhooks.counts.waiting.get(), waiting, "the file says the same");
}

#[tokio::test]
async fn a_url_that_is_gone_gets_nothing_until_the_next_start() {
    let (dir, gone) = (Dir::new("gone"), Receiver::start(Box::new(|_| "410 Gone")).await);
    let there = Receiver::start(Box::new(|_| "200 OK")).await;
    let webhooks = open(&dir, vec![gone.url(), there.url()], fast()).await;
    tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "a");
    gone.wait_for(1).await;
    there.wait_for(1).await;
    for room in ["a", "b", "c"] {
        happens(&webhooks, room);
    }
    there.wait_for(4).await;
    webhooks.stop().await;
    assert_eq!(gone.got().len(), 1);
    assert_eq!(webhooks.counts.waiting.get(), 0, "nothing waits for a URL that is gone");
    drop(webhooks);
    let webhooks = open(&dir, vec![gone.url()], fast()).await;
    tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "a");
    gone.wait_for(2).await;
}

#[tokio::test]
async fn an_event_that_becomes_too_old_is_given_up_and_the_next_one_goes() {
    let judge = |got: &Got| if got.room == "bad" { "500 Oops" } else { "200 OK" };
    let (dir, receiver) = (Dir::new("old"), Receiver::start(Box::new(judge)).await);
    let limits = WebhookLimits { age: Duration::from_millis(300), ..fast() };
    let webhooks = open(&dir, vec![receiver.url()], limits).await;
    tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "bad");
    happens(&webhooks, "bad");
    let begin = Instant::now();
    while webhooks.counts.expired.get() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    webhooks.stop().await;
    assert_eq!(webhooks.counts.waiting.get(), 0);
}

// Threats, row 46.
#[tokio::test]
async fn private_addresses_get_no_webhooks_unless_the_operator_named_them() {
    let (dir, receiver) = (Dir::new("private"), Receiver::start(Box::new(|_| "200 OK")).await);
    let secrets = vec![SECRET.parse().unwrap()];
    let config =
        WebhookConfig { urls: vec![receiver.url()], secrets, dir: dir.0.clone(), limits: fast() };
    let webhooks =
        Arc::new(Webhooks::open(config, Outbound::new(Vec::new(), None).unwrap()).unwrap());
    tokio::spawn(webhooks.clone().run());
    happens(&webhooks, "a");
    let begin = Instant::now();
    while webhooks.counts.failed.get() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    webhooks.stop().await;
    assert!(receiver.got().is_empty());
    assert_eq!(webhooks.counts.waiting.get(), 1, "it waits, in case the operator changes that");
}

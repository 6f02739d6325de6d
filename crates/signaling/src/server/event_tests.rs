//! WebSockets and streams of events on virtual time and over a pipe: clients that are silent, slow, or there when the server stops.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use model::RoomId;
use room::{Admission, RoomConfig, RoomSettings};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::ServerConfig;
use super::connection::{At, Door, Peer};
use super::places::Places;
use crate::auth::{Claim, Owner};
use crate::events::messages;
use crate::sessions::Joining;
use crate::state::{Operations, Signaling};

const OFFER: &str = include_str!("../../../sdp/fixtures/chromium-watch.sdp");

/// A session, and a connection to its node.
struct Client {
    signaling: Signaling,
    location: String,
    session: model::SessionId,
    pipe: Option<DuplexStream>,
    stop: watch::Sender<bool>,
}

impl Client {
    async fn open() -> Self {
        let rooms = RoomConfig {
            candidates: vec!["127.0.0.1:7000".parse().unwrap()],
            fingerprint: ["AB"; 32].join(":"),
            cname: "test".into(),
            limits: room::Limits::default(),
            default_settings: RoomSettings::default(),
        };
        let operations = Operations {
            metrics: Box::new(|_| Ok(())),
            ready: Box::new(|| Ok(())),
            stats: Box::new(|_, _| ()),
        };
        let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).unwrap();
        let signaling = Signaling::new(crate::Config::default(), rooms, random, |_| (), operations);
        let joining = Joining {
            room: RoomId::parse("r").unwrap(),
            identity: None,
            claim: Claim { owner: Owner::Anyone, expires: None },
            admission: Admission::default(),
            offer: OFFER.to_owned(),
        };
        let opened = signaling.join(joining).await.unwrap();
        let door = Door::new(ServerConfig::default(), signaling.router(), Places::new(8).shares());
        // A small pipe: what the client does not read stays with the server.
        let (client, server) = duplex(16 * 1024);
        let (stop, mut stopping) = watch::channel(false);
        let peer = Peer { address: "192.0.2.1".parse().unwrap(), trusted: false };
        let at = At::new(peer, None);
        tokio::spawn(async move { Arc::new(door).http1(server, at, &mut stopping).await });
        let (location, session) = (opened.location, opened.session);
        Self { signaling, location, session, pipe: Some(client), stop }
    }

    async fn socket(&mut self) -> WebSocketStream<DuplexStream> {
        let request = format!("ws://x{}/events", self.location).into_client_request().unwrap();
        let pipe = self.pipe.take().unwrap();
        tokio_tungstenite::client_async(request, pipe).await.unwrap().0
    }

    /// A socket that said hello and read the first two messages.
    async fn greeted(&mut self) -> WebSocketStream<DuplexStream> {
        let mut socket = self.socket().await;
        let hello = Message::text("{\"type\":\"hello\"}");
        futures_util::SinkExt::send(&mut socket, hello).await.unwrap();
        for kind in ["welcome", "snapshot"] {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
            assert!(text.contains(&format!("\"type\":\"{kind}\"")), "{text}");
        }
        socket
    }

    /// Requests the stream of events, and reads up to the snapshot.
    async fn stream(&mut self) -> BufReader<DuplexStream> {
        let mut pipe = self.pipe.take().unwrap();
        let head = format!(
            "GET {}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
            self.location
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(pipe);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).await.unwrap();
            if line.contains("\"type\":\"snapshot\"") {
                return lines;
            }
        }
    }

    fn fill(&self) {
        for _ in 0..20 {
            let text = Some("x".repeat(10_000));
            let (from, topic, base64) = (None, "t".to_owned(), None);
            let delivery = messages::DeliveryName::Reliable;
            let data = messages::Message::Data { from, topic, text, base64, delivery };
            self.signaling.hub().tell(self.session, &data);
        }
    }
}

async fn code(socket: &mut WebSocketStream<DuplexStream>) -> Option<u16> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_without_hello_is_closed_after_five_seconds() {
    let mut client = Client::open().await;
    let mut socket = client.socket().await;
    let start = Instant::now();
    assert_eq!(code(&mut socket).await, Some(4408));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_a_silent_one_is_closed() {
    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    // Reading answers the pings.
    let hour = tokio::time::timeout(Duration::from_secs(3_600), code(&mut socket)).await;
    assert!(hour.is_err(), "closed: {hour:?}");

    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    // The server closes after 60 seconds, and waits two more for the client's close frame.
    sleep(Duration::from_secs(59)).await;
    client.signaling.hub().tell(client.session, &messages::Message::DataLost { messages: 1 });
    sleep(Duration::from_secs(2)).await;
    let mut told = false;
    let code = loop {
        match socket.next().await {
            Some(Ok(Message::Text(_))) => told = true,
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    assert!(told, "it was there after 59 seconds");
    assert_eq!(code, Some(4408));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_loses_the_connection_and_may_resume() {
    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    client.fill();
    // More than the pipe holds: the server waits for ten seconds, and has two for the close frame.
    sleep(Duration::from_secs(15)).await;
    let mut read = 0;
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        assert!(text.contains("\"type\":\"data\""));
        read += 1;
    }
    assert!(read < 20, "{read}");
    assert!(client.signaling.hub().feed(client.session).unwrap().resume(1).is_some());

    let mut client = Client::open().await;
    let mut stream = client.stream().await;
    client.fill();
    sleep(Duration::from_secs(120)).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 200_000, "{}", rest.len());
}

/// What is left to read on a connection whose client does not read, after another connection took its place.
async fn rest_when_replaced(client: &Client, pipe: &mut (impl AsyncRead + Unpin)) -> usize {
    let text = Some("x".repeat(2_000_000));
    let (from, topic, base64) = (None, "t".to_owned(), None);
    let delivery = messages::DeliveryName::Reliable;
    let big = messages::Message::Data { from, topic, text, base64, delivery };
    client.signaling.hub().tell(client.session, &big);
    sleep(Duration::from_secs(1)).await;
    let _newer = client.signaling.hub().feed(client.session).unwrap().restart();
    sleep(Duration::from_secs(5)).await;
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).await.unwrap();
    rest.len()
}

#[tokio::test(start_paused = true)]
async fn a_newer_connection_ends_an_older_one_that_is_sent_something_large() {
    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    let rest = rest_when_replaced(&client, socket.get_mut()).await;
    assert!(rest < 100_000, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn pings_without_end_end_the_connection() {
    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    // Ten in a second for half a minute are nothing.
    for _ in 0..300 {
        futures_util::SinkExt::send(&mut socket, Message::Ping(Default::default())).await.unwrap();
        // The server's own pings come between.
        while !matches!(socket.next().await.unwrap().unwrap(), Message::Pong(_)) {}
        sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..200 {
        let ping = Message::Ping(Default::default());
        if futures_util::SinkExt::send(&mut socket, ping).await.is_err() {
            break;
        }
    }
    assert_eq!(code(&mut socket).await, Some(1008));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_nothing_to_say_is_kept_alive_by_comments() {
    let mut client = Client::open().await;
    let mut stream = client.stream().await;
    let start = Instant::now();
    let mut comments = 0;
    while comments < 20 {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).await.unwrap() > 0);
        comments += usize::from(line == ":\n");
    }
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_so_and_does_not_wait_for_its_sockets() {
    let mut client = Client::open().await;
    let mut socket = client.greeted().await;
    client.stop.send(true).unwrap();
    assert_eq!(code(&mut socket).await, Some(1001));
    drop(socket);
    // Every connection holds a receiver until it ends.
    client.stop.closed().await;

    let mut client = Client::open().await;
    let mut early = client.socket().await;
    client.stop.send(true).unwrap();
    assert_eq!(code(&mut early).await, Some(1001), "before hello");

    let mut client = Client::open().await;
    let mut stream = client.stream().await;
    client.stop.send(true).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("event: close\ndata: {\"code\":1001"), "{rest}");
    drop(stream);
    client.stop.closed().await;
}

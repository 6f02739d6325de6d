//! The time limits of a connection, on virtual time and over a pipe.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ServerConfig;
use super::connection::{At, Door, Peer};
use super::places::Places;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct Connection {
    client: DuplexStream,
    stop: watch::Sender<bool>,
}

impl Connection {
    fn open() -> Self {
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route("/large", get(async || "x".repeat(1_000_000)))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(200)).await));
        let door = Arc::new(Door::new(ServerConfig::default(), router, Places::new(8).shares()));
        let (client, server) = duplex(1024);
        let (stop, mut stopping) = watch::channel(false);
        let peer = Peer { address: "192.0.2.1".parse().unwrap(), trusted: false };
        tokio::spawn(async move { door.http1(server, At::new(peer, None), &mut stopping).await });
        Self { client, stop }
    }

    /// Sends bytes, and reads one answer.
    async fn ask(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        let mut answer = vec![0; 1024];
        let count = self.client.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK"), "{count}");
    }

    /// After how many seconds the server closes the connection.
    async fn closed_after(&mut self) -> u64 {
        let start = Instant::now();
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        start.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_between_requests_for_75_seconds() {
    let mut connection = Connection::open();
    for _ in 0..3 {
        connection.ask(REQUEST).await;
        tokio::time::sleep(Duration::from_secs(74)).await;
    }
    connection.ask(REQUEST).await;
    assert_eq!(connection.closed_after().await, 75);
}

#[tokio::test(start_paused = true)]
async fn headers_that_have_begun_have_to_be_there_in_5_seconds() {
    let mut silent = Connection::open();
    assert_eq!(silent.closed_after().await, 5);

    let mut slow = Connection::open();
    slow.ask(REQUEST).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    slow.client.write_all(&REQUEST[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    slow.client.write_all(&REQUEST[10..12]).await.unwrap();
    assert_eq!(slow.closed_after().await, 1, "a byte now and then buys no time");

    let mut late = Connection::open();
    late.ask(REQUEST).await;
    late.client.write_all(&REQUEST[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    late.ask(&REQUEST[10..]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_at_work_is_not_idle() {
    let mut connection = Connection::open();
    let start = Instant::now();
    connection.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(start.elapsed().as_secs(), 200);
    assert_eq!(connection.closed_after().await, 75);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_holds_the_connection_no_longer_than_silence() {
    let mut connection = Connection::open();
    connection.client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(77)).await;
    let mut rest = Vec::new();
    connection.client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() <= 1024, "{}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_closes_idle_connections_and_finishes_requests() {
    let mut idle = Connection::open();
    idle.ask(REQUEST).await;
    idle.stop.send(true).unwrap();
    assert_eq!(idle.closed_after().await, 0);

    let mut busy = Connection::open();
    busy.client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.stop.send(true).unwrap();
    busy.ask(b"").await;
    assert_eq!(busy.closed_after().await, 0);
}

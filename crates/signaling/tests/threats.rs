//! What an unauthenticated client may try with connections and URLs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Node, PUBLISH};
use sfumato_signaling::{Config, Limits, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// All that the server sends after these bytes until it closes the connection.
async fn say(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
    // A reset is an end too: the client did not send all that it announced.
    assert!(end.is_ok(), "the connection stays open");
    answer
}

#[tokio::test]
async fn http_2_is_not_spoken_in_the_clear_and_nothing_is_upgraded() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    // The preface of RFC 9113 section 3.4, SETTINGS, and a run of RST_STREAM and empty DATA frames.
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in 0..1_000_u32 {
        flood.extend(b"\0\0\x04\x03\0");
        flood.extend((2 * stream + 1).to_be_bytes());
        flood.extend(b"\0\0\0\x08\0\0\0\0\0\0\0\0\x01");
    }
    let answer = say(&node, &flood).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    for upgrade in ["websocket", "h2c"] {
        let request = format!(
            "GET /whip/r HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = String::from_utf8(say(&node, request.as_bytes()).await).unwrap();
        assert!(!answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    assert_eq!(node.request("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_falls_silent_after_a_request_is_closed() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let start = Instant::now();
    let answer = say(&node, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// RFC 9725 section 5: a session's URL cannot be guessed.
#[tokio::test]
async fn session_urls_hold_192_random_bits() {
    let off = Rate { per_second: 0.0, burst: 1 };
    let limits = Limits { per_address: off, per_token: off, ..Limits::default() };
    let node = Node::configured(Config { limits, ..Config::default() }).await;
    let mut names = BTreeSet::new();
    let mut used = [0_u32; 128];
    for at in 0..100 {
        let (session, _) =
            node.post(&format!("/whip/r?participant=p{at}"), PUBLISH).await.session();
        let name = session.rsplit('/').next().unwrap().to_owned();
        // 32 characters of base64url.
        assert!(
            name.len() == 32
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        name.bytes().for_each(|b| used[usize::from(b)] += 1);
        names.insert(name);
    }
    assert_eq!(names.len(), 100);
    // Each of the 64 characters is expected 50 times on average; a pattern that can be guessed would lack some.
    assert_eq!(used.iter().filter(|n| **n > 10).count(), 64, "{used:?}");
}

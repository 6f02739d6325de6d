//! Connections: refused bodies, clients behind proxies, paths with surplus slashes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{Node, PUBLISH, SDP, trickle};
use sfumato_signaling::{Config, Limits, Rate, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// All that the server sends after these bytes until it closes the connection.
async fn say(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    // The server may close the connection before all bytes are written.
    let _may_fail = stream.write_all(bytes).await;
    let mut answer = String::new();
    let end = stream.read_to_string(&mut answer);
    // A reset after the answer is an end too.
    let _ended = tokio::time::timeout(Duration::from_secs(20), end).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_client_that_sends_megabytes_gets_to_read_that_they_are_too_many() {
    let node = Node::start().await;
    for megabytes in [1, 2, 8] {
        let size: usize = megabytes * 1024 * 1024 + 1;
        let head = format!(
            "POST /whip/r HTTP/1.1\r\nHost: x\r\nContent-Type: {SDP}\r\nContent-Length: {size}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A client that writes the whole body before it reads, in pieces over some time.
        for _ in 0..8 {
            stream.write_all(&vec![b'x'; size.div_ceil(8)]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{megabytes} MiB");
    }
}

#[tokio::test]
async fn slashes_too_many_lead_to_the_same_resource() {
    let node = Node::start().await;
    for path in ["/whip/r/?participant=a", "//whip//r?participant=b", "/whip/r///?participant=c"] {
        let (session, etag) = node.post(path, PUBLISH).await.session();
        assert!(session.starts_with("/whip/r/sessions/"), "{session}");
        let reply = node.patch(&format!("/{session}/"), Some(&etag), &trickle(PUBLISH)).await;
        assert_eq!(reply.status, 204, "{path}");
        let ended = node.request("DELETE", &format!("{session}//"), &[], "").await;
        assert_eq!(ended.status, 200, "{path}");
    }
    for path in ["/whep/r/", "//api/rooms/", "/healthz/", "//"] {
        assert_eq!(node.request("GET", path, &[], "").await.status, 200, "{path}");
    }
    for path in ["/whip/", "/whep//", "/whip/r/sessions/"] {
        assert_eq!(node.request("POST", path, &[], "").await.status, 404, "{path}");
    }
}

/// A node that allows one request for each address, with a trusted proxy on this machine.
async fn behind_proxy(proxy_protocol: bool) -> Node {
    let limits = Limits {
        per_address: Rate { per_second: 0.001, burst: 1 },
        header_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = ServerConfig {
        trusted_proxies: vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        proxy_protocol,
        ..ServerConfig::default()
    };
    Node::served(Config { limits, ..Config::default() }, room::Limits::default(), server).await
}

#[tokio::test]
async fn requests_through_trusted_proxies_count_for_their_clients() {
    let node = behind_proxy(false).await;
    let ask =
        async |fields: &[(&str, &str)]| node.request("POST", "/whip/r", fields, "").await.status;
    for fields in [
        &[("X-Forwarded-For", "192.0.2.1")][..],
        &[("X-Forwarded-For", "6.6.6.6, 192.0.2.2, 10.0.0.7")],
        &[("Forwarded", "for=192.0.2.3;proto=https")],
        &[("Forwarded", "for=\"[2001:db8::1]:4711\"")],
    ] {
        assert_eq!(ask(fields).await, 415, "{fields:?}");
        assert_eq!(ask(fields).await, 429, "{fields:?}");
    }
    // Entries that the client itself wrote further left change nothing.
    assert_eq!(ask(&[("X-Forwarded-For", "7.7.7.7, 192.0.2.2")]).await, 429);
    let direct = Node::configured(Config {
        limits: Limits { per_address: Rate { per_second: 0.001, burst: 1 }, ..Limits::default() },
        ..Config::default()
    })
    .await;
    let fields = |address| [("X-Forwarded-For", address)];
    assert_eq!(direct.request("POST", "/whip/r", &fields("192.0.2.1"), "").await.status, 415);
    assert_eq!(direct.request("POST", "/whip/r", &fields("192.0.2.2"), "").await.status, 429);
}

#[tokio::test]
async fn the_proxy_protocol_says_who_the_client_is() {
    let node = behind_proxy(true).await;
    let request =
        b"POST /whip/r HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let v2 = |last: u8| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend([198, 51, 100, last, 10, 0, 0, 1, 0, 1, 0, 80]);
        header
    };
    let ask = async |header: &[u8]| say(&node, &[header, request].concat()).await;
    for header in [b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n".to_vec(), v2(1), v2(2)] {
        assert_eq!(status(&ask(&header).await), "415");
        assert_eq!(status(&ask(&header).await), "429");
    }
    for header in [&b""[..], b"PROXY TCP9 \r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c"] {
        assert_eq!(ask(header).await, "", "closed without an answer");
    }
    // A PROXY header that does not arrive has the same deadline as the headers of a request.
    assert_eq!(say(&node, b"PROXY TCP4 ").await, "");
}

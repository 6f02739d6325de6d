//! The HTTP port with TLS: HTTP/1.1 and HTTP/2, and what a hostile client may try with handshakes and frames. The
//! frames are written by hand (RFC 9113 section 4.1), since client libraries refuse to write such frames.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::members::offer;
use common::{Node, PUBLISH, SDP};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sfumato_signaling::{Certificates, Config, Limits, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// A whole field in one byte: `accept-encoding: gzip, deflate` (RFC 7541 appendix A, entry 16).
const ACCEPT_ENCODING: u8 = 0x80 | 16;
/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Certificate and key in temporary files.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("sfumato-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// Writes a new certificate for `localhost` and returns it.
    fn write(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.0.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(self.0.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn load(&self) -> Arc<Certificates> {
        Arc::new(Certificates::load(self.0.join("cert.pem"), self.0.join("key.pem")).unwrap())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A file that cannot be removed stays in the directory for temporary files.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

struct Secure {
    node: Node,
    files: Files,
    root: CertificateDer<'static>,
    certificates: Arc<Certificates>,
}

impl Secure {
    async fn start(name: &str, limits: Limits) -> Self {
        let files = Files::new(name);
        let root = files.write();
        let certificates = files.load();
        let server = ServerConfig { tls: Some(certificates.clone()), ..ServerConfig::default() };
        let config = Config { limits, ..Config::default() };
        let node = Node::served(config, room::Limits::default(), server).await;
        Self { node, files, root, certificates }
    }

    async fn connect(&self, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.node.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// An HTTP/2 connection on which the preface was sent.
    async fn connect_h2(&self) -> TlsStream<TcpStream> {
        let mut stream = self.connect(b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        stream
    }

    /// Sends these frames while it reads. Returns the code of the GOAWAY that ends the connection.
    async fn flood(&self, frames: Vec<u8>) -> Option<u32> {
        let (mut reader, mut writer) = tokio::io::split(self.connect_h2().await);
        let writing = tokio::spawn(async move {
            // The server stops reading at some point.
            let _may_fail = writer.write_all(&frames).await;
            writer
        });
        let mut code = None;
        let reading = async {
            while let Some((kind, _, payload)) = read_frame(&mut reader).await {
                if kind == GOAWAY {
                    code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
        writing.abort();
        code
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block without indexing (RFC 7541 section 6.2.2): GET or POST of a path.
fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // Indices of the static table (RFC 7541 appendix A): methods, `:scheme: https`, `:path`, `:authority`.
    let method = if method == "GET" { 0x82 } else { 0x83 };
    let mut block = [&[method, 0x87, 0x04][..], &text(path), &[0x01], &text("localhost")].concat();
    for (name, value) in fields {
        block.push(0);
        block.extend(text(name));
        block.extend(text(value));
    }
    block
}

/// Kind, stream and payload; `None` at the end of the connection.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload))
}

/// One request on a stream; header block and body of the answer.
async fn ask_h2(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    id: u32,
    block: &[u8],
    body: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let end = u8::from(body.is_empty());
    stream.write_all(&frame(HEADERS, 4 | end, id, block)).await.unwrap();
    if !body.is_empty() {
        stream.write_all(&frame(DATA, 1, id, body)).await.unwrap();
    }
    let (mut head, mut content) = (Vec::new(), Vec::new());
    loop {
        let mut flags = [0; 9];
        stream.read_exact(&mut flags).await.unwrap();
        let len = u32::from_be_bytes([0, flags[0], flags[1], flags[2]]) as usize;
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await.unwrap();
        if u32::from_be_bytes(flags[5..9].try_into().unwrap()) != id {
            continue;
        }
        match flags[3] {
            HEADERS => head = payload,
            DATA => content.extend(payload),
            other => panic!("frame {other}"),
        }
        if flags[4] & 1 == 1 {
            return (head, content);
        }
    }
}

async fn get_h1(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn over_tls_both_versions_are_spoken() {
    let secure = Secure::start("both", Limits::default()).await;
    let mut one = secure.connect(b"http/1.1").await.unwrap();
    get_h1(&mut one).await;
    get_h1(&mut one).await;

    let mut two = secure.connect_h2().await;
    // `:status: 200` is entry 8 of the static table.
    let (head, body) = ask_h2(&mut two, 1, &block("GET", "/healthz", &[]), b"").await;
    assert_eq!((head[0], body.as_slice()), (0x88, &b"ok\n"[..]));
    let typed = block("POST", "//whip/r/", &[("content-type", SDP)]);
    let (_, answer) = ask_h2(&mut two, 3, &typed, PUBLISH.as_bytes()).await;
    assert!(answer.starts_with(b"v=0\r\n"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(secure.node.commands(), ["open"]);
    let (_, problem) = ask_h2(&mut two, 5, &block("GET", "/nothing", &[]), b"").await;
    assert!(problem.starts_with(b"{\"type\":\"urn:sfumato:problem:"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_ends_none() {
    let mut secure = Secure::start("reload", Limits::default()).await;
    let mut before = secure.connect(b"http/1.1").await.unwrap();
    get_h1(&mut before).await;
    let new = secure.files.write();
    assert!(secure.certificates.refresh().unwrap());
    get_h1(&mut before).await;
    assert!(secure.connect(b"http/1.1").await.is_err(), "the old certificate is still shown");
    secure.root = new;
    get_h1(&mut secure.connect(b"http/1.1").await.unwrap()).await;
    get_h1(&mut before).await;
}

#[tokio::test]
async fn handshakes_that_are_not_finished_end() {
    // Long enough for the good handshake below on a busy machine.
    let limits = Limits { handshake_timeout: Duration::from_secs(2), ..Limits::default() };
    let secure = Secure::start("handshake", limits).await;
    assert_eq!(Limits::default().handshake_timeout, Duration::from_secs(5));
    let unfinished = [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
    let mut streams = Vec::new();
    for bytes in unfinished {
        let mut stream = TcpStream::connect(secure.node.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        streams.push(stream);
    }
    for mut stream in streams {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let _reset_or_not = tokio::time::timeout(Duration::from_secs(20), end).await.unwrap();
        assert!(!rest.starts_with(b"HTTP"));
    }
    get_h1(&mut secure.connect(b"http/1.1").await.unwrap()).await;
}

// Threats, row 45.
#[tokio::test]
async fn floods_of_http_2_frames_end_the_connection() {
    let secure = Secure::start("floods", Limits::default()).await;
    let get = block("GET", "/healthz", &[]);
    // Requests that are reset at once (CVE-2023-44487).
    let resets = (0..20_000_u32).flat_map(|at| {
        let id = 2 * at + 1;
        [frame(HEADERS, 5, id, &get), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
    });
    assert_eq!(secure.flood(resets.collect()).await, Some(ENHANCE_YOUR_CALM));
    // Header blocks without an end (CVE-2024-27316), in frames of one byte and in large ones.
    for size in [1, 10_000] {
        let mut endless = frame(HEADERS, 1, 1, &get);
        let part = frame(CONTINUATION, 0, 1, &vec![ACCEPT_ENCODING; size]);
        endless.extend(part.repeat(100_000 / size + 1_000));
        assert_eq!(secure.flood(endless).await, Some(ENHANCE_YOUR_CALM), "{size}");
    }
    // Empty body frames (CVE-2019-9518).
    for path in ["/whip/r", "/v1/rooms/r/sessions"] {
        let mut empty = frame(HEADERS, 4, 1, &block("POST", path, &[("content-type", SDP)]));
        empty.extend(frame(DATA, 0, 1, b"").repeat(100_000));
        assert_eq!(secure.flood(empty).await, Some(ENHANCE_YOUR_CALM), "{path}");
    }

    let (head, _) = ask_h2(&mut secure.connect_h2().await, 1, &get, b"").await;
    assert_eq!(head[0], 0x88, "the others are served");
}

#[tokio::test]
async fn an_http_2_connection_without_requests_ends_whatever_else_it_sends() {
    let limits = Limits { idle_timeout: Duration::from_millis(500), ..Limits::default() };
    let secure = Secure::start("idle", limits).await;
    let mut stream = secure.connect_h2().await;
    ask_h2(&mut stream, 1, &block("GET", "/healthz", &[]), b"").await;
    let start = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        while writer.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut said_goodbye = false;
    while let Some((kind, _, _)) = read_frame(&mut reader).await {
        said_goodbye |= kind == GOAWAY;
        assert!(start.elapsed() < Duration::from_secs(20), "it lives on");
    }
    assert!(said_goodbye);
}

#[tokio::test]
async fn an_http_2_connection_whose_request_was_taken_back_ends_too() {
    let limits = Limits { idle_timeout: Duration::from_millis(500), ..Limits::default() };
    let secure = Secure::start("taken-back", limits).await;
    let mut stream = secure.connect_h2().await;
    // The request waits for its body until it is reset; nothing is sent after that.
    let typed = block("POST", "/whip/r", &[("content-type", SDP)]);
    stream.write_all(&frame(HEADERS, 4, 1, &typed)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await.unwrap();
    let end = async { while read_frame(&mut stream).await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.unwrap();
}

#[tokio::test]
async fn slow_bodies_over_http_2_are_408() {
    let limits = Limits { body_timeout: Duration::from_millis(300), ..Limits::default() };
    let secure = Secure::start("slow", limits).await;
    let mut stream = secure.connect_h2().await;
    let typed = block("POST", "/whip/r", &[("content-type", SDP)]);
    stream.write_all(&frame(HEADERS, 4, 1, &typed)).await.unwrap();
    stream.write_all(&frame(DATA, 0, 1, b"v=0")).await.unwrap();
    let answer = async {
        loop {
            let (kind, id, payload) = read_frame(&mut stream).await.unwrap();
            if (kind, id) == (DATA, 1) && !payload.is_empty() {
                return String::from_utf8(payload).unwrap();
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap();
    assert!(answer.contains("\"status\":408"), "{answer}");
}

/// Joins over HTTP/1.1; returns the session's path.
async fn join_h1(secure: &Secure) -> String {
    let body = serde_json::json!({ "sdp": offer("Aa"), "identity": "ann" }).to_string();
    let mut stream = secure.connect(b"http/1.1").await.unwrap();
    let head = format!(
        "POST /v1/rooms/r/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    location.unwrap().trim().to_owned()
}

/// Reads the body of stream 1 until it contains the text.
async fn read_until(stream: &mut TlsStream<TcpStream>, content: &mut String, text: &str) {
    while !content.contains(text) {
        let (kind, id, payload) = read_frame(stream).await.unwrap();
        if (kind, id) == (DATA, 1) {
            content.push_str(std::str::from_utf8(&payload).unwrap());
        }
    }
}

#[tokio::test]
async fn events_and_commands_go_over_http_2_and_outlast_the_idle_time() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let secure = Secure::start("events", limits).await;
    let session = join_h1(&secure).await;
    let mut events = secure.connect_h2().await;
    let accept = ("accept", "text/event-stream");
    let get = block("GET", &format!("{session}/events"), &[accept]);
    events.write_all(&frame(HEADERS, 5, 1, &get)).await.unwrap();
    let mut content = String::new();
    let read = read_until(&mut events, &mut content, "\"type\":\"snapshot\"");
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut commands = secure.connect_h2().await;
    let post =
        block("POST", &format!("{session}/commands"), &[("content-type", "application/json")]);
    let body = b"{\"type\":\"update_me\",\"name\":\"Ann\"}";
    let (_, answer) = ask_h2(&mut commands, 1, &post, body).await;
    assert_eq!(answer, b"{\"type\":\"reply\",\"id\":null,\"ok\":true}");
    let read = read_until(&mut events, &mut content, "\"name\":\"Ann\"");
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    // A WebSocket needs a connection of its own.
    let upgrade = block("GET", &format!("{session}/events"), &[("accept", "*/*")]);
    let (_, problem) = ask_h2(&mut commands, 3, &upgrade, b"").await;
    assert!(String::from_utf8(problem).unwrap().contains("not-acceptable"));
}

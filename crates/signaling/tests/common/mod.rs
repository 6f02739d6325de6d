//! Signaling with real rooms behind a real listener on loopback, and a client that sees every byte. There are no
//! workers: their commands are recorded, their events are made by the tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod members;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{
    Command, DownSection, DownStats, Event, LayerStats, MediaKind, Mid, Rid, SessionId,
    SessionStats, Sources, Ssrc, StatsReply, TrackId, UpSection, UpStats,
};
use prometheus_client::metrics::MetricType;
use room::{RoomConfig, RoomSettings};
use sfumato_signaling::{
    AuthConfig, Config, FixedKeys, IceServer, NewToken, Operations, Secret, ServerConfig,
    Signaling, SigningKey, TokenConfig, mint, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub const PUBLISH: &str = include_str!("../../../sdp/fixtures/chromium-publish-simulcast.sdp");
pub const WATCH: &str = include_str!("../../../sdp/fixtures/chromium-watch.sdp");
pub const FFMPEG: &str = include_str!("../../../sdp/fixtures/ffmpeg-publish.sdp");

pub const SDP: &str = "application/sdp";
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// The media types that a PATCH of a session may have.
pub const PATCHES: &str = "application/trickle-ice-sdpfrag, application/sdp";
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The measurements of the tests' workers: every session has some, except number 3, which no worker owns.
fn measurements(session: SessionId, reply: StatsReply) {
    if session.0 == 3 {
        return;
    }
    let layer = LayerStats { packets: 70, bitrate: 1_500_000, ..LayerStats::default() };
    let up = UpSection {
        mid: Mid::parse("1").unwrap(),
        track: TrackId(9),
        kind: MediaKind::Video,
        rids: vec![Rid::parse("hi").unwrap()],
        stats: UpStats { layers: vec![layer] },
    };
    let down = DownSection {
        mid: Mid::parse("2").unwrap(),
        kind: MediaKind::Audio,
        ssrc: Ssrc(77),
        stats: DownStats {
            fraction_lost: 64,
            rtt: Some(Duration::from_micros(12_500)),
            ..DownStats::default()
        },
    };
    reply(SessionStats {
        session,
        path: None,
        srtp_profile: Some("AEAD_AES_128_GCM"),
        round_trip: None,
        up: vec![up],
        down: vec![down],
    });
}

/// A running server.
pub struct Node {
    pub address: SocketAddr,
    pub signaling: Signaling,
    pub commands: Arc<Mutex<Vec<Command>>>,
    pub events: UnboundedSender<Event>,
}

/// An HTTP answer in its parts.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Node {
    pub async fn start() -> Self {
        Self::with(Config::default(), room::Limits::default()).await
    }

    pub async fn configured(config: Config) -> Self {
        Self::with(config, room::Limits::default()).await
    }

    pub async fn with(config: Config, limits: room::Limits) -> Self {
        Self::served(config, limits, ServerConfig::default()).await
    }

    /// A node whose listener is configured by `server`; the limits come from `config`.
    pub async fn served(config: Config, limits: room::Limits, server: ServerConfig) -> Self {
        Self::held(config, limits, server, |_: &Command| ()).await
    }

    /// `hold` is called with each command before it is recorded, under the lock of its room.
    pub async fn held(
        config: Config,
        limits: room::Limits,
        server: ServerConfig,
        hold: impl Fn(&Command) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let room_config = RoomConfig {
            candidates: vec!["127.0.0.1:7000".parse().unwrap()],
            fingerprint: ["AB"; 32].join(":"),
            cname: "test".into(),
            limits,
            default_settings: RoomSettings::default(),
        };
        let commands = Arc::new(Mutex::new(Vec::new()));
        let recorded = commands.clone();
        let sink = move |command| {
            hold(&command);
            recorded.lock().unwrap().push(command);
        };
        let operations = Operations {
            metrics: Box::new(|encoder| {
                let kind = MetricType::Gauge;
                let help = "A number of the node";
                encoder.encode_descriptor("of_the_node", help, None, kind)?.encode_gauge(&1_u64)
            }),
            ready: Box::new(|| Ok(())),
            stats: Box::new(measurements),
        };
        let server = ServerConfig { limits: config.limits.clone(), ..server };
        let signaling = Signaling::new(
            config,
            room_config,
            |bytes| aws_lc_rs::rand::fill(bytes).unwrap(),
            sink,
            operations,
        );
        let (events, received) = unbounded_channel();
        let driver = signaling.clone();
        tokio::spawn(async move { driver.drive(received).await });
        let router = signaling.router();
        tokio::spawn(async move {
            serve(listener, router, &server, std::future::pending()).await;
        });
        Self { address, signaling, commands, events }
    }

    /// Sends one request on a connection of its own.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "POST" | "PATCH") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body;
        self.exchange(text.as_bytes(), method == "HEAD").await
    }

    /// Sends these bytes, and reads the answer.
    pub async fn exchange(&self, bytes: &[u8], head: bool) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        Reply::parse(&String::from_utf8(answer).unwrap(), head)
    }

    /// Posts an offer.
    pub async fn post(&self, path: &str, offer: &str) -> Reply {
        self.request("POST", path, &[("Content-Type", SDP)], offer).await
    }

    /// Sends a fragment to a session.
    pub async fn patch(&self, path: &str, if_match: Option<&str>, fragment: &str) -> Reply {
        let mut headers = vec![("Content-Type", FRAGMENT)];
        headers.extend(if_match.map(|tag| ("If-Match", tag)));
        self.request("PATCH", path, &headers, fragment).await
    }

    /// Commands so far, by kind.
    pub fn commands(&self) -> Vec<&'static str> {
        let commands = self.commands.lock().unwrap();
        commands
            .iter()
            .map(|command| match command {
                Command::Open(_) => "open",
                Command::Restart { .. } => "restart",
                Command::Bind { .. } => "bind",
                Command::SendData { .. } => "data",
                Command::Close { .. } => "close",
                Command::Update(_) => "update",
            })
            .collect()
    }
}

impl Reply {
    fn parse(text: &str, head: bool) -> Self {
        let (top, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = top.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let reply = Self { status, headers, body: body.to_owned() };
        reply.check(head);
        reply
    }

    /// Checks what holds for every answer.
    fn check(&self, head: bool) {
        // ffmpeg cannot read chunked answers.
        assert_eq!(self.header("transfer-encoding"), None);
        if matches!(self.status, 204 | 304) {
            assert_eq!((self.header("content-length"), self.body.as_str()), (None, ""));
        } else if !head {
            let len: usize = self.header("content-length").unwrap().parse().unwrap();
            assert_eq!(len, self.body.len());
        }
        if self.status >= 400 && !head {
            assert_eq!(self.header("content-type"), Some("application/problem+json"));
            let problem = self.json();
            assert_eq!(problem["status"], self.status);
            for name in ["type", "title", "detail", "instance"] {
                assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
            }
        }
        if self.status == 401 || self.status == 403 {
            assert!(self.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
        if self.status == 405 {
            assert!(self.header("allow").is_some());
        }
        if self.status == 429 || self.status == 503 {
            let seconds: u64 = self.header("retry-after").unwrap().parse().unwrap();
            assert!(seconds >= 1);
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The path of the session that the answer created, and its tag.
    pub fn session(&self) -> (String, String) {
        assert_eq!(self.status, 201, "{}", self.body);
        (self.header("location").unwrap().to_owned(), self.header("etag").unwrap().to_owned())
    }
}

/// A trickle fragment of a client with this offer.
pub fn trickle(offer: &str) -> String {
    let line =
        |prefix: &str| offer.lines().find(|line| line.starts_with(prefix)).unwrap().trim_end();
    fragment(line("a=ice-ufrag:"), line("a=ice-pwd:"), line("a=mid:"))
}

/// The fragment of an ICE restart; each `n` has other credentials.
pub fn restart(n: u32) -> String {
    let (ufrag, pwd) = (format!("a=ice-ufrag:new{n:05}"), format!("a=ice-pwd:{n:024}"));
    fragment(&ufrag, &pwd, "a=mid:0")
}

/// An offer to receive: each letter is a section, `a` audio, `v` video; mids count from 0.
pub fn slots(kinds: &str) -> String {
    let mut parts = WATCH.split("m=");
    let head = parts.next().unwrap();
    let sections: Vec<String> = parts.map(|section| format!("m={section}")).collect();
    let mids: Vec<String> = (0..kinds.len()).map(|at| at.to_string()).collect();
    let mut offer = head.replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    for (at, kind) in kinds.chars().enumerate() {
        let which = usize::from(kind == 'v');
        let (old, new) = (format!("a=mid:{which}"), format!("a=mid:{at}"));
        offer.push_str(&sections[which].replace(&old, &new));
    }
    offer
}

fn fragment(ufrag: &str, pwd: &str, mid: &str) -> String {
    format!(
        "{ufrag}\r\n{pwd}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{mid}\r\n\
         a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
         a=candidate:2 1 udp 2122260222 abc.local 61764 typ host generation 0\r\n\
         a=end-of-candidates\r\n"
    )
}

pub fn with_keys() -> Config {
    let mut keys = FixedKeys::default();
    keys.add_secret("k", &Secret::new(KEY)).unwrap();
    let auth = AuthConfig::Tokens(TokenConfig { keys, ..TokenConfig::default() });
    Config { auth, ..Config::default() }
}

pub fn with_ice_servers() -> Config {
    let server = |url: &str, username: Option<&str>| IceServer {
        urls: vec![url.to_owned()],
        username: username.map(str::to_owned),
        credential: username.map(|_| Secret::new("turn-password")),
    };
    let ice_servers = vec![server("stun:s.example", None), server("turn:t.example", Some("u"))];
    Config { ice_servers, ..Config::default() }
}

/// An `Authorization` value.
pub fn bearer(identity: Option<&str>, room: &str, grants: &str) -> String {
    let token = NewToken {
        room: room.to_owned(),
        identity: identity.map(|text| model::ParticipantId::parse(text).unwrap()),
        publish: if grants.contains('p') { Sources::ALL } else { Sources::NONE },
        subscribe: grants.contains('s'),
        admin: grants.contains('a'),
        ..NewToken::default()
    };
    bearer_of(token)
}

/// An `Authorization` value with this token, for a minute.
pub fn bearer_of(token: NewToken) -> String {
    let token = NewToken { ttl: Duration::from_secs(60), ..token };
    let key = SigningKey::secret("k", &Secret::new(KEY));
    let made = mint(&key, &token, std::time::SystemTime::now()).unwrap();
    format!("Bearer {made}")
}

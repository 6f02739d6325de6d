//! The least of a WHIP/WHEP server around a node in this process, with good manners or bad ones. HTTP by hand, a
//! connection for each request, in the clear or over TLS with a certificate of its own making.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Error, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use interop::Node;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// 503 with a problem document.
    Refuses,
    /// 503 for every second viewer, good to all others.
    RefusesHalf,
    /// 429 with Retry-After for the first request, then good.
    PutsOffOnce,
    /// 201 with something that is no SDP.
    TalksNonsense,
    ForgetsLocation,
    /// An answer with another fingerprint.
    ForeignCertificate,
    /// An answer with a candidate where nobody listens.
    DeadCandidate,
    /// 401 without the token `open`.
    WantsToken,
    /// Every section is rejected.
    RejectsAll,
    /// An answer without end, or nearly.
    TalksForEver,
    /// 307 to where one was.
    SendsRoundInCircles,
    /// No answer.
    Hangs,
    /// A reset in place of an answer.
    Resets,
    /// The end of the connection in place of an answer.
    HangsUp,
}

/// Where a server is, and behind what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) v6: bool,
    pub(crate) tls: bool,
}

pub(crate) struct Front {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Manner,
    v6: bool,
    node: Node,
    sessions: Mutex<BTreeSet<u64>>,
    requests: AtomicU32,
    over: AtomicBool,
}

impl Front {
    pub(crate) fn start(manner: Manner) -> Front {
        Front::start_at(manner, Place::default())
    }

    pub(crate) fn start_at(manner: Manner, place: Place) -> Front {
        let host: IpAddr =
            if place.v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner,
            v6: place.v6,
            node: Node::start_with(1, |config| config.bind = vec![host]),
            sessions: Mutex::default(),
            requests: AtomicU32::new(0),
            over: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        let tls = place.tls.then(tls_config);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.over.load(Ordering::Relaxed) {
                    return;
                }
                let (server, tls) = (Arc::clone(&server), tls.clone());
                // A client that goes away in the middle is its own affair.
                thread::spawn(move || {
                    let stream = stream?;
                    match tls {
                        Some(config) => {
                            let session = ServerConnection::new(config).map_err(Error::other)?;
                            server.serve(StreamOwned::new(session, stream))
                        }
                        None => server.serve(stream),
                    }
                });
            }
        });
        let pumped = Arc::clone(&shared);
        thread::spawn(move || {
            while !pumped.over.load(Ordering::Relaxed) {
                pumped.node.pump();
                thread::sleep(Duration::from_millis(5));
            }
        });
        Front { address, tls: place.tls, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http{}://{}", if self.tls { "s" } else { "" }, self.address)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u32 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Sessions that nobody has ended.
    pub(crate) fn open_sessions(&self) -> usize {
        self.shared.sessions.lock().unwrap().len()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The listener wakes up and goes.
        let _last = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: impl Read + Write) -> std::io::Result<()> {
        if self.manner == Manner::Resets {
            // What was sent and not read makes the end a reset.
            thread::sleep(Duration::from_millis(50));
            return Ok(());
        }
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut field = String::new();
            if reader.read_line(&mut field)? <= 2 {
                break;
            }
            let Some((name, value)) = field.split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => token = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = if self.manner == Manner::WantsToken && token != "Bearer open" {
            respond("401 Unauthorized", "", r#"{"title":"Unauthorized","detail":"No such token"}"#)
        } else {
            self.answer(&method, &target, &String::from_utf8_lossy(&body))
        };
        let mut stream = reader.into_inner();
        stream.write_all(answer.as_bytes())?;
        stream.flush()
    }

    fn answer(&self, method: &str, target: &str, offer: &str) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let refuses = match self.manner {
            Manner::Refuses => true,
            Manner::RefusesHalf => target.starts_with("/whep") && number.is_multiple_of(2),
            _ => false,
        };
        match self.manner {
            _ if method == "DELETE" => {
                let id = target.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
                self.node.close(model::SessionId(id));
                self.sessions.lock().unwrap().remove(&id);
                respond("200 OK", "", "")
            }
            _ if refuses => {
                let body = r#"{"type":"about:blank","title":"Closed today"}"#;
                respond(
                    "503 Service Unavailable",
                    "Content-Type: application/problem+json\r\n",
                    body,
                )
            }
            Manner::PutsOffOnce if number == 0 => {
                respond("429 Too Many Requests", "Retry-After: 1\r\n", "")
            }
            Manner::TalksNonsense => respond("201 Created", "Location: /s/1\r\n", "<html>"),
            Manner::TalksForEver => {
                respond("201 Created", "Location: /s/1\r\n", &"v=0\r\n".repeat(500_000))
            }
            Manner::SendsRoundInCircles => {
                respond("307 Temporary Redirect", &format!("Location: {target}\r\n"), "")
            }
            Manner::Hangs => {
                thread::sleep(Duration::from_secs(5));
                String::new()
            }
            Manner::HangsUp => String::new(),
            _ => self.open(target, offer),
        }
    }

    fn open(&self, target: &str, offer: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.trim_start_matches('/').split('/');
        let (face, room) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let who = query.strip_prefix("participant=").unwrap_or("nobody");
        let accepted = match face {
            "whip" => self.node.publish(room, who, offer),
            _ => self.node.subscribe(room, parts.next(), offer),
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return respond("422 Unprocessable Content", "", &error.to_string()),
        };
        self.sessions.lock().unwrap().insert(accepted.session.0);
        let location = match self.manner {
            Manner::ForgetsLocation => String::new(),
            _ => format!("Location: /sessions/{}\r\n", accepted.session.0),
        };
        respond("201 Created", &location, &self.distort(accepted.answer))
    }

    fn distort(&self, answer: String) -> String {
        let answer = match self.v6 {
            // The node in this process knows of one address only.
            true => answer.replace("127.0.0.1", "::1"),
            false => answer,
        };
        let line = |start: &str| {
            let line = answer.lines().find(|line| line.starts_with(start)).unwrap();
            line.to_owned()
        };
        match self.manner {
            Manner::RejectsAll => {
                let port = format!(" {} UDP/TLS", line("m=").split(' ').nth(1).unwrap());
                answer.replace(&port, " 0 UDP/TLS")
            }
            Manner::ForeignCertificate => {
                let print = line("a=fingerprint:sha-256 ");
                let other = vec!["AB"; 32].join(":");
                answer.replace(&print, &format!("a=fingerprint:sha-256 {other}"))
            }
            Manner::DeadCandidate => {
                let port = format!(" {} typ host", self.node.port());
                answer.replace(&port, " 9 typ host")
            }
            _ => answer,
        }
    }
}

fn tls_config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

fn respond(status: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    )
}

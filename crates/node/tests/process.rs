//! The binary as an operator runs it: it starts, refuses, serves, keeps secrets, stops.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PUBLISH: &str = include_str!("../../sdp/fixtures/chromium-publish-simulcast.sdp");
const KEY: &str = "planted-key-planted-key-planted-key!";
const TURN: &str = "planted-turn-password";

fn sfumato(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sfumato"));
    command.args(args);
    // Variables of the machine must not change the result.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SFUMATO_")) {
        command.env_remove(name);
    }
    command
}

fn output(args: &[&str]) -> Output {
    sfumato(args).output().unwrap()
}

/// A running node; its log is collected.
struct Node {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        let always = ["--listen", "127.0.0.1:0", "--media-port", "0", "--log-format", "json"];
        let mut command = sfumato(&[&always, args].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let port = loop {
            let line = lines.next().expect("it ended").unwrap();
            seen += &line;
            if let Some(address) = field(&line, "http") {
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        let log = Arc::new(Mutex::new(seen));
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *sink.lock().unwrap() += &format!("{line}\n");
            }
        });
        Self { child, port, log }
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends SIGTERM. Returns how long the stop took, and the log.
    fn stop(mut self) -> (Duration, String) {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let took = start.elapsed();
        std::thread::sleep(Duration::from_millis(50));
        (took, self.log.lock().unwrap().clone())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // If the test succeeded, the process has already ended.
        let _ended = self.child.kill();
    }
}

/// A text field of a flat JSON object; the log lines here need no more.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    answer.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap()
}

#[test]
fn with_nothing_set_it_serves_a_page_and_a_test_card() {
    let node = Node::start(&[]);
    let page = node.request("GET", "/", "", "");
    assert_eq!(status(&page), "200");
    assert!(page.contains("<title>Sfumato</title>"));
    let config = node.request("GET", "/api/config", "", "");
    assert!(config.contains("\"auth\":\"none\"") && config.contains("\"demo_room\":\"demo\""));
    let counted = |name: &str| {
        let metrics = node.request("GET", "/metrics", "", "");
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    std::thread::sleep(Duration::from_millis(500));
    assert!(counted("sfumato_worker_rtp_accepted_total") > 25, "the test card plays");
    assert_eq!(counted("sfumato_worker_dropped_in_total"), 0);
    let room = node.request("GET", "/api/rooms/demo", "", "");
    assert!(
        room.contains("\"test-card\"") && room.contains("\"VP8\"") && room.contains("\"opus\"")
    );
    let rebound = node.request("GET", "http://rebound.example/", "", "");
    assert_eq!(status(&rebound), "421", "a page of another site whose name leads here");
    let (took, log) = node.stop();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(log.contains("SIGTERM") && log.contains("\"stopped\""), "{log}");
}

#[test]
fn it_does_not_serve_other_machines_without_keys() {
    let refused = output(&["--listen", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("auth.keys") && text.contains("--insecure-no-auth"), "{text}");
    assert_eq!(
        output(&["check-config", "--listen", "0.0.0.0:0", "--insecure-no-auth"]).status.code(),
        Some(0)
    );
    assert_eq!(output(&["--set", "http.nothing=1"]).status.code(), Some(2));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = output(&["--listen", &address, "--media-port", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains(&format!("http.listen = {address}")), "{text}");
    assert!(text.contains("choose another port"), "{text}");
}

#[test]
fn it_serves_https_with_certificate_and_key_from_files() {
    let directory = std::env::temp_dir().join(format!("sfumato-https-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let set = |name: &str, path: &std::path::Path| format!("http.{name}={}", path.display());
    let (with_cert, with_key) = (set("tls_cert", &cert), set("tls_key", &key));
    let node = Node::start(&["--set", &with_cert, "--set", &with_key]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = rustls::StreamOwned::new(client, socket);
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(status(&answer) == "200" && answer.contains("<title>Sfumato</title>"), "{answer}");
    let (_, log) = node.stop();
    assert!(log.contains("https://127.0.0.1:"), "{log}");

    std::fs::write(&key, "no key").unwrap();
    let refused = output(&["--listen", "127.0.0.1:0", "--set", &with_cert, "--set", &with_key]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("key.pem"), "{text}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn planted_secrets_are_in_no_log_metric_or_error() {
    let keys = format!("auth.keys=k={KEY}");
    let config = std::env::temp_dir().join(format!("sfumato-process-{}.toml", std::process::id()));
    let servers = format!(
        "[ice]\nservers = [{{ urls = \"turn:t.example\", username = \"u\", credential = \"{TURN}\" }}]\n"
    );
    std::fs::write(&config, servers).unwrap();
    let path = config.to_str().unwrap();
    let node = Node::start(&["--config", path, "--set", &keys, "--log-level", "trace"]);

    let made = output(&[
        "token",
        "--set",
        &keys,
        "--room",
        "*",
        "--identity",
        "ann",
        "--publish",
        "--admin",
    ]);
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let typed = format!("{bearer}Content-Type: application/sdp\r\n");
    let created = node.request("POST", "/whip/r", &typed, PUBLISH);
    assert_eq!(status(&created), "201", "{created}");
    assert!(created.contains(TURN));
    let location = header(&created, "location").to_owned();
    let refused = node.request("PATCH", &location, &bearer, "x");
    assert_eq!(status(&refused), "415");
    let broken = format!("Authorization: Bearer {token}x\r\nContent-Type: application/sdp\r\n");
    let unauthorized = node.request("POST", "/whip/r", &broken, PUBLISH);
    assert_eq!(status(&unauthorized), "401");
    let metrics = node.request("GET", "/metrics", &bearer, "");
    assert_eq!(status(&metrics), "200");
    assert_eq!(status(&node.request("DELETE", &location, &bearer, "")), "200");
    let checked = output(&["check-config", "--config", path, "--set", &keys]);
    assert_eq!(checked.status.code(), Some(0));
    let wrong = output(&["--set", &format!("auth.keys={KEY}")]);
    assert_eq!(wrong.status.code(), Some(2));
    let (_, log) = node.stop();
    std::fs::remove_file(&config).unwrap();
    assert!(log.contains("session agreed") && log.contains("answered"), "the log is not empty");

    let line = |text: &str, prefix: &str| {
        text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().trim().to_owned()
    };
    let secrets = [
        KEY.to_owned(),
        TURN.to_owned(),
        token.clone(),
        location.rsplit('/').next().unwrap().to_owned(),
        line(&created, "a=ice-pwd:"),
        line(PUBLISH, "a=ice-pwd:"),
    ];
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let places = [
        ("log", log),
        ("metrics", metrics),
        ("401", unauthorized),
        ("check-config", text(checked.stdout)),
        ("configuration error", text(wrong.stderr)),
    ];
    for (place, words) in &places {
        for (at, secret) in secrets.iter().enumerate() {
            assert!(!words.contains(secret), "secret {at} in the {place}");
        }
    }
}

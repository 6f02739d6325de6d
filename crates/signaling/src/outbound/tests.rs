//! Requests to servers on loopback, with and without TLS.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

impl Outbound {
    /// One that may connect to loopback.
    pub(crate) fn to_loopback() -> Self {
        Self::new(vec!["127.0.0.0/8".parse().unwrap()], None).unwrap()
    }

    /// The same with other answers of the resolver.
    fn resolving(
        mut self,
        resolve: impl Fn(&str, u16) -> Vec<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.resolve = Arc::new(move |host, port| Ok(resolve(host, port)));
        self
    }
}

/// Answers each connection with the same bytes, whatever was asked. The texts of the requests' heads are kept.
async fn server(answer: String) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = heads.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4_096];
            let len = stream.read(&mut head).await.unwrap();
            kept.lock().unwrap().push(String::from_utf8_lossy(&head[..len]).into_owned());
            // The other side may have closed the connection already.
            let _may_fail = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, heads)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn get(outbound: &Outbound, url: &str, answer_max: usize) -> Result<Answer, OutboundError> {
    let outgoing = Outgoing {
        method: Method::GET,
        url: &url.parse().unwrap(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(20),
        answer_max,
    };
    outbound.send(outgoing).await
}

#[tokio::test]
async fn a_request_goes_to_an_address_that_was_checked() {
    let (address, heads) = server(answer("200 OK", "hello")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let outbound = Outbound::to_loopback().resolving(move |host, _| {
        assert_eq!(host, "keys.example");
        count.fetch_add(1, Ordering::Relaxed);
        vec![address]
    });
    let got = get(&outbound, "http://keys.example:81/set?x=1", 5).await.unwrap();
    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"hello"[..]));
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /set?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: keys.example:81\r\n"), "{head}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "there is no second resolution to change");
}

// Threats, row 46.
#[tokio::test]
async fn private_addresses_are_not_connected_to_unless_named() {
    let (address, heads) = server(answer("200 OK", "")).await;
    let strict = Outbound::new(Vec::new(), None).unwrap();
    let url = format!("http://{address}/");
    let refused = get(&strict, &url, 9).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Forbidden(ip) if ip == address.ip()), "{refused}");
    assert!(refused.to_string().contains("http.outbound_allow"));
    // One private address among public ones forbids the name.
    let mixed = strict.clone().resolving(move |_, _| vec!["8.8.8.8:80".parse().unwrap(), address]);
    let refused = get(&mixed, "https://mixed.example/", 9).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Forbidden(_)), "{refused}");
    let many = strict.clone().resolving(|_, _| vec!["8.8.8.8:80".parse().unwrap(); 33]);
    let refused = get(&many, "https://many.example/", 9).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Resolve(_)), "{refused}");
    for url in ["https://169.254.169.254/", "https://[::ffff:127.0.0.1]/", "https://10.0.0.1/"] {
        let refused = get(&Outbound::to_loopback(), url, 9).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Forbidden(_)), "{url}: {refused}");
    }
    assert!(heads.lock().unwrap().is_empty(), "nobody connected");
    assert!(get(&Outbound::to_loopback(), &url, 9).await.is_ok());
}

#[tokio::test]
async fn without_tls_only_this_machine_is_spoken_to() {
    let public = |_: &str, _| vec!["8.8.8.8:80".parse().unwrap()];
    let outbound = Outbound::to_loopback().resolving(public);
    let refused = get(&outbound, "http://app.example/", 9).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Plaintext), "{refused}");
}

#[tokio::test]
async fn redirects_are_answers_and_answers_are_bounded() {
    let (aim, aimed) = server(answer("200 OK", "inner")).await;
    let moved =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{aim}/\r\nContent-Length: 0\r\n\r\n");
    let (address, _) = server(moved).await;
    let outbound = Outbound::to_loopback();
    let got = get(&outbound, &format!("http://{address}/"), 9).await.unwrap();
    assert_eq!(got.status, StatusCode::FOUND);
    assert!(aimed.lock().unwrap().is_empty(), "nobody followed");

    let (address, _) = server(answer("200 OK", &"x".repeat(10))).await;
    assert!(get(&outbound, &format!("http://{address}/"), 10).await.is_ok());
    let large = get(&outbound, &format!("http://{address}/"), 9).await.unwrap_err();
    assert!(matches!(large, OutboundError::Http(_)), "{large}");
    for wrong in ["hello\r\n\r\n".to_owned(), "X: y\r\n".repeat(10_000), String::new()] {
        let (address, _) = server(wrong).await;
        let refused = get(&outbound, &format!("http://{address}/"), 9).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Http(_)), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let got = get(&Outbound::to_loopback(), &url, 9).await.unwrap_err();
    assert!(matches!(got, OutboundError::Timeout), "{got}");
}

#[tokio::test]
async fn certificates_are_checked_against_name_and_roots() {
    let made = rcgen::generate_simple_self_signed(["keys.example".to_owned()]).unwrap();
    let path = std::env::temp_dir().join(format!("sfumato-outbound-{}.pem", std::process::id()));
    std::fs::write(&path, made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], made.signing_key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _head = stream.read(&mut [0; 4_096]).await;
            let _may_fail = stream.write_all(answer("200 OK", "hello").as_bytes()).await;
        }
    });
    let allowed: Vec<Network> = vec!["127.0.0.0/8".parse().unwrap()];
    let trusting =
        Outbound::new(allowed, Some(&path)).unwrap().resolving(move |_, _| vec![address]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(&get(&trusting, "https://keys.example/", 9).await.unwrap().body[..], b"hello");
    let other_name = get(&trusting, "https://evil.example/", 9).await.unwrap_err();
    assert!(matches!(other_name, OutboundError::Tls(_)), "{other_name}");
    let strict = Outbound::to_loopback().resolving(move |_, _| vec![address]);
    let unknown = get(&strict, "https://keys.example/", 9).await.unwrap_err();
    assert!(matches!(unknown, OutboundError::Tls(_)), "{unknown}");
    let missing = Outbound::new(Vec::new(), Some(&path)).unwrap_err();
    assert!(missing.to_string().contains("sfumato-outbound"), "{missing}");
}

//! HTTP requests that the node itself makes: for keys of tokens, and to deliver webhooks.
//!
//! The host is resolved first, each of its addresses is checked against the forbidden ranges ([`ranges`]), and the connection goes to an
//! address that was checked: there is no second resolution that could give another one. Redirects are not followed, since they would lead
//! past all of this. Time and the size of answers are bounded. A request has a connection of its own.

mod ranges;
mod url;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{HOST, USER_AGENT};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Network;

pub use url::{OutboundUrl, OutboundUrlError};

/// Time for a TCP connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Addresses of a name that are looked at; more are an error, since all of them have to be checked.
const ADDRESSES_MAX: usize = 32;
/// Addresses that are tried.
const ATTEMPTS_MAX: usize = 3;
/// Most bytes of an answer's head.
const HEAD_MAX: usize = 32 * 1_024;

type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Makes requests; a cheap handle.
#[derive(Clone)]
pub struct Outbound {
    allowed: Arc<[Network]>,
    tls: Arc<ClientConfig>,
    resolve: Resolve,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

/// A request.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a OutboundUrl,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// Time for everything: resolution, connection, request and answer.
    pub(crate) timeout: Duration,
    /// Most bytes of the answer's body.
    pub(crate) answer_max: usize,
}

/// The answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum OutboundError {
    /// The name has no address.
    Resolve(io::Error),
    /// An address of the host is in a forbidden range.
    Forbidden(IpAddr),
    /// `http` to another machine.
    Plaintext,
    /// No connection.
    Connect(io::Error),
    /// The certificate is not good, or TLS fails otherwise.
    Tls(io::Error),
    /// The other side speaks no HTTP, ends the connection, or answers too much.
    Http(String),
    /// It took too long.
    Timeout,
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboundError::Resolve(error) => write!(f, "the name has no address: {error}"),
            OutboundError::Forbidden(address) => write!(
                f,
                "{address} is private or reserved, and http.outbound_allow does not name its range"
            ),
            OutboundError::Plaintext => {
                f.write_str("http is for addresses of this machine only; others need https")
            }
            OutboundError::Connect(error) => write!(f, "no connection: {error}"),
            OutboundError::Tls(error) => write!(f, "TLS: {error}"),
            OutboundError::Http(error) => write!(f, "HTTP: {error}"),
            OutboundError::Timeout => f.write_str("no answer in time"),
        }
    }
}

impl Outbound {
    /// `allowed`: ranges of private addresses that may be connected to. The certificates of others are checked against the roots of
    /// Mozilla, which are part of the binary: a container image need not have any. `ca`: a PEM file with roots to trust beside them.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate in it. The text names it.
    pub fn new(allowed: Vec<Network>, ca: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = ca {
            let explain = |why: &dyn fmt::Display| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
            };
            let own = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| explain(&error))?;
            if own.is_empty() {
                return Err(explain(&"there is no certificate in it"));
            }
            for certificate in own {
                roots.add(certificate).map_err(|error| explain(&error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let resolve = |host: &str, port: u16| {
            let addresses = (host, port).to_socket_addrs()?;
            Ok(addresses.take(ADDRESSES_MAX + 1).collect())
        };
        Ok(Self { allowed: allowed.into(), tls: Arc::new(tls), resolve: Arc::new(resolve) })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Answer, OutboundError> {
        tokio::time::timeout(outgoing.timeout, self.exchange(outgoing))
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }

    async fn exchange(&self, outgoing: Outgoing<'_>) -> Result<Answer, OutboundError> {
        let url = outgoing.url;
        let addresses = self.addresses(url).await?;
        let stream = connect(&addresses).await.map_err(OutboundError::Connect)?;
        if !url.is_https() {
            return speak(TokioIo::new(stream), outgoing).await;
        }
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|error| OutboundError::Tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(OutboundError::Tls)?;
        speak(TokioIo::new(stream), outgoing).await
    }

    /// The checked addresses of a URL. One address that is forbidden forbids them all: a name with a public and a private address is the
    /// work of somebody who tries to get in.
    async fn addresses(&self, url: &OutboundUrl) -> Result<Vec<SocketAddr>, OutboundError> {
        let (resolve, host, port) = (self.resolve.clone(), url.host().to_owned(), url.port());
        let resolved = tokio::task::spawn_blocking(move || resolve(&host, port)).await;
        let addresses =
            resolved.map_err(io::Error::other).and_then(|r| r).map_err(OutboundError::Resolve)?;
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            let why = io::Error::other("none, or too many");
            return Err(OutboundError::Resolve(why));
        }
        for address in &addresses {
            if !ranges::is_allowed(address.ip(), &self.allowed) {
                return Err(OutboundError::Forbidden(address.ip()));
            }
            if !url.is_https() && !address.ip().is_loopback() {
                return Err(OutboundError::Plaintext);
            }
        }
        Ok(addresses)
    }
}

/// A connection to the first of the addresses that accepts one.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ATTEMPTS_MAX) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

async fn speak<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: TokioIo<T>,
    outgoing: Outgoing<'_>,
) -> Result<Answer, OutboundError> {
    let failed = |error: hyper::Error| OutboundError::Http(error.to_string());
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(stream);
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    // Ends with this exchange, also when the exchange is given up.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = outgoing.url.path().clone();
    request.headers_mut().insert(HOST, outgoing.url.authority().clone());
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("sfumato"));
    request.headers_mut().extend(outgoing.headers);
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), outgoing.answer_max).collect().await;
    let body = body.map_err(|error| OutboundError::Http(error.to_string()))?.to_bytes();
    Ok(Answer { status, body })
}

#[cfg(test)]
pub(crate) mod tests;

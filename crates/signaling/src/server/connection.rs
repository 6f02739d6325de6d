//! One connection, from the first byte to the last: PROXY header, TLS handshake, HTTP, and an end that lets the client
//! read the last answer.
//!
//! Each step has a time limit, and the connection has its place from the first step on: a client can neither hold a
//! connection by being slow in one step, nor have more connections in these steps than it may have in all.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Deadline, Version, Watched};
use super::places::{Share, Shares};
use super::stay::{Stay, Taken, Takeover, Transport};
use super::{ServerConfig, proxy_protocol};
use crate::client;
use crate::log::PROXY_LINES;

/// Bytes of the request line and the headers.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Requests at a time on one HTTP/2 connection. RFC 9113 section 6.5.2 recommends no less than 100.
const MAX_STREAMS: u32 = 100;
/// Bytes that a client may send of one body, and of all bodies of a connection, before they are read (RFC 9113 section
/// 5.2).
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Streams that a client may reset before they are handled. More end the connection: each costs the work of a request,
/// and no limit of requests counts it ("rapid reset").
const MAX_RESETS: usize = 20;
/// While an HTTP/2 connection has requests under way, a PING checks this often whether the client is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time for a connection to end by itself before it is cut off.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away after the last answer. If a socket is closed with unread bytes, the kernel
/// resets the connection, and the client loses what it has not read yet, including the answer that says why.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// The client of a request; stored in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// The client's address. For a request of a trusted proxy: the address that the proxy names.
    pub(crate) address: IpAddr,
    /// Through proxies the client has as many requests under way as it may have.
    pub(crate) crowded: bool,
}

/// What all connections of a listener share.
pub(super) struct Door {
    config: ServerConfig,
    router: Router,
    shares: Shares,
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// It is a proxy whose word on its clients' addresses is taken.
    pub(super) trusted: bool,
}

impl Door {
    pub(super) fn new(config: ServerConfig, router: Router, shares: Shares) -> Self {
        Self { config, router, shares }
    }

    /// Serves a connection to its end.
    pub(super) async fn enter(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        mut stopping: watch::Receiver<bool>,
    ) {
        // An answer is written at once, so Nagle's algorithm would only delay it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let peer = self.peer(address.ip().to_canonical());
        // Before HTTP begins there is no request to finish, so the connection is closed when the server stops.
        let mut told = stopping.clone();
        let opened = tokio::select! {
            opened = self.open(stream, peer) => opened,
            _ = told.wait_for(|&stop| stop) => return,
        };
        match opened {
            Ok(Some(Opened::Plain(stream, at))) => {
                self.http1(stream, at, &mut stopping).await;
            }
            Ok(Some(Opened::Tls(stream, at))) => {
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    self.http2(*stream, at, &mut stopping).await;
                } else {
                    self.http1(*stream, at, &mut stopping).await;
                }
            }
            Ok(None) => {
                tracing::debug!(client = %peer.address, "an address has its share of connections")
            }
            Err(error) => tracing::debug!(client = %peer.address, %error, "connection ended"),
        }
    }

    fn peer(&self, address: IpAddr) -> Peer {
        Peer { address, trusted: client::is_in(&self.config.trusted_proxies, address) }
    }

    /// Reads the PROXY header and does the TLS handshake. `None` when the client already has its share of connections.
    async fn open(&self, mut stream: TcpStream, mut peer: Peer) -> io::Result<Option<Opened>> {
        if peer.trusted && self.config.proxy_protocol {
            let read = proxy_protocol::read(&mut stream);
            match in_time(self.config.limits.header_timeout, read).await {
                Ok(Some(address)) => peer = self.peer(address.to_canonical()),
                Ok(None) => {}
                Err(error) => {
                    // The proxy or this node is configured wrongly. The log may name the proxy: its address is no
                    // client's.
                    if let Some(hidden) = PROXY_LINES.pass() {
                        tracing::warn!(proxy = %peer.address, %error, hidden, "no PROXY protocol header from a trusted proxy, connection closed");
                    }
                    return Err(error);
                }
            }
        }
        // A proxy may have as many connections as its clients need; each request on them counts for its client.
        let share = match peer.trusted {
            true => None,
            false => match self.shares.take(peer.address) {
                Some(share) => Some(share),
                None => return Ok(None),
            },
        };
        let at = At::new(peer, share);
        let Some(certificates) = &self.config.tls else {
            return Ok(Some(Opened::Plain(stream, at)));
        };
        let acceptor = TlsAcceptor::from(certificates.server_config());
        let handshake = in_time(self.config.limits.handshake_timeout, acceptor.accept(stream));
        Ok(Some(Opened::Tls(Box::new(handshake.await?), at)))
    }

    pub(super) async fn http1<T: Transport>(
        self: Arc<Self>,
        transport: T,
        at: At,
        stopping: &mut watch::Receiver<bool>,
    ) {
        let takeover = Takeover::default();
        let (activity, requests) =
            self.requests(Version::Http1, at.peer, stopping.clone(), Some(takeover.clone()));
        let io = TokioIo::new(Watched::new(transport, activity.clone()));
        let mut builder = http1::Builder::new();
        // `activity` limits the time for headers; hyper's limit would also run between requests.
        builder.max_buf_size(MAX_HEADER_BYTES).header_read_timeout(None);
        let mut connection = builder.serve_connection(io, requests);
        let ended = run(&activity, stopping, |cx, leave| {
            if leave {
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        });
        let ended = ended.await;
        // Taken out in any case: what follows holds the connection's `Stay`, and that holds the takeover.
        let then = takeover.take();
        if ended {
            let parts = connection.into_parts();
            let transport = parts.io.into_inner().into_inner();
            match then {
                Some(then) => {
                    let transport = Box::new(transport);
                    then(Taken { transport, read: parts.read_buf }).await;
                }
                None => linger(transport).await,
            }
        }
    }

    async fn http2<T: Transport>(
        self: Arc<Self>,
        transport: T,
        at: At,
        stopping: &mut watch::Receiver<bool>,
    ) {
        let (activity, requests) = self.requests(Version::Http2, at.peer, stopping.clone(), None);
        let io = TokioIo::new(Watched::new(transport, activity.clone()));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL);
        let mut connection = pin!(builder.serve_connection(io, requests));
        run(&activity, stopping, |cx, leave| {
            if leave {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx)
        })
        .await;
    }

    fn requests(
        self: Arc<Self>,
        version: Version,
        peer: Peer,
        stopping: watch::Receiver<bool>,
        takeover: Option<Takeover>,
    ) -> (Arc<Activity>, Requests) {
        let limits = &self.config.limits;
        let activity = Arc::new(Activity::new(version, limits.header_timeout, limits.idle_timeout));
        let router = TowerToHyperService::new(self.router.clone());
        (activity.clone(), Requests { door: self, peer, activity, stopping, takeover, router })
    }
}

/// The other end of a connection, and its place, which is held until this is dropped.
pub(super) struct At {
    peer: Peer,
    _share: Option<Share>,
}

impl At {
    pub(super) fn new(peer: Peer, share: Option<Share>) -> Self {
        Self { peer, _share: share }
    }
}

/// A connection that is ready for HTTP.
enum Opened {
    Plain(TcpStream, At),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, At),
}

/// The service that answers the requests of a connection.
struct Requests {
    door: Arc<Door>,
    peer: Peer,
    activity: Arc<Activity>,
    stopping: watch::Receiver<bool>,
    takeover: Option<Takeover>,
    router: TowerToHyperService<Router>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let at_work = self.activity.request();
        let trusted = &self.door.config.trusted_proxies;
        let address = client::address(trusted, self.peer.address, request.headers());
        // A connection without a proxy already has its client's place.
        let share = self.peer.trusted.then(|| self.door.shares.take(address));
        let crowded = matches!(share, Some(None));
        let (stopping, takeover) = (self.stopping.clone(), self.takeover.clone());
        let stay = Stay::new(at_work, share.flatten(), stopping, takeover);
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Client { address, crowded });
        request.extensions_mut().insert(stay.clone());
        let answer = hyper::service::Service::call(&self.router, request);
        Box::pin(async move {
            let answer = answer.await;
            drop(stay);
            answer
        })
    }
}

/// Drives a connection until it ends, misses a deadline ([`Activity`]), or the server stops. `poll` is told once to
/// take no further requests. `false` when the connection was cut off.
async fn run(
    activity: &Activity,
    stopping: &mut watch::Receiver<bool>,
    mut poll: impl FnMut(&mut std::task::Context<'_>, bool) -> Poll<hyper::Result<()>>,
) -> bool {
    let mut stop = pin!(stopping.wait_for(|&stop| stop));
    let mut timer = pin!(sleep_until(Instant::now()));
    // When the server stops, requests under way are finished first. When a deadline has passed, they have until
    // `cut_off_at`.
    let (mut stopped, mut cut_off_at) = (false, None);
    poll_fn(|cx| {
        let mut leave = false;
        if !stopped && stop.as_mut().poll(cx).is_ready() {
            (stopped, leave) = (true, true);
        }
        loop {
            if let Poll::Ready(ended) = poll(cx, leave) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(true);
            }
            let deadline = match (cut_off_at, activity.deadline()) {
                (Some(at), _) => at,
                (None, Deadline::Headers(at) | Deadline::Idle(at)) => at,
                // An answer that is written wakes this future. A request that the client took back has no answer and
                // wakes nothing, so the state is checked again after this time.
                (None, Deadline::None) => Instant::now() + activity.idle_timeout(),
            };
            timer.as_mut().reset(deadline);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match (cut_off_at, activity.deadline()) {
                (Some(_), _) | (None, Deadline::Headers(_)) => {
                    tracing::debug!("connection cut off");
                    return Poll::Ready(false);
                }
                (None, Deadline::Idle(at)) if at <= Instant::now() => {
                    (cut_off_at, leave) = (Some(Instant::now() + GRACE), true);
                }
                (None, Deadline::Idle(_) | Deadline::None) => leave = false,
            }
        }
    })
    .await
}

/// Reads what the client still sends, up to [`LINGER_BYTES`], so that the last answer is not lost.
async fn linger(mut transport: impl Transport) {
    let end = async {
        transport.shutdown().await?;
        let (mut left, mut buffer) = (LINGER_BYTES, vec![0; 16 * 1024]);
        while left > 0 {
            match transport.read(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    // Whether this ends with a reset or at its time limit makes no difference: the client had its time to read the
    // answer.
    let _ended = timeout(LINGER_TIME, end).await;
}

async fn in_time<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

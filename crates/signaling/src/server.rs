//! The TCP side: accepts connections, bounds their number and their slowness, and hands requests to the router.
//! HTTP/1.1 only, so floods of HTTP/2 frames have nothing to hit. No TLS: that is a proxy's part.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use crate::config::Limits;
use crate::places::Places;

/// The client's address, among the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// Pause after a failed `accept`. With no file descriptor left (EMFILE, ENFILE) accept fails at once, again and
/// again; the loop must neither spin nor die, and has to be back within a second of relief.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of request line and headers.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Serves until `stop` resolves, then closes idle connections and waits for the busy ones to finish their request.
/// The caller sets a deadline by dropping the future.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: impl Future<Output = ()>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES);
    let places = Places::new(limits.connections);
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    let mut failing = false;
    loop {
        let next = async {
            let permit = places.wait().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                let Some(place) = places.give(permit, address) else {
                    tracing::debug!("an address has its share of connections");
                    continue;
                };
                let connection = connection(&builder, stream, address, router.clone());
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "accept fails, trying again until it works");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

type Connection<S> = http1::Connection<TokioIo<TcpStream>, S>;

fn connection(
    builder: &http1::Builder,
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
) -> Connection<
    impl hyper::service::Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<>,
> {
    // Answers are one write; waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ClientAddress(address));
        hyper::service::Service::call(&service, request)
    });
    builder.serve_connection(TokioIo::new(stream), service)
}

/// Errors of `accept` that belong to the connection in question, not to the listener (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

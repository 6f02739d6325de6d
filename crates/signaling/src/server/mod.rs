//! The TCP side: accepts connections, bounds their number, and runs each one in a task of its own ([`connection`]).
//!
//! HTTP/1.1 without TLS; with [`Certificates`] TLS, and in it HTTP/2 or HTTP/1.1, as the client chooses by ALPN.
//! HTTP/2 without TLS is not served: no browser uses it, and behind a proxy HTTP/1.1 is as good.

mod activity;
mod connection;
#[cfg(test)]
mod event_tests;
mod places;
mod proxy_protocol;
mod stay;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use connection::Client;
pub(crate) use stay::{Stay, Taken, Transport};
pub use tls::Certificates;

use crate::client::Network;
use crate::config::Limits;
use crate::log::ACCEPT_LINES;
use connection::Door;
use places::Places;

/// The configuration of a listener.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// Limits of numbers, sizes and times.
    pub limits: Limits,
    /// Proxies whose word on their clients' addresses is taken.
    pub trusted_proxies: Vec<Network>,
    /// Trusted proxies begin each connection with a PROXY protocol header, version 1 or 2. A connection without it is
    /// closed.
    pub proxy_protocol: bool,
    /// TLS with these certificates; `None`: without TLS.
    pub tls: Option<Arc<Certificates>>,
}

/// Pause after a failed `accept`. When no file descriptor is left (EMFILE, ENFILE), accept fails at once, again and
/// again. The loop must neither spin nor end, and has to accept again within a second after descriptors are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves; then closes idle connections, and waits until the busy ones have finished their
/// requests. The caller sets a deadline by dropping the future.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &ServerConfig,
    stop: impl Future<Output = ()>,
) {
    let places = Places::new(config.limits.connections);
    let door = Arc::new(Door::new(config.clone(), router, places.shares()));
    let (stopper, stopping) = watch::channel(false);
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
                let (door, stopping) = (door.clone(), stopping.clone());
                tokio::spawn(async move {
                    door.enter(stream, address, stopping).await;
                    drop(permit);
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true)
                    && let Some(hidden) = ACCEPT_LINES.pass()
                {
                    tracing::warn!(%error, hidden, "accept fails, trying again until it works");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, stopping));
    // An error means that no connection is left to be told.
    stopper.send(true).unwrap_or_default();
    // Each connection holds a receiver until it ends.
    stopper.closed().await;
}

/// Errors of `accept` that concern only the new connection, not the listener (accept(2)).
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

//! The TCP side: accepts connections, bounds their number, and gives each one a task of its own ([`connection`]).
//!
//! HTTP/1.1 in the clear; with [`Certificates`] TLS, and in it HTTP/2 or HTTP/1.1, as the client chooses by ALPN.
//! HTTP/2 in the clear is not spoken: no browser does, and behind a proxy HTTP/1.1 costs nothing.

mod activity;
mod connection;
mod places;
mod proxy_protocol;
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
pub use tls::Certificates;

use crate::client::Network;
use crate::config::Limits;
use crate::log::ACCEPT_LINES;
use connection::Door;
use places::Places;

/// How a listener treats those who connect.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// Numbers and times.
    pub limits: Limits,
    /// Proxies that may say whom they speak for.
    pub trusted_proxies: Vec<Network>,
    /// Trusted proxies begin each connection with a PROXY protocol header, version 1 or 2. One without it is closed.
    pub proxy_protocol: bool,
    /// TLS with these certificates; without them the listener speaks in the clear.
    pub tls: Option<Arc<Certificates>>,
}

/// Pause after a failed `accept`. With no file descriptor left (EMFILE, ENFILE) accept fails at once, again and
/// again; the loop must neither spin nor die, and has to be back within a second of relief.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then closes idle connections and waits for the busy ones to finish their request.
/// The caller sets a deadline by dropping the future.
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
    // An error means that there is no connection left to tell.
    stopper.send(true).unwrap_or_default();
    // Each connection holds a receiver until its end.
    stopper.closed().await;
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

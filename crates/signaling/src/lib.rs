//! HTTP signaling: WHIP, WHEP, the room API and the web page.
//!
//! An offer's way, each step a file:
//!
//! 1. `server`: a connection is accepted, within bounds of number and time; PROXY header, TLS, HTTP/1.1 or HTTP/2. `client`: the
//!    client's address;
//! 2. `http/path`: surplus slashes are removed; `http/gate`: the request is counted against the rate limits (`limits`); its answer gets CORS fields and,
//!    if it is an error, problem details (`http/cors`, `http/problem`);
//! 3. `http/host`: the host name of the request is checked; `http/router`: the path leads to `http/whip` or `http/whep`;
//! 4. `auth`: the bearer token is checked; it gives the caller's identity and grants;
//! 5. `http/offer`: content types are checked and the offer is read (`http/body`);
//! 6. `sessions`, `calls`: on a thread that may wait for the room's lock, [`core`]: the `room` crate negotiates without a lock, and the room of that name applies the result under its own lock; its commands
//!    go to the workers through the [`CommandSink`]. In `resources` the session gets a secret URL and an entity tag;
//! 7. `http/offer` again: 201 with the answer. From there on PATCH and DELETE come to `http/resource`.
//!
//! A room session (`http/session`) has events beside: `events` makes numbered messages of what happens in a room, `http/events` carries them over a
//! WebSocket or as Server-Sent Events and takes commands.
//!
//! Events of the workers and timers come in by `driver`.
//!
//! Signaling never sees a worker, only a [`CommandSink`] and a channel of events; it parses no SDP itself.

mod auth;
mod calls;
mod capacity;
mod client;
mod clock;
mod config;
pub mod core;
mod counters;
pub mod data;
mod driver;
mod events;
mod expiry;
mod http;
mod limits;
mod log;
mod observers;
mod outbound;
mod resources;
mod secret;
mod server;
mod sessions;
mod state;
mod webhooks;

pub use auth::{
    FixedKeys, KeysFile, KeysUrl, NewKeys, NewToken, SigningKey, check_key_set, check_token, mint,
    new_keys,
};
pub use client::{Network, NetworkError};
pub use config::{AuthConfig, Config, IceServer, Limits, Rate, TokenConfig};
pub use core::{CommandSink, Core, Observer};
#[cfg(feature = "lab")]
pub use events::lab;
pub use events::{asked_of_room, messages};
pub use expiry::ExpiredSessions;
pub use http::cors::{OriginRule, OriginRuleError};
pub use http::kinds::ProblemKind;
pub use http::v1::bodies as admin;
pub use outbound::{Outbound, OutboundUrl, OutboundUrlError};
pub use secret::Secret;
pub use server::{Certificates, ServerConfig, serve};
pub use state::{Operations, Signaling, WriteMetrics};
pub use webhooks::{WebhookConfig, WebhookLimits, WebhookSecret, WebhookSecretError, Webhooks};

impl Signaling {
    /// The routes of the public listener.
    pub fn router(&self) -> axum::Router {
        http::router::public(self.clone())
    }

    /// Metrics and health without authentication, for a listener that only operators can reach.
    pub fn operations_router(&self) -> axum::Router {
        http::router::operations(self.clone())
    }
}

//! The configuration of signaling, as plain values. The binary reads files and the environment.

use std::sync::Arc;
use std::time::Duration;

use model::RoomId;

use crate::Secret;
use crate::auth::{FixedKeys, KeysFile, KeysUrl};
use crate::expiry::ExpiredSessions;
use crate::http::cors::OriginRule;
use crate::webhooks::Webhooks;

/// Settings of the HTTP side.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who may publish, watch and administer.
    pub auth: AuthConfig,
    /// Origins whose pages may call the API (CORS). Pages of the node's own origin need no entry.
    pub cors_origins: Vec<OriginRule>,
    /// Only requests to `localhost` or to an IP address are served. For a node without authentication that only this
    /// machine can reach: it trusts every request that reaches it, and a foreign page must not send any by DNS
    /// rebinding.
    pub local_names_only: bool,
    /// Rate limits, sizes and deadlines.
    pub limits: Limits,
    /// STUN and TURN servers that clients are told to use.
    pub ice_servers: Vec<IceServer>,
    /// Who is told what happens in the rooms.
    pub webhooks: Option<Arc<Webhooks>>,
    /// The room that the page proposes.
    pub demo_room: Option<RoomId>,
    /// The version that `GET /api/config` returns.
    pub version: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth: AuthConfig::Open,
            cors_origins: Vec::new(),
            local_names_only: false,
            limits: Limits::default(),
            ice_servers: Vec::new(),
            webhooks: None,
            demo_room: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Who may publish, watch and administer.
#[derive(Debug, Clone)]
pub enum AuthConfig {
    /// Every caller may do everything. For a laptop, or behind a gateway that checks requests.
    Open,
    /// Bearer tokens (JWT) signed with one of the keys.
    Tokens(TokenConfig),
}

/// How bearer tokens are checked. A token's `kid` selects its key, and each key has one algorithm.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// Keys of the configuration.
    pub keys: FixedKeys,
    /// A file with more keys.
    pub file: Option<Arc<KeysFile>>,
    /// A URL with more keys.
    pub url: Option<Arc<KeysUrl>>,
    /// When set, the `aud` claim must contain it.
    pub audience: Option<String>,
    /// How long a session stays after its token expired, for a newer token that is on its way.
    pub expiry_grace: Duration,
    /// Which sessions end when their token expires.
    pub expired_sessions: ExpiredSessions,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            keys: FixedKeys::default(),
            file: None,
            url: None,
            audience: None,
            expiry_grace: Duration::from_secs(30),
            expired_sessions: ExpiredSessions::default(),
        }
    }
}

/// A STUN or TURN server, as in `RTCIceServer` of the WebRTC API.
#[derive(Debug, Clone)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` URIs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<Secret>,
}

/// A rate of requests: a bucket of `burst` that refills by `per_second`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests per second in the long run. 0 turns the limit off.
    pub per_second: f64,
    /// Requests that may come at once.
    pub burst: u32,
}

/// Bounds of the HTTP side.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For each client address (IPv6: each /64).
    pub per_address: Rate,
    /// For each bearer token, or each session URL when there is no token.
    pub per_token: Rate,
    /// Addresses and tokens that are remembered; at the bound all new ones share one bucket.
    pub table_size: usize,
    /// Open HTTP connections; further ones wait in the kernel's backlog. One address (IPv6: each /64) gets a quarter
    /// of them, and its further ones are closed at once; loopback gets all.
    pub connections: usize,
    /// From the first byte of a request to the end of its headers; for the first request of a connection, from the
    /// connection's beginning. The same time is allowed for a PROXY protocol header.
    pub header_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// From an answer to the next request of the connection.
    pub idle_timeout: Duration,
    /// Time for the whole body.
    pub body_timeout: Duration,
    /// Largest request body in bytes.
    pub body_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_address: Rate { per_second: 20.0, burst: 100 },
            per_token: Rate { per_second: 10.0, burst: 50 },
            table_size: 65_536,
            connections: 4_096,
            header_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(5),
            body_size: 256 * 1024,
        }
    }
}

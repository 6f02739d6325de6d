//! Configuration, in two steps: [`raw`] collects the values, and each subsystem checks and resolves its own.
//!
//! Precedence: flags, then environment (`SFUMATO_SECTION_KEY`), then file. An unknown key is an error (an environment
//! variable outside of the known sections only a warning), and a wrong value is reported with its key, what is
//! allowed, and where it came from.

mod auth;
mod bounds;
mod http;
mod ice;
mod limits;
mod log;
mod media;
mod outbound;
mod raw;
mod rooms;
#[cfg(test)]
mod tests;
mod webhooks;

use model::RoomId;

pub(crate) use auth::AuthSettings;
#[cfg(test)]
pub(crate) use bounds::MediaBounds;
pub(crate) use http::HttpSettings;
pub(crate) use log::{LogFormat, LogSettings};
pub(crate) use media::MediaSettings;
pub(crate) use outbound::OutboundSettings;
pub(crate) use raw::ConfigError;
use raw::RawConfig;

use crate::cli;

/// The checked configuration of the node.
#[derive(Debug)]
pub(crate) struct Config {
    /// The HTTP listeners and their limits.
    pub(crate) http: HttpSettings,
    /// Requests that the node makes itself.
    pub(crate) outbound: OutboundSettings,
    /// Who is told what happens in the rooms.
    pub(crate) webhooks: Option<signaling::WebhookConfig>,
    /// The media port and the workers.
    pub(crate) media: MediaSettings,
    /// Authentication.
    pub(crate) auth: AuthSettings,
    /// STUN and TURN servers for clients.
    pub(crate) ice: Vec<signaling::IceServer>,
    /// The numbers of rooms, participants and sessions that are allowed.
    pub(crate) limits: room::Limits,
    /// The settings of rooms that begin with their first session.
    pub(crate) rooms: room::RoomSettings,
    /// Level and format of the log.
    pub(crate) log: LogSettings,
    /// The room of the test card, if there is one.
    pub(crate) test_card: Option<RoomId>,
    /// Environment variables that begin like settings and are none.
    pub(crate) strangers: Vec<String>,
}

/// Whether the node serves other machines or only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `sfumato serve`
    Serve,
    /// `sfumato demo`
    Demo,
}

/// The room of the test card, unless another one is configured.
const DEMO_ROOM: &str = "demo";

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// The first mistake that is found.
    pub(crate) fn load(
        mode: Mode,
        flags: &cli::Settings,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut raw = RawConfig::gather(flags, environment)?;
        let (mut http, origins) = HttpSettings::resolve(&mut raw)?;
        let outbound = OutboundSettings::resolve(&mut raw)?;
        let webhooks = webhooks::resolve(&mut raw)?;
        let media = MediaSettings::resolve(&mut raw)?;
        let auth = AuthSettings::resolve(&mut raw, mode, http.is_loopback())?;
        http.cors_origins = origins.unwrap_or_else(|| http.default_origins(auth.is_open()));
        let ice = ice::resolve(&mut raw)?;
        let limits = limits::resolve(&mut raw)?;
        let rooms = rooms::resolve(&mut raw)?;
        let log = LogSettings::resolve(&mut raw)?;
        let test_card = test_card(&mut raw, mode, &http, &auth)?;
        let strangers = raw.finish()?;
        if mode == Mode::Demo && !http.is_loopback() {
            return Err(ConfigError::Conflict(format!(
                "demo serves this machine only, and http.listen = {} is no loopback address; \
                 use serve",
                http.listen
            )));
        }
        Ok(Self {
            http,
            outbound,
            webhooks,
            media,
            auth,
            ice,
            limits,
            rooms,
            log,
            test_card,
            strangers,
        })
    }
}

/// The room of the test card. By default there is one when the node clearly serves only its own machine: on loopback
/// and without authentication.
fn test_card(
    raw: &mut RawConfig,
    mode: Mode,
    http: &HttpSettings,
    auth: &AuthSettings,
) -> Result<Option<RoomId>, ConfigError> {
    let on = raw.take("demo.test_card", "true or false", |raw| raw.boolean())?;
    let room = raw.take("demo.room", "a room id: 1 to 64 letters, digits, - _ . ~", |raw| {
        RoomId::parse(raw.text()?).ok()
    })?;
    let on = on.unwrap_or(mode == Mode::Demo || (http.is_loopback() && auth.is_open()));
    if !on {
        return Ok(None);
    }
    match room {
        Some(room) => Ok(Some(room)),
        None => RoomId::parse(DEMO_ROOM)
            .map(Some)
            .map_err(|e| ConfigError::Conflict(format!("demo.room: {e}"))),
    }
}

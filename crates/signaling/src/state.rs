//! What signaling has beside the rooms ([`crate::core`]): the session resources, the limits of requests, and the
//! interface for the node. No lock is held across an await, nor while an offer is parsed or an answer is written.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::{ParticipantId, RoomId, SessionId, StatsReply};
use prometheus_client::encoding::DescriptorEncoder;
use room::{LocalMedia, LocalPublished, RoomConfig, RoomError};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

use crate::auth::Authenticator;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::{CommandSink, Core};
use crate::counters::Counters;
use crate::events::Hub;
use crate::expiry::Expiry;
use crate::http::problem::Problem;
use crate::limits::Limiter;
use crate::log::SessionLines;
use crate::observers::Observers;
use crate::resources::Resources;
use crate::sessions::unavailable;

/// Most requests that ask the workers for measurements at a time; others wait.
const MEASURING_MAX: usize = 4;

/// What signaling asks of the node.
pub struct Operations {
    /// Writes the node's metrics.
    pub metrics: WriteMetrics,
    /// Whether the node can serve, and if not, why. The text is part of a public answer.
    pub ready: Box<dyn Fn() -> Result<(), &'static str> + Send + Sync>,
    /// Asks for the measurements of a session. The reply is called on another thread, or dropped when there are none.
    pub stats: Box<dyn Fn(SessionId, StatsReply) + Send + Sync>,
}

/// Writes metrics for Prometheus. It is called on a thread that may block.
pub type WriteMetrics =
    Box<dyn Fn(&mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> + Send + Sync>;

/// The signaling of a node; a cheap handle.
#[derive(Clone)]
pub struct Signaling(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    config: Config,
    auth: Authenticator,
    by_address: Limiter<IpAddr>,
    by_token: Limiter<u64>,
    // The table keeps tokens only as keyed hashes.
    token_hasher: RandomState,
    counters: Counters,
    operations: Operations,
    /// Requests that may ask the workers for measurements at a time.
    measuring: Semaphore,
    draining: AtomicBool,
    room_limits: room::Limits,
    pub(crate) core: Core,
    pub(crate) resources: Arc<Resources>,
    pub(crate) expiry: Arc<Expiry>,
    pub(crate) calls: Calls,
    pub(crate) lines: Arc<SessionLines>,
    pub(crate) hub: Arc<Hub>,
    /// The core's next timeout may have changed, or the core has work.
    pub(crate) changed: Notify,
}

impl Signaling {
    /// Connects rooms, HTTP and workers. `random` fills a buffer from the operating system's random generator.
    pub fn new(
        config: Config,
        rooms: RoomConfig,
        random: impl FnMut(&mut [u8]) + Send + 'static,
        sink: impl CommandSink + 'static,
        operations: Operations,
    ) -> Self {
        let limits = &config.limits;
        let resources = Arc::new(Resources::default());
        let lines = Arc::new(SessionLines::default());
        let hub = Arc::new(Hub::default());
        let clock = Clock::system();
        let expiry = Arc::new(Expiry::of(&config.auth, clock.clone()));
        let observers = Observers {
            resources: resources.clone(),
            expiry: expiry.clone(),
            lines: lines.clone(),
            hub: hub.clone(),
            webhooks: config.webhooks.clone(),
        };
        // The epoch has to differ from that of the process before this one. The start time will do: a node does not
        // start twice within a second.
        let since = clock.now().duration_since(std::time::UNIX_EPOCH);
        let epoch = since.unwrap_or_default().as_secs();
        let room_limits = rooms.limits;
        let core = Core::new(rooms, epoch, random, sink, observers);
        Self(Arc::new(Shared {
            auth: Authenticator::new(&config.auth, clock),
            by_address: Limiter::new(limits.per_address, limits.table_size),
            by_token: Limiter::new(limits.per_token, limits.table_size),
            token_hasher: RandomState::new(),
            counters: Counters::default(),
            operations,
            measuring: Semaphore::new(MEASURING_MAX),
            draining: AtomicBool::new(false),
            room_limits,
            core,
            resources,
            expiry,
            calls: Calls::default(),
            lines,
            hub,
            changed: Notify::new(),
            config,
        }))
    }

    /// From now on new sessions are refused with 503, and `/readyz` says that the node is not ready. Present sessions
    /// stay.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Writes the events of webhooks to the disk that are not delivered, and delivers no more.
    pub async fn stop_webhooks(&self) {
        if let Some(webhooks) = &self.0.config.webhooks {
            webhooks.stop().await;
        }
    }

    /// Adds a publisher without a peer connection to a room.
    ///
    /// # Errors
    /// The rooms are full, or the media have no track or no codec.
    pub fn publish_local(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        let published = self.0.core.publish_local(room, participant, media);
        self.0.changed.notify_one();
        published
    }

    /// The rooms of the node.
    pub fn core(&self) -> &Core {
        &self.0.core
    }
}

/// The interface for the handlers and the driver.
impl Signaling {
    /// Resolves when the rooms' next timeout may have changed, or they have work.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Writes the queued notices of the rooms to the log.
    pub(crate) fn log_notices(&self) {
        self.0.lines.write();
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn auth(&self) -> &Authenticator {
        &self.0.auth
    }

    /// Permits for requests that ask the workers for measurements.
    pub(crate) fn measuring(&self) -> &Semaphore {
        &self.0.measuring
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.0.operations
    }

    /// The events of the room sessions.
    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn by_address(&self) -> &Limiter<IpAddr> {
        &self.0.by_address
    }

    pub(crate) fn take_by_token(&self, token: &str, now: Instant) -> Result<(), Duration> {
        self.0.by_token.take(self.0.token_hasher.hash_one(token), now)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// The limits that are reached, as texts; empty when none is.
    pub(crate) fn full(&self) -> Vec<String> {
        let (counts, limits) = (self.0.core.counts(), &self.0.room_limits);
        let numbers =
            [("sessions", counts.sessions, limits.sessions), ("rooms", counts.rooms, limits.rooms)];
        let full = numbers.iter().filter(|(_, count, most)| count >= most);
        full.map(|(name, count, most)| format!("{count} of {most} {name}")).collect()
    }

    /// Checks that the node accepts new sessions.
    ///
    /// # Errors
    /// 503 while draining.
    pub(crate) fn welcome(&self) -> Result<(), Problem> {
        if self.is_draining() { Err(unavailable("The node is leaving.")) } else { Ok(()) }
    }
}

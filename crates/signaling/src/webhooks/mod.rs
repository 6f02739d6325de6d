//! Webhooks: the application is told by HTTP requests what happens in the rooms.
//!
//! `source` hears the rooms, under their locks, and only notes what happened; `event` makes JSON of it; `queue` keeps the events, also on
//! the disk (`file`), until each URL has them; `destination` says which event goes to a URL next, and when; `run` connects these, and sends
//! the requests, signed (`sign`). `counts` are the metrics.
//!
//! Events of one room reach a URL in their order: while one cannot be delivered, the later ones of that room wait, and other rooms go on.
//! Each event is delivered at least once, with an id by which a receiver knows it again. The queue is bounded; at the bound the oldest
//! events are dropped, and counted.

mod counts;
mod destination;
mod event;
mod file;
mod queue;
mod run;
mod sign;
mod source;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::outbound::{Outbound, OutboundUrl};

use counts::Counts;
use event::Happening;
use queue::Queue;
use source::Source;

pub use sign::{WebhookSecret, WebhookSecretError};

/// Settings of webhooks.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where events are sent: every URL gets every event.
    pub urls: Vec<OutboundUrl>,
    /// Keys of the signatures. With several, each request has a signature of each, so that receivers can move to a new one.
    pub secrets: Vec<WebhookSecret>,
    /// The directory of the queue. It is made if it does not exist, and belongs to one process.
    pub dir: PathBuf,
    /// Bounds and times.
    pub limits: WebhookLimits,
}

/// Bounds and times of webhooks.
#[derive(Debug, Clone, Copy)]
pub struct WebhookLimits {
    /// Most events that wait.
    pub events: usize,
    /// Most bytes of events that wait.
    pub bytes: usize,
    /// Time for one request.
    pub timeout: Duration,
    /// The pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How old an event may become. After that it is given up, and counted.
    pub age: Duration,
    /// Requests to one URL at a time, each for another room.
    pub at_once: usize,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 64 << 20,
            timeout: Duration::from_secs(10),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(3_600),
            age: Duration::from_secs(24 * 3_600),
            at_once: 8,
        }
    }
}

/// Notes what happens in the rooms, and delivers it.
pub struct Webhooks {
    config: WebhookConfig,
    outbound: Outbound,
    clock: Clock,
    /// Tells the starts of the node apart.
    epoch: u64,
    source: Source,
    /// What happened and is not in the queue yet.
    noted: Mutex<VecDeque<Happening>>,
    changed: Notify,
    /// Locked by [`Webhooks::run`] as long as it runs.
    queue: tokio::sync::Mutex<Queue>,
    stopping: AtomicBool,
    counts: Counts,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Opens the queue, with the events that were not delivered before.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it. The text names it.
    pub fn open(config: WebhookConfig, outbound: Outbound) -> io::Result<Self> {
        let (clock, counts) = (Clock::system(), Counts::default());
        let keys = config.urls.iter().map(destination::key).collect();
        let queue = Queue::open(&config.dir, keys, config.limits, &counts).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", config.dir.display()))
        })?;
        let since = clock.now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            source: Source::default(),
            noted: Mutex::default(),
            changed: Notify::new(),
            queue: tokio::sync::Mutex::new(queue),
            stopping: AtomicBool::new(false),
            counts,
            epoch: since.unwrap_or_default().as_secs(),
            config,
            outbound,
            clock,
        })
    }

    /// The numbers, for the metrics.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Keeps something that happened until [`Webhooks::run`] takes it. It is called under a room's lock, and only pushes.
    fn note(&self, happening: Happening) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= self.config.limits.events {
            noted.pop_front();
            self.counts.dropped.add(1);
        }
        noted.push_back(happening);
        drop(noted);
        self.changed.notify_one();
    }
}

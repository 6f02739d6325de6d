//! Takes what was noted into the queue, and sends it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::destination::Destination;
use super::event::new_id;
use super::file::Stored;
use super::queue::Queue;
use super::{Webhooks, sign};
use crate::log::WEBHOOK_LINES;
use crate::outbound::{OutboundUrl, Outgoing};

/// Most bytes of an answer. Nothing in it is of interest.
const ANSWER_MAX: usize = 64 * 1_024;

/// How long a stop waits for requests under way.
const STOP_WITHIN: Duration = Duration::from_secs(2);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How a request ended.
struct Ended {
    /// The URL, by its place.
    to: usize,
    room: String,
    number: u64,
    result: Result<StatusCode, String>,
}

impl Webhooks {
    /// Delivers events until [`Webhooks::stop`] is called.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut queue = self.queue.lock().await;
        let mut to: Vec<Destination> =
            self.config.urls.iter().cloned().map(Destination::new).collect();
        for (number, event) in queue.iter() {
            for destination in to.iter_mut().filter(|d| event.to.contains(&d.key)) {
                destination.push(Instant::now(), &event.room, number);
            }
        }
        let mut requests = JoinSet::new();
        loop {
            // Read before what was noted is taken: what comes while the file is written is taken in another round.
            let stopping = self.stopping.load(Ordering::Acquire);
            self.take(&mut queue, &mut to);
            if let Err(error) = queue.flush().await {
                self.counts.damaged.add(1);
                tracing::error!(%error, "the file of the webhooks cannot be written; events wait in memory alone");
            }
            if stopping {
                self.finish(requests, &mut queue, &mut to).await;
                return;
            }
            self.begin(&mut queue, &mut to, &mut requests);
            let next = to.iter().filter_map(|d| d.next_at(&self.config.limits)).min();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = timer => {}
                Some(ended) = requests.join_next() => match ended {
                    Ok(ended) => self.end(ended, &mut queue, &mut to),
                    // A request that panicked keeps its room's turn: the events wait for the next start.
                    Err(error) => tracing::error!(%error, "a webhook's request ended by a defect"),
                },
            }
        }
    }

    /// Writes what was noted to the disk and ends [`Webhooks::run`]. What was not delivered is delivered after the next start.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_one();
        let _released_by_run = self.queue.lock().await;
    }

    /// Waits a moment for the requests under way: what they deliver need not be delivered again.
    async fn finish(
        &self,
        mut requests: JoinSet<Ended>,
        queue: &mut Queue,
        to: &mut [Destination],
    ) {
        let deadline = Instant::now() + STOP_WITHIN;
        while let Ok(Some(ended)) = timeout_at(deadline, requests.join_next()).await {
            if let Ok(ended) = ended {
                self.end(ended, queue, to);
            }
        }
        if let Err(error) = queue.flush().await {
            tracing::error!(%error, "the file of the webhooks cannot be written");
        }
    }

    fn take(&self, queue: &mut Queue, to: &mut [Destination]) {
        let noted = std::mem::take(
            &mut *self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let keys: Vec<String> = to.iter().filter(|d| d.is_on()).map(|d| d.key.clone()).collect();
        if keys.is_empty() {
            self.counts.gone.add(noted.len());
            return;
        }
        for happening in noted {
            let id = new_id(happening.at);
            let body = happening.body(&id, self.epoch);
            let room = happening.room.to_string();
            let stored = Stored { id, room, at: millis(happening.at), to: keys.clone(), body };
            let room = stored.room.clone();
            let number = queue.add(stored, &self.counts);
            for destination in to.iter_mut().filter(|d| d.is_on()) {
                destination.push(Instant::now(), &room, number);
            }
        }
    }

    fn begin(&self, queue: &mut Queue, to: &mut [Destination], requests: &mut JoinSet<Ended>) {
        let now = Instant::now();
        let oldest = millis(self.clock.now())
            .saturating_sub(u64::try_from(self.config.limits.age.as_millis()).unwrap_or(u64::MAX));
        for (place, destination) in to.iter_mut().enumerate() {
            while let Some((room, number)) = destination.next(now, &self.config.limits) {
                let Some(event) = queue.get(number) else {
                    // It was dropped at the queue's bound.
                    destination.done(now, &room);
                    continue;
                };
                if event.at < oldest {
                    self.counts.expired.add(1);
                    queue.done(number, &destination.key, &self.counts);
                    destination.done(now, &room);
                    continue;
                }
                let (url, event, room) = (destination.url.clone(), event.clone(), room);
                let request = self.request(url, event);
                requests
                    .spawn(async move { Ended { to: place, room, number, result: request.await } });
            }
        }
    }

    /// One request. It is signed anew with each attempt, because receivers refuse an old time.
    fn request(
        &self,
        url: OutboundUrl,
        event: Stored,
    ) -> impl Future<Output = Result<StatusCode, String>> + Send + 'static {
        let (outbound, timeout) = (self.outbound.clone(), self.config.limits.timeout);
        let seconds = millis(self.clock.now()) / 1_000;
        let signature = sign::signatures(&self.config.secrets, &event.id, seconds, &event.body);
        async move {
            let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
            let headers = vec![
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (WEBHOOK_ID, value(&event.id)?),
                (WEBHOOK_TIMESTAMP, HeaderValue::from(seconds)),
                (WEBHOOK_SIGNATURE, value(&signature)?),
            ];
            let body = Bytes::from(event.body);
            let answer_max = ANSWER_MAX;
            let method = Method::POST;
            let outgoing = Outgoing { method, url: &url, headers, body, timeout, answer_max };
            outbound.send(outgoing).await.map(|a| a.status).map_err(|error| error.to_string())
        }
    }

    fn end(&self, ended: Ended, queue: &mut Queue, to: &mut [Destination]) {
        let (now, Ended { to: place, room, number, result }) = (Instant::now(), ended);
        let destination = &mut to[place];
        match result {
            Ok(status) if status.is_success() => {
                self.counts.delivered.add(1);
                queue.done(number, &destination.key, &self.counts);
                destination.done(now, &room);
            }
            Ok(StatusCode::GONE) => {
                self.counts.failed.add(1);
                tracing::warn!(url = %destination.url, "the webhook's URL is gone (410): it gets no more events until the node starts again");
                let left = destination.turn_off();
                self.counts.gone.add(left.len());
                for number in left {
                    queue.done(number, &destination.key, &self.counts);
                }
            }
            failed => {
                self.counts.failed.add(1);
                let why = failed.map_or_else(|why| why, |status| status.to_string());
                if let Some(hidden) = WEBHOOK_LINES.pass() {
                    tracing::warn!(url = %destination.url, why, hidden, "a webhook was not delivered, it is tried again");
                }
                destination.failed(now, &room, random().unwrap_or(0.5), &self.config.limits);
            }
        }
    }
}

/// From 0 to 1.
fn random() -> io::Result<f64> {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX))
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

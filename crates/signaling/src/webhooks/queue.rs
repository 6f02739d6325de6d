//! The events that wait, in memory and on the disk. Both are bounded by number and by bytes; at the bound the oldest events are dropped.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::WebhookLimits;
use super::counts::Counts;
use super::file::{Line, Log, Stored};

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    events: BTreeMap<u64, Stored>,
    bytes: usize,
    next: u64,
    limits: WebhookLimits,
    log: Arc<Mutex<Log>>,
    /// Lines that are not in the file yet.
    unwritten: Vec<u8>,
    /// Among them are new events.
    urgent: bool,
}

impl Queue {
    /// Opens the queue of a directory. Events for URLs that are not among `keys` any more are left out.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(super) fn open(
        dir: &Path,
        keys: Vec<String>,
        limits: WebhookLimits,
        counts: &Counts,
    ) -> io::Result<Self> {
        let (log, found) = Log::open(dir)?;
        counts.damaged.add(found.damaged);
        let next = found.events.last_key_value().map_or(1, |(number, _)| number + 1);
        let mut queue = Self {
            events: BTreeMap::new(),
            bytes: 0,
            next,
            limits,
            log: Arc::new(Mutex::new(log)),
            unwritten: Vec::new(),
            urgent: false,
        };
        for (number, mut event) in found.events {
            event.to.retain(|to| keys.contains(to));
            if !event.to.is_empty() {
                queue.insert(number, event);
            }
        }
        queue.bound(counts);
        queue.unwritten.clear();
        let live: Vec<_> = queue.events.iter().map(|(n, e)| (*n, e.clone())).collect();
        queue.log.lock().unwrap_or_else(PoisonError::into_inner).rewrite(&live)?;
        Ok(queue)
    }

    fn insert(&mut self, number: u64, event: Stored) {
        self.bytes += event.size();
        self.events.insert(number, event);
    }

    fn remove(&mut self, number: u64) {
        if let Some(event) = self.events.remove(&number) {
            self.bytes -= event.size();
        }
    }

    fn bound(&mut self, counts: &Counts) {
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some((&oldest, _)) = self.events.first_key_value() else { break };
            self.remove(oldest);
            Line::Drop(oldest).write(&mut self.unwritten);
            counts.dropped.add(1);
        }
        counts.waiting.set(self.events.len());
        counts.waiting_bytes.set(self.bytes);
    }

    /// Adds an event; gives its number.
    pub(super) fn add(&mut self, event: Stored, counts: &Counts) -> u64 {
        let number = self.next;
        self.next += 1;
        Line::Event(number, event.clone()).write(&mut self.unwritten);
        self.urgent = true;
        self.insert(number, event);
        self.bound(counts);
        number
    }

    /// An event; `None` when it was dropped.
    pub(super) fn get(&self, number: u64) -> Option<&Stored> {
        self.events.get(&number)
    }

    /// All events in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Stored)> {
        self.events.iter().map(|(number, event)| (*number, event))
    }

    /// A URL has the event, or will not get it.
    pub(super) fn done(&mut self, number: u64, key: &str, counts: &Counts) {
        let Some(event) = self.events.get_mut(&number) else { return };
        event.to.retain(|to| to != key);
        Line::Done(number, key.to_owned()).write(&mut self.unwritten);
        if event.to.is_empty() {
            self.remove(number);
        }
        counts.waiting.set(self.events.len());
        counts.waiting_bytes.set(self.bytes);
    }

    /// Writes what is not in the file yet. When that fails the events stay in memory, and are delivered from there.
    ///
    /// # Errors
    /// The disk is full, say.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.unwritten);
        let sync = std::mem::take(&mut self.urgent);
        let (log, live) = (self.log.clone(), self.bytes);
        let written = blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.append(&lines, sync)?;
            Ok(log.is_loose(live))
        });
        if !written.await? {
            return Ok(());
        }
        let (log, events) = (self.log.clone(), self.iter().map(|(n, e)| (n, e.clone())).collect());
        let events: Vec<_> = events;
        let rewrite = move || log.lock().unwrap_or_else(PoisonError::into_inner).rewrite(&events);
        blocking(rewrite).await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(io::Error::other)?
}

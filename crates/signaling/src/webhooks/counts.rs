//! Numbers of webhooks, for the metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// A number that rises.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }

    pub(super) fn set(&self, n: usize) {
        self.0.store(n as u64, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The numbers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests that were answered with 2xx.
    pub(super) delivered: Count,
    /// Requests that were not.
    pub(super) failed: Count,
    /// Events dropped at the queue's bound.
    pub(super) dropped: Count,
    /// Deliveries given up, since the event became too old.
    pub(super) expired: Count,
    /// Deliveries given up, since the URL answered 410.
    pub(super) gone: Count,
    /// Lines of the file that could not be read or written.
    pub(super) damaged: Count,
    /// Events that wait.
    pub(super) waiting: Count,
    /// Bytes of events that wait.
    pub(super) waiting_bytes: Count,
}

impl Counts {
    /// Writes the numbers.
    ///
    /// # Errors
    /// Those of the encoder.
    pub(crate) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let (name, help) = ("sfumato_webhook_requests", "Requests of webhooks, by result.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (result, count) in [("delivered", &self.delivered), ("failed", &self.failed)] {
            let labels = [("result", result)];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&count.get(), None)?;
        }
        let (name, help) =
            ("sfumato_webhook_events_lost", "Events that a URL did not get, by reason.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in [
            ("queue_full", &self.dropped),
            ("too_old", &self.expired),
            ("url_gone", &self.gone),
            ("file", &self.damaged),
        ] {
            let labels = [("reason", reason)];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&count.get(), None)?;
        }
        for (name, help, count) in [
            ("sfumato_webhook_events_waiting", "Events that wait for delivery.", &self.waiting),
            ("sfumato_webhook_bytes_waiting", "Bytes of these events.", &self.waiting_bytes),
        ] {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&count.get())?;
        }
        Ok(())
    }
}

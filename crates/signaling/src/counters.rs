//! Counts of answers by method and status, and signaling's own metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use room::Counts;

/// Counts of answers. The table is bounded: methods without a name here share one label, and few statuses are in use.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Counters {
    /// Counts one answer.
    pub(crate) fn count(&self, method: &Method, status: StatusCode) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            // If each method that clients invent became a label, the table would grow without bound.
            _ => "other",
        };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *table.entry((method, status.as_u16())).or_default() += 1;
    }

    /// Writes the counts of answers and the rooms' numbers.
    ///
    /// # Errors
    /// Those of the encoder.
    pub(crate) fn encode(
        &self,
        counts: Counts,
        data_refused: u64,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let gauges = [
            ("sfumato_rooms", "Rooms that are open.", counts.rooms),
            ("sfumato_participants", "Publishing participants.", counts.participants),
            ("sfumato_viewers", "Viewing sessions.", counts.viewers),
            ("sfumato_sessions", "Sessions of any kind.", counts.sessions),
            ("sfumato_sessions_connected", "Sessions with ICE and DTLS done.", counts.connected),
        ];
        for (name, help, value) in gauges {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&(value as u64))?;
        }
        let name = "sfumato_data_messages_refused";
        let help = "Messages of data channels that were refused, by their form or by the room.";
        let mut refused = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        refused.encode_counter::<NoLabelSet, u64, u64>(&data_refused, None)?;
        let (name, help) = ("sfumato_http_responses", "HTTP answers by method and status.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((method, status), count) in table.iter() {
            let status = status.to_string();
            let labels = [("method", *method), ("status", status.as_str())];
            let mut answers = family.encode_family(&labels)?;
            answers.encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
        Ok(())
    }
}

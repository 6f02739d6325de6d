//! Counts of answers by method and status, and the text of signaling's own metrics.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use axum::http::{Method, StatusCode};
use room::Counts;

/// Answers so far. The table is bounded: few methods have a name here, and few statuses are in use.
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
            // Methods that clients make up would each become a label, and the table would grow without bound.
            _ => "other",
        };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *table.entry((method, status.as_u16())).or_default() += 1;
    }

    /// Appends the counts and the rooms' numbers in the Prometheus text format.
    pub(crate) fn write(&self, counts: Counts, text: &mut String) {
        let gauges = [
            ("sfumato_rooms", "Rooms that are open.", counts.rooms),
            ("sfumato_participants", "Publishing participants.", counts.participants),
            ("sfumato_viewers", "Viewing sessions.", counts.viewers),
            ("sfumato_sessions", "Sessions of any kind.", counts.sessions),
            ("sfumato_sessions_connected", "Sessions with ICE and DTLS done.", counts.connected),
        ];
        for (name, help, value) in gauges {
            append(
                text,
                format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"),
            );
        }
        let name = "sfumato_http_responses_total";
        append(
            text,
            format_args!(
                "# HELP {name} HTTP answers by method and status.\n# TYPE {name} counter\n"
            ),
        );
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((method, status), count) in table.iter() {
            append(
                text,
                format_args!("{name}{{method=\"{method}\",status=\"{status}\"}} {count}\n"),
            );
        }
    }
}

fn append(text: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    text.write_fmt(args).unwrap_or_default();
}

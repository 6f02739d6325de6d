//! Counts of the events' connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// How a client reads its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Stream,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::WebSocket, Kind::Stream];

    fn as_str(self) -> &'static str {
        match self {
            Kind::WebSocket => "websocket",
            Kind::Stream => "sse",
        }
    }
}

/// Why a connection of events ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it, or its network failed.
    Client,
    /// The session ended.
    Session,
    /// Another connection of the session came.
    Replaced,
    /// It was too slow.
    Slow,
    /// Nothing came from the client for too long.
    Silent,
    /// No `hello` came in time.
    NoHello,
    /// The token does not own the session, or there is no such session.
    Refused,
    /// The client broke a rule of the protocol.
    Rule,
    /// The node stops.
    Stop,
}

impl Ending {
    const ALL: [Ending; 9] = [
        Ending::Client,
        Ending::Session,
        Ending::Replaced,
        Ending::Slow,
        Ending::Silent,
        Ending::NoHello,
        Ending::Refused,
        Ending::Rule,
        Ending::Stop,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Ending::Client => "client",
            Ending::Session => "session",
            Ending::Replaced => "replaced",
            Ending::Slow => "slow",
            Ending::Silent => "silent",
            Ending::NoHello => "no_hello",
            Ending::Refused => "refused",
            Ending::Rule => "rule",
            Ending::Stop => "stop",
        }
    }
}

/// Numbers of the events' connections.
#[derive(Debug, Default)]
pub(crate) struct EventCounts {
    open: [AtomicU64; Kind::ALL.len()],
    ended: [AtomicU64; Ending::ALL.len()],
    messages: AtomicU64,
    resumed: AtomicU64,
    snapshots: AtomicU64,
}

impl EventCounts {
    /// A connection began; [`EventCounts::closed`] is called at its end.
    pub(crate) fn opened(&self, kind: Kind) {
        self.open[kind as usize].fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub(crate) fn closed(&self, kind: Kind, ending: Ending) {
        self.open[kind as usize].fetch_sub(1, Relaxed);
        self.ended[ending as usize].fetch_add(1, Relaxed);
    }

    /// Messages were handed to a connection.
    pub(crate) fn sent(&self, messages: usize) {
        self.messages.fetch_add(messages as u64, Relaxed);
    }

    /// A connection began with what it missed, or with a snapshot.
    pub(crate) fn began(&self, resumed: bool) {
        let count = if resumed { &self.resumed } else { &self.snapshots };
        count.fetch_add(1, Relaxed);
    }

    /// Writes the numbers.
    ///
    /// # Errors
    /// Those of the encoder.
    pub(crate) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let (name, help) = ("sfumato_events_connections", "Open connections of events, by kind.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for kind in Kind::ALL {
            let labels = [("kind", kind.as_str())];
            family.encode_family(&labels)?.encode_gauge(&self.open[kind as usize].load(Relaxed))?;
        }
        let (name, help) =
            ("sfumato_events_connections_ended", "Connections of events that ended, by reason.");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ending in Ending::ALL {
            let labels = [("reason", ending.as_str())];
            let count = self.ended[ending as usize].load(Relaxed);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        for (name, help, count) in [
            ("sfumato_events_messages", "Messages to members, over events.", &self.messages),
            ("sfumato_events_resumed", "Connections of events that went on.", &self.resumed),
            (
                "sfumato_events_snapshots",
                "Connections of events that began with a snapshot.",
                &self.snapshots,
            ),
        ] {
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, u64, u64>(&count.load(Relaxed), None)?;
        }
        Ok(())
    }
}

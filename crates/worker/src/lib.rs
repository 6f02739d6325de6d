//! The packet path: one thread (a worker) per core, from socket to socket.
//!
//! The steps of a packet, each in its own file:
//!
//! 1. [`recv`]: datagrams are read from the kernel in batches, with trains already joined (GRO). Media has its own socket
//!    ([`lanes`]).
//! 2. [`demux`]: each datagram is classified as STUN, DTLS, RTP or RTCP (RFC 7983), and its session is found. A datagram
//!    of another worker's session is handed over to that worker.
//! 3. [`ingress`]: a media packet is decrypted once into a shared packet, parsed, counted, and kept for retransmission.
//! 4. [`fanout`]: the packet goes to each sink of its track; to sinks in other workers over a ring.
//! 5. [`exit`]: for each subscriber the packet is selected, waits for its turn if it cannot leave at once, and is then
//!    numbered, written and encrypted into one contiguous train.
//! 6. [`send`]: the trains of many subscribers go to the kernel in one system call (GSO).
//!
//! Beside the path: [`directory`] holds what signaling wants of each session, and which worker owns it; [`handle`] and
//! [`notices`] tell the owner; [`settle`] and [`bindings`] carry it out. [`asks`] are the requests of a sink to an origin.
//! [`messages`] and [`mail`] connect the workers. [`feedback`] is RTCP in both directions, [`timers`] are the sessions'
//! deadlines. A [`source`] is a publisher without a peer connection; its packets enter behind ingest.
//!
//! [`data`] are the messages of data channels.
//!
//! What signaling is told of a peer beside its tracks: [`presence`] (lost and back, the quality of its connection).
//!
//! Limits for one participant: [`memory`] (packets) and [`rates`] (datagrams). [`health`] tells whether the workers run.
//!
//! Workers share only the directory, the times of their last turns, reference-counted packets, queues and rings. There are
//! no locks, and no allocation per packet once warm.

mod asks;
mod bindings;
#[cfg(test)]
mod bounds;
mod buffers;
mod config;
mod core;
mod data;
mod demux;
mod directory;
mod exit;
mod fanout;
mod feedback;
#[cfg(test)]
mod flows;
mod handle;
mod health;
mod ingress;
mod inspect;
#[cfg(feature = "lab")]
pub mod lab;
mod lanes;
mod mail;
#[cfg(test)]
mod member_events;
mod memory;
mod messages;
mod metrics;
mod notices;
mod paths;
#[cfg(test)]
mod peers;
mod presence;
mod rates;
mod recv;
mod send;
mod sessions;
mod settle;
mod source;
mod steering;
#[cfg(test)]
mod switching;
#[cfg(test)]
mod threats;
mod timers;
mod tracks;
mod transport_events;
mod waker;
mod workers;

pub use config::{Config, EventSink};
pub use handle::WorkersHandle;
pub use health::{Watch, WorkerFailure};
pub use metrics::{Counter, Counters, WorkerMetrics};
pub use rates::RateLimits;
pub use source::{Source, SourceError};
pub use workers::Workers;

/// The number of a worker; there are at most 253.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct WorkerId(u8);

impl WorkerId {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

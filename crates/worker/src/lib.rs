//! The packet path: one thread per core, from socket to socket.
//!
//! A packet's life, each step a file:
//!
//! 1. [`recv`]: datagrams come from the kernel in batches, trains already joined (GRO), media apart from the rest
//!    ([`lanes`]);
//! 2. [`demux`]: STUN, DTLS, RTP or RTCP (RFC 7983), and whose session; a datagram for a session of another worker is
//!    handed over;
//! 3. [`ingress`]: decrypted once into a packet that is shared from then on, parsed, accounted, kept for
//!    retransmission;
//! 4. [`fanout`]: to each sink of its track, to those in other workers over a ring;
//! 5. [`exit`]: for each subscriber: select; wait for its turn, where it cannot leave at once; number, write and encrypt, into one
//!    contiguous train;
//! 6. [`send`]: trains of many subscribers go down in one system call (GSO).
//!
//! Beside the path: [`directory`] (what signaling wants of each session, and who owns it), [`handle`] and [`notices`] (how the owner
//! hears of it), [`settle`] and [`bindings`] (how it is carried out), [`asks`] (what a sink may ask of an origin), [`messages`] and [`mail`] (from other
//! workers), [`feedback`] (RTCP both ways), [`timers`]. A [`source`] is a publisher without a peer connection, whose packets
//! enter behind ingest.
//!
//! What one participant may use up: [`memory`] (of packets) and [`rates`] (of datagrams). Whether the workers live: [`health`].
//!
//! Nothing here is shared between workers but the directory, the times of their last turns, counted references to packets, queues and rings. There are no
//! locks, and no allocation per packet once warm.

mod asks;
mod bindings;
#[cfg(test)]
mod bounds;
mod buffers;
mod config;
mod core;
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
mod memory;
mod messages;
mod metrics;
mod notices;
mod paths;
#[cfg(test)]
mod peers;
mod rates;
mod recv;
mod seldom;
mod send;
mod sessions;
mod settle;
mod source;
mod steering;
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
pub use inspect::StatsReply;
pub use metrics::{Counter, Counters, WorkerMetrics};
pub use rates::RateLimits;
pub use source::{Source, SourceError};
pub use workers::Workers;

/// A worker by number, at most 253 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct WorkerId(u8);

impl WorkerId {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

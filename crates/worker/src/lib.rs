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
//! 4. [`fanout`]: to each worker with subscribers of its track, over a ring;
//! 5. [`egress`]: for each subscriber: select, rewrite, encrypt, into one contiguous train;
//! 6. [`send`]: trains of many subscribers go down in one system call (GSO).
//!
//! Beside the path: [`feedback`] (RTCP both ways), [`handle`] and [`commands`] (from signaling), [`words`] (from other workers),
//! [`timers`]. A [`source`] is a publisher without a peer connection, which feeds the same path.
//!
//! Nothing here is shared between workers but counted references to packets, rings, and one atomic per session that
//! says where it lives ([`registry`]). There are no locks, and no allocation per packet once warm.

mod commands;
mod config;
mod core;
mod demux;
mod egress;
mod fanout;
mod feedback;
#[cfg(test)]
mod flows;
mod handle;
mod ingress;
#[cfg(feature = "lab")]
pub mod lab;
mod lanes;
mod lifecycle;
mod mesh;
mod metrics;
mod recv;
mod registry;
mod send;
mod sessions;
mod source;
#[cfg(test)]
mod threats;
mod timers;
mod tracks;
mod words;
mod workers;

pub use config::{Config, EventSink};
pub use handle::{Busy, WorkersHandle};
pub use metrics::{Counter, Counters, WorkerMetrics};
pub use source::{Source, SourceError};
pub use workers::Workers;

/// A worker by number, at most 254 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct WorkerId(u8);

impl WorkerId {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

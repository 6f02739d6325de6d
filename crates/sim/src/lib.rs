//! A whole node and its peers in one thread, on a virtual clock, over a simulated network.
//!
//! - [`run`]: one run. Its seed decides everything: which peers come and go, what the network does, in which order the
//!   workers run, what all random bytes are. The same seed gives the same datagrams at the same times.
//! - `node`: signaling's core and the workers, wired as the binary wires them, without sockets
//! - `peer`: peers with real SDP, ICE and SRTP; keys stand in place of DTLS
//! - `net`: delay, loss, doubling, reordering and rates
//! - `queue`, `world`: the queue of events, the clock, and the place that connects all parts
//! - `script`: the actions of the peers
//! - `check`: what must hold, at every moment and at the end
//!
//! What is not simulated: sockets and the kernel, DTLS, HTTP. `docs/simulation.md` says how to use it.

mod check;
mod keys;
mod log;
mod net;
mod node;
mod peer;
mod queue;
mod rng;
mod script;
mod stamp;
mod world;

use std::time::Duration;

pub use net::Weather;
pub use world::run;

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Keep every event, and not only the last ones.
    pub all_events: bool,
    /// Datagrams are events too.
    pub datagrams: bool,
    /// A fault of the peers, which a check has to find.
    pub fault: Option<Fault>,
}

/// Faults that peers may have, to prove that the checks can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Publishers do not answer requests for key frames.
    NoKeyFrames,
    /// Publishers change a byte of what they resend.
    ForgedRetransmissions,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Workers of the node.
    pub workers: usize,
    /// How good the lines were.
    pub weather: Weather,
    /// A digest of all datagrams, in and out, with their virtual times.
    pub digest: u64,
    /// Datagrams that went into the node or came out of it.
    pub datagrams: u64,
    /// Peers that took part.
    pub peers: usize,
    /// Pictures and sounds that viewers saw and heard.
    pub seen: u64,
    /// Retransmissions that left the node.
    pub retransmitted: u64,
    /// Datagrams that one worker handed to another.
    pub handed_over: u64,
    /// The longest that a viewer had to wait for a publisher that it should see, once both were connected.
    pub longest_wait: Duration,
    /// How much virtual time passed.
    pub lasted: Duration,
    /// The first check that failed, if any.
    pub failure: Option<String>,
    /// The events: the last ones, or all.
    pub events: Vec<String>,
}

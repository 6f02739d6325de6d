//! The results of a run, and their forms: a live table, a summary for people, JSON for programs, a page with plots.

pub mod html;
pub mod json;
pub(crate) mod live;
mod plot;
pub mod text;

use std::time::Duration;

use serde::Serialize;

use crate::{
    proc::Usage,
    stats::{Counters, Reasons, Tally, Times},
    threshold::Verdict,
};

/// The number of bots by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bots {
    /// Connected; each bot once.
    pub joined: u64,
    /// Never connected, or disconnected early.
    pub failed: u64,
    /// Those of the failed that were connected before.
    pub broken_off: u64,
    /// Left before the end, as planned.
    pub left: u64,
    /// Viewers that replaced a failed one; only in scenarios where viewers come and go.
    pub replaced: u64,
    /// Stopped reading, as planned. What they miss is not in the loss.
    pub stalled: u64,
    /// Changed their address, as planned.
    pub moved: u64,
    /// Requests that the server postponed (429, 503, 409), and that were repeated.
    pub deferred: u64,
    /// Sessions that could not be deleted.
    pub undeleted: u64,
}

/// One second of a run.
#[derive(Debug, Clone)]
pub struct Second {
    /// Its number; the first is 1.
    pub at: u64,
    /// Publishers connected at its end.
    pub publishers: u64,
    /// Viewers connected.
    pub viewers: u64,
    /// Bots that are joining.
    pub joining: u64,
    /// Joined so far.
    pub joined: u64,
    /// Failed so far.
    pub failed: u64,
    /// What was counted in it.
    pub counters: Counters,
    /// What was timed in it.
    pub times: Times,
    /// What the bystanders saw in it, if there are any.
    pub bystanders: Option<Tally>,
    /// Cores that the server used.
    pub server_cpu: Option<f64>,
    /// Its memory in bytes.
    pub server_memory: Option<u64>,
    /// Cores that the swarm used.
    pub swarm_cpu: Option<f64>,
}

/// The viewers that were connected before the others (bystanders).
#[derive(Debug, Clone, Default)]
pub struct Bystanders {
    /// Connected.
    pub joined: u64,
    /// Never connected, or disconnected early.
    pub failed: u64,
    /// What they saw.
    pub tally: Tally,
}

/// How a ramp ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RampEnd {
    /// Viewers at the end.
    pub viewers: u32,
    /// Most viewers with whom no threshold was broken: those of the step before, if the last step broke one.
    pub held: u32,
    /// Thresholds that were broken; none: the ramp reached its end.
    pub broken: Vec<Verdict>,
}

/// All results of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// A description for people.
    pub description: String,
    /// How long it lasted.
    pub played: Duration,
    /// The part of it that counts: all but the warm-up, if that was over.
    pub counted: Duration,
    /// It was interrupted.
    pub interrupted: bool,
    /// The number of bots by outcome.
    pub bots: Bots,
    /// Why bots failed.
    pub failures: Reasons,
    /// Everything that was counted.
    pub counters: Counters,
    /// Everything that was timed.
    pub times: Times,
    /// The bystanders, if there are any.
    pub bystanders: Option<Bystanders>,
    /// Where a ramp ended.
    pub ramp: Option<RampEnd>,
    /// The thresholds.
    pub verdicts: Vec<Verdict>,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// Cores that the server used on average.
    pub server_cpu: Option<f64>,
    /// The most memory that the server had.
    pub server_memory: Option<u64>,
    /// What the swarm itself used, in the time that counts.
    pub own: Option<Usage>,
    /// Datagrams that this machine dropped meanwhile because a receive buffer was full: the swarm's, or that of a
    /// server on the same machine.
    pub buffer_drops: u64,
    /// Threads of the swarm.
    pub threads: usize,
}

impl Report {
    /// No threshold is broken, and at least one bot joined.
    pub fn is_good(&self) -> bool {
        self.bots.joined > 0 && !self.verdicts.iter().any(|verdict| verdict.broken)
    }

    /// Bytes received per second, as bits.
    pub fn bitrate(&self) -> f64 {
        self.counters.received_bytes as f64 * 8.0 / self.counted.as_secs_f64().max(1e-3)
    }
}

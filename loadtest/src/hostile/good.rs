//! The good peers: a normal swarm that publishes, watches, joins and leaves; and what it measured in a part of the
//! run.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{
    args::Arguments,
    plan::Plan,
    report::{Report, Second},
    stats::{Counters, Histogram},
};

/// The rooms of the good peers. Attackers watch in the first one.
pub(super) const ROOM: &str = "good";
/// Tokens that the good peers use in turn: with a single one they would meet the rate limit of a token.
pub(super) const TOKENS: usize = 40;
/// Two rooms, each with two publishers and four viewers. Three viewers a second leave and are replaced, so that every
/// part has joins to measure. This is below the rate limit of one address.
const SWARM: &str = "webinar --rooms 2 --publishers 2 --viewers 4 --churn 3 --silent 25% --video synthetic --fps 25 \
                     --packets 4 --payload 900 --key-every 250 --audio synthetic --audio-payload 100 --threads 1 \
                     --join-timeout 10s --quiet --bind 127.0.0.1";

/// The running swarm.
pub(super) struct Good {
    thread: JoinHandle<std::io::Result<Report>>,
    stop: Arc<AtomicBool>,
    /// When its first second began.
    pub(super) begun: Instant,
}

impl Good {
    /// Starts the good peers, for this many seconds.
    ///
    /// # Errors
    /// The tokens cannot be written, or no thread can be started.
    pub(super) fn start(
        http: SocketAddr,
        pid: u32,
        tokens: &[String],
        seconds: u64,
        join_over: u64,
        out: &Path,
    ) -> Result<Good, String> {
        let file = out.join("tokens");
        fs::write(&file, tokens.join("\n")).map_err(|e| format!("{}: {e}", file.display()))?;
        let (file_name, server) = (file.display().to_string(), format!("http://{http}"));
        let more = [
            ("--server", server),
            ("--room", ROOM.to_owned()),
            ("--tokens", file_name),
            ("--server-pid", pid.to_string()),
            ("--duration", format!("{seconds}s")),
            ("--join-over", format!("{join_over}s")),
        ];
        let words = ["sfumato-loadtest"].into_iter().chain(SWARM.split_whitespace());
        let words = words.map(str::to_owned);
        let more = more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let arguments = Arguments::try_parse_from(words.chain(more)).map_err(|e| e.to_string())?;
        let plan = Plan::resolve(arguments);
        // The plan has read the tokens. The file is removed, since they open every room.
        let _left = fs::remove_file(&file);
        let (plan, stop) = (plan?, Arc::new(AtomicBool::new(false)));
        let (begun, interrupted) = (Instant::now(), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("good".into())
            .spawn(move || crate::run(&plan, &interrupted));
        Ok(Good { thread: thread.map_err(|e| format!("a thread: {e}"))?, stop, begun })
    }

    /// Ends the swarm early.
    pub(super) fn stop(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Waits for the end of the swarm.
    ///
    /// # Errors
    /// The swarm panicked, or could not run.
    pub(super) fn report(self) -> Result<Report, String> {
        let report = self.thread.join().map_err(|_| "the swarm met a defect".to_owned())?;
        report.map_err(|e| format!("the swarm: {e}"))
    }
}

/// What the good peers measured in a part of the run.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) seconds: f64,
    /// The sum, over all viewers, of the seconds in which they were connected.
    pub(super) viewer_seconds: f64,
    pub(super) counters: Counters,
    pub(super) joined: u64,
    /// Peers that never connected or were cut off.
    pub(super) failed: u64,
    pub(super) join: Histogram,
    pub(super) first_frame: Histogram,
    pub(super) delay: Histogram,
    /// How late the swarm itself was. That is caused by the machine, not by the node.
    pub(super) lag: Histogram,
}

impl View {
    /// What was measured from the end of second `from` to the end of second `to` of a report.
    pub(super) fn of(timeline: &[Second], from: u64, to: u64) -> View {
        let mut view = View { seconds: (to - from) as f64, ..View::default() };
        let ends = |at: u64| timeline.iter().rev().find(|second| second.at <= at);
        let totals = |at: u64| ends(at).map_or((0, 0), |second| (second.joined, second.failed));
        let (before, after) = (totals(from), totals(to));
        (view.joined, view.failed) = (after.0 - before.0, after.1 - before.1);
        for second in timeline.iter().filter(|second| second.at > from && second.at <= to) {
            view.viewer_seconds += second.viewers as f64;
            view.counters.add(&second.counters);
            view.join.merge(&second.times.join);
            view.first_frame.merge(&second.times.first_frame);
            view.delay.merge(&second.times.delay);
            view.lag.merge(&second.times.lag);
        }
        view
    }

    /// The share of lost packets.
    pub(super) fn loss(&self) -> f64 {
        let Counters { expected_packets, received_packets, .. } = self.counters;
        let lost = expected_packets.saturating_sub(received_packets);
        lost as f64 / expected_packets.max(1) as f64
    }

    /// Seconds in which the picture was frozen, summed over all viewers.
    pub(super) fn frozen(&self) -> f64 {
        self.counters.freeze_us as f64 / 1e6
    }

    /// Pictures per second that one viewer was shown.
    pub(super) fn pictures(&self) -> f64 {
        self.counters.frames as f64 / self.viewer_seconds.max(1.0)
    }

    /// The longest time, in seconds; 0 if there is none.
    pub(super) fn longest(times: &Histogram) -> f64 {
        times.max().map_or(0.0, |time| Duration::as_secs_f64(&time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Times;

    #[test]
    fn a_view_is_that_of_its_seconds() {
        let timeline: Vec<Second> = (1..=6_u64)
            .map(|at| Second {
                at,
                publishers: 2,
                viewers: 4,
                joining: 0,
                joined: at * 10,
                failed: at / 4,
                counters: Counters { frames: 100, expected_packets: 10, ..Counters::default() },
                times: Times::default(),
                bystanders: None,
                server_cpu: None,
                server_memory: None,
                swarm_cpu: None,
            })
            .collect();
        let view = View::of(&timeline, 2, 5);
        assert_eq!((view.joined, view.failed, view.counters.frames), (30, 1, 300));
        assert!((view.pictures() - 25.0).abs() < 1e-9 && (view.loss() - 1.0).abs() < 1e-9);
        assert_eq!(View::of(&timeline, 0, 1).joined, 10);
    }
}

//! What the threads count, second by second and in all, and the report that is made of it.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Director, Record, State};
use crate::{
    proc::{self, Usage},
    report::{Report, Second},
    stats::{Counters, Sample, Times},
    thread::SAMPLE_EVERY,
    threshold::Judged,
};

impl Director<'_> {
    pub(super) fn take_sample(&mut self, sample: Sample) {
        self.latest[sample.thread] = sample.counters;
        let tick = sample.tick;
        let samples = self.samples.entry(tick).or_default();
        samples.push(sample);
        if samples.len() < self.swarm.threads() {
            return;
        }
        let samples = self.samples.remove(&tick).unwrap_or_default();
        let mut times = Times::default();
        samples.iter().for_each(|sample| times.merge(&sample.times));
        self.times.merge(&times);
        let second = self.second(tick, times);
        let end = self.swarm.epoch + SAMPLE_EVERY * (tick as u32 + 1);
        if self.settling_since.is_some_and(|since| end > since + SAMPLE_EVERY / 10) {
            return;
        }
        self.live.second(&second, &self.failures);
        self.timeline.push(second);
    }

    fn second(&mut self, tick: u64, times: Times) -> Second {
        let mut total = Counters::default();
        self.latest.iter().for_each(|counters| total.add(counters));
        let counters = total.since(&self.last_total);
        self.last_total = total;
        let up = |publishes: bool| {
            let up = |r: &&Record| r.publishes == publishes && r.state == State::Up;
            self.records.iter().filter(up).count() as u64
        };
        let server = self.plan.server_pid.and_then(Usage::of);
        let wall = Duration::from_secs(1);
        let server_cpu =
            server.zip(self.server).map(|(after, before)| proc::cores(&before, &after, wall));
        let own = Usage::own();
        let swarm_cpu = own.zip(self.own).map(|(after, before)| proc::cores(&before, &after, wall));
        self.server = server.or(self.server);
        self.own = own.or(self.own);
        self.server_peak = self.server_peak.max(server.map_or(0, |usage| usage.memory));
        let joining = self.records.iter().filter(|r| r.state == State::Joining).count() as u64;
        Second {
            at: tick + 1,
            publishers: up(true),
            viewers: up(false),
            joining,
            joined: self.bots.joined,
            failed: self.bots.failed,
            counters,
            times,
            server_cpu,
            server_memory: server.map(|usage| usage.memory),
            swarm_cpu,
        }
    }

    pub(super) fn report(self, played: Duration, interrupted: bool) -> io::Result<Report> {
        let Director { plan, swarm, mut bots, failures, mut times, samples, .. } = self;
        // What the threads counted after the last whole second.
        for sample in samples.into_values().flatten() {
            times.merge(&sample.times);
        }
        let mut counters = Counters::default();
        self.latest.iter().for_each(|latest| counters.add(latest));
        let stats = Arc::clone(&swarm.signaler.stats);
        bots.deferred = stats.deferred.load(Ordering::Relaxed);
        bots.undeleted =
            stats.undeleted.load(Ordering::Relaxed) + stats.pending.load(Ordering::Relaxed) as u64;
        let server = self.server.zip(self.server_first);
        let server_cpu = server.map(|(last, first)| proc::cores(&first, &last, played));
        let server_memory = self.server.map(|_| self.server_peak);
        let judged = Judged {
            counters: &counters,
            times: &times,
            duration: played,
            joined: bots.joined,
            failed: bots.failed,
            server_cpu,
            server_memory,
        };
        // A ramp is meant to break them; it says where.
        let verdicts = match &self.ramp_end {
            Some(_) => Vec::new(),
            None => plan.thresholds.iter().map(|threshold| threshold.judge(&judged)).collect(),
        };
        swarm.join()?;
        Ok(Report {
            scenario: plan.name.clone(),
            description: plan.describe(),
            played,
            interrupted,
            bots,
            failures,
            counters,
            times,
            ramp: self.ramp_end,
            verdicts,
            timeline: self.timeline,
            server_cpu,
            server_memory,
            own: Usage::own(),
            buffer_drops: proc::buffer_drops().saturating_sub(self.drops_before),
            threads: plan.threads,
        })
    }
}

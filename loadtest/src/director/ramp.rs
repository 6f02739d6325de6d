//! How a ramp grows, and where it ends.

use std::time::{Duration, Instant};

use super::{Action, Director, Kind};
use crate::{
    report::RampEnd,
    stats::{Counters, Tally, Times},
    threshold::Judged,
};

/// The state of a ramp.
#[derive(Debug, Default)]
pub(super) struct Climb {
    /// Viewers called so far.
    pub(super) viewers: u32,
    /// As many of them as were called at the end of the last step without a broken threshold.
    held: u32,
    joined_before: u64,
    failed_before: u64,
    /// Set when the ramp is over.
    pub(super) end: Option<RampEnd>,
}

impl Director<'_> {
    /// Continues the ramp, unless a threshold was broken since the last step.
    pub(super) fn step(&mut self, now: Instant) {
        let Some(ramp) = self.plan.ramp else { return };
        if self.climb.viewers > 0 && self.ramp_is_over(ramp.step_time) {
            self.stop = true;
            return;
        }
        if self.climb.viewers >= ramp.max {
            self.stop = true;
            let viewers = self.climb.viewers;
            self.climb.end = Some(RampEnd { viewers, held: viewers, broken: Vec::new() });
            return;
        }
        self.climb.held = self.climb.viewers;
        let more = ramp.step.min(ramp.max - self.climb.viewers);
        // Within the first third of the step, so that the rest of it is judged with all of them.
        let over = ramp.step_time / 3;
        for number in 0..more {
            let place = self.climb.viewers + number;
            let when = now + over.mul_f64(f64::from(number) / f64::from(more));
            let (room, kind) = (place % self.plan.rooms, Kind::Watches);
            self.at(when, Action::Join { room, place, kind });
        }
        self.climb.viewers += more;
        self.at(now + ramp.step_time, Action::Step);
    }

    fn ramp_is_over(&mut self, step_time: Duration) -> bool {
        let seconds = (step_time.as_secs() / 2).max(1) as usize;
        let recent = &self.timeline[self.timeline.len().saturating_sub(seconds)..];
        let (mut counters, mut times) = (Counters::default(), Times::default());
        let mut bystanders = Tally::default();
        for second in recent {
            counters.add(&second.counters);
            times.merge(&second.times);
            if let Some(seen) = &second.bystanders {
                bystanders.counters.add(&seen.counters);
                bystanders.times.merge(&seen.times);
            }
        }
        let failed = self.bots.failed - self.climb.failed_before;
        let joined = self.bots.joined - self.climb.joined_before;
        (self.climb.failed_before, self.climb.joined_before) = (self.bots.failed, self.bots.joined);
        let judged = Judged {
            counters: &counters,
            times: &times,
            duration: Duration::from_secs(recent.len() as u64),
            joined,
            failed,
            server_cpu: recent.last().and_then(|second| second.server_cpu),
            server_memory: recent.last().and_then(|second| second.server_memory),
            bystanders: (self.plan.bystanders > 0).then_some(&bystanders),
        };
        let verdicts = self.plan.thresholds.iter().map(|threshold| threshold.judge(&judged));
        let broken: Vec<_> = verdicts.filter(|verdict| verdict.broken).collect();
        if broken.is_empty() {
            return false;
        }
        let Climb { viewers, held, .. } = self.climb;
        self.climb.end = Some(RampEnd { viewers, held, broken });
        true
    }
}

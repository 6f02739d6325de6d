//! What the threads count, second by second and in all, and the report of it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Director, Record, State};
use crate::{
    proc::{self, Usage},
    report::{Bystanders, Report, Second},
    stats::{Counters, Sample, Tally, Times},
    thread::SAMPLE_EVERY,
    threshold::Judged,
};

/// The counts so far.
#[derive(Debug)]
pub(super) struct Books {
    /// Samples of seconds for which not all threads have reported.
    samples: BTreeMap<u64, Vec<Sample>>,
    /// The last counters of each thread.
    latest: Vec<[Counters; 2]>,
    /// The sums of them at the last full second.
    last_total: [Counters; 2],
    /// The sums of them when counting began.
    base: [Counters; 2],
    /// All times since then, and those of the bystanders.
    times: [Times; 2],
    /// When counting began, after the start of the run.
    uncounted: Duration,
    server: Meter,
    server_peak: u64,
    own: Meter,
    drops_before: u64,
}

/// A watched process: its numbers when counting began, and at the last look.
#[derive(Debug, Clone, Copy)]
struct Meter {
    first: Option<(Usage, Instant)>,
    last: Option<(Usage, Instant)>,
}

impl Meter {
    fn new(usage: Option<Usage>) -> Meter {
        let at = usage.map(|usage| (usage, Instant::now()));
        Meter { first: at, last: at }
    }

    /// Cores used since the last look.
    fn look(&mut self, usage: Option<Usage>) -> Option<f64> {
        let now = usage.map(|usage| (usage, Instant::now()));
        let cores = cores(self.last, now);
        self.last = now.or(self.last);
        cores
    }

    fn begin_anew(&mut self) {
        self.first = self.last;
    }
}

fn cores(before: Option<(Usage, Instant)>, after: Option<(Usage, Instant)>) -> Option<f64> {
    let ((before, from), (after, to)) = before.zip(after)?;
    let wall = to.saturating_duration_since(from);
    // Processor time is counted in hundredths of a second, so it says nothing over less.
    (wall > Duration::from_millis(100)).then(|| proc::cores(&before, &after, wall))
}

impl Books {
    pub(super) fn new(threads: usize, server: Option<Usage>) -> Books {
        Books {
            samples: BTreeMap::new(),
            latest: vec![Default::default(); threads],
            last_total: Default::default(),
            base: Default::default(),
            times: Default::default(),
            uncounted: Duration::ZERO,
            server: Meter::new(server),
            server_peak: server.map_or(0, |usage| usage.memory),
            own: Meter::new(Usage::own()),
            drops_before: proc::buffer_drops(),
        }
    }

    /// The counters of all bots, and of the bystanders.
    fn totals(&self) -> [Counters; 2] {
        let mut totals = [Counters::default(); 2];
        for latest in &self.latest {
            totals.iter_mut().zip(latest).for_each(|(total, part)| total.add(part));
        }
        totals
    }

    /// The warm-up is over.
    fn begin_counting(&mut self, uncounted: Duration) {
        self.uncounted = uncounted;
        self.base = self.last_total;
        self.times.iter_mut().for_each(Times::begin_anew);
        self.server.begin_anew();
        self.own.begin_anew();
        self.drops_before = proc::buffer_drops();
    }
}

impl Director<'_> {
    pub(super) fn take_sample(&mut self, sample: Sample) {
        let books = &mut self.books;
        books.latest[sample.thread] = [sample.all.counters, sample.bystanders.counters];
        let tick = sample.tick;
        let samples = books.samples.entry(tick).or_default();
        samples.push(sample);
        if samples.len() < self.swarm.threads() {
            return;
        }
        let (mut all, mut bystanders) = (Tally::default(), Tally::default());
        for sample in books.samples.remove(&tick).unwrap_or_default() {
            all.times.merge(&sample.all.times);
            bystanders.times.merge(&sample.bystanders.times);
        }
        books.times[0].merge(&all.times);
        books.times[1].merge(&bystanders.times);
        let since_start = SAMPLE_EVERY * (tick as u32 + 1);
        let end = self.swarm.epoch + since_start;
        let totals = books.totals();
        all.counters = totals[0].since(&books.last_total[0]);
        bystanders.counters = totals[1].since(&books.last_total[1]);
        books.last_total = totals;
        if self.settling_since.is_some_and(|since| end > since + SAMPLE_EVERY / 10) {
            return;
        }
        let second = self.second(tick, all, bystanders);
        self.live.second(&second, &self.failures);
        self.timeline.push(second);
        if since_start == self.plan.warm_up {
            self.books.begin_counting(since_start);
        }
    }

    fn second(&mut self, tick: u64, all: Tally, bystanders: Tally) -> Second {
        let up = |publishes: bool| {
            let up = |r: &&Record| r.publishes == publishes && r.state == State::Up;
            self.records.iter().filter(up).count() as u64
        };
        let (publishers, viewers) = (up(true), up(false));
        let joining = self.records.iter().filter(|r| r.state == State::Joining).count() as u64;
        let server = self.plan.server_pid.and_then(Usage::of);
        self.books.server_peak = self.books.server_peak.max(server.map_or(0, |usage| usage.memory));
        Second {
            at: tick + 1,
            publishers,
            viewers,
            joining,
            joined: self.bots.joined,
            failed: self.bots.failed,
            counters: all.counters,
            times: all.times,
            bystanders: (self.plan.bystanders > 0).then_some(bystanders),
            server_cpu: self.books.server.look(server),
            server_memory: server.map(|usage| usage.memory),
            swarm_cpu: self.books.own.look(Usage::own()),
        }
    }

    pub(super) fn report(self, played: Duration, interrupted: bool) -> io::Result<Report> {
        let Director { plan, swarm, mut bots, failures, books, .. } = self;
        let [all, bystanders] = books.totals();
        let counters = all.since(&books.base[0]);
        let bystanders = bystanders.since(&books.base[1]);
        let Books { samples, times: [mut times, mut bystander_times], .. } = books;
        // What the threads counted after the last full second.
        for sample in samples.into_values().flatten() {
            times.merge(&sample.all.times);
            bystander_times.merge(&sample.bystanders.times);
        }
        let (joined, failed) = self.bystanders;
        let tally = Tally { counters: bystanders, times: bystander_times };
        let bystanders = (plan.bystanders > 0).then_some(Bystanders { joined, failed, tally });
        let stats = Arc::clone(&swarm.signaler.stats);
        bots.deferred = stats.deferred.load(Ordering::Relaxed);
        bots.undeleted =
            stats.undeleted.load(Ordering::Relaxed) + stats.pending.load(Ordering::Relaxed) as u64;
        let server_cpu = cores(books.server.first, books.server.last);
        let server_memory = books.server.last.map(|_| books.server_peak);
        let counted = played.saturating_sub(books.uncounted);
        let judged = Judged {
            counters: &counters,
            times: &times,
            duration: counted,
            joined: bots.joined,
            failed: bots.failed,
            server_cpu,
            server_memory,
            bystanders: bystanders.as_ref().map(|bystanders| &bystanders.tally),
        };
        // A ramp is meant to break thresholds; it reports where.
        let verdicts = match &self.climb.end {
            Some(_) => Vec::new(),
            None => plan.thresholds.iter().map(|threshold| threshold.judge(&judged)).collect(),
        };
        let own = Usage::own().zip(books.own.first).map(|(now, first)| now.since(&first.0));
        swarm.join()?;
        Ok(Report {
            scenario: plan.name.clone(),
            description: plan.describe(),
            played,
            counted,
            interrupted,
            bots,
            failures,
            counters,
            times,
            bystanders,
            ramp: self.climb.end,
            verdicts,
            timeline: self.timeline,
            server_cpu,
            server_memory,
            own,
            buffer_drops: proc::buffer_drops().saturating_sub(books.drops_before),
            threads: plan.threads,
        })
    }
}

//! Who joins and leaves when: plays the plan. What becomes known of it is kept by [`books`].

mod books;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

use crate::{
    bot::{BotId, BotPlan, Role, link::Faults},
    plan::Plan,
    proc::{Usage, buffer_drops, raise_file_limit},
    random::Random,
    report::{Bots, RampEnd, Report, Second, live::Live},
    stats::{Counters, Reasons, Sample, Times},
    swarm::Swarm,
    thread::{News, Order},
    threshold::Judged,
};

/// From the end of new media to the end: what is on its way comes, what was lost is sent again.
const SETTLE: Duration = Duration::from_millis(700);
/// Goodbyes may take so long, all together.
const GOODBYES: Duration = Duration::from_secs(10);
/// How often the director looks up when nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// Receiving sections of each kind in an offer: servers have limits.
const MAX_SLOTS: usize = 31;

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Join { room: u32, place: u32, kind: Kind },
    Churn,
    Move,
    Step,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Publishes,
    Watches,
    Both,
}

#[derive(Debug)]
struct Member {
    room: u32,
    place: u32,
    kind: Kind,
    /// Its name in URLs.
    participant: String,
    bots: Vec<BotId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Joining,
    Up,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    publishes: bool,
    state: State,
}

/// Plays a plan.
pub(crate) struct Director<'a> {
    plan: &'a Plan,
    swarm: Swarm,
    random: Random,
    live: Live,
    schedule: BinaryHeap<Reverse<(Instant, u64, Action)>>,
    order: u64,
    members: Vec<Member>,
    records: Vec<Record>,
    publishers: u32,
    participants: u32,
    viewers_called: bool,
    bots: Bots,
    failures: Reasons,
    samples: BTreeMap<u64, Vec<Sample>>,
    latest: Vec<Counters>,
    last_total: Counters,
    times: Times,
    timeline: Vec<Second>,
    finished: usize,
    server: Option<Usage>,
    server_first: Option<Usage>,
    server_peak: u64,
    own: Option<Usage>,
    drops_before: u64,
    joined_before: u64,
    failed_before: u64,
    ramp_end: Option<RampEnd>,
    ramp_viewers: u32,
    stop: bool,
    /// No new media flows any more: what comes is counted, and is no second of the run.
    settling_since: Option<Instant>,
}

impl<'a> Director<'a> {
    /// Gets everybody ready.
    ///
    /// # Errors
    /// As [`Swarm::start`].
    pub(crate) fn new(plan: &'a Plan, live: Live) -> io::Result<Director<'a>> {
        raise_file_limit();
        let mut random = Random::new(plan.seed);
        let swarm = Swarm::start(plan, &mut random)?;
        let server = plan.server_pid.and_then(Usage::of);
        if let (Some(pid), None) = (plan.server_pid, server) {
            return Err(io::Error::other(format!("there is no process {pid} to watch")));
        }
        Ok(Director {
            plan,
            live,
            schedule: BinaryHeap::new(),
            order: 0,
            members: Vec::new(),
            records: Vec::new(),
            publishers: 0,
            participants: 0,
            viewers_called: false,
            bots: Bots::default(),
            failures: Reasons::default(),
            samples: BTreeMap::new(),
            latest: vec![Counters::default(); swarm.threads()],
            last_total: Counters::default(),
            times: Times::default(),
            timeline: Vec::new(),
            finished: 0,
            server,
            server_first: server,
            server_peak: server.map_or(0, |usage| usage.memory),
            own: Usage::own(),
            drops_before: buffer_drops(),
            joined_before: 0,
            failed_before: 0,
            ramp_end: None,
            ramp_viewers: 0,
            stop: false,
            settling_since: None,
            swarm,
            random,
        })
    }

    /// Plays it to the end, or until `interrupted`, and reports.
    ///
    /// # Errors
    /// A thread of bots failed.
    pub(crate) fn run(mut self, interrupted: &AtomicBool) -> io::Result<Report> {
        let start = self.swarm.epoch;
        let end = start + self.plan.duration;
        self.call_publishers(start);
        let was_interrupted = loop {
            let now = Instant::now();
            if interrupted.load(Ordering::Relaxed) {
                break true;
            }
            if now >= end || self.stop {
                break false;
            }
            self.act(now);
            self.call_viewers(now);
            let next = self.schedule.peek().map_or(end, |entry| entry.0.0).min(end);
            self.listen(next.saturating_duration_since(now).min(LOOK));
        };
        let played = start.elapsed();
        self.settling_since = Some(Instant::now());
        self.swarm.order_all(|| Order::Mute);
        self.listen_until(Instant::now() + SETTLE, |_| false);
        self.swarm.order_all(|| Order::Finish);
        let threads = self.swarm.threads();
        self.listen_until(Instant::now() + GOODBYES, |director| {
            let pending = director.swarm.signaler.stats.pending.load(Ordering::Relaxed);
            director.finished == threads && pending == 0
        });
        self.live.end();
        self.report(played, was_interrupted)
    }

    fn at(&mut self, when: Instant, action: Action) {
        self.order += 1;
        self.schedule.push(Reverse((when, self.order, action)));
    }

    fn call_publishers(&mut self, start: Instant) {
        let plan = self.plan;
        let kind = if plan.meeting { Kind::Both } else { Kind::Publishes };
        let all = u64::from(plan.rooms) * u64::from(plan.publishers);
        // Those who only send are there when the viewers come; a meeting gathers over the whole time.
        let over = if plan.meeting {
            plan.join_over
        } else {
            plan.join_over.min(Duration::from_millis(20) * all as u32)
        };
        let mut number = 0;
        for place in 0..plan.publishers {
            for room in 0..plan.rooms {
                let when = start + over.mul_f64(number as f64 / all as f64);
                self.at(when, Action::Join { room, place, kind });
                number += 1;
            }
        }
        for (rate, action) in [(plan.churn, Action::Churn), (plan.moves, Action::Move)] {
            if rate > 0.0 {
                self.at(start + plan.join_over, action);
            }
        }
    }

    /// Viewers come when those whom they watch are there.
    fn call_viewers(&mut self, now: Instant) {
        let plan = self.plan;
        let publishers = u64::from(plan.rooms) * u64::from(plan.publishers);
        let called = self.records.iter().filter(|record| record.publishes);
        let settled = called.filter(|record| record.state != State::Joining).count() as u64;
        if self.viewers_called || (settled < publishers && !plan.meeting) {
            return;
        }
        self.viewers_called = true;
        if let Some(ramp) = plan.ramp {
            self.at(now, Action::Step);
            self.ramp_viewers = 0;
            debug_assert!(ramp.step > 0);
            return;
        }
        let all = u64::from(plan.rooms) * u64::from(plan.viewers);
        let mut number = 0;
        for place in 0..plan.viewers {
            for room in 0..plan.rooms {
                let when = now + plan.join_over.mul_f64(number as f64 / all.max(1) as f64);
                self.at(when, Action::Join { room, place, kind: Kind::Watches });
                number += 1;
            }
        }
    }

    fn act(&mut self, now: Instant) {
        while let Some(Reverse((when, _, action))) = self.schedule.peek().copied()
            && when <= now
        {
            self.schedule.pop();
            match action {
                Action::Join { room, place, kind } => self.join(room, place, kind),
                Action::Churn => {
                    self.churn();
                    let pause = self.pause(self.plan.churn);
                    self.at(when + pause, Action::Churn);
                }
                Action::Move => {
                    self.move_one();
                    let pause = self.pause(self.plan.moves);
                    self.at(when + pause, Action::Move);
                }
                Action::Step => self.step(now),
            }
        }
    }

    /// Events that come so often on average, independent of each other.
    fn pause(&mut self, rate: f64) -> Duration {
        let unit = self.random.unit().max(1e-9);
        Duration::from_secs_f64((-unit.ln() / rate).min(60.0))
    }

    fn join(&mut self, room: u32, place: u32, kind: Kind) {
        let name = self.plan.room_name(room);
        self.participants += 1;
        let participant = format!("p{place}-{}", self.participants);
        let mut bots = Vec::new();
        if kind != Kind::Watches {
            self.tell_of(room, &name, &participant);
            self.publishers += 1;
            let (audio, video) = (self.plan.audio, self.plan.video.clone());
            let role = Role::Publish { publisher: self.publishers, audio, video };
            let url = self.plan.whip_url(&name, &participant);
            bots.extend(self.start(role, url));
        }
        if kind != Kind::Publishes {
            if self.plan.watches_one_by_one() {
                let watched = self.watched(room);
                for watched in watched {
                    let url = self.plan.whep_url(&name, &watched, &participant);
                    bots.extend(self.start(self.watch(1), url));
                }
            } else {
                let others = self.plan.publishers - u32::from(kind == Kind::Both);
                let url = self.plan.whep_url(&name, "", &participant);
                bots.extend(self.start(self.watch(others as usize), url));
            }
        }
        self.members.push(Member { room, place, kind, participant, bots });
    }

    /// Names of those who publish in a room, where viewers have to know them.
    fn watched(&self, room: u32) -> Vec<String> {
        let in_room = self.members.iter().filter(|m| m.room == room && m.kind != Kind::Watches);
        in_room.map(|m| m.participant.clone()).collect()
    }

    /// Those who watch publishers one by one watch a new one too.
    fn tell_of(&mut self, room: u32, name: &str, newcomer: &str) {
        if !self.plan.watches_one_by_one() {
            return;
        }
        for at in 0..self.members.len() {
            let member = &self.members[at];
            if member.room == room && member.kind != Kind::Publishes {
                let url = self.plan.whep_url(name, newcomer, &member.participant);
                let bot = self.start(self.watch(1), url);
                self.members[at].bots.extend(bot);
            }
        }
    }

    fn watch(&self, publishers: usize) -> Role {
        let slots = publishers.clamp(1, MAX_SLOTS);
        Role::Watch {
            audio: if self.plan.audio.is_some() { slots } else { 0 },
            video: if self.plan.video.is_empty() { 0 } else { slots },
        }
    }

    fn start(&mut self, role: Role, url: Result<url::Url, String>) -> Option<BotId> {
        // The templates were tried when the plan was made; what is put in holds plain letters.
        let url = url.ok()?;
        let id = BotId(self.records.len() as u32);
        let publishes = matches!(role, Role::Publish { .. });
        let faulty = match self.plan.faulty {
            Some(share) => !publishes && self.random.unit() < share,
            None => true,
        };
        let tokens = &self.plan.tokens;
        let token = (!tokens.is_empty()).then(|| Arc::clone(&tokens[id.0 as usize % tokens.len()]));
        self.records.push(Record { publishes, state: State::Joining });
        let faults = if faulty { self.plan.faults } else { Faults::default() };
        let patience = self.plan.patience;
        let plan = BotPlan { id, role, url, token, faults, patience };
        self.swarm.order(id, Order::Join(Box::new(plan)));
        Some(id)
    }

    /// Somebody leaves, somebody else comes.
    fn churn(&mut self) {
        let mine = |m: &Member| m.kind != Kind::Publishes;
        let leaving: Vec<usize> = (0..self.members.len())
            .filter(|&at| mine(&self.members[at]) && self.is_up(&self.members[at]))
            .collect();
        if leaving.is_empty() {
            return;
        }
        let at = leaving[self.random.below(leaving.len())];
        let Member { room, place, kind, bots, .. } = self.members.swap_remove(at);
        let silent = self.random.unit() < self.plan.silent;
        for bot in bots {
            self.swarm.order(bot, Order::Leave { bot, silent });
            self.leave(bot);
        }
        self.join(room, place, kind);
    }

    fn move_one(&mut self) {
        let up: Vec<BotId> =
            self.members.iter().filter(|m| self.is_up(m)).flat_map(|m| m.bots.clone()).collect();
        if up.is_empty() {
            return;
        }
        let bot = up[self.random.below(up.len())];
        self.bots.moved += 1;
        self.swarm.order(bot, Order::Move { bot });
    }

    fn is_up(&self, member: &Member) -> bool {
        member.bots.iter().all(|bot| self.records[bot.0 as usize].state == State::Up)
    }

    /// A ramp goes on, unless a threshold broke in what was seen since the last step.
    fn step(&mut self, now: Instant) {
        let Some(ramp) = self.plan.ramp else { return };
        if self.ramp_viewers > 0 && self.ramp_is_over(ramp.step_time) {
            self.stop = true;
            return;
        }
        if self.ramp_viewers >= ramp.max {
            self.stop = true;
            self.ramp_end = Some(RampEnd { viewers: self.ramp_viewers, broken: Vec::new() });
            return;
        }
        let more = ramp.step.min(ramp.max - self.ramp_viewers);
        // Within the first third of the step, so that the rest of it is judged with all of them.
        let over = ramp.step_time / 3;
        for number in 0..more {
            let place = self.ramp_viewers + number;
            let when = now + over.mul_f64(f64::from(number) / f64::from(more));
            let (room, kind) = (place % self.plan.rooms, Kind::Watches);
            self.at(when, Action::Join { room, place, kind });
        }
        self.ramp_viewers += more;
        self.at(now + ramp.step_time, Action::Step);
    }

    fn ramp_is_over(&mut self, step_time: Duration) -> bool {
        let seconds = (step_time.as_secs() / 2).max(1) as usize;
        let recent = &self.timeline[self.timeline.len().saturating_sub(seconds)..];
        let (mut counters, mut times) = (Counters::default(), Times::default());
        for second in recent {
            counters.add(&second.counters);
            times.merge(&second.times);
        }
        let failed = self.bots.failed - self.failed_before;
        let joined = self.bots.joined - self.joined_before;
        (self.failed_before, self.joined_before) = (self.bots.failed, self.bots.joined);
        let judged = Judged {
            counters: &counters,
            times: &times,
            duration: Duration::from_secs(recent.len() as u64),
            joined,
            failed,
            server_cpu: recent.last().and_then(|second| second.server_cpu),
            server_memory: recent.last().and_then(|second| second.server_memory),
        };
        let verdicts = self.plan.thresholds.iter().map(|threshold| threshold.judge(&judged));
        let broken: Vec<_> = verdicts.filter(|verdict| verdict.broken).collect();
        if broken.is_empty() {
            return false;
        }
        self.ramp_end = Some(RampEnd { viewers: self.ramp_viewers, broken });
        true
    }

    /// Hears what the threads say, for so long at most.
    fn listen(&mut self, timeout: Duration) {
        match self.swarm.news.recv_timeout(timeout) {
            Ok(news) => self.hear(news),
            Err(RecvTimeoutError::Timeout) => {}
            // All threads are gone; their ends say why.
            Err(RecvTimeoutError::Disconnected) => self.stop = true,
        }
        while let Ok(news) = self.swarm.news.try_recv() {
            self.hear(news);
        }
    }

    fn listen_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) {
        while Instant::now() < end && !done(self) {
            self.listen(Duration::from_millis(20));
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Joined(bot) => {
                self.set(bot, State::Up);
            }
            News::Failed(bot, reason) => {
                self.failures.add(&reason);
                self.set(bot, State::Over);
            }
            News::Sample(sample) => self.take_sample(*sample),
            News::Finished => self.finished += 1,
        }
    }

    fn leave(&mut self, bot: BotId) {
        let record = &mut self.records[bot.0 as usize];
        if record.state != State::Over {
            record.state = State::Over;
            self.bots.left += 1;
        }
    }

    fn set(&mut self, bot: BotId, state: State) {
        let record = &mut self.records[bot.0 as usize];
        match (record.state, state) {
            (State::Joining, State::Up) => self.bots.joined += 1,
            (State::Joining, State::Over) => self.bots.failed += 1,
            (State::Up, State::Over) => {
                self.bots.failed += 1;
                self.bots.broken_off += 1;
            }
            // News of a bot that was sent away meanwhile.
            _ => return,
        }
        record.state = state;
    }
}

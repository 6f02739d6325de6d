//! Plays the plan: which member joins and leaves when.
//!
//! - [`members`]: the members of the rooms
//! - [`ramp`]: how a ramp grows, and where it ends
//! - [`books`]: the counts and the report

mod books;
mod members;
mod ramp;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

use self::{books::Books, members::Member, ramp::Climb};
use crate::{
    bot::BotId,
    plan::Plan,
    proc::{Usage, raise_file_limit},
    random::Random,
    report::{Bots, Report, Second, live::Live},
    stats::Reasons,
    swarm::Swarm,
    thread::{News, Order},
};

/// From the end of new media to the end of the run: packets under way arrive, lost ones are resent.
const SETTLE: Duration = Duration::from_millis(700);
/// Most time for all goodbyes together.
const GOODBYES: Duration = Duration::from_secs(10);
/// How often the director runs when nothing happens.
const LOOK: Duration = Duration::from_millis(100);

/// A planned action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Join { room: u32, place: u32, kind: Kind },
    Replace,
    Churn,
    Move,
    Step,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Publishes,
    Watches,
    /// Watches from before the others join, and stays (a bystander).
    Bystands,
    Both,
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
    bystands: bool,
    state: State,
}

/// Which members were called to join so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    Publishers,
    /// Publishers are being called.
    Bystanders,
    /// All publishers are connected or failed; the viewers come next.
    BystandersSettled(Instant),
    Everybody,
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
    called: Called,
    /// At a regular interval one of the viewers stalls: the fraction of the next one that has accumulated.
    stall_share: f64,
    bots: Bots,
    /// How many of the bystanders joined, and failed.
    bystanders: (u64, u64),
    failures: Reasons,
    /// Failed members that have to be replaced.
    vacant: VecDeque<BotId>,
    books: Books,
    timeline: Vec<Second>,
    finished: usize,
    climb: Climb,
    stop: bool,
    /// No new media is sent any more: what arrives is counted, but not in a second of the run.
    settling_since: Option<Instant>,
}

impl<'a> Director<'a> {
    /// Prepares a run.
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
            called: Called::Publishers,
            stall_share: 0.0,
            bots: Bots::default(),
            bystanders: (0, 0),
            failures: Reasons::default(),
            vacant: VecDeque::new(),
            books: Books::new(swarm.threads(), server),
            timeline: Vec::new(),
            finished: 0,
            climb: Climb::default(),
            stop: false,
            settling_since: None,
            swarm,
            random,
        })
    }

    /// Runs the plan to its end, or until `interrupted`, and returns the report.
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
            if now >= end || self.stop || self.nobody_will_be_there() {
                break false;
            }
            self.act(now);
            self.call_next(now);
            let next = self.schedule.peek().map_or(end, |entry| entry.0.0).min(end);
            self.listen(next.saturating_duration_since(now).min(LOOK));
        };
        let played = start.elapsed();
        self.settling_since = Some(Instant::now());
        self.swarm.order_all(|| Order::Mute);
        self.listen_until(Instant::now() + SETTLE, |director| director.bots.joined == 0);
        self.swarm.order_all(|| Order::Finish);
        let threads = self.swarm.threads();
        self.listen_until(Instant::now() + GOODBYES, |director| {
            let pending = director.swarm.signaler.stats.pending.load(Ordering::Relaxed);
            director.finished == threads && pending == 0
        });
        self.live.end();
        self.report(played, was_interrupted)
    }

    /// All members failed to join, and no other will come: there is nothing to wait for.
    fn nobody_will_be_there(&self) -> bool {
        self.bots.joined == 0
            && self.called == Called::Everybody
            && self.schedule.iter().all(|entry| matches!(entry.0.2, Action::Churn | Action::Move))
            && self.records.iter().all(|record| record.state == State::Over)
    }

    fn at(&mut self, when: Instant, action: Action) {
        self.order += 1;
        self.schedule.push(Reverse((when, self.order, action)));
    }

    fn act(&mut self, now: Instant) {
        while let Some(Reverse((when, _, action))) = self.schedule.peek().copied()
            && when <= now
        {
            self.schedule.pop();
            match action {
                Action::Join { room, place, kind } => self.join(room, place, kind),
                Action::Replace => self.replace_one(when),
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

    /// Takes reports of the threads, for at most this long.
    fn listen(&mut self, timeout: Duration) {
        match self.swarm.news.recv_timeout(timeout) {
            Ok(news) => self.hear(news),
            Err(RecvTimeoutError::Timeout) => {}
            // All threads have ended; their results say why. Goodbyes may still be under way, so this sleeps: a busy
            // loop would take the processor from them, and with a real-time priority all of it.
            Err(RecvTimeoutError::Disconnected) => {
                self.stop = true;
                std::thread::sleep(timeout);
            }
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
            News::Stalled(bot) => {
                self.bots.stalled += u64::from(self.records[bot.0 as usize].state == State::Up);
            }
            News::Failed(bot, reason) => {
                self.failures.add(&reason);
                self.set(bot, State::Over);
                self.vacate(bot);
            }
            News::Sample(sample) => self.take_sample(*sample),
            News::Finished => self.finished += 1,
        }
    }

    fn set(&mut self, bot: BotId, state: State) {
        let record = &mut self.records[bot.0 as usize];
        let bystands = u64::from(record.bystands);
        match (record.state, state) {
            (State::Joining, State::Up) => {
                self.bots.joined += 1;
                self.bystanders.0 += bystands;
            }
            (State::Joining, State::Over) => {
                self.bots.failed += 1;
                self.bystanders.1 += bystands;
            }
            (State::Up, State::Over) => {
                self.bots.failed += 1;
                self.bots.broken_off += 1;
                self.bystanders.1 += bystands;
            }
            // A report of a bot that was removed meanwhile.
            _ => return,
        }
        record.state = state;
    }
}

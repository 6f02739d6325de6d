//! The hostile run: a swarm of good peers uses a node as any swarm does, while attackers carry out attacks of
//! docs/threats.md at the highest rate. The good peers must not be harmed.
//!
//! - `options`: flags, and the parts of the run with their attacks
//! - `node`, `metrics`: the node, and its metrics
//! - `good`: the good peers, and what they measured in a part of the run
//! - `child`: the attackers' process
//! - `attacks`: one file for each attack, with `peer` (a session of an attacker), `http` and `deeds`
//! - `judge`, `report`: the verdict and its report
//!
//! The node is a black box here: its metrics are matched by the beginnings of their names, so that a new reason for a drop needs no
//! change as long as it is named like its siblings.

mod attacks;
mod child;
mod deeds;
mod good;
mod http;
mod judge;
mod metrics;
mod node;
mod options;
mod peer;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use self::{
    attacks::ATTACKS,
    child::{AllDeeds, Attackers, Orders, Tokens},
    deeds::Deeds,
    good::{Good, ROOM, TOKENS, View},
    judge::{Seen, judge},
    node::{Grant, Look, Node},
    options::{GATHER, Options, Phase},
    report::{Outcome, Part},
};
use crate::random::Random;

/// Rooms that each attack has of its own, with one token each, and tokens with which each attack may watch the good
/// peers.
const OWN_ROOMS: usize = 4;
const WATCH_TOKENS: usize = 4;
/// The good peers' run is planned for this many times the seconds of all parts, and is ended after the last part. The
/// attackers may need longer than their part to end their sessions, and the next part waits for that.
const TAIL: u64 = 5;
/// The attackers begin this long after the beginning of their part, and end this long before its end.
const MARGIN: Duration = Duration::from_millis(100);

/// The whole command: flags, run, report, exit code.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.part {
        Some(part) => child::attack(part).map(|()| true),
        None => run(&options).and_then(|outcome| write(&options, &outcome)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _gone = writeln!(io::stderr(), "sfumato-hostile: {error}");
            ExitCode::from(2)
        }
    }
}

/// Writes the reports. Returns whether the run was good.
fn write(options: &Options, outcome: &Outcome) -> Result<bool, String> {
    let to_stdout = options.json.as_deref().is_some_and(|path| path == Path::new("-"));
    let json = format!("{:#}\n", outcome.json());
    let text = if to_stdout { json.clone() } else { outcome.text() };
    // It is no failure if the reader of standard output is gone.
    let _gone = io::stdout().write_all(text.as_bytes());
    if let Some(path) = options.json.as_deref().filter(|_| !to_stdout) {
        fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(outcome.is_good())
}

/// What was done and measured in a part of the run, before it is judged.
struct Course {
    phase: Phase,
    /// The seconds of the good peers' report that belong to the part.
    from: u64,
    to: u64,
    before: Look,
    after: Look,
    deeds: AllDeeds,
}

fn run(options: &Options) -> Result<Outcome, String> {
    let phases = options.phases()?;
    let shown = options.out.display();
    fs::create_dir_all(&options.out).map_err(|error| format!("{shown}: {error}"))?;
    let mut node = Node::start(&options.node, &options.out)?;
    let played = play(options, phases, &mut node);
    let end = node.stop();
    let (courses, report) = played?;
    let cores = udp::cores();
    let core = attackers_core(options, &cores);
    let mut outcome = conclude(courses, &report);
    outcome.findings.extend(end);
    (outcome.core, outcome.cores) = (core, cores.len());
    Ok(outcome)
}

fn attackers_core(options: &Options, cores: &[usize]) -> Option<usize> {
    options.core.or_else(|| cores.last().copied())
}

/// Runs the good peers, and beside them the attackers, part by part.
fn play(
    options: &Options,
    phases: Vec<Phase>,
    node: &mut Node,
) -> Result<(Vec<Course>, crate::report::Report), String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let registered = flag::register(signal, Arc::clone(&interrupted));
        registered.map_err(|error| format!("signals: {error}"))?;
    }
    let orders = orders(options, node)?;
    let tokens: Result<Vec<_>, _> = (0..TOKENS).map(|_| node.token("*", Grant::Both)).collect();
    let all: u64 = phases.iter().map(|phase| phase.seconds).sum();
    let seconds = GATHER + all * TAIL;
    let (http, pid) = (node.http, node.pid());
    let good = Good::start(http, pid, &tokens?, seconds, GATHER - 2, &options.out)?;
    let courses = go_through(phases, orders, node, good.begun, &interrupted);
    good.stop();
    let report = good.report()?;
    Ok((courses?, report))
}

/// Runs the parts, each from a whole second of the good peers' report on.
fn go_through(
    phases: Vec<Phase>,
    mut orders: Orders,
    node: &mut Node,
    begun: Instant,
    interrupted: &AtomicBool,
) -> Result<Vec<Course>, String> {
    let (mut courses, mut from) = (Vec::new(), GATHER);
    for phase in phases {
        let end = begun + Duration::from_secs(from + phase.seconds);
        sleep_until(begun + Duration::from_secs(from), interrupted)?;
        let before = node.look();
        let deeds = attack(&mut orders, &phase, end)?;
        sleep_until(end, interrupted)?;
        // If the node is slow to end the attackers' sessions, the time that this takes belongs to the part too.
        let to = begun.elapsed().as_millis().div_ceil(1_000) as u64;
        sleep_until(begun + Duration::from_secs(to), interrupted)?;
        courses.push(Course { phase, from, to, before, after: node.look(), deeds });
        from = to + 1;
    }
    // The samples of a second are taken after its end.
    sleep_until(begun + Duration::from_secs(from + 1), interrupted)?;
    Ok(courses)
}

/// Runs the attacks of a part, until shortly before its end. The attackers then need some more time to end their
/// sessions.
fn attack(orders: &mut Orders, phase: &Phase, end: Instant) -> Result<AllDeeds, String> {
    if phase.attacks.is_empty() {
        return Ok(AllDeeds::new());
    }
    thread::sleep(MARGIN);
    orders.attacks = phase.attacks.iter().map(|attack| attack.name.to_owned()).collect();
    orders.seed = orders.seed.wrapping_add(1);
    let left = end.saturating_duration_since(Instant::now() + MARGIN);
    orders.milliseconds = left.as_millis() as u64;
    let deeds = Attackers::start(orders)?.end();
    // A failure of the attackers does not end the run: the part then counts as one without an attack.
    Ok(deeds.unwrap_or_else(|error| {
        let mut failed = Deeds::default();
        failed.trouble(&error);
        orders.attacks.iter().map(|name| (name.clone(), failed.clone())).collect()
    }))
}

fn orders(options: &Options, node: &Node) -> Result<Orders, String> {
    // The first room of the good peers.
    let good_room = format!("{ROOM}-0");
    let mut tokens = BTreeMap::new();
    for attack in ATTACKS {
        let mut of_one = Tokens::default();
        for _ in 0..WATCH_TOKENS {
            of_one.watch.push(node.token(&good_room, Grant::Watch)?);
        }
        for number in 0..OWN_ROOMS {
            let room = format!("{}-{number}", attack.name);
            let token = node.token(&room, Grant::Both)?;
            of_one.own.push((room, token));
        }
        tokens.insert(attack.name.to_owned(), of_one);
    }
    Ok(Orders {
        attacks: Vec::new(),
        milliseconds: 0,
        http: node.http,
        good_room,
        tokens,
        core: attackers_core(options, &udp::cores()),
        seed: options.seed.unwrap_or_else(Random::seed),
    })
}

/// Sleeps, and stops sleeping when the run is interrupted.
fn sleep_until(when: Instant, interrupted: &AtomicBool) -> Result<(), String> {
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// Judges every part by what the good peers measured in it. The calm part is compared with itself, so it only fails
/// where no comparison is made, for example when a good peer failed.
fn conclude(courses: Vec<Course>, report: &crate::report::Report) -> Outcome {
    let view = |course: &Course| View::of(&report.timeline, course.from, course.to);
    let calm = courses.first().map(view).unwrap_or_default();
    let calm_memory = courses.first().map_or(0, |course| course.after.memory);
    let parts = courses.into_iter().map(|course| {
        let view = view(&course);
        let seen = Seen {
            seconds: view.seconds,
            view: &view,
            before: &course.before,
            after: &course.after,
            attacks: &course.phase.attacks,
            deeds: &course.deeds,
        };
        let findings = judge(&seen, &calm, calm_memory);
        let drops = course.after.metrics.drops_since(&course.before.metrics);
        let (memory, phase, deeds) = (course.after.memory, course.phase, course.deeds);
        Part { phase, view, deeds, drops, memory, findings }
    });
    let parts = parts.collect();
    let mut findings = Vec::new();
    for (reason, count) in report.failures.sorted() {
        findings.push(format!("good peers failed: {reason} ({count})"));
    }
    Outcome { parts, findings, core: None, cores: 0 }
}

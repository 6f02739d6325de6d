//! The hostile run: a swarm of good peers uses a node as any swarm does, while attackers do at the highest rate what the list of
//! threats says, and the good ones must not notice.
//!
//! - `options`: flags, and which attacks are tried when
//! - `node`, `metrics`: the node, and what it shows
//! - `good`: the good ones, and what they saw in a part of the run
//! - `child`: the attackers' process
//! - `attacks`: what they do, one file each, with `peer` (a session of an attacker), `http` and `deeds`
//! - `judge`, `report`: whether that is good
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

/// Rooms that each attack has of its own, with a token each, and its tokens that may watch the good ones.
const OWN_ROOMS: usize = 4;
const WATCH_TOKENS: usize = 4;
/// The good peers' run is planned for so many times the seconds of all parts, and ended when the last part is over: attackers may need longer
/// to end their sessions than the part had, and nothing else begins before.
const TAIL: u64 = 5;
/// The attackers of a part begin so long after its beginning, and end so long before its end.
const MARGIN: Duration = Duration::from_millis(100);

/// The command, whole: flags, run, report, exit code.
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

/// Writes the reports; whether all was good.
fn write(options: &Options, outcome: &Outcome) -> Result<bool, String> {
    let to_stdout = options.json.as_deref().is_some_and(|path| path == Path::new("-"));
    let json = format!("{:#}\n", outcome.json());
    let text = if to_stdout { json.clone() } else { outcome.text() };
    // A reader that went away is no failure.
    let _gone = io::stdout().write_all(text.as_bytes());
    if let Some(path) = options.json.as_deref().filter(|_| !to_stdout) {
        fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(outcome.is_good())
}

/// What was done and seen in a part of the run, before it is judged.
struct Course {
    phase: Phase,
    /// Seconds of the good ones' report.
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

/// Sends the good ones in, and the attackers after them, part by part.
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

/// Part by part, at whole seconds of the good ones' report.
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
        // What attackers do after their time, since the node is slow to end their sessions, belongs to this part as well.
        let to = begun.elapsed().as_millis().div_ceil(1_000) as u64;
        sleep_until(begun + Duration::from_secs(to), interrupted)?;
        courses.push(Course { phase, from, to, before, after: node.look(), deeds });
        from = to + 1;
    }
    // The samples of the last second come after it.
    sleep_until(begun + Duration::from_secs(from + 1), interrupted)?;
    Ok(courses)
}

/// The attacks of a part, until shortly before its end. Ending their sessions takes attackers some time more.
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
    // Attackers that failed are no reason to end the run: without deeds the part is judged as one without an attack.
    Ok(deeds.unwrap_or_else(|error| {
        let mut failed = Deeds::default();
        failed.trouble(&error);
        orders.attacks.iter().map(|name| (name.clone(), failed.clone())).collect()
    }))
}

fn orders(options: &Options, node: &Node) -> Result<Orders, String> {
    // The first of the good ones' rooms.
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

/// Sleeps, but not on when the run is interrupted.
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

/// Judges every part by what the good ones saw in it. The calm part is compared with itself, so what is found there is what no comparison
/// excuses, such as a good peer that failed.
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
        findings.push(format!("good ones failed: {reason} ({count})"));
    }
    Outcome { parts, findings, core: None, cores: 0 }
}

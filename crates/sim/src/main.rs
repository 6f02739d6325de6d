//! Runs seeds: `sfumato-sim --seeds 1000`, or one seed with all its events: `sfumato-sim --seed 7`.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

use std::process::ExitCode;

use clap::Parser;
use sfumato_sim::{Options, Outcome, run};

/// Simulates a node and its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this one, with its events.
    #[arg(long)]
    seed: Option<u64>,
    /// With its datagrams.
    #[arg(long)]
    datagrams: bool,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let outcome = run(
            seed,
            &Options { all_events: true, datagrams: arguments.datagrams, ..Options::default() },
        );
        outcome.events.iter().for_each(|event| println!("{event}"));
        println!("{}", line(&outcome));
        return exit(outcome.failure.is_none());
    }
    let mut failed = 0_u64;
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let outcome = run(seed, &Options::default());
        if outcome.failure.is_some() {
            failed += 1;
            outcome.events.iter().for_each(|event| println!("{event}"));
            println!("{}", line(&outcome));
            println!("again: cargo xtask sim --seed {seed}");
            if !arguments.keep_going {
                break;
            }
        }
    }
    println!("{failed} of {} runs failed", arguments.seeds);
    exit(failed == 0)
}

fn line(outcome: &Outcome) -> String {
    let Outcome { seed, workers, weather, digest, datagrams, peers, seen, .. } = outcome;
    let wait = outcome.longest_wait.as_millis();
    let lasted = outcome.lasted.as_secs_f64();
    let end = outcome.failure.as_deref().unwrap_or("all is well");
    format!(
        "seed {seed}: {workers} workers, {weather:?}, {peers} peers, {lasted:.1} s, {datagrams} datagrams, {seen} pictures and sounds seen, longest wait {wait} ms, digest {digest:016x}: {end}"
    )
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

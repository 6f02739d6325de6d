//! Prices: the machine, the packet path in process, the node over loopback, sessions. Side by side and in one run, since
//! only ratios mean something on a machine that others use too.
//!
//! - [`machine`]: encrypting and sending, and nothing else
//! - [`instructions`]: the packet path in process ([`scenario`]), counted by callgrind
//! - [`node`]: the real binary with a publisher and its viewers
//! - [`memory`]: what sessions cost
//!
//! `cargo xtask bench` runs it. It is no load test: it asks what a packet costs, not how many there can be.

#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

mod callgrind;
mod client;
mod http;
mod instructions;
mod machine;
mod media;
mod memory;
mod node;
mod proc;
mod prometheus;
mod report;
mod scenario;
mod server;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Map, json};

use report::Table;

/// Prices: the machine, the packet path in process, the node over loopback, sessions.
#[derive(Debug, Parser)]
#[command(name = "sfumato-bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Shorter, for a look: less than a minute.
    #[arg(long)]
    quick: bool,
    /// One part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Writes the results to a file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The node's binary; without it, it is built.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Machine,
    Core,
    Node,
    Memory,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// What runs under callgrind.
    #[command(hide = true)]
    Core {
        /// Subscribers.
        subscribers: usize,
        /// Pictures in the measured part.
        pictures: u32,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.inner {
        Some(Inner::Core { subscribers, pictures }) => scenario::run(subscribers, pictures)
            .map(|outcome| println!("{}", instructions::say(outcome))),
        None => run(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let load = proc::load();
    let wanted = |part| cli.only.is_none_or(|only| only == part);
    let seconds = |quick, full| Duration::from_secs_f64(if cli.quick { quick } else { full });
    let mut tables = Vec::new();
    if wanted(Part::Machine) {
        show(&mut tables, machine::measure(seconds(0.5, 2.0))?);
    }
    if wanted(Part::Core) {
        let subscribers: &[usize] = if cli.quick { &[1, 10, 100] } else { &[1, 10, 100, 1_000] };
        show(&mut tables, instructions::measure(subscribers)?);
    }
    if wanted(Part::Node) || wanted(Part::Memory) {
        let binary = server::binary(cli.bin.clone())?;
        if wanted(Part::Node) {
            show(&mut tables, node::measure(&binary, seconds(3.0, 10.0))?);
        }
        if wanted(Part::Memory) {
            let (idle, active) = if cli.quick { (100, 50) } else { (300, 100) };
            show(&mut tables, memory::measure(&binary, idle, active)?);
        }
    }
    if let Some(table) = ratios(&tables) {
        show(&mut tables, table);
    }
    let loads = [load, proc::load()];
    for (when, load) in ["before", "after"].iter().zip(loads) {
        if let Some([one, five, _]) = load {
            println!("load {when}: {one} over a minute, {five} over five");
        }
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("processors: {cores}");
    if let Some(path) = &cli.json {
        let mut all: Map<_, _> =
            tables.iter().map(|table| (table.id.to_owned(), table.json())).collect();
        all.insert(
            "load".into(),
            json!({ "before": loads[0], "after": loads[1], "processors": cores }),
        );
        std::fs::write(path, format!("{:#}\n", serde_json::Value::from(all)))?;
    }
    Ok(())
}

/// Prints a table as soon as it is there: the next one may take a while.
fn show(tables: &mut Vec<Table>, table: Table) {
    println!("{table}");
    tables.push(table);
}

/// The node's price over the machine's, for receivers of the same kind.
fn ratios(tables: &[Table]) -> Option<Table> {
    let find = |id| tables.iter().find(|table| table.id == id);
    let (machine, node) = (find("machine")?, find("node")?);
    let mut table =
        Table::new("ratio", "the node's price of a packet over the machine's", &["no GRO", "GRO"]);
    for floor in [machine::SEAL, machine::TRAINS, machine::PACED, machine::SINGLE] {
        let ratio = |column| Some(node.value(node::PRICE, column)? / machine.value(floor, column)?);
        table.row(floor, "x", [ratio(0), ratio(1)]);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        assert!(Cli::try_parse_from(["bench", "--quick", "--only", "core"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "core", "10", "3"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "--only", "moon"]).is_err());
    }

    #[test]
    fn ratios_compare_receivers_of_one_kind() {
        let mut machine = Table::new("machine", "", &["no GRO", "GRO"]);
        machine.row(machine::TRAINS, "ns", [Some(600.0), Some(300.0)]);
        let mut node = Table::new("node", "", &["no GRO", "GRO"]);
        node.row(node::PRICE, "ns", [Some(900.0), Some(600.0)]);
        let table = ratios(&[machine, node]).unwrap();
        assert_eq!(table.value(machine::TRAINS, 0), Some(1.5));
        assert_eq!(table.value(machine::TRAINS, 1), Some(2.0));
        assert_eq!(table.value(machine::SINGLE, 1), None);
        assert!(ratios(&[]).is_none());
    }
}

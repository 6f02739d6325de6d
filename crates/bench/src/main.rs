//! Benchmarks: the price of a packet and of a session on the node, beside the price on the bare machine. Both are
//! measured in one run, because only ratios mean something on a shared machine.
//!
//! Server and swarm run in network namespaces of their own ([`net`]).
//!
//! - [`limit`]: a bare sender: copying, sealing and sending, and nothing else
//! - [`node`]: the real binary, loaded by the swarm
//! - [`instructions`], [`path`]: the packet path in process ([`scenario`]), counted by callgrind, and timed
//! - [`pictures`]: a key frame to a thousand viewers, and what others in the same worker notice of it
//! - [`sessions`]: what sessions cost
//! - [`room`]: a room of thousands of viewers, in process, [`members`]: rooms of members who talk, and [`idle`]: the
//!   memory of many idle sessions
//! - [`extra`]: parts that take longer
//! - [`targets`]: the marks, and whether they are reached
//!
//! `cargo xtask bench` runs it. It measures prices; how many sessions a node carries is measured by the load test.

#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

mod agreed;
mod callgrind;
mod extra;
mod http;
mod idle;
mod instructions;
mod limit;
mod media;
mod members;
mod net;
mod node;
mod path;
mod pictures;
mod proc;
mod prometheus;
mod report;
mod room;
mod scenario;
mod server;
mod sessions;
mod sinks;
mod swarm;
mod targets;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Map, json};

use limit::Cipher;
use net::Net;
use node::Show;
use report::Table;
use scenario::Content;

/// Prices: the machine, the node, its packet path, its sessions.
#[derive(Debug, Parser)]
#[command(name = "sfumato-bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// A short run of about two minutes, for a first look.
    #[arg(long)]
    quick: bool,
    /// Run only this part; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Run all parts, also those that take longer.
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Minutes of the soak.
    #[arg(long, value_name = "MINUTES", default_value_t = 20)]
    soak: u32,
    /// The network between server and swarm.
    #[arg(long, value_enum, default_value = "veth")]
    net: net::Kind,
    /// Whether viewers set UDP_GRO.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    gro: bool,
    /// Writes the results to a file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The node's binary; built when not given.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// The swarm's binary; built when not given.
    #[arg(long, value_name = "PATH")]
    swarm: Option<PathBuf>,
}

impl Cli {
    fn wants(&self, part: Part) -> bool {
        match self.only.as_slice() {
            [] => self.all || Part::USUAL.contains(&part),
            only => only.contains(&part),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A bare sender: what the machine itself costs.
    Limit,
    /// The real binary with the swarm.
    Node,
    /// A key frame to 1,000 viewers, and a small room beside them.
    Pictures,
    /// The packet path in process, timed.
    Path,
    /// The packet path in process, counted by callgrind.
    Core,
    /// Sessions: setting them up, many at once, and their memory.
    Sessions,
    /// A room of 5,000 viewers and the memory of 20,000 sessions, in process, no sockets.
    Room,
    /// 2,000 idle sessions and 500 active ones at once.
    Crowd,
    /// Rooms of members: memory, silence, switches, joins.
    Meetings,
    /// Two workers.
    Workers,
    /// Whether slow viewers hurt others.
    Slow,
    /// Sessions come and go for a long time (--soak), and whether anything is lost or left over.
    Soak,
}

impl Part {
    /// The parts that run by default.
    const USUAL: [Part; 7] = [
        Part::Limit,
        Part::Node,
        Part::Pictures,
        Part::Path,
        Part::Core,
        Part::Sessions,
        Part::Room,
    ];
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// The program that runs under callgrind.
    #[command(hide = true)]
    Core {
        /// Subscribers.
        subscribers: usize,
        /// Pictures in the measured part.
        pictures: u32,
        /// SRTP profile.
        #[arg(value_parser = cipher)]
        cipher: Cipher,
        /// Sound instead of pictures.
        #[arg(long)]
        sound: bool,
    },
    /// The program whose memory is measured.
    #[command(hide = true)]
    Idle {
        /// Workers.
        workers: usize,
        /// Viewers.
        sessions: usize,
    },
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Time of one pass of the bare sender.
    pub(crate) pass: Duration,
    /// Time that the node is measured for.
    pub(crate) window: Duration,
    /// Sessions that are set up, and over what time.
    pub(crate) sessions: usize,
    pub(crate) join_over: Duration,
    /// Numbers of receivers.
    pub(crate) receivers: &'static [usize],
}

impl Effort {
    pub(crate) fn quick() -> Self {
        Self {
            pass: Duration::from_millis(10),
            window: Duration::from_secs(4),
            sessions: 500,
            join_over: Duration::from_secs(4),
            receivers: &[100, 1_000],
        }
    }

    fn full() -> Self {
        Self {
            pass: Duration::from_millis(60),
            window: Duration::from_secs(10),
            sessions: 500,
            join_over: Duration::from_secs(10),
            receivers: &[10, 100, 250, 500, 1_000],
        }
    }
}

/// What all parts need.
pub(crate) struct Bench {
    pub(crate) net: Net,
    /// The node's binary.
    pub(crate) node: PathBuf,
    /// The swarm's binary.
    pub(crate) swarm: PathBuf,
    pub(crate) effort: Effort,
    pub(crate) gro: bool,
    /// The cipher that node and swarm agree on.
    pub(crate) cipher: Cipher,
}

impl Bench {
    fn open(cli: &Cli) -> io::Result<Self> {
        let (node, swarm) = (
            server::binary(cli.bin.clone(), "sfumato")?,
            server::binary(cli.swarm.clone(), "sfumato-loadtest")?,
        );
        let effort = if cli.quick { Effort::quick() } else { Effort::full() };
        let cipher = agreed::cipher()?;
        Ok(Self { net: Net::open(cli.net)?, node, swarm, effort, gro: cli.gro, cipher })
    }

    /// The flags with which the swarm starts its totals this long after its own start.
    pub(crate) fn warm_up(&self, time: Duration) -> [String; 2] {
        swarm::flag("warm-up", swarm::time(time))
    }
}

fn cipher(name: &str) -> Result<Cipher, String> {
    Cipher::named(name).ok_or_else(|| Cipher::ALL.map(Cipher::name).join(", "))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.inner {
        Some(Inner::Core { subscribers, pictures, cipher, sound }) => {
            let content = if sound { Content::Sound } else { Content::Pictures };
            scenario::run_alone(subscribers, pictures, cipher, content)
                .map(|outcome| println!("{}", instructions::say(outcome)))
        }
        Some(Inner::Idle { workers, sessions }) => {
            idle::run_alone(workers, sessions).map(|memory| println!("{memory}"))
        }
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
    let (load, stolen) = (proc::load(), proc::stolen());
    // The part `room` runs in process, and needs neither a node's binary nor a network.
    let bench = (cli.only != [Part::Room]).then(|| Bench::open(cli)).transpose()?;
    let mut tables = Vec::new();
    if let Some(bench) = &bench {
        measure(cli, bench, &mut tables)?;
    }
    if cli.wants(Part::Room) {
        room::measure()?.into_iter().for_each(|table| show(&mut tables, table));
        show(&mut tables, members::measure()?);
        show(&mut tables, idle::measure()?);
    }
    let targets = targets::table(&tables);
    if !targets.rows.is_empty() {
        show(&mut tables, targets);
    }
    let loads = [load, proc::load()];
    for (when, load) in ["before", "after"].iter().zip(loads) {
        if let Some([one, five, _]) = load {
            println!("load {when}: {one} over a minute, {five} over five");
        }
    }
    if let (Some(before), Some(after)) = (stolen, proc::stolen()) {
        let share = 100.0 * (after[0] - before[0]) / (after[1] - before[1]).max(1.0);
        println!("the host gave {share:.1} % of the time of our cores to others");
    }
    if let Some(bench) = &bench {
        let (server, swarm) = (bench.net.server_core, &bench.net.swarm_cores);
        println!("cores: {server} of the server, {swarm:?} of the swarm");
    }
    if let Some(path) = &cli.json {
        let mut all: Map<_, _> =
            tables.iter().map(|table| (table.id.to_owned(), table.json())).collect();
        all.insert("load".into(), json!({ "before": loads[0], "after": loads[1] }));
        std::fs::write(path, format!("{:#}\n", serde_json::Value::from(all)))?;
    }
    Ok(())
}

fn measure(cli: &Cli, bench: &Bench, tables: &mut Vec<Table>) -> io::Result<()> {
    let wanted = |part| cli.wants(part);
    if wanted(Part::Limit) {
        let shown = limit::measure(&bench.net, bench.effort)?;
        shown.into_iter().for_each(|table| show(tables, table));
    }
    if wanted(Part::Node) {
        let mut shows: Vec<_> = bench.effort.receivers.iter().map(|&n| Show::Video(n)).collect();
        shows.extend([Show::Rooms(10), Show::Rooms(20), Show::Sound]);
        shows.extend([Show::Real(100), Show::Real(500), Show::RealRooms(20)]);
        show(tables, node::measure(bench, &shows)?);
    }
    if wanted(Part::Pictures) {
        show(tables, pictures::measure(bench)?);
    }
    if wanted(Part::Path) {
        show(tables, path::measure(bench)?);
    }
    if wanted(Part::Core) {
        let subscribers: &[usize] = if cli.quick { &[0, 1, 100] } else { &[0, 1, 10, 100, 1_000] };
        show(tables, instructions::measure(subscribers)?);
    }
    if wanted(Part::Sessions) {
        sessions::measure(bench)?.into_iter().for_each(|table| show(tables, table));
    }
    if wanted(Part::Crowd) {
        show(tables, extra::crowd::measure(bench)?);
    }
    if wanted(Part::Meetings) {
        extra::meetings::measure(bench)?.into_iter().for_each(|table| show(tables, table));
    }
    if wanted(Part::Workers) {
        show(tables, extra::workers::measure(bench)?);
    }
    if wanted(Part::Slow) {
        show(tables, extra::slow::measure(bench)?);
    }
    if wanted(Part::Soak) {
        let lasting = Duration::from_secs(60 * u64::from(cli.soak));
        show(tables, extra::soak::measure(bench, lasting)?);
    }
    Ok(())
}

/// Prints a table at once, because the next one may take a while.
fn show(tables: &mut Vec<Table>, table: Table) {
    println!("{table}");
    tables.push(table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        assert!(Cli::try_parse_from(["bench", "--quick", "--only", "core"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "core", "10", "3", "AES-CM-SHA1"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "idle", "64", "20000"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "--only", "moon"]).is_err());
        assert!(Cli::try_parse_from(["bench", "--only", "soak", "--soak", "3"]).is_ok());
        assert!(Cli::try_parse_from(["bench", "--all", "--only", "soak"]).is_err());
    }
}

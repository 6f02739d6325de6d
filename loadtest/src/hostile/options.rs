//! The command line of a hostile run, and the parts of the run that follow from it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::attacks::{ATTACKS, Attack, by_name};

/// Attacks a node of Sfumato, which it starts, while a swarm of good peers uses it, and reports whether they were
/// harmed.
#[derive(Debug, Parser)]
#[command(name = "sfumato-hostile", version, after_help = AFTER_HELP)]
pub(super) struct Options {
    /// The node's binary
    #[arg(
        long,
        env = "SFUMATO_BIN",
        value_name = "FILE",
        default_value = "target/release/sfumato"
    )]
    pub(super) node: PathBuf,
    /// The attacks, by name and in this order; all by default
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub(super) only: Vec<String>,
    /// A run of about fifteen seconds: all attacks together, and none by itself
    #[arg(long)]
    pub(super) slice: bool,
    /// Seconds without attacks at the beginning; the other parts are compared with these
    #[arg(long, value_name = "SECONDS")]
    pub(super) calm: Option<u64>,
    /// Seconds of each attack by itself; 0: none
    #[arg(long, value_name = "SECONDS")]
    pub(super) each: Option<u64>,
    /// Seconds of all attacks together; 0: none
    #[arg(long, value_name = "SECONDS")]
    pub(super) together: Option<u64>,
    /// The core that the attackers may use; by default the last one
    #[arg(long, value_name = "CORE")]
    pub(super) core: Option<usize>,
    /// Seed of all random choices
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Write the report as JSON; "-": to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// The directory of the node's log
    #[arg(long, value_name = "DIRECTORY", default_value = "target/hostile")]
    pub(super) out: PathBuf,
    /// The part of the run that this process has, if it is a child process.
    #[command(subcommand)]
    pub(super) part: Option<Part>,
}

/// Parts that run as processes of their own.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum Part {
    /// The attackers: reads orders as JSON from standard input, writes what was done as JSON to standard output
    #[command(hide = true)]
    Attack,
}

const AFTER_HELP: &str = "\
The node is started on free ports of 127.0.0.1, with tokens and all limits at their defaults. The good peers come from
127.0.0.1, the attackers from 127.66.0.0/16, in a process of their own with priority 10, on one core.

Exit codes: 0 no good peer was harmed and the node showed what it must, 1 otherwise, 2 the run could not
be made.";

/// A part of the run.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    /// Its name in tables.
    pub(super) name: String,
    /// Its length in whole seconds.
    pub(super) seconds: u64,
    /// The attacks that run in it; empty: calm.
    pub(super) attacks: Vec<&'static Attack>,
}

/// Seconds of the parts of a whole run, and of a slice: calm, each attack, all together.
const WHOLE: [u64; 3] = [14, 3, 12];
const SLICE: [u64; 3] = [5, 0, 9];
/// Seconds in which the good peers join, before the first part.
pub(super) const GATHER: u64 = 4;

impl Options {
    /// The parts of the run, the calm one first.
    ///
    /// # Errors
    /// An unknown attack, or no attack at all.
    pub(super) fn phases(&self) -> Result<Vec<Phase>, String> {
        let attacks = self.attacks()?;
        let [calm, each, together] = if self.slice { SLICE } else { WHOLE };
        let calm = self.calm.unwrap_or(calm).max(2);
        let each = self.each.unwrap_or(each);
        // A single attack has no others to run together with.
        let together = self.together.unwrap_or(if attacks.len() > 1 { together } else { 0 });
        let mut phases = vec![Phase { name: "calm".into(), seconds: calm, attacks: Vec::new() }];
        if each > 0 {
            phases.extend(attacks.iter().map(|&attack| Phase {
                name: attack.name.into(),
                seconds: each,
                attacks: vec![attack],
            }));
        }
        if together > 0 {
            phases.push(Phase { name: "together".into(), seconds: together, attacks });
        }
        if phases.len() < 2 {
            return Err("--each and --together are 0: there is nothing to try".to_owned());
        }
        Ok(phases)
    }

    fn attacks(&self) -> Result<Vec<&'static Attack>, String> {
        if self.only.is_empty() {
            return Ok(ATTACKS.iter().collect());
        }
        let find = |name: &String| {
            by_name(name).ok_or_else(|| {
                let known: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
                format!("--only {name}: there is no such attack; there are {}", known.join(", "))
            })
        };
        self.only.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn phases(flags: &[&str]) -> Result<Vec<(String, u64, usize)>, String> {
        let options = Options::try_parse_from(["x"].iter().chain(flags)).unwrap();
        let phases = options.phases()?;
        Ok(phases.into_iter().map(|p| (p.name, p.seconds, p.attacks.len())).collect())
    }

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_run_is_calm_first_then_each_then_all() {
        let all = phases(&[]).unwrap();
        assert_eq!(all[0], ("calm".to_owned(), 14, 0));
        assert_eq!(all.len(), ATTACKS.len() + 2);
        assert_eq!(all.last(), Some(&("together".to_owned(), 12, ATTACKS.len())));
        let whole: u64 = all.iter().map(|(_, seconds, _)| seconds).sum();
        assert!((50..=70).contains(&(whole + GATHER)), "{whole}");
        let slice = phases(&["--slice"]).unwrap();
        let names: Vec<&str> = slice.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["calm", "together"]);
    }

    #[test]
    fn attacks_are_chosen_by_name() {
        let some = phases(&["--only", "pool,media", "--calm", "0", "--together", "0"]).unwrap();
        let expected = [("calm", 2, 0), ("pool", 3, 1), ("media", 3, 1)];
        assert_eq!(some, expected.map(|(name, seconds, n)| (name.to_owned(), seconds, n)));
        assert!(phases(&["--only", "kindness"]).unwrap_err().contains("roaming"));
        assert!(phases(&["--each", "0", "--together", "0"]).is_err());
    }
}

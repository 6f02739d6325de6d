//! Property tests with other cases than those of every day. Not part of CI, whose cases are always the same.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::process::Command;

use crate::run::{root, run};

pub(crate) fn seeds(args: &[String]) -> Result<(), String> {
    let rounds: u32 = match args.first() {
        Some(text) => text.parse().map_err(|_| format!("ROUNDS is a number, not {text:?}"))?,
        None => 10,
    };
    let packages = packages_with_properties()?;
    for round in 1..=rounds {
        let seed = RandomState::new().hash_one(round);
        println!("round {round} of {rounds}: PROPTEST_RNG_SEED={seed}");
        let mut command = Command::new("cargo");
        command.current_dir(root()).env("PROPTEST_RNG_SEED", seed.to_string());
        command.args(["test", "--quiet", "--locked"]);
        for package in &packages {
            command.args(["-p", package]);
        }
        run(command)?;
    }
    Ok(())
}

/// The crates that depend on proptest.
fn packages_with_properties() -> Result<Vec<String>, String> {
    let crates = root().join("crates");
    let entries = fs::read_dir(&crates).map_err(|e| format!("{}: {e}", crates.display()))?;
    let mut packages = Vec::new();
    for entry in entries.flatten() {
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else {
            continue;
        };
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        if let Some(name) = name
            && manifest.lines().any(|line| line.starts_with("proptest"))
        {
            packages.push(name.trim_matches('"').to_owned());
        }
    }
    packages.sort();
    Ok(packages)
}

//! Property tests with other cases than those of every day. Not part of CI, whose cases are always the same.

use std::hash::{BuildHasher, RandomState};
use std::process::Command;

use serde_json::Value;

use crate::run::{metadata, number, root, run};

pub(crate) fn seeds(args: &[String]) -> Result<(), String> {
    let rounds = number(args, "ROUNDS", 10)?;
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

/// The workspace's packages that depend on proptest.
fn packages_with_properties() -> Result<Vec<String>, String> {
    let metadata = metadata()?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ours = list(&metadata["packages"]).into_iter().filter(|package| {
        package["source"].is_null()
            && list(&package["dependencies"]).iter().any(|other| other["name"] == "proptest")
    });
    Ok(ours.filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect())
}

//! Running other programs from the workspace's root.

use std::{path::PathBuf, process::Command};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let mut at = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    at.pop();
    at.pop();
    at
}

/// Runs cargo with fixed arguments, then the caller's.
pub(crate) fn cargo(args: &[&str], rest: &[String]) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args).args(rest);
    run(command)
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

//! Running other programs from the workspace's root.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

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

/// The workspace as cargo resolved it.
pub(crate) fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo")
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

/// A task's only argument, a number.
pub(crate) fn number(args: &[String], name: &str, otherwise: u32) -> Result<u32, String> {
    args.first().map_or(Ok(otherwise), |text| {
        text.parse().map_err(|_| format!("{name} is a number, not {text:?}"))
    })
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

//! Everything that CI denies and a compiler can tell.

use std::process::Command;

use crate::{
    run::{cargo, root, run},
    tidy,
};

pub(crate) fn check() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    let mut docs = Command::new("cargo");
    docs.current_dir(root()).env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ]);
    run(docs)?;
    tidy::tidy()?;
    deny()
}

/// Licences, duplicate crates and sources. Advisories need the network and are a job of their own.
fn deny() -> Result<(), String> {
    let installed = Command::new("cargo").args(["deny", "--version"]).output();
    if !installed.is_ok_and(|o| o.status.success()) {
        if std::env::var_os("CI").is_some() {
            return Err("cargo-deny is not installed: cargo install cargo-deny --locked".into());
        }
        println!("cargo-deny is not installed: licences were not checked");
        return Ok(());
    }
    cargo(
        &["deny", "--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"],
        &[],
    )
}

//! The models of everything that several threads touch, in every order that the memory model allows.

use std::process::Command;

use crate::run::{root, run};

pub(crate) fn loom() -> Result<(), String> {
    let mut command = Command::new("cargo");
    // A directory of its own: the flag would rebuild everything else.
    command
        .current_dir(root())
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", "target/loom");
    command.args(["test", "--release", "--locked", "-p", "sfumato-ring"]);
    run(command)
}

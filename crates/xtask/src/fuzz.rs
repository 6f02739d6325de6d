//! Fuzzing of every parser that reads a stranger's bytes. Not part of CI, which replays the seeds instead.

use std::process::Command;

use crate::run::{number, root, run};

pub(crate) fn fuzz(args: &[String]) -> Result<(), String> {
    let seconds = number(args, "SECONDS", 60)?;
    let dir = root().join("fuzz");
    let entries = std::fs::read_dir(dir.join("fuzz_targets")).map_err(|e| format!("fuzz/: {e}"))?;
    let mut targets: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    targets.sort();
    for target in targets {
        println!("fuzzing {target} for {seconds} s");
        let corpus = dir.join("corpus").join(&target);
        std::fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
        let mut command = Command::new("cargo");
        // libFuzzer's instrumentation is an unstable flag of the stable compiler.
        command.current_dir(&dir).env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", &target]);
        command.arg(corpus).arg(dir.join("seeds").join(&target));
        command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=5"]);
        run(command)?;
    }
    Ok(())
}

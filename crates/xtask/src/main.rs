//! Development tasks: `cargo xtask TASK`. Each task is a file; none of them is part of the product.

#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

mod check;
mod fuzz;
mod hostile;
mod loom;
mod run;
mod seeds;
mod threats;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask TASK

  tidy              the house's rules: floors, file heads, unsafe, banned calls, tests that docs/threats.md names
  check             format, clippy, docs, tidy and (where it is installed) cargo deny
  loom              model-check the rings and the wake-up
  fuzz [SECONDS]    fuzz every parser (needs cargo-fuzz), 60 seconds each unless told otherwise
  seeds [ROUNDS]    run the property tests with other cases than every day's, 10 times unless told otherwise
  whip-conformance URL [OPTIONS]
                    hold a WHIP and WHEP server against the RFC
  sim [--seeds N] [--from N] [--seed S] [OPTIONS]
                    run a node and its peers on a virtual clock, 1,000 seeds unless told otherwise, or one with its events
  hostile [OPTIONS] attack a node of its own for a minute while good peers use it, and say what these noticed
  bench [OPTIONS]   prices: machine, node, packet path in process, sessions (as root: over a veth)
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match task.as_str() {
        "tidy" => tidy::tidy(),
        "check" => check::check(),
        "loom" => loom::loom(),
        "fuzz" => fuzz::fuzz(&rest),
        "seeds" => seeds::seeds(&rest),
        "whip-conformance" => run::cargo(
            &["run", "--quiet", "--release", "-p", "sfumato-whip-conformance", "--"],
            &rest,
        ),
        "sim" => run::cargo(&["run", "--quiet", "--release", "-p", "sfumato-sim", "--"], &rest),
        "hostile" => hostile::hostile(&rest),
        "bench" => run::cargo(&["run", "--quiet", "--release", "-p", "sfumato-bench", "--"], &rest),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

//! What the fuzzers call: one function for each parser that reads a stranger's bytes. Each panics when a promise of its
//! parser is broken, and not otherwise.
//!
//! `fuzz/` drives them with libFuzzer; `tests/replay.rs` drives them in every test run, with the seeds of
//! `fuzz/seeds/` and some thousands of mutations of each target's. A new target is a function here, a line in [`TARGETS`], a
//! file in `fuzz/fuzz_targets/` and a directory in `fuzz/seeds/`.

mod media;

pub use media::{payload, rtcp, rtp};

/// A parser under test: takes any bytes, panics on a broken promise.
pub type Target = fn(&[u8]);

/// All targets by the name of their directory in `fuzz/seeds/`.
pub const TARGETS: &[(&str, Target)] = &[("rtp", rtp), ("rtcp", rtcp), ("payload", payload)];

//! What the fuzzers call: one function for each parser that reads a stranger's bytes. Each panics when a promise of its
//! parser is broken, and not otherwise.
//!
//! `fuzz/` drives them with libFuzzer; `tests/replay.rs` drives them in every test run, with the seeds of
//! `fuzz/seeds/` and mutations of each target's. A new target is a function here, a line in [`TARGETS`], a
//! file in `fuzz/fuzz_targets/` with its entry in `fuzz/Cargo.toml`, and a directory in `fuzz/seeds/`.

mod datagrams;
mod descriptions;
mod media;

pub use datagrams::{demux, dtls, srtcp, srtp, stun};
pub use descriptions::{sdp, sdpfrag};
pub use media::{payload, rtcp, rtp};

/// A parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of its driver and of its directory in `fuzz/seeds/`.
    pub name: &'static str,
    /// Takes any bytes, panics on a broken promise.
    pub run: fn(&[u8]),
    /// Mutated inputs in a test run: as many as take about a second in a debug build.
    pub mutations: u64,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "rtp", run: rtp, mutations: 10_000 },
    Target { name: "rtcp", run: rtcp, mutations: 10_000 },
    Target { name: "payload", run: payload, mutations: 10_000 },
    Target { name: "demux", run: demux, mutations: 10_000 },
    Target { name: "stun", run: stun, mutations: 10_000 },
    Target { name: "srtp", run: srtp, mutations: 10_000 },
    Target { name: "srtcp", run: srtcp, mutations: 10_000 },
    Target { name: "dtls", run: dtls, mutations: 500 },
    Target { name: "sdp", run: sdp, mutations: 500 },
    Target { name: "sdpfrag", run: sdpfrag, mutations: 1_000 },
];

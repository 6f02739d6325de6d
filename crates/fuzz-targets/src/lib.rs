//! What the fuzzers call: one function for each parser that reads bytes of an unauthenticated or hostile peer. It
//! panics only when the parser breaks one of its promises.
//!
//! `fuzz/` runs these functions with libFuzzer; `tests/replay.rs` runs them in every test run, with the seeds of
//! `fuzz/seeds/` and mutations of them. A new target is a function here, a line in [`TARGETS`], a file in
//! `fuzz/fuzz_targets/` with its entry in `fuzz/Cargo.toml`, and a directory in `fuzz/seeds/`.

mod commands;
mod data;
mod datagrams;
mod descriptions;
mod media;
mod tokens;

pub use commands::commands;
pub use data::{dcep, envelope, sctp};
pub use datagrams::{demux, dtls, srtcp, srtp, stun};
pub use descriptions::{sdp, sdpfrag};
pub use media::{descriptor, payload, rtcp, rtp};
pub use tokens::jwt;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of its driver and of its directory in `fuzz/seeds/`.
    pub name: &'static str,
    /// Takes any bytes; panics when the parser breaks a promise.
    pub run: fn(&[u8]),
    /// The number of mutated inputs in a test run: about a second's work in a debug build.
    pub mutations: u64,
}

/// All fuzz targets.
pub const TARGETS: &[Target] = &[
    Target { name: "rtp", run: rtp, mutations: 10_000 },
    Target { name: "rtcp", run: rtcp, mutations: 10_000 },
    Target { name: "payload", run: payload, mutations: 10_000 },
    Target { name: "descriptor", run: descriptor, mutations: 10_000 },
    Target { name: "demux", run: demux, mutations: 10_000 },
    Target { name: "stun", run: stun, mutations: 10_000 },
    Target { name: "srtp", run: srtp, mutations: 10_000 },
    Target { name: "srtcp", run: srtcp, mutations: 10_000 },
    Target { name: "dtls", run: dtls, mutations: 500 },
    Target { name: "sctp", run: sctp, mutations: 1_000 },
    Target { name: "dcep", run: dcep, mutations: 10_000 },
    Target { name: "envelope", run: envelope, mutations: 5_000 },
    Target { name: "sdp", run: sdp, mutations: 500 },
    Target { name: "sdpfrag", run: sdpfrag, mutations: 1_000 },
    Target { name: "jwt", run: jwt, mutations: 2_000 },
    Target { name: "commands", run: commands, mutations: 10_000 },
];

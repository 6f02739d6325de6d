//! Two-peer tests of ICE and DTLS on virtual time: a `transport::Peer` and a small browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// The name that the rest of the workspace uses for the crate.
extern crate sfumato_transport as transport;

mod certificates;
mod disguise;
mod handshake;
mod harness;
mod identity;
mod threats;

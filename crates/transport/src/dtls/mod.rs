//! DTLS 1.2 with DTLS-SRTP key agreement (RFC 6347, RFC 5246, RFC 5764), as far as WebRTC needs it.
//!
//! From the outside in:
//!
//! - [`certificate`]: the node's identity, made once per start
//! - [`endpoint`]: one peer's connection as the caller sees it: datagrams, time, events
//! - `connection`: passes records and messages to the handshake
//! - `server`, `client`: the handshake of either role, step by step; `handshake`: what both share
//! - `hello`: offer and choice; `exchange`: Diffie-Hellman; `peer_key`: the peer's certificate and its signatures;
//!   `transcript`, `secrets`: the handshake hash, and the keys derived from it
//! - `incoming`, `outgoing`: fragments, order, retransmission; `record`: sealing, opening, replay; `wire`: bytes
//!
//! Supported: ECDHE on X25519, P-256 or P-384, AES-GCM, extended master secret, client certificates of ECDSA (P-256,
//! P-384) and RSA (PKCS #1 and PSS, from 2,048 bits). SRTP profiles in the order of their cost per packet:
//! AES-128-GCM, AES-256-GCM, AES-CM with HMAC-SHA1-80.
//!
//! # Why it is our own
//!
//! All cryptography is done by `aws-lc-rs`; this module has only messages and state. A handshake of this subset is
//! small, and each library that was tried lacks something that an SFU needs:
//!
//! - `dimpl` 0.9 asks clients for ECDSA certificates only, so that every client with an RSA certificate (GStreamer) is
//!   refused, and as server it prefers AES-256-GCM, which costs more for each packet. Neither is a setting.
//! - `rtc-dtls` 0.21 puts fragments together by a recursion as deep as there are fragments, and does so for each record
//!   anew: of a hundred datagrams with fragments of one byte the last took it 1.7 s. It counts no empty fragments against
//!   its limit, and keeps sealed records that come before the keys without a limit. What a stranger's handshake may cost
//!   has to have a bound (threats row 17).
//! - OpenSSL reads the clock itself, so that no test could run on virtual time.
//!
//! A handshake with a client that has an ECDSA certificate costs the server 120 µs of processor time; with `dimpl` as
//! server it was 135 µs (medians of 2,000, measured alternately on one machine). The tests use `dimpl` as the peer.
//!
//! # What is not supported
//!
//! DTLS 1.3, because browsers order the SRTP profiles there as they prefer, and Chromium's first one is expensive.
//! Renegotiation and resumption, since WebRTC makes a new connection instead. Cookies as a server: see `server`.
//! Application data that does not fit in one record: data channels send one SCTP packet in each (RFC 8261 section 5).

use std::time::Duration;

pub mod certificate;
mod client;
mod connection;
pub mod endpoint;
mod exchange;
mod failure;
mod handshake;
mod hello;
mod incoming;
mod outgoing;
mod peer_key;
mod record;
mod secrets;
mod server;
mod transcript;
mod wire;

pub use certificate::{Certificate, CertificateError};
pub use endpoint::{DtlsEvent, Endpoint};

/// A handshake that takes longer than this has failed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest DTLS datagram that is read: no path carries a larger one unfragmented.
pub const MAX_DATAGRAM: usize = 1500;
/// The incomplete messages of one peer may take as many bytes as this number of the largest datagrams. The longest
/// correct flight, with a certificate chain of a few kilobytes, takes ten.
pub const MAX_QUEUED_DATAGRAMS: usize = 16;

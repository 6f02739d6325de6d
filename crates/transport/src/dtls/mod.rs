//! DTLS 1.2 with DTLS-SRTP key agreement (RFC 6347, RFC 5246, RFC 5764), as far as WebRTC needs it.
//!
//! From the outside in:
//!
//! - [`certificate`]: the node's identity, made once per start
//! - [`endpoint`]: one peer's connection as its owner sees it: datagrams, time, events
//! - `connection`: records and messages on their way to the handshake
//! - `server`, `client`: the handshake of either role, step by step; `handshake`: what both share
//! - `hello`: what is offered and chosen; `exchange`: Diffie-Hellman; `peer_key`: the peer's certificate and its
//!   signatures; `transcript`, `secrets`: what is hashed, and the keys that come of it
//! - `incoming`, `outgoing`: fragments, order, retransmission; `record`: sealing, opening, replay; `wire`: bytes
//!
//! What is spoken: ECDHE on X25519, P-256 or P-384, AES-GCM, extended master secret, client certificates of ECDSA (P-256,
//! P-384) and RSA (PKCS #1 and PSS, from 2,048 bits). SRTP profiles in the order of what they cost for each packet:
//! AES-128-GCM, AES-256-GCM, AES-CM with HMAC-SHA1-80.
//!
//! # Why it is our own
//!
//! All cryptography is that of `aws-lc-rs`; here are messages and state. A handshake of this subset is small, and each
//! library that was tried lacks something that an SFU needs:
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
//! server it was 135 µs (medians of 2,000 in turn, on one machine). `dimpl` is the peer in the tests.
//!
//! # What is deliberately absent
//!
//! DTLS 1.3, because browsers order the SRTP profiles by their own taste there, and Chromium's first is the dear one.
//! Renegotiation and resumption: WebRTC makes a new connection instead. Cookies of our own: see `server`. Application
//! data: no data channels yet; it is opened and dropped in `connection`.

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

/// A handshake that takes longer has failed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest DTLS datagram that is read: no path carries more in one piece.
pub const MAX_DATAGRAM: usize = 1500;
/// As many bytes as in so many of the largest datagrams are kept of one peer while its messages are incomplete. The
/// longest honest flight, with a certificate chain of a few kilobytes, takes ten.
pub const MAX_QUEUED_DATAGRAMS: usize = 16;

//! DTLS 1.2 with DTLS-SRTP key agreement (RFC 6347, RFC 5764), around the `dimpl` state machine.
//!
//! - [`certificate`]: the node's identity, made once per start, and everything that all handshakes share
//! - [`endpoint`]: one peer's handshake, which gives out keys only when the fingerprint is right
//!
//! DTLS 1.2 and not 1.3, because there the state machine's own order of SRTP profiles decides (AES-GCM before
//! AES-CM with HMAC-SHA1), while with 1.3 it takes the client's first, which for Chromium is the dear one.
//!
//! What is deliberately absent: renegotiation and resumption (WebRTC makes a new connection instead), RSA
//! certificates (the state machine has none), application data (no data channels yet: it is read and dropped).

use std::time::Duration;

pub mod certificate;
pub mod endpoint;
mod keys;

pub use certificate::{Certificate, CertificateError};
pub use endpoint::{DtlsEvent, Endpoint};

/// A handshake that takes longer has failed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest DTLS datagram that is read: no path carries more in one piece.
pub const MAX_DATAGRAM: usize = 1500;
/// Datagrams kept of one peer while its flight is incomplete. The longest honest flight, with a certificate chain of
/// a few kilobytes, takes ten.
pub const MAX_QUEUED_DATAGRAMS: usize = 16;

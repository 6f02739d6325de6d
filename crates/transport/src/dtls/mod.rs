//! DTLS 1.2 with DTLS-SRTP key agreement (RFC 6347, RFC 5764), around the `dimpl` state machine.
//!
//! - [`certificate`]: the node's identity, made once per start, and everything that all handshakes share
//! - [`endpoint`]: one peer's handshake, which gives out keys only when the fingerprint is right

pub mod certificate;
pub mod endpoint;

pub use certificate::{Certificate, CertificateError};
pub use endpoint::{DtlsEvent, Endpoint};

//! One peer's DTLS connection.

use std::sync::Arc;
use std::time::Instant;

use model::{CloseReason, DropReason, DtlsRole, Fingerprint};

use super::Certificate;
use crate::srtp;

/// What happened in a DTLS connection.
pub enum DtlsEvent {
    /// The handshake is done and the certificate is the one that was promised: here are the keys.
    Connected {
        /// The SRTP profile agreed (RFC 5764 section 4.1.2).
        profile: srtp::Profile,
        /// Both directions' keys.
        keys: srtp::Keys,
    },
    /// The connection is over.
    Closed(CloseReason),
}

/// A DTLS 1.2 connection of one peer.
pub struct Endpoint {
    _private: (),
}

impl Endpoint {
    /// A connection that expects one of `fingerprints`.
    pub fn new(
        now: Instant,
        role: DtlsRole,
        certificate: &Certificate,
        fingerprints: Arc<[Fingerprint]>,
    ) -> Self {
        let _ = (now, role, certificate, fingerprints);
        todo!()
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// The reason for which it was dropped.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let _ = (now, datagram);
        todo!()
    }

    /// The next datagram to send, appended to `out`; false when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        todo!()
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        todo!()
    }
}

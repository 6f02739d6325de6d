//! The node's DTLS identity: an ECDSA P-256 key with a self-signed certificate, made once per start, and the settings
//! that all handshakes share.

use model::Fingerprint;

/// The certificate could not be made: the machine failed (no randomness, no memory), nobody misbehaved.
#[derive(Debug, thiserror::Error)]
#[error("the DTLS certificate cannot be made: {0}")]
pub struct CertificateError(String);

/// The node's certificate, its key, and the shared settings of all handshakes.
#[derive(Debug)]
pub struct Certificate {
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a key and a certificate. Costs some 100 µs; once per start is enough.
    ///
    /// # Errors
    /// [`CertificateError`] when the machine cannot do it.
    pub fn generate() -> Result<Self, CertificateError> {
        todo!()
    }

    /// SHA-256 of the certificate, for `a=fingerprint` (RFC 8122 section 5).
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The value of the `a=fingerprint` line: `sha-256 AB:CD:...`.
    pub fn fingerprint_text(&self) -> String {
        todo!()
    }
}

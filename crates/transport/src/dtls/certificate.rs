//! The node's DTLS identity: an ECDSA P-256 key with a self-signed certificate, made once per start, and the settings
//! that all handshakes share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use dimpl::{Config, DtlsCertificate};
use model::Fingerprint;

use super::{HANDSHAKE_TIMEOUT, MAX_QUEUED_DATAGRAMS, keys};

/// Largest datagram of a handshake flight. IPv6 guarantees 1,280 bytes, and tunnels need a part of that.
const MTU: usize = 1200;
/// Longest flight of ours in datagrams; a flight with our certificate takes two.
const MAX_FLIGHT_DATAGRAMS: usize = 10;
/// A lost flight is sent again after this long, then after twice as long, and so on. RFC 6347 section 4.2.4.1 starts
/// at 1 s for fear of congestion by retransmissions; two packets to one checked path do not congest, and a caller
/// waits for them.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
/// 250 ms doubled six times passes [`HANDSHAKE_TIMEOUT`], which is then what ends a handshake.
const RETRANSMISSIONS: usize = 6;

/// The certificate could not be made: the machine failed (no randomness, no memory), nobody misbehaved.
#[derive(Debug, thiserror::Error)]
#[error("the DTLS certificate cannot be made: {0}")]
pub struct CertificateError(String);

/// The node's certificate, its key, and the shared settings of all handshakes. Share it in an `Arc`.
pub struct Certificate {
    identity: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a key and a certificate. Once per start is enough.
    ///
    /// # Errors
    /// [`CertificateError`] when the machine cannot do it.
    pub fn generate() -> Result<Self, CertificateError> {
        let identity = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| CertificateError(error.to_string()))?;
        let config = Config::builder()
            .with_crypto_provider(keys::provider())
            .mtu(MTU)
            .max_queue_rx(MAX_QUEUED_DATAGRAMS)
            .max_queue_tx(MAX_FLIGHT_DATAGRAMS)
            // The fingerprint in the peer's SDP says that it has a certificate (RFC 8827 section 6.5).
            .require_client_certificate(true)
            // A cookie proves that the peer is where its packets come from (RFC 6347 section 4.2.1). The check that
            // validated the path has proved that already, with a password; the cookie would cost a round trip.
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(RETRANSMISSIONS)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(|error| CertificateError(error.to_string()))?;
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            bytes: digest::digest(&digest::SHA256, &identity.certificate).as_ref().to_vec(),
        };
        Ok(Self { identity, config: Arc::new(config), fingerprint })
    }

    /// SHA-256 of the certificate, for `a=fingerprint` (RFC 8122 section 5).
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The value of the `a=fingerprint` line: `sha-256 AB:CD:...`.
    pub fn fingerprint_text(&self) -> String {
        let hex: Vec<String> = self.fingerprint.bytes.iter().map(|b| format!("{b:02X}")).collect();
        format!("{} {}", self.fingerprint.algorithm, hex.join(":"))
    }

    pub(super) fn identity(&self) -> DtlsCertificate {
        self.identity.clone()
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key appears in no log.
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether one of the fingerprints is that of the certificate (RFC 8122 section 5). Hash functions that we do not
/// know, and those that are broken (SHA-1, MD5), match nothing.
pub(super) fn matches(fingerprints: &[Fingerprint], certificate_der: &[u8]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.algorithm.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        digest::digest(algorithm, certificate_der).as_ref() == fingerprint.bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_reads_as_in_sdp() {
        let certificate = Certificate::generate().unwrap();
        let text = certificate.fingerprint_text();
        assert!(text.starts_with("sha-256 "));
        assert_eq!(text.len(), "sha-256 ".len() + 32 * 3 - 1);
        assert!(matches(&[certificate.fingerprint().clone()], &certificate.identity.certificate));
        assert!(!format!("{certificate:?}").contains("private"));
    }

    #[test]
    fn any_fingerprint_of_a_good_hash_may_match() {
        let der = b"a certificate";
        let print = |name: &str, algorithm: &'static digest::Algorithm| Fingerprint {
            algorithm: name.to_owned(),
            bytes: digest::digest(algorithm, der).as_ref().to_vec(),
        };
        let wrong = Fingerprint { algorithm: "sha-256".to_owned(), bytes: vec![0; 32] };
        for good in [
            print("sha-256", &digest::SHA256),
            print("sha-384", &digest::SHA384),
            print("sha-512", &digest::SHA512),
        ] {
            assert!(matches(&[wrong.clone(), good], der));
        }
        let sha1 = print("sha-1", &digest::SHA1_FOR_LEGACY_USE_ONLY);
        let cut = Fingerprint { algorithm: "sha-256".to_owned(), bytes: Vec::new() };
        assert!(!matches(&[wrong, sha1, cut], der));
        assert!(!matches(&[], der));
    }
}

//! The node's DTLS identity: an ECDSA P-256 key with a self-signed certificate, made once per start.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Signature};
use model::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

/// Bytes of the serial number. Firefox refuses a second certificate of the same issuer and number, so every node and
/// every start has its own.
const SERIAL_LEN: usize = 16;

/// The certificate could not be made: the machine failed (no randomness, no memory). No peer can cause it.
#[derive(Debug, thiserror::Error)]
#[error("the DTLS certificate cannot be made: {0}")]
pub struct CertificateError(String);

/// The node's certificate and its key. Share it in an `Arc`.
pub struct Certificate {
    der: Vec<u8>,
    /// Parsed once: checking a key costs more than signing with it.
    key: EcdsaKeyPair,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a key and a certificate. Once per start is enough.
    ///
    /// # Errors
    /// [`CertificateError`] if the machine fails.
    pub fn generate() -> Result<Self, CertificateError> {
        let error = |error: rcgen::Error| CertificateError(error.to_string());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(error)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "WebRTC");
        let mut serial = vec![0; SERIAL_LEN];
        rand::fill(&mut serial).map_err(|_| CertificateError("no randomness".to_owned()))?;
        // A serial number is positive and not 0 (RFC 5280 section 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.serial_number = Some(serial.into());
        // No peer checks the time: the fingerprint authenticates the certificate (RFC 8122). The last year is the last
        // one that X.509 writes with two digits, since old parsers know no other form.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        let der = params.self_signed(&pair).map_err(error)?.der().to_vec();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pair.serialize_der())
            .map_err(|error| CertificateError(error.to_string()))?;
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            bytes: digest::digest(&digest::SHA256, &der).as_ref().to_vec(),
        };
        Ok(Self { der, key, fingerprint })
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

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// ECDSA with SHA-256; `None` when the cryptographic library fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Signature> {
        self.key.sign(&SystemRandom::new(), message).ok()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not appear in logs.
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether one of the fingerprints is that of the certificate (RFC 8122 section 5). Unknown hash functions, and broken
/// ones (SHA-1, MD5), match nothing.
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
        assert!(matches(&[certificate.fingerprint().clone()], certificate.der()));
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

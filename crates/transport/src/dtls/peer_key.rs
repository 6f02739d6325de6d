//! The public key in the peer's certificate, and the signatures that are verified with it.
//!
//! Only the key of the certificate is used: the fingerprint in the offer authenticates the certificate as a whole (RFC
//! 8122 section 5), so issuer, name and time are not checked. The certificate is therefore parsed only as far as the
//! key, and certificates with odd names, dates or extensions are accepted, as browsers do.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

use super::failure::Failure;

/// Kinds of certificates for a CertificateRequest (RFC 5246 section 7.4.4): ecdsa_sign, rsa_sign.
pub(super) const CERTIFICATE_TYPES: [u8; 2] = [64, 1];

/// A signature scheme (RFC 8446 section 4.2.3; RFC 5246 section 7.4.1.4.1 writes the same numbers as hash and
/// signature).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scheme(pub(super) u16);

/// The scheme of this node's own key: ECDSA with SHA-256.
pub(super) const OURS: Scheme = Scheme(0x0403);

/// Schemes that a peer may sign with, the cheapest first: ECDSA, RSA-PSS and RSA PKCS #1, each with SHA-256 and up.
/// SHA-1 is not among them, since its collisions can be bought.
pub(super) const SCHEMES: [Scheme; 8] = [
    OURS,
    Scheme(0x0503),
    Scheme(0x0804),
    Scheme(0x0805),
    Scheme(0x0806),
    Scheme(0x0401),
    Scheme(0x0501),
    Scheme(0x0601),
];

/// Bits of an RSA modulus. Below 2,048 a key has less than the 112 bits of security that NIST SP 800-131A requires
/// since 2014, and no WebRTC stack makes one; above 8,192 a verification costs more than all the rest of a handshake,
/// which an attacker could use.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    P256,
    P384,
}

/// A public key that signatures are verified with.
#[derive(Debug)]
pub(super) struct PeerKey {
    pub(super) kind: Kind,
    /// The key itself: an RSAPublicKey, or a point.
    key: Vec<u8>,
}

impl PeerKey {
    /// The key of an X.509 certificate.
    ///
    /// # Errors
    /// [`Failure::UNSUPPORTED_CERTIFICATE`] if it is not a certificate, or has another kind of key: only RSA of 2,048
    /// to 8,192 bits, P-256 and P-384 are accepted.
    pub(super) fn of_certificate(certificate: &[u8]) -> Result<Self, Failure> {
        Self::read(certificate).ok().flatten().ok_or(Failure::UNSUPPORTED_CERTIFICATE)
    }

    fn read(certificate: &[u8]) -> der::Result<Option<Self>> {
        let info = spki::SubjectPublicKeyInfoRef::from_der(key_info(certificate)?)?;
        let key = info.subject_public_key.raw_bytes();
        let kind = match info.algorithm.oid {
            RSA if RSA_BITS.contains(&rsa_bits(key)?) => Kind::Rsa,
            EC => match info.algorithm.parameters_oid() {
                Ok(P256) => Kind::P256,
                Ok(P384) => Kind::P384,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, key: key.to_vec() }))
    }

    /// Verifies the signature of a message. Its scheme must be one that was requested and that fits the key.
    ///
    /// # Errors
    /// [`Failure::UNSUPPORTED_CERTIFICATE`] for another scheme, [`Failure::NOT_AUTHENTIC`] for a wrong signature.
    pub(super) fn verify(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Failure> {
        let algorithm = self.algorithm(scheme).ok_or(Failure::UNSUPPORTED_CERTIFICATE)?;
        UnparsedPublicKey::new(algorithm, &self.key)
            .verify(message, signature)
            .map_err(|_| Failure::NOT_AUTHENTIC)
    }

    fn algorithm(&self, scheme: Scheme) -> Option<&'static dyn VerificationAlgorithm> {
        // In TLS 1.2 the hash of ECDSA does not depend on the curve (RFC 8446 section 4.2.3 says so of older
        // versions): OpenSSL signs SHA-256 with a key on P-384.
        Some(match (self.kind, scheme.0) {
            (Kind::P256, 0x0403) => &signature::ECDSA_P256_SHA256_ASN1,
            (Kind::P256, 0x0503) => &signature::ECDSA_P256_SHA384_ASN1,
            (Kind::P384, 0x0403) => &signature::ECDSA_P384_SHA256_ASN1,
            (Kind::P384, 0x0503) => &signature::ECDSA_P384_SHA384_ASN1,
            (Kind::Rsa, 0x0401) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, 0x0501) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, 0x0601) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Kind::Rsa, 0x0804) => &signature::RSA_PSS_2048_8192_SHA256,
            (Kind::Rsa, 0x0805) => &signature::RSA_PSS_2048_8192_SHA384,
            (Kind::Rsa, 0x0806) => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// The bytes of subjectPublicKeyInfo in a certificate (RFC 5280 section 4.1).
fn key_info(certificate: &[u8]) -> der::Result<&[u8]> {
    let certificate = AnyRef::from_der(certificate)?;
    certificate.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(certificate.value())?;
    let signed = AnyRef::decode(&mut reader)?;
    signed.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(signed.value())?;
    let version = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    if Tag::peek(&reader)? == version {
        reader.tlv_bytes()?;
    }
    // Serial number, signature, issuer, validity, subject.
    for _ in 0..5 {
        reader.tlv_bytes()?;
    }
    reader.tlv_bytes()
}

fn rsa_bits(key: &[u8]) -> der::Result<usize> {
    let key = AnyRef::from_der(key)?;
    key.tag().assert_eq(Tag::Sequence)?;
    let modulus = UintRef::decode(&mut SliceReader::new(key.value())?)?;
    let leading = modulus.as_bytes().first().map_or(8, |first| first.leading_zeros() as usize);
    Ok(modulus.as_bytes().len() * 8 - leading)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Certificate;
    use super::*;

    #[test]
    fn the_key_of_a_certificate_verifies_what_its_owner_signs() {
        let certificate = Certificate::generate().unwrap();
        let key = PeerKey::of_certificate(certificate.der()).unwrap();
        assert_eq!(key.kind, Kind::P256);
        let signature = certificate.sign(b"a flight").unwrap();
        assert_eq!(key.verify(OURS, b"a flight", signature.as_ref()), Ok(()));
        let wrong = key.verify(OURS, b"another", signature.as_ref());
        assert_eq!(wrong, Err(Failure::NOT_AUTHENTIC));
        let sha1 = key.verify(Scheme(0x0203), b"a flight", signature.as_ref());
        assert_eq!(sha1, Err(Failure::UNSUPPORTED_CERTIFICATE));
    }

    #[test]
    fn every_scheme_that_is_asked_for_goes_with_a_kind_of_key_and_no_other_does() {
        for scheme in (0..=u16::MAX).map(Scheme) {
            let kinds = [Kind::Rsa, Kind::P256, Kind::P384];
            let known = kinds
                .iter()
                .any(|&kind| PeerKey { kind, key: Vec::new() }.algorithm(scheme).is_some());
            assert_eq!(known, SCHEMES.contains(&scheme), "{scheme:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_off_or_has_bytes_after_it_is_refused() {
        let certificate = Certificate::generate().unwrap();
        let der = certificate.der();
        let mut longer = der.to_vec();
        longer.push(0);
        for bad in (0..der.len()).map(|len| &der[..len]).chain([&longer[..]]) {
            let refused = PeerKey::of_certificate(bad).unwrap_err();
            assert_eq!(refused, Failure::UNSUPPORTED_CERTIFICATE);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_certificate_panic(at in 0_usize..400, bytes in prop::collection::vec(any::<u8>(), 1..20)) {
            let mut der = Certificate::generate().unwrap().der().to_vec();
            let at = at.min(der.len());
            der.splice(at..(at + bytes.len()).min(der.len()), bytes.iter().copied());
            if let Ok(key) = PeerKey::of_certificate(&der) {
                let _ = key.verify(OURS, b"a flight", &bytes);
            }
            let _ = PeerKey::of_certificate(&bytes);
        }
    }
}

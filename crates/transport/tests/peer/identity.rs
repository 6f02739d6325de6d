//! Browsers with other certificates than dimpl makes: RSA of any length, P-384, and unusual ones. DTLS is done by
//! dimpl, which signs with the key that its key provider gives it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    KeyPair as _, RsaEncoding,
};
use dimpl::crypto::{Buf, CryptoProvider, KeyProvider, SigningKey, aws_lc_rs as provider};
use dimpl::{CryptoError, DtlsCertificate, HashAlgorithm, SignatureAlgorithm};
use rcgen::{CertificateParams, PublicKeyData};

/// A key that signs with one scheme.
#[derive(Debug)]
pub(crate) enum Signer {
    Rsa(Box<rsa::KeyPair>),
    Ecdsa(EcdsaKeyPair),
    /// Signs with meaningless bytes.
    Nobody,
}

impl Signer {
    fn sign(&self, scheme: u16, data: &[u8]) -> Vec<u8> {
        match self {
            Signer::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match scheme {
                    0x0401 => &signature::RSA_PKCS1_SHA256,
                    0x0501 => &signature::RSA_PKCS1_SHA384,
                    0x0601 => &signature::RSA_PKCS1_SHA512,
                    0x0804 => &signature::RSA_PSS_SHA256,
                    0x0805 => &signature::RSA_PSS_SHA384,
                    0x0806 => &signature::RSA_PSS_SHA512,
                    _ => panic!("no RSA scheme {scheme:x}"),
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), data, &mut signature).unwrap();
                signature
            }
            Signer::Ecdsa(key) => key.sign(&SystemRandom::new(), data).unwrap().as_ref().to_vec(),
            Signer::Nobody => vec![0x5a; 256],
        }
    }
}

/// A certificate, and the key with which its owner signs the handshake.
pub(crate) struct Identity {
    certificate: Vec<u8>,
    /// The scheme that the owner claims to sign with.
    pub(crate) scheme: u16,
    /// The scheme that it really signs with.
    pub(crate) true_scheme: u16,
    pub(crate) signer: Signer,
    /// The signature has a wrong bit.
    pub(crate) spoiled: bool,
}

impl Identity {
    fn new(certificate: Vec<u8>, scheme: u16, signer: Signer) -> Self {
        Self { certificate, scheme, true_scheme: scheme, signer, spoiled: false }
    }

    pub(crate) fn rsa(size: rsa::KeySize, scheme: u16) -> Self {
        let key = rsa::KeyPair::generate(size).unwrap();
        let certificate = certificate(key.public_key().as_ref(), &rcgen::PKCS_RSA_SHA256);
        Self::new(certificate, scheme, Signer::Rsa(Box::new(key)))
    }

    pub(crate) fn p256() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let certificate = certificate(key.public_key().as_ref(), &rcgen::PKCS_ECDSA_P256_SHA256);
        Self::new(certificate, 0x0403, Signer::Ecdsa(key))
    }

    pub(crate) fn p384() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let certificate = certificate(key.public_key().as_ref(), &rcgen::PKCS_ECDSA_P384_SHA384);
        Self::new(certificate, 0x0503, Signer::Ecdsa(key))
    }

    /// A certificate with an RSA key of this many bits; there is no private key to it.
    pub(crate) fn rsa_of(bits: usize) -> Self {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        let certificate = certificate(&rsa_public_key(&modulus), &rcgen::PKCS_RSA_SHA256);
        Self::new(certificate, 0x0401, Signer::Nobody)
    }

    /// A certificate with a kind of key that is not accepted.
    pub(crate) fn of_another_kind(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        Self::new(certificate(&[4; 133], algorithm), 0x0403, Signer::Nobody)
    }

    /// The form that dimpl takes: certificate, and a provider that signs for it. The provider is leaked, as its type
    /// requires.
    pub(crate) fn into_dimpl(self) -> (DtlsCertificate, CryptoProvider) {
        let certificate = self.certificate.clone();
        let keys: &'static Keys = Box::leak(Box::new(Keys(Arc::new(self))));
        let provider = CryptoProvider { key_provider: keys, ..provider::default_provider() };
        (DtlsCertificate { certificate, private_key: vec![0] }, provider)
    }
}

/// A self-signed certificate for this public key. Its signature is not checked by any side.
fn certificate(key: &[u8], algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    struct Unsigned<'a>(&'a [u8], &'static rcgen::SignatureAlgorithm);

    impl PublicKeyData for Unsigned<'_> {
        fn der_bytes(&self) -> &[u8] {
            self.0
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            self.1
        }
    }

    impl rcgen::SigningKey for Unsigned<'_> {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            Ok(vec![0; 64])
        }
    }

    let params = CertificateParams::default();
    params.self_signed(&Unsigned(key, algorithm)).unwrap().der().to_vec()
}

/// RSAPublicKey with the exponent 65,537 (RFC 8017 appendix A.1.1).
fn rsa_public_key(modulus: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let positive = [if bytes[0] & 0x80 == 0 { &[][..] } else { &[0] }, bytes].concat();
        tlv(2, &positive)
    };
    tlv(0x30, &[integer(modulus), integer(&[1, 0, 1])].concat())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = (value.len() as u16).to_be_bytes();
    [&[tag, 0x82, len[0], len[1]][..], value].concat()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:x})", self.scheme)
    }
}

#[derive(Debug)]
struct Keys(Arc<Identity>);

impl KeyProvider for Keys {
    fn load_private_key(&self, _: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        Ok(Box::new(Key { identity: Arc::clone(&self.0), asked: AtomicBool::new(false) }))
    }
}

#[derive(Debug)]
struct Key {
    identity: Arc<Identity>,
    /// Whether dimpl has asked for the hash function, to compare it with the CertificateRequest, of which it knows
    /// only half. Before that dimpl asks for the kind of key, to choose cipher suites, and has no suite for RSA, since
    /// it assumes that the server's key is of the same kind. Until then this key claims to be of the usual kind.
    asked: AtomicBool,
}

impl SigningKey for Key {
    fn sign(&mut self, data: &[u8], _: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        let mut signature = self.identity.signer.sign(self.identity.true_scheme, data);
        if self.identity.spoiled {
            let middle = signature.len() / 2;
            signature[middle] ^= 1;
        }
        out.clear();
        out.extend_from_slice(&signature);
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        if self.asked.load(Ordering::Relaxed) {
            SignatureAlgorithm::from_u8(self.identity.scheme as u8)
        } else {
            SignatureAlgorithm::ECDSA
        }
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        if self.asked.swap(true, Ordering::Relaxed) {
            HashAlgorithm::from_u8((self.identity.scheme >> 8) as u8)
        } else {
            HashAlgorithm::SHA256
        }
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        if self.identity.scheme == 0x0503 {
            &[HashAlgorithm::SHA384]
        } else {
            &[HashAlgorithm::SHA256]
        }
    }
}

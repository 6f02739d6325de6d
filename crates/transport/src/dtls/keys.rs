//! The node's key, parsed once: the library parses a key for each handshake, and checking one costs more than signing
//! with it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use dimpl::{
    CryptoError, CryptoOperation, HashAlgorithm, SignatureAlgorithm,
    crypto::{self, Buf, CryptoProvider, KeyProvider, SigningKey},
};

/// The library's cryptography, with keys from here.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &KEYS, ..crypto::aws_lc_rs::default_provider() }
}

static KEYS: Keys = Keys { first: OnceLock::new() };

/// Remembers the first key that was asked for: a node has one.
struct Keys {
    first: OnceLock<Loaded>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key appears in no log.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

struct Loaded {
    pkcs8: Vec<u8>,
    pair: Arc<EcdsaKeyPair>,
}

impl KeyProvider for Keys {
    fn load_private_key(&self, key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        if let Some(first) = self.first.get().filter(|first| first.pkcs8 == key_der) {
            return Ok(Box::new(P256(Arc::clone(&first.pair))));
        }
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key_der) {
            Ok(pair) => {
                let pair = Arc::new(pair);
                self.first
                    .get_or_init(|| Loaded { pkcs8: key_der.to_vec(), pair: Arc::clone(&pair) });
                Ok(Box::new(P256(pair)))
            }
            // Another kind of key.
            Err(_) => crypto::aws_lc_rs::default_provider().key_provider.load_private_key(key_der),
        }
    }
}

/// An ECDSA key on P-256, which signs SHA-256 digests.
#[derive(Debug)]
struct P256(Arc<EcdsaKeyPair>);

impl SigningKey for P256 {
    fn sign(
        &mut self,
        data: &[u8],
        hash_alg: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), CryptoError> {
        if hash_alg != HashAlgorithm::SHA256 {
            let key_hash = HashAlgorithm::SHA256;
            return Err(CryptoError::SigningKeyHashMismatch { key_hash, requested: hash_alg });
        }
        let signature = self
            .0
            .sign(&SystemRandom::new(), data)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, KeyPair, UnparsedPublicKey};

    use super::*;

    #[test]
    fn each_key_signs_for_itself_however_they_alternate() {
        let keys = Keys { first: OnceLock::new() };
        let identities = [(); 2].map(|()| dimpl::certificate::generate_self_signed_certificate());
        for _ in 0..2 {
            for identity in identities.iter().flatten() {
                let der = &identity.private_key;
                let public = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der);
                let public = public.unwrap().public_key().as_ref().to_vec();
                let mut signature = Buf::new();
                let mut key = keys.load_private_key(der).unwrap();
                key.sign(b"a flight", HashAlgorithm::SHA256, &mut signature).unwrap();
                let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public);
                public.verify(b"a flight", &signature).unwrap();
                assert!(key.sign(b"a flight", HashAlgorithm::SHA384, &mut signature).is_err());
            }
        }
        assert!(keys.load_private_key(b"no key").is_err());
    }
}

//! A key that verifies tokens. Each key has exactly one algorithm, and a token whose header names another one is refused: else a public
//! key, which everybody knows, could be used as an HMAC secret (RFC 8725 sections 2.1 and 3.1).

use std::fmt;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::claims::Claims;

/// HS256 needs a key of at least the hash's size (RFC 7518 section 3.2).
pub(crate) const MIN_SECRET_BYTES: usize = 32;
/// RFC 7518 section 3.3.
const MIN_RSA_BITS: usize = 2_048;
/// More makes a signature too expensive to check for whoever sends a token.
const MAX_RSA_BITS: usize = 8_192;

/// A key that verifies tokens, with its one algorithm.
pub(super) struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
    rules: Validation,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why a key is refused.
pub(super) type KeyError = &'static str;

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        // Only signature and format are checked there. The claims are read here, with errors that name the claim and with
        // a time that the caller gives.
        let mut rules = Validation::new(algorithm);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        Self { algorithm, key, rules }
    }

    /// A secret for HS256.
    ///
    /// # Errors
    /// It is too short.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err("the secret has fewer than 32 bytes");
        }
        Ok(Self::new(Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM (`BEGIN PUBLIC KEY`); its kind decides the algorithm: Ed25519 EdDSA, RSA RS256, P-256 ES256.
    ///
    /// # Errors
    /// It is no such key, or too weak.
    pub(super) fn pem(pem: &[u8]) -> Result<Self, KeyError> {
        const BAD: KeyError = "no PEM text with a public key (BEGIN PUBLIC KEY)";
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| BAD)?;
        let der: &[u8] = info.as_ref();
        if ParsedPublicKey::new(&ED25519, der).is_ok() {
            return Ok(Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(der)));
        }
        if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
            return Ok(Self::new(Algorithm::ES256, DecodingKey::from_ec_der(der)));
        }
        let rsa = rsa::PublicKey::from_der(der)
            .map_err(|_| "the key is neither Ed25519 nor RSA nor ECDSA with P-256")?;
        check_rsa(rsa.modulus().big_endian_without_leading_zero())?;
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| "a bad RSA key")?;
        Ok(Self::new(Algorithm::RS256, DecodingKey::from_rsa_der(der)))
    }

    /// An Ed25519 public key: 32 bytes.
    ///
    /// # Errors
    /// They are none.
    pub(super) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 || ParsedPublicKey::new(&ED25519, x).is_err() {
            return Err("x is no Ed25519 public key");
        }
        Ok(Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(x)))
    }

    /// An ECDSA public key on P-256, by its coordinates.
    ///
    /// # Errors
    /// They are no point of the curve.
    pub(super) fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        // SEC 1 section 2.3.3: an uncompressed point.
        let point = [&[4], x, y].concat();
        let whole = x.len() == 32 && y.len() == 32;
        if !whole || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).is_err() {
            return Err("x and y are no point of P-256");
        }
        Ok(Self::new(Algorithm::ES256, DecodingKey::from_ec_der(&point)))
    }

    /// An RSA public key, by modulus and exponent in big-endian order.
    ///
    /// # Errors
    /// It is too small, too large, or none.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
        check_rsa(n)?;
        let components = rsa::PublicKeyComponents { n, e };
        let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        parsed.map_err(|_| "n and e are no RSA public key")?;
        Ok(Self::new(Algorithm::RS256, DecodingKey::from_rsa_raw_components(n, e)))
    }

    /// Its algorithm.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The claims of a token, if this key signed it with this key's algorithm.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        let verified = jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules);
        verified.ok().map(|token| token.claims)
    }
}

/// Checks the size of a modulus without leading zeros.
fn check_rsa(modulus: &[u8]) -> Result<(), KeyError> {
    let first = modulus.first().map_or(8, |byte| byte.leading_zeros() as usize);
    match modulus.len() * 8 - first.min(modulus.len() * 8) {
        bits if bits < MIN_RSA_BITS => Err("the RSA key has fewer than 2048 bits"),
        bits if bits > MAX_RSA_BITS => Err("the RSA key has more than 8192 bits"),
        _ => Ok(()),
    }
}

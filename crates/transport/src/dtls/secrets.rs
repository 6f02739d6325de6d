//! Cipher suites and the key schedule: extended master secret, keys of both directions, Finished, and the keying
//! material of SRTP.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::tls_prf::{self, P_SHA256, P_SHA384, Secret};
use zeroize::Zeroize;

use super::failure::Failure;
use super::record::Cipher;
use crate::srtp;

/// The kind of key that a suite requires in the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerKey {
    Ecdsa,
    Rsa,
}

/// A cipher suite: ECDHE with AES-GCM (RFC 5289).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) id: u16,
    pub(super) server_key: ServerKey,
    /// AES-256 and SHA-384 in place of AES-128 and SHA-256.
    is_256: bool,
}

/// All suites in order of preference. This node's certificate is ECDSA, so as a server it accepts the first two; as a
/// client it accepts any, since the peer's certificate may be RSA.
pub(super) const SUITES: [Suite; 4] = [
    Suite { id: 0xc02b, server_key: ServerKey::Ecdsa, is_256: false },
    Suite { id: 0xc02c, server_key: ServerKey::Ecdsa, is_256: true },
    Suite { id: 0xc02f, server_key: ServerKey::Rsa, is_256: false },
    Suite { id: 0xc030, server_key: ServerKey::Rsa, is_256: true },
];

impl Suite {
    pub(super) fn hash(self) -> &'static digest::Algorithm {
        if self.is_256 { &digest::SHA384 } else { &digest::SHA256 }
    }

    fn prf(self) -> &'static tls_prf::Algorithm {
        if self.is_256 { &P_SHA384 } else { &P_SHA256 }
    }

    fn key_len(self) -> usize {
        if self.is_256 { 32 } else { 16 }
    }

    /// The pseudo-random function (RFC 5246 section 5).
    fn derive(
        self,
        secret: &[u8],
        label: &[u8],
        seed: [&[u8]; 2],
        len: usize,
    ) -> Result<Secret, Failure> {
        Secret::new(self.prf(), secret)
            .and_then(|secret| secret.derive_with_seed_concatination(label, seed[0], seed[1], len))
            .map_err(|_| Failure::INTERNAL)
    }
}

/// The random numbers of both hellos.
#[derive(Debug, Clone, Copy)]
pub(super) struct Randoms {
    pub(super) client: [u8; 32],
    pub(super) server: [u8; 32],
}

/// The master secret of a connection. Wiped when dropped.
pub(super) struct MasterSecret {
    suite: Suite,
    randoms: Randoms,
    secret: [u8; 48],
}

/// Length of the content of a Finished message (RFC 5246 section 7.4.9).
pub(super) const VERIFY_DATA_LEN: usize = 12;

impl MasterSecret {
    /// The extended master secret (RFC 7627 section 4). It is bound to all messages up to ClientKeyExchange by their
    /// hash.
    pub(super) fn new(
        suite: Suite,
        randoms: Randoms,
        shared: &[u8],
        session_hash: &Digest,
    ) -> Result<Self, Failure> {
        let seed = [session_hash.as_ref(), &[][..]];
        let derived = suite.derive(shared, b"extended master secret", seed, 48)?;
        let secret = derived.try_into().map_err(|_| Failure::INTERNAL)?;
        Ok(Self { suite, randoms, secret })
    }

    /// The ciphers of client and server (RFC 5246 section 6.3).
    pub(super) fn ciphers(&self) -> Result<(Cipher, Cipher), Failure> {
        let key_len = self.suite.key_len();
        let seed = [&self.randoms.server[..], &self.randoms.client[..]];
        let len = 2 * (key_len + 4);
        let block = self.suite.derive(&self.secret, b"key expansion", seed, len)?;
        // Client key, server key, client salt, server salt; a suite with AEAD has no MAC keys.
        let (keys, salts) = block.as_ref().split_at(2 * key_len);
        let cipher = |key: &[u8], salt: &[u8]| {
            let algorithm = if self.suite.is_256 { &AES_256_GCM } else { &AES_128_GCM };
            let key = UnboundKey::new(algorithm, key).map_err(|_| Failure::INTERNAL)?;
            let salt = salt.try_into().map_err(|_| Failure::INTERNAL)?;
            Ok(Cipher::new(LessSafeKey::new(key), salt))
        };
        Ok((cipher(&keys[..key_len], &salts[..4])?, cipher(&keys[key_len..], &salts[4..])?))
    }

    /// The content of the Finished of one side, after the messages with this hash (RFC 5246 section 7.4.9).
    pub(super) fn finished(
        &self,
        by_client: bool,
        messages: &Digest,
    ) -> Result<[u8; VERIFY_DATA_LEN], Failure> {
        let label: &[u8] = if by_client { b"client finished" } else { b"server finished" };
        let seed = [messages.as_ref(), &[][..]];
        let derived = self.suite.derive(&self.secret, label, seed, VERIFY_DATA_LEN)?;
        derived.try_into().map_err(|_| Failure::INTERNAL)
    }

    /// The SRTP keys (RFC 5764 section 4.2, RFC 5705 section 4).
    pub(super) fn srtp_keys(
        &self,
        profile: srtp::Profile,
        we_are_client: bool,
    ) -> Result<srtp::Keys, Failure> {
        let seed = [&self.randoms.client[..], &self.randoms.server[..]];
        let len = profile.keying_material_len();
        let material = self.suite.derive(&self.secret, b"EXTRACTOR-dtls_srtp", seed, len)?;
        srtp::Keys::from_keying_material(profile, material.as_ref(), we_are_client)
            .map_err(|_| Failure::INTERNAL)
    }
}

impl Drop for MasterSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

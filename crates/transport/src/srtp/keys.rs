//! Splits DTLS keying material into master keys, and derives session keys from them.

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use zeroize::Zeroize;

use super::{Profile, Receiver, Sender, SrtpError};

/// Longest master key of the profiles.
const MAX_KEY: usize = 32;
/// Longest master salt of the profiles.
const MAX_SALT: usize = 14;

/// A master key with its salt. It is never printed, and wiped when dropped.
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY],
    salt: [u8; MAX_SALT],
}

impl MasterKey {
    /// The key's bytes, [`Profile::key_len`] of them.
    pub fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_len()]
    }

    /// The salt's bytes, [`Profile::salt_len`] of them.
    pub fn salt(&self) -> &[u8] {
        &self.salt[..self.profile.salt_len()]
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

/// Both master keys of a session.
#[derive(Debug)]
pub struct Keys {
    /// The profile of both.
    pub profile: Profile,
    /// The key that this side seals with.
    pub local: MasterKey,
    /// The key that the peer seals with.
    pub remote: MasterKey,
}

impl Keys {
    /// Splits the keying material that DTLS exports under the label `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2).
    ///
    /// `we_are_client` is this side's role in the DTLS handshake.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] if it is not [`Profile::keying_material_len`] bytes long.
    pub fn from_keying_material(
        profile: Profile,
        material: &[u8],
        we_are_client: bool,
    ) -> Result<Self, SrtpError> {
        if material.len() != profile.keying_material_len() {
            return Err(SrtpError::KeyMaterial);
        }
        // RFC 5764 section 4.2: client key, server key, client salt, server salt.
        let (keys, salts) = material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let master = |from_key: &[u8], from_salt: &[u8]| {
            let mut master = MasterKey { profile, key: [0; MAX_KEY], salt: [0; MAX_SALT] };
            master.key[..from_key.len()].copy_from_slice(from_key);
            master.salt[..from_salt.len()].copy_from_slice(from_salt);
            master
        };
        let client = master(client_key, client_salt);
        let server = master(server_key, server_salt);
        let (local, remote) = if we_are_client { (client, server) } else { (server, client) };
        Ok(Self { profile, local, remote })
    }

    /// A sender with the local key.
    ///
    /// # Errors
    /// [`SrtpError::Crypto`] only.
    pub fn sender(&self) -> Result<Sender, SrtpError> {
        Sender::new(self.profile, self.local.key(), self.local.salt())
    }

    /// A receiver with the remote key.
    ///
    /// # Errors
    /// [`SrtpError::Crypto`] only.
    pub fn receiver(&self) -> Result<Receiver, SrtpError> {
        Receiver::new(self.profile, self.remote.key(), self.remote.salt())
    }
}

/// The protocol that a set of session keys is for. The number is the label of its cipher key (RFC 3711 section 4.3.1);
/// the labels of the authentication key and the salt follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Rtp = 0,
    Rtcp = 3,
}

/// The session keys of SRTP or of SRTCP. Wiped when dropped.
pub(super) struct SessionKeys {
    cipher: [u8; MAX_KEY],
    cipher_len: usize,
    /// Key of HMAC-SHA1; derived for all profiles, and unused by GCM.
    auth: [u8; AUTH_KEY],
    /// GCM uses the first 12 bytes.
    salt: [u8; MAX_SALT],
}

/// Bytes of the key of HMAC-SHA1 (RFC 3711 section 5.2).
const AUTH_KEY: usize = 20;

impl SessionKeys {
    /// Derives the session keys from a master key and salt (RFC 3711 section 4.3, key derivation rate 0).
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] for lengths that are not the profile's.
    pub(super) fn derive(
        profile: Profile,
        usage: Usage,
        master_key: &[u8],
        master_salt: &[u8],
    ) -> Result<Self, SrtpError> {
        if master_key.len() != profile.key_len() || master_salt.len() != profile.salt_len() {
            return Err(SrtpError::KeyMaterial);
        }
        // RFC 7714 section 11: the pseudo-random function is AES-CM with a key as long as the cipher's.
        let algorithm = if master_key.len() == 16 { &AES_128 } else { &AES_256 };
        let prf = UnboundCipherKey::new(algorithm, master_key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::Crypto)?;
        let label = usage as u8;
        let mut keys = Self {
            cipher: [0; MAX_KEY],
            cipher_len: profile.key_len(),
            auth: [0; AUTH_KEY],
            salt: [0; MAX_SALT],
        };
        fill(&prf, master_salt, label, &mut keys.cipher[..profile.key_len()])?;
        fill(&prf, master_salt, label + 1, &mut keys.auth)?;
        fill(&prf, master_salt, label + 2, &mut keys.salt[..profile.salt_len()])?;
        Ok(keys)
    }

    pub(super) fn cipher(&self) -> &[u8] {
        &self.cipher[..self.cipher_len]
    }

    pub(super) fn auth(&self) -> &[u8; AUTH_KEY] {
        &self.auth
    }

    pub(super) fn salt(&self) -> &[u8; MAX_SALT] {
        &self.salt
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.cipher.zeroize();
        self.auth.zeroize();
        self.salt.zeroize();
    }
}

/// Fills `out` with the output of the pseudo-random function for a label (RFC 3711 sections 4.3.1 and 4.3.3).
fn fill(
    prf: &EncryptingKey,
    master_salt: &[u8],
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    // x = key_id XOR master_salt, in 112 bits; key_id is the label and 48 bits of 0 (rate 0). The IV is x × 2^16. A
    // salt of 96 bits fills the high end.
    let mut iv = [0; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    out.fill(0);
    prf.less_safe_encrypt(out, EncryptionContext::Iv128(iv.into()))
        .map(|_| ())
        .map_err(|_| SrtpError::Crypto)
}

#[cfg(test)]
impl SessionKeys {
    /// Session keys as given, for the vectors of RFC 7714.
    pub(super) fn given(cipher: &[u8], salt: &[u8]) -> Self {
        let mut keys = Self {
            cipher: [0; MAX_KEY],
            cipher_len: cipher.len(),
            auth: [0; AUTH_KEY],
            salt: [0; MAX_SALT],
        };
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keying_material_is_split_by_role() {
        for &profile in Profile::ALL {
            let (key, salt) = (profile.key_len(), profile.salt_len());
            let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
            let client = Keys::from_keying_material(profile, &material, true).unwrap();
            assert_eq!(client.local.key(), &material[..key]);
            assert_eq!(client.remote.key(), &material[key..2 * key]);
            assert_eq!(client.local.salt(), &material[2 * key..2 * key + salt]);
            assert_eq!(client.remote.salt(), &material[2 * key + salt..]);
            let server = Keys::from_keying_material(profile, &material, false).unwrap();
            assert_eq!(server.local.key(), client.remote.key());
            assert_eq!(server.remote.salt(), client.local.salt());
        }
    }

    #[test]
    fn keys_of_the_wrong_length_are_refused() {
        for &profile in Profile::ALL {
            for len in [0, profile.keying_material_len() - 1, profile.keying_material_len() + 1] {
                let result = Keys::from_keying_material(profile, &vec![0; len], true);
                assert_eq!(result.unwrap_err(), SrtpError::KeyMaterial);
            }
            let (key, salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
            assert_eq!(Sender::new(profile, &key[1..], &salt).unwrap_err(), SrtpError::KeyMaterial);
            assert_eq!(
                Receiver::new(profile, &key, &salt[1..]).unwrap_err(),
                SrtpError::KeyMaterial
            );
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let profile = Profile::AeadAes128Gcm;
        let keys = Keys::from_keying_material(profile, &[0xab; 56], true).unwrap();
        let printed = format!("{keys:?} {:?} {:?}", keys.sender(), keys.receiver());
        assert!(!printed.contains("171") && !printed.to_lowercase().contains("ab, "), "{printed}");
    }
}

//! Master keys from DTLS, and session keys from master keys.

use std::fmt;

use super::{Profile, Receiver, Sender, SrtpError};

/// Longest master key of our profiles.
const MAX_KEY: usize = 32;
/// Longest master salt of our profiles.
const MAX_SALT: usize = 14;

/// A master key with its salt. Never printed, wiped when dropped.
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
        self.key = std::hint::black_box([0; MAX_KEY]);
        self.salt = std::hint::black_box([0; MAX_SALT]);
        std::hint::black_box(self);
    }
}

/// Both master keys of a session.
#[derive(Debug)]
pub struct Keys {
    /// Profile that both are for.
    pub profile: Profile,
    /// What we seal with.
    pub local: MasterKey,
    /// What the peer seals with.
    pub remote: MasterKey,
}

impl Keys {
    /// Splits what DTLS exports under the label `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2).
    ///
    /// `we_are_client` is our role in the DTLS handshake.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] when it is not [`Profile::keying_material_len`] bytes long.
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

    /// A sender over the local key.
    ///
    /// # Errors
    /// [`SrtpError::Crypto`] only.
    pub fn sender(&self) -> Result<Sender, SrtpError> {
        Sender::new(self.profile, self.local.key(), self.local.salt())
    }

    /// A receiver over the remote key.
    ///
    /// # Errors
    /// [`SrtpError::Crypto`] only.
    pub fn receiver(&self) -> Result<Receiver, SrtpError> {
        Receiver::new(self.profile, self.remote.key(), self.remote.salt())
    }
}

//! The key exchange: ephemeral Diffie-Hellman on X25519, P-256 or P-384 (RFC 8422).

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;

use super::failure::{Failure, alert};

/// A group for the key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    X25519,
    P256,
    P384,
}

impl Group {
    /// All groups, the cheapest first. P-384 is supported because of certificates: a client lists the curves of the
    /// certificates that it accepts among its groups (RFC 8422 section 5.1.1), and OpenSSL checks its own certificate
    /// against the peer's list.
    pub(super) const ALL: [Group; 3] = [Group::X25519, Group::P256, Group::P384];

    /// Number in the supported_groups extension (RFC 8422 section 5.1.1).
    pub(super) const fn id(self) -> u16 {
        match self {
            Group::X25519 => 29,
            Group::P256 => 23,
            Group::P384 => 24,
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Group::X25519 => &agreement::X25519,
            Group::P256 => &agreement::ECDH_P256,
            Group::P384 => &agreement::ECDH_P384,
        }
    }

    /// Bytes of a public key. Points of a curve are never compressed (RFC 8422 section 5.4.1).
    const fn public_len(self) -> usize {
        match self {
            Group::X25519 => 32,
            Group::P256 => 65,
            Group::P384 => 97,
        }
    }
}

/// This side's half of a key exchange.
pub(super) struct Exchange {
    group: Group,
    private: EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl Exchange {
    pub(super) fn new(group: Group) -> Result<Self, Failure> {
        let private = EphemeralPrivateKey::generate(group.algorithm(), &SystemRandom::new())
            .map_err(|_| Failure::INTERNAL)?;
        let public = private.compute_public_key().map_err(|_| Failure::INTERNAL)?;
        Ok(Self { group, private, public })
    }

    pub(super) fn public(&self) -> &[u8] {
        self.public.as_ref()
    }

    /// Passes the shared secret to `derive`.
    ///
    /// # Errors
    /// illegal_parameter if the peer's key is not a point of the group, or one that gives a secret of zeroes.
    pub(super) fn agree<T>(
        self,
        theirs: &[u8],
        derive: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let illegal = Failure::peer(alert::ILLEGAL_PARAMETER);
        if theirs.len() != self.group.public_len() {
            return Err(illegal);
        }
        let theirs = UnparsedPublicKey::new(self.group.algorithm(), theirs);
        agree_ephemeral(self.private, theirs, illegal, derive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_get_the_same_secret() {
        for group in Group::ALL {
            let (ours, theirs) = (Exchange::new(group).unwrap(), Exchange::new(group).unwrap());
            let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
            let secret = ours.agree(&their_public, |secret| Ok(secret.to_vec())).unwrap();
            assert_eq!(theirs.agree(&our_public, |secret| Ok(secret.to_vec())).unwrap(), secret);
        }
    }

    #[test]
    fn what_is_no_key_of_the_group_is_refused() {
        for (group, bad) in [
            // No point of the curve; infinity; compressed; a point of order 8, for which the secret is zero.
            (Group::P256, [&[4][..], &[1; 64]].concat()),
            (Group::P256, vec![0]),
            (Group::P256, [&[2][..], &[1; 32]].concat()),
            (Group::X25519, vec![0; 32]),
            (Group::X25519, vec![9; 31]),
        ] {
            let result = Exchange::new(group).unwrap().agree(&bad, |_| Ok(()));
            assert_eq!(result, Err(Failure::peer(alert::ILLEGAL_PARAMETER)));
        }
    }
}

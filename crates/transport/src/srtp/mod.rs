//! SRTP and SRTCP of one session (RFC 3711, RFC 7714): keys, sealing, opening, replay protection.
//!
//! - [`keys`]: splits DTLS keying material into master keys, and derives session keys
//! - `transform`: chooses between the two cipher families, `gcm` and `cm`
//! - `window`: index guess and replay window
//! - `contexts`: the replay windows of a session's SSRCs, and the newest indices of those that were evicted
//! - `indices`: the indices that were used for sending, since each may be used for one packet only
//! - [`sender`]: seals packets to the peer in place
//! - [`receiver`]: opens packets of the peer
//!
//! Packets are not parsed here: the caller says where the RTP header ends. No SSRC is known beforehand. There is no
//! MKI, no key derivation rate but 0, no re-keying and no unencrypted SRTCP: DTLS-SRTP makes one pair of master keys
//! per session (RFC 5764 section 4.1.2), and a session whose keys are used up ends.
//!
//! # Memory
//!
//! A server holds thousands of these. In bytes, on 64-bit Linux (a test checks all sizes but the heap of GCM, which
//! the cryptographic library allocates):
//!
//! | | struct | heap, GCM | heap, AES-CM | for each SSRC seen |
//! | --- | --- | --- | --- | --- |
//! | [`Sender`] | 128 | 2 × 584 | 2 × 1,752 | 168 for RTP; 512 to 8,192 more where packets may be sent again without RTX |
//! | [`Receiver`] | 184 | 2 × 584 | 2 × 1,752 | 152 for RTP, 152 for RTCP |
//!
//! So a publisher of three layers with RTX, over GCM, costs about 4 kB with its reports, and a subscriber with one
//! RTCP SSRC 3.3 kB. Neither type allocates per packet; both do once for each new SSRC, and a sender a few times for a
//! stream whose packets are sent again. An SSRC that was evicted from the receiver leaves 12 bytes, and at most 2,048
//! are kept.

mod cm;
mod contexts;
mod gcm;
mod indices;
pub mod keys;
pub mod receiver;
pub mod sender;
mod transform;
#[cfg(test)]
mod vectors;
mod window;

pub use keys::{Keys, MasterKey};
pub use receiver::{Opened, Receiver};
pub use sender::Sender;

use model::DropReason;

/// SSRCs that have a context in a receiver before [`Receiver::set_ssrc_limits`] is called.
pub const DEFAULT_SSRCS: usize = 20;

/// How far an SRTP or SRTCP packet may be behind the newest of its SSRC and still be accepted, in packets (RFC 3711
/// section 3.3.2 wants at least 64; a window of 64 drops retransmissions).
pub const REPLAY_WINDOW: u64 = 1024;

/// Longest protected packet in bytes, sent or received. A path with an MTU of 1,500 bytes carries no longer one.
pub const MAX_PACKET: usize = 1500;

/// SRTP packets in the life of a master key (RFC 3711 section 9.2, RFC 7714 section 14.2).
const MAX_RTP_PACKETS: u64 = 1 << 48;
/// SRTCP packets in the life of a master key.
const MAX_RTCP_PACKETS: u64 = 1 << 31;
/// Shortest RTP header in bytes (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// Bytes of RTCP that are not encrypted: header and the sender's SSRC (RFC 3711 section 3.4).
const RTCP_CLEAR: usize = 8;

/// A protection profile of DTLS-SRTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// SRTP_AEAD_AES_128_GCM (RFC 7714 section 14.2).
    AeadAes128Gcm,
    /// SRTP_AEAD_AES_256_GCM (RFC 7714 section 14.2).
    AeadAes256Gcm,
    /// SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764 section 4.1.2).
    Aes128CmHmacSha1_80,
}

impl Profile {
    /// All profiles in order of preference, the cheapest first.
    pub const ALL: &'static [Profile] =
        &[Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmHmacSha1_80];

    /// Name in the IANA registry of DTLS-SRTP protection profiles, without the prefix `SRTP_` of the AEAD ones, as browsers
    /// show it in `srtpCipher`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Profile::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        }
    }

    /// Bytes of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::Aes128CmHmacSha1_80 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            Profile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes to export from DTLS: two keys and two salts (RFC 5764 section 4.2).
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes of an authentication tag.
    pub const fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Bytes that sealing adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        self.tag_len()
    }

    /// Bytes that sealing adds to a compound RTCP packet: the tag, and the E flag with the index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + 4
    }

    /// Number in the use_srtp extension of DTLS (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    pub const fn dtls_id(self) -> u16 {
        match self {
            Profile::Aes128CmHmacSha1_80 => 0x0001,
            Profile::AeadAes128Gcm => 0x0007,
            Profile::AeadAes256Gcm => 0x0008,
        }
    }
}

/// Why a packet was not sealed or not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// The packet is not authentic: the tag is wrong, or SRTCP claims not to be encrypted.
    #[error("authentication failed")]
    Auth,
    /// Already accepted, or [`REPLAY_WINDOW`] or more behind the newest packet of its SSRC.
    #[error("already seen, or older than the replay window")]
    Replay,
    /// Shorter than header and tag, longer than [`MAX_PACKET`], a header that ends outside the packet, or (a bug of
    /// the caller) no room for the result.
    #[error("the length is impossible")]
    Length,
    /// Thousands of SSRCs were used in this session. A further one is refused, since its packets could not be told
    /// from replays, or its indices could not be remembered.
    #[error("thousands of SSRCs were used already")]
    TooManyStreams,
    /// 2^48 SRTP or 2^31 SRTCP packets were made with this key (RFC 3711 section 9.2).
    #[error("the key has reached the end of its life")]
    KeyExhausted,
    /// Another packet was sealed under this index, or the index is too old to tell. No further packet is sealed under
    /// it.
    #[error("the SRTP index was used before")]
    IndexUsed,
    /// Bug of the caller: a master key or salt of another length than the profile's.
    #[error("the keying material has the wrong length for the profile")]
    KeyMaterial,
    /// The cryptographic library failed, which no packet can cause.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl SrtpError {
    /// The reason under which the packet is counted.
    pub fn drop_reason(self) -> DropReason {
        match self {
            SrtpError::Auth | SrtpError::Crypto => DropReason::SrtpAuth,
            SrtpError::Replay => DropReason::SrtpReplay,
            SrtpError::Length => DropReason::SrtpLength,
            SrtpError::TooManyStreams => DropReason::TooManyStreams,
            SrtpError::KeyExhausted => DropReason::KeyExhausted,
            SrtpError::IndexUsed => DropReason::IndexUsed,
            SrtpError::KeyMaterial => DropReason::NoKeys,
        }
    }
}

//! SRTP and SRTCP of one session (RFC 3711, RFC 7714): keys, sealing, opening, replay protection.
//!
//! - [`keys`]: DTLS keying material into master keys, and master keys into session keys
//! - `transform`: the choice between `gcm` and `cm`, the two families, on session keys
//! - `window`: packet index guess, replay window
//! - `contexts`: the windows of a session's SSRCs, and what is kept of those that fell silent
//! - `indices`: which of our indices were used: each is good for one packet
//! - [`sender`]: seals in place what we send
//! - [`receiver`]: opens what we are sent
//!
//! It is not a parser: the caller says where the RTP header ends. It knows no SSRC beforehand, no MKI, no key
//! derivation rate but 0, no re-keying and no SRTCP in the clear: DTLS-SRTP makes one pair of master keys per session
//! (RFC 5764 section 4.1.2), and a session that comes to the end of them ends.
//!
//! # Memory
//!
//! A server holds thousands of these. In bytes, on 64-bit Linux (a test holds all but the heap of GCM, which the
//! cryptographic library allocates):
//!
//! | | struct | heap, GCM | heap, AES-CM | for each SSRC seen |
//! | --- | --- | --- | --- | --- |
//! | [`Sender`] | 128 | 2 × 584 | 2 × 1,752 | 168 for RTP; 512 to 8,192 more where packets may be sent again without RTX |
//! | [`Receiver`] | 184 | 2 × 584 | 2 × 1,752 | 152 for RTP, 152 for RTCP |
//!
//! So a publisher of three layers with RTX, over GCM, costs about 4 kB with its reports, and a subscriber with one
//! RTCP SSRC 3.3 kB. Neither type allocates for a packet; both do once for each new SSRC, and a sender a few times where a stream's
//! packets are sent again. An SSRC that gave up its place at the receiver leaves 12 bytes, and there are 2,048 of these at most.

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

/// SSRCs that have a place in a receiver which nobody told how many were agreed ([`Receiver::set_ssrc_limits`]).
pub const DEFAULT_SSRCS: usize = 20;

/// Packets an SRTP or SRTCP packet may be behind the newest of its SSRC and still be accepted (RFC 3711 section 3.3.2
/// wants at least 64; a window of 64 drops retransmissions).
pub const REPLAY_WINDOW: u64 = 1024;

/// Longest protected packet in bytes, in and out. Nothing longer passes a path of 1,500 bytes.
pub const MAX_PACKET: usize = 1500;

/// SRTP packets in the life of a master key (RFC 3711 section 9.2, RFC 7714 section 14.2).
const MAX_RTP_PACKETS: u64 = 1 << 48;
/// SRTCP packets in the life of a master key.
const MAX_RTCP_PACKETS: u64 = 1 << 31;
/// Least RTP header in bytes (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// Bytes of RTCP that stay in the clear: header and the sender's SSRC (RFC 3711 section 3.4).
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
    /// All profiles, the cheapest first: the order in which we prefer them.
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
    /// The packet is not authentic: tag wrong, or SRTCP that claims not to be encrypted.
    #[error("authentication failed")]
    Auth,
    /// Already accepted, or [`REPLAY_WINDOW`] or more behind the newest packet of its SSRC.
    #[error("already seen, or older than the replay window")]
    Replay,
    /// Shorter than header and tag, longer than [`MAX_PACKET`], a header that ends outside the packet, or (the
    /// caller's fault) no room for the result.
    #[error("the length is impossible")]
    Length,
    /// Thousands of SSRCs were used in this session, and no more of them can be told from replays or sealed.
    #[error("thousands of SSRCs were used already")]
    TooManyStreams,
    /// 2^48 SRTP or 2^31 SRTCP packets were made with this key (RFC 3711 section 9.2).
    #[error("the key has reached the end of its life")]
    KeyExhausted,
    /// Something else was sealed under this index, or it is too old to tell. Nothing is sealed under it again.
    #[error("the SRTP index was used before")]
    IndexUsed,
    /// Caller's fault: a master key or salt of another length than the profile's.
    #[error("the keying material has the wrong length for the profile")]
    KeyMaterial,
    /// The cryptographic library failed, which no packet can cause.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl SrtpError {
    /// Under which name the packet is counted.
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

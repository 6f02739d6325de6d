//! The transform of one direction for SRTP or for SRTCP: a choice between the two cipher families.

use super::cm::Cm;
use super::gcm::Gcm;
use super::keys::{SessionKeys, Usage};
use super::{Profile, SrtpError, cm, gcm};

/// Flag of encrypted SRTCP in the index word (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Bytes of the index word.
const INDEX_WORD: usize = 4;

/// AES-CM is boxed, since it is large and most sessions do not use it.
pub(super) enum Transform {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

impl Transform {
    /// Derives the session keys of `usage` from a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] for lengths that are not the profile's.
    pub(super) fn new(
        profile: Profile,
        usage: Usage,
        key: &[u8],
        salt: &[u8],
    ) -> Result<Self, SrtpError> {
        Self::from_session_keys(profile, &SessionKeys::derive(profile, usage, key, salt)?)
    }

    pub(super) fn from_session_keys(
        profile: Profile,
        keys: &SessionKeys,
    ) -> Result<Self, SrtpError> {
        Ok(match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Transform::Gcm(Gcm::new(keys)?),
            Profile::Aes128CmHmacSha1_80 => Transform::Cm(Box::new(Cm::new(keys)?)),
        })
    }

    /// Seals `packet`, which ends with room for the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Result<(), SrtpError> {
        let ssrc = rtp_ssrc(packet);
        match self {
            Transform::Gcm(gcm) => gcm.seal_rtp(packet, header_len, ssrc, index),
            Transform::Cm(cm) => cm.seal_rtp(packet, header_len, ssrc, index),
        }
    }

    /// Opens `packet` into `out`, which is as long as the packet without its tag.
    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header_len: usize,
        index: u64,
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        let ssrc = rtp_ssrc(packet);
        match self {
            Transform::Gcm(gcm) => gcm.open_rtp(packet, header_len, ssrc, index, out),
            Transform::Cm(cm) => cm.open_rtp(packet, header_len, ssrc, index, out),
        }
    }

    /// Seals `packet`, which ends with room for tag and index word. `index` is below 2^31.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet);
        let word = (ENCRYPTED | index).to_be_bytes();
        match self {
            Transform::Gcm(gcm) => gcm.seal_rtcp(packet, ssrc, word, u64::from(index)),
            Transform::Cm(cm) => cm.seal_rtcp(packet, ssrc, word, u64::from(index)),
        }
    }

    /// The index that an SRTCP packet carries, which is not authentic yet.
    ///
    /// # Errors
    /// [`SrtpError::Auth`] if the packet claims not to be encrypted: all profiles here encrypt SRTCP, so no sender
    /// with the keys does that.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let at = match self {
            // RFC 7714 section 9.2 puts the word after the tag, RFC 3711 section 3.4 before it.
            Transform::Gcm(_) => packet.len() - INDEX_WORD,
            Transform::Cm(_) => packet.len() - cm::TAG - INDEX_WORD,
        };
        let word = read_u32(packet, at);
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::Auth);
        }
        Ok(word & !ENCRYPTED)
    }

    /// Opens `packet` in place; `index` is the result of [`Transform::rtcp_index`].
    pub(super) fn open_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet);
        let word = (ENCRYPTED | index).to_be_bytes();
        match self {
            Transform::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, word, u64::from(index)),
            Transform::Cm(cm) => cm.open_rtcp(packet, ssrc, u64::from(index)),
        }
    }
}

/// SSRC of an RTP packet of at least 12 bytes.
pub(super) fn rtp_ssrc(packet: &[u8]) -> u32 {
    read_u32(packet, 8)
}

/// Sender's SSRC of an RTCP packet of at least 8 bytes.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> u32 {
    read_u32(packet, 4)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

// The profile table and the transforms must agree about lengths.
const _: () = assert!(Profile::AeadAes128Gcm.tag_len() == gcm::TAG);
const _: () = assert!(Profile::AeadAes256Gcm.tag_len() == gcm::TAG);
const _: () = assert!(Profile::Aes128CmHmacSha1_80.tag_len() == cm::TAG);

//! AES-CM with HMAC-SHA1-80 on the session keys of SRTP or of SRTCP (RFC 3711 section 4).
//!
//! For peers that support no GCM. Callers check lengths and counters first.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::SrtpError;
use super::keys::SessionKeys;

/// Bytes of a tag: 80 of the 160 bits of HMAC-SHA1 (RFC 3711 section 4.2.1).
pub(super) const TAG: usize = 10;
/// Bytes of RTCP that are not encrypted: header and the sender's SSRC.
const RTCP_CLEAR: usize = 8;
/// Bytes of the word with the E flag and the SRTCP index, which is before the tag.
const INDEX_WORD: usize = 4;
/// Bytes of the rollover counter, which is authenticated after the packet.
const ROC: usize = 4;
const SHA1: usize = 20;

/// Key schedule, keyed HMAC state, and salt: prepared once instead of for each packet.
pub(super) struct Cm {
    cipher: EncryptingKey,
    mac: hmac::Key,
    salt: [u8; 14],
}

impl Cm {
    /// Takes 16 bytes of session key.
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        let cipher = UnboundCipherKey::new(&AES_128, keys.cipher())
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::Crypto)?;
        let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, keys.auth());
        Ok(Self { cipher, mac, salt: *keys.salt() })
    }

    /// `packet` is header, plain payload and room for the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let end = packet.len() - TAG;
        self.apply_keystream(&mut packet[header_len..end], ssrc, index)?;
        // RFC 3711 section 4.2: the tag covers packet and rollover counter. The counter is written where the tag will
        // be, so that one pass covers both.
        packet[end..end + ROC].copy_from_slice(&roc(index));
        let tag = self.tag(&packet[..end + ROC])?;
        packet[end..].copy_from_slice(&tag);
        Ok(())
    }

    /// `out` is as long as `packet` without its tag.
    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        let (clear_and_sealed, tag) = packet.split_at(packet.len() - TAG);
        let mut mac = hmac::Context::with_key(&self.mac);
        mac.update(clear_and_sealed);
        mac.update(&roc(index));
        verify_slices_are_equal(&mac.sign().as_ref()[..TAG], tag).map_err(|_| SrtpError::Auth)?;
        out.copy_from_slice(clear_and_sealed);
        self.apply_keystream(&mut out[header_len..], ssrc, index)
    }

    /// `packet` is the plain compound packet and room for index word and tag.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        word: [u8; INDEX_WORD],
        index: u64,
    ) -> Result<(), SrtpError> {
        let end = packet.len() - TAG - INDEX_WORD;
        self.apply_keystream(&mut packet[RTCP_CLEAR..end], ssrc, index)?;
        // RFC 3711 section 3.4: the tag covers the word with the E flag and the index.
        let (authenticated, tag) = packet.split_at_mut(end + INDEX_WORD);
        authenticated[end..].copy_from_slice(&word);
        tag.copy_from_slice(&self.tag(authenticated)?);
        Ok(())
    }

    /// Afterwards the plain compound packet is at the beginning of `packet`.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (authenticated, tag) = packet.split_at_mut(packet.len() - TAG);
        verify_slices_are_equal(&self.tag(authenticated)?, tag).map_err(|_| SrtpError::Auth)?;
        let end = authenticated.len() - INDEX_WORD;
        self.apply_keystream(&mut authenticated[RTCP_CLEAR..end], ssrc, index)
    }

    fn tag(&self, authenticated: &[u8]) -> Result<[u8; TAG], SrtpError> {
        let mut whole = [0; SHA1];
        hmac::sign_to_buffer(&self.mac, authenticated, &mut whole)
            .map_err(|_| SrtpError::Crypto)?;
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole[..TAG]);
        Ok(tag)
    }

    fn apply_keystream(&self, data: &mut [u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
        // RFC 3711 section 4.1.1: IV = salt × 2^16 XOR SSRC × 2^64 XOR index × 2^16; the low 16 bits count blocks.
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        let position = u128::from(ssrc) << 64 | u128::from(index) << 16;
        for (byte, other) in iv.iter_mut().zip(position.to_be_bytes()) {
            *byte ^= other;
        }
        self.cipher
            .less_safe_encrypt(data, EncryptionContext::Iv128(iv.into()))
            .map(|_| ())
            .map_err(|_| SrtpError::Crypto)
    }
}

/// The rollover counter of an index.
fn roc(index: u64) -> [u8; ROC] {
    ((index >> 16) as u32).to_be_bytes()
}

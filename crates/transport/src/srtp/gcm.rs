//! AEAD_AES_128_GCM and AEAD_AES_256_GCM on the session key of SRTP or of SRTCP (RFC 7714).
//!
//! Callers check lengths and counters first.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::SrtpError;
use super::keys::SessionKeys;

/// Bytes of a tag (RFC 7714 section 12).
pub(super) const TAG: usize = 16;
/// Bytes of RTCP that are not encrypted: header and the sender's SSRC.
const RTCP_CLEAR: usize = 8;
/// Bytes of the word with the E flag and the SRTCP index, which follows the tag.
const INDEX_WORD: usize = 4;
/// Bytes of nonce and session salt.
const NONCE: usize = 12;

pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; NONCE],
}

impl Gcm {
    /// Takes 16 or 32 bytes of session key.
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        let algorithm = if keys.cipher().len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, keys.cipher()).map_err(|_| SrtpError::Crypto)?;
        let mut salt = [0; NONCE];
        salt.copy_from_slice(&keys.salt()[..NONCE]);
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// `packet` is header, plain payload and room for the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        // RFC 7714 section 8.2: the header is associated data; section 8.3: the payload is the plaintext.
        let (header, rest) = packet.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG);
        self.key
            .seal_in_place_scatter(self.nonce(ssrc, index), Aad::from(&*header), payload, &[], tag)
            .map_err(|_| SrtpError::Crypto)
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
        let (header, sealed) = clear_and_sealed.split_at(header_len);
        let (out_header, out_payload) = out.split_at_mut(header_len);
        out_header.copy_from_slice(header);
        self.key
            .open_separate_gather(
                self.nonce(ssrc, index),
                Aad::from(header),
                sealed,
                tag,
                out_payload,
            )
            .map_err(|_| SrtpError::Auth)
    }

    /// `packet` is the plain compound packet and room for tag and index word.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        word: [u8; INDEX_WORD],
        index: u64,
    ) -> Result<(), SrtpError> {
        let (clear, rest) = packet.split_at_mut(RTCP_CLEAR);
        let (body, trailer) = rest.split_at_mut(rest.len() - TAG - INDEX_WORD);
        let (tag, word_place) = trailer.split_at_mut(TAG);
        let aad = rtcp_associated_data(clear, word);
        self.key
            .seal_in_place_scatter(self.nonce(ssrc, index), Aad::from(aad), body, &[], tag)
            .map_err(|_| SrtpError::Crypto)?;
        word_place.copy_from_slice(&word);
        Ok(())
    }

    /// Afterwards the plain compound packet is at the beginning of `packet`.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        word: [u8; INDEX_WORD],
        index: u64,
    ) -> Result<(), SrtpError> {
        let (clear, rest) = packet.split_at_mut(RTCP_CLEAR);
        let (body, trailer) = rest.split_at_mut(rest.len() - TAG - INDEX_WORD);
        let aad = rtcp_associated_data(clear, word);
        self.key
            .open_in_place_separate_tag(
                self.nonce(ssrc, index),
                Aad::from(aad),
                &trailer[..TAG],
                body,
            )
            .map(|_| ())
            .map_err(|_| SrtpError::Auth)
    }

    /// RFC 7714 sections 8.1 and 9.1: two zero bytes, SSRC, 48 bits of index, all XOR the session salt. For SRTP the
    /// index is rollover counter and sequence number, for SRTCP the 31-bit index: it contains no random value.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let position = u128::from(ssrc) << 48 | u128::from(index);
        let mut bytes = self.salt;
        for (byte, other) in bytes.iter_mut().zip(&position.to_be_bytes()[4..]) {
            *byte ^= other;
        }
        Nonce::assume_unique_for_key(bytes)
    }
}

/// RFC 7714 section 9.2: the part that is not encrypted, then the word with the E flag and the index.
fn rtcp_associated_data(clear: &[u8], word: [u8; INDEX_WORD]) -> [u8; RTCP_CLEAR + INDEX_WORD] {
    let mut aad = [0; RTCP_CLEAR + INDEX_WORD];
    aad[..RTCP_CLEAR].copy_from_slice(clear);
    aad[RTCP_CLEAR..].copy_from_slice(&word);
    aad
}

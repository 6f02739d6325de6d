//! Seals what we send, in place.

use super::{Profile, SrtpError};

/// Our half of a session's SRTP: one master key, any number of SSRCs.
///
/// It keeps no state of single SSRCs: the caller extends the sequence numbers, so it knows the rollover counter.
#[derive(Debug)]
pub struct Sender {
    profile: Profile,
}

impl Sender {
    /// A sender over a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] when a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let _ = (profile, key, salt);
        todo!()
    }

    /// The profile of the session.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Seals the RTP packet `buf[..len]` in place and returns its new length, `len` + [`Profile::rtp_overhead`].
    ///
    /// `header_len` is where the payload begins: fixed header, CSRCs and extension block stay in the clear. `roc` is
    /// the rollover counter, bits 16 to 47 of the extended sequence number, 0 when the SSRC begins.
    ///
    /// The pair of SSRC and extended sequence number is the nonce: never give two different packets the same
    /// (RFC 7714 section 10.1: it breaks confidentiality and lets anyone forge tags). To send a packet again, send
    /// the same bytes, or use RTX with its own SSRC.
    ///
    /// # Errors
    /// [`SrtpError::Length`] when the header does not fit in `len`, the tag not in `buf`, or the result would be
    /// longer than [`super::MAX_PACKET`]; [`SrtpError::KeyExhausted`]. The buffer is then unchanged.
    pub fn seal_rtp(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        let _ = (buf, header_len, len, roc);
        todo!()
    }

    /// Seals the compound RTCP packet `buf[..len]` in place and returns its new length, `len` +
    /// [`Profile::rtcp_overhead`].
    ///
    /// # Errors
    /// [`SrtpError::Length`] when `len` is below 8, `buf` has no room, or the result would be longer than
    /// [`super::MAX_PACKET`]; [`SrtpError::KeyExhausted`]. The buffer is then unchanged.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let _ = (buf, len);
        todo!()
    }
}

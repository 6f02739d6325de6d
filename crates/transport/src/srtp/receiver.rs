//! Opens what we are sent: authenticates, refuses replays, decrypts.

use super::{Profile, SrtpError};

/// The peer's half of a session's SRTP.
#[derive(Debug)]
pub struct Receiver {
    profile: Profile,
}

/// An RTP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the plain packet, header included.
    pub len: usize,
    /// Packet index: rollover counter × 2^16 + sequence number (RFC 3711 section 3.3.1).
    pub index: u64,
}

impl Receiver {
    /// A receiver over a master key and salt.
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

    /// Opens an SRTP packet into `out`: header copied, payload decrypted, tag gone.
    ///
    /// `header_len` is where the payload begins, as the header in the clear says. `out` needs room for the packet
    /// without its tag. After an error the content of `out` means nothing, and nothing was learned from the packet.
    ///
    /// # Errors
    /// [`SrtpError`] says whether the packet is of impossible length, a replay, not authentic, of one SSRC too many,
    /// or beyond the life of the key. None is a reason to end the session.
    pub fn open_rtp(
        &mut self,
        packet: &[u8],
        header_len: usize,
        out: &mut [u8],
    ) -> Result<Opened, SrtpError> {
        let _ = (packet, header_len, out);
        todo!()
    }

    /// Opens an SRTCP packet in place and returns the length of the compound packet at its beginning.
    ///
    /// After an error the content of `packet` means nothing, and nothing was learned from it.
    ///
    /// # Errors
    /// As [`Receiver::open_rtp`].
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let _ = packet;
        todo!()
    }
}

//! Seals packets to the peer in place.

use std::fmt;

use super::indices::{Claim, Indices};
use super::keys::Usage;
use super::transform::Transform;
use super::{
    MAX_PACKET, MAX_RTCP_PACKETS, MAX_RTP_PACKETS, Profile, RTCP_CLEAR, RTP_HEADER, SrtpError,
};

/// The sending half of a session's SRTP: one master key, up to 4,096 SSRCs in its life.
///
/// The caller extends the sequence numbers, so it gives the rollover counter. The indices that were used are
/// remembered here, and no other packet is sealed under one of them: there is no other access to the cipher.
pub struct Sender {
    rtp: Transform,
    rtcp: Transform,
    /// RTP packets sealed with this master key, of all SSRCs.
    rtp_sealed: u64,
    /// RTCP packets sealed, which is the next SRTCP index. One counter serves all SSRCs: it only has to rise within
    /// each.
    rtcp_sealed: u32,
    indices: Indices,
    profile: Profile,
}

impl Sender {
    /// A sender with a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] if a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self {
            rtp: Transform::new(profile, Usage::Rtp, key, salt)?,
            rtcp: Transform::new(profile, Usage::Rtcp, key, salt)?,
            rtp_sealed: 0,
            rtcp_sealed: 0,
            indices: Indices::default(),
            profile,
        })
    }

    /// The profile of the session.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Seals the RTP packet `buf[..len]` in place and returns its new length, `len` + [`Profile::rtp_overhead`].
    ///
    /// `header_len` is where the payload begins: fixed header, CSRCs and extension block are not encrypted. `roc` is
    /// the rollover counter, bits 16 to 47 of the extended sequence number, 0 when the SSRC begins.
    ///
    /// The pair of SSRC and extended sequence number is the nonce (RFC 7714 section 8.1), so it may be used for one
    /// packet only. To send a packet again, use RTX with its own SSRC, or [`Sender::seal_rtp_exact`] for the packet
    /// and its repetitions.
    ///
    /// # Errors
    /// [`SrtpError::Length`] if the header does not fit in `len`, the tag not in `buf`, or the result would be longer
    /// than [`MAX_PACKET`]; [`SrtpError::IndexUsed`]; [`SrtpError::TooManyStreams`]; [`SrtpError::KeyExhausted`]. The
    /// buffer is then unchanged.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        let (packet, ssrc, index) = self.check(buf, header_len, len, roc)?;
        self.indices.claim(ssrc, index)?;
        self.rtp_sealed += 1;
        self.rtp.seal_rtp(packet, header_len, index)?;
        Ok(packet.len())
    }

    /// Seals an RTP packet that may have to be sent again under its number, since there is no RTX; or seals it again.
    /// The second result is the same to the last bit, or an error.
    ///
    /// # Errors
    /// As [`Sender::seal_rtp`]. [`SrtpError::IndexUsed`] also if another packet was sealed under this index, or if
    /// that is not known any more; in the first case the packet in `buf` is wiped.
    pub fn seal_rtp_exact(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        let (packet, ssrc, index) = self.check(buf, header_len, len, roc)?;
        let claim = self.indices.claim_again(ssrc, index)?;
        self.rtp_sealed += 1;
        self.rtp.seal_rtp(packet, header_len, index)?;
        // The tag covers header, payload and index: packets with the same tag are the same.
        let tag = packet.last_chunk().map_or(0, |tag| u64::from_be_bytes(*tag));
        match claim {
            Claim::First => self.indices.remember(ssrc, index, tag),
            Claim::Again(before) if before == tag => {}
            Claim::Again(_) => {
                packet.fill(0);
                return Err(SrtpError::IndexUsed);
            }
        }
        Ok(packet.len())
    }

    /// The packet with room for its tag, its SSRC and its index.
    #[inline]
    fn check<'b>(
        &self,
        buf: &'b mut [u8],
        header_len: usize,
        len: usize,
        roc: u32,
    ) -> Result<(&'b mut [u8], u32, u64), SrtpError> {
        if header_len < RTP_HEADER || header_len > len {
            return Err(SrtpError::Length);
        }
        let packet = with_room(buf, len, self.profile.rtp_overhead())?;
        // RFC 3711 section 9.2: after 2^48 packets the key is never used again.
        if self.rtp_sealed >= MAX_RTP_PACKETS {
            return Err(SrtpError::KeyExhausted);
        }
        let &[_, _, s0, s1, _, _, _, _, c0, c1, c2, c3] =
            packet.first_chunk::<RTP_HEADER>().ok_or(SrtpError::Length)?;
        let index = u64::from(roc) << 16 | u64::from(u16::from_be_bytes([s0, s1]));
        Ok((packet, u32::from_be_bytes([c0, c1, c2, c3]), index))
    }

    /// Seals the compound RTCP packet `buf[..len]` in place and returns its new length, `len` +
    /// [`Profile::rtcp_overhead`].
    ///
    /// # Errors
    /// [`SrtpError::Length`] if `len` is below 8, `buf` has no room, or the result would be longer than
    /// [`MAX_PACKET`]; [`SrtpError::KeyExhausted`]. The buffer is then unchanged.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR {
            return Err(SrtpError::Length);
        }
        let packet = with_room(buf, len, self.profile.rtcp_overhead())?;
        // RFC 3711 section 9.2: 2^31 packets, after which the index would repeat.
        if u64::from(self.rtcp_sealed) >= MAX_RTCP_PACKETS {
            return Err(SrtpError::KeyExhausted);
        }
        // RFC 3711 section 3.2.1: the index is 0 for the first packet, and rises by one with each.
        let index = self.rtcp_sealed;
        self.rtcp_sealed += 1;
        self.rtcp.seal_rtcp(packet, index)?;
        Ok(packet.len())
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The first `len` bytes, and room for `overhead` more.
fn with_room(buf: &mut [u8], len: usize, overhead: usize) -> Result<&mut [u8], SrtpError> {
    let total = len.checked_add(overhead).filter(|total| *total <= MAX_PACKET);
    total.and_then(|total| buf.get_mut(..total)).ok_or(SrtpError::Length)
}

#[cfg(test)]
impl Sender {
    /// A sender that has sealed that many packets already.
    pub(super) fn aged(mut self, rtp_sealed: u64, rtcp_sealed: u32) -> Self {
        self.rtp_sealed = rtp_sealed;
        self.rtcp_sealed = rtcp_sealed;
        self
    }

    /// A sender over session keys, as the vectors of RFC 7714 give them.
    pub(super) fn from_session_keys(profile: Profile, keys: &super::keys::SessionKeys) -> Self {
        Self {
            rtp: Transform::from_session_keys(profile, keys).unwrap(),
            rtcp: Transform::from_session_keys(profile, keys).unwrap(),
            rtp_sealed: 0,
            rtcp_sealed: 0,
            indices: Indices::default(),
            profile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: &[Profile] = Profile::ALL;

    fn sender(profile: Profile) -> Sender {
        Sender::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).unwrap()
    }

    fn rtp(sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 0, 1, 2, 3, 4, 0xca, 0xfe, 0, 1];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0x55; 40]);
        packet
    }

    fn sealed(sender: &mut Sender, sequence: u16, roc: u32) -> Vec<u8> {
        let mut packet = rtp(sequence);
        let len = packet.len();
        packet.resize(len + 16, 0);
        let new_len = sender.seal_rtp(&mut packet, 12, len, roc).unwrap();
        assert_eq!(new_len, len + sender.profile().rtp_overhead());
        packet.truncate(new_len);
        packet
    }

    // Threats, row 19.
    #[test]
    fn the_nonce_is_the_rollover_counter_and_sequence_number_and_nothing_random() {
        for &profile in PROFILES {
            let first = sealed(&mut sender(profile), 17, 3);
            assert_eq!(first, sealed(&mut sender(profile), 17, 3), "{profile:?}");
            assert_ne!(first[12..], sealed(&mut sender(profile), 18, 3)[12..], "{profile:?}");
            assert_ne!(first[12..], sealed(&mut sender(profile), 17, 4)[12..], "{profile:?}");
        }
    }

    // Threats, row 19.
    #[test]
    fn a_key_is_never_used_past_its_limit() {
        for &profile in PROFILES {
            let mut sender = sender(profile).aged(MAX_RTP_PACKETS - 1, (1 << 31) - 1);
            sealed(&mut sender, 1, u32::MAX);
            let mut packet = rtp(2);
            packet.resize(100, 0);
            let before = packet.clone();
            assert_eq!(sender.seal_rtp(&mut packet, 12, 52, 0), Err(SrtpError::KeyExhausted));
            assert_eq!(packet, before, "nothing may leave half sealed");

            let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
            report.resize(40, 0);
            assert_eq!(sender.seal_rtcp(&mut report, 8), Ok(8 + profile.rtcp_overhead()));
            let before = report.clone();
            assert_eq!(sender.seal_rtcp(&mut report, 8), Err(SrtpError::KeyExhausted));
            assert_eq!(report, before);
        }
    }

    // Threats, row 55.
    #[test]
    fn an_index_is_used_for_one_packet_only() {
        for &profile in PROFILES {
            let mut sender = sender(profile);
            sealed(&mut sender, 17, 3);
            let mut packet = rtp(17);
            packet.resize(100, 0);
            let before = packet.clone();
            assert_eq!(sender.seal_rtp(&mut packet, 12, 52, 3), Err(SrtpError::IndexUsed));
            let exact = sender.seal_rtp_exact(&mut packet, 12, 52, 3);
            assert_eq!(exact, Err(SrtpError::IndexUsed), "nobody said that it may come again");
            assert_eq!(packet, before);
            sealed(&mut sender, 17, 4);
            sealed(&mut sender, 16, 4);
        }
    }

    // Threats, row 55.
    #[test]
    fn a_packet_that_is_sealed_again_is_the_same_to_the_last_bit_or_refused() {
        for &profile in PROFILES {
            let mut sender = sender(profile);
            let mut exact = |change: Option<usize>| {
                let mut packet = rtp(17);
                if let Some(at) = change {
                    packet[at] ^= 1;
                }
                packet.resize(100, 0xee);
                let sealed = sender.seal_rtp_exact(&mut packet, 12, 52, 3);
                (sealed, packet)
            };
            let first = exact(None);
            assert_eq!(first.0, Ok(52 + profile.rtp_overhead()));
            assert_eq!(exact(None), first);
            // Marker, timestamp, payload.
            for at in [1, 7, 12, 51] {
                let (sealed, packet) = exact(Some(at));
                assert_eq!(sealed, Err(SrtpError::IndexUsed), "byte {at}");
                assert!(packet[..52].iter().all(|b| *b == 0), "nothing of it may leave");
            }
            assert_eq!(exact(None), first);
        }
    }

    #[test]
    fn impossible_lengths_are_refused_and_leave_the_buffer_alone() {
        for &profile in PROFILES {
            let mut sender = sender(profile);
            let mut buf = rtp(1);
            let len = buf.len();
            let before = buf.clone();
            // No room for the tag, header longer than the packet, header too short, lengths that overflow.
            for (header_len, len) in
                [(12, len), (len, len - 20), (11, len - 20), (12, usize::MAX), (usize::MAX, 30)]
            {
                assert_eq!(sender.seal_rtp(&mut buf, header_len, len, 0), Err(SrtpError::Length));
            }
            assert_eq!(sender.seal_rtcp(&mut buf, 7), Err(SrtpError::Length));
            assert_eq!(sender.seal_rtcp(&mut buf, len), Err(SrtpError::Length));
            assert_eq!(buf, before);

            let mut long = rtp(1);
            long.resize(2000, 0);
            let most = MAX_PACKET - profile.rtp_overhead();
            assert_eq!(sender.seal_rtp(&mut long, 12, most + 1, 0), Err(SrtpError::Length));
            assert_eq!(sender.seal_rtp(&mut long, 12, most, 0), Ok(MAX_PACKET));
        }
    }

    #[test]
    fn the_header_stays_in_the_clear_with_its_extensions() {
        for &profile in PROFILES {
            let mut packet = rtp(1);
            let plain = packet.clone();
            packet.resize(100, 0);
            let len = sender(profile).seal_rtp(&mut packet, 20, plain.len(), 0).unwrap();
            assert_eq!(packet[..20], plain[..20]);
            assert_ne!(packet[20..plain.len()], plain[20..]);
            assert_eq!(packet[len..], vec![0; 100 - len], "nothing behind the tag is touched");
        }
    }

    #[test]
    fn an_empty_payload_is_sealed_too() {
        for &profile in PROFILES {
            let mut packet = rtp(1);
            let len = sender(profile).seal_rtp(&mut packet, 12, 12, 0).unwrap();
            assert_eq!(len, 12 + profile.rtp_overhead());
        }
    }
}

//! Opens packets of the peer: authenticates, refuses replays, decrypts.

use std::fmt;

use super::contexts::{Contexts, Known};
use super::keys::Usage;
use super::transform::{Transform, rtcp_ssrc, rtp_ssrc};
use super::window::Window;
use super::{
    DEFAULT_SSRCS, MAX_PACKET, MAX_RTCP_PACKETS, MAX_RTP_PACKETS, Profile, RTCP_CLEAR, RTP_HEADER,
    SrtpError,
};

/// The receiving half of a session's SRTP.
///
/// Its state changes with authentic packets only, so an attacker without the keys cannot create state, move a window,
/// or take a place.
pub struct Receiver {
    rtp: Transform,
    rtcp: Transform,
    rtp_contexts: Contexts,
    rtcp_contexts: Contexts,
    /// Authentic packets, counted against the limit of the key.
    rtp_opened: u64,
    rtcp_opened: u64,
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
    /// A receiver with a master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyMaterial`] if a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let rtp = Transform::new(profile, Usage::Rtp, key, salt)?;
        let rtcp = Transform::new(profile, Usage::Rtcp, key, salt)?;
        Ok(Self::from_transforms(profile, rtp, rtcp))
    }

    /// Sets another number of places for SSRCs than [`DEFAULT_SSRCS`], for RTP and RTCP alike.
    #[must_use]
    pub fn with_ssrc_limit(mut self, most: u32) -> Self {
        self.set_ssrc_limits(most as usize, most as usize);
        self
    }

    /// Sets how many SSRCs have a place at once, for RTP and for RTCP: at least as many as were negotiated. For one
    /// more, the SSRC that was silent longest is evicted. When it sends again it takes the place of another one, and
    /// only its late packets from before are lost.
    pub fn set_ssrc_limits(&mut self, rtp: usize, rtcp: usize) {
        self.rtp_contexts.set_most(rtp);
        self.rtcp_contexts.set_most(rtcp);
    }

    /// The profile of the session.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Opens an SRTP packet into `out`: the header is copied, the payload decrypted, the tag removed.
    ///
    /// `header_len` is where the payload begins, as the unencrypted header says. `out` needs room for the packet
    /// without its tag. After an error the content of `out` is undefined, and no state has changed.
    ///
    /// # Errors
    /// [`SrtpError`] says whether the packet has an impossible length, is a replay, not authentic, of an SSRC without
    /// a place, or beyond the life of the key. None of these is a reason to end the session.
    pub fn open_rtp(
        &mut self,
        packet: &[u8],
        header_len: usize,
        out: &mut [u8],
    ) -> Result<Opened, SrtpError> {
        if packet.len() > MAX_PACKET || header_len < RTP_HEADER {
            return Err(SrtpError::Length);
        }
        let len = packet.len().checked_sub(self.profile.tag_len()).filter(|len| *len >= header_len);
        let out = len.and_then(|len| out.get_mut(..len)).ok_or(SrtpError::Length)?;
        // RFC 3711 section 9.2.
        if self.rtp_opened >= MAX_RTP_PACKETS {
            return Err(SrtpError::KeyExhausted);
        }
        let ssrc = rtp_ssrc(packet);
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let index = match self.rtp_contexts.find(ssrc) {
            Known::Placed(window, used) => {
                let index = window.guess(sequence)?;
                window.check(index)?;
                self.rtp.open_rtp(packet, header_len, index, out)?;
                window.accept(index);
                *used = self.rtp_opened;
                index
            }
            Known::Evicted(mut window) => {
                let index = window.guess(sequence)?;
                window.check(index)?;
                self.rtp.open_rtp(packet, header_len, index, out)?;
                window.accept(index);
                self.rtp_contexts.add(ssrc, window, self.rtp_opened);
                index
            }
            Known::New => {
                self.rtp_contexts.has_place()?;
                let index = open_first(&self.rtp, packet, header_len, sequence, out)?;
                self.rtp_contexts.add(ssrc, Window::new(index), self.rtp_opened);
                index
            }
        };
        self.rtp_opened += 1;
        Ok(Opened { len: out.len(), index })
    }

    /// Opens an SRTCP packet in place and returns the length of the compound packet at its beginning.
    ///
    /// After an error the content of `packet` is undefined, and no state has changed.
    ///
    /// # Errors
    /// As [`Receiver::open_rtp`].
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() > MAX_PACKET {
            return Err(SrtpError::Length);
        }
        let len = packet.len().checked_sub(self.profile.rtcp_overhead());
        let len = len.filter(|len| *len >= RTCP_CLEAR).ok_or(SrtpError::Length)?;
        // RFC 3711 section 9.2.
        if self.rtcp_opened >= MAX_RTCP_PACKETS {
            return Err(SrtpError::KeyExhausted);
        }
        let ssrc = rtcp_ssrc(packet);
        let index = self.rtcp.rtcp_index(packet)?;
        match self.rtcp_contexts.find(ssrc) {
            Known::Placed(window, used) => {
                window.check(u64::from(index))?;
                self.rtcp.open_rtcp(packet, index)?;
                window.accept(u64::from(index));
                *used = self.rtcp_opened;
            }
            Known::Evicted(mut window) => {
                window.check(u64::from(index))?;
                self.rtcp.open_rtcp(packet, index)?;
                window.accept(u64::from(index));
                self.rtcp_contexts.add(ssrc, window, self.rtcp_opened);
            }
            Known::New => {
                self.rtcp_contexts.has_place()?;
                self.rtcp.open_rtcp(packet, index)?;
                self.rtcp_contexts.add(ssrc, Window::new(u64::from(index)), self.rtcp_opened);
            }
        }
        self.rtcp_opened += 1;
        Ok(len)
    }

    fn from_transforms(profile: Profile, rtp: Transform, rtcp: Transform) -> Self {
        Self {
            rtp,
            rtcp,
            rtp_contexts: Contexts::new(DEFAULT_SSRCS),
            rtcp_contexts: Contexts::new(DEFAULT_SSRCS),
            rtp_opened: 0,
            rtcp_opened: 0,
            profile,
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Opens the first packet of an SSRC and returns its index.
///
/// RFC 3711 section 3.3.1 begins with rollover 0. A sender that begins just below 2^16 may wrap before one of its
/// packets arrives, and could never be read; so small sequence numbers are tried with rollover 1 as well.
fn open_first(
    transform: &Transform,
    packet: &[u8],
    header_len: usize,
    sequence: u16,
    out: &mut [u8],
) -> Result<u64, SrtpError> {
    let index = u64::from(sequence);
    match transform.open_rtp(packet, header_len, index, out) {
        Err(SrtpError::Auth) if sequence < 0x8000 => {
            let wrapped = 1 << 16 | index;
            transform.open_rtp(packet, header_len, wrapped, out).map(|()| wrapped)
        }
        result => result.map(|()| index),
    }
}

#[cfg(test)]
impl Receiver {
    /// A receiver over session keys, as the vectors of RFC 7714 give them.
    pub(super) fn from_session_keys(profile: Profile, keys: &super::keys::SessionKeys) -> Self {
        let transform = || Transform::from_session_keys(profile, keys).unwrap();
        Self::from_transforms(profile, transform(), transform())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{REPLAY_WINDOW, Sender};
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const SALT: [u8; 14] = [9; 14];

    fn pair(profile: Profile) -> (Sender, Receiver) {
        let (key, salt) = (&KEY[..profile.key_len()], &SALT[..profile.salt_len()]);
        (Sender::new(profile, key, salt).unwrap(), Receiver::new(profile, key, salt).unwrap())
    }

    fn rtp(ssrc: u32, index: u64) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0];
        packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet.extend((0..60).map(|i| (index as u8).wrapping_add(i)));
        packet
    }

    fn sealed(sender: &mut Sender, ssrc: u32, index: u64) -> Vec<u8> {
        let mut packet = rtp(ssrc, index);
        let len = packet.len();
        packet.resize(len + 16, 0);
        let len = sender.seal_rtp(&mut packet, 12, len, (index >> 16) as u32).unwrap();
        packet.truncate(len);
        packet
    }

    fn sealed_rtcp(sender: &mut Sender, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 0];
        packet[4..].copy_from_slice(&ssrc.to_be_bytes());
        packet.resize(40, 0);
        let len = sender.seal_rtcp(&mut packet, 8).unwrap();
        packet.truncate(len);
        packet
    }

    /// Returns the index of a packet if it was opened and contains what was sealed.
    fn open(receiver: &mut Receiver, packet: &[u8]) -> Result<u64, SrtpError> {
        let mut out = [0; MAX_PACKET];
        let opened = receiver.open_rtp(packet, 12, &mut out)?;
        assert_eq!(out[..opened.len], rtp(rtp_ssrc(packet), opened.index));
        Ok(opened.index)
    }

    // Threats, row 27.
    #[test]
    fn replayed_rtp_is_refused_and_retransmissions_up_to_a_thousand_packets_late_are_not() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let base = 3000;
            let late = sealed(&mut sender, 1, base);
            let too_late = sealed(&mut sender, 1, base - 1);
            let newest = sealed(&mut sender, 1, base + REPLAY_WINDOW - 1);
            assert_eq!(open(&mut receiver, &newest), Ok(base + REPLAY_WINDOW - 1));
            assert_eq!(open(&mut receiver, &late), Ok(base));
            for again in [&newest, &late, &too_late] {
                assert_eq!(open(&mut receiver, again), Err(SrtpError::Replay), "{profile:?}");
            }
        }
    }

    // Threats, row 27.
    #[test]
    fn replayed_rtcp_is_refused() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let packets: Vec<_> = (0..1026).map(|_| sealed_rtcp(&mut sender, 5)).collect();
            assert_eq!(receiver.open_rtcp(&mut packets[1025].clone()), Ok(8));
            assert_eq!(receiver.open_rtcp(&mut packets[2].clone()), Ok(8));
            for old in [1025, 2, 1, 0] {
                let result = receiver.open_rtcp(&mut packets[old].clone());
                assert_eq!(result, Err(SrtpError::Replay), "{profile:?}");
            }
        }
    }

    // Threats, row 28.
    #[test]
    fn bad_tags_neither_end_the_session_nor_change_its_state() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let good = sealed(&mut sender, 1, 0xfff0);
            let mut good_rtcp = sealed_rtcp(&mut sender, 1);
            for round in 0..2000usize {
                let mut bad = good.clone();
                let at = round % bad.len();
                bad[at] ^= 1 << (round % 8);
                assert_eq!(open(&mut receiver, &bad), Err(SrtpError::Auth), "byte {at}");
                let mut bad = good_rtcp.clone();
                let at = round % bad.len();
                bad[at] ^= 1 << (round % 8);
                assert_eq!(receiver.open_rtcp(&mut bad), Err(SrtpError::Auth), "byte {at}");
            }
            assert!(receiver.rtp_contexts.is_empty(), "state before authentication");
            assert!(receiver.rtcp_contexts.is_empty(), "state before authentication");
            assert_eq!(open(&mut receiver, &good), Ok(0xfff0));
            assert_eq!(receiver.open_rtcp(&mut good_rtcp), Ok(8));

            // Forged sequence numbers do not move the window of a known stream either.
            for sequence in (0..0xffffu16).step_by(97) {
                let mut bad = good.clone();
                bad[2..4].copy_from_slice(&sequence.to_be_bytes());
                assert!(open(&mut receiver, &bad).is_err());
            }
            let next = sealed(&mut sender, 1, 0xfff1);
            assert_eq!(open(&mut receiver, &next), Ok(0xfff1));
        }
    }

    // Threats, row 29.
    #[test]
    fn packets_shorter_than_header_and_tag_or_longer_than_any_path_are_dropped() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let good = sealed(&mut sender, 1, 1);
            let mut out = [0; 2000];
            for len in 0..12 + profile.tag_len() {
                let result = receiver.open_rtp(&good[..len], 12, &mut out);
                assert_eq!(result, Err(SrtpError::Length), "{len} bytes");
            }
            let mut good_rtcp = sealed_rtcp(&mut sender, 1);
            for len in 0..good_rtcp.len() {
                let result = receiver.open_rtcp(&mut good_rtcp[..len]);
                assert_eq!(result, Err(SrtpError::Length), "{len} bytes");
            }
            let mut long = vec![0x80; MAX_PACKET + 1];
            assert_eq!(receiver.open_rtp(&long, 12, &mut out), Err(SrtpError::Length));
            assert_eq!(receiver.open_rtcp(&mut long), Err(SrtpError::Length));
            // A header that ends within the tag, beyond the packet or before its 12 bytes; an `out` without room.
            for header_len in [good.len() - profile.tag_len() + 1, good.len() + 1, usize::MAX, 11] {
                let result = receiver.open_rtp(&good, header_len, &mut out);
                assert_eq!(result, Err(SrtpError::Length), "header of {header_len}");
            }
            let result =
                receiver.open_rtp(&good, 12, &mut out[..good.len() - profile.tag_len() - 1]);
            assert_eq!(result, Err(SrtpError::Length));
            assert_eq!(open(&mut receiver, &good), Ok(1));
            assert_eq!(receiver.open_rtcp(&mut good_rtcp), Ok(8));
        }
    }

    // Threats, row 30.
    #[test]
    fn a_new_ssrc_takes_the_place_of_the_one_that_was_silent_for_longest() {
        for &profile in Profile::ALL {
            let (mut sender, receiver) = pair(profile);
            let mut receiver = receiver.with_ssrc_limit(3);
            // The five hundredth SSRC of a day is not refused, and the two that always send are not affected: their
            // late packets are still accepted.
            for ssrc in 10..510 {
                let index = u64::from(ssrc);
                let late: Vec<_> = [1, 2].map(|live| sealed(&mut sender, live, 2 * index)).into();
                for live in [1, 2] {
                    let newest = sealed(&mut sender, live, 2 * index + 1);
                    assert_eq!(open(&mut receiver, &newest), Ok(2 * index + 1));
                    assert_eq!(receiver.open_rtcp(&mut sealed_rtcp(&mut sender, live)), Ok(8));
                }
                assert_eq!(open(&mut receiver, &sealed(&mut sender, ssrc, 1)), Ok(1));
                assert_eq!(receiver.open_rtcp(&mut sealed_rtcp(&mut sender, ssrc)), Ok(8));
                late.iter().for_each(|late| assert_eq!(open(&mut receiver, late), Ok(2 * index)));
            }
        }
    }

    // Threats, rows 27 and 30.
    #[test]
    fn an_evicted_ssrc_comes_back_and_no_earlier_packet_is_accepted_again() {
        for &profile in Profile::ALL {
            let (mut sender, receiver) = pair(profile);
            let mut receiver = receiver.with_ssrc_limit(2);
            // It has wrapped twice, so its rollover counter cannot be guessed anew.
            let path = [0x7000, 0xe000, 0x1_5000, 0x1_c000, 0x2_3000];
            let before: Vec<_> = path.map(|index| sealed(&mut sender, 1, index)).into();
            before.iter().for_each(|packet| _ = open(&mut receiver, packet).unwrap());
            let rtcp_before: Vec<_> = (0..3).map(|_| sealed_rtcp(&mut sender, 1)).collect();
            rtcp_before.iter().for_each(|p| _ = receiver.open_rtcp(&mut p.clone()).unwrap());
            for other in 10..20 {
                assert_eq!(open(&mut receiver, &sealed(&mut sender, other, 1)), Ok(1));
                assert_eq!(receiver.open_rtcp(&mut sealed_rtcp(&mut sender, other)), Ok(8));
            }
            let nothing_again = |receiver: &mut Receiver| {
                for packet in &before {
                    assert!(open(receiver, packet).is_err());
                }
                for packet in &rtcp_before {
                    assert_eq!(receiver.open_rtcp(&mut packet.clone()), Err(SrtpError::Replay));
                }
            };
            nothing_again(&mut receiver);
            assert_eq!(open(&mut receiver, before.last().unwrap()), Err(SrtpError::Replay));
            assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, 0x2_3001)), Ok(0x2_3001));
            assert_eq!(receiver.open_rtcp(&mut sealed_rtcp(&mut sender, 1)), Ok(8));
            nothing_again(&mut receiver);
            assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, 0x2_3003)), Ok(0x2_3003));
            assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, 0x2_3002)), Ok(0x2_3002));
        }
    }

    // Threats, row 30.
    #[test]
    fn new_ssrcs_are_refused_after_thousands_and_known_ones_continue() {
        let (mut sender, receiver) = pair(Profile::AeadAes128Gcm);
        let mut receiver = receiver.with_ssrc_limit(2);
        let mut packets = Vec::new();
        let opened = (0..4_000).filter(|ssrc| {
            assert!(open(&mut receiver, &sealed(&mut sender, 99_999, u64::from(*ssrc))).is_ok());
            packets.push(sealed(&mut sender, *ssrc, 1));
            match open(&mut receiver, &packets[*ssrc as usize]) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error, SrtpError::TooManyStreams);
                    false
                }
            }
        });
        assert_eq!(opened.count(), 2_048 + 1);
        for again in [0, 500, 0] {
            let replayed = open(&mut receiver, &packets[again]);
            assert_eq!(replayed, Err(SrtpError::Replay), "SSRC {again}");
        }
        assert_eq!(open(&mut receiver, &sealed(&mut sender, 500, 2)), Ok(2), "its place is known");
    }

    // Threats, row 19.
    #[test]
    fn a_key_is_not_opened_with_past_its_limit() {
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
        receiver.rtp_opened = MAX_RTP_PACKETS - 1;
        receiver.rtcp_opened = MAX_RTCP_PACKETS - 1;
        assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, 1)), Ok(1));
        let next = sealed(&mut sender, 1, 2);
        assert_eq!(open(&mut receiver, &next), Err(SrtpError::KeyExhausted));
        assert_eq!(receiver.open_rtcp(&mut sealed_rtcp(&mut sender, 1)), Ok(8));
        let mut next = sealed_rtcp(&mut sender, 1);
        assert_eq!(receiver.open_rtcp(&mut next), Err(SrtpError::KeyExhausted));
    }

    #[test]
    fn follows_the_rollover_counter_through_loss_and_reordering() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let order = [
                0xfffa, 0xfffd, 0xfffb, 0x1_0002, 0xffff, 0x1_0000, 0xfffe, 0x1_0001, 0xfffc,
                0x1_7000, 0x1_e000, 0x2_4000, 0x2_3fff, 0x2_b000, 0x3_0001, 0x2_ffff, 0x3_0000,
            ];
            for index in order {
                assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, index)), Ok(index));
            }
        }
    }

    #[test]
    fn an_ssrc_that_wrapped_before_its_first_packet_arrived_is_read() {
        for &profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let last_before = sealed(&mut sender, 1, 0xffff);
            assert_eq!(open(&mut receiver, &sealed(&mut sender, 1, 0x1_0000)), Ok(0x1_0000));
            assert_eq!(open(&mut receiver, &last_before), Ok(0xffff));
        }
    }

    #[test]
    fn keys_of_one_direction_do_not_open_the_other() {
        let (mut sender, _) = pair(Profile::AeadAes128Gcm);
        let mut other = Receiver::new(Profile::AeadAes128Gcm, &[8; 16], &[9; 12]).unwrap();
        let packet = sealed(&mut sender, 1, 1);
        assert_eq!(open(&mut other, &packet), Err(SrtpError::Auth));
    }

    #[test]
    fn contexts_move_between_threads_and_are_as_small_as_documented() {
        fn assert_send<T: Send>() {}
        assert_send::<Sender>();
        assert_send::<Receiver>();
        assert_eq!(size_of::<Sender>(), 128);
        assert_eq!(size_of::<super::super::indices::Stream>(), 168);
        assert_eq!(size_of::<Receiver>(), 184);
        assert_eq!(size_of::<super::super::contexts::Context>(), 152);
        assert_eq!(size_of::<super::super::cm::Cm>(), 1752);
    }
}

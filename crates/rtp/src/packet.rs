//! A view of one RTP packet (RFC 3550 section 5.1), without its stream and without SRTP.

use std::fmt;
use std::ops::Deref;

use model::{DropReason, Pt, Ssrc};

use crate::extensions::Extensions;

/// Longest packet that is accepted, in bytes: the payload of an Ethernet frame. WebRTC senders do not send longer
/// ones.
pub const MAX_PACKET: usize = 1500;

/// Length of the header without CSRCs and extensions, in bytes.
pub const FIXED_HEADER: usize = 12;

/// Why bytes are not an RTP packet, or a header was not written. All but [`RtpError::NoRoom`] are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtpError {
    /// Shorter than the fixed header.
    TooShort,
    /// Longer than [`MAX_PACKET`].
    TooLong,
    /// The version is not 2.
    Version,
    /// CSRCs or the extension block exceed the packet.
    HeaderOverrun,
    /// An extension element exceeds its block.
    ExtensionOverrun,
    /// The padding count is 0 or larger than the payload.
    Padding,
    /// The caller's buffer, or the form of an extension, is too small for the data.
    NoRoom,
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RtpError::TooShort => "shorter than an RTP header",
            RtpError::TooLong => "longer than any RTP packet we take",
            RtpError::Version => "RTP version is not 2",
            RtpError::HeaderOverrun => "CSRCs or extension block reach past the end",
            RtpError::ExtensionOverrun => "a header extension reaches past its block",
            RtpError::Padding => "padding of 0 or past the payload",
            RtpError::NoRoom => "no room for the header",
        })
    }
}

impl std::error::Error for RtpError {}

impl From<RtpError> for DropReason {
    fn from(error: RtpError) -> Self {
        match error {
            RtpError::NoRoom | RtpError::TooLong => DropReason::TooLarge,
            _ => DropReason::RtpMalformed,
        }
    }
}

/// The decoded header of a packet; CSRCs and extensions are read on demand.
#[derive(Debug, Clone, Copy)]
pub struct RtpHeader<'a> {
    raw: &'a [u8],
    timestamp: u32,
    ssrc: Ssrc,
    sequence: u16,
    header_len: u16,
    /// Position of the extension elements; equal to `header_len` if there are none.
    elements: u16,
    /// "Defined by profile" of the extension block, 0 without one.
    profile: u16,
    pt: Pt,
    csrc_count: u8,
    marker: bool,
    has_padding: bool,
}

/// Reads the header of a packet whose payload is still encrypted. SRTP does not encrypt the header, but encrypts the
/// padding with the payload (RFC 3711 section 3.1), so padding is ignored.
///
/// # Errors
/// [`RtpError`] if the packet is too short or long, of another version, or its header exceeds the packet.
#[inline]
pub fn parse_header_unprotected(raw: &[u8]) -> Result<RtpHeader<'_>, RtpError> {
    if raw.len() > MAX_PACKET {
        return Err(RtpError::TooLong);
    }
    let Some(fixed) = raw.first_chunk::<FIXED_HEADER>() else {
        return Err(RtpError::TooShort);
    };
    if fixed[0] >> 6 != 2 {
        return Err(RtpError::Version);
    }
    let csrc_count = fixed[0] & 0x0f;
    let mut header_len = FIXED_HEADER + 4 * usize::from(csrc_count);
    let mut elements = header_len;
    let mut profile = 0;
    if fixed[0] & 0x10 != 0 {
        // RFC 3550 section 5.3.1: 16 bits of profile, 16 bits of length in words without these four bytes.
        let Some(&[p0, p1, l0, l1]) = raw.get(header_len..).and_then(|r| r.first_chunk::<4>())
        else {
            return Err(RtpError::HeaderOverrun);
        };
        profile = u16::from_be_bytes([p0, p1]);
        elements = header_len + 4;
        header_len = elements + 4 * usize::from(u16::from_be_bytes([l0, l1]));
    }
    if header_len > raw.len() {
        return Err(RtpError::HeaderOverrun);
    }
    Ok(RtpHeader {
        raw,
        timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        header_len: header_len as u16,
        elements: elements as u16,
        profile,
        pt: Pt(fixed[1] & 0x7f),
        csrc_count,
        marker: fixed[1] & 0x80 != 0,
        has_padding: fixed[0] & 0x20 != 0,
    })
}

impl<'a> RtpHeader<'a> {
    /// The marker bit; for video, the last packet of a picture.
    #[inline]
    pub fn marker(&self) -> bool {
        self.marker
    }

    /// Payload type.
    #[inline]
    pub fn pt(&self) -> Pt {
        self.pt
    }

    /// Sequence number in the packet.
    #[inline]
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// Timestamp, in units of the codec's RTP clock.
    #[inline]
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Synchronization source.
    #[inline]
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Number of contributing sources, 0 to 15.
    #[inline]
    pub fn csrc_count(&self) -> usize {
        usize::from(self.csrc_count)
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + 'a {
        let end = FIXED_HEADER + 4 * self.csrc_count();
        let (words, _) = self.raw.get(FIXED_HEADER..end).unwrap_or_default().as_chunks::<4>();
        words.iter().map(|&w| Ssrc(u32::from_be_bytes(w)))
    }

    /// Length of the whole header in bytes: fixed part, CSRCs and extension block.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// All bytes of the packet.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The elements of the extension block in order, as `(id, value)`; ids are 1 to 14 in the one-byte form and 1 to
    /// 255 in the two-byte form (RFC 8285). A block of another profile has no elements. The iterator ends after an
    /// error.
    #[inline]
    pub fn extensions(&self) -> Extensions<'a> {
        Extensions::new(self.raw, self.elements, self.header_len, self.profile)
    }
}

/// A whole decrypted packet: its header, and a payload without padding. It dereferences to its header.
#[derive(Debug, Clone, Copy)]
pub struct RtpPacket<'a> {
    header: RtpHeader<'a>,
    padding: u8,
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet. The elements of its extension block are checked when they are read
    /// ([`crate::ParsedExtensions::parse`]).
    ///
    /// # Errors
    /// As [`parse_header_unprotected`], and [`RtpError::Padding`].
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Self, RtpError> {
        let header = parse_header_unprotected(raw)?;
        let mut padding = 0;
        if header.has_padding {
            // RFC 3550 section 5.1: the last octet counts the padding, itself included.
            let payload = raw.get(header.header_len()..).unwrap_or_default();
            padding = payload.last().copied().unwrap_or(0);
            if padding == 0 || usize::from(padding) > payload.len() {
                return Err(RtpError::Padding);
            }
        }
        Ok(Self { header, padding })
    }

    /// The payload without padding; empty if the packet is all padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        let end = self.raw.len() - self.padding_len();
        self.raw.get(self.header_len()..end).unwrap_or_default()
    }

    /// Bytes of padding at the end.
    #[inline]
    pub fn padding_len(&self) -> usize {
        usize::from(self.padding)
    }

    /// The header alone.
    #[inline]
    pub fn header(&self) -> &RtpHeader<'a> {
        &self.header
    }
}

impl<'a> Deref for RtpPacket<'a> {
    type Target = RtpHeader<'a>;

    #[inline]
    fn deref(&self) -> &RtpHeader<'a> {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two CSRCs, one-byte extensions with id 3 = `aa bb`, payload `01 02`, padding of 3.
    const FULL: &[u8] = &[
        0xb2, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, //
        0xbe, 0xde, 0, 1, 0x31, 0xaa, 0xbb, 0, 1, 2, 0, 0, 3,
    ];

    #[test]
    fn a_packet_with_all_parts_is_read() {
        let packet = RtpPacket::parse(FULL).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.pt(), Pt(96));
        assert_eq!(packet.sequence(), 0x1234);
        assert_eq!(packet.timestamp(), 9);
        assert_eq!(packet.ssrc(), Ssrc(7));
        assert_eq!(packet.csrc_count(), 2);
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.payload(), [1, 2]);
        assert_eq!(packet.padding_len(), 3);
        assert_eq!(packet.raw(), FULL);
        assert_eq!(packet.extensions().collect::<Vec<_>>(), [Ok((3, &[0xaa, 0xbb][..]))]);
    }

    #[test]
    fn every_shorter_piece_of_a_header_is_refused() {
        for len in 0..28 {
            assert!(RtpPacket::parse(&FULL[..len]).is_err(), "{len}");
            assert!(parse_header_unprotected(&FULL[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn encrypted_padding_is_not_looked_at() {
        let mut packet = FULL.to_vec();
        *packet.last_mut().unwrap() = 0;
        assert_eq!(RtpPacket::parse(&packet).unwrap_err(), RtpError::Padding);
        assert_eq!(parse_header_unprotected(&packet).unwrap().header_len(), 28);
    }

    #[test]
    fn a_packet_of_padding_alone_has_an_empty_payload() {
        let packet = [0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 3];
        assert!(RtpPacket::parse(&packet).unwrap().payload().is_empty());
    }

    #[test]
    fn other_versions_are_refused() {
        let mut packet = FULL.to_vec();
        packet[0] = 0x72;
        assert_eq!(RtpPacket::parse(&packet).unwrap_err(), RtpError::Version);
    }
}

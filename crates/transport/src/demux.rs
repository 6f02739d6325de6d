//! Tells the protocols of the one media port apart by the first bytes (RFC 7983).
//!
//! Only the first bytes and the least length are checked: a classified datagram need not be well-formed or authentic.

/// The protocol that a datagram looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// STUN (ICE checks).
    Stun,
    /// A DTLS record.
    Dtls,
    /// RTP, in a session always SRTP.
    Rtp,
    /// RTCP, in a session always SRTCP.
    Rtcp,
    /// TURN ChannelData; no client sends it to the media port on purpose.
    TurnChannel,
    /// Empty, shorter than the header of its protocol, or of no known protocol.
    Unknown,
}

/// STUN header (RFC 8489 section 5).
const STUN_HEADER: usize = 20;
/// DTLS 1.2 record header (RFC 6347 section 4.1).
const DTLS_HEADER: usize = 13;
/// RTP fixed header (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// RTCP header and the sender's SSRC (RFC 3550 section 6.4).
const RTCP_HEADER: usize = 8;
/// ChannelData header (RFC 8656 section 12.4).
const CHANNEL_HEADER: usize = 4;

/// Classifies a datagram.
///
/// ```
/// use sfumato_transport::demux::{Kind, classify};
///
/// assert_eq!(classify(&[0x80, 200, 0, 1, 0, 0, 0, 1]), Kind::Rtcp);
/// ```
pub fn classify(datagram: &[u8]) -> Kind {
    let [first, second, ..] = datagram else {
        return Kind::Unknown;
    };
    // RFC 7983 section 7 gives the ranges of the first byte.
    let (kind, least) = match first {
        0..=3 => (Kind::Stun, STUN_HEADER),
        20..=63 => (Kind::Dtls, DTLS_HEADER),
        64..=79 => (Kind::TurnChannel, CHANNEL_HEADER),
        // RFC 5761 section 4: RTCP packet types are 192 to 223, so RTP that shares a port with RTCP does not use the
        // payload types 64 to 95. Such types without the marker bit are classified as RTP and fail at the payload
        // type.
        128..=191 if (192..=223).contains(second) => (Kind::Rtcp, RTCP_HEADER),
        128..=191 => (Kind::Rtp, RTP_HEADER),
        _ => return Kind::Unknown,
    };
    if datagram.len() < least { Kind::Unknown } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, second: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes[1] = second;
        bytes
    }

    #[test]
    fn every_first_byte_goes_where_rfc_7983_says() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                64..=79 => Kind::TurnChannel,
                128..=191 => Kind::Rtp,
                _ => Kind::Unknown,
            };
            assert_eq!(classify(&datagram(first, 0, 100)), expected, "first byte {first}");
        }
    }

    #[test]
    fn rtcp_packet_types_are_not_taken_for_payload_types_with_a_marker() {
        for second in 0..=255u8 {
            let expected = if matches!(second, 192..=223) { Kind::Rtcp } else { Kind::Rtp };
            assert_eq!(classify(&datagram(0x80, second, 100)), expected, "second byte {second}");
        }
    }

    #[test]
    fn truncated_datagrams_are_unknown() {
        assert_eq!(classify(&[]), Kind::Unknown);
        assert_eq!(classify(&[0x80]), Kind::Unknown);
        for (first, second, least, kind) in [
            (0, 1, 20, Kind::Stun),
            (22, 254, 13, Kind::Dtls),
            (0x40, 0, 4, Kind::TurnChannel),
            (0x80, 96, 12, Kind::Rtp),
            (0x80, 201, 8, Kind::Rtcp),
        ] {
            assert_eq!(classify(&datagram(first, second, least)), kind);
            assert_eq!(classify(&datagram(first, second, least - 1)), Kind::Unknown);
        }
    }
}

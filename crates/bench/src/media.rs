//! The media of all measurements: VP8 pictures of ten packets, thirty a second, with what a receiver needs to know
//! in the payload.

use std::time::Duration;

/// Bytes of payload in a packet.
pub(crate) const PAYLOAD: usize = 1_100;
/// Packets of a picture.
pub(crate) const PACKETS: u16 = 10;
/// From picture to picture.
pub(crate) const FRAME: Duration = Duration::from_nanos(33_333_333);

/// What the numbered part of a payload begins with.
const MAGIC: [u8; 4] = *b"SFUB";
/// VP8 payload descriptor with a picture id of 15 bits, and the first byte of the frame tag.
const DESCRIPTOR: usize = 5;
const STAMP: usize = MAGIC.len() + 4 + 2 + 8;

/// What a payload tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of the picture.
    pub(crate) picture: u32,
    /// Which packet of it.
    pub(crate) index: u16,
    /// When it was sent, since a time that sender and receiver agree on.
    pub(crate) sent: Duration,
}

impl Stamp {
    /// The payload of a packet, [`PAYLOAD`] bytes.
    pub(crate) fn payload(self, key: bool) -> Vec<u8> {
        let [high, low] = (self.picture as u16 | 0x8000).to_be_bytes();
        // RFC 7741 section 4.2: X and S, then I, then 15 bits of picture id.
        let start = u8::from(self.index == 0) << 4;
        // RFC 6386 section 9.1: the lowest bit of the frame tag is 0 in a key frame.
        let mut bytes = vec![0x80 | start, 0x80, high, low, u8::from(!key)];
        bytes.extend(MAGIC);
        bytes.extend(self.picture.to_be_bytes());
        bytes.extend(self.index.to_be_bytes());
        bytes.extend((self.sent.as_nanos() as u64).to_be_bytes());
        bytes.resize(PAYLOAD, 0x5a);
        bytes
    }

    /// Reads it back, whatever picture id the server gave it.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let stamp = payload.get(DESCRIPTOR..DESCRIPTOR + STAMP)?.strip_prefix(&MAGIC)?;
        let (picture, rest) = stamp.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            picture: u32::from_be_bytes(*picture),
            index: u16::from_be_bytes(*index),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let stamp = Stamp { picture: 70_000, index: 9, sent: Duration::from_nanos(123_456_789) };
        let payload = stamp.payload(false);
        assert_eq!(payload.len(), PAYLOAD);
        assert_eq!(Stamp::parse(&payload), Some(stamp));
        assert_eq!(Stamp::parse(&payload[..20]), None);
        assert_eq!(Stamp::parse(&vec![0; PAYLOAD]), None);
    }
}

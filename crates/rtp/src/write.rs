//! Writes a new header for a packet to one subscriber: fixed part and extension block in one call. The caller chooses
//! the numbers and appends the payload.

use model::{Pt, Ssrc};

use crate::extensions::{ONE_BYTE, TWO_BYTE};
use crate::packet::{FIXED_HEADER, RtpError};

/// The fields of a header to write. No CSRCs (the node does not mix) and no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderWriter {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub pt: Pt,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the RTP clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: Ssrc,
}

impl HeaderWriter {
    /// The fixed part alone (RFC 3550 section 5.1); `extended` says that an extension block follows.
    #[inline]
    pub fn fixed(&self, extended: bool) -> [u8; FIXED_HEADER] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.0.to_be_bytes();
        let first = 0x80 | u8::from(extended) << 4;
        let second = u8::from(self.marker) << 7 | self.pt.0 & 0x7f;
        [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }

    /// Writes the header to the start of `out` and returns its length in bytes.
    ///
    /// `extensions` are `(id, value)` pairs, written in order; a pair with id 0 is skipped, so a caller may pass a
    /// fixed array. The one-byte form is used if all ids are 1 to 14 and all values 1 to 16 bytes, else the two-byte
    /// form (RFC 8285 sections 4.2 and 4.3). Without extensions there is no block.
    ///
    /// # Errors
    /// [`RtpError::NoRoom`] if `out` is too short, or a value is longer than 255 bytes. `out` may then contain a part.
    #[inline]
    pub fn write(&self, out: &mut [u8], extensions: &[(u8, &[u8])]) -> Result<usize, RtpError> {
        let mut values = 0;
        let mut count = 0;
        let mut two_byte = false;
        for &(id, value) in extensions.iter().filter(|(id, _)| *id != 0) {
            values += value.len();
            count += 1;
            two_byte |= id > 14 || value.is_empty() || value.len() > 16;
        }
        let unpadded = values + count * (1 + usize::from(two_byte));
        let words = unpadded.div_ceil(4);
        let len = FIXED_HEADER + if count == 0 { 0 } else { 4 + 4 * words };

        let Some((fixed, block)) =
            out.get_mut(..len).and_then(|out| out.split_first_chunk_mut::<FIXED_HEADER>())
        else {
            return Err(RtpError::NoRoom);
        };
        *fixed = self.fixed(count != 0);
        let Some((head, mut rest)) = block.split_first_chunk_mut::<4>() else {
            return Ok(len);
        };
        let [p0, p1] = if two_byte { TWO_BYTE } else { ONE_BYTE }.to_be_bytes();
        let [l0, l1] = u16::try_from(words).map_err(|_| RtpError::NoRoom)?.to_be_bytes();
        *head = [p0, p1, l0, l1];
        for &(id, value) in extensions.iter().filter(|(id, _)| *id != 0) {
            rest = if two_byte {
                let size = u8::try_from(value.len()).map_err(|_| RtpError::NoRoom)?;
                put(rest, &[id, size], value)?
            } else {
                // RFC 8285 section 4.2: the length field holds the length less one.
                put(rest, &[id << 4 | (value.len() - 1) as u8], value)?
            };
        }
        rest.fill(0);
        Ok(len)
    }
}

/// Writes an element and returns the bytes after it.
#[inline]
fn put<'o>(out: &'o mut [u8], head: &[u8], value: &[u8]) -> Result<&'o mut [u8], RtpError> {
    let (h, rest) = out.split_at_mut_checked(head.len()).ok_or(RtpError::NoRoom)?;
    h.copy_from_slice(head);
    let (v, rest) = rest.split_at_mut_checked(value.len()).ok_or(RtpError::NoRoom)?;
    v.copy_from_slice(value);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::RtpPacket;
    use proptest::prelude::*;

    const HEADER: HeaderWriter = HeaderWriter {
        marker: true,
        pt: Pt(111),
        sequence: 0xfffe,
        timestamp: 0xdead_beef,
        ssrc: Ssrc(0x0102_0304),
    };

    #[test]
    fn without_extensions_there_is_no_block() {
        let mut out = [0xee; 12];
        assert_eq!(HEADER.write(&mut out, &[(0, b"left out")]), Ok(12));
        let packet = RtpPacket::parse(&out).unwrap();
        assert_eq!(packet.extensions().count(), 0);
        assert_eq!(packet.header_len(), 12);
    }

    #[test]
    fn the_one_byte_form_is_taken_where_it_can_be() {
        let mut out = [0xee; 64];
        let len = HEADER.write(&mut out, &[(4, b"v"), (14, &[7; 16])]).unwrap();
        assert_eq!((len, &out[12..14]), (12 + 4 + 20, &[0xbe, 0xde][..]));
        for pairs in [[(15, &b"v"[..])], [(4, &b""[..])], [(4, &[0; 17][..])]] {
            HEADER.write(&mut out, &pairs).unwrap();
            assert_eq!(&out[12..14], [0x10, 0x00]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut out = [0; 64];
        assert_eq!(HEADER.write(&mut out[..11], &[]), Err(RtpError::NoRoom));
        assert_eq!(HEADER.write(&mut out[..19], &[(1, b"abc")]), Err(RtpError::NoRoom));
        assert_eq!(HEADER.write(&mut out[..20], &[(1, b"abc")]), Ok(20));
        let mut out = [0; 400];
        assert_eq!(HEADER.write(&mut out, &[(1, &[0; 256])]), Err(RtpError::NoRoom));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            marker: bool, pt in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            pairs in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..40)), 0..9),
            room in 0usize..500,
        ) {
            let header = HeaderWriter { marker, pt: Pt(pt), sequence, timestamp, ssrc: Ssrc(ssrc) };
            let pairs: Vec<(u8, &[u8])> = pairs.iter().map(|(id, v)| (*id, &v[..])).collect();
            let mut out = vec![0xee; room];
            match header.write(&mut out, &pairs) {
                Ok(len) => {
                    prop_assert!(out[len..].iter().all(|&b| b == 0xee));
                    let packet = RtpPacket::parse(&out).unwrap();
                    prop_assert_eq!(packet.header_len(), len);
                    prop_assert_eq!(packet.marker(), marker);
                    prop_assert_eq!(packet.pt(), Pt(pt));
                    prop_assert_eq!(packet.sequence(), sequence);
                    prop_assert_eq!(packet.timestamp(), timestamp);
                    prop_assert_eq!(packet.ssrc(), Ssrc(ssrc));
                    let read: Result<Vec<_>, _> = packet.extensions().collect();
                    prop_assert_eq!(read, Ok(pairs));
                }
                Err(error) => {
                    prop_assert_eq!(error, RtpError::NoRoom);
                    let most: usize = pairs.iter().map(|(_, v)| v.len() + 2).sum();
                    prop_assert!(room < 12 + 4 + most.next_multiple_of(4));
                }
            }
        }
    }
}

//! A fresh header for a packet that goes to one subscriber: fixed part and extension block in one go. The payload
//! behind it, and what the numbers are, is the caller's.

use model::{Pt, Ssrc};

use crate::extensions::{ONE_BYTE, TWO_BYTE};
use crate::packet::{FIXED_HEADER, RtpError};

/// The fields of a header that is to be written. No CSRCs (the node does not mix) and no padding.
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
    /// Writes the header to the start of `out` and returns its length in bytes.
    ///
    /// `extensions` are `(id, value)` pairs, written in their order; a pair with id 0 is left out, so a caller may
    /// pass a fixed array. The one-byte form is taken when all ids are 1 to 14 and all values 1 to 16 bytes, else the
    /// two-byte form (RFC 8285 sections 4.2 and 4.3). Without extensions there is no block.
    ///
    /// # Errors
    /// [`RtpError::NoRoom`] when `out` is too short, or a value is longer than 255 bytes. `out` may then hold a part.
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
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.0.to_be_bytes();
        *fixed = [
            0x80 | u8::from(count != 0) << 4,
            u8::from(self.marker) << 7 | self.pt.0 & 0x7f,
            s0,
            s1,
            t0,
            t1,
            t2,
            t3,
            c0,
            c1,
            c2,
            c3,
        ];
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

/// Writes an element and returns what lies behind it.
#[inline]
fn put<'o>(out: &'o mut [u8], head: &[u8], value: &[u8]) -> Result<&'o mut [u8], RtpError> {
    let (h, rest) = out.split_at_mut_checked(head.len()).ok_or(RtpError::NoRoom)?;
    h.copy_from_slice(head);
    let (v, rest) = rest.split_at_mut_checked(value.len()).ok_or(RtpError::NoRoom)?;
    v.copy_from_slice(value);
    Ok(rest)
}

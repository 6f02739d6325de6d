//! Feedback about streams: NACK (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb-03). PLI has no body
//! of its own; transport-wide feedback has a file of its own.

use model::Ssrc;

use super::{Raw, RtcpError, take_ssrc, take_u32};

/// The common form of feedback (RFC 4585 section 6.1).
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    /// FMT: the kind of feedback within its packet type.
    pub format: u8,
    /// The sender of the feedback.
    pub sender: Ssrc,
    /// The stream that it is about; 0 if the feedback names streams itself.
    pub media: Ssrc,
    /// Feedback control information.
    pub fci: &'a [u8],
}

impl<'a> Feedback<'a> {
    pub(crate) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (sender, rest) = take_ssrc(raw.body)?;
        let (media, fci) = take_ssrc(rest)?;
        Ok(Self { format: raw.count, sender, media, fci })
    }
}

/// Generic NACK as a view (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// The sender of the request.
    pub sender: Ssrc,
    /// The stream that lost packets.
    pub media: Ssrc,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(crate) fn parse(feedback: Feedback<'a>) -> Result<Self, RtcpError> {
        let (entries, []) = feedback.fci.as_chunks::<4>() else {
            return Err(RtcpError::Length);
        };
        if entries.is_empty() {
            return Err(RtcpError::TooShort);
        }
        Ok(Self { sender: feedback.sender, media: feedback.media, entries })
    }

    /// The missing sequence numbers, in the order of the packet; a sender may name one several times. At most 17 for
    /// each four bytes.
    #[inline]
    pub fn lost(&self) -> impl Iterator<Item = u16> + 'a {
        self.entries.iter().flat_map(|&[p0, p1, b0, b1]| {
            let pid = u16::from_be_bytes([p0, p1]);
            // PID itself and, for bit i of the mask, PID + i + 1.
            let mut mask = u32::from(u16::from_be_bytes([b0, b1])) << 1 | 1;
            std::iter::from_fn(move || {
                if mask == 0 {
                    return None;
                }
                let bit = mask.trailing_zeros();
                mask &= mask - 1;
                Some(pid.wrapping_add(bit as u16))
            })
        })
    }
}

/// FIR as a view (RFC 5104 section 4.3.1).
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    /// The sender of the request.
    pub sender: Ssrc,
    entries: &'a [[u8; 8]],
}

/// A request for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream.
    pub ssrc: Ssrc,
    /// A repetition of a request has the same number.
    pub sequence: u8,
}

impl<'a> Fir<'a> {
    pub(crate) fn parse(feedback: Feedback<'a>) -> Result<Self, RtcpError> {
        let (entries, []) = feedback.fci.as_chunks::<8>() else {
            return Err(RtcpError::Length);
        };
        if entries.is_empty() {
            return Err(RtcpError::TooShort);
        }
        Ok(Self { sender: feedback.sender, entries })
    }

    /// The streams that should send a key frame.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + 'a {
        self.entries.iter().map(|&[a, b, c, d, sequence, ..]| FirEntry {
            ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
            sequence,
        })
    }
}

/// REMB as a view.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'a> {
    /// The sender of the feedback.
    pub sender: Ssrc,
    /// Most bits per second for all streams together.
    pub bitrate: u64,
    ssrcs: &'a [[u8; 4]],
}

/// First bytes of REMB's control information.
pub(crate) const REMB_NAME: [u8; 4] = *b"REMB";

impl<'a> Remb<'a> {
    pub(crate) fn is_remb(fci: &[u8]) -> bool {
        fci.starts_with(&REMB_NAME)
    }

    pub(crate) fn parse(feedback: Feedback<'a>) -> Result<Self, RtcpError> {
        let (_, rest) = take_u32(feedback.fci)?;
        let (word, rest) = take_u32(rest)?;
        // draft-alvestrand-rmcat-remb-03 section 2.2: 8 bits count, 6 bits exponent, 18 bits mantissa.
        let count = (word >> 24) as usize;
        let exponent = word >> 18 & 0x3f;
        let bitrate = u128::from(word & 0x3_ffff) << exponent;
        let ssrcs = rest.as_chunks::<4>().0.get(..count).ok_or(RtcpError::Count)?;
        let bitrate = u64::try_from(bitrate).unwrap_or(u64::MAX);
        Ok(Self { sender: feedback.sender, bitrate, ssrcs })
    }

    /// The streams that it is about.
    #[inline]
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.ssrcs.iter().map(|&word| Ssrc(u32::from_be_bytes(word)))
    }
}

//! RTCP packets (RFC 3550 section 6, RFC 4585, RFC 5104, RFC 3611, transport-wide feedback), read and written. The
//! router decides what to do with them; there is no state here.
//!
//! A view is only made if all counts and lengths of its packet are valid, so the iterators of a view cannot fail and
//! end within the packet. Later packets of a compound may still be invalid: call [`validate`] before acting on the
//! first.
//!
//! - [`report`]: SR, RR and report blocks
//! - [`source`]: SDES, BYE, APP
//! - [`feedback`]: NACK, PLI, FIR, REMB
//! - [`twcc`]: transport-wide congestion feedback
//! - [`xr`]: extended reports
//! - [`mod@write`]: [`RtcpWriter`], which builds compound packets

pub mod feedback;
pub mod report;
pub mod source;
pub mod twcc;
pub mod write;
pub mod xr;

use std::fmt;

use model::{DropReason, Ssrc};

pub use feedback::{Feedback, Fir, FirEntry, Nack, Remb};
pub use report::{ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use source::{App, Bye, Sdes, SdesChunk};
pub use twcc::{TransportFeedback, TwccHeader, TwccStatus};
pub use write::{NoRoom, RtcpWriter};
pub use xr::{Dlrr, DlrrEntry, Xr, XrBlock};

/// Sender report (RFC 3550 section 6.4.1).
pub const PT_SR: u8 = 200;
/// Receiver report (RFC 3550 section 6.4.2).
pub const PT_RR: u8 = 201;
/// Source description (RFC 3550 section 6.5).
pub const PT_SDES: u8 = 202;
/// Goodbye (RFC 3550 section 6.6).
pub const PT_BYE: u8 = 203;
/// Application-defined (RFC 3550 section 6.7).
pub const PT_APP: u8 = 204;
/// Transport layer feedback (RFC 4585 section 6.1).
pub const PT_RTPFB: u8 = 205;
/// Payload-specific feedback (RFC 4585 section 6.1).
pub const PT_PSFB: u8 = 206;
/// Extended report (RFC 3611 section 2).
pub const PT_XR: u8 = 207;

/// Generic NACK (RFC 4585 section 6.2.1).
pub const FMT_NACK: u8 = 1;
/// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
pub const FMT_TRANSPORT_CC: u8 = 15;
/// Picture loss indication (RFC 4585 section 6.3.1).
pub const FMT_PLI: u8 = 1;
/// Full intra request (RFC 5104 section 4.3.1).
pub const FMT_FIR: u8 = 4;
/// Application layer feedback (RFC 4585 section 6.4), REMB among it.
pub const FMT_AFB: u8 = 15;

/// Why bytes are not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpError {
    /// Shorter than a header, or than its packet type requires.
    TooShort,
    /// The version is not 2.
    Version,
    /// The length field, or a length inside the packet, exceeds the data.
    Length,
    /// The padding count is 0 or larger than the packet.
    Padding,
    /// A count exceeds what the packet holds.
    Count,
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RtcpError::TooShort => "RTCP packet too short",
            RtcpError::Version => "RTCP version is not 2",
            RtcpError::Length => "an RTCP length reaches past the end",
            RtcpError::Padding => "RTCP padding of 0 or past the packet",
            RtcpError::Count => "an RTCP count says more than the packet holds",
        })
    }
}

impl std::error::Error for RtcpError {}

impl From<RtcpError> for DropReason {
    fn from(_: RtcpError) -> Self {
        DropReason::RtcpMalformed
    }
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
pub enum RtcpPacket<'a> {
    /// SR
    SenderReport(SenderReport<'a>),
    /// RR
    ReceiverReport(ReceiverReport<'a>),
    /// SDES
    Sdes(Sdes<'a>),
    /// BYE
    Bye(Bye<'a>),
    /// APP
    App(App<'a>),
    /// Generic NACK
    Nack(Nack<'a>),
    /// Transport-wide congestion feedback
    TransportCc(TransportFeedback<'a>),
    /// Other transport layer feedback, for example TMMBR; the node ignores it.
    OtherTransportFeedback(Feedback<'a>),
    /// Picture loss indication
    Pli {
        /// The sender of the request.
        sender: Ssrc,
        /// The stream whose picture was lost.
        media: Ssrc,
    },
    /// Full intra request
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate
    Remb(Remb<'a>),
    /// Other payload-specific feedback; the node ignores it.
    OtherPayloadFeedback(Feedback<'a>),
    /// XR
    Xr(Xr<'a>),
    /// An unknown packet type, which is ignored (RFC 3550 section 6.1).
    Unknown {
        /// Packet type.
        packet_type: u8,
    },
}

/// Iterates over the packets of a compound packet (RFC 3550 section 6.1) or a single one (RFC 5506). It ends after an
/// error. Each step consumes at least four bytes.
#[derive(Debug, Clone)]
pub struct CompoundIter<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> CompoundIter<'a> {
    /// An iterator over a whole decrypted datagram. An empty datagram is an error.
    #[inline]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: Some(data) }
    }
}

impl<'a> Iterator for CompoundIter<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let data = self.rest.take()?;
        let (raw, rest) = match split(data) {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error)),
        };
        let packet = parse_one(raw);
        if packet.is_ok() && !rest.is_empty() {
            self.rest = Some(rest);
        }
        Some(packet)
    }
}

/// Checks every packet of a compound, so that no packet is acted on if a later one is invalid. Returns the number of
/// packets.
///
/// # Errors
/// The first [`RtcpError`].
#[inline]
pub fn validate(data: &[u8]) -> Result<usize, RtcpError> {
    CompoundIter::new(data).try_fold(0, |count, packet| packet.map(|_| count + 1))
}

/// A packet's header, and the bytes after it without padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// The five bits after version and padding: a count or a feedback format.
    pub(crate) count: u8,
    pub(crate) packet_type: u8,
    pub(crate) body: &'a [u8],
}

/// Splits off the first packet.
fn split(data: &[u8]) -> Result<(Raw<'_>, &[u8]), RtcpError> {
    let Some(&[first, packet_type, l0, l1]) = data.first_chunk::<4>() else {
        return Err(RtcpError::TooShort);
    };
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    // RFC 3550 section 6.4.1: the length in words, less one.
    let len = 4 * (usize::from(u16::from_be_bytes([l0, l1])) + 1);
    let Some((packet, rest)) = data.split_at_checked(len) else {
        return Err(RtcpError::Length);
    };
    let mut body = packet.get(4..).unwrap_or_default();
    if first & 0x20 != 0 {
        // Padding should only be in the last packet and of whole words (RFC 3550 section 6.4.1). Real senders pad
        // transport-wide feedback by bytes and in any packet, so only the bounds are checked.
        let padding = usize::from(body.last().copied().unwrap_or(0));
        if padding == 0 || padding > body.len() {
            return Err(RtcpError::Padding);
        }
        body = body.get(..body.len() - padding).unwrap_or_default();
    }
    Ok((Raw { count: first & 0x1f, packet_type, body }, rest))
}

fn parse_one(raw: Raw<'_>) -> Result<RtcpPacket<'_>, RtcpError> {
    Ok(match raw.packet_type {
        PT_SR => RtcpPacket::SenderReport(SenderReport::parse(raw)?),
        PT_RR => RtcpPacket::ReceiverReport(ReceiverReport::parse(raw)?),
        PT_SDES => RtcpPacket::Sdes(Sdes::parse(raw)?),
        PT_BYE => RtcpPacket::Bye(Bye::parse(raw)?),
        PT_APP => RtcpPacket::App(App::parse(raw)?),
        PT_RTPFB => {
            let feedback = Feedback::parse(raw)?;
            match raw.count {
                FMT_NACK => RtcpPacket::Nack(Nack::parse(feedback)?),
                FMT_TRANSPORT_CC => RtcpPacket::TransportCc(TransportFeedback::parse(feedback)?),
                _ => RtcpPacket::OtherTransportFeedback(feedback),
            }
        }
        PT_PSFB => {
            let feedback = Feedback::parse(raw)?;
            match raw.count {
                FMT_PLI => RtcpPacket::Pli { sender: feedback.sender, media: feedback.media },
                FMT_FIR => RtcpPacket::Fir(Fir::parse(feedback)?),
                FMT_AFB if Remb::is_remb(feedback.fci) => RtcpPacket::Remb(Remb::parse(feedback)?),
                _ => RtcpPacket::OtherPayloadFeedback(feedback),
            }
        }
        PT_XR => RtcpPacket::Xr(Xr::parse(raw)?),
        packet_type => RtcpPacket::Unknown { packet_type },
    })
}

/// The first four bytes as a number, and the rest.
#[inline]
pub(crate) fn take_u32(data: &[u8]) -> Result<(u32, &[u8]), RtcpError> {
    match data.split_first_chunk::<4>() {
        Some((&word, rest)) => Ok((u32::from_be_bytes(word), rest)),
        None => Err(RtcpError::TooShort),
    }
}

/// The first four bytes as an SSRC, and the rest.
#[inline]
pub(crate) fn take_ssrc(data: &[u8]) -> Result<(Ssrc, &[u8]), RtcpError> {
    take_u32(data).map(|(word, rest)| (Ssrc(word), rest))
}

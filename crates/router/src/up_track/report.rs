//! Reception statistics of one media SSRC, for receiver reports.
use std::time::Instant;
use model::NtpTime;

/// What a publisher's sender report said, and when: ties its RTP timestamps to its wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock of the publisher (RFC 3550 section 6.4.1).
    pub ntp: NtpTime,
    /// The same moment in RTP timestamp units.
    pub rtp_timestamp: u32,
    /// When the report came in.
    pub arrival: Instant,
}

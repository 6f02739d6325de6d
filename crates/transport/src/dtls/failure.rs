//! Why a handshake or a connection ends: the reason for the session, and the alert for the peer.

use model::CloseReason;

/// Alert descriptions (RFC 5246 section 7.2, RFC 8422).
pub(super) mod alert {
    pub(in super::super) const CLOSE_NOTIFY: u8 = 0;
    pub(in super::super) const UNEXPECTED_MESSAGE: u8 = 10;
    pub(in super::super) const HANDSHAKE_FAILURE: u8 = 40;
    pub(in super::super) const BAD_CERTIFICATE: u8 = 42;
    pub(in super::super) const UNSUPPORTED_CERTIFICATE: u8 = 43;
    pub(in super::super) const ILLEGAL_PARAMETER: u8 = 47;
    pub(in super::super) const DECODE_ERROR: u8 = 50;
    pub(in super::super) const DECRYPT_ERROR: u8 = 51;
    pub(in super::super) const INTERNAL_ERROR: u8 = 80;

    pub(in super::super) const WARNING: u8 = 1;
    pub(in super::super) const FATAL: u8 = 2;
}

/// The failure that ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: CloseReason,
    /// The fatal alert for the peer; `None` if the peer ended the connection itself.
    pub(super) alert: Option<u8>,
}

impl Failure {
    /// The peer violated the protocol, or requires something that is not supported here.
    pub(super) const fn peer(alert: u8) -> Self {
        Self { reason: CloseReason::DtlsFailed, alert: Some(alert) }
    }

    /// A message that cannot be read.
    pub(super) const MALFORMED: Self = Self::peer(alert::DECODE_ERROR);
    /// A message that is not allowed at this point.
    pub(super) const UNEXPECTED: Self = Self::peer(alert::UNEXPECTED_MESSAGE);
    /// Nothing in common: version, cipher suite, group, extended master secret.
    pub(super) const NOTHING_IN_COMMON: Self = Self::peer(alert::HANDSHAKE_FAILURE);
    /// A signature or a Finished that is wrong.
    pub(super) const NOT_AUTHENTIC: Self = Self::peer(alert::DECRYPT_ERROR);
    /// No SRTP profile in common (RFC 5764 section 4.1.2).
    pub(super) const NO_SRTP_PROFILE: Self =
        Self { reason: CloseReason::NoSrtpProfile, alert: Some(alert::HANDSHAKE_FAILURE) };
    /// RFC 8122 section 6.2: the certificate does not have a promised fingerprint.
    pub(super) const FINGERPRINT: Self =
        Self { reason: CloseReason::FingerprintMismatch, alert: Some(alert::BAD_CERTIFICATE) };
    /// A certificate with a kind of key, or a signature of a kind, that is not accepted.
    pub(super) const UNSUPPORTED_CERTIFICATE: Self = Self {
        reason: CloseReason::CertificateUnsupported,
        alert: Some(alert::UNSUPPORTED_CERTIFICATE),
    };
    /// The peer sent a fatal alert.
    pub(super) const ENDED_BY_PEER: Self = Self { reason: CloseReason::DtlsFailed, alert: None };
    /// The cryptographic library failed, which no peer can cause.
    pub(super) const INTERNAL: Self =
        Self { reason: CloseReason::Internal, alert: Some(alert::INTERNAL_ERROR) };
}

//! Commands to the workers and events from them. A command concerns one session and goes to the worker that owns it; before
//! one does, it waits in the session's entry of the directory (crate `worker`).

use std::sync::Arc;

use crate::{Binding, IceCredentials, Mid, SessionId, SessionPlan, TrackId};

/// From signaling to the workers.
#[derive(Debug, Clone)]
pub enum Command {
    /// A session was agreed: from now on ICE checks for its ufrag are answered.
    Open(Arc<SessionPlan>),
    /// A session was renegotiated: the new plan of the same session. Media sections that stay keep their tracks, SSRCs,
    /// numbering and keys. ICE credentials and fingerprints in it are those of the session; [`Command::Restart`] changes
    /// the former, nothing changes the latter.
    Update(Arc<SessionPlan>),
    /// ICE restart (RFC 8445 section 9): new credentials; the old ones live three seconds more.
    Restart {
        /// Which session.
        session: SessionId,
        /// The new credentials of both sides.
        ice: IceCredentials,
    },
    /// Which tracks flow through the named slots from now on; slots that are not named stay as they are.
    Bind {
        /// The subscriber's session.
        session: SessionId,
        /// Each slot by its media section, and the track that flows through it; `None` pauses the slot.
        slots: Vec<(Mid, Option<Binding>)>,
    },
    /// Ends a session: the worker sends RTCP BYE and DTLS close_notify, and forgets it.
    Close {
        /// Which session.
        session: SessionId,
    },
}

impl Command {
    /// The session that it is about.
    pub fn session(&self) -> SessionId {
        match self {
            Command::Open(plan) | Command::Update(plan) => plan.id,
            Command::Restart { session, .. }
            | Command::Bind { session, .. }
            | Command::Close { session } => *session,
        }
    }
}

/// From the workers to signaling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are done; media may flow.
    Connected {
        /// Which session.
        session: SessionId,
    },
    /// Media of a track comes: its first packet, or the first one after [`Event::TrackSilent`].
    TrackActive {
        /// The publisher's session.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// No media of a track came for two seconds, though some had come before.
    TrackSilent {
        /// The publisher's session.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// The session is over; the worker has forgotten it.
    Closed {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

impl Event {
    /// The session that it is about.
    pub fn session(&self) -> SessionId {
        match self {
            Event::Connected { session }
            | Event::TrackActive { session, .. }
            | Event::TrackSilent { session, .. }
            | Event::Closed { session, .. } => *session,
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Signaling asked for it.
    Requested,
    /// The peer said goodbye (DTLS close_notify).
    PeerClosed,
    /// No consent for 30 s (RFC 7675 section 5.1).
    ConsentExpired,
    /// ICE and DTLS did not complete in time.
    NeverConnected,
    /// The certificate is not the one of the offer (RFC 8122 section 6).
    FingerprintMismatch,
    /// The certificate has a key, or makes a signature, of a kind that is not taken.
    CertificateUnsupported,
    /// The peer offers no SRTP profile that we know (RFC 5764 section 4.1.2).
    NoSrtpProfile,
    /// The DTLS handshake or connection failed.
    DtlsFailed,
    /// A panic in the node while it worked on this session; only this session was ended.
    Internal,
}

impl CloseReason {
    /// Label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Requested => "requested",
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::ConsentExpired => "consent_expired",
            CloseReason::NeverConnected => "never_connected",
            CloseReason::FingerprintMismatch => "fingerprint_mismatch",
            CloseReason::CertificateUnsupported => "certificate_unsupported",
            CloseReason::NoSrtpProfile => "no_srtp_profile",
            CloseReason::DtlsFailed => "dtls_failed",
            CloseReason::Internal => "internal",
        }
    }
}

//! Commands to the workers and events from them. A command concerns one session and goes to the worker that owns it; before
//! one does, it waits in the session's entry of the directory (crate `worker`).

use std::sync::Arc;

use crate::{
    Binding, DataReceived, DataToSend, IceCredentials, Mid, Quality, SessionId, SessionPlan,
    TrackId,
};

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
    /// A data message for the peer. It waits, within bounds, until the peer's data channels are open. At the bound lossy messages
    /// are dropped; where a reliable one is dropped, the worker says so ([`Event::DataLost`]).
    SendData {
        /// Which session.
        session: SessionId,
        /// The message. Those of one topic arrive in this order, if the topic is reliable.
        message: Arc<DataToSend>,
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
            | Command::SendData { session, .. }
            | Command::Close { session } => *session,
        }
    }
}

/// How loud an audio track is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// A smoothed level in -dBov: 0 is the loudest, 127 is silence.
    Level(u8),
    /// Sound comes, and its packets carry no level (RFC 6464): whether somebody speaks is not known.
    Unknown,
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
    /// The level of an audio track changed (RFC 6464). While somebody speaks it comes at most five times a second for a track; when
    /// the track falls below the threshold of speech it comes once more, with 127. Silent tracks cause no events. A track whose
    /// packets carry no level causes one each second, and one with 127 when its packets cease.
    AudioLevel {
        /// The publisher's session.
        session: SessionId,
        /// The track.
        track: TrackId,
        /// How loud it is.
        level: Loudness,
    },
    /// Nothing authentic came from the peer for some seconds; it may have lost its network. Its consent has not run out yet.
    Lost {
        /// Which session.
        session: SessionId,
    },
    /// Authentic datagrams of the peer come again after [`Event::Lost`].
    Back {
        /// Which session.
        session: SessionId,
    },
    /// The quality of the peer's connection changed. At most one every two seconds for a session.
    Quality {
        /// Which session.
        session: SessionId,
        /// What it is now.
        quality: Quality,
    },
    /// The SCTP association stands: data messages go over it from now on.
    DataOpen {
        /// Which session.
        session: SessionId,
    },
    /// The SCTP association ended, and the session goes on without it.
    DataClosed {
        /// Which session.
        session: SessionId,
    },
    /// The peer sent a data message.
    Data {
        /// Which session.
        session: SessionId,
        /// The message.
        message: DataReceived,
    },
    /// Reliable data messages for the peer were dropped, since too many waited.
    DataLost {
        /// Which session.
        session: SessionId,
        /// How many since the last such event.
        messages: u64,
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
            | Event::AudioLevel { session, .. }
            | Event::Lost { session }
            | Event::Back { session }
            | Event::Quality { session, .. }
            | Event::DataOpen { session }
            | Event::DataClosed { session }
            | Event::Data { session, .. }
            | Event::DataLost { session, .. }
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

//! What signaling agreed with one peer, as the packet path needs it. A plan is immutable; a renegotiation makes a new
//! plan for the same session.

use std::{net::SocketAddr, sync::Arc};

use crate::{CodecSpec, DataPlan, ExtensionMap, MediaKind, Mid, Pt, Rid, SessionId, Ssrc, TrackId};

/// Everything the packet path has to know about one peer connection.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    /// The session.
    pub id: SessionId,
    /// Both sides' ICE credentials.
    pub ice: IceCredentials,
    /// The node's role in the DTLS handshake.
    pub dtls_role: DtlsRole,
    /// Certificate fingerprints of the peer (RFC 8122); one of them must match.
    pub fingerprints: Vec<Fingerprint>,
    /// Header extension ids agreed for the bundle.
    pub extensions: ExtensionMap,
    /// Media sections that the peer sends.
    pub up: Vec<UpMedia>,
    /// Media sections that the peer receives (slots).
    pub down: Vec<DownMedia>,
    /// Data channels, where the peer has them.
    pub data: Option<DataPlan>,
    /// The peer accepts RTCP that is not a full compound packet (`a=rtcp-rsize`, RFC 5506).
    pub rtcp_reduced_size: bool,
    /// CNAME of all streams that the node sends to this peer.
    pub cname: String,
    /// Candidates of the peer's offer. An ICE-lite server never checks them, and the packet path does not use them.
    pub remote_candidates: Vec<SocketAddr>,
}

/// ICE credentials of both sides (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// The node's; begins the USERNAME of every check sent to the node.
    pub local_ufrag: String,
    /// The node's; the key of MESSAGE-INTEGRITY in checks sent to the node.
    pub local_pwd: String,
    /// The peer's ufrag.
    pub remote_ufrag: String,
    /// The peer's password.
    pub remote_pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords must not appear in logs.
        f.debug_struct("IceCredentials")
            .field("local_ufrag", &self.local_ufrag)
            .field("remote_ufrag", &self.remote_ufrag)
            .finish_non_exhaustive()
    }
}

/// The node's role in the DTLS handshake (RFC 8842 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// The node waits for the ClientHello (`a=setup:passive` in the answer). The default.
    Passive,
    /// The node begins (`a=setup:active` in the answer), because the peer's offer said `passive`.
    Active,
}

/// Hash of a certificate (RFC 8122 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function by its SDP name, lower case: `sha-256`, `sha-384`, `sha-512`.
    pub algorithm: String,
    /// The hash.
    pub bytes: Vec<u8>,
}

/// A media section that the peer sends: one [`TrackId`], one or several simulcast layers.
#[derive(Debug, Clone)]
pub struct UpMedia {
    /// The track's id on this node.
    pub track: TrackId,
    /// The media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The agreed codecs, the preferred one first.
    pub codecs: Vec<CodecSpec>,
    /// Simulcast layers by rid (RFC 8853), in the order of the offer; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Streams that the offer named by SSRC. May be empty; then the mid header extension assigns packets to this
    /// section.
    pub ssrcs: Vec<StreamSsrc>,
}

/// An SSRC and the SSRC of its retransmissions (`a=ssrc-group:FID`, RFC 5576).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSsrc {
    /// Media
    pub media: Ssrc,
    /// Retransmissions (RFC 4588)
    pub rtx: Option<Ssrc>,
}

/// A media section that the peer receives: a slot. It keeps its SSRC, whichever tracks flow through it.
#[derive(Debug, Clone)]
pub struct DownMedia {
    /// The media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The SSRCs with which the node sends.
    pub ssrc: StreamSsrc,
    /// The agreed codecs, the preferred one first.
    pub codecs: Vec<CodecSpec>,
}

/// The track that flows through a slot, and the mapping of its payload types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The track.
    pub track: TrackId,
    /// The session that publishes it.
    pub publisher: SessionId,
    /// One entry for each payload type of the publisher that the subscriber can take. Subscribers with the same codecs
    /// share one table.
    pub payload_types: Arc<[PtMapping]>,
}

/// A payload type of the publisher, and the subscriber's payload type for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtMapping {
    /// The publisher's payload type.
    pub up: Pt,
    /// The subscriber's payload type.
    pub down: Pt,
    /// The subscriber's payload type of retransmissions; `None`: packets are resent with the same SSRC.
    pub down_rtx: Option<Pt>,
    /// The publisher sends RED and the subscriber takes plain Opus: the primary block is unwrapped.
    pub unwrap_red: bool,
    /// RTP clock in hertz.
    pub clock_rate: u32,
}

//! What signaling agreed with one peer, as the packet path needs it. Immutable once made: a renegotiation makes a
//! new plan for the same session.

use std::{net::SocketAddr, sync::Arc};

use crate::{CodecSpec, ExtensionMap, MediaKind, Mid, Pt, Rid, SessionId, Ssrc, TrackId};

/// Everything the packet path has to know about one peer connection.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    /// Which session.
    pub id: SessionId,
    /// Both sides' ICE credentials.
    pub ice: IceCredentials,
    /// Our role in the DTLS handshake.
    pub dtls_role: DtlsRole,
    /// Certificate fingerprints of the peer (RFC 8122); one must match.
    pub fingerprints: Vec<Fingerprint>,
    /// Header extension ids agreed for the bundle.
    pub extensions: ExtensionMap,
    /// Media sections that the peer sends.
    pub up: Vec<UpMedia>,
    /// Media sections that the peer receives (slots).
    pub down: Vec<DownMedia>,
    /// The peer takes RTCP that is not a full compound packet (`a=rtcp-rsize`, RFC 5506).
    pub rtcp_reduced_size: bool,
    /// CNAME of everything that we send to this peer.
    pub cname: String,
    /// Candidates that the peer sent in its offer; an ICE-lite server never checks them, and the packet
    /// path has no use for them.
    pub remote_candidates: Vec<SocketAddr>,
}

/// ICE credentials of both sides (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Ours; begins the USERNAME of every check sent to us.
    pub local_ufrag: String,
    /// Ours; the key of MESSAGE-INTEGRITY in checks sent to us.
    pub local_pwd: String,
    /// The peer's.
    pub remote_ufrag: String,
    /// The peer's.
    pub remote_pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords appear in no log.
        f.debug_struct("IceCredentials")
            .field("local_ufrag", &self.local_ufrag)
            .field("remote_ufrag", &self.remote_ufrag)
            .finish_non_exhaustive()
    }
}

/// Who begins the DTLS handshake (RFC 8842 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We wait for the ClientHello (`a=setup:passive` in our answer). The default.
    Passive,
    /// We begin (`a=setup:active` in our answer), because the peer said `passive`.
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
    /// Codecs agreed, the preferred one first.
    pub codecs: Vec<CodecSpec>,
    /// Simulcast layers by rid (RFC 8853), in the order of the offer; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Streams that the offer named by SSRC; may be empty, then the mid header extension tells.
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

/// A media section that the peer receives: a slot, which keeps its SSRC for ever while tracks flow through it.
#[derive(Debug, Clone)]
pub struct DownMedia {
    /// The media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// SSRCs that we send with.
    pub ssrc: StreamSsrc,
    /// Codecs agreed, the preferred one first.
    pub codecs: Vec<CodecSpec>,
}

/// Which track flows through a slot, and how its payload types read there.
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

/// A payload type of the publisher, and what it becomes for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtMapping {
    /// At the publisher.
    pub up: Pt,
    /// At the subscriber.
    pub down: Pt,
    /// Retransmissions at the subscriber; none: resend with the same SSRC.
    pub down_rtx: Option<Pt>,
    /// The publisher sends RED and the subscriber takes plain Opus: the primary block is unwrapped.
    pub unwrap_red: bool,
    /// RTP clock in hertz.
    pub clock_rate: u32,
}

//! Measurements of one session, as the worker that owns it has them: values for a monitoring API. Reading them changes nothing.

use std::time::Duration;

use crate::{MediaKind, Mid, Path, Rid, SessionId, Ssrc, TrackId};

/// Measurements of one session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStats {
    /// The session.
    pub session: SessionId,
    /// The path that the node sends on; `None` before ICE has selected one.
    pub path: Option<Path>,
    /// Name of the agreed SRTP profile, as in `AEAD_AES_128_GCM` (RFC 7714, RFC 5764); `None` before the DTLS handshake is done.
    pub srtp_profile: Option<&'static str>,
    /// Round trip time to a publisher; `None` until it was measured. That of a viewer is in its sections.
    pub round_trip: Option<Duration>,
    /// Media sections that the peer sends.
    pub up: Vec<UpSection>,
    /// Media sections that the peer receives.
    pub down: Vec<DownSection>,
}

/// Takes the measurements of a session, on whatever thread has them: it must not block. It is dropped without a call when there
/// are none.
pub type StatsReply = Box<dyn FnOnce(SessionStats) + Send>;

/// Measurements of a media section that the peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpSection {
    /// The media section.
    pub mid: Mid,
    /// Its track.
    pub track: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Simulcast layers by rid, in the order of the layers in `stats`; empty without simulcast.
    pub rids: Vec<Rid>,
    /// The measurements.
    pub stats: UpStats,
}

/// Measurements of a media section that the peer receives (a slot).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownSection {
    /// The media section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The SSRC that the node sends with.
    pub ssrc: Ssrc,
    /// The measurements.
    pub stats: DownStats,
}

/// What was received of a track.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpStats {
    /// Its layers in the order of [`crate::UpMedia::rids`] or `ssrcs`; one without simulcast.
    pub layers: Vec<LayerStats>,
}

/// What was received of one layer. Counts are those since the layer began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerStats {
    /// Its SSRC; `None` before its first packet.
    pub ssrc: Option<Ssrc>,
    /// Packets accepted.
    pub packets: u64,
    /// Payload bytes accepted.
    pub octets: u64,
    /// Payload bits a second, over the last whole second.
    pub bitrate: u64,
    /// Packets that were requested by NACK and arrived.
    pub recovered: u64,
    /// Packets requested by NACK; each request counts.
    pub nacked: u64,
    /// Packets given up.
    pub lost: u64,
    /// Key frames received.
    pub key_frames: u64,
    /// Key frame requests sent.
    pub keyframe_requests: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
}

/// What was sent through a slot. Counts are those since the slot was made, over all tracks that flowed through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DownStats {
    /// The track that is bound.
    pub track: Option<TrackId>,
    /// The layer that flows; `None` while nothing does.
    pub layer: Option<u8>,
    /// Packets written, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes written, retransmissions not counted.
    pub octets: u64,
    /// Payload bits a second over the last whole second, retransmissions included.
    pub bitrate: u64,
    /// Retransmissions written.
    pub rtx_packets: u64,
    /// Payload bytes of retransmissions.
    pub rtx_octets: u64,
    /// Packets that the subscriber asked for again, each time counted, whether they were there or not.
    pub nacked: u64,
    /// Key frames that the subscriber asked for: PLI and FIR.
    pub keyframe_requests: u64,
    /// Key frames written.
    pub key_frames: u64,
    /// Crossings to another layer or track, the start included.
    pub splices: u64,
    /// Round trip time by the last receiver report that answers a sender report of ours.
    pub rtt: Option<Duration>,
    /// Share of packets lost by the last receiver report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, by the last receiver report.
    pub cumulative_lost: i32,
    /// Jitter by the last receiver report.
    pub jitter: Duration,
}

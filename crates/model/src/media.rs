//! Codecs, header extensions and payload type tables, which signaling agrees and the packet path uses.

use std::sync::Arc;

use crate::Pt;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

impl MediaKind {
    /// `audio` or `video`, as in an m-line.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        }
    }
}

/// The codecs that the node forwards. It never decodes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7587
    Opus,
    /// Redundant audio around Opus, RFC 2198
    Red,
    /// RFC 7741
    Vp8,
    /// RFC 9628
    Vp9,
    /// RFC 6184
    H264,
    /// RFC 7798
    H265,
    /// AV1 RTP payload specification, version 1.0
    Av1,
}

impl Codec {
    /// Name in an `a=rtpmap` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Red => "red",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Av1 => "AV1",
        }
    }

    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Codec::Opus | Codec::Red => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }
}

/// Feedback that was agreed for a codec (RFC 4585, RFC 5104, transport-cc).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Feedback {
    /// Generic NACK
    pub nack: bool,
    /// Picture loss indication
    pub pli: bool,
    /// Full intra request
    pub fir: bool,
    /// Transport-wide congestion control feedback
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate
    pub remb: bool,
}

/// One codec of a media section, with the payload types that were agreed for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodecSpec {
    /// Payload type of the media.
    pub pt: Pt,
    /// Payload type of its retransmissions (RFC 4588), if agreed.
    pub rtx_pt: Option<Pt>,
    /// The codec.
    pub codec: Codec,
    /// RTP clock in hertz.
    pub clock_rate: u32,
    /// Audio channels as in the rtpmap; 1 for video.
    pub channels: u8,
    /// The agreed parameters, `a=1;b=2`; empty when there are none.
    pub fmtp: String,
    /// The agreed feedback.
    pub feedback: Feedback,
    /// Parameter sets that the publisher put into its offer (`sprop-parameter-sets`, RFC 6184 section 8.1;
    /// `sprop-vps`, `-sps` and `-pps`, RFC 7798 section 7.1): NAL units without start codes, in the order in which a
    /// decoder needs them; at most 16, with 4 KiB in all. They are sent before a key frame that has none. `None` for
    /// audio, for other codecs, and in slots.
    pub parameter_sets: Option<Arc<[Box<[u8]>]>>,
}

/// Header extensions that the node uses or forwards (RFC 8285).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143)
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852)
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852)
    RepairedRid,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    AbsSendTime,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    TransportCc,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    AudioLevel,
    /// `urn:3gpp:video-orientation` (3GPP TS 26.114)
    VideoOrientation,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    PlayoutDelay,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    DependencyDescriptor,
}

impl Extension {
    /// All extensions; an extension's position is its discriminant.
    pub const ALL: [Extension; 9] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AbsSendTime,
        Extension::TransportCc,
        Extension::AudioLevel,
        Extension::VideoOrientation,
        Extension::PlayoutDelay,
        Extension::DependencyDescriptor,
    ];

    /// URI in an `a=extmap` line.
    pub fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::VideoOrientation => "urn:3gpp:video-orientation",
            Extension::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// The extension with this URI.
    pub fn from_uri(uri: &str) -> Option<Extension> {
        Extension::ALL.into_iter().find(|e| e.uri() == uri)
    }
}

/// The id of each extension in one session. In a bundle an id has one meaning (RFC 8843 section 9.2), so one map
/// serves all media sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionMap {
    ids: [u8; Extension::ALL.len()],
}

impl Default for ExtensionMap {
    fn default() -> Self {
        Self::new()
    }
}

impl ExtensionMap {
    /// An empty map.
    pub const fn new() -> Self {
        Self { ids: [0; Extension::ALL.len()] }
    }

    /// Sets the id of an extension: 1 to 14 (one-byte form) or 1 to 255 except 15 (two-byte form). 0 removes it.
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }

    /// The id of an extension.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        match self.ids[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension with this id.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        if id == 0 {
            return None;
        }
        self.ids.iter().position(|&i| i == id).map(|at| Extension::ALL[at])
    }

    /// All extensions that have an id.
    pub fn iter(&self) -> impl Iterator<Item = (Extension, u8)> + '_ {
        Extension::ALL.into_iter().zip(self.ids).filter(|&(_, id)| id != 0)
    }

    /// Whether an id needs the two-byte form (RFC 8285 section 4.3).
    pub fn needs_two_byte(&self) -> bool {
        self.ids.iter().any(|&id| id > 14)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_ids_map_both_ways() {
        let mut map = ExtensionMap::new();
        map.set(Extension::Mid, 4);
        map.set(Extension::TransportCc, 3);
        assert_eq!(map.extension(4), Some(Extension::Mid));
        assert_eq!(map.extension(0), None);
        assert_eq!(map.extension(9), None);
        assert_eq!(map.id(Extension::Rid), None);
        assert_eq!(map.iter().count(), 2);
        for e in Extension::ALL {
            assert_eq!(Extension::from_uri(e.uri()), Some(e));
            assert_eq!(Extension::ALL[e as usize], e);
        }
    }
}

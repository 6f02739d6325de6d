//! The media of attackers: streams as offer and answer define them, with payloads that a node accepts as VP8.

use model::{Codec, Extension, MediaKind, Mid, Pt, Ssrc, StreamSsrc};

use crate::{
    describe::{OfferedSection, OfferedSending},
    hostile::peer::{Packet, Peer},
    random::Random,
};

/// Ticks of the 90 kHz clock between two pictures.
const PICTURE: u32 = 3_000;
/// The rid of the only layer.
const LAYER: &str = "h";

/// A section that sends one VP8 stream.
pub(super) fn video(random: &mut Random) -> OfferedSection {
    let (media, rtx) = (Ssrc(random.ssrc()), Some(Ssrc(random.ssrc())));
    let sending = Some(OfferedSending::Single(StreamSsrc { media, rtx }));
    OfferedSection { kind: MediaKind::Video, codecs: vec![Codec::Vp8], sending, levels: false }
}

/// A section that sends VP8 and names no SSRC (RFC 8853, one layer). Only of this form an offer may have as many as it
/// may have sections.
pub(super) fn nameless_video() -> OfferedSection {
    let sending = Some(OfferedSending::Simulcast(vec![LAYER]));
    OfferedSection { kind: MediaKind::Video, codecs: vec![Codec::Vp8], sending, levels: false }
}

/// A section that receives video.
pub(super) fn watched_video() -> OfferedSection {
    OfferedSection {
        kind: MediaKind::Video,
        codecs: vec![Codec::Vp8],
        sending: None,
        levels: false,
    }
}

/// Sections that receive one audio and one video track.
pub(super) fn watching() -> Vec<OfferedSection> {
    let kind = MediaKind::Audio;
    let sound = OfferedSection { kind, codecs: vec![Codec::Opus], sending: None, levels: false };
    vec![sound, watched_video()]
}

/// A stream that an attacker sends.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) ssrc: Ssrc,
    /// Extended sequence number of the next packet.
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pt: Pt,
    mid: Mid,
    /// The agreed id of the MID extension; 0, which the writer leaves out, if it was not agreed.
    mid_id: u8,
    /// The agreed id of the rid extension, likewise.
    rid_id: u8,
}

/// The streams of the agreed sections.
pub(super) fn streams(
    peer: &Peer,
    sections: &[OfferedSection],
    random: &mut Random,
) -> Vec<Stream> {
    let id = |extension| peer.answer.extensions.id(extension).unwrap_or(0);
    let mid_id = id(Extension::Mid);
    let agreed = peer.answer.sections.iter();
    let streams = agreed.filter_map(|section| {
        let (ssrc, rid_id) = match sections.get(section.index)?.sending.as_ref()? {
            OfferedSending::Single(ssrcs) => (ssrcs.media, 0),
            OfferedSending::Simulcast(_) => (Ssrc(random.ssrc()), id(Extension::Rid)),
        };
        let (pt, mid) = (section.codecs.first()?.pt, section.mid);
        Some(Stream { ssrc, sequence: 1, timestamp: 0, pt, mid, mid_id, rid_id })
    });
    streams.collect()
}

impl Stream {
    /// Sends the next packet, which is a whole picture; false when it could not be encrypted.
    pub(super) fn send(&mut self, peer: &mut Peer, payload: &[u8]) -> bool {
        let sent = peer.rtp(&Packet {
            ssrc: self.ssrc,
            pt: self.pt,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: true,
            extensions: &[(self.mid_id, self.mid.as_bytes()), (self.rid_id, LAYER.as_bytes())],
            payload,
        });
        self.sequence += 1;
        self.timestamp = self.timestamp.wrapping_add(PICTURE);
        sent
    }
}

/// The payload of a VP8 packet that is a whole picture (RFC 7741 section 4): a key frame or an inter frame.
pub(super) fn vp8(key: bool, len: usize) -> Vec<u8> {
    let mut payload = vec![0x55; len.max(16)];
    // S = 1, PID = 0; then the frame header, whose lowest bit means "no key frame", and a key frame's start code and
    // size.
    payload[0] = 0x10;
    payload[1] = if key { 0x10 } else { 0x11 };
    if key {
        payload[4..11].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_takes_the_pictures_for_what_they_are() {
        for key in [true, false] {
            let payload = vp8(key, 200);
            assert_eq!(payload.len(), 200);
            let info = rtp::payload::inspect(Codec::Vp8, &payload, None);
            assert_eq!((info.keyframe_start, info.frame_start), (key, true));
        }
        assert_eq!(vp8(true, 3).len(), 16);
    }
}

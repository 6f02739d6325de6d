//! Makes RTP packets of encoded frames: VP8 (RFC 7741) and Opus (RFC 7587). Plain RTP without extensions.

use model::{Pt, Ssrc};

/// Largest payload of a video packet. Leaves room for what subscribers' packets carry more: header extensions and the
/// authentication tag, below 1,200 bytes in all.
const MAX_PAYLOAD: usize = 1_100;
const RTP_HEADER_LEN: usize = 12;
const DESCRIPTOR_LEN: usize = 4;

/// Sequence numbers and the fixed header of one stream (RFC 3550 section 5.1).
#[derive(Debug)]
pub(crate) struct RtpStream {
    ssrc: Ssrc,
    pt: Pt,
    sequence: u16,
}

impl RtpStream {
    /// A stream that begins with this sequence number.
    pub(crate) fn new(ssrc: Ssrc, pt: Pt, sequence: u16) -> Self {
        Self { ssrc, pt, sequence }
    }

    /// Its SSRC.
    pub(crate) fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    fn begin(&mut self, packet: &mut Vec<u8>, marker: bool, timestamp: u32) {
        packet.clear();
        packet.extend([0x80, (u8::from(marker) << 7) | self.pt.0]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.0.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Makes packets of VP8 frames.
#[derive(Debug)]
pub(crate) struct Vp8Packetizer {
    stream: RtpStream,
    picture_id: u16,
    packet: Vec<u8>,
}

impl Vp8Packetizer {
    /// A packetizer that begins with this picture id (15 bits).
    pub(crate) fn new(stream: RtpStream, picture_id: u16) -> Self {
        let packet = Vec::with_capacity(RTP_HEADER_LEN + DESCRIPTOR_LEN + MAX_PAYLOAD);
        Self { stream, picture_id: picture_id & 0x7fff, packet }
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &RtpStream {
        &self.stream
    }

    /// Gives the packets of one frame to `send`, in parts of nearly one size: trains of packets want that.
    pub(crate) fn packetize(&mut self, frame: &[u8], timestamp: u32, mut send: impl FnMut(&[u8])) {
        let count = frame.len().div_ceil(MAX_PAYLOAD - DESCRIPTOR_LEN).max(1);
        let part = frame.len().div_ceil(count).max(1);
        let last = frame.chunks(part).count().saturating_sub(1);
        for (at, chunk) in frame.chunks(part).enumerate() {
            // The marker ends the frame (RFC 7741 section 4.1).
            self.stream.begin(&mut self.packet, at == last, timestamp);
            // X: extended; S: a partition starts, and it is partition 0 (RFC 7741 section 4.2).
            self.packet.push(0x80 | (u8::from(at == 0) << 4));
            // I: a picture id follows; M: of 15 bits.
            self.packet.push(0x80);
            self.packet.extend((0x8000 | self.picture_id).to_be_bytes());
            self.packet.extend_from_slice(chunk);
            send(&self.packet);
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
    }
}

/// Makes packets of Opus packets: one each (RFC 7587 section 4.2).
#[derive(Debug)]
pub(crate) struct OpusPacketizer {
    stream: RtpStream,
    packet: Vec<u8>,
}

impl OpusPacketizer {
    /// A packetizer.
    pub(crate) fn new(stream: RtpStream) -> Self {
        Self { stream, packet: Vec::with_capacity(RTP_HEADER_LEN + MAX_PAYLOAD) }
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &RtpStream {
        &self.stream
    }

    /// Gives the packet of one Opus packet to `send`. The sound never pauses, so no packet starts a talk spurt.
    pub(crate) fn packetize(&mut self, opus: &[u8], timestamp: u32, mut send: impl FnMut(&[u8])) {
        self.stream.begin(&mut self.packet, false, timestamp);
        self.packet.extend_from_slice(opus);
        send(&self.packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_evenly_and_can_be_joined_again() {
        let stream = RtpStream::new(Ssrc(0x01020304), Pt(96), 65_535);
        let mut packetizer = Vp8Packetizer::new(stream, 0x7fff);
        for (len, count) in [(1, 1), (1_096, 1), (1_097, 2), (5_000, 5)] {
            let frame: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut packets: Vec<Vec<u8>> = Vec::new();
            packetizer.packetize(&frame, 7, |packet| packets.push(packet.to_vec()));
            assert_eq!(packets.len(), count);
            let mut joined: Vec<u8> = Vec::new();
            for (at, packet) in packets.iter().enumerate() {
                assert_eq!(packet[0], 0x80);
                assert_eq!(packet[1] == 0x80 | 96, at + 1 == count, "marker on the last");
                assert_eq!(packet[4..12], [0, 0, 0, 7, 1, 2, 3, 4]);
                assert_eq!(packet[12], if at == 0 { 0x90 } else { 0x80 });
                assert_eq!(packet[13..16], packets[0][13..16], "one picture id");
                assert!(packet.len() <= RTP_HEADER_LEN + MAX_PAYLOAD);
                joined.extend(&packet[16..]);
            }
            assert_eq!(joined, frame);
            let sizes: Vec<usize> = packets.iter().map(Vec::len).collect();
            assert!(sizes[..count - 1].iter().all(|&size| size == sizes[0]));
        }
        assert_eq!(packetizer.picture_id, 3, "wrapped at 15 bits");
        assert_eq!(packetizer.stream.sequence, 8, "wrapped at 16 bits");
    }

    #[test]
    fn opus_packets_follow_the_header() {
        let mut packetizer = OpusPacketizer::new(RtpStream::new(Ssrc(1), Pt(111), 5));
        let mut packets = Vec::new();
        packetizer.packetize(&[9, 8, 7], 960, |packet| packets.push(packet.to_vec()));
        assert_eq!(packets, [vec![0x80, 111, 0, 5, 0, 0, 3, 0xc0, 0, 0, 0, 1, 9, 8, 7]]);
    }
}

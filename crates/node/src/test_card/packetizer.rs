//! Packetizes encoded frames: VP8 (RFC 7741) and Opus (RFC 7587). The packets have all metadata that ingest would add,
//! because they enter the node behind it.

use model::{Codec, NtpTime, Pt};
use router::{Relayed, StreamId};
use rtp::ParsedExtensions;
use rtp::sequence::ExtSeq;

/// The largest payload of a video packet. It leaves room for header extensions and the authentication tag, which the
/// subscribers' packets add: they stay below 1,200 bytes.
const MAX_PAYLOAD: usize = 1_100;
const DESCRIPTOR_LEN: usize = 4;

/// What all packets of one track share, and the number of the next one.
#[derive(Debug)]
pub(crate) struct Track {
    up: u8,
    codec: Codec,
    pt: Pt,
    clock_rate: u32,
    seq: ExtSeq,
}

impl Track {
    /// The track at position `up` of the session's plan.
    pub(crate) fn new(up: u8, codec: Codec, pt: Pt, clock_rate: u32) -> Self {
        Self { up, codec, pt, clock_rate, seq: ExtSeq(0) }
    }

    /// The metadata of a packet.
    fn head(&mut self, marker: bool, at: Moment, payload: &[u8]) -> Relayed {
        let seq = self.seq;
        self.seq = seq.next();
        Relayed {
            up: self.up,
            stream: StreamId::new(0, 0),
            seq,
            timestamp: at.timestamp,
            marker,
            pt: self.pt,
            clock_rate: self.clock_rate,
            ext: ParsedExtensions::default(),
            descriptor: Vec::new(),
            info: rtp::payload::inspect(self.codec, payload, None),
            capture: Some(at.capture),
        }
    }
}

/// The time at which a frame is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// As an RTP timestamp.
    pub(crate) timestamp: u32,
    /// On the node's clock.
    pub(crate) capture: NtpTime,
}

/// Packetizes VP8 frames.
#[derive(Debug)]
pub(crate) struct Vp8Packetizer {
    track: Track,
    picture_id: u16,
    packet: Vec<u8>,
}

impl Vp8Packetizer {
    /// A packetizer whose first picture id (15 bits) is this one.
    pub(crate) fn new(track: Track, picture_id: u16) -> Self {
        let packet = Vec::with_capacity(MAX_PAYLOAD);
        Self { track, picture_id: picture_id & 0x7fff, packet }
    }

    /// Passes the packets of one frame to `send`. They have nearly the same size, since trains need equal sizes.
    pub(crate) fn packetize(
        &mut self,
        frame: &[u8],
        moment: Moment,
        mut send: impl FnMut(Relayed, &[u8]),
    ) {
        let count = frame.len().div_ceil(MAX_PAYLOAD - DESCRIPTOR_LEN).max(1);
        let part = frame.len().div_ceil(count).max(1);
        let last = frame.chunks(part).count().saturating_sub(1);
        for (at, chunk) in frame.chunks(part).enumerate() {
            self.packet.clear();
            // X: extended; S: a partition starts, and it is partition 0 (RFC 7741 section 4.2).
            self.packet.push(0x80 | (u8::from(at == 0) << 4));
            // I: a picture id follows; M: of 15 bits.
            self.packet.push(0x80);
            self.packet.extend((0x8000 | self.picture_id).to_be_bytes());
            self.packet.extend_from_slice(chunk);
            // The marker ends the frame (RFC 7741 section 4.1).
            let head = self.track.head(at == last, moment, &self.packet);
            send(head, &self.packet);
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
    }
}

/// Packetizes Opus packets: one RTP packet for each (RFC 7587 section 4.2).
#[derive(Debug)]
pub(crate) struct OpusPacketizer {
    track: Track,
}

impl OpusPacketizer {
    /// A packetizer.
    pub(crate) fn new(track: Track) -> Self {
        Self { track }
    }

    /// Passes the RTP packet of one Opus packet to `send`. The sound never pauses, so no packet has the marker of a
    /// talk spurt.
    pub(crate) fn packetize(
        &mut self,
        opus: &[u8],
        moment: Moment,
        mut send: impl FnMut(Relayed, &[u8]),
    ) {
        send(self.track.head(false, moment, opus), opus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { timestamp: 7, capture: NtpTime(9 << 32) };

    #[test]
    fn frames_are_cut_evenly_and_can_be_joined_again() {
        let track = Track::new(0, Codec::Vp8, Pt(96), 90_000);
        let mut packetizer = Vp8Packetizer::new(track, 0x7fff);
        let mut seq = 0;
        for (len, count) in [(1, 1), (1_096, 1), (1_097, 2), (5_000, 5)] {
            let frame: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut packets: Vec<(Relayed, Vec<u8>)> = Vec::new();
            packetizer.packetize(&frame, MOMENT, |head, p| packets.push((head, p.to_vec())));
            assert_eq!(packets.len(), count);
            let mut joined: Vec<u8> = Vec::new();
            for (at, (head, packet)) in packets.iter().enumerate() {
                assert_eq!(head.marker, at + 1 == count, "marker on the last");
                assert_eq!(
                    (head.up, head.pt, head.timestamp, head.seq),
                    (0, Pt(96), 7, ExtSeq(seq))
                );
                assert_eq!(head.capture, Some(MOMENT.capture));
                assert_eq!(head.info.frame_start, at == 0);
                assert_eq!(packet[0], if at == 0 { 0x90 } else { 0x80 });
                assert_eq!(packet[1..4], packets[0].1[1..4], "one picture id");
                assert!(packet.len() <= MAX_PAYLOAD);
                joined.extend(&packet[4..]);
                seq += 1;
            }
            assert_eq!(joined, frame);
            let sizes: Vec<usize> = packets.iter().map(|(_, p)| p.len()).collect();
            assert!(sizes[..count - 1].iter().all(|&size| size == sizes[0]));
        }
        assert_eq!(packetizer.picture_id, 3, "wrapped at 15 bits");
    }

    #[test]
    fn opus_packets_are_sent_as_they_are() {
        let mut packetizer = OpusPacketizer::new(Track::new(1, Codec::Opus, Pt(111), 48_000));
        let mut packets = Vec::new();
        packetizer.packetize(&[9, 8, 7], MOMENT, |head, p| packets.push((head, p.to_vec())));
        let [(head, payload)] = &packets[..] else { panic!("one packet") };
        assert_eq!((head.up, head.pt, head.marker), (1, Pt(111), false));
        assert_eq!(payload[..], [9, 8, 7]);
    }
}

//! RTP headers and payloads, against an independent implementation.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use model::{Codec, Pt, Ssrc};
use proptest::prelude::*;
use rtc_rtp::packetizer::Payloader;
use rtc_shared::marshal::{Marshal, Unmarshal};
use sfumato_rtp::{HeaderWriter, RtpPacket, payload};

fn theirs() -> impl Strategy<Value = rtc_rtp::Packet> {
    let fields = (any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>());
    let csrcs = prop::collection::vec(any::<u32>(), 0..16);
    let value = prop::collection::vec(any::<u8>(), 1..=16);
    let extensions = prop::collection::btree_map(1u8..=14, value, 0..6);
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (fields, csrcs, extensions, any::<bool>(), payload).prop_map(
        |((marker, pt, sequence, timestamp, ssrc), csrc, extensions, two_byte, payload)| {
            let mut header = rtc_rtp::Header {
                version: 2,
                marker,
                payload_type: pt,
                sequence_number: sequence,
                timestamp,
                ssrc,
                csrc,
                ..Default::default()
            };
            if !extensions.is_empty() && two_byte {
                header.extension = true;
                header.extension_profile = 0x1000;
            }
            for (id, value) in extensions {
                header.set_extension(id, value.into()).unwrap();
            }
            rtc_rtp::Packet { header, payload: payload.into() }
        },
    )
}

proptest! {
    #[test]
    fn what_they_write_we_read(packet in theirs()) {
        let bytes = packet.marshal().unwrap();
        let ours = RtpPacket::parse(&bytes).unwrap();
        let header = &packet.header;
        prop_assert_eq!(ours.marker(), header.marker);
        prop_assert_eq!(ours.pt(), Pt(header.payload_type));
        prop_assert_eq!(ours.sequence(), header.sequence_number);
        prop_assert_eq!(ours.timestamp(), header.timestamp);
        prop_assert_eq!(ours.ssrc(), Ssrc(header.ssrc));
        prop_assert!(ours.csrcs().eq(header.csrc.iter().copied().map(Ssrc)));
        prop_assert_eq!(ours.payload(), &packet.payload[..]);
        let read: Vec<(u8, &[u8])> = ours.extensions().map(Result::unwrap).collect();
        let written: Vec<(u8, &[u8])> =
            header.extensions.iter().map(|e| (e.id, &e.payload[..])).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn what_we_write_they_read(
        marker: bool, pt in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
        pairs in prop::collection::btree_map(1u8..=16, prop::collection::vec(any::<u8>(), 1..20), 0..6),
    ) {
        let header = HeaderWriter { marker, pt: Pt(pt), sequence, timestamp, ssrc: Ssrc(ssrc) };
        // RFC 8285 section 4.2 reserves 15.
        let pairs: Vec<(u8, &[u8])> =
            pairs.iter().filter(|(id, _)| **id != 15).map(|(id, v)| (*id, &v[..])).collect();
        let mut out = [0; 400];
        let len = header.write(&mut out, &pairs).unwrap();
        let read = rtc_rtp::Header::unmarshal(&mut &out[..len]).unwrap();
        prop_assert_eq!(read.marker, marker);
        prop_assert_eq!(read.payload_type, pt);
        prop_assert_eq!(read.sequence_number, sequence);
        prop_assert_eq!(read.timestamp, timestamp);
        prop_assert_eq!(read.ssrc, ssrc);
        let theirs: Vec<(u8, &[u8])> =
            read.extensions.iter().map(|e| (e.id, &e.payload[..])).collect();
        prop_assert_eq!(theirs, pairs);
    }
}

/// Splits a frame into payloads with the other implementation's packetizer and reads each: `(keyframe_start,
/// frame_start)`.
fn inspected(codec: Codec, payloader: &mut dyn Payloader, frame: Vec<u8>) -> Vec<(bool, bool)> {
    let payloads = payloader.payload(300, &frame.into()).unwrap();
    assert!(!payloads.is_empty());
    payloads
        .iter()
        .map(|p| {
            let info = payload::inspect(codec, p, None);
            (info.keyframe_start, info.frame_start)
        })
        .collect()
}

/// An Annex B stream of these NAL units.
fn annex_b(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|u| [&[0, 0, 0, 1], *u].concat()).collect()
}

#[test]
fn vp8_frames_of_their_packetizer() {
    let mut payloader = rtc_rtp::codec::vp8::Vp8Payloader::default();
    payloader.enable_picture_id = true;
    let key = inspected(Codec::Vp8, &mut payloader, [&[0x10][..], &[0xaa; 999]].concat());
    assert_eq!(key, [(true, true), (false, false), (false, false), (false, false)]);
    let inter = inspected(Codec::Vp8, &mut payloader, [&[0x11][..], &[0xaa; 399]].concat());
    assert_eq!(inter, [(false, true), (false, false)]);
    for id in 2..200u16 {
        let payloads = payloader.payload(300, &vec![0x11; 20].into()).unwrap();
        let fields = payload::vp8::parse(&payloads[0]).unwrap();
        assert_eq!(fields.picture_id.map(|p| (p.value, p.is_15_bit)), Some((id, id > 127)));
    }
}

#[test]
fn vp9_frames_of_their_packetizer() {
    let mut payloader = rtc_rtp::codec::vp9::Vp9Payloader::default();
    let starts = inspected(Codec::Vp9, &mut payloader, vec![0x82; 700]);
    assert_eq!(starts, [(true, true), (false, false), (false, false)]);
    let payloads = payloader.payload(300, &vec![0x82; 700].into()).unwrap();
    let ends: Vec<bool> =
        payloads.iter().map(|p| payload::inspect(Codec::Vp9, p, None).frame_end).collect();
    assert_eq!(ends, [false, false, true]);
}

#[test]
fn h264_frames_of_their_packetizer() {
    let mut payloader = rtc_rtp::codec::h264::H264Payloader::default();
    let idr = [&[0x65, 0x88][..], &[0xaa; 698]].concat();
    let key = annex_b(&[&[0x67, 0x42, 0xe0, 0x1f], &[0x68, 0xce, 0x3c, 0x80], &idr]);
    let key = inspected(Codec::H264, &mut payloader, key);
    assert_eq!(key[0], (false, true), "parameter sets in one packet");
    assert_eq!(key[1], (true, true), "the first fragment of the picture");
    assert!(key[2..].iter().all(|flags| *flags == (false, false)));
    let inter = annex_b(&[&[&[0x41, 0x9a][..], &[0xaa; 400]].concat()]);
    let inter = inspected(Codec::H264, &mut payloader, inter);
    assert_eq!(inter, [(false, true), (false, false)]);
}

#[test]
fn h265_frames_of_their_packetizer() {
    let mut payloader = rtc_rtp::codec::h265::HevcPayloader;
    let idr = [&[19 << 1, 1, 0x80][..], &[0xaa; 700]].concat();
    let key = annex_b(&[&[32 << 1, 1, 9, 9], &[33 << 1, 1, 9, 9], &[34 << 1, 1, 9, 9], &idr]);
    let key = inspected(Codec::H265, &mut payloader, key);
    assert_eq!(key[0], (false, true), "parameter sets");
    assert_eq!(key.iter().filter(|flags| flags.0).count(), 1, "{key:?}");
    let inter = annex_b(&[&[&[1 << 1, 1, 0x80][..], &[0xaa; 400]].concat()]);
    let inter = inspected(Codec::H265, &mut payloader, inter);
    assert_eq!(inter[0], (false, true));
    assert!(inter[1..].iter().all(|flags| *flags == (false, false)));
}

#[test]
fn av1_frames_of_their_packetizer() {
    let mut payloader = rtc_rtp::codec::av1::Av1Payloader {};
    // OBUs with their size: a sequence header of 3 bytes, a frame of 500.
    let frame = |first| [&[0x32, 0xf4, 0x03, first][..], &[0xaa; 499]].concat();
    let key = [&[0x0a, 3, 1, 2, 3][..], &frame(0x10)].concat();
    let key = inspected(Codec::Av1, &mut payloader, key);
    assert_eq!(key, [(true, true), (false, false)]);
    let inter = inspected(Codec::Av1, &mut payloader, frame(0x30));
    assert_eq!(inter, [(false, true), (false, false)]);
    let both = [&[0x0a, 3, 1, 2, 3][..], &frame(0x30)].concat();
    let both = inspected(Codec::Av1, &mut payloader, both);
    assert_eq!(both, [(false, true), (false, false)], "a sequence header is no key frame");
}

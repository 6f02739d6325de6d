//! Bytes of an attacker: invalid ones are refused, and no function panics or runs without end.

use model::{Codec, Extension, ExtensionMap};
use proptest::prelude::*;
use sfumato_rtp::rtcp::{CompoundIter, RtcpError, RtcpPacket, XrBlock, validate};
use sfumato_rtp::{
    MAX_PACKET, ParsedExtensions, RtpError, RtpPacket, parse_header_unprotected, payload,
};

const CODECS: [Codec; 7] =
    [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// Every extension under an id of the one-byte form.
fn map() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    for (i, extension) in Extension::ALL.into_iter().enumerate() {
        map.set(extension, i as u8 + 1);
    }
    map
}

/// A header with these bits in its first byte, and `rest` after its twelve bytes.
fn rtp(bits: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | bits, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend(rest);
    bytes
}

/// The error that a packet ends with, in whichever step it occurs.
fn refused(bytes: &[u8]) -> Option<RtpError> {
    match RtpPacket::parse(bytes) {
        Ok(packet) => ParsedExtensions::parse(packet.header(), &map()).err(),
        Err(error) => Some(error),
    }
}

#[test]
fn padding_of_0_or_past_the_payload_is_refused() {
    assert_eq!(refused(&rtp(0x20, &[1, 2, 3, 0])), Some(RtpError::Padding));
    assert_eq!(refused(&rtp(0x20, &[1, 2, 3, 5])), Some(RtpError::Padding));
    assert_eq!(refused(&rtp(0x20, &[])), Some(RtpError::Padding));
    assert_eq!(refused(&rtp(0x20, &[1, 2, 3, 4])), None);
    // Padding may not reach into the extension block either.
    assert_eq!(refused(&rtp(0x30, &[0xbe, 0xde, 0, 1, 0, 0, 0, 2, 2])), Some(RtpError::Padding));
}

#[test]
fn extension_lengths_that_overrun_are_refused() {
    assert_eq!(refused(&rtp(0x10, &[])), Some(RtpError::HeaderOverrun));
    assert_eq!(refused(&rtp(0x10, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0])), Some(RtpError::HeaderOverrun));
    assert_eq!(
        refused(&rtp(0x10, &[0xbe, 0xde, 0xff, 0xff, 0, 0, 0, 0])),
        Some(RtpError::HeaderOverrun)
    );
    // An element that exceeds its block, though not the packet.
    assert_eq!(
        refused(&rtp(0x10, &[0xbe, 0xde, 0, 1, 0xa3, 1, 2, 3, 4, 5, 6])),
        Some(RtpError::ExtensionOverrun)
    );
    assert_eq!(
        refused(&rtp(0x10, &[0x10, 0, 0, 1, 40, 3, 1, 2, 3, 4, 5])),
        Some(RtpError::ExtensionOverrun)
    );
    assert_eq!(
        refused(&rtp(0x10, &[0x10, 0, 0, 1, 0, 0, 0, 40])),
        Some(RtpError::ExtensionOverrun),
        "no length byte"
    );
    assert_eq!(refused(&rtp(0x0f, &[0; 59])), Some(RtpError::HeaderOverrun), "15 CSRCs");
}

#[test]
fn extension_id_15_ends_the_list_and_the_packet_stays() {
    let block = [0xbe, 0xde, 0, 1, 0xf0, 1, 0, 0];
    assert_eq!(refused(&rtp(0x10, &block)), None);
}

#[test]
fn packets_over_1500_bytes_are_refused() {
    assert_eq!(MAX_PACKET, 1500);
    let bytes = rtp(0, &[0; 1500 - 12]);
    assert_eq!(refused(&bytes), None);
    let bytes = rtp(0, &[0; 1501 - 12]);
    assert_eq!(refused(&bytes), Some(RtpError::TooLong));
    assert_eq!(parse_header_unprotected(&bytes).err(), Some(RtpError::TooLong));
}

/// The only packet of `bytes`, or the error.
fn rtcp(bytes: &[u8]) -> Result<usize, RtcpError> {
    validate(bytes)
}

#[test]
fn a_compound_with_a_wrong_length_is_refused_as_a_whole() {
    let good = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(rtcp(&good), Ok(1));
    let lies = [0x80, 201, 0, 2, 0, 0, 0, 1];
    assert_eq!(rtcp(&[&good[..], &lies].concat()), Err(RtcpError::Length));
    assert_eq!(rtcp(&[&good[..], &[0x80, 201]].concat()), Err(RtcpError::TooShort));
    assert_eq!(
        rtcp(&[&good[..], &[0x40, 201, 0, 1, 0, 0, 0, 1]].concat()),
        Err(RtcpError::Version)
    );
    assert_eq!(rtcp(&[]), Err(RtcpError::TooShort));
    assert_eq!(CompoundIter::new(&[0; 64]).count(), 1, "an error ends the iteration");
}

#[test]
fn invalid_rtcp_padding_is_refused() {
    assert_eq!(rtcp(&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0]), Err(RtcpError::Padding));
    assert_eq!(rtcp(&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]), Err(RtcpError::Padding));
    assert_eq!(rtcp(&[0xa0, 201, 0, 0]), Err(RtcpError::Padding));
    assert_eq!(rtcp(&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4]), Ok(1));
}

#[test]
fn reports_with_fewer_blocks_than_they_say_are_refused() {
    assert_eq!(rtcp(&[0x81, 201, 0, 1, 0, 0, 0, 1]), Err(RtcpError::Count));
    let mut sr = vec![0x81, 200, 0, 6];
    sr.resize(28, 0);
    assert_eq!(rtcp(&sr), Err(RtcpError::Count));
    assert_eq!(rtcp(&[0x80, 200, 0, 1, 0, 0, 0, 1]), Err(RtcpError::TooShort));
}

#[test]
fn an_invalid_bye_is_refused() {
    assert_eq!(rtcp(&[0x82, 203, 0, 1, 0, 0, 0, 1]), Err(RtcpError::Count));
    let reason = [0x81, 203, 0, 2, 0, 0, 0, 1, 4, b'a', b'b', b'c'];
    assert_eq!(rtcp(&reason), Err(RtcpError::Length));
    let reason = [0x81, 203, 0, 2, 0, 0, 0, 1, 3, b'a', b'b', b'c'];
    assert_eq!(rtcp(&reason), Ok(1));
}

#[test]
fn an_invalid_sdes_is_refused() {
    assert_eq!(rtcp(&[0x81, 202, 0, 0]), Err(RtcpError::Count), "no chunk");
    let text = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 3, b'a', b'b'];
    assert_eq!(rtcp(&text), Err(RtcpError::Length));
    let unended = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b'];
    assert_eq!(rtcp(&unended), Err(RtcpError::Length));
    let no_length = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'a', 1];
    assert_eq!(rtcp(&no_length), Err(RtcpError::Length));
    let two = [0x82, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'a', 0];
    assert_eq!(rtcp(&two), Err(RtcpError::Count));
}

#[test]
fn an_invalid_xr_is_refused() {
    let overrun = [0x80, 207, 0, 2, 0, 0, 0, 1, 1, 0, 0, 1];
    assert_eq!(rtcp(&overrun), Err(RtcpError::Length));
    let dlrr = [0x80, 207, 0, 3, 0, 0, 0, 1, 5, 0, 0, 1, 0, 0, 0, 9];
    assert_eq!(rtcp(&dlrr), Err(RtcpError::Length), "a DLRR of a third");
    let rrtr = [0x80, 207, 0, 3, 0, 0, 0, 1, 4, 0, 0, 1, 0, 0, 0, 9];
    assert_eq!(rtcp(&rrtr), Err(RtcpError::Length), "half a reference time");
}

#[test]
fn invalid_feedback_is_refused() {
    let nothing = [0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(rtcp(&nothing), Err(RtcpError::TooShort), "a NACK of nothing");
    let fir = [0x84, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(rtcp(&fir), Err(RtcpError::Length), "half an entry");
    let remb = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0, 0, 1];
    assert_eq!(rtcp(&remb), Err(RtcpError::Count));
}

#[test]
fn transport_feedback_with_a_status_count_that_lies_is_refused() {
    let twcc = |count: [u8; 2], rest: [u8; 4]| {
        let mut bytes = vec![0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9];
        bytes.extend(count);
        bytes.extend([0, 0, 1, 0]);
        bytes.extend(rest);
        rtcp(&bytes)
    };
    assert_eq!(twcc([0, 2], [0x20, 2, 1, 1]), Ok(1));
    assert_eq!(twcc([0, 3], [0x20, 3, 1, 1]), Err(RtcpError::Count), "three deltas, two there");
    assert_eq!(twcc([0xff, 0xff], [0x1f, 0xff, 0x1f, 0xff]), Err(RtcpError::Count), "chunks");
    assert_eq!(twcc([0, 1], [0x00, 0, 0x00, 0]), Err(RtcpError::Count), "empty runs");
    assert_eq!(twcc([0, 0], [0, 0, 0, 0]), Ok(1));
}

/// Reads everything in an RTCP datagram, and returns the number of items.
fn read_all(bytes: &[u8]) -> usize {
    CompoundIter::new(bytes)
        .map(|packet| match packet {
            Ok(RtcpPacket::SenderReport(p)) => p.blocks().count(),
            Ok(RtcpPacket::ReceiverReport(p)) => p.blocks().count(),
            Ok(RtcpPacket::Sdes(p)) => p.chunks().map(|c| c.items().count()).sum(),
            Ok(RtcpPacket::Bye(p)) => p.sources().count() + p.reason().len(),
            Ok(RtcpPacket::Nack(p)) => p.lost().count(),
            Ok(RtcpPacket::Fir(p)) => p.entries().count(),
            Ok(RtcpPacket::Remb(p)) => p.ssrcs().count(),
            Ok(RtcpPacket::TransportCc(p)) => {
                let count = p.statuses().count();
                assert_eq!(count, usize::from(p.status_count()));
                count
            }
            Ok(RtcpPacket::Xr(p)) => p
                .blocks()
                .map(|block| match block {
                    XrBlock::Dlrr(dlrr) => dlrr.entries().count(),
                    _ => 1,
                })
                .sum(),
            _ => 1,
        })
        .sum()
}

/// Bytes that look like the header of an RTCP packet, and any bytes after them.
fn rtcp_like() -> impl Strategy<Value = Vec<u8>> {
    let packet = (0u8..64, 200u8..208, prop::collection::vec(any::<[u8; 4]>(), 0..40));
    let packet = packet.prop_map(|(bits, packet_type, words)| {
        let mut bytes = vec![0x80 | bits, packet_type, 0, words.len() as u8];
        bytes.extend(words.into_flattened());
        bytes
    });
    prop::collection::vec(packet, 1..6).prop_map(|packets| packets.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_panic_the_rtp_parser(
        head in 0x80u8..0xc0, profile in prop_oneof![Just([0xbe, 0xde]), Just([0x10, 0]), any::<[u8; 2]>()],
        words in 0u8..20, bytes in prop::collection::vec(any::<u8>(), 0..200), wild: bool,
    ) {
        let framed = rtp(head & 0x3f, &[&profile[..], &[0, words], &bytes].concat());
        let data = if wild { &bytes } else { &framed };
        if let Ok(packet) = RtpPacket::parse(data) {
            let len = packet.header_len() + packet.payload().len() + packet.padding_len();
            prop_assert_eq!(len, data.len());
            prop_assert!(packet.extensions().count() <= data.len());
            if let Ok(parsed) = ParsedExtensions::parse(packet.header(), &map())
                && let Some((_, len)) = parsed.dependency_descriptor
            {
                let found = parsed.dependency_descriptor(data).map(<[u8]>::len);
                prop_assert_eq!(found, Some(usize::from(len)));
            }
        }
        let _ = parse_header_unprotected(data);
    }

    #[test]
    fn no_bytes_panic_the_rtcp_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn no_bytes_behind_rtcp_headers_panic_the_parser(bytes in rtcp_like()) {
        // A status count is the largest count in a packet: 65,535; a run takes two bytes for each 8,191.
        prop_assert!(read_all(&bytes) <= 6 * 65_535);
    }

    #[test]
    fn no_payload_panics_any_codec(
        mut bytes in prop::collection::vec(any::<u8>(), 0..64),
        dd in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
        picture_id: u16, tl0: u8,
    ) {
        for codec in CODECS {
            let info = payload::inspect(codec, &bytes, dd.as_deref());
            let before = bytes.clone();
            if let Some(fields) = info.vp8 {
                prop_assert!(usize::from(fields.descriptor_len) < bytes.len());
                payload::vp8::rewrite_picture(&mut bytes, &fields, picture_id, tl0);
                let again = payload::vp8::parse(&bytes).unwrap();
                prop_assert_eq!(again.descriptor_len, fields.descriptor_len);
                if let Some(id) = again.picture_id {
                    prop_assert_eq!(id.value, picture_id & if id.is_15_bit { 0x7fff } else { 0x7f });
                }
                prop_assert!(again.tl0_pic_idx.is_none_or(|(_, value)| value == tl0));
            }
            if let Some(fields) = info.vp9 {
                payload::vp9::rewrite_picture(&mut bytes, &fields, picture_id, tl0);
                let again = payload::vp9::parse(&bytes).unwrap();
                prop_assert_eq!((again.tid, again.sid), (fields.tid, fields.sid));
            }
            bytes = before;
        }
        if let Some((pt, primary)) = payload::red::primary(&bytes) {
            prop_assert!(pt.0 < 128 && primary.len() < bytes.len());
        }
    }
}

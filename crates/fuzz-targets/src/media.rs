//! RTP, RTCP and codec payloads.

use ::rtp::dependency_descriptor::{DependencyDescriptor, starts_key_frame};
use ::rtp::rtcp::{
    CompoundIter, Nack, ReceiverReport, RtcpPacket, RtcpWriter, SdesChunk, TransportFeedback,
    XrBlock, validate,
};
use ::rtp::{
    HeaderWriter, ParsedExtensions, RtpPacket, parse_header_unprotected, payload as codec,
};
use model::{Codec, Extension, ExtensionMap};

/// A decrypted RTP packet. The views must stay inside it, and a header that is written from the parsed values must
/// parse to the same values.
pub fn rtp(data: &[u8]) {
    let Ok(packet) = RtpPacket::parse(data) else {
        return;
    };
    let parts = packet.header_len() + packet.payload().len() + packet.padding_len();
    assert_eq!(parts, data.len());
    let protected = parse_header_unprotected(data).map(|h| h.header_len());
    assert_eq!(protected, Ok(packet.header_len()));
    assert_eq!(packet.csrcs().count(), packet.csrc_count());

    let mut map = ExtensionMap::new();
    for (i, extension) in Extension::ALL.into_iter().enumerate() {
        map.set(extension, i as u8 + 1);
    }
    if let Ok(parsed) = ParsedExtensions::parse(packet.header(), &map)
        && let Some((_, len)) = parsed.dependency_descriptor
    {
        let found = parsed.dependency_descriptor(data).map(<[u8]>::len);
        assert_eq!(found, Some(usize::from(len)));
    }
    let extensions: Result<Vec<_>, _> = packet.extensions().collect();
    if let Ok(extensions) = extensions {
        rewrite(&packet, &extensions);
    }
}

fn rewrite(packet: &RtpPacket<'_>, extensions: &[(u8, &[u8])]) {
    let header = HeaderWriter {
        marker: packet.marker(),
        pt: packet.pt(),
        sequence: packet.sequence(),
        timestamp: packet.timestamp(),
        ssrc: packet.ssrc(),
    };
    // If written in the form in which it was read, a block does not grow.
    let mut out = [0; 4096];
    let written = header.write(&mut out, extensions);
    let Ok(again) = written.and_then(|len| parse_header_unprotected(&out[..len])) else {
        panic!("a header that was read cannot be written: {written:?}");
    };
    assert_eq!(again.marker(), packet.marker());
    assert_eq!(again.pt(), packet.pt());
    assert_eq!(again.sequence(), packet.sequence());
    assert_eq!(again.timestamp(), packet.timestamp());
    assert_eq!(again.ssrc(), packet.ssrc());
    let read: Result<Vec<_>, _> = again.extensions().collect();
    assert_eq!(read.as_deref(), Ok(extensions));
}

/// A decrypted RTCP datagram. All values that a packet yields are counted against its length, and NACKs, reports and
/// transport-wide feedback that are written again must parse to the same values.
pub fn rtcp(data: &[u8]) {
    let mut good = 0;
    for packet in CompoundIter::new(data) {
        match packet {
            Ok(packet) => one_rtcp(&packet, data.len()),
            Err(error) => {
                assert_eq!(validate(data), Err(error));
                return;
            }
        }
        good += 1;
    }
    assert_eq!(validate(data), Ok(good));
}

fn one_rtcp(packet: &RtcpPacket<'_>, len: usize) {
    match packet {
        RtcpPacket::SenderReport(sr) => assert!(sr.blocks().count() <= 31),
        RtcpPacket::ReceiverReport(rr) => report(rr),
        RtcpPacket::Sdes(sdes) => {
            let items = |c: SdesChunk<'_>| c.items().map(|(_, v)| v.len() + 2).sum::<usize>();
            assert!(sdes.chunks().map(items).sum::<usize>() < len);
        }
        RtcpPacket::Bye(bye) => assert!(4 * bye.sources().count() + bye.reason().len() < len),
        RtcpPacket::App(app) => assert!(app.data.len() < len),
        RtcpPacket::Nack(nack) => lost(nack),
        RtcpPacket::TransportCc(twcc) => feedback(twcc),
        RtcpPacket::Fir(fir) => assert!(8 * fir.entries().count() < len),
        RtcpPacket::Remb(remb) => assert!(4 * remb.ssrcs().count() < len),
        RtcpPacket::Xr(xr) => {
            let size = |block| match block {
                XrBlock::ReceiverReferenceTime(_) => 12,
                XrBlock::Dlrr(dlrr) => 4 + 12 * dlrr.entries().count(),
                XrBlock::Other { data, .. } => 4 + data.len(),
            };
            assert!(xr.blocks().map(size).sum::<usize>() < len);
        }
        RtcpPacket::OtherTransportFeedback(fb) | RtcpPacket::OtherPayloadFeedback(fb) => {
            assert!(fb.fci.len() < len);
        }
        RtcpPacket::Pli { .. } | RtcpPacket::Unknown { .. } => {}
    }
}

/// Writes a packet with `write` and passes it to `read`.
fn through(write: impl FnOnce(&mut RtcpWriter<'_>) -> bool, read: impl FnOnce(RtcpPacket<'_>)) {
    let mut buf = vec![0; 300_000];
    let mut writer = RtcpWriter::new(&mut buf);
    assert!(write(&mut writer), "what was read can be written");
    let mut packets = CompoundIter::new(writer.as_bytes());
    match packets.next() {
        Some(Ok(packet)) => read(packet),
        other => panic!("what was written does not read: {other:?}"),
    }
    assert!(packets.next().is_none());
}

fn report(rr: &ReceiverReport<'_>) {
    let blocks: Vec<_> = rr.blocks().collect();
    through(
        |w| w.rr(rr.ssrc, &blocks).is_ok(),
        |packet| match packet {
            RtcpPacket::ReceiverReport(again) => assert!(again.blocks().eq(rr.blocks())),
            other => panic!("not a report: {other:?}"),
        },
    );
}

fn lost(nack: &Nack<'_>) {
    through(
        |w| w.nack(nack.sender, nack.media, &mut nack.lost()).is_ok(),
        |packet| match packet {
            RtcpPacket::Nack(again) => {
                let set = |n: &Nack<'_>| n.lost().collect::<std::collections::BTreeSet<_>>();
                assert_eq!(set(&again), set(nack));
            }
            other => panic!("not a NACK: {other:?}"),
        },
    );
}

fn feedback(twcc: &TransportFeedback<'_>) {
    assert_eq!(twcc.statuses().count(), usize::from(twcc.status_count()));
    let mut before = 0;
    let deltas: Option<Vec<Option<i16>>> = twcc
        .statuses()
        .map(|status| match status.arrival {
            None => Some(None),
            Some(arrival) => {
                let delta = i16::try_from(arrival - before).ok()?;
                before = arrival;
                Some(Some(delta))
            }
        })
        .collect();
    let Some(deltas) = deltas else {
        panic!("a delta of more than 16 bits");
    };
    if deltas.is_empty() {
        return;
    }
    through(
        |w| w.transport_cc(&twcc.header, deltas.iter().copied()) == Ok(deltas.len()),
        |packet| match packet {
            RtcpPacket::TransportCc(again) => {
                assert_eq!(again.header, twcc.header);
                assert!(again.statuses().eq(twcc.statuses()));
            }
            other => panic!("not transport-wide feedback: {other:?}"),
        },
    );
}

/// The payload of a codec: the first byte chooses the codec, the second the length of a dependency descriptor before
/// the payload. Rewriting may change only picture ids.
pub fn payload(data: &[u8]) {
    const CODECS: [Codec; 7] =
        [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1, Codec::Red, Codec::Opus];
    let [choice, descriptor, rest @ ..] = data else {
        return;
    };
    let kind = CODECS[usize::from(*choice) % CODECS.len()];
    let (dd, bytes) = rest.split_at(usize::from(*descriptor % 8).min(rest.len()));
    let info = codec::inspect(kind, bytes, (!dd.is_empty()).then_some(dd));
    if bytes.is_empty() {
        assert_eq!(info, codec::PayloadInfo::default());
    }
    if let Some((_, primary)) = codec::red::primary(bytes) {
        assert!(primary.len() < bytes.len());
    }
    let mut changed = bytes.to_vec();
    if let Some(fields) = info.vp8 {
        codec::vp8::rewrite_picture(&mut changed, &fields, 0x5a5a, 0xa5);
        let again = codec::inspect(kind, &changed, None);
        assert_eq!(again.keyframe_start, info.keyframe_start);
        assert_eq!(
            again.vp8.map(|f| (f.descriptor_len, f.tid)),
            Some((fields.descriptor_len, fields.tid))
        );
    }
    if let Some(fields) = info.vp9 {
        codec::vp9::rewrite_picture(&mut changed, &fields, 0x5a5a, 0xa5);
        let again = codec::inspect(kind, &changed, None);
        assert_eq!(again.keyframe_start, info.keyframe_start);
        assert_eq!(again.vp9.map(|f| (f.sid, f.tid)), Some((fields.sid, fields.tid)));
    }
}

/// A dependency descriptor. The short way to the key frame must agree with the parser, zero padding may not change what is read, and a
/// structure has a layer for some ids only.
pub fn descriptor(data: &[u8]) {
    let read = DependencyDescriptor::parse(data);
    let key = read.filter(|d| d.structure.is_some()).map(|d| d.starts_key_frame());
    assert_eq!(starts_key_frame(data), key);
    let Some(read) = read else { return };
    assert_eq!(read.start_of_frame, data[0] & 0x80 != 0);
    let Some(structure) = read.structure else { return };
    let padded = [data, &[0; 3]].concat();
    assert_eq!(DependencyDescriptor::parse(&padded), Some(read));
    assert!(structure.layer(read.template_id).is_some());
    let high = structure.highest();
    let layers = (0..64).filter_map(|id| structure.layer(id));
    assert!(layers.clone().all(|l| l.spatial <= high.spatial && l.temporal <= high.temporal));
    assert!((1..=64).contains(&layers.count()));
}

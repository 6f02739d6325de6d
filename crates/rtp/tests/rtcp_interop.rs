//! RTCP, against an independent implementation.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use model::{NtpTime, Ssrc};
use proptest::prelude::*;
use rtc_rtcp::Packet;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::payload_feedbacks::full_intra_request as fir;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate as remb;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description as sdes;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{SymbolTypeTcc, TransportLayerCc};
use rtc_rtcp::transport_feedbacks::transport_layer_nack as nack;
use sfumato_rtp::rtcp::{
    CompoundIter, FirEntry, ReportBlock, RtcpPacket, RtcpWriter, SenderInfo, TwccHeader,
};

/// Reads one packet of the other implementation.
fn read_by_us<R>(packet: impl Packet + 'static, read: impl FnOnce(RtcpPacket<'_>) -> R) -> R {
    let bytes = rtc_rtcp::packet::marshal(&[Box::new(packet)]).unwrap();
    let mut packets = CompoundIter::new(&bytes);
    let result = read(packets.next().unwrap().unwrap());
    assert!(packets.next().is_none());
    result
}

/// The other implementation reads one packet of this crate.
fn read_by_them<P: Packet + Clone + 'static>(write: impl FnOnce(&mut RtcpWriter<'_>)) -> P {
    let mut buf = [0; 1500];
    let mut writer = RtcpWriter::new(&mut buf);
    write(&mut writer);
    let packets = rtc_rtcp::packet::unmarshal(&mut writer.as_bytes()).unwrap();
    assert_eq!(packets.len(), 1);
    packets[0].as_any().downcast_ref::<P>().unwrap().clone()
}

fn block() -> impl Strategy<Value = ReportBlock> {
    let lost = 0..=0x7f_ffff;
    (any::<[u32; 5]>(), any::<u8>(), lost).prop_map(
        |([ssrc, high, jitter, lsr, dlsr], lost, total)| ReportBlock {
            ssrc,
            fraction_lost: lost,
            cumulative_lost: total,
            highest_sequence: high,
            jitter,
            last_sr: lsr,
            delay_since_last_sr: dlsr,
        },
    )
}

fn theirs(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.cumulative_lost as u32,
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.last_sr,
        delay: block.delay_since_last_sr,
    }
}

proptest! {
    #[test]
    fn sender_reports(
        [ssrc, rtp_timestamp, packet_count, octet_count]: [u32; 4],
        ntp: u64,
        blocks in prop::collection::vec(block(), 0..=31),
    ) {
        let info = SenderInfo { ntp: NtpTime(ntp), rtp_timestamp, packet_count, octet_count };
        let packet = SenderReport {
            ssrc,
            ntp_time: ntp,
            rtp_time: rtp_timestamp,
            packet_count,
            octet_count,
            reports: blocks.iter().map(theirs).collect(),
            ..Default::default()
        };
        let written: SenderReport =
            read_by_them(|w| w.sr(Ssrc(ssrc), &info, &blocks).unwrap());
        prop_assert_eq!(&written, &packet);
        read_by_us(packet, |packet| {
            let RtcpPacket::SenderReport(sr) = packet else { panic!("{packet:?}") };
            assert_eq!((sr.ssrc, sr.info), (Ssrc(ssrc), info));
            assert!(sr.blocks().eq(blocks));
        });
    }

    #[test]
    fn receiver_reports(ssrc: u32, blocks in prop::collection::vec(block(), 0..=31)) {
        let packet = ReceiverReport {
            ssrc,
            reports: blocks.iter().map(theirs).collect(),
            ..Default::default()
        };
        let written: ReceiverReport = read_by_them(|w| w.rr(Ssrc(ssrc), &blocks).unwrap());
        prop_assert_eq!(&written, &packet);
        read_by_us(packet, |packet| {
            let RtcpPacket::ReceiverReport(rr) = packet else { panic!("{packet:?}") };
            assert_eq!(rr.ssrc, Ssrc(ssrc));
            assert!(rr.blocks().eq(blocks));
        });
    }

    #[test]
    fn source_descriptions(ssrc: u32, cname in "[a-z0-9]{0,255}", note in "[a-z]{1,9}") {
        let item = |sdes_type, text: &str| sdes::SourceDescriptionItem {
            sdes_type,
            text: text.as_bytes().to_vec().into(),
        };
        let chunk = |items| sdes::SourceDescriptionChunk { source: ssrc, items };
        let written: sdes::SourceDescription =
            read_by_them(|w| w.sdes_cname(Ssrc(ssrc), &cname).unwrap());
        prop_assert_eq!(written.chunks, [chunk(vec![item(sdes::SdesType::SdesCname, &cname)])]);

        let items = vec![item(sdes::SdesType::SdesNote, &note), item(sdes::SdesType::SdesCname, &cname)];
        let packet = sdes::SourceDescription { chunks: vec![chunk(items), chunk(vec![])] };
        read_by_us(packet, |packet| {
            let RtcpPacket::Sdes(sdes) = packet else { panic!("{packet:?}") };
            let chunks: Vec<_> = sdes.chunks().collect();
            assert_eq!(chunks.len(), 2);
            assert_eq!(chunks[0].ssrc, Ssrc(ssrc));
            assert_eq!(chunks[0].cname(), Some(cname.as_bytes()));
            assert_eq!(chunks[0].items().count(), 2);
            assert_eq!(chunks[1].cname(), None);
        });
    }

    #[test]
    fn goodbyes(sources in prop::collection::vec(any::<u32>(), 1..=31), reason in "[a-z]{0,20}") {
        let ours: Vec<Ssrc> = sources.iter().copied().map(Ssrc).collect();
        let written: Goodbye = read_by_them(|w| w.bye(&ours).unwrap());
        prop_assert_eq!(&written.sources, &sources);
        let packet = Goodbye { sources, reason: reason.clone().into() };
        read_by_us(packet, |packet| {
            let RtcpPacket::Bye(bye) = packet else { panic!("{packet:?}") };
            assert!(bye.sources().eq(ours));
            assert_eq!(bye.reason(), reason.as_bytes());
        });
    }

    #[test]
    fn nacks(sender: u32, media: u32, start: u16, steps in prop::collection::vec(1u16..40, 0..150)) {
        let mut lost = vec![start];
        for step in steps {
            lost.push(lost[lost.len() - 1].wrapping_add(step));
        }
        let written: nack::TransportLayerNack = read_by_them(|w| {
            w.nack(Ssrc(sender), Ssrc(media), &mut lost.iter().copied()).unwrap();
        });
        prop_assert_eq!((written.sender_ssrc, written.media_ssrc), (sender, media));
        let theirs: Vec<u16> = written.nacks.iter().flat_map(nack::NackPair::packet_list).collect();
        prop_assert_eq!(&theirs, &lost);
        // The other implementation splits entries differently at the wrap.
        let written = nack::TransportLayerNack {
            nacks: nack::nack_pairs_from_sequence_numbers(&lost),
            ..written
        };
        read_by_us(written, |packet| {
            let RtcpPacket::Nack(nack) = packet else { panic!("{packet:?}") };
            assert_eq!((nack.sender, nack.media), (Ssrc(sender), Ssrc(media)));
            assert!(nack.lost().eq(lost));
        });
    }

    #[test]
    fn key_frame_requests(sender: u32, media: u32, sequence: u8) {
        let pli: PictureLossIndication =
            read_by_them(|w| w.pli(Ssrc(sender), Ssrc(media)).unwrap());
        prop_assert_eq!((pli.sender_ssrc, pli.media_ssrc), (sender, media));
        read_by_us(pli, |packet| {
            let RtcpPacket::Pli { sender: s, media: m } = packet else { panic!("{packet:?}") };
            assert_eq!((s, m), (Ssrc(sender), Ssrc(media)));
        });
        let entry = FirEntry { ssrc: Ssrc(media), sequence };
        let written: fir::FullIntraRequest =
            read_by_them(|w| w.fir(Ssrc(sender), &[entry, entry]).unwrap());
        let theirs = fir::FirEntry { ssrc: media, sequence_number: sequence };
        prop_assert_eq!(&written.fir, &vec![theirs.clone(), theirs]);
        read_by_us(written, |packet| {
            let RtcpPacket::Fir(fir) = packet else { panic!("{packet:?}") };
            assert_eq!(fir.sender, Ssrc(sender));
            assert!(fir.entries().eq([entry, entry]));
        });
    }

    #[test]
    fn bitrates(sender: u32, bitrate in 0u64..(1 << 40), ssrcs in prop::collection::vec(any::<u32>(), 1..5)) {
        let ours: Vec<Ssrc> = ssrcs.iter().copied().map(Ssrc).collect();
        let written: remb::ReceiverEstimatedMaximumBitrate =
            read_by_them(|w| w.remb(Ssrc(sender), bitrate, &ours).unwrap());
        prop_assert_eq!(&written.ssrcs, &ssrcs);
        let exact = written.bitrate as u64;
        prop_assert!(exact <= bitrate && bitrate - exact <= bitrate >> 17);
        read_by_us(written, |packet| {
            let RtcpPacket::Remb(remb) = packet else { panic!("{packet:?}") };
            assert_eq!(remb.bitrate, exact);
            assert!(remb.ssrcs().eq(ours));
        });
    }

    #[test]
    fn transport_feedback(
        base: u16, reference_time in 0u32..(1 << 24), feedback_count: u8,
        mut deltas in prop::collection::vec(
            prop_oneof![3 => Just(None), 6 => (0i16..256).prop_map(Some), 1 => any::<i16>().prop_map(Some)],
            0..300,
        ),
    ) {
        // At least one packet has arrived: there is no feedback otherwise.
        deltas.push(Some(3));
        let header = TwccHeader { sender: Ssrc(1), media: Ssrc(2), base, reference_time, feedback_count };
        let written: TransportLayerCc = read_by_them(|w| {
            assert_eq!(w.transport_cc(&header, deltas.iter().copied()), Ok(deltas.len()));
        });
        prop_assert_eq!(written.base_sequence_number, base);
        prop_assert_eq!(usize::from(written.packet_status_count), deltas.len());
        prop_assert_eq!(written.reference_time, reference_time);
        prop_assert_eq!(written.fb_pkt_count, feedback_count);
        // The other implementation keeps the deltas in microseconds, without the packets that have not arrived.
        let came: Vec<i64> = written
            .recv_deltas
            .iter()
            .filter(|d| d.type_tcc_packet != SymbolTypeTcc::PacketNotReceived)
            .map(|d| d.delta / 250)
            .collect();
        let expected: Vec<i64> = deltas.iter().flatten().map(|&d| i64::from(d)).collect();
        prop_assert_eq!(came, expected);
        read_by_us(written, |packet| {
            let RtcpPacket::TransportCc(twcc) = packet else { panic!("{packet:?}") };
            assert_eq!(twcc.header, header);
            let came: Vec<bool> = twcc.statuses().map(|s| s.arrival.is_some()).collect();
            assert!(came.into_iter().eq(deltas.iter().map(Option::is_some)));
        });
    }
}

//! Tests: peers that do what real clients do and simple tests do not, in a worker without sockets. They send and read
//! real SRTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Binding, CloseReason, Codec, Command, DownMedia, DropReason, Event, MediaKind, Mid, Path, Pt,
    PtMapping, SessionId, SessionPlan, Ssrc, StreamSsrc, TrackId, UpMedia,
};
use rtp::HeaderWriter;
use rtp::rtcp::{CompoundIter, DlrrEntry, RtcpPacket, RtcpWriter, XrBlock};
use transport::Consent;
use transport::srtp::{Profile, Receiver, Sender};

use crate::core::Worker;
use crate::core::tests::{PT, bench, codec, open, path, plan};
use crate::sessions::SessionRef;
use crate::threats::{KEY, SALT, connect, dropped, dropped_in_all};

/// A peer with keys, at the address `path(id)`.
pub(crate) struct Peer {
    at: SessionRef,
    id: u64,
    sender: Sender,
    receiver: Receiver,
    sequence: u16,
}

impl Peer {
    pub(crate) fn connect(
        worker: &mut Worker,
        now: Instant,
        id: u64,
        change: impl FnOnce(&mut SessionPlan),
    ) -> Self {
        let mut plan = (*plan(id)).clone();
        change(&mut plan);
        let entry = open(worker, plan.into());
        worker.paths.pend(now, path(id as u16), &entry, true);
        let at = worker.settle(now, &entry).unwrap();
        let sender = connect(worker, now, at);
        let receiver = Receiver::new(Profile::AeadAes128Gcm, &KEY, &SALT).unwrap();
        Self { at, id, sender, receiver: receiver.with_ssrc_limit(200), sequence: 0 }
    }

    /// Sends a packet of a payload type, from an SSRC.
    pub(crate) fn send_rtp(&mut self, worker: &mut Worker, now: Instant, ssrc: u32, pt: Pt) {
        self.send_payload(worker, now, ssrc, pt, &[0xfc, 1, 2, 3]);
    }

    /// The next packet is lost on its way.
    pub(crate) fn skip(&mut self) {
        self.sequence += 1;
    }

    /// Sends a packet with a payload, from an SSRC.
    pub(crate) fn send_payload(
        &mut self,
        worker: &mut Worker,
        now: Instant,
        ssrc: u32,
        pt: Pt,
        payload: &[u8],
    ) {
        self.send_packet(worker, now, ssrc, pt, &[], payload);
    }

    /// Sends a packet with header extensions (ids below 15 and values of at most 16 bytes) and a payload, from an SSRC.
    pub(crate) fn send_packet(
        &mut self,
        worker: &mut Worker,
        now: Instant,
        ssrc: u32,
        pt: Pt,
        extensions: &[(u8, &[u8])],
        payload: &[u8],
    ) {
        self.sequence += 1;
        let header = HeaderWriter {
            marker: true,
            pt,
            sequence: self.sequence,
            timestamp: u32::from(self.sequence) * 3_000,
            ssrc: Ssrc(ssrc),
        };
        let mut packet = [0; 1_500];
        let head = header.write(&mut packet, extensions).unwrap();
        packet[head..head + payload.len()].copy_from_slice(payload);
        let mut packet = packet[..head + payload.len() + 16].to_vec();
        let len = head + payload.len();
        let len = self.sender.seal_rtp(&mut packet, head, len, 0).unwrap();
        worker.take_datagram(now, path(self.id as u16), &mut packet[..len]);
    }

    /// Sends the packets that `write` writes as one compound packet.
    pub(crate) fn send_rtcp(
        &mut self,
        worker: &mut Worker,
        now: Instant,
        write: impl FnOnce(&mut RtcpWriter<'_>),
    ) {
        let mut packet = [0; 1_500];
        let mut writer = RtcpWriter::new(&mut packet);
        write(&mut writer);
        let len = writer.len();
        let len = self.sender.seal_rtcp(&mut packet, len).unwrap();
        worker.take_datagram(now, path(self.id as u16), &mut packet[..len]);
    }

    /// Reads the media that waits to be sent to this peer: sequence numbers and payloads.
    pub(crate) fn read_rtp(&mut self, worker: &mut Worker, now: Instant) -> Vec<(u16, Vec<u8>)> {
        while worker.send_due(now) {}
        worker.outbox.flush();
        let sent = worker.outbox.drain();
        sent.iter().filter_map(|(to, datagram)| self.open_rtp(*to, datagram)).collect()
    }

    /// The sequence number and payload of a datagram to this peer, if it is media.
    pub(crate) fn open_rtp(&mut self, to: Path, datagram: &[u8]) -> Option<(u16, Vec<u8>)> {
        // RFC 5761 section 4.
        if to != path(self.id as u16) || (192..224).contains(&datagram[1]) {
            return None;
        }
        let header = rtp::parse_header_unprotected(datagram).unwrap();
        let (number, at) = (header.sequence(), header.header_len());
        let mut plain = [0; 1_500];
        let opened = self.receiver.open_rtp(datagram, at, &mut plain).unwrap();
        Some((number, plain[at..opened.len].to_vec()))
    }

    /// The RTCP compound in a datagram to this peer, if it is one.
    pub(crate) fn open_rtcp(&mut self, to: Path, datagram: &[u8]) -> Option<Vec<u8>> {
        if to != path(self.id as u16) || !(192..224).contains(&datagram[1]) {
            return None;
        }
        let mut compound = datagram.to_vec();
        let len = self.receiver.open_rtcp(&mut compound).unwrap();
        compound.truncate(len);
        Some(compound)
    }

    /// Reads the RTCP that waits to be sent to this peer.
    pub(crate) fn read_rtcp(&mut self, worker: &mut Worker, mut each: impl FnMut(&RtcpPacket<'_>)) {
        worker.outbox.flush();
        for (to, datagram) in worker.outbox.drain() {
            if let Some(compound) = self.open_rtcp(to, &datagram) {
                CompoundIter::new(&compound).flatten().for_each(|packet| each(&packet));
            }
        }
    }
}

pub(crate) fn mid(number: u32) -> Mid {
    Mid::parse(&number.to_string()).unwrap()
}

/// A slot for a picture, with the SSRC 100 plus its number.
pub(crate) fn slot(number: u32) -> DownMedia {
    DownMedia {
        mid: mid(number),
        kind: MediaKind::Video,
        ssrc: StreamSsrc { media: Ssrc(100 + number), rtx: None },
        codecs: vec![codec(MediaKind::Video)],
    }
}

/// A section that the peer sends under this payload type, identified by its SSRC.
pub(crate) fn up(number: u32, ssrc: u32, pt: Pt) -> UpMedia {
    let mut codec = codec(MediaKind::Audio);
    codec.pt = pt;
    UpMedia {
        track: TrackId(u64::from(number)),
        mid: mid(number),
        kind: MediaKind::Audio,
        codecs: vec![codec],
        rids: Vec::new(),
        ssrcs: vec![StreamSsrc { media: Ssrc(ssrc), rtx: None }],
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Threats, row 30: only SSRCs that are in use count towards the limit.
#[test]
fn a_publisher_that_changes_its_ssrc_all_day_is_heard() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let mut peer = Peer::connect(worker, now, 1, |plan| plan.up = vec![up(1, 11, PT)]);
    for minute in 0..1_440 {
        for half in [0, 30_000] {
            let now = now + ms(u64::from(minute) * 60_000 + half);
            peer.send_rtp(worker, now, 1_000 + minute, PT);
        }
    }
    assert_eq!((worker.counters.rtp_accepted.value(), dropped_in_all(worker)), (2 * 1_440, 0));
}

/// As ffmpeg with global headers: H.264 whose parameter sets are only in the offer (RFC 6184 section 8.4).
#[test]
fn a_viewer_gets_parameter_sets_that_its_publisher_told_in_the_offer_only() {
    const IDR: &[u8] = &[0x65, 0x88, 1];
    const INTER: &[u8] = &[0x41, 0x9a, 2];
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let sets: [Box<[u8]>; 2] = [[0x67, 0x42, 0xe0, 0x1f].into(), [0x68, 0xce, 0x3c, 0x80].into()];
    let mut publisher = Peer::connect(worker, now, 1, |plan| {
        let mut h264 = codec(MediaKind::Video);
        (h264.codec, h264.parameter_sets) = (Codec::H264, Some(sets.clone().into()));
        plan.up = vec![UpMedia { kind: MediaKind::Video, codecs: vec![h264], ..up(7, 11, PT) }];
    });
    let mut viewer = Peer::connect(worker, now, 2, |plan| plan.down = vec![slot(0)]);
    let mapping =
        PtMapping { up: PT, down: PT, down_rtx: None, unwrap_red: false, clock_rate: 90_000 };
    let binding =
        Binding { track: TrackId(7), publisher: SessionId(1), payload_types: [mapping].into() };
    bench.command(Command::Bind { session: SessionId(2), slots: vec![(mid(0), Some(binding))] });
    let worker = &mut bench.worker;
    worker.take_notices(now);
    let mut seen = Vec::new();
    for payload in [INTER, IDR, INTER, IDR] {
        publisher.send_payload(worker, now, 11, PT, payload);
        seen.extend(viewer.read_rtp(worker, now));
    }
    assert!(seen.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1)));
    let seen: Vec<_> = seen.iter().map(|(_, payload)| &payload[..]).collect();
    let [sps, pps] = &sets;
    assert_eq!(seen, [&sps[..], pps, IDR, INTER, sps, pps, IDR]);
}

/// Firefox reports about each section that it receives from an SSRC of its own.
#[test]
fn a_viewer_that_reports_from_an_ssrc_for_each_section_is_heard_in_all() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let mut viewer = Peer::connect(worker, now, 2, |plan| plan.down = (0..64).map(slot).collect());
    for round in 0..3 {
        for section in 0..64 {
            viewer.send_rtcp(worker, now + ms(round), |rtcp| {
                rtcp.rr(Ssrc(500 + section), &[]).unwrap();
                rtcp.pli(Ssrc(500 + section), Ssrc(100 + section)).unwrap();
            });
        }
    }
    assert_eq!((worker.counters.rtcp.value(), dropped_in_all(worker)), (3 * 64, 0));
}

#[test]
fn a_publisher_of_many_streams_gets_a_report_about_each() {
    let (mut bench, now) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let ups = |plan: &mut SessionPlan| plan.up = (0..64).map(|n| up(n, 100 + n, PT)).collect();
    let mut peer = Peer::connect(worker, now, 1, ups);
    peer.read_rtcp(worker, |_| {});
    for ssrc in 100..164 {
        peer.send_rtp(worker, now, ssrc, PT);
    }
    worker.call_due(now + ms(1_001));
    let mut reported = Vec::new();
    peer.read_rtcp(worker, |packet| {
        if let RtcpPacket::ReceiverReport(report) = packet {
            reported.extend(report.blocks().map(|block| block.ssrc().0));
        }
    });
    assert_eq!(reported, (100..164).collect::<Vec<_>>());
    assert_eq!(dropped(worker, DropReason::TooManyStreams), 0);
}

/// As libnice, Pion before 4.0.8 and others: no checks after the first.
#[test]
fn a_publisher_that_sends_media_and_no_checks_stays_connected() {
    let (mut bench, start) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let mut peer = Peer::connect(worker, start, 1, |plan| plan.up = vec![up(1, 11, PT)]);
    let mut now = start;
    for _ in 0..600 {
        now += ms(1_000);
        peer.send_rtp(worker, now, 11, PT);
        worker.call_due(now);
    }
    assert!(worker.sessions.at(peer.at).is_some());
    // Forged packets do not keep the session alive.
    for _ in 0..31 {
        now += ms(1_000);
        worker.take_datagram(now, path(1), &mut [0x80; 60]);
        worker.call_due(now);
    }
    assert!(worker.sessions.at(peer.at).is_none());
    let reason = CloseReason::ConsentExpired;
    assert!(bench.events().contains(&Event::Closed { session: SessionId(1), reason }));
}

/// RFC 7675 section 5.1: media is sent only to those who check.
#[test]
fn a_viewer_that_sends_reports_and_no_checks_stays_only_where_the_operator_says_so() {
    for (consent, stays) in [(Consent::ChecksOrMedia, false), (Consent::Any, true)] {
        let (mut bench, start) = (bench(), Instant::now());
        let worker = &mut bench.worker;
        Arc::get_mut(&mut worker.config).unwrap().consent = consent;
        let mut viewer = Peer::connect(worker, start, 2, |plan| plan.down = vec![slot(0)]);
        let mut now = start;
        for _ in 0..60 {
            now += ms(10_000);
            viewer.send_rtcp(worker, now, |rtcp| rtcp.rr(Ssrc(5), &[]).unwrap());
            worker.call_due(now);
        }
        assert_eq!(worker.sessions.at(viewer.at).is_some(), stays);
        now += ms(31_000);
        worker.call_due(now);
        assert!(worker.sessions.at(viewer.at).is_none());
    }
}

#[test]
fn a_publisher_that_begins_to_receive_has_to_check() {
    let (mut bench, start) = (bench(), Instant::now());
    let mut peer = Peer::connect(&mut bench.worker, start, 1, |plan| plan.up = vec![up(1, 11, PT)]);
    let mut plan = (*bench.worker.sessions.at(peer.at).unwrap().orders.plan).clone();
    plan.down = vec![slot(0)];
    bench.command(Command::Update(plan.into()));
    bench.worker.take_notices(start);
    let mut now = start;
    for _ in 0..31 {
        now += ms(1_000);
        peer.send_rtp(&mut bench.worker, now, 11, PT);
        bench.worker.call_due(now);
    }
    assert!(bench.worker.sessions.at(peer.at).is_none());
}

/// RFC 3611 sections 4.4 and 4.5: the node asks with each report, and the round trip from the answer sets how soon it
/// requests a lost packet again.
#[test]
fn the_round_trip_of_a_publisher_sets_when_it_is_asked_again() {
    let (mut bench, start) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let mut peer = Peer::connect(worker, start, 1, |plan| plan.up = vec![up(1, 11, PT)]);
    let mut now = start;
    for _ in 0..20 {
        now += ms(1_000);
        peer.send_rtp(worker, now, 11, PT);
        now += ms(2);
        worker.call_due(now);
        let mut asked = None;
        peer.read_rtcp(worker, |packet| {
            let RtcpPacket::Xr(xr) = packet else { return };
            let [XrBlock::ReceiverReferenceTime(ntp)] = xr.blocks().collect::<Vec<_>>()[..] else {
                panic!("one reference time in each report");
            };
            asked = Some((xr.ssrc, ntp));
        });
        let (ssrc, ntp) = asked.expect("a reference time with each report");
        // The peer keeps it for half a second, and the line takes 30 ms.
        let kept = DlrrEntry { ssrc, last_rr: ntp.middle(), delay_since_last_rr: 65_536 / 2 };
        peer.send_rtcp(worker, now + ms(530), |rtcp| {
            rtcp.rr(Ssrc(11), &[]).unwrap();
            rtcp.dlrr(Ssrc(11), &[kept]).unwrap();
        });
    }
    let trip = worker.sessions.at(peer.at).unwrap().round_trip.as_ref().unwrap();
    assert_eq!(trip.smoothed().map(|t| t.as_millis()), Some(30));
    // A packet is lost: it is requested, and requested again after a round trip.
    peer.skip();
    for later in [0, 1, 2] {
        peer.send_rtp(worker, now + ms(600 + later), 11, PT);
    }
    let mut asked_at = Vec::new();
    for later in 600..720 {
        worker.call_due(now + ms(later));
        peer.read_rtcp(worker, |packet| {
            if let RtcpPacket::Nack(_) = packet {
                asked_at.push(later);
            }
        });
    }
    let between: Vec<u64> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        between.len() >= 2 && between.iter().take(2).all(|b| (30..36).contains(b)),
        "{asked_at:?}"
    );
}

#[test]
fn a_publisher_that_asks_for_remb_is_told_half_as_much_again_as_comes() {
    for (remb, transport_cc) in [(true, false), (true, true), (false, false)] {
        let (mut bench, start) = (bench(), Instant::now());
        let worker = &mut bench.worker;
        let mut peer = Peer::connect(worker, start, 1, |plan| {
            plan.up = vec![up(1, 11, PT), up(2, 12, PT)];
            for codec in plan.up.iter_mut().flat_map(|media| &mut media.codecs) {
                (codec.feedback.remb, codec.feedback.transport_cc) = (remb, transport_cc);
            }
        });
        let mut told = Vec::new();
        // 500 packets of 32 bytes are 128 kbit/s, which is below the floor; then ten times as many.
        for (second, count) in [500, 5_000].into_iter().enumerate() {
            let now = start + ms(1_000 * (second as u64 + 1));
            for packet in 0..count {
                peer.send_rtp(worker, now, 11 + packet % 2, PT);
            }
            worker.call_due(now + ms(2));
            peer.read_rtcp(worker, |packet| {
                if let RtcpPacket::Remb(remb) = packet {
                    told.push((remb.bitrate, remb.ssrcs().collect::<Vec<_>>()));
                }
            });
        }
        if (remb, transport_cc) != (true, false) {
            assert_eq!(told, []);
            continue;
        }
        let [(first, ref named), (second, _)] = told[..] else { panic!("{told:?}") };
        assert_eq!(named[..], [Ssrc(11), Ssrc(12)]);
        assert!((299_000..=300_000).contains(&first), "{first}");
        let sent = 5_000 * 32 * 8;
        assert!((sent * 148 / 100..=sent * 150 / 100).contains(&second), "{second}");
    }
}

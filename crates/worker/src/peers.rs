//! Peers as a worker meets them, in a worker without sockets: publishers and viewers that do what real clients do and the
//! easy case does not. They send and read real SRTP.

use std::time::{Duration, Instant};

use model::{
    CloseReason, DownMedia, DropReason, Event, MediaKind, Mid, Pt, SessionId, SessionPlan, Ssrc,
    StreamSsrc, TrackId, UpMedia,
};
use rtp::rtcp::{CompoundIter, RtcpPacket, RtcpWriter};
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
        self.sequence += 1;
        let mut packet = vec![0x80, pt.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfc, 1, 2, 3];
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let len = packet.len();
        packet.resize(len + 16, 0);
        let len = self.sender.seal_rtp(&mut packet, 12, len, 0).unwrap();
        worker.take_datagram(now, path(self.id as u16), &mut packet[..len]);
    }

    /// Sends what `write` writes as one compound packet.
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

    /// Reads the RTCP that waits to be sent to this peer.
    pub(crate) fn read_rtcp(&mut self, worker: &mut Worker, mut each: impl FnMut(&RtcpPacket<'_>)) {
        worker.outbox.flush();
        for (to, mut datagram) in worker.outbox.drain() {
            // RFC 5761 section 4.
            if to != path(self.id as u16) || !(192..224).contains(&datagram[1]) {
                continue;
            }
            let len = self.receiver.open_rtcp(&mut datagram).unwrap();
            CompoundIter::new(&datagram[..len]).flatten().for_each(|packet| each(&packet));
        }
    }
}

fn mid(number: u32) -> Mid {
    Mid::parse(&number.to_string()).unwrap()
}

/// A slot for a picture, with an SSRC of 100 and its number.
fn slot(number: u32) -> DownMedia {
    DownMedia {
        mid: mid(number),
        kind: MediaKind::Video,
        ssrc: StreamSsrc { media: Ssrc(100 + number), rtx: None },
        codecs: vec![codec(MediaKind::Video)],
    }
}

/// A section that the peer sends under this payload type, named by its SSRC.
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

/// Threats, row 30: what is bounded is what is in use.
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
    // A forger's packets are no sign of life.
    for _ in 0..31 {
        now += ms(1_000);
        worker.take_datagram(now, path(1), &mut [0x80; 60]);
        worker.call_due(now);
    }
    assert!(worker.sessions.at(peer.at).is_none());
    let reason = CloseReason::ConsentExpired;
    assert!(bench.events().contains(&Event::Closed { session: SessionId(1), reason }));
}

#[test]
fn a_viewer_that_sends_reports_and_no_checks_stays_connected() {
    let (mut bench, start) = (bench(), Instant::now());
    let worker = &mut bench.worker;
    let mut viewer = Peer::connect(worker, start, 2, |plan| plan.down = vec![slot(0)]);
    let mut now = start;
    for _ in 0..60 {
        now += ms(10_000);
        viewer.send_rtcp(worker, now, |rtcp| rtcp.rr(Ssrc(5), &[]).unwrap());
        worker.call_due(now);
    }
    assert!(worker.sessions.at(viewer.at).is_some());
    now += ms(31_000);
    worker.call_due(now);
    assert!(worker.sessions.at(viewer.at).is_none());
}

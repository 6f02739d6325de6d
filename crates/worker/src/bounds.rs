//! Tests: the limits of what one participant may use up (memory and rates), in workers without sockets. Other
//! participants must not notice.

use std::time::{Duration, Instant};

use model::{
    Binding, Command, DownMedia, DropReason, MediaKind, Mid, PtMapping, SessionId, SessionPlan,
    Ssrc, StreamSsrc, TrackId, UpMedia,
};
use transport::srtp::Sender;

use crate::{
    core::{
        Worker,
        tests::{Bench, PT, benches_with, codec, open, path, plan},
    },
    sessions::SessionRef,
    threats::connect,
};

/// A publisher with its SRTP sender, and the next sequence number of each of its streams.
struct Publisher {
    session: u64,
    sender: Sender,
    sequences: Vec<u64>,
    /// The next packet begins a key frame.
    key: bool,
}

fn mid(at: usize) -> Mid {
    Mid::parse(&at.to_string()).unwrap()
}

fn track(session: u64, at: usize) -> TrackId {
    TrackId(session * 1_000 + at as u64)
}

fn ssrc(at: usize) -> Ssrc {
    Ssrc(100 + at as u32)
}

impl Publisher {
    /// A connected publisher of this number of videos.
    fn new(worker: &mut Worker, now: Instant, session: u64, videos: usize) -> Self {
        let mut plan: SessionPlan = (*plan(session)).clone();
        let mut codec = codec(MediaKind::Video);
        codec.feedback.pli = true;
        let up = |at| UpMedia {
            track: track(session, at),
            mid: mid(at),
            kind: MediaKind::Video,
            codecs: vec![codec.clone()],
            rids: Vec::new(),
            ssrcs: vec![StreamSsrc { media: ssrc(at), rtx: None }],
        };
        plan.up = (0..videos).map(up).collect();
        let entry = open(worker, plan.into());
        worker.paths.pend(now, path(session as u16), &entry, true);
        let at = worker.settle(now, &entry).unwrap();
        let sender = connect(worker, now, at);
        Self { session, sender, sequences: vec![0; videos], key: false }
    }

    /// The next packet of a video, with this many bytes of payload. The first one begins a key frame.
    fn packet(&mut self, at: usize, payload: usize) -> Vec<u8> {
        let sequence = self.sequences[at];
        self.sequences[at] += 1;
        let mut bytes = vec![0; 12 + payload + 64];
        bytes[0] = 0x80;
        bytes[1] = 0x80 | PT.0;
        bytes[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&(sequence as u32 * 3_000).to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc(at).0.to_be_bytes());
        // RFC 7741 section 4.2 and 4.3: a partition begins; P = 0 is a key frame.
        bytes[12] = 0x10;
        let key = std::mem::take(&mut self.key) || sequence == 0;
        bytes[13] = u8::from(!key);
        let len =
            self.sender.seal_rtp(&mut bytes, 12, 12 + payload, (sequence >> 16) as u32).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn send(&mut self, bench: &mut Bench, now: Instant, at: usize, payload: usize) {
        let mut packet = self.packet(at, payload);
        bench.worker.take_datagram(now, path(self.session as u16), &mut packet);
    }
}

/// A connected viewer of one video.
fn viewer(bench: &mut Bench, now: Instant, id: u64, publisher: u64, video: usize) -> SessionRef {
    let mut plan = (*plan(id)).clone();
    let ssrc = StreamSsrc { media: Ssrc(20 + id as u32), rtx: None };
    let codecs = vec![codec(MediaKind::Video)];
    plan.down = vec![DownMedia { mid: mid(0), kind: MediaKind::Video, ssrc, codecs }];
    let entry = open(&bench.worker, plan.into());
    bench.worker.paths.pend(now, path(id as u16), &entry, true);
    let at = bench.worker.settle(now, &entry).unwrap();
    connect(&mut bench.worker, now, at);
    let mapping =
        PtMapping { up: PT, down: PT, down_rtx: None, unwrap_red: false, clock_rate: 90_000 };
    let binding = Binding {
        track: track(publisher, video),
        publisher: SessionId(publisher),
        payload_types: [mapping].into(),
    };
    let slots = vec![(mid(0), Some(binding))];
    bench.command(Command::Bind { session: SessionId(id), slots });
    bench.worker.take_notices(now);
    at
}

fn dropped(bench: &Bench, reason: DropReason) -> u64 {
    bench.worker.counters.dropped_in[reason as usize].value()
}

/// How many packets of a video can be requested again.
fn kept(bench: &mut Bench, session: u64, at: usize) -> usize {
    let worker = &mut bench.worker;
    let found = worker.tracks.by_id(track(session, at));
    let mirror = found.and_then(|at| worker.tracks.at(at)).map(|t| &t.mirror);
    let stream = router::StreamId::new(0, 0);
    let all = (0x1_0000..0x1_1000).map(rtp::sequence::ExtSeq);
    mirror.map_or(0, |m| all.filter(|seq| m.find(stream, *seq).is_some()).count())
}

const MIB: usize = 1 << 20;

#[test]
fn a_publisher_at_its_memory_bound_loses_its_oldest_packets_and_other_publishers_lose_none() {
    let now = Instant::now();
    let mut benches = benches_with(1, |config| {
        config.packet_memory = Some(16 * MIB);
        config.session_packet_memory = 2 * MIB;
    });
    let bench = &mut benches[0];
    let mut good = Publisher::new(&mut bench.worker, now, 1, 1);
    let mut greedy = Publisher::new(&mut bench.worker, now, 2, 16);
    viewer(bench, now, 10, 1, 0);
    for video in 0..16 {
        viewer(bench, now, 20 + video, 2, video as usize);
    }
    for i in 0..300 {
        good.send(bench, now, 0, 1_000);
        for video in 0..16 {
            greedy.send(bench, now, video, 300 + i);
        }
        while bench.worker.send_due(now) {}
        bench.worker.outbox.flush();
        bench.worker.outbox.drain();
    }
    let used = bench.worker.pool.stats().used_bytes;
    assert!((2 * MIB..3 * MIB).contains(&used), "{used}");
    assert_eq!(bench.worker.counters.rtp_accepted.value(), 300 * 17, "all are forwarded");
    assert_eq!(bench.worker.counters.forwarded.value(), 300 * 17);
    assert!(bench.worker.counters.packets_let_go.value() > 1_000);
    assert_eq!(kept(bench, 1, 0), 300, "of the other one all can be asked for again");
    let left: Vec<usize> = (0..16).map(|video| kept(bench, 2, video)).collect();
    assert!(left.iter().all(|n| (40..120).contains(n)), "the newest of each stay: {left:?}");
    assert_eq!(dropped(bench, DropReason::SessionMemory), 0);
}

#[test]
fn if_all_publishers_need_more_memory_than_there_is_each_keeps_less_and_no_packet_is_refused() {
    const PUBLISHERS: u64 = 30;
    let start = Instant::now();
    let mut benches = benches_with(1, |config| config.packet_memory = Some(8 * MIB));
    let bench = &mut benches[0];
    let mut publishers: Vec<_> =
        (1..=PUBLISHERS).map(|id| Publisher::new(&mut bench.worker, start, id, 1)).collect();
    (1..=PUBLISHERS).for_each(|id| _ = viewer(bench, start, 100 + id, id, 0));
    // 500 packets a second each: one second of all packets is 25 MB, and the memory is 8 MiB.
    for i in 0..1_000 {
        let now = start + Duration::from_millis(2) * i;
        publishers.iter_mut().for_each(|publisher| publisher.send(bench, now, 0, 1_000));
        while bench.worker.send_due(now) {}
        bench.worker.outbox.flush();
        bench.worker.outbox.drain();
    }
    let counters = &bench.worker.counters;
    assert_eq!(counters.rtp_accepted.value(), 1_000 * PUBLISHERS);
    assert_eq!(counters.forwarded.value(), 1_000 * PUBLISHERS);
    let left: Vec<usize> = (1..=PUBLISHERS).map(|id| kept(bench, id, 0)).collect();
    assert!(left.iter().all(|n| (20..300).contains(n)), "each keeps its share: {left:?}");
    assert!(left.iter().sum::<usize>() > 2_000, "and the memory is used: {left:?}");
}

#[test]
fn at_the_bound_new_packets_are_refused_cheaply_while_old_ones_are_still_held() {
    let now = Instant::now();
    let mut benches = benches_with(1, |config| config.session_packet_memory = MIB);
    let bench = &mut benches[0];
    let mut greedy = Publisher::new(&mut bench.worker, now, 2, 1);
    viewer(bench, now, 20, 2, 0);
    // Nothing is sent, so a run holds all packets that arrive.
    for _ in 0..1_000 {
        greedy.send(bench, now, 0, 1_000);
    }
    let refused = dropped(bench, DropReason::SessionMemory);
    assert!(refused > 300, "{refused}");
    let before = bench.worker.pool.stats().probes;
    for _ in 0..1_000 {
        greedy.send(bench, now, 0, 1_000);
    }
    let probes = bench.worker.pool.stats().probes - before;
    assert!(probes < 10 * 1_000, "{probes} packets were looked at for 1,000 refusals");
    // Packets that are sent make room.
    while bench.worker.send_due(now) {}
    greedy.send(bench, now + Duration::from_millis(20), 0, 1_000);
    assert_eq!(dropped(bench, DropReason::SessionMemory), refused + 1_000);
}

#[test]
fn a_silent_publisher_gives_its_memory_back_within_three_seconds() {
    let start = Instant::now();
    let mut benches = benches_with(1, |_| ());
    let bench = &mut benches[0];
    let mut silent = Publisher::new(&mut bench.worker, start, 1, 16);
    for video in 0..16 {
        viewer(bench, start, 20 + video, 1, video as usize);
    }
    for _ in 0..200 {
        (0..16).for_each(|video| silent.send(bench, start, video, 1_000));
    }
    bench.worker.clock = crate::core::Clock::Set(start);
    while bench.worker.turn() {}
    assert!(bench.worker.counters.packet_bytes_used.value() > 3_000 * 1_000);
    // The worker wakes up for its timers; no datagram arrives.
    for tick in 1..=50 {
        bench.worker.clock = crate::core::Clock::Set(start + Duration::from_millis(50) * tick);
        bench.worker.turn();
    }
    assert_eq!(bench.worker.counters.packet_bytes_used.value(), 0);
}

#[test]
fn other_workers_let_go_of_what_the_publishers_worker_lets_go() {
    let now = Instant::now();
    let mut benches = benches_with(2, |config| config.session_packet_memory = MIB);
    let mut greedy = Publisher::new(&mut benches[0].worker, now, 2, 1);
    viewer(&mut benches[1], now, 20, 2, 0);
    benches[0].worker.take_messages(now);
    for millis in 0..1_000 {
        let now = now + Duration::from_millis(millis);
        greedy.send(&mut benches[0], now, 0, 1_000);
        benches[1].worker.take_messages(now);
        benches[1].worker.take_media(now);
        while benches[1].worker.send_due(now) {}
    }
    assert_eq!(dropped(&benches[0], DropReason::SessionMemory), 0);
    assert_eq!(benches[1].worker.counters.forwarded.value(), 1_000);
    assert!((100..700).contains(&kept(&mut benches[1], 2, 0)));
}

/// An RTCP packet that reports these sequence numbers of the viewer's slot as lost, with a picture loss if `pli`.
fn rtcp(peer: &mut Sender, media: Ssrc, lost: std::ops::Range<u16>, pli: bool) -> Vec<u8> {
    let mut bytes = vec![0; 1_500];
    let mut writer = rtp::rtcp::RtcpWriter::new(&mut bytes);
    writer.rr(Ssrc(5), &[]).unwrap();
    if !lost.is_empty() {
        writer.nack(Ssrc(5), media, &mut lost.into_iter()).unwrap();
    }
    if pli {
        writer.pli(Ssrc(5), media).unwrap();
    }
    let len = writer.as_bytes().len();
    let len = peer.seal_rtcp(&mut bytes, len).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn a_publisher_over_its_rate_is_dropped_before_decryption_and_others_are_not() {
    let start = Instant::now();
    let mut benches = benches_with(1, |config| {
        config.rates.media_bits = 8_000_000;
        config.rates.media_packets = 10_000;
    });
    let bench = &mut benches[0];
    let mut fast = Publisher::new(&mut bench.worker, start, 1, 1);
    let mut good = Publisher::new(&mut bench.worker, start, 2, 1);
    // 4,000 packets of 1,000 bytes a second are four times the limit, for three seconds.
    for i in 0..12_000 {
        let now = start + Duration::from_micros(250) * i;
        fast.send(bench, now, 0, 1_000);
        if i % 10 == 0 {
            good.send(bench, now, 0, 1_000);
        }
    }
    let accepted = bench.worker.counters.rtp_accepted.value() - 1_200;
    // A second's worth at once, and three seconds more; a packet is 1,028 bytes with header and tag.
    assert!((3_850..3_950).contains(&accepted), "{accepted}");
    assert_eq!(dropped(bench, DropReason::MediaRate), 12_000 - accepted);
    // A packet that was dropped was not decrypted: the same packet is no replay later.
    let now = start + Duration::from_secs(3);
    let before = bench.worker.counters.rtp_accepted.value();
    let refused = loop {
        let (packet, dropped_before) =
            (fast.packet(0, 1_000), dropped(bench, DropReason::MediaRate));
        bench.worker.take_datagram(now, path(1), &mut packet.clone());
        if dropped(bench, DropReason::MediaRate) > dropped_before {
            break packet;
        }
    };
    assert!(bench.worker.counters.rtp_accepted.value() <= before + 2);
    let before = bench.worker.counters.rtp_accepted.value();
    bench.worker.take_datagram(now + Duration::from_secs(1), path(1), &mut refused.clone());
    assert_eq!(dropped(bench, DropReason::SrtpReplay), 0);
    assert_eq!(bench.worker.counters.rtp_accepted.value(), before + 1);
}

#[test]
fn forged_packets_use_up_nothing_of_a_publishers_rate() {
    let now = Instant::now();
    let mut benches = benches_with(1, |config| config.rates.media_packets = 100);
    let bench = &mut benches[0];
    let mut good = Publisher::new(&mut bench.worker, now, 1, 1);
    for _ in 0..1_000 {
        let mut forged = good.packet(0, 100);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        bench.worker.take_datagram(now, path(1), &mut forged);
    }
    assert_eq!(dropped(bench, DropReason::SrtpAuth), 1_000);
    for _ in 0..100 {
        good.send(bench, now, 0, 100);
    }
    assert_eq!(bench.worker.counters.rtp_accepted.value(), 100);
}

#[test]
fn a_session_sends_rtcp_up_to_its_limit_and_no_more() {
    let now = Instant::now();
    let mut benches = benches_with(1, |config| config.rates.rtcp_packets = 50);
    let bench = &mut benches[0];
    let at = crate::core::tests::settled(&mut bench.worker, 1, now);
    let mut peer = connect(&mut bench.worker, now, at);
    for i in 0..300 {
        let mut bytes = rtcp(&mut peer, Ssrc(9), 0..0, false);
        bench.worker.take_datagram(now + Duration::from_millis(10) * i, path(1), &mut bytes);
    }
    // 50 at once, and 50 in each of three seconds.
    let taken = bench.worker.counters.rtcp.value();
    assert!((199..=200).contains(&taken), "{taken}");
    assert_eq!(dropped(bench, DropReason::RtcpRate), 300 - taken);
}

#[test]
fn a_viewer_reports_missing_packets_up_to_its_limit_and_no_more() {
    let now = Instant::now();
    let mut benches = benches_with(1, |config| config.rates.nacks = 1_000);
    let bench = &mut benches[0];
    let mut publisher = Publisher::new(&mut bench.worker, now, 1, 1);
    let at = viewer(bench, now, 10, 1, 0);
    let mut peer = connect(&mut bench.worker, now, at);
    publisher.send(bench, now, 0, 100);
    for first in 0..20u16 {
        let first = first * 200;
        let mut bytes = rtcp(&mut peer, Ssrc(30), first..first + 200, false);
        bench.worker.take_datagram(now, path(10), &mut bytes);
        while bench.worker.send_due(now) {}
    }
    let counters = &bench.worker.counters;
    assert_eq!(counters.rtcp.value(), 20);
    assert_eq!(counters.dropped_out[DropReason::NackRate as usize].value(), 3_000);
    let others: u64 = counters.dropped_out.iter().map(|c| c.value()).sum();
    assert_eq!(
        counters.offered.value(),
        counters.forwarded.value() + others,
        "all is accounted for"
    );
}

#[test]
fn picture_losses_of_one_viewer_are_answered_slower_and_those_of_another_at_once() {
    let start = Instant::now();
    let mut benches = benches_with(1, |_| ());
    let bench = &mut benches[0];
    let mut publisher = Publisher::new(&mut bench.worker, start, 1, 1);
    let (bad, good) = (viewer(bench, start, 10, 1, 0), viewer(bench, start, 11, 1, 0));
    let mut bad_peer = connect(&mut bench.worker, start, bad);
    let mut good_peer = connect(&mut bench.worker, start, good);
    let mut asked = Vec::new();
    for tick in 0..300 {
        let now = start + Duration::from_millis(100) * tick;
        publisher.send(bench, now, 0, 100);
        while bench.worker.send_due(now) {}
        let mut bytes = rtcp(&mut bad_peer, Ssrc(30), 0..0, true);
        bench.worker.take_datagram(now, path(10), &mut bytes);
        if tick == 255 {
            let mut bytes = rtcp(&mut good_peer, Ssrc(31), 0..0, true);
            bench.worker.take_datagram(now, path(11), &mut bytes);
        }
        let worker = &mut bench.worker;
        let at = worker.sessions.by_id(SessionId(1)).unwrap();
        let stats = worker.sessions.at(at).unwrap().ups[0].up.stats(now).layers[0];
        if stats.keyframe_requests > asked.len() as u64 {
            asked.push(tick);
            publisher.key = true;
        }
    }
    // The first one is answered at once, the next ones after 1, 2, 4 and 8 seconds, and then every 8 seconds; that of
    // the other viewer at once.
    assert!(asked.contains(&255), "{asked:?}");
    assert!((5..=8).contains(&asked.len()), "{asked:?}");
    assert!(bench.worker.counters.key_frames_deferred.value() > 200);
}

/// How many datagrams each of 40 viewers got in each second of video, on a line that takes `share` datagrams per
/// picture. The first 2 s are left out.
fn shares_of_a_full_line(pictures: u32, share: usize) -> Vec<Vec<u32>> {
    const VIEWERS: u64 = 40;
    let start = Instant::now();
    let mut benches = benches_with(1, |_| ());
    let bench = &mut benches[0];
    let mut publisher = Publisher::new(&mut bench.worker, start, 1, 1);
    (0..VIEWERS).for_each(|id| _ = viewer(bench, start, 100 + id, 1, 0));
    let mut seconds = vec![vec![0; VIEWERS as usize]; pictures as usize / 25];
    for picture in 0..pictures {
        let now = start + Duration::from_millis(40) * picture;
        bench.worker.outbox.refill(share);
        publisher.send(bench, now, 0, 1_000);
        while bench.worker.send_due(now) {}
        bench.worker.outbox.flush();
        for (to, datagram) in bench.worker.outbox.drain() {
            let Some(viewer) = usize::from(to.remote.port()).checked_sub(100) else { continue };
            // RFC 5761 section 4: not RTCP.
            seconds[picture as usize / 25][viewer] += u32::from(!(192..224).contains(&datagram[1]));
        }
    }
    seconds.split_off(2)
}

#[test]
fn on_a_full_socket_all_viewers_lose_the_same() {
    for second in shares_of_a_full_line(250, 25) {
        let (least, most) = (*second.iter().min().unwrap(), *second.iter().max().unwrap());
        assert!(least * 4 >= most * 3, "{second:?}");
        assert!(second.iter().sum::<u32>() >= 25 * 20, "the line is used: {second:?}");
    }
}

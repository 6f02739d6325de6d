//! Tests: how long a slot that is bound to another track waits for its first packet, on a virtual clock: publishers that send a key frame
//! only when they are asked, one round trip and a picture later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::{Binding, Codec, Command, MediaKind, PtMapping, SessionId, TrackId, UpMedia};
use rtp::rtcp::{CompoundIter, RtcpPacket};

use crate::core::tests::{Bench, PT, bench, codec};
use crate::peers::{Peer, mid, slot, up};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// From a request to the publisher until the first packet of the answer can arrive: the way there and back.
const ROUND_TRIP: u64 = 40;
/// Time between pictures.
const PICTURE: u64 = 33;
const VIEWER: u64 = 9;

/// A publisher of one video: session, track and SSRC have one number.
struct Camera {
    peer: Peer,
    number: u64,
    /// When requests for key frames reach the encoder.
    asked: VecDeque<u64>,
    /// When requests were sent, in all.
    requests: Vec<u64>,
    /// Packets of a picture.
    packets: usize,
}

struct Stage {
    bench: Bench,
    start: Instant,
    millis: u64,
    cameras: Vec<Camera>,
    viewer: Peer,
    /// Packets that the viewer got since the last command: time, sequence number, first byte of the data.
    got: Vec<(u64, u16, u8)>,
    last: Option<u16>,
}

impl Stage {
    /// Two cameras that have sent a key frame each, and nobody watches.
    fn new() -> Self {
        let (mut bench, start) = (bench(), Instant::now());
        let mut camera = |number: u64| {
            let mut codec = codec(MediaKind::Video);
            (codec.codec, codec.feedback.pli) = (Codec::Vp8, true);
            let peer = Peer::connect(&mut bench.worker, start, number, |plan| {
                let up = up(number as u32, number as u32, PT);
                plan.up = vec![UpMedia { kind: MediaKind::Video, codecs: vec![codec], ..up }];
            });
            Camera { peer, number, asked: [0].into(), requests: Vec::new(), packets: 1 }
        };
        let cameras = vec![camera(1), camera(2)];
        let viewer =
            Peer::connect(&mut bench.worker, start, VIEWER, |plan| plan.down = vec![slot(0)]);
        Self { bench, start, millis: 0, cameras, viewer, got: Vec::new(), last: None }
    }

    fn now(&self) -> Instant {
        self.start + ms(self.millis)
    }

    /// Lets time pass, in steps of a millisecond.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.millis += 1;
            let now = self.now();
            for camera in &mut self.cameras {
                if self.millis % PICTURE == camera.number {
                    camera.picture(&mut self.bench, now, self.millis);
                }
            }
            self.bench.worker.call_due(now);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let (now, millis) = (self.now(), self.millis);
        let worker = &mut self.bench.worker;
        while worker.send_due(now) {}
        worker.outbox.flush();
        for (to, datagram) in worker.outbox.drain() {
            if let Some((number, payload)) = self.viewer.open_rtp(to, &datagram) {
                let follows = self.last.replace(number).is_none_or(|l| l.wrapping_add(1) == number);
                assert!(follows, "a gap before {number}");
                self.got.push((millis, number, payload[1]));
            }
            for camera in &mut self.cameras {
                let compound = camera.peer.open_rtcp(to, &datagram).unwrap_or_default();
                for packet in CompoundIter::new(&compound).flatten() {
                    if let RtcpPacket::Pli { .. } = packet {
                        camera.requests.push(millis);
                        camera.asked.push_back(millis + ROUND_TRIP);
                    }
                }
            }
        }
    }

    /// Binds the viewer's slot to a track, or to none.
    fn bind(&mut self, track: Option<u64>) {
        let binding = track.map(|track| {
            let mapping = PtMapping {
                up: PT,
                down: PT,
                down_rtx: None,
                unwrap_red: false,
                clock_rate: 90_000,
            };
            let payload_types = [mapping].into();
            Binding { track: TrackId(track), publisher: SessionId(track), payload_types }
        });
        let slots = vec![(mid(0), binding)];
        self.bench.command(Command::Bind { session: SessionId(VIEWER), slots });
        self.got.clear();
        let now = self.now();
        self.bench.worker.take_notices(now);
        self.flush();
    }

    /// Switches to a track, and returns how many milliseconds later its first packet leaves.
    fn switch(&mut self, track: u64) -> u64 {
        let at = self.millis;
        self.bind(Some(track));
        for _ in 0..3_000 {
            if let Some((first, _, data)) = self.got.first() {
                assert_eq!(*data, KEY, "it begins with a key frame");
                return first - at;
            }
            self.pass(1);
        }
        panic!("no packet within three seconds");
    }

    fn requests(&self, camera: usize) -> &[u64] {
        &self.cameras[camera].requests
    }
}

/// The first byte of the frame (RFC 7741 section 4.3): P is 0 in key frames.
const KEY: u8 = 0;

impl Camera {
    fn picture(&mut self, bench: &mut Bench, now: Instant, millis: u64) {
        let key = self.asked.front().is_some_and(|at| *at <= millis);
        if key {
            self.asked.clear();
        }
        let payload = [0x10, u8::from(!key), 5, 5, 5];
        let ssrc = self.number as u32;
        self.peer.send_payload(&mut bench.worker, now, ssrc, PT, &payload);
        for _ in 1..self.packets {
            self.peer.send_payload(&mut bench.worker, now, ssrc, PT, &[0x00, 1, 5, 5]);
        }
    }
}

#[test]
fn a_switch_to_a_track_with_a_young_key_frame_takes_no_time() {
    let mut stage = Stage::new();
    stage.pass(500);
    assert_eq!(stage.switch(1), 0);
    assert_eq!(stage.got.len(), 16, "all pictures since the key frame");
    stage.pass(300);
    assert_eq!(stage.switch(2), 0);
    assert_eq!((stage.requests(0), stage.requests(1)), (&[][..], &[][..]));
}

#[test]
fn a_switch_to_a_track_with_an_old_key_frame_asks_at_once_and_takes_a_round_trip_and_a_picture() {
    let mut stage = Stage::new();
    stage.pass(10_000);
    for (track, at) in [(1, 10_000), (2, 15_000), (1, 20_000)] {
        stage.pass(at - stage.millis);
        let took = stage.switch(track);
        assert!((ROUND_TRIP..=ROUND_TRIP + PICTURE).contains(&took), "{took}");
        assert_eq!(stage.requests(track as usize - 1).last(), Some(&at), "with the command");
    }
}

#[test]
fn a_switch_back_within_two_seconds_does_not_wait_for_the_next_request() {
    for away in (100..2_000).step_by(150) {
        for shows in [true, false] {
            let mut stage = Stage::new();
            stage.pass(1_500);
            stage.switch(1);
            stage.pass(5);
            // Away, to a track that shows something, or to none.
            stage.bind(shows.then_some(2));
            stage.pass(away);
            let took = stage.switch(1);
            assert!(took <= ROUND_TRIP + PICTURE, "{took} ms after {away} ms, {shows}");
        }
    }
}

#[test]
fn a_hundred_switches_in_a_row_ask_each_publisher_at_most_once_a_second() {
    let mut stage = Stage::new();
    stage.pass(5_000);
    let mut slowest = 0;
    for turn in 0..100 {
        slowest = slowest.max(stage.switch(1 + turn % 2));
        stage.pass(37 * (turn % 13));
    }
    assert!(slowest <= ROUND_TRIP + PICTURE, "{slowest}");
    for camera in 0..2 {
        let requests = stage.requests(camera);
        assert!(requests.windows(2).all(|w| w[1] - w[0] >= 1_000), "{requests:?}");
    }
}

/// The worst case: the last key frame is too many packets ago to begin with (more than 256), and less than a second ago, so that no other
/// one may be requested yet (threats row 34).
#[test]
fn a_switch_back_to_a_track_of_five_megabits_may_wait_for_the_rest_of_a_second() {
    let mut slowest = 0;
    for away in (10..1_500).step_by(110) {
        let mut stage = Stage::new();
        stage.cameras[0].packets = 18;
        stage.pass(1_500);
        stage.switch(1);
        stage.pass(10);
        stage.bind(Some(2));
        stage.pass(away);
        slowest = slowest.max(stage.switch(1));
    }
    assert!((400..1_000 + ROUND_TRIP + PICTURE).contains(&slowest), "{slowest}");
}

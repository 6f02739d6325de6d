//! A slot that shows one track after another, of any codecs, with layers of descriptors or without: a receiver sees one stream. Sequence
//! numbers, timestamps, picture ids, TL0PICIDX and frame numbers continue, each track begins with a key frame, and nothing
//! of the track before it comes after it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use model::{Binding, Codec, DropReason, MediaKind, Pt, PtMapping, SessionId, UpMedia};
use proptest::prelude::*;
use rtp::dependency_descriptor::DependencyDescriptor;
use rtp::{ParsedExtensions, RtpPacket};
use sfumato_router::{CatchUpLimits, DownTrack, Packet, Pick};
use support::*;

/// What a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vp8,
    Vp9,
    H264,
    /// Encrypted end to end: only the descriptor tells.
    H264Sealed,
    Av1Sealed,
    Vp9Sealed,
}

const KINDS: [Kind; 6] =
    [Kind::Vp8, Kind::Vp9, Kind::H264, Kind::H264Sealed, Kind::Av1Sealed, Kind::Vp9Sealed];

impl Kind {
    fn codec(self) -> Codec {
        match self {
            Kind::Vp8 => Codec::Vp8,
            Kind::Vp9 | Kind::Vp9Sealed => Codec::Vp9,
            Kind::H264 | Kind::H264Sealed => Codec::H264,
            Kind::Av1Sealed => Codec::Av1,
        }
    }

    fn has_descriptor(self) -> bool {
        matches!(self, Kind::H264Sealed | Kind::Av1Sealed | Kind::Vp9Sealed)
    }

    /// Payload types of a publisher and of the slot, by codec.
    fn types(self) -> (Pt, Pt) {
        let number = KINDS.iter().position(|kind| kind.codec() == self.codec()).unwrap() as u8;
        (Pt(96 + number), Pt(106 + number))
    }
}

/// Parameter sets and the begin of an IDR picture in one packet, as browsers send them (RFC 6184 section 5.7.1).
const STAP: [u8; 17] =
    [0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 4, 0x68, 0xce, 0x3c, 0x80, 0, 2, 0x65, 0x88];

/// A publisher of one track.
struct Sender {
    kind: Kind,
    ssrc: u32,
    sequence: u16,
    clock: u32,
    picture: u16,
    tl0: u8,
    frame: u16,
    rig: Rig,
    /// Packets sent so far.
    position: u64,
    positions: BTreeMap<u16, u64>,
}

impl Sender {
    fn new(track: u64, kind: Kind, random: &mut Random, now: Instant) -> Self {
        let mut media = video(track, "0", &[], &[]);
        media.codecs = vec![codec(kind.codec(), kind.types().0, None)];
        // Half of all numbers wrap soon.
        let mut start = |bits: u32| {
            let all = (1_u64 << bits) - 1;
            if random.percent(50) { all - random.below(30) } else { random.next() & all }
        };
        Self {
            kind,
            ssrc: 1_000 + track as u32,
            sequence: start(16) as u16,
            clock: (start(32) as u32).wrapping_sub(90_000),
            picture: start(15) as u16,
            tl0: start(8) as u8,
            frame: start(16) as u16,
            rig: Rig::new(media, now),
            position: 0,
            positions: BTreeMap::new(),
        }
    }

    /// The packets of the next picture.
    fn picture(
        &mut self,
        millis: u64,
        packets: u8,
        key: bool,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        self.frame = self.frame.wrapping_add(1);
        let timestamp = self.clock.wrapping_add((millis * 90) as u32);
        let packets = 0..packets;
        let last = packets.end - 1;
        let made = packets.map(|at| {
            let (start, end) = (at == 0, at == last);
            let payload = self.payload(key, start, end, random);
            let mut raw =
                Raw::new(self.ssrc, self.kind.types().0, self.sequence, timestamp, payload);
            raw.marker = end;
            if self.kind.has_descriptor() {
                raw.descriptor = Some(descriptor(key, start, end, self.frame));
            }
            self.positions.insert(self.sequence, self.position);
            self.position += 1;
            self.sequence = self.sequence.wrapping_add(1);
            raw.bytes()
        });
        made.collect()
    }

    fn payload(&self, key: bool, start: bool, end: bool, random: &mut Random) -> Vec<u8> {
        let sealed: Vec<u8> = (0..40).map(|_| random.next() as u8).collect();
        let vp9 = || {
            let flags = 0xa0 | u8::from(!key) << 6 | u8::from(start) << 3 | u8::from(end) << 2;
            let [high, low] = (0x8000 | self.picture).to_be_bytes();
            vec![flags, high, low, 0, self.tl0]
        };
        match self.kind {
            Kind::Vp8 => Vp8 {
                start,
                key: key && start,
                picture: self.picture,
                long_id: true,
                tl0: self.tl0,
            }
            .payload(&sealed),
            Kind::Vp9 => {
                // frame_marker, frame type and sync code (VP9 bitstream specification, section 6.2).
                let head: &[u8] = if key { &[0x82, 0x49, 0x83, 0x42, 0] } else { &[0x86, 0, 0x40] };
                [&vp9()[..], head].concat()
            }
            Kind::H264 if start && key => STAP.to_vec(),
            Kind::H264 if start => vec![0x41, 0x9a, 0x24],
            // FU-A that begins no unit.
            Kind::H264 => vec![0x5c, 0x05, 0x12],
            Kind::H264Sealed | Kind::Av1Sealed => sealed,
            Kind::Vp9Sealed => [vp9(), sealed].concat(),
        }
    }
}

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A picture of all tracks; a bit for each track whose picture is a key frame.
    Pictures { packets: u8, keys: u8 },
    /// Another track is bound, or none.
    Bind(Option<u8>),
    /// What waits at the exit leaves.
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1u8..5, any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(packets, a, b, c)| Step::Pictures { packets, keys: a & b & c }),
        3 => prop::option::weighted(0.9, 0u8..8).prop_map(Step::Bind),
        20 => Just(Step::Leave),
    ]
}

/// A packet that the receiver got.
#[derive(Debug, Clone)]
struct Got {
    track: usize,
    /// Counts the times that a track was bound.
    bound: u32,
    /// Position in what the publisher sent.
    position: u64,
    seq: u64,
    pt: Pt,
    timestamp: u32,
    picture: Option<u16>,
    tl0: Option<u8>,
    frame: Option<u16>,
    key: bool,
    structure: bool,
    arrival: Instant,
}

struct World {
    senders: Vec<Sender>,
    down: DownTrack,
    bound: (u32, Option<usize>),
    /// Under way to the node: when it is due, whose packet it is, and the packet.
    flight: Vec<(u64, usize, Vec<u8>)>,
    /// Selected packets that have not left yet.
    exit: VecDeque<(usize, Arc<Packet>, Pick)>,
    random: Random,
    loss: u64,
    reorder: u64,
    begin: Instant,
    millis: u64,
    got: Vec<Got>,
}

impl World {
    fn new(seed: u64, kinds: &[Kind], loss: u64, reorder: u64) -> Self {
        let (begin, mut random) = (start(), Random(seed));
        let senders: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| Sender::new(at as u64 + 1, *kind, &mut random, begin))
            .collect();
        let mut down = down_track(&senders[0].rig.media, true, begin);
        down.bind(None);
        Self {
            senders,
            down,
            bound: (0, None),
            flight: Vec::new(),
            exit: VecDeque::new(),
            random,
            loss,
            reorder,
            begin,
            millis: 0,
            got: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.begin + ms(self.millis)
    }

    /// The first picture of each track is a key frame, which arrives: a publisher begins with one, and repairs it.
    fn begin(&mut self) {
        let loss = std::mem::take(&mut self.loss);
        self.step(&Step::Pictures { packets: 2, keys: u8::MAX });
        self.loss = loss;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pictures { packets, keys } => {
                self.millis += 33;
                for at in 0..self.senders.len() {
                    let key = keys >> at & 1 == 1;
                    let made =
                        self.senders[at].picture(self.millis, packets, key, &mut self.random);
                    for raw in made {
                        if !self.random.percent(self.loss) {
                            let late = u64::from(self.random.percent(self.reorder));
                            let due = self.millis + late * self.random.below(90);
                            self.flight.push((due, at, raw));
                        }
                    }
                }
                self.arrive();
            }
            Step::Bind(track) => self.bind(track.map(|t| usize::from(t) % self.senders.len())),
            Step::Leave => self.leave(),
        }
    }

    fn bind(&mut self, track: Option<usize>) {
        if self.bound.1 == track {
            return;
        }
        self.bound = (self.bound.0 + 1, track);
        let Some(at) = track else { return self.down.bind(None) };
        let sender = &self.senders[at];
        self.down.bind(Some(binding_of(&sender.rig.media, sender.kind)));
        // As a worker does: the slot begins with the last key frame, if it is young.
        let (now, mirror) = (self.now(), &sender.rig.mirror);
        let packets: Vec<_> =
            self.down.catch_up(now, mirror, CatchUpLimits::default()).cloned().collect();
        packets.into_iter().for_each(|packet| self.select(at, packet));
    }

    fn select(&mut self, at: usize, packet: Arc<Packet>) {
        if let Ok(pick) = self.down.select(&self.senders[at].rig.mirror, &packet) {
            self.exit.push_back((at, packet, pick));
        }
    }

    fn arrive(&mut self) {
        self.flight.sort_by_key(|(due, ..)| *due);
        while self.flight.first().is_some_and(|(due, ..)| *due <= self.millis) {
            let (_, at, raw) = self.flight.remove(0);
            let now = self.now();
            let Ok(packet) = self.senders[at].rig.receive(now, &raw) else { continue };
            // A packet of another track than the one that is bound is refused.
            self.select(at, packet);
        }
    }

    fn leave(&mut self) {
        while let Some((at, packet, pick)) = self.exit.pop_front() {
            let (now, mut out) = (self.now(), vec![0; 2_048]);
            let sender = &self.senders[at];
            let written = self.down.write(&leave(now), &sender.rig.mirror, &packet, pick, &mut out);
            match written {
                Ok(written) => {
                    out.truncate(written.len);
                    let sequence = RtpPacket::parse(packet.bytes()).unwrap().sequence();
                    let position = sender.positions[&sequence];
                    let mut got = read(&out, sender.kind, &packet, written.seq.0);
                    (got.track, got.bound, got.position) = (at, self.bound.0, position);
                    assert_eq!(self.bound.1, Some(at), "a packet of a track that is not bound");
                    self.got.push(got);
                }
                Err(DropReason::NoSubscriber | DropReason::BeforeSplice | DropReason::TooOld) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

fn binding_of(media: &UpMedia, kind: Kind) -> Binding {
    let (up, down) = kind.types();
    let mapping =
        PtMapping { up, down, down_rtx: Some(DOWN_RTX), unwrap_red: false, clock_rate: 90_000 };
    Binding { track: media.track, publisher: SessionId(1), payload_types: [mapping].into() }
}

/// What a receiver reads.
fn read(out: &[u8], kind: Kind, packet: &Packet, seq: u64) -> Got {
    let view = RtpPacket::parse(out).unwrap();
    let ext = ParsedExtensions::parse(&view, &extensions()).unwrap();
    let descriptor =
        ext.dependency_descriptor(out).map(|d| DependencyDescriptor::parse(d).unwrap());
    let info = rtp::payload::inspect(kind.codec(), view.payload(), None);
    let picture = info.vp8.and_then(|f| f.picture_id).or(info.vp9.and_then(|f| f.picture_id));
    let tl0 = info.vp8.and_then(|f| f.tl0_pic_idx).or(info.vp9.and_then(|f| f.tl0_pic_idx));
    assert_eq!(view.sequence(), seq as u16);
    assert_eq!(descriptor.is_some(), kind.has_descriptor());
    Got {
        track: 0,
        bound: 0,
        position: 0,
        seq,
        pt: view.pt(),
        timestamp: view.timestamp(),
        picture: picture.map(|p| p.value),
        tl0: tl0.map(|(_, value)| value),
        frame: descriptor.map(|d| d.frame_number),
        key: match descriptor {
            Some(descriptor) => descriptor.starts_key_frame(),
            None => info.keyframe_start,
        },
        structure: descriptor.is_some_and(|d| d.structure.is_some()),
        arrival: packet.meta.arrival,
    }
}

/// The newest numbers that the receiver saw, over all segments.
#[derive(Debug, Default)]
struct Newest {
    seq: Option<u64>,
    timestamp: Option<(u32, Instant)>,
    picture: Option<u16>,
    tl0: Option<u8>,
    frame: Option<u16>,
}

/// Checks that the packets are one stream.
fn check(world: &World) -> Result<(), TestCaseError> {
    let mut newest = Newest::default();
    let mut segment: Option<Got> = None;
    for got in &world.got {
        prop_assert_eq!(got.pt, world.senders[got.track].kind.types().1);
        let begins = segment.as_ref().is_none_or(|first| first.bound != got.bound);
        if begins {
            prop_assert!(got.key, "a track begins without a key frame: {got:?}");
            prop_assert_eq!(got.structure, got.frame.is_some(), "without its structure");
            continues(&newest, got)?;
            segment = Some(got.clone());
        }
        let first = segment.as_ref().unwrap();
        // Within a track the distances are those of the publisher: only losses leave gaps.
        prop_assert_eq!(got.seq - first.seq, got.position - first.position, "{:?}", got);
        let since = |a: Option<u16>, b: Option<u16>| a.zip(b).map(|(a, b)| a.wrapping_sub(b));
        if let Some(frames) = since(got.frame, first.frame) {
            prop_assert!(frames < 0x4000, "{got:?} after {first:?}");
        }
        if newest.seq.is_none_or(|seq| got.seq > seq) {
            newest.seq = Some(got.seq);
            newest.picture = got.picture.or(newest.picture);
            newest.tl0 = got.tl0.or(newest.tl0);
            newest.frame = got.frame.or(newest.frame);
        }
        let later = |(t, _): (u32, Instant)| (got.timestamp.wrapping_sub(t) as i32) > 0;
        if newest.timestamp.is_none_or(later) {
            newest.timestamp = Some((got.timestamp, got.arrival));
        }
    }
    Ok(())
}

/// A track that begins continues every numbering.
fn continues(newest: &Newest, got: &Got) -> Result<(), TestCaseError> {
    if let Some(seq) = newest.seq {
        prop_assert_eq!(got.seq, seq + 1, "a gap or an overlap at {:?}", got);
    }
    if let Some((timestamp, arrival)) = newest.timestamp {
        let step = got.timestamp.wrapping_sub(timestamp) as i32;
        let elapsed = got.arrival.saturating_duration_since(arrival).as_millis() as i32 * 90;
        prop_assert!(step > 0 && step <= elapsed + 2 * 90_000, "{step} after {elapsed}");
    }
    if let (Some(last), Some(now)) = (newest.picture, got.picture) {
        prop_assert_eq!(now, last.wrapping_add(1) & 0x7fff, "{:?}", got);
    }
    if let (Some(last), Some(now)) = (newest.tl0, got.tl0) {
        prop_assert_eq!(now, last.wrapping_add(1), "{:?}", got);
    }
    if let (Some(last), Some(now)) = (newest.frame, got.frame) {
        prop_assert_eq!(now, last.wrapping_add(1), "{:?}", got);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn tracks_of_any_codecs_in_one_slot_are_one_stream(
        seed in any::<u64>(),
        kinds in prop::collection::vec(prop::sample::select(&KINDS[..]), 2..5),
        loss in 0u64..20,
        reorder in 0u64..30,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new(seed, &kinds, loss, reorder);
        world.begin();
        steps.iter().for_each(|step| world.step(step));
        check(&world)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn two_tracks_in_turn_a_hundred_times_are_one_stream_without_a_gap(
        seed in any::<u64>(),
        kind in prop::sample::select(&KINDS[..]),
        other in prop::sample::select(&KINDS[..]),
    ) {
        let mut world = World::new(seed, &[kind, other], 0, 0);
        for turn in 0..100_u8 {
            world.step(&Step::Bind(Some(turn % 2)));
            // The key frame that was asked for comes with the third picture.
            for picture in 0..6 {
                let keys = if picture == 2 { 3 } else { 0 };
                world.step(&Step::Pictures { packets: 3, keys });
                world.step(&Step::Leave);
            }
        }
        check(&world)?;
        let numbers: Vec<_> = world.got.iter().map(|got| got.seq).collect();
        prop_assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
        // Each turn shows at least the four pictures from the key frame on.
        let bounds: std::collections::BTreeSet<_> = world.got.iter().map(|got| got.bound).collect();
        prop_assert_eq!(bounds.len(), 100);
        prop_assert!(numbers.len() >= 100 * 4 * 3);
    }
}

#[test]
fn a_slot_that_comes_back_to_a_track_sends_nothing_that_waited_before() {
    let mut world = World::new(7, &[Kind::Vp8, Kind::Vp8], 0, 0);
    world.step(&Step::Bind(Some(0)));
    world.step(&Step::Pictures { packets: 3, keys: 3 });
    world.step(&Step::Leave);
    // Three packets wait; the slot goes to the other track and back, and one of them is refused meanwhile.
    world.step(&Step::Pictures { packets: 3, keys: 0 });
    world.step(&Step::Bind(None));
    let held = world.exit.split_off(1);
    world.step(&Step::Leave);
    world.exit = held;
    // The key frame is too old by now to begin with again.
    world.millis += 1_500;
    world.step(&Step::Bind(Some(0)));
    world.step(&Step::Leave);
    assert_eq!(world.got.len(), 3, "half of a picture decodes to nothing");
    world.step(&Step::Pictures { packets: 3, keys: 3 });
    world.step(&Step::Leave);
    check(&world).unwrap();
    assert_eq!(world.got.len(), 6);
}

#[test]
fn sound_of_two_tracks_in_turn_is_one_stream() {
    let begin = start();
    let mut rigs: Vec<_> = [1, 2].map(|track| Rig::new(audio(track, "0"), begin)).into();
    let mut down = down_track(&rigs[0].media, false, begin);
    let (mut numbers, mut times) = (Vec::new(), Vec::new());
    for packet in 0..2_000_u32 {
        let now = begin + ms(20 * u64::from(packet));
        if packet % 20 == 0 {
            down.bind(Some(binding(&rigs[(packet / 20 % 2) as usize].media)));
        }
        for (at, rig) in rigs.iter_mut().enumerate() {
            let base = [0xffff_f000_u32, 77][at];
            let sequence = (packet + 65_000) as u16;
            let timestamp = base.wrapping_add(packet * 960);
            let raw = Raw::new(50 + at as u32, OPUS, sequence, timestamp, vec![0xfc, 1, 2]);
            let packet = rig.receive(now, &raw.bytes()).unwrap();
            if let Ok((written, out)) = rig.forward(now, &mut down, &packet) {
                numbers.push(written.seq.0);
                times.push(RtpPacket::parse(&out).unwrap().timestamp());
            }
        }
    }
    assert_eq!(down.ssrcs().rtx, None);
    assert_eq!((rigs[0].media.kind, numbers.len()), (MediaKind::Audio, 2_000));
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
    assert!(times.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 960), "the pace is kept");
}

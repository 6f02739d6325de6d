//! Over any sequence of layers, pauses, new sources, losses and reordering, a subscriber sees one stream: sequence
//! numbers, timestamps and picture numbers continue.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use model::{Codec, DropReason, NtpTime};
use proptest::prelude::*;
use sfumato_router::DownTrack;
use support::*;

/// An event at the publisher or the slot.
#[derive(Debug, Clone)]
enum Step {
    /// A picture of this many packets on each of the flowing layers.
    Picture { packets: u8, key: u8 },
    /// A padding-only packet on a layer.
    Padding(u8),
    /// A layer starts or stops.
    Toggle(u8),
    /// A layer restarts under another SSRC.
    Renew(u8),
    /// The slot pauses, or continues.
    Pause(bool),
    /// Sender reports of all layers.
    Reports,
    /// The highest wanted rank changes.
    Rank(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (1u8..5, 0u8..8).prop_map(|(packets, key)| Step::Picture { packets, key }),
        4 => (0u8..3).prop_map(Step::Padding),
        2 => (0u8..3).prop_map(Step::Toggle),
        1 => (0u8..3).prop_map(Step::Renew),
        1 => any::<bool>().prop_map(Step::Pause),
        2 => Just(Step::Reports),
        1 => prop::option::of(0u8..3).prop_map(Step::Rank),
    ]
}

/// One layer of the publisher.
struct Sender {
    ssrc: u32,
    flows: bool,
    sequence: u16,
    clock: u32,
    picture: u16,
    tl0: u8,
    long_id: bool,
}

/// A packet under way.
struct InFlight {
    due: u64,
    raw: Vec<u8>,
    identity: (u32, u64),
    is_padding: bool,
}

/// A packet that the subscriber got.
#[derive(Debug, Clone)]
struct Got {
    segment: u64,
    /// SSRC at the publisher and position in its stream, without padding.
    identity: (u32, u64),
    seq: u64,
    timestamp: u32,
    up_timestamp: u32,
    picture: u16,
    up_picture: u16,
    tl0: u8,
    up_tl0: u8,
    long_id: bool,
    arrival: Instant,
}

struct World {
    rig: Rig,
    down: DownTrack,
    senders: Vec<Sender>,
    positions: BTreeMap<u32, u64>,
    flight: Vec<InFlight>,
    random: Random,
    loss: u64,
    reorder: u64,
    begin: Instant,
    millis: u64,
    next_ssrc: u32,
    got: Vec<Got>,
    /// Late padding: how many packets had arrived before it, and its number.
    padding: Vec<(usize, u64)>,
    refused: Vec<DropReason>,
}

const RIDS: [&str; 3] = ["q", "h", "f"];

impl World {
    fn new(seed: u64, loss: u64, reorder: u64, long_id: bool) -> Self {
        let begin = start();
        let media = video(1, "0", &RIDS, &[]);
        let mut random = Random(seed);
        let mut senders = Vec::new();
        for ssrc in 0..3 {
            senders.push(Sender {
                ssrc: 100 + ssrc,
                flows: ssrc == 0,
                sequence: random.next() as u16,
                clock: random.next() as u32,
                picture: random.next() as u16 & if long_id { 0x7fff } else { 0x7f },
                tl0: random.next() as u8,
                long_id,
            });
        }
        Self {
            down: down_track(&media, true, begin),
            rig: Rig::new(media, begin),
            senders,
            positions: BTreeMap::new(),
            flight: Vec::new(),
            random,
            loss,
            reorder,
            begin,
            millis: 0,
            next_ssrc: 200,
            got: Vec::new(),
            padding: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
            self.deliver(false);
        }
        self.deliver(true);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Picture { packets, key } => {
                self.millis += 33;
                for layer in 0..3 {
                    if self.senders[layer].flows {
                        self.picture(layer, packets, key & 1 << layer != 0 || key == 7);
                    }
                }
            }
            Step::Padding(layer) => self.padding(usize::from(layer)),
            Step::Toggle(layer) => {
                let sender = &mut self.senders[usize::from(layer)];
                sender.flows = !sender.flows;
            }
            Step::Renew(layer) => {
                let sender = &mut self.senders[usize::from(layer)];
                sender.ssrc = self.next_ssrc;
                self.next_ssrc += 1;
                sender.sequence = self.random.next() as u16;
                sender.clock = self.random.next() as u32;
            }
            Step::Pause(true) => self.down.bind(None),
            Step::Pause(false) => self.down.bind(Some(binding(&self.rig.media))),
            Step::Reports => {
                let now = self.now();
                for layer in 0..3 {
                    let (ssrc, timestamp) = (self.senders[layer].ssrc, self.timestamp(layer));
                    let ntp = NtpTime(7 << 32).after(ms(self.millis));
                    self.rig.sender_report(now, ssrc, ntp, timestamp);
                }
            }
            Step::Rank(rank) => self.down.set_max_rank(rank),
        }
    }

    fn now(&self) -> Instant {
        self.begin + ms(self.millis)
    }

    fn timestamp(&self, layer: usize) -> u32 {
        self.senders[layer].clock.wrapping_add((self.millis * 90) as u32)
    }

    fn picture(&mut self, layer: usize, packets: u8, key: bool) {
        let timestamp = self.timestamp(layer);
        let sender = &mut self.senders[layer];
        let mask = if sender.long_id { 0x7fff } else { 0x7f };
        sender.picture = sender.picture.wrapping_add(1) & mask;
        sender.tl0 = sender.tl0.wrapping_add(1);
        for i in 0..packets {
            let sender = &self.senders[layer];
            let vp8 = Vp8 {
                start: i == 0,
                key: key && i == 0,
                picture: sender.picture,
                long_id: sender.long_id,
                tl0: sender.tl0,
            };
            self.send(layer, timestamp, i + 1 == packets, vp8.payload(&[0; 50]), 0);
        }
    }

    fn padding(&mut self, layer: usize) {
        if self.senders[layer].flows {
            let timestamp = self.timestamp(layer);
            self.send(layer, timestamp, false, vec![], 100);
        }
    }

    fn send(&mut self, layer: usize, timestamp: u32, marker: bool, payload: Vec<u8>, padding: u8) {
        let sender = &mut self.senders[layer];
        sender.sequence = sender.sequence.wrapping_add(1);
        let is_padding = padding > 0;
        let position = self.positions.entry(sender.ssrc).or_default();
        *position += u64::from(!is_padding);
        let raw = Raw {
            marker,
            padding,
            mid: Some("0"),
            rid: Some(RIDS[layer]),
            ..Raw::new(sender.ssrc, VP8, sender.sequence, timestamp, payload)
        };
        let identity = (sender.ssrc, *position);
        if self.random.percent(self.loss) {
            return;
        }
        let delay = if self.random.percent(self.reorder) { self.random.below(90) } else { 0 };
        let due = self.millis + delay;
        self.flight.push(InFlight { due, raw: raw.bytes(), identity, is_padding });
    }

    fn deliver(&mut self, all: bool) {
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flight).into_iter().partition(|p| all || p.due <= self.millis);
        self.flight = later;
        due.sort_by_key(|p| p.due);
        let now = self.now();
        for InFlight { raw, identity, is_padding, .. } in due {
            let Ok(packet) = self.rig.receive(now, &raw) else { continue };
            match self.rig.forward(now, &mut self.down, &packet) {
                Ok((written, bytes)) if !is_padding => {
                    let seen = Seen::parse(&bytes, Codec::Vp8);
                    let up = packet.meta.info.vp8.unwrap();
                    self.got.push(Got {
                        segment: self.down.stats(now).splices,
                        identity,
                        seq: written.seq.0,
                        timestamp: seen.timestamp,
                        up_timestamp: packet.meta.timestamp,
                        picture: seen.picture.unwrap(),
                        up_picture: up.picture_id.unwrap().value,
                        tl0: seen.tl0.unwrap(),
                        up_tl0: up.tl0_pic_idx.unwrap().1,
                        long_id: up.picture_id.unwrap().is_15_bit,
                        arrival: now,
                    });
                }
                // The packet has a number and no payload.
                Ok((written, _)) => self.padding.push((self.got.len(), written.seq.0)),
                Err(reason) => self.refused.push(reason),
            }
        }
    }
}

/// Numbers in a cycle of `mask + 1`.
fn follows(last: u16, next: u16, mask: u16) -> bool {
    last.wrapping_add(1) & mask == next & mask
}

fn check(got: &[Got], padding: &[(usize, u64)]) -> Result<(), TestCaseError> {
    let mut used = HashSet::new();
    for (_, seq) in padding {
        prop_assert!(used.insert(*seq), "number {seq} used twice");
    }
    let mut newest: Option<&Got> = None;
    let mut highest_timestamp = 0u32;
    for (at, g) in got.iter().enumerate() {
        prop_assert!(used.insert(g.seq), "number used twice: {g:?}");
        let mask = if g.long_id { 0x7fff } else { 0x7f };
        let Some(last) = newest else {
            newest = Some(g);
            highest_timestamp = g.timestamp;
            continue;
        };
        if g.segment == last.segment {
            prop_assert_eq!(g.identity.0, last.identity.0, "one segment, one source");
            // The same offset for all packets: what the publisher's network lost is missing here, and no other packet.
            let up = g.identity.1 as i64 - last.identity.1 as i64;
            let down = g.seq as i64 - last.seq as i64;
            prop_assert!(up.signum() == down.signum(), "order changed: {last:?} {g:?}");
            prop_assert!(down.abs() >= up.abs(), "numbers too near: {last:?} {g:?}");
            prop_assert_eq!(
                g.timestamp.wrapping_sub(last.timestamp),
                g.up_timestamp.wrapping_sub(last.up_timestamp)
            );
            let pictures = g.picture.wrapping_sub(last.picture) & mask;
            prop_assert_eq!(pictures, g.up_picture.wrapping_sub(last.up_picture) & mask);
            prop_assert_eq!(g.tl0.wrapping_sub(last.tl0), g.up_tl0.wrapping_sub(last.up_tl0));
        } else {
            prop_assert!(g.segment > last.segment);
            // Late padding may have been the newest packet.
            let before = padding.iter().take_while(|(before, _)| *before <= at);
            let highest = before.map(|(_, seq)| *seq).fold(last.seq, u64::max);
            prop_assert_eq!(g.seq, highest + 1, "a gap or overlap at the splice");
            let step = g.timestamp.wrapping_sub(highest_timestamp) as i32;
            let elapsed = g.arrival.duration_since(last.arrival).as_millis() as i32 * 90;
            prop_assert!(step > 0 && step <= elapsed + 2 * 90_000, "{step} after {elapsed}");
            prop_assert!(follows(last.picture, g.picture, mask), "{last:?} {g:?}");
            prop_assert_eq!(g.tl0, last.tl0.wrapping_add(1));
        }
        if g.seq > last.seq {
            newest = Some(g);
        }
        if (g.timestamp.wrapping_sub(highest_timestamp) as i32) > 0 {
            highest_timestamp = g.timestamp;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_stream_over_any_splice_loss_and_reorder(
        seed in any::<u64>(),
        loss in 0u64..30,
        reorder in 0u64..40,
        long_id in any::<bool>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new(seed, loss, reorder, long_id);
        world.run(&steps);
        check(&world.got, &world.padding)?;
    }

    #[test]
    fn without_loss_every_packet_from_the_first_key_frame_on_arrives(
        seed in any::<u64>(),
        pictures in prop::collection::vec((1u8..5, 0u8..8), 1..200),
    ) {
        let mut world = World::new(seed, 0, 0, true);
        let steps: Vec<_> =
            pictures.iter().map(|&(packets, key)| Step::Picture { packets, key }).collect();
        world.run(&steps);
        let all: u64 = world.positions.values().sum();
        let waited = world.refused.len() as u64;
        prop_assert!(world.refused.iter().all(|r| *r == DropReason::AwaitingKeyFrame));
        prop_assert_eq!(world.got.len() as u64 + waited, all);
        prop_assert!(world.got.windows(2).all(|w| w[1].seq == w[0].seq + 1));
        prop_assert!(world.down.stats(world.begin).splices <= 1);
    }
}

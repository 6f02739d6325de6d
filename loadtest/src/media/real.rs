//! Pictures whose sizes are real and whose content is synthetic: now and then a key frame of many packets, and between
//! key frames pictures with the size distribution of the clips. Every packet has the same size and a stamp.
//!
//! The sizes follow from the seed, the publisher and the number of the picture, so that a run with the same seed sends
//! the same pictures.

use std::{sync::LazyLock, time::Duration};

use super::{Frame, Piece, clip, synthetic::Synthetic};
use crate::{random::Random, units::Span};

/// Most packets of a picture.
pub(crate) const MAX_PACKETS: u16 = 500;
/// Least time between key frames: libwebrtc passes requests to its encoder no more often
/// (`kMinKeyframeSendIntervalMs`). An earlier request waits here.
const KEY_GAP: Duration = Duration::from_millis(300);
/// Halvings in the search for the scale: the error is far below a packet.
const HALVINGS: u32 = 40;

/// What a random number is drawn for.
const FOR_PHASE: u64 = 1;
const FOR_SIZE: u64 = 2;

/// Sizes of the clips' pictures but their key frames, each over the mean of its clip.
static DELTAS: LazyLock<Vec<f64>> = LazyLock::new(clip::delta_sizes);

/// The wanted sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    /// Packets of a picture on average, key frames at their regular distance included.
    pub(crate) mean: u16,
    /// Packets of a key frame: all sizes within the bounds are equally likely.
    pub(crate) key: Span,
    /// Pictures from one key frame to the next; 0: key frames on request only, and the mean is then that of the other
    /// pictures.
    pub(crate) key_every: u16,
    /// Seed of all sizes.
    pub(crate) seed: u64,
}

/// Pictures of real sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real {
    /// Size of a packet, and time between two pictures. Its number of packets is not used.
    shape: Synthetic,
    sizes: Sizes,
    /// Packets in a picture of the size 1.0 in [`DELTAS`], before they are rounded up.
    scale: f64,
}

impl Real {
    /// Pictures of such sizes, in packets as `shape` has them.
    ///
    /// # Errors
    /// The sizes contradict each other; the error says what is allowed.
    pub(crate) fn new(shape: Synthetic, sizes: Sizes) -> Result<Real, String> {
        let Sizes { mean, key, key_every, .. } = sizes;
        if key.low == 0 || key.high > MAX_PACKETS {
            return Err(format!("key-packets = {key}: 1 to {MAX_PACKETS} are allowed"));
        }
        if key_every == 1 {
            return Err(
                "key-every = 1: all pictures would be key frames; 0, or at least 2, are allowed"
                    .to_owned(),
            );
        }
        if !(1..=MAX_PACKETS).contains(&mean) {
            return Err(format!("packets = {mean}: 1 to {MAX_PACKETS} are allowed"));
        }
        let deltas = delta_mean(sizes);
        if deltas < 1.0 {
            let every = f64::from(key_every);
            let least = ((key.mean() + every - 1.0) / every).ceil();
            return Err(format!(
                "packets = {mean}: with a key frame of {key} packets each {key_every} pictures the mean is {least} at least"
            ));
        }
        Ok(Real { shape, sizes, scale: scale(deltas) })
    }

    /// The feed of one publisher: its sizes are its own, and its key frames come at another time than those of others.
    #[must_use]
    pub(crate) fn of(self, publisher: u32) -> Real {
        let seed = draw(self.sizes.seed, u64::from(publisher), FOR_PHASE).next();
        Real { sizes: Sizes { seed, ..self.sizes }, ..self }
    }

    pub(crate) fn shape(&self) -> &Synthetic {
        &self.shape
    }

    /// The picture with this number. `picture` is the number of pictures since the last key frame, `last` that of the
    /// picture before. A requested key frame comes at once, but not sooner than [`KEY_GAP`] after another one.
    pub(crate) fn frame(&self, number: u32, last: Option<u16>, wants_key: bool) -> Frame {
        let since_key = last.map(|last| last.saturating_add(1));
        let due = wants_key || self.is_due(number);
        let key = since_key.is_none_or(|since| due && since >= self.key_gap());
        let mut random = draw(self.sizes.seed, u64::from(number), FOR_SIZE);
        let packets = match key {
            true => self.sizes.key.at(random.unit()),
            false => {
                let size = DELTAS.get(random.below(DELTAS.len())).copied().unwrap_or(1.0);
                packets(size, self.scale)
            }
        };
        Frame { picture: if key { 0 } else { since_key.unwrap_or(0) }, key, packets }
    }

    pub(crate) fn write(&self, piece: &Piece, out: &mut [u8]) -> Option<usize> {
        self.shape.write(piece, out)
    }

    /// Whether a key frame is due without a request. Requests do not move this grid: otherwise all publishers that are
    /// asked at the same time would send their key frames together from then on.
    fn is_due(&self, number: u32) -> bool {
        let every = u64::from(self.sizes.key_every);
        let phase = draw(self.sizes.seed, 0, FOR_PHASE).next() % every.max(1);
        every > 0 && (u64::from(number) + phase).is_multiple_of(every)
    }

    /// Least number of pictures from one key frame to the next: [`KEY_GAP`], rounded.
    fn key_gap(&self) -> u16 {
        let interval = self.shape.interval.as_secs_f64();
        let gap = (KEY_GAP.as_secs_f64() / interval).round().max(1.0) as u16;
        match self.sizes.key_every {
            0 => gap,
            every => gap.min(every),
        }
    }
}

/// Mean packets of the pictures that are no key frames, so that all pictures together have the wanted mean.
fn delta_mean(sizes: Sizes) -> f64 {
    let (mean, every) = (f64::from(sizes.mean), f64::from(sizes.key_every));
    if sizes.key_every == 0 { mean } else { (mean * every - sizes.key.mean()) / (every - 1.0) }
}

/// The scale at which the clips' sizes, rounded up to whole packets, have this mean (at least 1).
fn scale(mean: f64) -> f64 {
    let of = |scale: f64| {
        let sum: f64 = DELTAS.iter().map(|size| f64::from(packets(*size, scale))).sum();
        sum / DELTAS.len().max(1) as f64
    };
    let (mut low, mut high) = (0.0, f64::from(MAX_PACKETS));
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if of(middle) < mean { low = middle } else { high = middle }
    }
    high
}

/// As a packetizer cuts: whole packets, at least one.
fn packets(size: f64, scale: f64) -> u16 {
    (size * scale).ceil().clamp(1.0, f64::from(MAX_PACKETS)) as u16
}

/// Random numbers that depend on where they are used, and not on how many were drawn before.
fn draw(seed: u64, number: u64, purpose: u64) -> Random {
    let mut first = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Random::new(first.next() ^ purpose)
}

#[cfg(test)]
mod tests {
    use model::{Codec, MediaKind};

    use super::*;
    use crate::media::{Stamp, is_genuine};

    const EVERY: u16 = 90;
    const KEYS: Span = Span { low: 40, high: 150 };

    fn shape() -> Synthetic {
        let interval = Duration::from_secs(1) / 30;
        Synthetic { kind: MediaKind::Video, packets: 1, payload: 300, interval, key_every: 0 }
    }

    fn sizes() -> Sizes {
        Sizes { mean: 10, key: KEYS, key_every: EVERY, seed: 7 }
    }

    fn real(sizes: Sizes) -> Real {
        Real::new(shape(), sizes).unwrap()
    }

    /// This many pictures, with a request before each given number.
    fn play(real: &Real, count: u32, requests: &[u32]) -> Vec<Frame> {
        let (mut last, mut wants_key, mut frames) = (None, false, Vec::new());
        for number in 0..count {
            wants_key |= requests.contains(&number);
            let frame = real.frame(number, last, wants_key);
            wants_key &= !frame.key;
            last = Some(frame.picture);
            frames.push(frame);
        }
        frames
    }

    fn keys(frames: &[Frame]) -> Vec<usize> {
        (0..frames.len()).filter(|at| frames[*at].key).collect()
    }

    #[test]
    fn sizes_have_the_wanted_mean_and_the_spread_of_the_clips() {
        let frames = play(&real(sizes()), 90 * 400, &[]);
        let mean = frames.iter().map(|f| f64::from(f.packets)).sum::<f64>() / frames.len() as f64;
        assert!((mean - 10.0).abs() < 0.2, "{mean}");
        let mut keys: Vec<u16> = frames.iter().filter(|f| f.key).map(|f| f.packets).collect();
        keys.sort_unstable();
        assert!(keys.iter().all(|packets| (40..=150).contains(packets)));
        // All sizes are equally likely.
        assert!(keys[0] < 45 && keys[keys.len() - 1] > 145);
        assert!((85..105).contains(&keys[keys.len() / 2]), "{}", keys[keys.len() / 2]);
        let mut deltas: Vec<u16> = frames.iter().filter(|f| !f.key).map(|f| f.packets).collect();
        deltas.sort_unstable();
        let at = |share: f64| deltas[(share * (deltas.len() - 1) as f64) as usize];
        // Most are below the mean, a few far above it, as in the clips.
        assert!((7..10).contains(&at(0.5)), "{}", at(0.5));
        assert!(at(0.05) <= 3 && at(0.95) >= 16 && at(1.0) > 40, "{} {}", at(0.05), at(0.95));
    }

    #[test]
    fn key_frames_keep_their_distance_and_each_publisher_its_own_time() {
        let all: Vec<Vec<usize>> =
            (1..=30).map(|publisher| keys(&play(&real(sizes()).of(publisher), 900, &[]))).collect();
        for keys in &all {
            assert_eq!(keys[0], 0, "a stream begins with one");
            assert!(keys[2..].windows(2).all(|two| two[1] - two[0] == 90), "{keys:?}");
        }
        let mut phases: Vec<usize> = all.iter().map(|keys| keys[2] % 90).collect();
        phases.sort_unstable();
        phases.dedup();
        assert!(phases.len() > 20, "{phases:?}");
    }

    #[test]
    fn a_request_makes_the_next_picture_a_key_frame_unless_one_was_just_sent() {
        let only_asked = real(Sizes { key_every: 0, ..sizes() });
        // 300 ms are nine pictures.
        let frames = play(&only_asked, 200, &[3, 50, 52, 53, 120]);
        assert_eq!(keys(&frames), [0, 9, 50, 59, 120]);
        assert!(frames.iter().filter(|f| f.key).all(|f| f.packets >= 40));
        // The regular key frames come where they would have come anyway.
        let regular = keys(&play(&real(sizes()), 400, &[]));
        let asked = keys(&play(&real(sizes()), 400, &[regular[2] as u32 + 30]));
        assert!(regular.iter().all(|at| asked.contains(at)), "{regular:?} {asked:?}");
        assert_eq!(asked.len(), regular.len() + 1);
    }

    #[test]
    fn a_seed_decides_and_publishers_differ() {
        let play = |seed, publisher| {
            let frames = play(&real(Sizes { seed, ..sizes() }).of(publisher), 300, &[100]);
            frames.iter().map(|frame| frame.packets).collect::<Vec<_>>()
        };
        assert_eq!(play(1, 1), play(1, 1));
        assert_ne!(play(1, 1), play(2, 1));
        assert_ne!(play(1, 1), play(1, 2));
    }

    #[test]
    fn key_frames_may_have_one_size_and_the_others_be_small() {
        let key = Span { low: 100, high: 100 };
        let frames = play(&real(Sizes { mean: 3, key, key_every: 60, seed: 1 }), 6_000, &[]);
        assert!(frames.iter().filter(|f| f.key).all(|f| f.packets == 100));
        let deltas: Vec<u16> = frames.iter().filter(|f| !f.key).map(|f| f.packets).collect();
        let mean = deltas.iter().map(|p| f64::from(*p)).sum::<f64>() / deltas.len() as f64;
        assert!((mean - 80.0 / 59.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn packets_are_known_again_and_servers_find_the_key_frames() {
        let real = real(sizes());
        for (number, last) in [(0, None), (1, Some(0))] {
            let frame = real.frame(number, last, false);
            assert_eq!(frame.key, number == 0);
            for index in [0, 1, frame.packets - 1] {
                let piece = Piece { run: 5, publisher: 6, number, frame, index, sent_ns: 7 };
                let mut out = [0; 400];
                let len = real.write(&piece, &mut out).unwrap();
                let stamp = Stamp::read(&out[..len]).unwrap();
                assert_eq!((stamp.count, stamp.key), (frame.packets, frame.key));
                assert!(is_genuine(Codec::Vp8, &stamp, &out[..len]));
                let info = rtp::payload::inspect(Codec::Vp8, &out[..len], None);
                assert_eq!(info.keyframe_start, frame.key && index == 0);
            }
        }
    }

    #[test]
    fn sizes_that_contradict_each_other_are_refused_with_what_is_allowed() {
        let refused = |sizes: Sizes| Real::new(shape(), sizes).unwrap_err();
        let key = Span { low: 100, high: 100 };
        assert!(refused(Sizes { mean: 2, key, key_every: 60, seed: 0 }).contains("is 3 at least"));
        assert!(refused(Sizes { key: Span { low: 1, high: 501 }, ..sizes() }).contains("500"));
        assert!(refused(Sizes { key_every: 1, ..sizes() }).contains("at least 2"));
        assert!(refused(Sizes { mean: 0, ..sizes() }).contains("1 to 500"));
    }
}

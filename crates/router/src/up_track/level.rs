//! How loud an audio track is, from the level that its packets carry (RFC 6464): smoothed, compared with a threshold, and
//! told rarely. Room sessions choose by it which tracks are heard, and who is an active speaker.
//!
//! Levels are averaged over windows of [`WINDOW`] on the scale of decibels, above a floor. A single loud packet (a knock, a click) is
//! a tenth of a window and stays below the threshold, as silence between two words does not end a sentence.

use std::time::{Duration, Instant};

use model::{Loudness, MediaKind};

/// Packets are averaged over this time. It is also the least time between two levels that are told.
const WINDOW: Duration = Duration::from_millis(200);
/// Windows of which a pause consists at most; longer ones decay no further.
const WINDOWS_MAX: u32 = 16;
/// The quietest level that counts, in -dBov. What is below (the noise of a room, digital silence) is equally silent.
const FLOOR: u8 = 70;
/// A track at least this loud speaks, in -dBov. Speech is sent with -20 to -40 dBov; the noise of a room is below -55.
const SPEECH: u8 = 50;
/// A track that speaks does so until it is quieter than this: the level of speech swings around [`SPEECH`].
const SPEECH_ENDS: u8 = 55;
/// How often it is told that a track sends packets without a level.
const UNKNOWN_EVERY: Duration = Duration::from_secs(1);
/// A track whose packets carry a level now and then is measured by those that do, until none came for this long.
const UNKNOWN_AFTER: Duration = Duration::from_millis(800);
/// A track that spoke and sends no packet for this long is silent. Opus with DTX sends every 400 ms (RFC 7587 section
/// 3.1.3).
const SILENT_AFTER: Duration = Duration::from_millis(800);
/// The level of silence (RFC 6464 section 3).
const SILENCE: u8 = 127;

/// Fractions of the averages: they are kept in 1/64 dB.
const SCALE: u32 = 64;

/// Measures how loud one audio track is, and decides what is told of it (`model::Event::AudioLevel`).
#[derive(Debug, Default)]
pub struct LevelMeter {
    /// The present window: its begin, and the sum and number of the loudnesses in it. Loudness is counted in dB above
    /// [`FLOOR`].
    since: Option<Instant>,
    sum: u64,
    count: u64,
    /// The smoothed loudness, in dB above [`FLOOR`] times [`SCALE`].
    smoothed: u32,
    /// The track speaks, or sends packets without a level: silence has to be told when it ceases to.
    speaks: bool,
    /// When the last packet arrived.
    heard: Option<Instant>,
    /// When the last packet with a level arrived.
    measured: Option<Instant>,
}

impl LevelMeter {
    /// Takes the level of a packet (0 to 127 in -dBov; `None`: it carries none). Returns what is to be told now, if
    /// anything: the smoothed level at most five times a second while the track speaks, and 127 when it ceases to; once a
    /// second that the level is not known.
    #[inline]
    pub fn packet(&mut self, now: Instant, level: Option<u8>) -> Option<Loudness> {
        self.heard = Some(now);
        let since = *self.since.get_or_insert(now);
        let Some(level) = level else { return self.unmeasured(now, since) };
        self.measured = Some(now);
        self.sum += u64::from(FLOOR.saturating_sub(level));
        self.count += 1;
        let passed = now.saturating_duration_since(since);
        if passed < WINDOW {
            return None;
        }
        self.end_window(now, passed)
    }

    /// Whether the track spoke and sends nothing any more: its level is 127 now. Returned once. To be called about once a
    /// second.
    pub fn fell_silent(&mut self, now: Instant) -> bool {
        let quiet = |at: Instant| now.saturating_duration_since(at) >= SILENT_AFTER;
        if !self.speaks || !self.heard.is_some_and(quiet) {
            return false;
        }
        *self = Self::default();
        true
    }

    #[cold]
    fn unmeasured(&mut self, now: Instant, since: Instant) -> Option<Loudness> {
        let recent = |at: Instant| now.saturating_duration_since(at) < UNKNOWN_AFTER;
        let every = if self.speaks { UNKNOWN_EVERY } else { WINDOW };
        if self.measured.is_some_and(recent) || now.saturating_duration_since(since) < every {
            return None;
        }
        (self.since, self.speaks, self.measured) = (Some(now), true, None);
        (self.sum, self.count, self.smoothed) = (0, 0, 0);
        Some(Loudness::Unknown)
    }

    fn end_window(&mut self, now: Instant, passed: Duration) -> Option<Loudness> {
        let mean = (self.sum * u64::from(SCALE) / self.count.max(1)) as u32;
        // It rises within a window and falls over several: a speaker is seen at once, and goes on through a pause
        // between words.
        self.smoothed = match mean > self.smoothed {
            true => (self.smoothed + 3 * mean) / 4,
            false => (3 * self.smoothed + mean) / 4,
        };
        // Windows that passed without a packet were silent.
        let windows = (passed.as_millis() / WINDOW.as_millis()) as u32;
        for _ in 1..windows.min(WINDOWS_MAX) {
            self.smoothed = self.smoothed * 3 / 4;
        }
        (self.since, self.sum, self.count) = (Some(now), 0, 0);
        let level = FLOOR - ((self.smoothed + SCALE / 2) / SCALE).min(u32::from(FLOOR)) as u8;
        let spoke = self.speaks;
        self.speaks = level <= if spoke { SPEECH_ENDS } else { SPEECH };
        match (spoke, self.speaks) {
            (_, true) => Some(Loudness::Level(level)),
            (true, false) => Some(Loudness::Level(SILENCE)),
            (false, false) => None,
        }
    }
}

/// The meter of a track: audio tracks have one.
pub(crate) fn meter(kind: MediaKind) -> Option<Box<LevelMeter>> {
    (kind == MediaKind::Audio).then(Box::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`run`] returns for [`Loudness::Unknown`].
    const UNKNOWN: u8 = 255;

    fn number(told: Loudness) -> u8 {
        match told {
            Loudness::Level(level) => level,
            Loudness::Unknown => UNKNOWN,
        }
    }

    /// Sends a packet every `every` ms from `from` on; returns what was told, with times.
    fn run(
        meter: &mut LevelMeter,
        start: Instant,
        (from, to, every): (u64, u64, usize),
        mut level: impl FnMut(u64) -> Option<u8>,
    ) -> Vec<(u64, u8)> {
        let packets = (from..to).step_by(every);
        let tell = |ms| {
            let told = meter.packet(start + Duration::from_millis(ms), level(ms));
            told.map(|told| (ms, number(told)))
        };
        packets.filter_map(tell).collect()
    }

    #[test]
    fn a_voice_is_told_within_a_quarter_second_and_five_times_a_second() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        assert_eq!(run(&mut meter, start, (0, 5_000, 20), |_| Some(80)), [], "a silent room");
        let told = run(&mut meter, start, (5_000, 8_000, 20), |_| Some(30));
        assert!(told[0].0 <= 5_400, "{told:?}");
        assert!((13..=15).contains(&told.len()), "{told:?}");
        assert!(told.windows(2).all(|w| w[1].0 - w[0].0 >= 200 && w[1].1 <= w[0].1), "{told:?}");
        assert_eq!(told.last().map(|t| t.1), Some(30));
        let told = run(&mut meter, start, (8_000, 20_000, 20), |_| Some(127));
        let (last, before) = told.split_last().unwrap();
        assert_eq!(last.1, 127);
        assert!(
            last.0 < 9_500 && before.iter().all(|(_, level)| *level <= SPEECH_ENDS),
            "{told:?}"
        );
    }

    #[test]
    fn words_with_pauses_between_them_are_one_speech_and_a_knock_is_none() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        let knock = |ms| Some(if ms % 1_000 == 0 { 10 } else { 75 });
        assert_eq!(run(&mut meter, start, (0, 20_000, 20), knock), []);
        // Half a second of voice with dips between syllables, then 300 ms of silence.
        let speech = |ms: u64| {
            Some(match (ms % 800 < 500, ms % 100 < 40) {
                (true, false) => 25,
                (true, true) => 60,
                (false, _) => 90,
            })
        };
        let told = run(&mut meter, start, (20_000, 40_000, 20), speech);
        assert!(told.iter().all(|(_, level)| *level <= SPEECH_ENDS), "{told:?}");
    }

    #[test]
    fn the_threshold_has_a_hysteresis() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        assert_eq!(run(&mut meter, start, (0, 5_000, 20), |_| Some(53)), []);
        run(&mut meter, start, (5_000, 6_000, 20), |_| Some(40));
        let told = run(&mut meter, start, (6_000, 30_000, 20), |_| Some(53));
        assert!(told.len() > 100 && told.iter().all(|(_, level)| *level < 127));
    }

    #[test]
    fn a_voice_that_ends_in_discontinuous_transmission_falls_silent_by_its_packets() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        run(&mut meter, start, (0, 2_000, 20), |_| Some(25));
        let told = run(&mut meter, start, (2_400, 10_000, 400), |_| Some(127));
        assert_eq!(told.iter().filter(|(_, level)| *level == 127).count(), 1, "{told:?}");
        assert!(told.last().is_some_and(|(at, level)| *at <= 4_000 && *level == 127), "{told:?}");
    }

    #[test]
    fn a_voice_whose_packets_cease_falls_silent_once() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        run(&mut meter, start, (0, 2_000, 20), |_| Some(25));
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!meter.fell_silent(at(2_500)));
        assert!(meter.fell_silent(at(3_000)));
        assert!(!meter.fell_silent(at(4_000)));
        // It begins anew.
        let told = run(&mut meter, start, (60_000, 61_000, 20), |_| Some(25));
        assert!(told[0].0 <= 60_200 && told[0].1 < SPEECH, "{told:?}");
    }

    #[test]
    fn packets_without_a_level_are_told_of_once_a_second() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        let told = run(&mut meter, start, (0, 3_500, 20), |_| None);
        assert_eq!(told, [200, 1_200, 2_200, 3_200].map(|at| (at, UNKNOWN)));
        assert!(meter.fell_silent(start + Duration::from_millis(5_000)));
    }

    #[test]
    fn a_track_may_begin_to_carry_levels_and_cease_to() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        run(&mut meter, start, (0, 2_000, 20), |_| None);
        let told = run(&mut meter, start, (2_000, 4_000, 20), |_| Some(90));
        assert_eq!(told.iter().map(|(_, level)| *level).collect::<Vec<_>>(), [127]);
        let told = run(&mut meter, start, (4_000, 6_000, 20), |_| Some(30));
        assert!(told.len() > 5 && told.iter().all(|(_, level)| *level <= SPEECH), "{told:?}");
        let told = run(&mut meter, start, (6_000, 10_000, 20), |_| None);
        assert!(told.len() >= 3 && told.iter().all(|(_, level)| *level == UNKNOWN), "{told:?}");
    }

    #[test]
    fn packets_that_carry_a_level_now_and_then_cause_no_more_reports_than_others() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        let told = run(&mut meter, start, (0, 20_000, 20), |ms| (ms % 40 == 0).then_some(127));
        assert_eq!(told, [], "it is silent, as the packets say that carry a level");
        let told = run(&mut meter, start, (20_000, 40_000, 20), |ms| (ms % 40 == 0).then_some(30));
        assert!(told.windows(2).all(|w| w[1].0 - w[0].0 >= 200), "{told:?}");
        assert!(told.iter().all(|(_, level)| *level <= SPEECH), "{told:?}");
    }

    #[test]
    fn sums_do_not_overflow_in_a_flood_of_packets() {
        let (mut meter, start) = (LevelMeter::default(), crate::fixtures::start());
        for _ in 0..1_000_000 {
            assert_eq!(meter.packet(start, Some(0)), None);
        }
        assert_eq!(meter.packet(start + WINDOW, Some(0)), Some(Loudness::Level(17)));
    }
}

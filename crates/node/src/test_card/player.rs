//! Decides which packets of the test card are due. Time is an argument; no threads, no clocks.
//!
//! Both tracks follow one clock, and RTP timestamps continue when the loop starts again. A viewer that requests a key
//! frame must not wait for the next regular one: the picture jumps to the key frame nearest to the clock, up to half a
//! key frame interval early or late, and is in step again when the loop starts again.

use std::time::{Duration, Instant};

use model::{NtpTime, WallClock};
use router::Relayed;

use super::ivf::Ivf;
use super::ogg::OggOpus;
use super::packetizer::{Moment, OpusPacketizer, Vp8Packetizer};

/// The test card's loop of picture and sound.
pub(crate) struct Player {
    start: Instant,
    clock: WallClock,
    video: Video,
    audio: Audio,
}

struct Video {
    ivf: Ivf,
    packetizer: Vp8Packetizer,
    timestamp: u32,
    /// The number of the next tick since the start.
    tick: u64,
    /// The frame that the next tick shows.
    position: usize,
    wanted: bool,
}

struct Audio {
    ogg: OggOpus,
    packetizer: OpusPacketizer,
    timestamp: u32,
    tick: u64,
}

pub(crate) const VIDEO_CLOCK: u32 = 90_000;
pub(crate) const AUDIO_CLOCK: u32 = 48_000;
const AUDIO_RATE: u32 = 50;
/// A regular key frame within this time answers the request, so the picture does not jump.
const NEAR: Duration = Duration::from_millis(200);
/// When the player is late by more than this, the thread was asleep (a suspended laptop), and the missed ticks are
/// skipped.
const MAX_LAG: Duration = Duration::from_millis(500);

impl Player {
    /// A player that starts now, with these first timestamps.
    pub(crate) fn new(
        start: Instant,
        clock: WallClock,
        ivf: Ivf,
        ogg: OggOpus,
        video: (Vp8Packetizer, u32),
        audio: (OpusPacketizer, u32),
    ) -> Self {
        let (packetizer, timestamp) = video;
        let video = Video { ivf, packetizer, timestamp, tick: 0, position: 0, wanted: false };
        let (packetizer, timestamp) = audio;
        Self { start, clock, video, audio: Audio { ogg, packetizer, timestamp, tick: 0 } }
    }

    /// Notes that a viewer requested a key frame.
    pub(crate) fn request_key_frame(&mut self) {
        self.video.wanted = true;
    }

    /// When [`Player::play`] has to be called next.
    pub(crate) fn next(&self) -> Instant {
        self.start + self.video.due().min(self.audio.due())
    }

    /// Passes all packets that are due to `send`.
    pub(crate) fn play(&mut self, now: Instant, mut send: impl FnMut(Relayed, &[u8])) {
        let clock = now.saturating_duration_since(self.start);
        self.audio.catch_up(clock);
        self.video.catch_up(clock);
        while self.audio.due() <= clock {
            let at = self.clock.ntp(self.start + self.audio.due());
            self.audio.tick(at, &mut send);
        }
        while self.video.due() <= clock {
            let at = self.clock.ntp(self.start + self.video.due());
            self.video.tick(at, &mut send);
        }
    }
}

impl Video {
    fn due(&self) -> Duration {
        tick_time(self.tick, self.ivf.rate)
    }

    fn tick(&mut self, capture: NtpTime, mut send: impl FnMut(Relayed, &[u8])) {
        let len = self.ivf.frames.len();
        let clock_position = (self.tick % len as u64) as usize;
        if clock_position == 0 {
            self.position = 0;
        }
        if self.wanted {
            self.jump(clock_position);
        }
        // After a jump ahead the frames end early; then nothing is sent until the loop starts again.
        if let Some(frame) = self.ivf.frames.get(self.position) {
            self.wanted &= !frame.key;
            let timestamp = self.timestamp.wrapping_add(units(self.due(), VIDEO_CLOCK));
            self.packetizer.packetize(frame.data, Moment { timestamp, capture }, &mut send);
            self.position += 1;
        }
        self.tick += 1;
    }

    fn jump(&mut self, clock_position: usize) {
        let frames = &self.ivf.frames;
        let near = (NEAR.as_millis() * u128::from(self.ivf.rate) / 1000) as usize;
        let ahead = frames.get(self.position..).unwrap_or_default();
        if ahead.iter().take(near + 1).any(|frame| frame.key) {
            return;
        }
        let keys = frames.iter().enumerate().filter(|(_, frame)| frame.key).map(|(at, _)| at);
        if let Some(nearest) = keys.min_by_key(|at| at.abs_diff(clock_position)) {
            self.position = nearest;
        }
    }

    fn catch_up(&mut self, clock: Duration) {
        if clock.saturating_sub(self.due()) > MAX_LAG {
            self.tick = ticks(clock, self.ivf.rate);
            self.wanted = true;
        }
    }
}

impl Audio {
    fn due(&self) -> Duration {
        tick_time(self.tick, AUDIO_RATE)
    }

    fn tick(&mut self, capture: NtpTime, mut send: impl FnMut(Relayed, &[u8])) {
        let at = (self.tick % self.ogg.packets.len() as u64) as usize;
        let timestamp = self.timestamp.wrapping_add(units(self.due(), AUDIO_CLOCK));
        let moment = Moment { timestamp, capture };
        self.packetizer.packetize(&self.ogg.packets[at], moment, &mut send);
        self.tick += 1;
    }

    fn catch_up(&mut self, clock: Duration) {
        if clock.saturating_sub(self.due()) > MAX_LAG {
            self.tick = ticks(clock, AUDIO_RATE);
        }
    }
}

/// The time of a tick, rounded up so that [`units`] of it is the exact number.
fn tick_time(tick: u64, rate: u32) -> Duration {
    let (whole, part) = (tick / u64::from(rate), tick % u64::from(rate));
    Duration::from_secs(whole) + Duration::from_nanos((part * 1_000_000_000).div_ceil(rate.into()))
}

/// The number of ticks up to a time.
fn ticks(clock: Duration, rate: u32) -> u64 {
    (clock.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

/// A time in units of an RTP clock, modulo 2^32.
fn units(clock: Duration, rate: u32) -> u32 {
    (clock.as_nanos() * u128::from(rate) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use model::{Codec, Pt};

    use super::super::ivf::Frame;
    use super::super::packetizer::Track;
    use super::*;

    /// A loop of ten seconds with a key frame every fifteen frames; the byte after the frame's kind is the frame's
    /// number / 2.
    fn player(start: Instant) -> Player {
        let frames = (0..300u16)
            .map(|n| {
                let key = n % 15 == 0;
                let data: &'static [u8] = vec![u8::from(!key), (n >> 8) as u8, n as u8].leak();
                Frame { data, key }
            })
            .collect();
        let ogg = OggOpus { packets: (0..500u16).map(|n| n.to_be_bytes().to_vec()).collect() };
        let video = Vp8Packetizer::new(Track::new(0, Codec::Vp8, Pt(96), VIDEO_CLOCK), 0);
        let audio = OpusPacketizer::new(Track::new(1, Codec::Opus, Pt(111), AUDIO_CLOCK));
        let clock = WallClock::new(start, SystemTime::UNIX_EPOCH);
        let ivf = Ivf { frames, rate: 30 };
        Player::new(start, clock, ivf, ogg, (video, u32::MAX - 3_000), (audio, 5))
    }

    struct Sent {
        at: Instant,
        audio: bool,
        timestamp: u32,
        capture: NtpTime,
        number: u16,
    }

    /// Plays until `until`, at the times that the player asks for.
    fn run(player: &mut Player, until: Instant) -> Vec<Sent> {
        let mut sent = Vec::new();
        while player.next() <= until {
            let at = player.next();
            player.play(at, |head, payload| {
                let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
                let audio = head.up == 1;
                let number = if audio { word(0) } else { word(5) };
                let capture = head.capture.unwrap();
                sent.push(Sent { at, audio, timestamp: head.timestamp, capture, number });
            });
        }
        sent
    }

    fn video(sent: &[Sent]) -> Vec<&Sent> {
        sent.iter().filter(|s| !s.audio).collect()
    }

    #[test]
    fn loops_without_a_seam_in_the_timestamps() {
        let start = Instant::now();
        let sent = run(&mut player(start), start + Duration::from_millis(25_000));
        let video = video(&sent);
        assert_eq!(video.len(), 751);
        for pair in video.windows(2) {
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 3_000);
            assert_eq!(pair[1].number, (pair[0].number + 1) % 300);
        }
        let audio: Vec<_> = sent.iter().filter(|s| s.audio).collect();
        assert_eq!(audio.len(), 1_251);
        for pair in audio.windows(2) {
            assert_eq!(pair[1].timestamp - pair[0].timestamp, 960);
            assert_eq!(pair[1].number, (pair[0].number + 1) % 500);
        }
    }

    #[test]
    fn a_key_frame_comes_at_once_and_the_picture_stays_near_the_clock() {
        let start = Instant::now();
        let mut player = player(start);
        let mut all = Vec::new();
        // Requests at irregular times over three loops.
        for step in 1..100 {
            let now = start + Duration::from_millis(step * 313);
            all.extend(run(&mut player, now));
            player.request_key_frame();
            let soon = run(&mut player, now + Duration::from_millis(240));
            let first_key = video(&soon).into_iter().find(|s| s.number % 15 == 0);
            assert!(first_key.is_some(), "request {step}");
            all.extend(soon);
        }
        for sent in video(&all) {
            let tick = ticks(sent.at - start + Duration::from_micros(1), 30) % 300;
            let drift = (i64::from(sent.number) - tick as i64).abs();
            assert!(drift <= 15, "frame {} at tick {tick}", sent.number);
        }
        for pair in video(&all).windows(2) {
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(step % 3_000 == 0 && (3_000..=30_000).contains(&step), "{step}");
        }
    }

    #[test]
    fn nothing_jumps_when_a_key_frame_is_near() {
        let start = Instant::now();
        let mut player = player(start);
        let mut sent = run(&mut player, start + Duration::from_millis(340));
        player.request_key_frame();
        sent.extend(run(&mut player, start + Duration::from_millis(2_000)));
        assert!(video(&sent).windows(2).all(|pair| pair[1].number == pair[0].number + 1));
    }

    #[test]
    fn after_a_long_sleep_it_goes_on_from_the_clock() {
        let start = Instant::now();
        let mut player = player(start);
        run(&mut player, start + Duration::from_secs(1));
        let mut count = 0;
        let later = start + Duration::from_secs(3_600) + Duration::from_millis(5);
        player.play(later, |_, _| count += 1);
        assert_eq!(count, 2, "one picture, one packet of sound");
        let sent = run(&mut player, later + Duration::from_secs(1));
        let video = video(&sent);
        assert_eq!(
            video[0].timestamp,
            (u32::MAX - 3_000).wrapping_add(units(video[0].at - start, 90_000))
        );
        assert!(player.next() > later);
    }

    #[test]
    fn capture_times_and_timestamps_agree() {
        let start = Instant::now();
        let mut player = player(start);
        let sent = run(&mut player, start + Duration::from_secs(2));
        let first = |audio: bool| sent.iter().find(|s| s.audio == audio).unwrap();
        for s in &sent {
            let (first, clock) = (first(s.audio), if s.audio { AUDIO_CLOCK } else { VIDEO_CLOCK });
            let elapsed = s.capture.since(first.capture);
            let ticks = elapsed.as_nanos() * u128::from(clock) / 1_000_000_000;
            let told = s.timestamp.wrapping_sub(first.timestamp);
            assert!((i128::from(told) - ticks as i128).abs() <= 1, "{told} {ticks}");
        }
        assert_eq!(first(true).capture, first(false).capture, "both begin at once");
    }
}

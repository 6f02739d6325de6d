//! What a viewer would see of one track: frames are assembled from packets and shown in order, and freezes are
//! counted. It reads the stamps in the payloads, and knows nothing of RTCP.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use model::{Codec, MediaKind};

use crate::{
    clock::{Clock, Directory},
    media::{self, Stamp},
    stats::{Histogram, Tally},
};

/// Frames that are assembled at a time; older ones are given up.
const MAX_OPEN: usize = 32;
/// Packets of a frame that wait for its stamp.
const MAX_PENDING: usize = 512;
/// Lost frames that are remembered, because they may still arrive late.
const MAX_MISSING: usize = 64;
/// Gaps between pictures that the average is made of.
const GAPS: usize = 30;
/// With fewer gaps than this nothing counts as a freeze.
const MIN_GAPS: usize = 5;
/// A gap is a freeze when it is longer than three times the average, and longer than the average by this.
const FREEZE_MARGIN: Duration = Duration::from_millis(150);
/// A picture that needs a missing picture is waited for this long; then a key frame is requested.
const KEY_FRAME_AFTER: Duration = Duration::from_millis(200);

/// What all bots of a thread share.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) run: u32,
    pub(crate) clock: &'a Clock,
    pub(crate) directory: &'a Directory,
    pub(crate) tally: &'a mut Tally,
    /// The delays of this bot alone.
    pub(crate) delays: &'a mut Histogram,
    /// When the bot began to join.
    pub(crate) joined_ns: u64,
    /// What the bot's join ends with: a picture, if it asked for video, else a sound.
    pub(crate) awaits: MediaKind,
    /// The first picture or sound was counted.
    pub(crate) has_begun: &'a mut bool,
    /// The first stamped packet was counted.
    pub(crate) has_heard: &'a mut bool,
    /// Since when a member awaits the pictures of another track, where it chooses tracks.
    pub(crate) awaited: Option<&'a mut Option<Instant>>,
}

/// Since when both the bot and the publisher of a stamp are there.
fn since_both(context: &Context<'_>, stamp: &Stamp) -> u64 {
    let live = context.directory.live_since(stamp.publisher).unwrap_or(0);
    context.joined_ns.max(live)
}

/// A media packet with its place in the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) payload: &'a [u8],
}

/// The pictures of one track.
#[derive(Debug)]
pub(crate) struct Frames {
    codec: Codec,
    open: VecDeque<Open>,
    publisher: Option<u32>,
    /// Since when the stream carries this publisher, if it carried another one before.
    shown_since_ns: u64,
    shown: Option<u32>,
    shown_at: Option<Instant>,
    highest: Option<u32>,
    missing: VecDeque<u32>,
    gaps: VecDeque<Duration>,
    /// All of them.
    gap_sum: Duration,
    /// Since when no picture can be shown although frames arrived.
    blocked_since: Option<Instant>,
    /// The present gap was already counted as a freeze.
    frozen: bool,
}

#[derive(Debug)]
struct Open {
    timestamp: u32,
    /// The stamp of the frame, and the sequence number of its first packet.
    stamp: Option<(Stamp, u64)>,
    got: u16,
    /// Packets that arrived before the frame's stamp: sequence number and hash.
    pending: Vec<(u64, u64)>,
    complete: bool,
}

impl Frames {
    pub(crate) fn new(codec: Codec, now: Instant) -> Frames {
        Frames {
            codec,
            open: VecDeque::new(),
            publisher: None,
            shown_since_ns: 0,
            shown: None,
            shown_at: None,
            highest: None,
            missing: VecDeque::new(),
            gaps: VecDeque::new(),
            gap_sum: Duration::ZERO,
            blocked_since: Some(now),
            frozen: false,
        }
    }

    /// Takes a packet; each one once.
    pub(crate) fn take(&mut self, context: &mut Context<'_>, packet: Arrived<'_>) {
        match Stamp::read(packet.payload) {
            Some(stamp) if stamp.run == context.run && stamp.index < stamp.count => {
                self.take_stamped(context, packet, &stamp);
            }
            Some(_) => context.tally.counters.foreign += 1,
            None if self.codec.kind() == MediaKind::Video => self.take_bare(context, packet),
            None => context.tally.counters.foreign += 1,
        }
    }

    /// When a key frame has to be requested, if nothing else helps before.
    pub(crate) fn key_wanted_at(&self) -> Option<Instant> {
        self.blocked_since.map(|since| since + KEY_FRAME_AFTER)
    }

    /// Checks whether the picture is frozen now.
    pub(crate) fn check(&mut self, context: &mut Context<'_>) {
        let live = self.publisher.is_some_and(|p| context.directory.live_since(p).is_some());
        if !live {
            // Pictures that follow belong to a new beginning.
            self.shown_at = None;
        } else if let Some(gap) = self.shown_at.map(|at| context.now - at)
            && !self.frozen
            && self.is_freeze(gap)
        {
            self.frozen = true;
            context.tally.counters.freezes += 1;
        }
    }

    fn take_stamped(&mut self, context: &mut Context<'_>, packet: Arrived<'_>, stamp: &Stamp) {
        if !media::is_genuine(self.codec, stamp, packet.payload) {
            context.tally.counters.corrupted += 1;
            return;
        }
        if !*context.has_heard {
            *context.has_heard = true;
            let since = since_both(context, stamp);
            context.tally.times.first_packet.record(context.clock.since(context.now, since));
        }
        if self.publisher != Some(stamp.publisher) {
            if self.codec.kind() == MediaKind::Video
                && let Some(since) = context.awaited.as_mut().and_then(|awaited| awaited.take())
            {
                let took = context.now.saturating_duration_since(since);
                context.tally.times.switch.record(took);
            }
            self.begin_publisher(context, stamp.publisher);
        }
        // A packet that was sent before the bot joined, or before a slot showed this publisher, is old because of that (a
        // server may begin with a key frame that it kept), and tells nothing of the network's delay.
        if stamp.sent_ns >= context.joined_ns.max(self.shown_since_ns) {
            let delay = context.clock.since(context.now, stamp.sent_ns);
            context.tally.times.delay.record(delay);
            context.delays.record(delay);
            if stamp.key {
                context.tally.times.key_delay.record(delay);
            }
        }
        if self.codec.kind() == MediaKind::Audio {
            self.begun(context, stamp);
            return;
        }
        let base = packet.sequence.wrapping_sub(u64::from(stamp.index));
        let at = self.open(packet.timestamp);
        let open = &mut self.open[at];
        open.got = open.got.saturating_add(1);
        match open.stamp {
            None => {
                open.stamp = Some((*stamp, base));
                let pending = std::mem::take(&mut open.pending);
                for (sequence, hash) in pending {
                    let index = sequence.wrapping_sub(base);
                    if media::is_genuine_hash(stamp, index, hash) {
                        open.got = open.got.saturating_add(1);
                    } else {
                        context.tally.counters.corrupted += 1;
                    }
                }
            }
            Some((first, base_before)) => {
                // Another frame under the same timestamp, or packets in another order than they were sent.
                if first.frame != stamp.frame || base_before != base {
                    context.tally.counters.corrupted += 1;
                }
            }
        }
        self.complete(context, at);
    }

    /// A packet of a clip that is not the last of its frame.
    fn take_bare(&mut self, context: &mut Context<'_>, packet: Arrived<'_>) {
        if self.publisher.is_none() && self.open.len() == MAX_OPEN {
            // Many frames without a stamp: this is not media of a bot.
            context.tally.counters.foreign += 1;
        }
        let hash = media::hash(self.codec, packet.payload);
        let at = self.open(packet.timestamp);
        let open = &mut self.open[at];
        match open.stamp {
            Some((stamp, base)) => {
                let index = packet.sequence.wrapping_sub(base);
                if !media::is_genuine_hash(&stamp, index, hash) {
                    context.tally.counters.corrupted += 1;
                    return;
                }
                open.got = open.got.saturating_add(1);
                self.complete(context, at);
            }
            None if open.pending.len() < MAX_PENDING => open.pending.push((packet.sequence, hash)),
            None => {}
        }
    }

    /// The frame with this timestamp; the latest ones are looked at first.
    fn open(&mut self, timestamp: u32) -> usize {
        if let Some(back) = self.open.iter().rev().position(|o| o.timestamp == timestamp) {
            return self.open.len() - 1 - back;
        }
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        let (stamp, pending) = (None, Vec::new());
        self.open.push_back(Open { timestamp, stamp, got: 0, pending, complete: false });
        self.open.len() - 1
    }

    fn complete(&mut self, context: &mut Context<'_>, at: usize) {
        let open = &mut self.open[at];
        let Some((stamp, _)) = open.stamp else { return };
        if open.complete || open.got < stamp.count {
            return;
        }
        open.complete = true;
        self.count(context, stamp.frame);
        let follows = self.shown.map(|shown| shown.wrapping_add(1)) == Some(stamp.frame);
        if follows || (stamp.key && self.shown.is_none_or(|shown| stamp.frame >= shown)) {
            self.show(context, &stamp);
            // Bounded by the number of open frames: each turn takes one.
            while let Some(next) = self.next_complete() {
                self.show(context, &next);
            }
        } else if self.shown.is_none_or(|shown| stamp.frame > shown) {
            self.blocked_since.get_or_insert(context.now);
        }
    }

    fn next_complete(&self) -> Option<Stamp> {
        let wanted = self.shown?.wrapping_add(1);
        let complete = self.open.iter().filter(|open| open.complete);
        complete.filter_map(|open| open.stamp).map(|(s, _)| s).find(|s| s.frame == wanted)
    }

    /// Counts a complete frame, and the incomplete ones before it.
    fn count(&mut self, context: &mut Context<'_>, frame: u32) {
        let counters = &mut context.tally.counters;
        counters.frames += 1;
        match self.highest {
            Some(highest) if frame <= highest => {
                if let Some(at) = self.missing.iter().position(|missing| *missing == frame) {
                    self.missing.remove(at);
                    counters.frames_lost = counters.frames_lost.saturating_sub(1);
                }
                return;
            }
            Some(highest) => {
                counters.frames_lost += u64::from(frame - highest - 1);
                for missing in (highest + 1..frame).rev().take(MAX_MISSING).rev() {
                    if self.missing.len() == MAX_MISSING {
                        self.missing.pop_front();
                    }
                    self.missing.push_back(missing);
                }
            }
            None => {}
        }
        self.highest = Some(frame);
    }

    fn show(&mut self, context: &mut Context<'_>, stamp: &Stamp) {
        let now = context.now;
        self.shown = Some(stamp.frame);
        if let Some(since) = self.blocked_since.take()
            && stamp.key
        {
            context.tally.times.key_wait.record(now - since);
        }
        if let Some(gap) = self.shown_at.map(|at| now - at) {
            if self.is_freeze(gap) {
                context.tally.counters.freezes += u64::from(!self.frozen);
                context.tally.counters.freeze_us += gap.as_micros() as u64;
            }
            if self.gaps.len() == GAPS {
                self.gap_sum -= self.gaps.pop_front().unwrap_or_default();
            }
            self.gap_sum += gap;
            self.gaps.push_back(gap);
        }
        self.frozen = false;
        self.shown_at = Some(now);
        // Frames that were shown, and complete ones before them, are dropped. A few stay open where packets are
        // missing.
        let done = |open: &Open| match open.stamp {
            Some((of, _)) => open.complete && of.frame <= stamp.frame,
            None => false,
        };
        while self.open.front().is_some_and(done) {
            self.open.pop_front();
        }
        self.begun(context, stamp);
    }

    fn is_freeze(&self, gap: Duration) -> bool {
        if self.gaps.len() < MIN_GAPS {
            return false;
        }
        let average = self.gap_sum / self.gaps.len() as u32;
        gap > (average * 3).max(average + FREEZE_MARGIN)
    }

    fn begun(&self, context: &mut Context<'_>, stamp: &Stamp) {
        if !*context.has_begun && context.awaits == self.codec.kind() {
            *context.has_begun = true;
            let since = since_both(context, stamp);
            context.tally.times.first_frame.record(context.clock.since(context.now, since));
        }
    }

    fn begin_publisher(&mut self, context: &Context<'_>, publisher: u32) {
        let now = context.now;
        let is_first = self.publisher.is_none();
        // Open frames may already be part of the new stream.
        let open = std::mem::take(&mut self.open);
        let blocked_since = self.blocked_since.filter(|_| is_first).or(Some(now));
        *self = Frames::new(self.codec, now);
        self.open = open.into_iter().filter(|open| open.stamp.is_none()).collect();
        self.publisher = Some(publisher);
        self.shown_since_ns = if is_first { 0 } else { context.clock.ns(now) };
        self.blocked_since = blocked_since;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Feed, Frame, Piece, synthetic::Synthetic};

    struct World {
        start: Instant,
        clock: Clock,
        directory: Directory,
        tally: Tally,
        delays: Histogram,
        has_begun: bool,
        has_heard: bool,
        awaited: Option<Instant>,
        frames: Frames,
        /// When the viewer joined.
        joined: Duration,
    }

    const INTERVAL: Duration = Duration::from_millis(33);
    const PACKETS: u16 = 3;

    impl World {
        fn new() -> World {
            let start = Instant::now();
            let clock = Clock::new();
            let directory = Directory::new();
            directory.begin(1, clock.ns(start));
            let frames = Frames::new(Codec::Vp8, start);
            World {
                start,
                clock,
                directory,
                tally: Tally::default(),
                delays: Histogram::default(),
                has_begun: false,
                has_heard: false,
                awaited: None,
                frames,
                joined: Duration::ZERO,
            }
        }

        fn with<R>(
            &mut self,
            at: Duration,
            act: impl FnOnce(&mut Frames, &mut Context<'_>) -> R,
        ) -> R {
            let mut context = Context {
                now: self.start + at,
                run: 7,
                clock: &self.clock,
                directory: &self.directory,
                tally: &mut self.tally,
                delays: &mut self.delays,
                joined_ns: self.clock.ns(self.start + self.joined),
                awaits: MediaKind::Video,
                has_begun: &mut self.has_begun,
                has_heard: &mut self.has_heard,
                awaited: Some(&mut self.awaited),
            };
            act(&mut self.frames, &mut context)
        }

        /// The packets of a frame arrive, except `lost`, with this delay.
        fn frame(&mut self, number: u32, key: bool, lost: Option<u16>, late: Duration) {
            for index in (0..PACKETS).filter(|index| Some(*index) != lost) {
                self.packet(number, key, index, late);
            }
        }

        fn packet(&mut self, number: u32, key: bool, index: u16, late: Duration) {
            let feed = Feed::Synthetic(Synthetic {
                kind: MediaKind::Video,
                packets: PACKETS,
                payload: 200,
                interval: INTERVAL,
                key_every: 0,
            });
            let sent = INTERVAL * number;
            let sent_ns = self.clock.ns(self.start + sent);
            let frame = Frame { picture: 0, key, packets: PACKETS };
            let piece = Piece { run: 7, publisher: 1, number, frame, index, sent_ns };
            let mut payload = [0; 200];
            feed.write(&piece, &mut payload).unwrap();
            let sequence = 1_000 + u64::from(number) * u64::from(PACKETS) + u64::from(index);
            let packet = Arrived { sequence, timestamp: number * 3_000, payload: &payload };
            self.with(sent + late, |frames, context| frames.take(context, packet));
        }
    }

    const SOON: Duration = Duration::from_millis(2);

    #[test]
    fn a_smooth_stream_is_shown_without_a_freeze() {
        let mut world = World::new();
        (0..100).for_each(|number| world.frame(number, number == 0, None, SOON));
        let counters = world.tally.counters;
        assert_eq!((counters.frames, counters.frames_lost, counters.freezes), (100, 0, 0));
        assert_eq!((counters.corrupted, counters.foreign), (0, 0));
        let times = &world.tally.times;
        assert_eq!((times.delay.count(), times.first_frame.count()), (300, 1));
        assert_eq!(times.delay.max(), Some(SOON));
        assert_eq!((times.key_delay.count(), world.delays.count()), (3, 300));
        assert_eq!(times.key_wait.count(), 1);
    }

    #[test]
    fn what_was_sent_before_a_viewer_came_is_shown_and_has_no_delay() {
        let mut world = World::new();
        world.joined = INTERVAL * 10;
        for number in 0..20 {
            let waited = INTERVAL * 10u32.saturating_sub(number);
            world.frame(number, number == 0, None, waited + SOON);
        }
        let times = &world.tally.times;
        assert_eq!((times.delay.count(), times.delay.max()), (30, Some(SOON)));
        assert_eq!((world.tally.counters.frames, times.first_frame.max()), (20, Some(SOON)));
    }

    #[test]
    fn a_lost_frame_blocks_until_a_key_frame_and_that_is_a_freeze() {
        let mut world = World::new();
        for number in 0..40 {
            let lost = (number == 20).then_some(1);
            world.frame(number, number == 0 || number == 30, lost, SOON);
        }
        let counters = world.tally.counters;
        assert_eq!((counters.frames, counters.frames_lost, counters.freezes), (39, 1, 1));
        assert_eq!(counters.freeze_us, 11 * 33_000);
        assert_eq!(world.tally.times.key_wait.count(), 2);
        // From frame 21, the first that could not be shown, to frame 30.
        assert_eq!(world.tally.times.key_wait.max(), Some(INTERVAL * 9));
    }

    #[test]
    fn a_recovered_packet_needs_no_key_frame() {
        let mut world = World::new();
        for number in 0..40 {
            world.frame(number, number == 0, (number == 20).then_some(1), SOON);
            if number == 22 {
                world.packet(20, false, 1, INTERVAL * 2 + SOON);
            }
        }
        let counters = world.tally.counters;
        assert_eq!((counters.frames, counters.frames_lost, counters.freezes), (40, 0, 0));
        assert_eq!(world.tally.times.key_wait.count(), 1);
        assert_eq!(world.frames.shown, Some(39));
    }

    #[test]
    fn a_key_frame_is_asked_for_after_some_patience() {
        let mut world = World::new();
        assert_eq!(
            world.frames.key_wanted_at(),
            Some(world.start + KEY_FRAME_AFTER),
            "nothing was shown"
        );
        (0..10).for_each(|number| world.frame(number, number == 0, None, SOON));
        assert_eq!(world.frames.key_wanted_at(), None, "nothing is blocked");
        world.frame(11, false, None, SOON);
        let blocked = world.start + INTERVAL * 11 + SOON;
        assert_eq!(world.frames.key_wanted_at(), Some(blocked + KEY_FRAME_AFTER));
    }

    #[test]
    fn what_was_shown_is_let_go_and_what_may_still_come_is_not() {
        let mut world = World::new();
        (0..50).for_each(|number| world.frame(number, number == 0, None, SOON));
        assert_eq!(world.frames.open.len(), 0);
        world.frame(50, false, Some(1), SOON);
        (51..70).for_each(|number| world.frame(number, number == 60, None, SOON));
        assert_eq!(world.frames.open.len(), 20, "until the first one is given up");
        assert_eq!((world.frames.shown, world.tally.counters.corrupted), (Some(69), 0));
        (70..110).for_each(|number| world.frame(number, false, None, SOON));
        assert_eq!((world.frames.shown, world.frames.open.len()), (Some(109), 0));
    }

    #[test]
    fn a_picture_that_stands_still_is_seen_while_it_does() {
        let mut world = World::new();
        (0..20).for_each(|number| world.frame(number, number == 0, None, SOON));
        let later = Duration::from_secs(3);
        world.with(later, |frames, context| frames.check(context));
        world.with(later * 2, |frames, context| frames.check(context));
        assert_eq!(world.tally.counters.freezes, 1);
    }

    #[test]
    fn a_publisher_that_left_froze_nobody() {
        let mut world = World::new();
        (0..20).for_each(|number| world.frame(number, number == 0, None, SOON));
        world.directory.end(1);
        world.with(Duration::from_secs(3), |frames, context| frames.check(context));
        assert_eq!(world.tally.counters.freezes, 0);
    }

    #[test]
    fn damage_and_strangers_are_told_apart() {
        let mut world = World::new();
        world.frame(0, true, None, SOON);
        let mut damaged = [0x11; 200];
        Stamp {
            run: 7,
            publisher: 1,
            frame: 1,
            picture: 0,
            index: 0,
            count: 1,
            sent_ns: 0,
            source: 0,
            key: false,
            in_each: true,
        }
        .write(&mut damaged);
        let packet = Arrived { sequence: 2_000, timestamp: 1, payload: &damaged };
        world.with(INTERVAL, |frames, context| frames.take(context, packet));
        assert_eq!(world.tally.counters.corrupted, 1);
        let mut foreign = damaged;
        let stamp = Stamp { run: 8, ..Stamp::read(&damaged).unwrap() };
        stamp.write(&mut foreign);
        let packet = Arrived { sequence: 2_001, timestamp: 2, payload: &foreign };
        world.with(INTERVAL, |frames, context| frames.take(context, packet));
        assert_eq!(world.tally.counters.foreign, 1);
        // Without stamps for a long time: somebody else's pictures.
        let mut world = World::new();
        for n in 0..100 {
            let packet = Arrived { sequence: n, timestamp: n as u32, payload: &[0x33; 90] };
            world.with(INTERVAL, |frames, context| frames.take(context, packet));
        }
        assert!(world.tally.counters.foreign > 60);
        assert_eq!(world.tally.counters.corrupted, 0);
    }
}

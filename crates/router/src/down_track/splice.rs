//! Joins one stream to another so that the subscriber sees a single one: where sequence numbers, timestamps and
//! picture numbers of the new one begin. Switching the layer, switching the track and continuing after a pause are the
//! same operation. [`super::rewrite`] applies the offsets to packets.

use std::time::{Duration, Instant};

use model::TrackId;
use rtp::payload::PayloadInfo;

use crate::{Packet, PacketMeta, StreamId, TrackMirror};

/// The longest pause that is written into timestamps. At 90 kHz, half of their range is 6 h 37 min; a receiver takes a
/// longer step for one backwards, and shows nothing more.
const LONGEST_STEP: Duration = Duration::from_secs(6 * 3600);
/// A packet with a higher number that arrived this much later counts as newer even if its timestamp is lower: after a
/// long pause timestamps have wrapped.
const SURELY_LATER: Duration = Duration::from_secs(60);
/// A subscriber that begins with an older key frame gets all packets since then in one burst, with timestamps this
/// many times closer together than the publisher's. With the publisher's spacing a receiver would play the burst at
/// its own pace and stay behind the live picture by its length; with no spacing, packets that a slow line delays would
/// count as late.
const HASTE: u32 = 8;
/// A subscriber that begins with a packet no older than this has nothing to catch up with.
const LIVE: Duration = Duration::from_millis(100);

/// A run of packets of one stream, and the offsets to the numbers that the subscriber sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The stream of its packets.
    pub(crate) stream: StreamId,
    /// First number, in the publisher's numbering.
    pub(crate) in_start: u64,
    /// The first packet of the key frame that it began with. Of the packets between [`Segment::in_start`] and this one
    /// only those that lead to the key frame belong to the segment.
    pub(crate) begins: u64,
    /// First number, as the subscriber sees it.
    pub(crate) out_start: u64,
    /// Offset of timestamps.
    pub(crate) timestamp: u32,
    /// Publisher's number and timestamp of the packet at which the subscriber has caught up; see [`HASTE`]. `None` if
    /// there was nothing to catch up with.
    pub(crate) live_from: Option<(u64, u32)>,
    /// Offset of picture ids (VP8, VP9), modulo 2^15.
    pub(crate) picture: u16,
    /// Offset of TL0PICIDX (VP8, VP9).
    pub(crate) tl0: u8,
    /// Offset of the frame number of the dependency descriptor (AV1).
    pub(crate) frame: u16,
}

impl Segment {
    /// The subscriber's number of a packet; `None` if it is from before the splice.
    #[inline]
    pub(crate) fn out_seq(&self, meta: &PacketMeta) -> Option<u64> {
        self.has(meta).then(|| self.out_start + (meta.seq.0 - self.in_start))
    }

    /// Whether a packet of the segment's stream belongs to the segment.
    #[inline]
    pub(crate) fn has(&self, meta: &PacketMeta) -> bool {
        let seq = meta.seq.0;
        seq >= self.begins || (seq >= self.in_start && meta.info.lead)
    }

    /// The subscriber's timestamp of a packet of the segment. It depends on segment and packet alone, so that a resent
    /// packet has the same one.
    #[inline]
    pub(crate) fn out_timestamp(&self, packet: &Packet) -> u32 {
        let mut at = packet.meta.timestamp;
        // Whether a packet is in the burst is decided by number: timestamps wrap after half a day, and would match
        // again.
        if let Some((seq, live)) = self.live_from
            && packet.meta.seq.0 < seq
        {
            let behind = live.wrapping_sub(at);
            if behind as i32 > 0 {
                at = live.wrapping_sub(behind / HASTE);
            }
        }
        at.wrapping_add(self.timestamp)
    }
}

/// The picture numbers of one packet that must stay continuous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pictures {
    pub(crate) picture: Option<u16>,
    pub(crate) tl0: Option<u8>,
    pub(crate) frame: Option<u16>,
}

impl Pictures {
    /// The publisher's values.
    pub(crate) fn of(packet: &Packet) -> Self {
        let (picture, tl0) = match &packet.meta.info {
            PayloadInfo { vp8: Some(f), .. } => (f.picture_id, f.tl0_pic_idx),
            PayloadInfo { vp9: Some(f), .. } => (f.picture_id, f.tl0_pic_idx),
            _ => return Self { frame: frame_number(packet), ..Self::default() },
        };
        Self {
            picture: picture.map(|p| p.value),
            tl0: tl0.map(|(_, value)| value),
            frame: frame_number(packet),
        }
    }

    /// The values that the subscriber sees.
    pub(crate) fn shifted(self, by: &Segment) -> Self {
        Self {
            picture: self.picture.map(|p| p.wrapping_add(by.picture) & 0x7fff),
            tl0: self.tl0.map(|t| t.wrapping_add(by.tl0)),
            frame: self.frame.map(|f| f.wrapping_add(by.frame)),
        }
    }
}

/// AV1 RTP specification appendix A.8.1: the frame number is in bytes 2 and 3.
fn frame_number(packet: &Packet) -> Option<u16> {
    match packet.meta.ext.dependency_descriptor(packet.bytes())? {
        [_, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The newest packet that the subscriber was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    pub(crate) track: TrackId,
    pub(crate) segment: Segment,
    /// Number of the newest packet, in the publisher's numbering.
    pub(crate) in_seq: u64,
    /// Number of the newest packet, as the subscriber sees it.
    pub(crate) out_seq: u64,
    /// Highest timestamp, as the subscriber sees it, and when its first packet arrived.
    pub(crate) timestamp: u32,
    pub(crate) arrival: Instant,
    pub(crate) pictures: Pictures,
}

impl Tail {
    /// Takes a packet of the segment that is newer than all before.
    pub(crate) fn advance(&mut self, packet: &Packet, out_seq: u64) {
        self.in_seq = packet.meta.seq.0;
        self.out_seq = out_seq;
        let timestamp = self.segment.out_timestamp(packet);
        let later = packet.meta.arrival.saturating_duration_since(self.arrival) > SURELY_LATER;
        if later || (timestamp.wrapping_sub(self.timestamp) as i32) > 0 {
            self.timestamp = timestamp;
            self.arrival = packet.meta.arrival;
        }
        let Pictures { picture, tl0, frame } = Pictures::of(packet).shifted(&self.segment);
        self.pictures.picture = picture.or(self.pictures.picture);
        self.pictures.tl0 = tl0.or(self.pictures.tl0);
        self.pictures.frame = frame.or(self.pictures.frame);
    }
}

/// The segment that begins with `packet`, after `tail`. `first` is the number of the slot's very first packet.
pub(crate) fn begin(
    tail: Option<&Tail>,
    first: u64,
    mirror: &TrackMirror,
    packet: &Packet,
) -> Segment {
    // Packets arrived since the one that the subscriber begins with: it has to catch up.
    let newest = mirror.newest(packet.meta.stream).filter(|newest| {
        newest.meta.seq > packet.meta.seq
            && newest.meta.arrival.saturating_duration_since(packet.meta.arrival) > LIVE
    });
    let begins = packet.meta.seq.0;
    let key = mirror.key_frame(packet.meta.layer());
    let key = key.filter(|_| mirror.stream(packet.meta.layer()) == Some(packet.meta.stream));
    let held_free = key.map_or(0, |key| key.held_free(&packet.meta));
    let mut segment = Segment {
        stream: packet.meta.stream,
        in_start: begins - held_free,
        begins,
        out_start: first,
        timestamp: 0,
        live_from: newest.map(|newest| (newest.meta.seq.0, newest.meta.timestamp)),
        picture: 0,
        tl0: 0,
        frame: 0,
    };
    let Some(tail) = tail else { return segment };
    segment.out_start = tail.out_seq + 1;
    // The newest packet's timestamp follows from the clock; those of the burst are between it and the last one sent.
    let live = newest.unwrap_or(packet);
    segment.timestamp = timestamp(tail, mirror, live).wrapping_sub(live.meta.timestamp);
    let step = segment.out_timestamp(packet).wrapping_sub(tail.timestamp) as i32;
    if newest.is_some() && step < 1 {
        segment.timestamp = segment.timestamp.wrapping_add(1_i32.wrapping_sub(step) as u32);
    }
    let (last, next) = (tail.pictures, Pictures::of(packet));
    if let (Some(last), Some(next)) = (last.picture, next.picture) {
        segment.picture = last.wrapping_add(1).wrapping_sub(next) & 0x7fff;
    }
    if let (Some(last), Some(next)) = (last.tl0, next.tl0) {
        segment.tl0 = last.wrapping_add(1).wrapping_sub(next);
    }
    if let (Some(last), Some(next)) = (last.frame, next.frame) {
        segment.frame = last.wrapping_add(1).wrapping_sub(next);
    }
    segment
}

/// The timestamp of `packet` as the subscriber sees it: by the publisher's clock, if that is known and agrees with the
/// arrival times within a second, else by the arrival time. Always later than the last one sent, or a receiver would
/// drop the packet.
fn timestamp(tail: &Tail, mirror: &TrackMirror, packet: &Packet) -> u32 {
    let meta = &packet.meta;
    let clock = meta.clock_rate;
    let pause = meta.arrival.saturating_duration_since(tail.arrival);
    let elapsed = ticks(pause.min(LONGEST_STEP), clock);
    if tail.track == meta.track
        && let Some(at) = by_clock(tail, mirror, packet)
    {
        let step = at.wrapping_sub(tail.timestamp) as i32;
        // One second either way: what jitter and the layers' different delays can explain.
        let bound = i64::from(clock);
        if (-bound..=i64::from(elapsed) + bound).contains(&i64::from(step)) {
            return tail.timestamp.wrapping_add(step.max(1) as u32);
        }
    }
    tail.timestamp.wrapping_add(elapsed.max(1))
}

/// The packet's timestamp on the time line of the last segment. In the same stream it is the same time line; layers of
/// one track are compared by their sender reports (RFC 3550 section 6.4.1).
fn by_clock(tail: &Tail, mirror: &TrackMirror, packet: &Packet) -> Option<u32> {
    let last = &tail.segment;
    let meta = &packet.meta;
    if last.stream == meta.stream {
        return Some(meta.timestamp.wrapping_add(last.timestamp));
    }
    let (from, to) = (mirror.sender(meta.stream)?, mirror.sender(last.stream)?);
    // NTP times in 32.32 fixed point: the difference in units of the RTP clock.
    let apart = i128::from(from.ntp.0.wrapping_sub(to.ntp.0) as i64);
    let apart = (apart * i128::from(meta.clock_rate)) >> 32;
    let since_report = meta.timestamp.wrapping_sub(from.rtp_timestamp);
    let at = to.rtp_timestamp.wrapping_add(apart as u32).wrapping_add(since_report);
    Some(at.wrapping_add(last.timestamp))
}

/// Converts a duration to units of an RTP clock.
pub(crate) fn ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

//! Opens everything that leaves the node with the keys of the receiving session, before the network has touched it. So
//! a fault found here is the node's own.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use model::{MediaKind, Mid, SessionId, Ssrc, StreamSsrc};
use rtp::{RtpPacket, sequence};
use transport::srtp::{Receiver, SrtpError};

use crate::{
    keys::Keys,
    peer::{describe::Answered, send::clock_rate},
    stamp::{Read, Stamp},
};

/// Packets of a stream that are remembered.
const REMEMBERED: usize = 2_048;
/// How far a timestamp may be from the time at which its packet leaves: splices are exact to a second, and a
/// publisher's packets may be late.
const DRIFT: i64 = 2_500;

/// One packet as it left the node.
#[derive(Debug, Clone, Copy)]
struct Seen {
    read: Option<Read>,
    timestamp: u32,
    marker: bool,
    at: Duration,
}

/// One slot of a session.
#[derive(Debug)]
struct Stream {
    mid: Mid,
    kind: MediaKind,
    media: Ssrc,
    rtx: Option<Ssrc>,
    packets: BTreeMap<u64, Seen>,
    first: Option<(u64, u32, Duration)>,
    highest: u64,
    /// Sequence numbers that were skipped and have not left yet.
    gaps: BTreeSet<u64>,
    /// Numbers that left as a retransmission before they left for the first time: the receiver asked between their
    /// coming and their leaving.
    early: BTreeMap<u64, (Read, u32)>,
}

/// One session.
struct Session {
    receiver: Receiver,
    streams: Vec<Stream>,
}

/// One thing that left the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) session: SessionId,
    pub(crate) mid: Mid,
    pub(crate) stamp: Option<Stamp>,
    /// Since when sounds of this source are missing although no number is: the slot showed something else in between,
    /// or nothing.
    pub(crate) skipped: Option<Duration>,
}

/// All sessions, and what left for them. See the module's head.
#[derive(Default)]
pub(crate) struct Witness {
    sessions: BTreeMap<SessionId, Session>,
    /// The session of each SSRC. The node draws SSRCs at random; two sessions with the same SSRC are told apart by
    /// their keys.
    ssrcs: BTreeMap<Ssrc, Vec<SessionId>>,
    /// Packets looked at.
    pub(crate) packets: u64,
    /// Retransmissions among them.
    pub(crate) again: u64,
}

impl Witness {
    /// A session was negotiated, or renegotiated.
    ///
    /// # Errors
    /// Its keys cannot be made.
    pub(crate) fn agreed(
        &mut self,
        seed: u64,
        session: SessionId,
        sections: &[Answered],
    ) -> Result<(), String> {
        let known = match self.sessions.entry(session) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let receiver = Keys::of(seed, session).peer_receiver();
                let receiver = receiver.map_err(|e| format!("keys: {e}"))?;
                place.insert(Session { receiver, streams: Vec::new() })
            }
        };
        let mut before = std::mem::take(&mut known.streams);
        for (section, ssrc) in sections.iter().filter_map(|s| Some((s, s.sends?))) {
            match before.iter().position(|s| s.mid == section.mid && s.media == ssrc.media) {
                Some(at) => known.streams.push(before.swap_remove(at)),
                None => known.streams.push(Stream::new(section, ssrc)),
            }
            for ssrc in [Some(ssrc.media), ssrc.rtx].into_iter().flatten() {
                let sessions = self.ssrcs.entry(ssrc).or_default();
                if !sessions.contains(&session) {
                    sessions.push(session);
                }
            }
        }
        Ok(())
    }

    /// An RTP packet leaves. `None` for one of an SSRC that no session has any more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn leaves(
        &mut self,
        now: Duration,
        datagram: &[u8],
    ) -> Result<Option<Left>, String> {
        let header = rtp::parse_header_unprotected(datagram).map_err(|e| format!("RTP: {e}"))?;
        let ssrc = header.ssrc();
        let mut plain = vec![0; datagram.len()];
        for id in self.ssrcs.get(&ssrc).into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let of = |s: &Stream| s.media == ssrc || s.rtx == Some(ssrc);
            let Some(at) = session.streams.iter().position(of) else { continue };
            let opened = session.receiver.open_rtp(datagram, header.header_len(), &mut plain);
            let stream = &mut session.streams[at];
            self.packets += 1;
            let mid = stream.mid;
            let named = |wrong: String| format!("session {id}, section {mid}: {wrong}");
            match opened {
                Ok(opened) => {
                    let packet = RtpPacket::parse(&plain[..opened.len]);
                    let packet = packet.map_err(|e| named(format!("RTP: {e}")))?;
                    let again = ssrc != stream.media;
                    self.again += u64::from(again);
                    let taken = match again {
                        true => stream.take_again(&packet).map(|stamp| (stamp, None)),
                        false => stream.take(now, opened.index, &packet),
                    };
                    let (stamp, skipped) = taken.map_err(named)?;
                    return Ok(Some(Left { session: *id, mid, stamp, skipped }));
                }
                // Resent under its own number, where no SSRC was agreed for retransmissions.
                Err(SrtpError::Replay) if stream.rtx.is_none() => {
                    self.again += 1;
                    return Ok(Some(Left { session: *id, mid, stamp: None, skipped: None }));
                }
                Err(SrtpError::Auth) => {}
                Err(error) => return Err(named(format!("SRTP: {error}"))),
            }
        }
        Ok(None)
    }
}

impl Stream {
    fn new(section: &Answered, ssrc: StreamSsrc) -> Self {
        Self {
            mid: section.mid,
            kind: section.kind,
            media: ssrc.media,
            rtx: ssrc.rtx,
            packets: BTreeMap::new(),
            first: None,
            highest: 0,
            gaps: BTreeSet::new(),
            early: BTreeMap::new(),
        }
    }

    /// Returns what the packet carries, and since when sounds of the same source are missing before it.
    fn take(
        &mut self,
        now: Duration,
        number: u64,
        packet: &RtpPacket<'_>,
    ) -> Result<(Option<Stamp>, Option<Duration>), String> {
        let read = match packet.payload() {
            [] => None,
            payload => Some(Stamp::read(self.kind, payload)?),
        };
        let seen = Seen { read, timestamp: packet.timestamp(), marker: packet.marker(), at: now };
        let (first, timestamp, at) = *self.first.get_or_insert((number, seen.timestamp, now));
        if number < first {
            return Err(format!("packet {number} is from before the first one, {first}"));
        }
        if !self.gaps.remove(&number) && number <= self.highest {
            return Err(format!("number {number} was used before"));
        }
        if number > self.highest {
            // A retransmission has the timestamp of its first sending.
            self.drift(now, &seen, timestamp, at)?;
        }
        if let Some(early) = self.early.remove(&number)
            && Some(early) != read.map(|r| (r, seen.timestamp))
        {
            return Err(format!("packet {number} is {seen:?}, and was sent again as {early:?}"));
        }
        let from = if self.highest == 0 { number } else { self.highest + 1 };
        self.gaps.extend(from..number);
        self.highest = self.highest.max(number);
        if number == first && self.kind == MediaKind::Video && !read.is_some_and(|r| begins(&r)) {
            return Err(format!("the first packet is {read:?}, no key frame"));
        }
        let before = self.packets.get(&(number.wrapping_sub(1))).copied();
        let after = self.packets.get(&(number + 1)).copied();
        let pairs = [before.map(|b| (b, seen)), after.map(|a| (seen, a))];
        for (one, next) in pairs.into_iter().flatten() {
            self.follows(&one, &next).map_err(|w| format!("at number {number}: {w}"))?;
        }
        if self.packets.len() == REMEMBERED {
            self.packets.pop_first();
        }
        self.packets.insert(number, seen);
        let stamp = read.map(|r| r.stamp);
        let skipped = before.filter(|b| {
            let pair = b.read.map(|r| r.stamp).zip(stamp);
            let of = |s: &Stamp| (s.peer, s.track);
            self.kind == MediaKind::Audio
                && pair.is_some_and(|(a, b)| of(&a) == of(&b) && b.number > a.number + 1)
        });
        Ok((stamp, skipped.map(|b| b.at)))
    }

    fn take_again(&mut self, packet: &RtpPacket<'_>) -> Result<Option<Stamp>, String> {
        let Some((original, payload)) = packet.payload().split_first_chunk::<2>() else {
            return Err("a retransmission without a payload".into());
        };
        let number = sequence::extend(self.highest, u16::from_be_bytes(*original));
        let read = Stamp::read(self.kind, payload)?;
        let Some(first) = self.packets.get(&number) else {
            if self.gaps.contains(&number) {
                self.early.insert(number, (read, packet.timestamp()));
            }
            // Or it left too long ago to be remembered.
            return Ok(Some(read.stamp));
        };
        if Some(read) != first.read || packet.timestamp() != first.timestamp {
            return Err(format!(
                "a retransmission of {number} is {read:?} and was {:?}",
                first.read
            ));
        }
        Ok(Some(read.stamp))
    }

    /// Whether one packet may follow another directly.
    fn follows(&self, one: &Seen, next: &Seen) -> Result<(), String> {
        let (Some(a), Some(b)) = (one.read, next.read) else { return Ok(()) };
        let step = next.timestamp.wrapping_sub(one.timestamp) as i32;
        let wrong = |why: &str| Err(format!("{why}: {one:?} and then {next:?}"));
        let of = |s: &Stamp| (s.peer, s.track, s.layer);
        let same = of(&a.stamp) == of(&b.stamp);
        if self.kind == MediaKind::Audio {
            if same && b.stamp.number <= a.stamp.number {
                return wrong("a sound is out of order");
            }
            return if step > 0 { Ok(()) } else { wrong("the timestamp goes back") };
        }
        if same && a.stamp.number == b.stamp.number {
            let whole = b.stamp.index == a.stamp.index + 1 && step == 0 && a.picture == b.picture;
            let marked = one.marker;
            return if whole && !marked { Ok(()) } else { wrong("a picture falls apart") };
        }
        let goes_on = same
            && b.stamp.number == a.stamp.number + 1
            && b.stamp.index == 0
            && a.stamp.index + 1 == a.stamp.of
            && one.marker;
        if !goes_on && !begins(&b) {
            return wrong("another stream begins without a key frame");
        }
        let id = |r: &Read| r.picture.map(|(id, tl0)| ((id + 1) & 0x7fff, tl0.wrapping_add(1)));
        if id(&a) != b.picture {
            return wrong("picture ids are not continuous");
        }
        if step > 0 { Ok(()) } else { wrong("the timestamp goes back") }
    }

    /// Checks that timestamps follow the time.
    fn drift(&self, now: Duration, seen: &Seen, first: u32, at: Duration) -> Result<(), String> {
        let told = i64::from(seen.timestamp.wrapping_sub(first) as i32) * 1_000
            / i64::from(clock_rate(self.kind));
        let passed = (now - at).as_millis() as i64;
        if (told - passed).abs() > DRIFT {
            return Err(format!("timestamps tell of {told} ms, and {passed} ms have passed"));
        }
        Ok(())
    }
}

fn begins(read: &Read) -> bool {
    read.stamp.key && read.stamp.index == 0
}

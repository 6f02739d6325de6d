//! What a peer receives through its slots: decrypted, put in order, requested again where it is missing, and decoded
//! as far as a decoder could: a picture counts as seen when all of its packets arrived and it is a key frame, or the
//! picture before it was seen.

use std::{collections::BTreeMap, time::Duration};

use model::{MediaKind, Mid, Pt, Ssrc, StreamSsrc};
use rtp::{
    RtpPacket,
    rtcp::{ReportBlock, RtcpWriter, SenderReport},
    sequence,
};
use transport::srtp::{Receiver, SrtpError};

use super::describe::{Answered, number_of};
use crate::stamp::{Read, Stamp};

/// How long packets out of order are waited for at the very beginning of a stream.
const START: Duration = Duration::from_millis(40);
/// A missing packet is requested after this long, and again at this interval, so many times.
const ASK_AFTER: Duration = Duration::from_millis(20);
const ASK_EVERY: Duration = Duration::from_millis(90);
const ASKS_MAX: u32 = 10;
/// A packet that is missing for this long is given up, and a key frame is requested.
const GIVE_UP: Duration = Duration::from_millis(700);
/// The same where retransmissions were not agreed.
const GIVE_UP_SOUND: Duration = Duration::from_millis(120);
/// The interval at which a key frame is requested again.
const PLI_EVERY: Duration = Duration::from_millis(400);
const REPORT_EVERY: Duration = Duration::from_millis(1_000);
/// The interval between looks at what is due.
const TICK: Duration = Duration::from_millis(20);

/// What a peer saw: the publisher and its track.
pub(crate) type Source = (u16, u8);

struct Item {
    read: Option<Read>,
    marker: bool,
}

struct Missing {
    since: Duration,
    next: Duration,
    asks: u32,
}

/// Where the decoder of a slot stands.
#[derive(Default)]
struct Decoder {
    /// The picture that is being put together, as far as it came, and whether it can be decoded.
    picture: Option<(Stamp, bool)>,
    /// The last picture that was decoded.
    last: Option<Stamp>,
}

/// One section in which the peer receives.
pub(crate) struct Slot {
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    pub(crate) ssrc: StreamSsrc,
    /// When the section was added to a live session; its first packets may have come before the answer.
    pub(crate) added: Option<Duration>,
    rtx_pt: Option<Pt>,
    nack: bool,
    pli: bool,
    decoder: Decoder,
    buffer: BTreeMap<u64, Item>,
    missing: BTreeMap<u64, Missing>,
    /// The next packet for the decoder.
    next: Option<u64>,
    first: Option<(u64, Duration)>,
    highest: u64,
    key_wanted: bool,
    pli_at: Duration,
    received: u64,
    reported: (u64, u64),
    sender_report: Option<(u32, Duration)>,
}

/// Everything that one peer receives.
pub(crate) struct In {
    receiver: Receiver,
    sender: Ssrc,
    pub(crate) slots: Vec<Slot>,
    /// When each source was last seen or heard in a section.
    pub(crate) seen: BTreeMap<(Mid, Source), Duration>,
    tick: Duration,
    report_at: Duration,
    /// Pictures decoded and sounds heard.
    pub(crate) decoded: u64,
    /// Packets that the network delivered twice.
    pub(crate) replays: u64,
}

impl In {
    pub(crate) fn new(now: Duration, receiver: Receiver, sender: Ssrc) -> Self {
        Self {
            receiver,
            sender,
            slots: Vec::new(),
            seen: BTreeMap::new(),
            tick: now + TICK,
            report_at: now + REPORT_EVERY,
            decoded: 0,
            replays: 0,
        }
    }

    /// Takes the negotiated slots; slots that stay go on. `added`: the session existed before.
    ///
    /// # Errors
    /// A slot that stays has changed.
    pub(crate) fn update<'a>(
        &mut self,
        added: Option<Duration>,
        answered: impl Iterator<Item = &'a Answered>,
    ) -> Result<(), String> {
        let mut before = std::mem::take(&mut self.slots);
        for answer in answered {
            let Some(ssrc) = answer.sends else { continue };
            match before.iter().position(|s| s.mid == answer.mid) {
                Some(at) if before[at].ssrc != ssrc => {
                    return Err(format!("section {} has another SSRC than before", answer.mid));
                }
                Some(at) => self.slots.push(before.swap_remove(at)),
                None => self.slots.push(Slot::new(added, answer, ssrc)),
            }
        }
        Ok(())
    }

    pub(crate) fn poll_timeout(&self) -> Duration {
        self.tick.min(self.report_at)
    }

    /// Takes an SRTP packet.
    ///
    /// # Errors
    /// Something that no correct node sends.
    pub(crate) fn take_rtp(&mut self, now: Duration, datagram: &[u8]) -> Result<(), String> {
        let header = rtp::parse_header_unprotected(datagram).map_err(|e| format!("RTP: {e}"))?;
        let mut plain = vec![0; datagram.len()];
        let opened = match self.receiver.open_rtp(datagram, header.header_len(), &mut plain) {
            Ok(opened) => opened,
            Err(SrtpError::Replay) => {
                self.replays += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("SRTP of SSRC {}: {error}", header.ssrc())),
        };
        let packet = RtpPacket::parse(&plain[..opened.len]).map_err(|e| format!("RTP: {e}"))?;
        let ssrc = packet.ssrc();
        let ours = |s: &Slot| s.ssrc.media == ssrc || s.ssrc.rtx == Some(ssrc);
        let Some(slot) = self.slots.iter_mut().find(|s| ours(s)) else {
            // A section that was given up a moment ago.
            return Ok(());
        };
        let (sequence, payload) = if slot.ssrc.media == ssrc {
            (opened.index, packet.payload())
        } else {
            if Some(packet.pt()) != slot.rtx_pt {
                return Err(format!("a retransmission of payload type {}", packet.pt()));
            }
            let Some((original, payload)) = packet.payload().split_first_chunk::<2>() else {
                return Err("a retransmission without a payload".into());
            };
            (sequence::extend(slot.highest, u16::from_be_bytes(*original)), payload)
        };
        let read = match payload {
            [] => None,
            payload => Some(Stamp::read(slot.kind, payload)?),
        };
        slot.take(now, sequence, Item { read, marker: packet.marker() });
        self.drain(now);
        Ok(())
    }

    /// Takes a sender report, which the next receiver report refers to.
    pub(crate) fn take_sender_report(&mut self, now: Duration, report: &SenderReport<'_>) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.ssrc.media == report.ssrc) {
            slot.sender_report = Some((report.info.ntp.middle(), now));
        }
    }

    /// Opens an SRTCP packet in place. `None` when it came twice.
    ///
    /// # Errors
    /// Something that no correct node sends.
    pub(crate) fn open_rtcp(&mut self, datagram: &mut [u8]) -> Result<Option<usize>, String> {
        match self.receiver.open_rtcp(datagram) {
            Ok(len) => Ok(Some(len)),
            Err(SrtpError::Replay) => Ok(None),
            Err(error) => Err(format!("SRTCP: {error}")),
        }
    }

    /// Does what is due, and returns the RTCP for it, in the clear.
    pub(crate) fn handle_timeout(&mut self, now: Duration) -> Option<Vec<u8>> {
        if now < self.poll_timeout() {
            return None;
        }
        self.tick = now + TICK;
        self.drain(now);
        let mut bytes = vec![0; 1_200];
        let mut writer = RtcpWriter::new(&mut bytes);
        let report = self.report_at <= now;
        if report {
            self.report_at = now + REPORT_EVERY;
            let blocks: Vec<_> = self.slots.iter_mut().filter_map(|s| s.report(now)).collect();
            // What does not fit is sent next time.
            writer.rr(self.sender, &blocks).ok()?;
            writer.sdes_cname(self.sender, "peer").ok()?;
        }
        for slot in &mut self.slots {
            let mut lost = slot.ask_again(now).into_iter();
            writer.nack(self.sender, slot.ssrc.media, &mut lost).ok()?;
            if slot.asks_for_key_frame(now) {
                writer.pli(self.sender, slot.ssrc.media).ok()?;
            }
        }
        let len = writer.len();
        bytes.truncate(len);
        (len > 0).then_some(bytes)
    }

    fn drain(&mut self, now: Duration) {
        for slot in &mut self.slots {
            while let Some(source) = slot.decode_next(now) {
                self.decoded += u64::from(source.is_some());
                if let Some(source) = source {
                    self.seen.insert((slot.mid, source), now);
                }
            }
        }
    }
}

impl Slot {
    /// The mid of its section.
    pub(crate) fn number(&self) -> u8 {
        number_of(self.mid).unwrap_or(u8::MAX)
    }

    fn new(added: Option<Duration>, answer: &Answered, ssrc: StreamSsrc) -> Self {
        Self {
            added,
            mid: answer.mid,
            kind: answer.kind,
            ssrc,
            rtx_pt: answer.rtx_pt,
            nack: answer.nack,
            pli: answer.pli,
            decoder: Decoder::default(),
            buffer: BTreeMap::new(),
            missing: BTreeMap::new(),
            next: None,
            first: None,
            highest: 0,
            key_wanted: false,
            pli_at: Duration::ZERO,
            received: 0,
            reported: (0, 0),
            sender_report: None,
        }
    }

    fn take(&mut self, now: Duration, sequence: u64, item: Item) {
        self.received += 1;
        let (first, _) = *self.first.get_or_insert((sequence, now));
        self.missing.remove(&sequence);
        if self.next.is_some_and(|next| sequence < next) {
            return;
        }
        let from = if self.highest == 0 { first } else { self.highest + 1 };
        for gap in from..sequence {
            self.missing.insert(gap, Missing { since: now, next: now + ASK_AFTER, asks: 0 });
        }
        self.highest = self.highest.max(sequence);
        self.buffer.insert(sequence, item);
    }

    /// Feeds the decoder with the next packet; `None` when it has to wait. Returns the source whose picture or sound
    /// was completed.
    fn decode_next(&mut self, now: Duration) -> Option<Option<Source>> {
        let (_, began) = self.first?;
        if self.next.is_none() && now >= began + START {
            self.next = self.buffer.keys().next().copied();
            // Nothing was noted of packets that came out of order before.
            let Self { buffer, missing, .. } = self;
            for gap in (self.next?..self.highest).filter(|n| !buffer.contains_key(n)) {
                missing.entry(gap).or_insert(Missing { since: now, next: now, asks: 0 });
            }
        }
        let mut next = self.next?;
        if !self.buffer.contains_key(&next) {
            let patience = if self.nack { GIVE_UP } else { GIVE_UP_SOUND };
            let there = self.buffer.keys().next().copied()?;
            let since = self.missing.get(&next).map(|m| m.since)?;
            if now < since + patience {
                return None;
            }
            self.missing.retain(|&sequence, _| sequence >= there);
            self.decoder = Decoder::default();
            next = there;
        }
        self.next = Some(next + 1);
        let item = self.buffer.remove(&next)?;
        Some(self.decode(item))
    }

    fn decode(&mut self, item: Item) -> Option<Source> {
        let stamp = item.read?.stamp;
        if self.kind == MediaKind::Audio {
            return Some((stamp.peer, stamp.track));
        }
        let Decoder { picture, last } = &mut self.decoder;
        let follows = last.is_some_and(|l| {
            (l.peer, l.track, l.layer) == (stamp.peer, stamp.track, stamp.layer)
                && l.number + 1 == stamp.number
        });
        let (index, decodable) = match picture {
            _ if stamp.index == 0 => (0, stamp.key || follows),
            Some((p, decodable)) if same_picture(p, &stamp) => (p.index + 1, *decodable),
            _ => (stamp.index, false),
        };
        let decodable = decodable && index == stamp.index;
        *picture = Some((stamp, decodable));
        if !decodable {
            *last = None;
            self.key_wanted = true;
        }
        if !item.marker || stamp.index + 1 != stamp.of || !decodable {
            return None;
        }
        *last = Some(stamp);
        self.key_wanted = false;
        Some((stamp.peer, stamp.track))
    }

    /// The packets to request now.
    fn ask_again(&mut self, now: Duration) -> Vec<u16> {
        if !self.nack {
            return Vec::new();
        }
        let due = self.missing.iter_mut().filter(|(_, m)| m.next <= now && m.asks < ASKS_MAX);
        let asked = due.take(100).map(|(&sequence, m)| {
            m.asks += 1;
            m.next = now + ASK_EVERY;
            sequence as u16
        });
        asked.collect()
    }

    fn asks_for_key_frame(&mut self, now: Duration) -> bool {
        let asks = self.pli && self.key_wanted && self.pli_at <= now;
        if asks {
            self.pli_at = now + PLI_EVERY;
        }
        asks
    }

    fn report(&mut self, now: Duration) -> Option<ReportBlock> {
        let (first, _) = self.first?;
        let expected = self.highest - first + 1;
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let (expected_now, received_now) =
            (expected - expected_before, self.received - received_before);
        let lost = expected_now.saturating_sub(received_now);
        let (last_sr, delay) = self
            .sender_report
            .map_or((0, Duration::ZERO), |(middle, at)| (middle, now.saturating_sub(at)));
        Some(ReportBlock {
            ssrc: self.ssrc.media.0,
            fraction_lost: (lost * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            cumulative_lost: expected.saturating_sub(self.received) as i32,
            highest_sequence: self.highest as u32,
            jitter: 0,
            last_sr,
            delay_since_last_sr: (delay.as_micros() * 65_536 / 1_000_000) as u32,
        })
    }
}

fn same_picture(a: &Stamp, b: &Stamp) -> bool {
    (a.peer, a.track, a.layer, a.number) == (b.peer, b.track, b.layer, b.number)
}

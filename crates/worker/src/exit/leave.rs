//! Step 5, leaving: packets are numbered, written and encrypted into the outbox one behind the other, so that one
//! system call can send them as a train.

use std::time::Instant;

use model::{DropReason, MediaKind};
use router::{Leave, TrackMirror, Written};
use transport::srtp::{Sender, SrtpError};

use super::{Exit, WAIT_MAX, Waiting, run::Run};
use crate::{
    Counters,
    asks::Ask,
    send::Outbox,
    sessions::{Down, Session},
    tracks::{TrackRef, Tracks},
};

/// Most packets that one receiver sends in a row. Most pictures are smaller. A larger one is sent in several rounds,
/// so that all its receivers advance alike and none waits for the whole picture of another.
pub(crate) const QUANTUM: usize = 32;
/// A packet that is shorter than the longest of its run by at most this is padded to that length (RFC 3550 section
/// 5.1). The segments of one message must have one length, and encoders split a picture into packets that differ by a
/// byte or so.
const PAD_MAX: usize = 16;

/// What packets need to leave, for one turn of the worker.
pub(crate) struct Gate<'a> {
    pub(crate) now: Instant,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) counters: &'a Counters,
    /// Requests to origins that the packets caused; they are made after the turn.
    pub(crate) asks: &'a mut Vec<(TrackRef, Ask)>,
}

impl Gate<'_> {
    /// Offers a run to one slot: what may leave at once is sent, the rest is queued.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        session: &mut Session,
        at: u16,
        run: &std::sync::Arc<Run>,
        mirror: &TrackMirror,
    ) {
        let count = run.packets.len() as u64;
        self.counters.offered.add(count);
        if session.crypto.is_none() || session.path.is_none() {
            self.counters.drop_out_many(DropReason::NotConnected, count);
            return;
        }
        if run.packets.len() <= QUANTUM
            && session.exit.is_clear(run.kind)
            && self.outbox.make_room(run.packets.len())
        {
            self.pass(session, at, run, mirror);
        } else {
            self.queue(session, at, run, mirror);
        }
        self.want_key_frame(session, at, run.track, mirror);
    }

    /// Selects packets and sends them at once.
    #[inline]
    fn pass(&mut self, session: &mut Session, at: u16, run: &Run, mirror: &TrackMirror) {
        let Session { downs, crypto, path, exit, .. } = session;
        let Some(down) = downs.get_mut(usize::from(at)) else { return };
        let (Some(crypto), Some(path)) = (crypto, *path) else { return };
        self.outbox.begin(path);
        for packet in &run.packets {
            let Some(room) = self.outbox.space() else {
                self.counters.drop_out(DropReason::SendBufferFull);
                continue;
            };
            let leave = Leave { now: self.now, transport_cc: exit.transport_cc };
            let sealed = match down.down.forward(&leave, mirror, packet, room) {
                Ok(written) => {
                    let written = pad(room, written, packet.meta.payload_len, run.longest);
                    exit.use_number(&written);
                    seal(&mut crypto.sender, room, written)
                }
                Err(reason) => Err(reason),
            };
            self.account(sealed);
        }
    }

    /// Selects packets and queues them.
    fn queue(
        &mut self,
        session: &mut Session,
        at: u16,
        run: &std::sync::Arc<Run>,
        mirror: &TrackMirror,
    ) {
        let Session { downs, exit, .. } = session;
        let Some(down) = downs.get_mut(usize::from(at)) else { return };
        let mut group: Option<Waiting> = None;
        let mut fits = true;
        for (bit, packet) in run.packets.iter().enumerate() {
            match down.down.select(mirror, packet) {
                Ok(pick) => match &mut group {
                    Some(group) if group.pick == pick => group.packets |= 1 << bit,
                    // A packet with another pick than the one before needs an entry of its own.
                    _ => {
                        let waiting = Waiting {
                            run: run.clone(),
                            down: at,
                            pick,
                            packets: 1 << bit,
                            since: self.now,
                        };
                        if let Some(before) = group.replace(waiting) {
                            fits &= exit.wait(run.kind, before, self.counters);
                        }
                    }
                },
                Err(reason) => self.counters.drop_out(reason),
            }
        }
        if let Some(last) = group {
            fits &= exit.wait(run.kind, last, self.counters);
        }
        if !fits {
            exit.give_up(DropReason::ExitFull, downs, self.counters);
        }
    }

    fn want_key_frame(
        &mut self,
        session: &mut Session,
        at: u16,
        track: TrackRef,
        mirror: &TrackMirror,
    ) {
        let Some(down) = session.downs.get_mut(usize::from(at)) else { return };
        if let Some(layer) = down.down.wants_keyframe(self.now, mirror) {
            self.ask_later(track, Ask::KeyFrame(layer));
        }
    }

    fn ask_later(&mut self, track: TrackRef, ask: Ask) {
        if !self.asks.contains(&(track, ask)) {
            self.asks.push((track, ask));
        }
    }

    /// Sends waiting packets of a session, at most [`QUANTUM`]. Returns how many were handled.
    pub(crate) fn leave(&mut self, session: &mut Session, tracks: &mut Tracks) -> usize {
        let Some(path) = session.path.filter(|_| session.crypto.is_some()) else {
            session.exit.end(self.counters);
            return 0;
        };
        self.outbox.begin(path);
        let mut left = QUANTUM;
        self.leave_queue(session, tracks, MediaKind::Audio, &mut left);
        self.leave_resends(session, tracks, &mut left);
        self.leave_queue(session, tracks, MediaKind::Video, &mut left);
        QUANTUM - left
    }

    fn leave_queue(
        &mut self,
        session: &mut Session,
        tracks: &mut Tracks,
        kind: MediaKind,
        left: &mut usize,
    ) {
        let Session { downs, crypto, exit, .. } = session;
        let Some(crypto) = crypto else { return };
        while *left > 0
            && let Some(mut waiting) = exit.pop(kind)
        {
            if self.now.saturating_duration_since(waiting.since) > WAIT_MAX {
                exit.give_back(kind, waiting);
                exit.give_up(DropReason::ExitLate, downs, self.counters);
                return;
            }
            let run = waiting.run.clone();
            let mirror = tracks.at(run.track).filter(|t| t.id == run.id).map(|t| &t.mirror);
            let (Some(mirror), Some(down)) = (mirror, downs.get_mut(usize::from(waiting.down)))
            else {
                self.counters.waiting_done(waiting.count());
                self.counters.drop_out_many(DropReason::NoSubscriber, waiting.count());
                continue;
            };
            while *left > 0 && waiting.packets != 0 {
                let Some(room) = self.outbox.space() else { break };
                let at = waiting.packets.trailing_zeros() as usize;
                waiting.packets &= waiting.packets - 1;
                *left -= 1;
                self.counters.waiting_done(1);
                let Some(packet) = run.packets.get(at) else { continue };
                let leave = Leave { now: self.now, transport_cc: exit.transport_cc };
                let sealed = match down.down.write(&leave, mirror, packet, waiting.pick, room) {
                    Ok(written) => {
                        let written = pad(room, written, packet.meta.payload_len, run.longest);
                        exit.use_number(&written);
                        seal(&mut crypto.sender, room, written)
                    }
                    Err(reason) => Err(reason),
                };
                self.account(sealed);
            }
            if waiting.packets != 0 {
                exit.give_back(kind, waiting);
                return;
            }
        }
    }

    fn leave_resends(&mut self, session: &mut Session, tracks: &mut Tracks, left: &mut usize) {
        let Session { downs, crypto, exit, .. } = session;
        let Some(crypto) = crypto else { return };
        while *left > 0 && !exit.resends.is_empty() {
            let Some(room) = self.outbox.space() else { return };
            let Some(resend) = exit.resends.pop() else { return };
            *left -= 1;
            self.counters.waiting_done(1);
            let down = downs.get_mut(usize::from(resend.down));
            let bound = down.and_then(|d| Some((d.track?, d)));
            let mirror = bound.as_ref().and_then(|(at, _)| tracks.at(*at)).map(|t| &t.mirror);
            let (Some((track, down)), Some(mirror)) = (bound, mirror) else {
                self.counters.drop_out(DropReason::NoSubscriber);
                continue;
            };
            let leave = Leave { now: self.now, transport_cc: exit.transport_cc };
            let sealed = match down.down.retransmit(&leave, mirror, resend.sequence, room) {
                Ok(written) => {
                    exit.use_number(&written);
                    seal(&mut crypto.sender, room, written)
                }
                Err(reason) => {
                    if reason == DropReason::RtxExpired
                        && let Some((stream, seq)) = down.down.missing(mirror, resend.sequence)
                    {
                        self.ask_later(track, Ask::Missing(stream, seq));
                    }
                    Err(reason)
                }
            };
            self.counters.retransmitted.add(u64::from(sealed.is_ok()));
            self.account(sealed);
        }
    }

    #[inline]
    fn account(&mut self, sealed: Result<usize, DropReason>) {
        match sealed {
            Ok(len) => {
                self.outbox.commit(len);
                self.counters.forwarded.add(1);
                self.counters.forwarded_bytes.add(len as u64);
            }
            Err(reason) => self.counters.drop_out(reason),
        }
    }
}

impl Exit {
    #[inline]
    fn use_number(&mut self, written: &Written) {
        self.transport_cc = self.transport_cc.wrapping_add(u16::from(written.transport_cc));
    }

    fn pop(&mut self, kind: MediaKind) -> Option<Waiting> {
        let waiting = match kind {
            MediaKind::Audio => self.sound.pop_front(),
            MediaKind::Video => self.pictures.pop_front(),
        }?;
        self.bytes = self.bytes.saturating_sub(waiting.run.bytes_of(waiting.packets));
        Some(waiting)
    }

    fn give_back(&mut self, kind: MediaKind, waiting: Waiting) {
        self.bytes += waiting.run.bytes_of(waiting.packets);
        match kind {
            MediaKind::Audio => self.sound.push_front(waiting),
            MediaKind::Video => self.pictures.push_front(waiting),
        }
    }

    /// Drops everything that waits except retransmissions. The slots that lose pictures need a key frame to go on.
    fn give_up(&mut self, reason: DropReason, downs: &mut [Down], counters: &Counters) {
        let both = [&mut self.sound, &mut self.pictures];
        for waiting in both.into_iter().flat_map(|queue| queue.drain(..)) {
            counters.waiting_done(waiting.count());
            counters.drop_out_many(reason, waiting.count());
            if let Some(down) = downs.get_mut(usize::from(waiting.down)) {
                down.down.interrupt();
            }
        }
        self.bytes = 0;
    }
}

/// Encrypts a written packet in place.
#[inline]
fn seal(sender: &mut Sender, room: &mut [u8], written: Written) -> Result<usize, DropReason> {
    let roc = (written.seq.0 >> 16) as u32;
    let sealed = match written.exact {
        true => sender.seal_rtp_exact(room, written.header_len, written.len, roc),
        false => sender.seal_rtp(room, written.header_len, written.len, roc),
    };
    sealed.map_err(SrtpError::drop_reason)
}

/// Pads a packet to the length of the longest of its run.
#[inline]
fn pad(room: &mut [u8], mut written: Written, payload_len: u16, longest: u16) -> Written {
    let short = usize::from(longest.saturating_sub(payload_len));
    // A packet that may be resent under the same sequence number must stay as it is.
    if written.exact || short == 0 || short > PAD_MAX {
        return written;
    }
    let Some(padding) = room.get_mut(written.len..written.len + short) else { return written };
    padding.fill(0);
    // RFC 3550 section 5.1: the last byte counts the padding, itself included.
    padding[short - 1] = short as u8;
    room[0] |= 0x20;
    written.len += short;
    written
}

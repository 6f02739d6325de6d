//! Step 5: for each subscriber, select, rewrite and encrypt a run of packets into one train.
//!
//! Subscriber by subscriber, not packet by packet: its keys and its numbering are in cache, and the packets lie side
//! by side, so that they can leave as segments of one message.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use model::{CloseReason, DropReason};
use router::{Packet, TrackMirror, Written};

use transport::srtp::{Sender, SrtpError};

use crate::{
    Counters,
    core::Worker,
    recv::Inbox,
    send::Outbox,
    sessions::{Session, Slot},
    tracks::{Subscriber, TrackSlot},
};

/// A packet that is shorter than the longest of its train by no more than this is padded to its length (RFC 3550
/// section 5.1): segments of one message must be of one length, and encoders split a picture into packets that differ
/// by a byte or so.
const PAD_MAX: usize = 16;

impl Worker {
    /// Sends what is due of every track.
    pub(crate) fn flush_tracks(&mut self, now: Instant) {
        while let Some(slot) = self.tracks.take_due(now) {
            self.flush_track(now, slot);
        }
    }

    fn flush_track(&mut self, now: Instant, slot: TrackSlot) {
        let mut wants: u8 = 0;
        let mut broken: Vec<Slot> = Vec::new();
        let Worker { tracks, sessions, timers, outbox, inbox, counters, .. } = self;
        let Some(track) = tracks.at(slot) else { return };
        track.due = None;
        let longest = track.fresh.iter().map(|p| p.meta.payload_len).max().unwrap_or(0);
        let run = Run { now, mirror: &track.mirror, packets: &track.fresh, longest };
        for (at, &Subscriber { session, down }) in track.subscribers.iter().enumerate() {
            // Subscribers lie apart, and since the last picture other things were in the caches.
            if let Some(later) = track.subscribers.get(at + 2) {
                sessions.foresee(later.session);
            }
            if let Some(next) = track.subscribers.get(at + 1)
                && let Some(session) = sessions.at(next.session)
            {
                session.foresee(next.down);
            }
            let Some(subscriber) = sessions.at(session) else { continue };
            // A defect in one subscriber's state ends that subscriber.
            let want = catch_unwind(AssertUnwindSafe(|| {
                run.send_to(subscriber, down, outbox, inbox, counters)
            }));
            subscriber.arm_down(timers, now, down);
            match want {
                Ok(Some(layer)) => wants |= 1 << layer.min(7),
                Ok(None) => {}
                Err(_) => broken.push(session),
            }
        }
        track.fresh.clear();
        for session in broken {
            self.counters.panics.add(1);
            self.outbox.abandon();
            tracing::error!("a defect ended a subscriber");
            self.end_session(session, CloseReason::Internal);
        }
        for layer in (0..8).filter(|layer| wants & (1 << layer) != 0) {
            self.guarded(|w| w.request_key_frame(now, slot, layer));
        }
    }

    /// Starts a new subscriber from the packets since a key frame that is young enough, so that it need not wait for
    /// the next one.
    pub(crate) fn catch_up(&mut self, now: Instant, session: Slot, down: usize) {
        let Worker { tracks, sessions, timers, outbox, inbox, counters, .. } = self;
        let Some(subscriber) = sessions.at(session) else { return };
        let Some(slot) = subscriber.downs.get(down).and_then(|d| d.track) else { return };
        let Some(track) = tracks.at(slot) else { return };
        let limits = router::CatchUpLimits::default();
        let caught: Vec<Arc<Packet>> =
            subscriber.downs[down].down.catch_up(now, &track.mirror, limits).cloned().collect();
        let run = Run { now, mirror: &track.mirror, packets: &caught, longest: 0 };
        let want = run.send_to(subscriber, down, outbox, inbox, counters);
        subscriber.arm_down(timers, now, down);
        if let Some(layer) = want {
            self.request_key_frame(now, slot, layer);
        }
    }
}

/// Packets of one track that go to all of its subscribers.
struct Run<'a> {
    now: Instant,
    mirror: &'a TrackMirror,
    packets: &'a [Arc<Packet>],
    /// The longest payload among them.
    longest: u16,
}

impl Run<'_> {
    /// Sends the run to one subscriber. Returns the layer of which it wants a key frame.
    fn send_to(
        &self,
        session: &mut Session,
        down: usize,
        outbox: &mut Outbox,
        inbox: &Inbox,
        counters: &Counters,
    ) -> Option<u8> {
        let down = session.downs.get_mut(down)?;
        counters.offered.add(self.packets.len() as u64);
        let (Some(crypto), Some(path)) = (&mut session.crypto, session.path) else {
            counters.dropped_out[DropReason::NotConnected as usize].add(self.packets.len() as u64);
            return None;
        };
        outbox.begin(path);
        for packet in self.packets {
            let Some(room) = outbox.space(inbox, counters) else {
                counters.drop_out(DropReason::SendBufferFull);
                continue;
            };
            let sealed = match down.down.forward(self.now, self.mirror, packet, room) {
                Ok(written) => {
                    let written = pad(room, written, packet.meta.payload_len, self.longest);
                    seal(&mut crypto.sender, room, written)
                }
                Err(reason) => Err(reason),
            };
            match sealed {
                Ok(len) => {
                    outbox.commit(len);
                    counters.forwarded.add(1);
                    counters.forwarded_bytes.add(len as u64);
                }
                Err(reason) => counters.drop_out(reason),
            }
        }
        down.down.wants_keyframe(self.now, self.mirror)
    }
}

/// Encrypts a written packet in place.
pub(crate) fn seal(
    sender: &mut Sender,
    room: &mut [u8],
    written: Written,
) -> Result<usize, DropReason> {
    let roc = (written.seq.0 >> 16) as u32;
    sender.seal_rtp(room, written.header_len, written.len, roc).map_err(SrtpError::drop_reason)
}

/// Pads a packet to the length of the longest of its run.
fn pad(room: &mut [u8], mut written: Written, payload_len: u16, longest: u16) -> Written {
    let short = usize::from(longest.saturating_sub(payload_len));
    // A packet that may be resent under its number has to stay as it is.
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

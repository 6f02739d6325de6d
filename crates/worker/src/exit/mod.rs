//! The exit of one receiver: the packets that were selected for it and have not left yet.
//!
//! Usually nothing waits: a picture is selected and leaves at once, as a train. A picture with more packets than may
//! leave at once, or one that comes while the socket is full, waits here; bytes and time are limited. A packet is
//! numbered, timed and encrypted when it leaves ([`leave`]). Sound leaves before retransmissions, and retransmissions
//! before pictures. There is no pacing: a packet leaves as soon as its receiver has its turn ([`rounds`]).

pub(crate) mod leave;
mod resends;
pub(crate) mod rounds;
pub(crate) mod run;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{DropReason, MediaKind};
use router::Pick;

use crate::Counters;
use resends::{Resend, Resends};
use run::Run;

/// Bytes that may wait for one receiver: several key frames, and more than a line takes within [`WAIT_MAX`].
const BYTES_MAX: usize = 1 << 20;
/// How long a packet may wait. After that a receiver is better served with a new key frame than with old pictures.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Packets of one run that were selected for one slot.
pub(crate) struct Waiting {
    run: Arc<Run>,
    down: u16,
    pick: Pick,
    /// Which packets of the run, one bit each; the lowest bit is the first packet.
    packets: u64,
    since: Instant,
}

impl Waiting {
    fn count(&self) -> u64 {
        u64::from(self.packets.count_ones())
    }
}

/// The packets of one receiver that have not left yet; see the head of the file.
#[derive(Default)]
pub(crate) struct Exit {
    sound: VecDeque<Waiting>,
    resends: Resends,
    pictures: VecDeque<Waiting>,
    /// Payload bytes of the waiting packets, without retransmissions.
    bytes: usize,
    /// The session is in the round of sessions with waiting packets.
    listed: bool,
    /// The next transport-wide sequence number.
    transport_cc: u16,
}

impl Exit {
    /// Whether a packet that is selected now may leave at once: no packet of its kind waits, and for a picture no
    /// retransmission.
    #[inline]
    pub(crate) fn is_clear(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.sound.is_empty(),
            MediaKind::Video => self.pictures.is_empty() && self.resends.is_empty(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sound.is_empty() && self.resends.is_empty() && self.pictures.is_empty()
    }

    /// Marks the session as one in the round if packets wait. `true` when it was not in the round and the caller has
    /// to enter it.
    pub(crate) fn list(&mut self) -> bool {
        !self.is_empty() && !std::mem::replace(&mut self.listed, true)
    }

    /// Queues packets. `false` when more bytes wait than allowed: the caller has to drop them ([`Exit::give_up`]).
    fn wait(&mut self, kind: MediaKind, waiting: Waiting, counters: &Counters) -> bool {
        counters.waiting_add(waiting.count());
        self.bytes += waiting.run.bytes_of(waiting.packets);
        let queue = match kind {
            MediaKind::Audio => &mut self.sound,
            MediaKind::Video => &mut self.pictures,
        };
        queue.push_back(waiting);
        self.bytes <= BYTES_MAX
    }

    /// Queues a retransmission. `false` when the same one waits already, or too many do.
    pub(crate) fn resend(&mut self, down: u16, sequence: u16) -> bool {
        self.resends.push(Resend { down, sequence })
    }

    /// Drops everything, because the session ends.
    pub(crate) fn end(&mut self, counters: &Counters) {
        counters.waiting_done(self.resends.len() as u64);
        for waiting in self.sound.drain(..).chain(self.pictures.drain(..)) {
            counters.waiting_done(waiting.count());
            counters.drop_out_many(DropReason::SessionEnded, waiting.count());
        }
        counters.drop_out_many(DropReason::SessionEnded, self.resends.len() as u64);
        self.resends.clear();
        self.bytes = 0;
    }
}

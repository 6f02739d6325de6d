//! The exit of one receiver: what was selected for it and has not left.
//!
//! Nearly always nothing waits: a picture is selected and leaves at once, as a train. A picture of more packets than leave at once, or
//! one that comes while the socket is full, waits here, bounded in bytes and time. Sequence numbers, send times and seals are made
//! when a packet leaves ([`leave`]). Sound leaves before retransmissions, and these before pictures. There is no pacing: a
//! packet leaves as soon as its receiver's turn comes ([`rounds`]).

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

/// Bytes that may wait for one receiver: several key frames, and more than a line takes in the time that they may wait.
const BYTES_MAX: usize = 1 << 20;
/// How long a packet may wait. After that a receiver is better served with a new key frame than with old pictures.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Packets of one run that were selected for one slot.
pub(crate) struct Waiting {
    run: Arc<Run>,
    down: u16,
    pick: Pick,
    /// Which packets of the run, one bit each, the lowest first.
    packets: u64,
    since: Instant,
}

impl Waiting {
    fn count(&self) -> u64 {
        u64::from(self.packets.count_ones())
    }
}

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Exit {
    sound: VecDeque<Waiting>,
    resends: Resends,
    pictures: VecDeque<Waiting>,
    /// Payload bytes of what waits.
    bytes: usize,
    /// The session stands in the round of those with something to send.
    listed: bool,
    /// The next transport-wide sequence number.
    transport_cc: u16,
}

impl Exit {
    /// Whether what is selected now may leave at once: nothing of its kind waits.
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

    /// Lists the session as one with something to send. `true` when it was not.
    pub(crate) fn list(&mut self) -> bool {
        !self.is_empty() && !std::mem::replace(&mut self.listed, true)
    }

    /// Queues packets. `false`: more bytes wait than may, and the caller has to drop what waits ([`Exit::give_up`]).
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

    /// Lets a retransmission wait. `false` when it waits already, or too many do.
    pub(crate) fn resend(&mut self, down: u16, sequence: u16) -> bool {
        self.resends.push(Resend { down, sequence })
    }

    /// Gives up everything, since the session ends.
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

//! Step 6: trains go down to the kernel.

use model::{DropReason, Path};
use udp::SendBatch;

use crate::{Counters, recv::Inbox};

/// Bytes that may wait for one flush.
const ARENA: usize = 1 << 20;
/// Messages that may wait for one flush.
const MESSAGES: usize = 512;
/// Free room that a datagram needs before it is written.
const ROOM: usize = 2_048;

/// Datagrams on their way out, written straight into the memory that the kernel reads.
pub(crate) struct Outbox {
    batch: SendBatch,
    path: Option<Path>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { batch: SendBatch::with_capacity(ARENA, MESSAGES), path: None }
    }

    /// What is committed from now on goes to `path`.
    #[inline]
    pub(crate) fn begin(&mut self, path: Path) {
        self.path = Some(path);
        self.batch.begin(path);
    }

    /// Room for one datagram; flushes when there is none.
    #[inline]
    pub(crate) fn space(&mut self, inbox: &Inbox, counters: &Counters) -> Option<&mut [u8]> {
        // Asked twice because a borrow that is returned on one way lives on the other one too.
        if self.batch.space().is_none_or(|room| room.len() < ROOM) {
            self.flush(inbox, counters);
            if let Some(path) = self.path {
                self.batch.begin(path);
            }
        }
        self.batch.space().filter(|room| room.len() >= ROOM)
    }

    /// Keeps the first `len` bytes of the room.
    #[inline]
    pub(crate) fn commit(&mut self, len: usize) {
        self.batch.commit(len);
    }

    /// One datagram by copy: for everything that is not media.
    pub(crate) fn datagram(
        &mut self,
        inbox: &Inbox,
        counters: &Counters,
        path: Path,
        bytes: &[u8],
    ) {
        self.begin(path);
        match self.space(inbox, counters).and_then(|room| room.get_mut(..bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.commit(bytes.len());
            }
            None => counters.drop_out(DropReason::TooLarge),
        }
    }

    /// After a panic: what was being written is not sent; what was committed is.
    pub(crate) fn abandon(&mut self) {
        self.path = None;
    }

    /// Gives everything to the kernel.
    pub(crate) fn flush(&mut self, inbox: &Inbox, counters: &Counters) {
        if self.batch.is_empty() {
            return;
        }
        let sent = self.batch.flush(inbox.v4.as_ref(), inbox.v6.as_ref());
        counters.datagrams_out.add(sent.sent_datagrams);
        counters.bytes_out.add(sent.sent_bytes);
        counters.messages_out.add(sent.messages);
        counters.send_calls.add(sent.syscalls);
        counters.send_full.add(sent.dropped_full);
        counters.send_refused.add(sent.dropped_refused);
    }
}

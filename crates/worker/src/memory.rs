//! Packet memory of one publisher: near its limit its oldest packets are dropped from the caches, in this worker and
//! in the workers that have viewers of it. Other publishers lose nothing.

use std::time::{Duration, Instant};

use model::{DropReason, TrackId};
use router::{Account, PacketBuf, StreamId};
use rtp::sequence::ExtSeq;

use crate::{core::Worker, mail::Message, sessions::SessionRef};

/// If dropping packets freed no memory, it is not tried again for this long. Another worker holds the packets and has
/// to take the message first, or they wait for a receiver; and a refusal has to stay cheap meanwhile.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The packets of a stream below a number are to be dropped.
pub(crate) type Cut = (TrackId, StreamId, ExtSeq);

/// The account of a publisher with the packet pool of its worker.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Opened with the first packet; viewers need no account.
    pub(crate) account: Option<Account>,
    /// When dropping packets may be tried again.
    retry_at: Option<Instant>,
}

impl Worker {
    /// Allocates a buffer for a packet of a session.
    pub(crate) fn buffer(
        &mut self,
        now: Instant,
        at: SessionRef,
        len: usize,
    ) -> Result<PacketBuf, DropReason> {
        let session = self.sessions.at(at).ok_or(DropReason::UnknownPath)?;
        let account = *session.memory.account.get_or_insert_with(|| self.pool.open());
        let may_try = session.memory.retry_at.is_none_or(|at| now >= at);
        if may_try
            && self.pool.is_near_bound(account)
            && !self.let_oldest_go(account)
            && let Some(session) = self.sessions.at(at)
        {
            session.memory.retry_at = Some(now + RETRY_AFTER);
        }
        self.pool.alloc(account, len)
    }

    /// Closes the account of a publisher that has ended. Packets that caches and queues still hold come back later.
    pub(crate) fn close_memory(&mut self, memory: &Memory) {
        if let Some(account) = memory.account {
            self.pool.close(account);
        }
    }

    /// Drops the oldest eighth of an account's packets. `true` when memory came back.
    pub(crate) fn let_oldest_go(&mut self, account: Account) -> bool {
        // One cut per stream, which covers all packets below a number. A session has few streams.
        let mut cuts = std::mem::take(&mut self.cuts);
        let mut packets = 0;
        for meta in self.pool.oldest(account).map(|packet| &packet.meta) {
            packets += 1;
            let below = ExtSeq(meta.seq.0 + 1);
            match cuts.iter_mut().find(|(t, s, _)| (*t, *s) == (meta.track, meta.stream)) {
                Some((.., cut)) => *cut = below.max(*cut),
                None => cuts.push((meta.track, meta.stream, below)),
            }
        }
        for (id, stream, below) in cuts.drain(..) {
            let Some(track) = self.tracks.by_id(id).and_then(|at| self.tracks.at(at)) else {
                continue;
            };
            track.mirror.forget(stream, below);
            for sink in track.workers() {
                self.mail.tell(sink.worker, Message::LetGo { track: id, stream, below });
            }
        }
        self.cuts = cuts;
        self.counters.packets_let_go.add(packets);
        self.pool.reclaim_oldest(account)
    }
}

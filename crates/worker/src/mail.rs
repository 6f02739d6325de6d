//! What reaches a worker from other threads: notices from signaling, messages and datagrams from other workers, each in one queue
//! per receiving worker, and packets in a ring for each pair of workers that has packets to pass, made with the first one.
//!
//! Media rings are bounded: a full one means that the other worker is behind, and the newest packet is refused and counted
//! (the producer of a single-producer ring cannot take the oldest back); who misses it can ask for it. Messages that find their queue full
//! wait in a list of the sender's own, bounded too. Of notices there is one for each session at most.

use std::{collections::VecDeque, sync::Arc};

use crossbeam_queue::{ArrayQueue, SegQueue};
use model::{Path, SessionId, TrackId};
use ring::{Consumer, Producer};
use router::{Packet, Ranking, SenderInfo, StreamId};
use rtp::sequence::ExtSeq;

use crate::{
    WorkerId, asks::Ask, directory::Entry, inspect::StatsReply, source::SourcePeer, waker::Waker,
};

/// Packets that may lie between two workers: at a million packets a second, some milliseconds.
const MEDIA_RING: usize = 4_096;
/// Messages that may wait for a worker.
const MESSAGES_MAX: usize = 4_096;
/// Messages that may wait for room in another worker's queue. A worker that is so far behind does not run any more
/// ([`crate::health`]), and further messages to it are lost.
const BACKLOG: usize = 65_536;
/// Datagrams that may wait for the worker that owns their session: strangers' bytes must not pile up.
const HANDED: usize = 1_024;

/// A packet on its way to a worker that wants it.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) track: TrackId,
    pub(crate) packet: Arc<Packet>,
}

/// From signaling, and from the node.
pub(crate) enum Notice {
    /// The orders of a session of the receiver changed.
    Orders(Arc<Entry>),
    /// A local source.
    Attach(Arc<Entry>, Box<SourcePeer>),
    /// Somebody asks for the measurements of a session of the receiver.
    Inspect(SessionId, StatsReply),
    /// End all sessions, and stop when their goodbyes are sent.
    Shutdown,
    /// Test hook: the thread is to end by a panic.
    #[cfg(any(test, feature = "lab"))]
    Break,
}

/// Messages between workers.
#[derive(Debug)]
pub(crate) enum Message {
    /// Packets come through this ring from now on.
    Ring(Consumer<Media>),
    /// The session settled in the sender, and the receiver waited for that.
    Settled { session: SessionId },
    /// A check validated this path of the receiver's session before the sender knew where it settled.
    Path { session: SessionId, path: Path, nominated: bool },
    /// The sender has subscribers of this track of the receiver's.
    Ask { publisher: SessionId, track: TrackId, ask: Ask },
    /// A sender report of the publisher: the mapping from RTP to NTP time.
    Report { track: TrackId, stream: StreamId, info: SenderInfo },
    /// Packets of a stream below a number are to be let go: the publisher is at the bound of its memory.
    LetGo { track: TrackId, stream: StreamId, below: ExtSeq },
    /// How the layers of a track rank.
    Ranking { track: TrackId, ranking: Ranking },
}

/// A datagram that reached another worker.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) path: Path,
    pub(crate) bytes: Box<[u8]>,
}

/// Where a worker is reached from any thread.
pub(crate) struct Mailbox {
    notices: SegQueue<Notice>,
    messages: ArrayQueue<(WorkerId, Message)>,
    handed: ArrayQueue<Handed>,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            notices: SegQueue::new(),
            messages: ArrayQueue::new(MESSAGES_MAX),
            handed: ArrayQueue::new(HANDED),
            waker: Waker::new()?,
        }))
    }

    /// Leaves a notice and wakes the worker.
    pub(crate) fn notify(&self, notice: Notice) {
        self.notices.push(notice);
        self.waker.wake();
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// What one worker knows of another.
#[derive(Default)]
struct Peer {
    media_out: Option<Producer<Media>>,
    backlog: VecDeque<Message>,
    /// Something was pushed since the worker was last woken.
    pushed: bool,
}

/// One worker's end of all this.
pub(crate) struct Mail {
    me: WorkerId,
    boxes: Arc<[Arc<Mailbox>]>,
    peers: Vec<Peer>,
    /// Peers with something pushed or in the backlog.
    touched: Vec<WorkerId>,
    media_in: Vec<Consumer<Media>>,
}

impl Mail {
    /// The end of the worker `me`, one of as many as there are boxes.
    pub(crate) fn new(me: WorkerId, boxes: Arc<[Arc<Mailbox>]>) -> Self {
        let peers = boxes.iter().map(|_| Peer::default()).collect();
        Self { me, boxes, peers, touched: Vec::new(), media_in: Vec::new() }
    }

    /// Whose end it is.
    pub(crate) fn me(&self) -> WorkerId {
        self.me
    }

    /// Gives a packet to another worker; false when its ring is full.
    #[inline]
    pub(crate) fn send_media(&mut self, to: WorkerId, media: Media) -> bool {
        self.touch(to);
        self.ring(to).is_some_and(|ring| ring.push(media).is_ok())
    }

    /// Gives packets that may be missed to another worker: as many as leave half of its ring to those that may not.
    /// Returns how many it got.
    pub(crate) fn send_backlog(
        &mut self,
        to: WorkerId,
        backlog: impl Iterator<Item = Media>,
    ) -> usize {
        self.touch(to);
        let Some(ring) = self.ring(to) else { return 0 };
        let room = (MEDIA_RING / 2).saturating_sub(ring.len());
        backlog.take(room).map_while(|media| ring.push(media).ok()).count()
    }

    /// The ring to another worker. With the first packet it is made, and the other end goes to that worker.
    #[inline]
    fn ring(&mut self, to: WorkerId) -> Option<&mut Producer<Media>> {
        if self.peers.get(to.index())?.media_out.is_none() {
            let (producer, consumer) = ring::channel(MEDIA_RING);
            self.tell(to, Message::Ring(consumer));
            self.peers.get_mut(to.index())?.media_out = Some(producer);
        }
        self.peers.get_mut(to.index())?.media_out.as_mut()
    }

    /// Sends a message to another worker.
    pub(crate) fn tell(&mut self, to: WorkerId, message: Message) {
        self.touch(to);
        let Some(peer) = self.peers.get_mut(to.index()) else { return };
        // Messages keep their order: what comes while others wait has to wait behind them.
        if peer.backlog.is_empty() {
            if let Err((_, message)) = self.boxes[to.index()].messages.push((self.me, message)) {
                peer.backlog.push_back(message);
            }
        } else if peer.backlog.len() < BACKLOG {
            peer.backlog.push_back(message);
        }
    }

    /// Hands a datagram to the worker that owns its session; false when there is no room.
    pub(crate) fn hand_over(&mut self, to: WorkerId, path: Path, bytes: &[u8]) -> bool {
        self.touch(to);
        let Some(there) = self.boxes.get(to.index()) else { return false };
        there.handed.push(Handed { path, bytes: bytes.into() }).is_ok()
    }

    fn touch(&mut self, to: WorkerId) {
        if let Some(peer) = self.peers.get_mut(to.index())
            && !std::mem::replace(&mut peer.pushed, true)
        {
            self.touched.push(to);
        }
    }

    /// Messages that wait for room in the queues of other workers.
    pub(crate) fn waiting(&self) -> usize {
        // A worker whose backlog is not empty stays in the list of those to be woken.
        self.touched
            .iter()
            .filter_map(|to| self.peers.get(to.index()))
            .map(|p| p.backlog.len())
            .sum()
    }

    /// Wakes those that something was pushed for, once for the whole batch.
    pub(crate) fn wake_receivers(&mut self) {
        let Self { me, boxes, peers, touched, .. } = self;
        touched.retain(|to| {
            let (peer, there) = (&mut peers[to.index()], &boxes[to.index()]);
            while let Some(message) = peer.backlog.pop_front() {
                if let Err((_, message)) = there.messages.push((*me, message)) {
                    peer.backlog.push_front(message);
                    break;
                }
            }
            there.waker.wake();
            peer.pushed = !peer.backlog.is_empty();
            peer.pushed
        });
    }

    /// The next notice.
    pub(crate) fn next_notice(&self) -> Option<Notice> {
        self.mine().notices.pop()
    }

    /// The next message from any other worker.
    pub(crate) fn next_message(&self) -> Option<(WorkerId, Message)> {
        self.mine().messages.pop()
    }

    /// The next datagram that another worker received for a session of ours.
    pub(crate) fn next_handed(&self) -> Option<Handed> {
        self.mine().handed.pop()
    }

    /// The next packet from any other worker.
    #[inline]
    pub(crate) fn next_media(&mut self) -> Option<Media> {
        self.media_in.iter_mut().find_map(Consumer::pop)
    }

    /// Packets come through one more ring.
    pub(crate) fn add_ring(&mut self, ring: Consumer<Media>) {
        self.media_in.push(ring);
    }

    /// Whether nothing waits for this worker, and nothing of it for another's queue.
    pub(crate) fn is_idle(&self) -> bool {
        let mine = self.mine();
        mine.notices.is_empty()
            && mine.messages.is_empty()
            && mine.handed.is_empty()
            && self.media_in.iter().all(Consumer::is_empty)
            && self.touched.is_empty()
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.mine().waker
    }

    fn mine(&self) -> &Mailbox {
        &self.boxes[self.me.index()]
    }
}

//! Queues between a worker and other threads. Notices from signaling, and messages and datagrams from other workers,
//! each have one queue per receiving worker. Packets go through a ring for each pair of workers, which is made with
//! the pair's first packet.
//!
//! A full ring means that the receiving worker is behind: the newest packet is refused and counted (the producer of a
//! single-producer ring cannot remove the oldest one), and a receiver that misses it can request it. Messages that find
//! their queue full wait in a bounded list of the sending worker. The queue of notices has no bound of its own: changed
//! orders need at most one notice per session.

use std::{collections::VecDeque, sync::Arc};

use crossbeam_queue::{ArrayQueue, SegQueue};
use model::{Path, SessionId, StatsReply, TrackId};
use ring::{Consumer, Producer};
use router::{Packet, Ranking, SenderInfo, StreamId};
use rtp::sequence::ExtSeq;

use crate::{WorkerId, asks::Ask, directory::Entry, source::SourcePeer, waker::Waker};

/// Packets in the ring between two workers: at a million packets a second, some milliseconds.
const MEDIA_RING: usize = 4_096;
/// Messages in the queue of one worker.
const MESSAGES_MAX: usize = 4_096;
/// Messages that may wait for room in another worker's queue. A worker that is this far behind no longer runs
/// ([`crate::health`]), and further messages to it are lost.
const BACKLOG: usize = 65_536;
/// Datagrams in the queue of the worker that owns their session. The bound keeps forged datagrams from filling the
/// memory.
const HANDED: usize = 1_024;

/// A packet on its way to another worker that has subscribers of its track.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) track: TrackId,
    pub(crate) packet: Arc<Packet>,
}

/// A notice to a worker, from signaling or from the node.
pub(crate) enum Notice {
    /// The orders of a session that the receiver owns have changed.
    Orders(Arc<Entry>),
    /// Start a local source.
    Attach(Arc<Entry>, Box<SourcePeer>),
    /// Report the measurements of a session that the receiver owns.
    Inspect(SessionId, StatsReply),
    /// End all sessions, and stop when their goodbyes are sent.
    Shutdown,
    /// Test hook: the thread ends by a panic.
    #[cfg(any(test, feature = "lab"))]
    Break,
}

/// A message from one worker (the sender) to another (the receiver).
#[derive(Debug)]
pub(crate) enum Message {
    /// From now on packets come through this ring.
    Ring(Consumer<Media>),
    /// The sender has become the owner of the session; the receiver waited for that.
    Settled { session: SessionId },
    /// A check validated this path of the receiver's session before the sender knew that the receiver owns the
    /// session.
    Path { session: SessionId, path: Path, nominated: bool },
    /// A request of the sender's subscribers to a track that enters in the receiver.
    Ask { publisher: SessionId, track: TrackId, ask: Ask },
    /// A sender report of the publisher: which NTP time belongs to which RTP timestamp.
    Report { track: TrackId, stream: StreamId, info: SenderInfo },
    /// Drop the packets of a stream below this number: the publisher is at its memory limit.
    LetGo { track: TrackId, stream: StreamId, below: ExtSeq },
    /// How the layers of a track rank.
    Ranking { track: TrackId, ranking: Ranking },
}

/// A datagram that arrived at a worker which does not own its session.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) path: Path,
    pub(crate) bytes: Box<[u8]>,
}

/// The queues of one worker, which any thread may push to.
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

    /// Pushes a notice and wakes the worker.
    pub(crate) fn notify(&self, notice: Notice) {
        self.notices.push(notice);
        self.waker.wake();
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// The sending state of one worker towards another.
#[derive(Default)]
struct Peer {
    media_out: Option<Producer<Media>>,
    backlog: VecDeque<Message>,
    /// Something was pushed since the other worker was last woken.
    pushed: bool,
}

/// The side of one worker: its own queues, and what it sends to the others.
pub(crate) struct Mail {
    me: WorkerId,
    boxes: Arc<[Arc<Mailbox>]>,
    peers: Vec<Peer>,
    /// Workers that something was pushed for, or whose backlog is not empty.
    touched: Vec<WorkerId>,
    media_in: Vec<Consumer<Media>>,
}

impl Mail {
    /// The side of the worker `me`; there are as many workers as boxes.
    pub(crate) fn new(me: WorkerId, boxes: Arc<[Arc<Mailbox>]>) -> Self {
        let peers = boxes.iter().map(|_| Peer::default()).collect();
        Self { me, boxes, peers, touched: Vec::new(), media_in: Vec::new() }
    }

    /// The worker that this side belongs to.
    pub(crate) fn me(&self) -> WorkerId {
        self.me
    }

    /// Gives a packet to another worker; `false` when its ring is full.
    #[inline]
    pub(crate) fn send_media(&mut self, to: WorkerId, media: Media) -> bool {
        self.touch(to);
        self.ring(to).is_some_and(|ring| ring.push(media).is_ok())
    }

    /// Gives packets that may be lost without harm to another worker. They leave half of its ring free for other
    /// packets. Returns how many were given.
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

    /// The ring to another worker. It is made with the first packet, and its consumer is sent to that worker.
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
        // Messages keep their order: a new one goes behind those in the backlog.
        if peer.backlog.is_empty() {
            if let Err((_, message)) = self.boxes[to.index()].messages.push((self.me, message)) {
                peer.backlog.push_back(message);
            }
        } else if peer.backlog.len() < BACKLOG {
            peer.backlog.push_back(message);
        }
    }

    /// Hands a datagram over to the worker that owns its session; `false` when there is no room.
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

    /// The number of messages that wait for room in the queues of other workers.
    pub(crate) fn waiting(&self) -> usize {
        // A worker whose backlog is not empty stays in `touched`.
        self.touched
            .iter()
            .filter_map(|to| self.peers.get(to.index()))
            .map(|p| p.backlog.len())
            .sum()
    }

    /// Wakes the workers that something was pushed for, once for the whole batch.
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

    /// The next datagram that another worker received for a session of this worker.
    pub(crate) fn next_handed(&self) -> Option<Handed> {
        self.mine().handed.pop()
    }

    /// The next packet from any other worker.
    #[inline]
    pub(crate) fn next_media(&mut self) -> Option<Media> {
        self.media_in.iter_mut().find_map(Consumer::pop)
    }

    /// Adds a ring from another worker.
    pub(crate) fn add_ring(&mut self, ring: Consumer<Media>) {
        self.media_in.push(ring);
    }

    /// Whether nothing waits for this worker, and none of its messages waits for room in another worker's queue.
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

//! The rings between workers: one pair for each ordered pair of workers, media apart from control, so that a flood of
//! media never loses a word between workers.
//!
//! Media rings are bounded: a full one means that the other worker is behind, and the newest packet is dropped and
//! counted (the producer of a single-producer ring cannot take the oldest back). Control messages that find their
//! ring full wait in a queue of the sender's own, bounded too.

use std::{collections::VecDeque, sync::Arc};

use model::{Path, SessionId, TrackId};
use ring::{Consumer, Parking, Producer};
use router::{Packet, SenderInfo};
use udp::WakeFd;

use crate::WorkerId;

/// Packets that may lie between two workers: at a million packets a second, some milliseconds.
const MEDIA_RING: usize = 4_096;
/// Words that may lie between two workers.
const CONTROL_RING: usize = 1_024;
/// Words that may wait for their ring; beyond, the other worker is gone.
const CONTROL_BACKLOG: usize = 65_536;

/// A packet on its way to a worker with subscribers of its track.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) track: TrackId,
    pub(crate) packet: Arc<Packet>,
}

/// Words between workers.
#[derive(Debug)]
pub(crate) enum Word {
    /// The session settled in the sender; its tracks flow from there.
    Settled { session: SessionId },
    /// A check validated this path of the receiver's session before the sender knew where it settled.
    Path { session: SessionId, path: Path, nominated: bool },
    /// The session is over: forget its plan and its paths.
    Gone { session: SessionId },
    /// The sender has subscribers of this track now, or none any more.
    Want { track: TrackId, on: bool },
    /// A subscriber of the sender waits for a key frame.
    KeyFrame { track: TrackId, layer: u8 },
    /// A sender report of the publisher: the mapping from RTP to NTP time.
    Report { track: TrackId, layer: u8, epoch: u8, info: SenderInfo },
    /// A datagram that reached the sender and belongs to a session of the receiver.
    Datagram { path: Path, bytes: Box<[u8]> },
}

/// Wakes a worker that sleeps; costs a load while it is awake.
#[derive(Clone)]
pub(crate) struct Bell {
    parking: Arc<Parking>,
    fd: Arc<WakeFd>,
}

impl Bell {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { parking: Arc::new(Parking::new()), fd: Arc::new(WakeFd::new()?) })
    }

    /// To be called after the push that the sleeper must see.
    pub(crate) fn ring(&self) {
        if self.parking.should_wake() {
            self.fd.wake();
        }
    }

    /// To be called after pushing what the sleeper only has to know before the next datagram: wakes it if it does not
    /// listen to all of its sockets now.
    pub(crate) fn hint(&self) {
        if self.parking.should_wake_for_hint() {
            self.fd.wake();
        }
    }

    pub(crate) fn parking(&self) -> &Parking {
        &self.parking
    }

    pub(crate) fn fd(&self) -> &WakeFd {
        &self.fd
    }
}

/// One worker's ends of the rings to and from another.
struct Link {
    media_out: Producer<Media>,
    media_in: Consumer<Media>,
    control_out: Producer<Word>,
    control_in: Consumer<Word>,
    backlog: VecDeque<Word>,
    bell: Bell,
    /// What was pushed since the bell was last rung.
    pushed: Pushed,
}

/// How urgent the most urgent of it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Pushed {
    #[default]
    Nothing,
    /// It matters with the next datagram only.
    Hint,
    Word,
}

/// One worker's place in the mesh: a link to each other worker, by its id.
pub(crate) struct Mesh {
    links: Vec<Option<Link>>,
}

impl Mesh {
    /// The places of `bells.len()` workers.
    pub(crate) fn weave(bells: &[Bell]) -> Vec<Mesh> {
        let n = bells.len();
        let mut places: Vec<Mesh> =
            (0..n).map(|_| Mesh { links: (0..n).map(|_| None).collect() }).collect();
        for a in 0..n {
            for b in a + 1..n {
                let (ab_media, ab_media_in) = ring::channel(MEDIA_RING);
                let (ba_media, ba_media_in) = ring::channel(MEDIA_RING);
                let (ab_control, ab_control_in) = ring::channel(CONTROL_RING);
                let (ba_control, ba_control_in) = ring::channel(CONTROL_RING);
                places[a].links[b] = Some(Link {
                    media_out: ab_media,
                    media_in: ba_media_in,
                    control_out: ab_control,
                    control_in: ba_control_in,
                    backlog: VecDeque::new(),
                    bell: bells[b].clone(),
                    pushed: Pushed::Nothing,
                });
                places[b].links[a] = Some(Link {
                    media_out: ba_media,
                    media_in: ab_media_in,
                    control_out: ba_control,
                    control_in: ab_control_in,
                    backlog: VecDeque::new(),
                    bell: bells[a].clone(),
                    pushed: Pushed::Nothing,
                });
            }
        }
        places
    }

    /// Gives a packet to another worker; false when its ring is full.
    #[inline]
    pub(crate) fn send_media(&mut self, to: WorkerId, media: Media) -> bool {
        let Some(Some(link)) = self.links.get_mut(to.index()) else { return false };
        link.pushed = Pushed::Word;
        link.media_out.push(media).is_ok()
    }

    /// Gives packets that may be missed to another worker: as many as leave half of its ring to those that may not.
    /// Returns how many it got.
    pub(crate) fn send_backlog(
        &mut self,
        to: WorkerId,
        backlog: impl Iterator<Item = Media>,
    ) -> usize {
        let Some(Some(link)) = self.links.get_mut(to.index()) else { return 0 };
        let room = (MEDIA_RING / 2).saturating_sub(link.media_out.len());
        let sent = backlog.take(room).map_while(|media| link.media_out.push(media).ok()).count();
        if sent > 0 {
            link.pushed = Pushed::Word;
        }
        sent
    }

    /// Says a word to another worker.
    pub(crate) fn tell(&mut self, to: WorkerId, word: Word) {
        self.push_word(to, word, Pushed::Word);
    }

    fn push_word(&mut self, to: WorkerId, word: Word, urgency: Pushed) {
        let Some(Some(link)) = self.links.get_mut(to.index()) else { return };
        link.pushed = link.pushed.max(urgency);
        // Order is kept: nothing overtakes what already waits.
        if !link.backlog.is_empty() {
            if link.backlog.len() < CONTROL_BACKLOG {
                link.backlog.push_back(word);
            }
        } else if let Err(word) = link.control_out.push(word) {
            link.backlog.push_back(word);
        }
    }

    /// Hands a datagram to another worker; false when there is no room, since strangers' bytes must not pile up.
    pub(crate) fn hand_over(&mut self, to: WorkerId, path: Path, bytes: &[u8]) -> bool {
        let Some(Some(link)) = self.links.get_mut(to.index()) else { return false };
        if !link.backlog.is_empty() {
            return false;
        }
        link.pushed = Pushed::Word;
        link.control_out.push(Word::Datagram { path, bytes: bytes.into() }).is_ok()
    }

    /// Says a word to all other workers.
    pub(crate) fn tell_all(&mut self, make: impl Fn() -> Word) {
        self.push_to_all(make, Pushed::Word);
    }

    /// The same for a word that matters with the next datagram only: it wakes nobody who would be woken by that.
    pub(crate) fn hint_all(&mut self, make: impl Fn() -> Word) {
        self.push_to_all(make, Pushed::Hint);
    }

    fn push_to_all(&mut self, make: impl Fn() -> Word, urgency: Pushed) {
        for to in 0..self.links.len() {
            if self.links[to].is_some() {
                self.push_word(WorkerId(to as u8), make(), urgency);
            }
        }
    }

    /// Wakes those that something was pushed for, once for the whole batch.
    pub(crate) fn ring_bells(&mut self) {
        for link in self.links.iter_mut().flatten() {
            while let Some(word) = link.backlog.pop_front() {
                if let Err(word) = link.control_out.push(word) {
                    link.backlog.push_front(word);
                    break;
                }
                link.pushed = Pushed::Word;
            }
            match std::mem::take(&mut link.pushed) {
                Pushed::Nothing => {}
                Pushed::Hint => link.bell.hint(),
                Pushed::Word => link.bell.ring(),
            }
        }
    }

    /// The next word from any other worker.
    pub(crate) fn next_word(&mut self) -> Option<(WorkerId, Word)> {
        let mut links = self.links.iter_mut().enumerate();
        links.find_map(|(from, link)| {
            let word = link.as_mut()?.control_in.pop()?;
            Some((WorkerId(from as u8), word))
        })
    }

    /// The next packet from any other worker.
    #[inline]
    pub(crate) fn next_media(&mut self) -> Option<Media> {
        self.links.iter_mut().flatten().find_map(|link| link.media_in.pop())
    }

    /// Whether nothing waits for this worker.
    pub(crate) fn is_idle(&self) -> bool {
        self.links
            .iter()
            .flatten()
            .all(|l| l.media_in.is_empty() && l.control_in.is_empty() && l.backlog.is_empty())
    }
}

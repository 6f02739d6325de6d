//! The sessions that live in one worker.

use std::{sync::Arc, time::Instant};

use congestion::twcc;
use model::{Mid, Path, SessionId, SessionPlan, Ssrc};
use router::{DownTrack, StreamTable, UpTrack};
use transport::{Peer, srtp};

use crate::tracks::TrackSlot;

/// A session's place in [`Sessions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(pub(crate) u32);

/// One peer connection: its transport, what it sends, and what it receives.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) plan: Arc<SessionPlan>,
    pub(crate) peer: Peer,
    /// Keys; both or none.
    pub(crate) crypto: Option<Box<Crypto>>,
    /// Where media goes.
    pub(crate) path: Option<Path>,
    pub(crate) streams: StreamTable,
    pub(crate) ups: Vec<Up>,
    pub(crate) downs: Vec<Down>,
    pub(crate) twcc: Option<Box<twcc::Receiver>>,
    /// The stream that transport-wide feedback names: any of the peer's.
    pub(crate) twcc_media: Ssrc,
    /// When the next sender and receiver reports are due.
    pub(crate) report_due: Instant,
    /// The earliest deadlines in the heaps, prompt and patient.
    pub(crate) armed: [Option<Instant>; 2],
    /// Paths that the registry holds for this session.
    pub(crate) paths: Vec<Path>,
    /// Test hook: the next datagram of this session panics.
    #[cfg(test)]
    pub(crate) poisoned: bool,
}

/// SRTP contexts of both directions.
pub(crate) struct Crypto {
    pub(crate) sender: srtp::Sender,
    pub(crate) receiver: srtp::Receiver,
}

/// A media section that the peer sends.
pub(crate) struct Up {
    pub(crate) track: TrackSlot,
    pub(crate) up: UpTrack,
}

/// A media section that the peer receives.
pub(crate) struct Down {
    pub(crate) mid: Mid,
    pub(crate) ssrc: Ssrc,
    pub(crate) track: Option<TrackSlot>,
    pub(crate) down: DownTrack,
}

impl Session {
    /// Asks for the memory that sending through a slot will touch.
    #[inline]
    pub(crate) fn foresee(&self, down: usize) {
        if let Some(down) = self.downs.get(down) {
            ring::prefetch(down);
        }
        if let Some(crypto) = &self.crypto {
            ring::prefetch(&crypto.sender);
        }
    }

    /// SSRC under which we send RTCP to this peer.
    pub(crate) fn rtcp_ssrc(&self) -> Ssrc {
        // A receiver-only side may choose any (RFC 3550 section 8); it only has to stay.
        self.downs.first().map_or(Ssrc(1), |d| d.ssrc)
    }
}

/// Sessions by place. A place is used again only after everything that names it is gone.
#[derive(Default)]
pub(crate) struct Sessions {
    places: Vec<Option<Box<Session>>>,
    free: Vec<Slot>,
    live: usize,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Session) -> Slot {
        self.live += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            Slot(self.places.len() as u32 - 1)
        });
        self.places[slot.0 as usize] = Some(Box::new(session));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Session>> {
        let session = self.places.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        self.live -= 1;
        Some(session)
    }

    #[inline]
    pub(crate) fn at(&mut self, slot: Slot) -> Option<&mut Session> {
        self.places.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// Asks for the memory from which [`Session::foresee`] goes on.
    #[inline]
    pub(crate) fn foresee(&self, slot: Slot) {
        if let Some(Some(session)) = self.places.get(slot.0 as usize) {
            ring::prefetch(&session.downs);
            ring::prefetch(&session.crypto);
            ring::prefetch(&session.path);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }
}

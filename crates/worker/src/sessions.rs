//! The sessions that live in one worker.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use congestion::{remb, round_trip::RoundTrip, twcc};
use hashbrown::HashMap;
use model::{Mid, Path, SessionId, Ssrc};
use router::{DownTrack, PublisherClock, StreamTable, UpTrack};
use slab::Slab;
use transport::{Peer, srtp};

use crate::{
    directory::{Entry, Orders},
    exit::Exit,
    memory::Memory,
    rates::Rates,
    steering::Steered,
    tracks::TrackRef,
};

/// How often the transport is told that authentic media comes: consent lasts 30 s.
const HEARD_EVERY: Duration = Duration::from_secs(1);

/// A session's place in [`Sessions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionRef(pub(crate) u32);

/// One peer connection: its transport, what it sends, and what it receives.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) entry: Arc<Entry>,
    /// The orders that were carried out.
    pub(crate) orders: Arc<Orders>,
    pub(crate) peer: Peer,
    /// Keys; both or none.
    pub(crate) crypto: Option<Box<Crypto>>,
    /// Where media goes.
    pub(crate) path: Option<Path>,
    /// What waits to be sent there.
    pub(crate) exit: Exit,
    pub(crate) streams: StreamTable,
    /// What its packets take.
    pub(crate) memory: Memory,
    /// How much it may send now.
    pub(crate) rates: Rates,
    /// As `SessionPlan::up`.
    pub(crate) ups: Vec<Up>,
    pub(crate) downs: Vec<Down>,
    pub(crate) twcc: Option<Box<twcc::Receiver>>,
    /// For publishers that do without transport-wide feedback.
    pub(crate) remb: Option<Box<remb::Receiver>>,
    /// For publishers: how long they take to answer.
    pub(crate) round_trip: Option<Box<RoundTrip>>,
    /// The stream that transport-wide feedback names: any of the peer's.
    pub(crate) twcc_media: Ssrc,
    /// The clock of what the peer sends.
    pub(crate) clock: PublisherClock,
    /// From when on the transport is to be told again that authentic media came.
    pub(crate) heard_due: Instant,
    /// When the next sender and receiver reports are due.
    pub(crate) report_due: Instant,
    /// The earliest deadlines in the heaps, prompt and patient.
    pub(crate) armed: [Option<Instant>; 2],
    /// Paths that are known to be this session's.
    pub(crate) paths: Vec<Path>,
    /// Those of them that the kernel was told of ([`crate::steering`]).
    pub(crate) steered: Vec<Steered>,
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
    pub(crate) track: TrackRef,
    pub(crate) up: UpTrack,
}

/// A media section that the peer receives.
pub(crate) struct Down {
    /// `None`: the section was given up in a renegotiation. The place may be used again.
    pub(crate) mid: Option<Mid>,
    pub(crate) ssrc: Ssrc,
    pub(crate) track: Option<TrackRef>,
    pub(crate) down: DownTrack,
}

impl Session {
    /// Asks for the memory that sending through a slot will touch.
    #[inline]
    pub(crate) fn prefetch(&self, down: u16) {
        if let Some(down) = self.downs.get(usize::from(down)) {
            ring::prefetch(down);
        }
        if let Some(crypto) = &self.crypto {
            ring::prefetch(&crypto.sender);
        }
    }

    /// An authentic packet came on this path. The transport is told of one in a second: it looks the path up, which would cost
    /// something for each packet.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant, path: &Path) {
        if now >= self.heard_due {
            self.heard_due = now + HEARD_EVERY;
            self.peer.heard(now, path);
        }
    }

    /// Lets the tracks of the peer ask again for what is lost at the pace of its round trip.
    pub(crate) fn set_retries(&mut self) {
        let Some(retry) = self.round_trip.as_ref().and_then(|t| t.retry_after()) else { return };
        self.ups.iter_mut().for_each(|up| up.up.set_retry(retry));
    }

    /// Lets the SRTP contexts have room for all SSRCs that the plan allows to be in use at once.
    ///
    /// A publisher reports from each SSRC that it sends. A subscriber may report from one SSRC for each slot, as Firefox does.
    pub(crate) fn make_room_for_ssrcs(&mut self) {
        let (up, down) = (self.streams.ssrcs_max(), self.downs.len());
        if let Some(crypto) = &mut self.crypto {
            crypto.receiver.set_ssrc_limits(up, up + down);
        }
    }

    /// SSRC under which we send RTCP to this peer.
    pub(crate) fn rtcp_ssrc(&self) -> Ssrc {
        // A receiver-only side may choose any (RFC 3550 section 8); it only has to stay.
        self.downs.first().map_or(Ssrc(1), |d| d.ssrc)
    }
}

/// Sessions by place and by id. A place is used again only after everything that names it is gone.
#[derive(Default)]
pub(crate) struct Sessions {
    places: Slab<Box<Session>>,
    ids: HashMap<SessionId, SessionRef>,
    /// Sessions whose handshake goes on.
    half_open: usize,
}

impl Sessions {
    /// Enters a session whose handshake goes on.
    pub(crate) fn insert(&mut self, session: Session) -> SessionRef {
        let id = session.id;
        let at = SessionRef(self.places.insert(Box::new(session)) as u32);
        self.half_open += 1;
        self.ids.insert(id, at);
        at
    }

    pub(crate) fn remove(&mut self, at: SessionRef) -> Option<Box<Session>> {
        let session = self.places.try_remove(at.0 as usize)?;
        if session.crypto.is_none() {
            self.half_open -= 1;
        }
        self.ids.remove(&session.id);
        Some(session)
    }

    /// The handshake of a session is done.
    pub(crate) fn connect(&mut self, at: SessionRef, crypto: Crypto) -> Option<&mut Session> {
        let session = self.places.get_mut(at.0 as usize)?;
        if session.crypto.replace(Box::new(crypto)).is_none() {
            self.half_open -= 1;
        }
        Some(session)
    }

    #[inline]
    pub(crate) fn at(&mut self, at: SessionRef) -> Option<&mut Session> {
        self.places.get_mut(at.0 as usize).map(Box::as_mut)
    }

    pub(crate) fn by_id(&self, id: SessionId) -> Option<SessionRef> {
        self.ids.get(&id).copied()
    }

    /// Asks for the memory from which [`Session::prefetch`] goes on.
    #[inline]
    pub(crate) fn prefetch(&self, at: SessionRef) {
        if let Some(session) = self.places.get(at.0 as usize) {
            ring::prefetch(&session.downs);
            ring::prefetch(&session.crypto);
            ring::prefetch(&session.path);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many handshakes go on.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    /// Test hook: as if so many handshakes went on.
    #[cfg(test)]
    pub(crate) fn set_half_open(&mut self, count: usize) {
        self.half_open = count;
    }
}

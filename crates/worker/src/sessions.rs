//! The sessions that one worker owns.

use std::{sync::Arc, time::Instant};

use congestion::{quality::QualityMeter, remb, round_trip::RoundTrip, twcc};
use hashbrown::HashMap;
use model::{Mid, Path, SessionId, Ssrc};
use router::{DownTrack, PublisherClock, StreamTable, UpTrack};
use slab::Slab;
use transport::{Peer, srtp};

use crate::{
    data::SessionData,
    directory::{Entry, Orders},
    exit::Exit,
    memory::Memory,
    presence::{LOOK_EVERY, Presence},
    rates::Rates,
    steering::Steered,
    tracks::TrackRef,
};

/// A session's place in [`Sessions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionRef(pub(crate) u32);

/// One peer connection: its transport, the tracks it sends, and the tracks it receives.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) entry: Arc<Entry>,
    /// The orders that were carried out last.
    pub(crate) orders: Arc<Orders>,
    pub(crate) peer: Peer,
    /// SRTP contexts, once the handshake is done.
    pub(crate) crypto: Option<Box<Crypto>>,
    /// The path on which media is sent to the peer.
    pub(crate) path: Option<Path>,
    /// Packets that wait to be sent to the peer.
    pub(crate) exit: Exit,
    pub(crate) streams: StreamTable,
    /// The memory that its packets take.
    pub(crate) memory: Memory,
    /// How much the peer may send now.
    pub(crate) rates: Rates,
    /// The media sections that the peer sends, in the order of `SessionPlan::up`.
    pub(crate) ups: Vec<Up>,
    pub(crate) downs: Vec<Down>,
    pub(crate) twcc: Option<Box<twcc::Receiver>>,
    /// For publishers without transport-wide feedback.
    pub(crate) remb: Option<Box<remb::Receiver>>,
    /// For publishers: the round trip to the peer.
    pub(crate) round_trip: Option<Box<RoundTrip>>,
    /// The media SSRC that transport-wide feedback names: of any stream of the peer.
    pub(crate) twcc_media: Ssrc,
    /// The clock of the streams that the peer sends.
    pub(crate) clock: PublisherClock,
    /// Its data channels, if its plan has them.
    pub(crate) data: Option<Box<SessionData>>,
    /// Whether the peer is heard.
    pub(crate) presence: Presence,
    /// How good its connection is.
    pub(crate) quality: QualityMeter,
    /// When the transport is to be told again that authentic media arrived.
    pub(crate) heard_due: Instant,
    /// When the next sender and receiver reports are due.
    pub(crate) report_due: Instant,
    /// The earliest deadlines in the heaps: prompt and patient.
    pub(crate) armed: [Option<Instant>; 2],
    /// Paths that are known to belong to this session.
    pub(crate) paths: Vec<Path>,
    /// Those of `paths` that are in the kernel's table ([`crate::steering`]).
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

/// A media section that the peer receives (a slot).
pub(crate) struct Down {
    /// `None`: the section was removed in a renegotiation, and its position may be reused.
    pub(crate) mid: Option<Mid>,
    pub(crate) ssrc: Ssrc,
    pub(crate) track: Option<TrackRef>,
    pub(crate) down: DownTrack,
}

impl Session {
    /// Prefetches the memory that sending through a slot touches.
    #[inline]
    pub(crate) fn prefetch(&self, down: u16) {
        if let Some(down) = self.downs.get(usize::from(down)) {
            ring::prefetch(down);
        }
        if let Some(crypto) = &self.crypto {
            ring::prefetch(&crypto.sender);
        }
    }

    /// An authentic packet arrived on this path. The transport is told at most once a second, which is often enough
    /// (consent lasts 30 s), because it looks the path up, and that is too expensive for each packet. `true`: the peer was lost and is back, which the caller reports
    /// (`Event::Back`). A peer is lost after more than a second, so its next packet is always looked at.
    #[inline]
    #[must_use]
    pub(crate) fn heard(&mut self, now: Instant, path: &Path) -> bool {
        self.presence.heard(now);
        if now < self.heard_due {
            return false;
        }
        self.heard_due = now + LOOK_EVERY;
        self.peer.heard(now, path);
        self.presence.look(now)
    }

    /// Sets the interval at which the up-tracks request lost packets again, from the peer's round trip.
    pub(crate) fn set_retries(&mut self) {
        let Some(retry) = self.round_trip.as_ref().and_then(|t| t.retry_after()) else { return };
        self.ups.iter_mut().for_each(|up| up.up.set_retry(retry));
    }

    /// Tells the quality meter what the streams of the peer lost on their way since the last reports, and the round trip.
    pub(crate) fn measure_quality(&mut self) {
        for up in &self.ups {
            let (expected, lost) = up.up.reported_loss();
            self.quality.from_peer(expected, lost);
        }
        if let Some(trip) = self.round_trip.as_ref().and_then(|t| t.smoothed()) {
            self.quality.round_trip(trip);
        }
    }

    /// Gives the SRTP contexts room for all SSRCs that the plan allows to be in use at once.
    ///
    /// A publisher reports from each SSRC that it sends. A subscriber may report from one SSRC for each slot, as Firefox does.
    pub(crate) fn make_room_for_ssrcs(&mut self) {
        let (up, down) = (self.streams.ssrcs_max(), self.downs.len());
        if let Some(crypto) = &mut self.crypto {
            crypto.receiver.set_ssrc_limits(up, up + down);
        }
    }

    /// The SSRC under which the node sends RTCP to this peer.
    pub(crate) fn rtcp_ssrc(&self) -> Ssrc {
        // A side that only receives may choose any SSRC (RFC 3550 section 8), but must not change it.
        self.downs.first().map_or(Ssrc(1), |d| d.ssrc)
    }
}

/// Sessions by place and by id. A place may be used again only when nothing names the old session any more.
#[derive(Default)]
pub(crate) struct Sessions {
    places: Slab<Box<Session>>,
    ids: HashMap<SessionId, SessionRef>,
    /// The number of sessions whose handshake is in progress.
    half_open: usize,
}

impl Sessions {
    /// Enters a session; its handshake is in progress.
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

    /// Sets the keys of a session whose handshake is done.
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

    /// Prefetches the memory that [`Session::prefetch`] reads.
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

    /// How many handshakes are in progress.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    /// Test hook: sets the number of handshakes in progress.
    #[cfg(test)]
    pub(crate) fn set_half_open(&mut self, count: usize) {
        self.half_open = count;
    }
}

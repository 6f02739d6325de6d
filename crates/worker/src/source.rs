//! A publisher without a peer connection: it gives plain RTP to a worker over a ring, and from there its packets go
//! the same way as everybody's. The test card is one; a relay from another node will be one more.

use std::{sync::Arc, time::Instant};

use model::{CloseReason, DropReason, Event, NtpTime, SessionId, SessionPlan, TrackId};
use ring::{Consumer, Producer};
use router::{StreamTable, UpTrack};
use rtp::ParsedExtensions;

use crate::{
    core::Worker,
    feedback::tell_sender_report,
    ingress::{Ingested, ingest},
    mesh::{Bell, Word},
    sessions::Up,
    tracks::Origin,
};

/// Packets that may wait for the worker.
const RING: usize = 1_024;
/// Requests that may wait for the source.
const REQUESTS: usize = 64;
/// Packets taken from one source in one turn.
const PACKETS_PER_TURN: usize = 256;

/// Why a source could not give a packet away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceError {
    /// The worker is behind; the packet is lost, as it would be on a network.
    Full,
    /// The worker or the session has ended.
    Closed,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SourceError::Full => "the worker is behind",
            SourceError::Closed => "the source was closed",
        })
    }
}

impl std::error::Error for SourceError {}

pub(crate) enum Given {
    Rtp(Vec<u8>),
    Report { ssrc: model::Ssrc, ntp: NtpTime, timestamp: u32 },
}

/// The publisher's end. Dropping it ends its tracks.
pub struct Source {
    given: Producer<Given>,
    requests: Consumer<TrackId>,
    bell: Bell,
}

impl Source {
    /// Gives a plain RTP packet, with an SSRC of the plan.
    ///
    /// # Errors
    /// [`SourceError`] says whether the next one may fare better.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), SourceError> {
        self.give(Given::Rtp(packet.into()))
    }

    /// Says which NTP time belongs to which RTP timestamp, as a sender report would (RFC 3550 section 6.4.1).
    ///
    /// # Errors
    /// As [`Source::push`].
    pub fn push_report(
        &mut self,
        ssrc: model::Ssrc,
        ntp: NtpTime,
        timestamp: u32,
    ) -> Result<(), SourceError> {
        self.give(Given::Report { ssrc, ntp, timestamp })
    }

    /// The next track of which somebody waits for a key frame.
    pub fn key_frame_request(&mut self) -> Option<TrackId> {
        self.requests.pop()
    }

    fn give(&mut self, given: Given) -> Result<(), SourceError> {
        if self.given.is_closed() {
            return Err(SourceError::Closed);
        }
        self.given.push(given).map_err(|_| SourceError::Full)?;
        self.bell.ring();
        Ok(())
    }
}

/// The worker's end.
pub(crate) struct SourcePeer {
    session: SessionId,
    plan: Arc<SessionPlan>,
    /// `None` once the source is over: its other end hears that by the ring's closing.
    given: Option<Consumer<Given>>,
    requests: Producer<TrackId>,
    streams: StreamTable,
    ups: Vec<Up>,
}

/// Both ends of a source for a worker with this bell.
pub(crate) fn source(plan: &Arc<SessionPlan>, bell: Bell) -> (Source, SourcePeer) {
    let (given, taken) = ring::channel(RING);
    let (asking, requests) = ring::channel(REQUESTS);
    let peer = SourcePeer {
        session: plan.id,
        plan: plan.clone(),
        given: Some(taken),
        requests: asking,
        streams: StreamTable::new(plan),
        ups: Vec::new(),
    };
    (Source { given, requests, bell }, peer)
}

impl SourcePeer {
    pub(crate) fn has_packets(&self) -> bool {
        self.given.as_ref().is_some_and(|given| !given.is_empty() || given.is_closed())
    }

    pub(crate) fn ask_key_frame(&mut self, track: TrackId) {
        // A full ring holds requests enough.
        let _full = self.requests.push(track);
    }
}

impl Worker {
    pub(crate) fn attach(&mut self, plan: &SessionPlan, mut peer: SourcePeer) {
        // Nothing names the place of a source that is over: its tracks were let go.
        let vacant = self.sources.iter().position(|s| s.given.is_none());
        let at = vacant.unwrap_or(self.sources.len());
        self.open_tracks(plan, |up| Origin::Source(at, up));
        for media in &plan.up {
            if let Some(track) = self.tracks.by_id(media.track) {
                peer.ups.push(Up { track, up: UpTrack::new(media, &plan.extensions) });
            }
        }
        match self.sources.get_mut(at) {
            Some(place) => *place = peer,
            None => self.sources.push(peer),
        }
        self.mesh.tell_all(|| Word::Settled { session: plan.id });
    }

    /// Ends a source. Its place stays vacant, so that the places of the others hold.
    pub(crate) fn detach(&mut self, session: SessionId) {
        if let Some(source) = self.sources.iter_mut().find(|s| s.session == session) {
            source.given = None;
        }
        self.forget_publisher(session);
    }

    /// The other end was dropped: the session is over for everybody.
    fn source_dropped(&mut self, session: SessionId) {
        self.detach(session);
        self.registry.forget(session);
        self.mesh.tell_all(|| Word::Gone { session });
        self.report(Event::Closed { session, reason: CloseReason::PeerClosed });
    }

    pub(crate) fn take_sources(&mut self, now: Instant) {
        for at in 0..self.sources.len() {
            for _ in 0..PACKETS_PER_TURN {
                let source = &mut self.sources[at];
                let Some(ring) = &mut source.given else { break };
                let Some(given) = ring.pop() else {
                    if ring.is_closed() && ring.is_empty() {
                        let session = source.session;
                        self.source_dropped(session);
                    }
                    break;
                };
                self.take_given(now, at, given);
            }
        }
    }

    fn take_given(&mut self, now: Instant, at: usize, given: Given) {
        match given {
            Given::Rtp(packet) => {
                self.counters.datagrams_in.add(1);
                self.counters.bytes_in.add(packet.len() as u64);
                if let Err(reason) = self.take_plain(now, at, &packet) {
                    self.counters.drop_in(reason);
                }
            }
            Given::Report { ssrc, ntp, timestamp } => {
                let Worker { sources, tracks, mesh, .. } = self;
                let report = (ssrc, ntp, timestamp);
                tell_sender_report(now, &mut sources[at].ups, tracks, mesh, report);
            }
        }
    }

    fn take_plain(&mut self, now: Instant, at: usize, packet: &[u8]) -> Result<(), DropReason> {
        let Worker { sources, pool, .. } = self;
        let source = &mut sources[at];
        let header = rtp::RtpPacket::parse(packet)?;
        let extensions = ParsedExtensions::parse(&header, &source.plan.extensions)?;
        let stream = source.streams.resolve(header.ssrc(), header.pt(), &extensions)?;
        let mut buf = pool.alloc(packet.len()).ok_or(DropReason::PoolExhausted)?;
        buf.space()[..packet.len()].copy_from_slice(packet);
        let taken: Result<Ingested, DropReason> =
            ingest(now, &mut source.ups, stream, &mut buf, packet.len());
        let session = source.session;
        self.finish(now, session, buf, taken)
    }
}

//! A publisher without a peer connection. It gives packets, with everything that is known of them, to a worker over a
//! ring. They enter behind ingest: nothing is renumbered, parsed or requested again. The test card is such a source; a
//! link to another node will be another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{CloseReason, DropReason, Event, MediaKind, SessionId, TrackId};
use ring::{Consumer, Producer};
use router::{LevelMeter, PublisherClock, Relayed, SenderInfo, StreamId};

use crate::{
    core::Worker,
    directory::Entry,
    mail::Mailbox,
    memory::Memory,
    tracks::{Origin, TrackRef},
};

/// Packets that may wait for the worker.
const RING: usize = 1_024;
/// Requests that may wait for the source.
const REQUESTS: usize = 64;
/// Packets taken from one source in one turn.
const PACKETS_PER_TURN: usize = 256;
/// How often the capture time of packets is told to sinks (RFC 3550 section 6.2 would allow less).
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Why the worker did not get a packet of a source.
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

/// A packet in the ring.
struct Given {
    head: Relayed,
    payload: Vec<u8>,
}

/// The publisher's end. Dropping it ends its tracks.
pub struct Source {
    given: Producer<Given>,
    requests: Consumer<TrackId>,
    mailbox: Arc<Mailbox>,
}

impl Source {
    /// Gives a packet of a track of the plan to the worker, with what is known of it.
    ///
    /// # Errors
    /// [`SourceError`] tells whether later packets may be taken.
    pub fn push(&mut self, head: Relayed, payload: Vec<u8>) -> Result<(), SourceError> {
        if self.given.is_closed() {
            return Err(SourceError::Closed);
        }
        self.given.push(Given { head, payload }).map_err(|_| SourceError::Full)?;
        self.mailbox.waker().wake();
        Ok(())
    }

    /// The next track of which a subscriber waits for a key frame.
    pub fn key_frame_request(&mut self) -> Option<TrackId> {
        self.requests.pop()
    }
}

/// The worker's end.
pub(crate) struct SourcePeer {
    session: SessionId,
    /// `None` once the source has ended; the publisher's end sees that the ring is closed.
    given: Option<Consumer<Given>>,
    requests: Producer<TrackId>,
    entry: Option<Arc<Entry>>,
    /// The memory that its packets take.
    memory: Memory,
    /// The tracks, in the order of `SessionPlan::up`.
    tracks: Vec<SourceTrack>,
    clock: PublisherClock,
}

struct SourceTrack {
    at: TrackRef,
    /// The stream whose capture time was told last, and when.
    reported: Option<(StreamId, Instant)>,
    /// For audio: how loud it is. A source that ceases to send has ended its session or will go on; its level stays.
    level: Option<LevelMeter>,
}

/// Makes both ends of a source, for the worker of this mailbox.
pub(crate) fn source(session: SessionId, mailbox: Arc<Mailbox>) -> (Source, SourcePeer) {
    let (given, taken) = ring::channel(RING);
    let (asking, requests) = ring::channel(REQUESTS);
    let peer = SourcePeer {
        session,
        given: Some(taken),
        requests: asking,
        entry: None,
        memory: Memory::default(),
        tracks: Vec::new(),
        clock: PublisherClock::default(),
    };
    (Source { given, requests, mailbox }, peer)
}

impl SourcePeer {
    pub(crate) fn has_packets(&self) -> bool {
        self.given.as_ref().is_some_and(|given| !given.is_empty() || given.is_closed())
    }

    pub(crate) fn ask_key_frame(&mut self, track: TrackId) {
        // A full ring already holds enough requests.
        let _full = self.requests.push(track);
    }
}

impl SourceTrack {
    /// The capture time of a packet, if it has to be told now.
    fn report(&mut self, now: Instant, head: &Relayed) -> Option<SenderInfo> {
        let ntp = head.capture?;
        let told = self.reported.is_some_and(|(stream, at)| {
            stream == head.stream && now.saturating_duration_since(at) < REPORT_EVERY
        });
        if told {
            return None;
        }
        self.reported = Some((head.stream, now));
        Some(SenderInfo { ntp, rtp_timestamp: head.timestamp, arrival: now })
    }
}

impl Worker {
    pub(crate) fn attach(&mut self, entry: &Arc<Entry>, mut peer: SourcePeer) {
        let orders = entry.orders();
        // Nothing names the place of an ended source, because its tracks no longer have it as their origin.
        let vacant = self.sources.iter().position(|s| s.given.is_none());
        let at = vacant.unwrap_or(self.sources.len());
        peer.entry = Some(entry.clone());
        for media in &orders.plan.up {
            let track = self.tracks.open(media, entry);
            if let Some(track) = self.tracks.at(track) {
                track.origin = Origin::Source(at);
            }
            let level = (media.kind == MediaKind::Audio).then(LevelMeter::default);
            peer.tracks.push(SourceTrack { at: track, reported: None, level });
        }
        match self.sources.get_mut(at) {
            Some(place) => *place = peer,
            None => self.sources.push(peer),
        }
        self.tell_waiting(entry);
        if entry.orders().closed {
            self.detach(entry.id);
        }
    }

    /// Reads the changed orders of a source. The only change that matters is that it is to end.
    pub(crate) fn look_at_source(&mut self, session: SessionId) {
        let source = self.sources.iter().find(|s| s.session == session && s.given.is_some());
        let closed = source.and_then(|s| s.entry.as_ref()).is_some_and(|e| e.orders().closed);
        if closed {
            self.detach(session);
        }
    }

    /// Ends a source. Its place stays vacant, because tracks name the other sources by place.
    fn detach(&mut self, session: SessionId) {
        let source = self.sources.iter_mut().find(|s| s.session == session && s.given.is_some());
        let Some(source) = source else { return };
        source.given = None;
        let (tracks, entry) = (std::mem::take(&mut source.tracks), source.entry.take());
        let memory = std::mem::take(&mut source.memory);
        self.close_memory(&memory);
        let Some(entry) = entry else { return };
        for track in tracks {
            self.tracks.lose_origin(track.at, &entry);
        }
        self.directory.ended(&entry);
    }

    pub(crate) fn take_sources(&mut self, now: Instant) {
        for at in 0..self.sources.len() {
            for _ in 0..PACKETS_PER_TURN {
                let source = &mut self.sources[at];
                let Some(ring) = &mut source.given else { break };
                let Some(given) = ring.pop() else {
                    if ring.is_closed() && ring.is_empty() {
                        // The publisher's end was dropped, so the session has ended.
                        let session = source.session;
                        self.detach(session);
                        self.report(Event::Closed { session, reason: CloseReason::PeerClosed });
                    }
                    break;
                };
                self.counters.datagrams_in.add(1);
                self.counters.bytes_in.add(given.payload.len() as u64);
                match self.take_given(now, at, &given) {
                    Ok(()) => self.counters.rtp_accepted.add(1),
                    Err(reason) => self.counters.drop_in(reason),
                }
            }
        }
    }

    fn take_given(&mut self, now: Instant, at: usize, given: &Given) -> Result<(), DropReason> {
        let Worker { sources, tracks, pool, config, .. } = self;
        let source = sources.get_mut(at).ok_or(DropReason::UnknownStream)?;
        let place = source.tracks.get_mut(usize::from(given.head.up));
        let place = place.ok_or(DropReason::UnknownStream)?;
        let track = tracks.at(place.at).ok_or(DropReason::UnknownStream)?;
        let account = *source.memory.account.get_or_insert_with(|| pool.open());
        let is_near = pool.is_near_bound(account);
        let packet = pool.enter(now, account, track.id, &given.head, &given.payload);
        let (at, report) = (place.at, place.report(now, &given.head));
        let level = given.head.ext.audio_level.map(|l| l.level);
        if let Some(level) = place.level.as_mut().and_then(|meter| meter.packet(now, level)) {
            let (session, track) = (source.session, track.id);
            (config.events)(Event::AudioLevel { session, track, level });
        }
        if let Some(info) = report {
            let info = source.clock.tell(info, &config.wall_clock);
            self.tell_sender_report(at, given.head.stream, info);
        }
        if is_near {
            self.let_oldest_go(account);
        }
        self.fan_out(now, at, packet?);
        Ok(())
    }
}

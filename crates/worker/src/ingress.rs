//! Step 3: a publisher's packet is decrypted once into a shared packet.

use std::time::{Duration, Instant};

use model::{DropReason, Event, Loudness, Path, TrackId};
use router::{LEAD_MAX, Packet, PacketBuf, StreamRef};
use rtp::ParsedExtensions;

use crate::{
    core::Worker,
    sessions::{SessionRef, Up},
    tracks::TrackRef,
};

/// Neither the node nor a peer sends longer datagrams (threats: over 1,500 bytes).
const DATAGRAM_MAX: usize = 1_500;
/// The level of silence in -dBov (RFC 6464 section 3).
const SILENT: u8 = 127;

impl Worker {
    /// Takes an SRTP packet of a session of this worker.
    pub(crate) fn take_rtp(
        &mut self,
        now: Instant,
        at: SessionRef,
        path: &Path,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let session = self.sessions.at(at).ok_or(DropReason::UnknownPath)?;
        #[cfg(test)]
        assert!(!session.poisoned, "poisoned by a test");
        if session.crypto.is_none() {
            return Err(DropReason::NoKeys);
        }
        if datagram.len() > DATAGRAM_MAX {
            return Err(DropReason::TooLarge);
        }
        if !session.rates.allow_media(now, &self.config.rates) {
            return Err(DropReason::MediaRate);
        }
        let header =
            rtp::parse_header_unprotected(datagram).map_err(|_| DropReason::RtpMalformed)?;
        let mut buf = self.buffer(now, at, datagram.len())?;
        let session = self.sessions.at(at).ok_or(DropReason::UnknownPath)?;
        let crypto = session.crypto.as_mut().ok_or(DropReason::NoKeys)?;
        let opened = match crypto.receiver.open_rtp(datagram, header.header_len(), buf.space()) {
            Ok(opened) => opened,
            Err(error) => {
                self.pool.release(buf);
                return Err(error.drop_reason());
            }
        };
        session.rates.took_media(datagram.len());
        if session.heard(now, path) {
            (self.config.events)(Event::Back { session: session.id });
        }
        if let Some(remb) = &mut session.remb {
            remb.record(datagram.len());
        }
        let extensions = ParsedExtensions::parse(&header, &session.orders.plan.extensions)
            .map_err(|_| DropReason::RtpMalformed);
        // Transport-wide feedback is about what the network delivered, so packets that are refused below count too.
        if let Some(twcc) = &mut session.twcc
            && let Ok(ParsedExtensions { transport_cc: Some(sequence), .. }) = extensions
        {
            // The kernel's time of arrival, not the time of reading: the delay in between is the node's, and would be
            // taken for the network's.
            twcc.record(sequence, self.arrived.unwrap_or(now));
            session.twcc_media = header.ssrc();
        }
        let (streams, ups, mut up) = (&mut session.streams, &mut session.ups, None);
        let taken = extensions.and_then(|e| {
            let stream = streams.resolve(now, header.ssrc(), header.pt(), &e)?;
            up = Some(stream.up);
            ingest(now, ups, stream, &mut buf, (opened.len, &e))
        });
        if let (Some(trip), Ok(Ingested { repair_time: Some(time), .. })) =
            (&mut session.round_trip, &taken)
        {
            trip.repaired(*time);
        }
        session.arm_received(&mut self.timers, now, up);
        self.finish(now, at, buf, taken)
    }

    /// Reports the tracks of a session that fell silent: those without media, and audio tracks that spoke and ceased.
    /// Called with the session's reports, once a second, so silence is reported within three seconds.
    pub(crate) fn report_silence(&mut self, now: Instant, at: SessionRef) {
        let Some(session) = self.sessions.at(at) else { return };
        let publisher = session.id;
        let silent = session.ups.iter_mut().filter_map(|up| {
            let track = up.up.track();
            up.up.fell_silent(now).then_some(Event::TrackSilent { session: publisher, track })
        });
        silent.for_each(|event| (self.config.events)(event));
        for up in &mut session.ups {
            if up.up.level_fell_silent(now) {
                let track = up.up.track();
                let event =
                    Event::AudioLevel { session: publisher, track, level: Loudness::Level(SILENT) };
                (self.config.events)(event);
            }
        }
    }

    /// Shares an accepted packet, or takes back the buffer of a refused one.
    fn finish(
        &mut self,
        now: Instant,
        at: SessionRef,
        buf: PacketBuf,
        taken: Result<Ingested, DropReason>,
    ) -> Result<(), DropReason> {
        match taken {
            Ok(ingested) => {
                self.counters.rtp_accepted.add(1);
                if ingested.first
                    && let Some(session) = self.sessions.at(at)
                {
                    let (session, track) = (session.id, ingested.id);
                    self.report(Event::TrackActive { session, track });
                }
                if let Some(level) = ingested.level {
                    self.report_level(at, ingested.id, level);
                }
                let packet = self.pool.share(buf);
                if ingested.has_lead {
                    self.fan_out_lead(now, at, &ingested, &packet);
                }
                self.fan_out(now, ingested.track, packet);
                Ok(())
            }
            Err(reason) => {
                self.pool.release(buf);
                Err(reason)
            }
        }
    }
}

impl Worker {
    #[cold]
    fn report_level(&mut self, at: SessionRef, track: TrackId, level: Loudness) {
        let Some(session) = self.sessions.at(at).map(|session| session.id) else { return };
        self.report(Event::AudioLevel { session, track, level });
    }

    /// Sends the parameter sets of a key frame, which its publisher gave only in its offer, before the key frame. If
    /// there is no memory for them the key frame goes alone: viewers that got an earlier key frame have them.
    #[cold]
    fn fan_out_lead(&mut self, now: Instant, at: SessionRef, key: &Ingested, packet: &Packet) {
        let Worker { sessions, pool, .. } = self;
        let Some(session) = sessions.at(at) else { return };
        let Some(account) = session.memory.account else { return };
        let Some(up) = session.ups.get(usize::from(key.up)) else { return };
        let mut lead = [const { None }; LEAD_MAX];
        for (place, (head, payload)) in lead.iter_mut().zip(up.up.lead(&packet.meta)) {
            *place = pool.enter(now, account, key.id, &head, payload).ok();
        }
        lead.into_iter().flatten().for_each(|packet| self.fan_out(now, key.track, packet));
    }
}

/// The result for a packet that its up-track accepted.
struct Ingested {
    /// Position of the track in the plan of its session.
    up: u8,
    track: TrackRef,
    id: TrackId,
    /// The packets of [`router::UpTrack::lead`] have to be sent before it.
    has_lead: bool,
    /// Whether it is the first packet of the track.
    first: bool,
    /// The level of the track, if it is to be reported now.
    level: Option<Loudness>,
    /// For a retransmission: the time since it was requested.
    repair_time: Option<Duration>,
}

/// Gives the decrypted packet in `buf` to the up-track of its stream.
fn ingest(
    now: Instant,
    ups: &mut [Up],
    stream: StreamRef,
    buf: &mut PacketBuf,
    (len, ext): (usize, &ParsedExtensions),
) -> Result<Ingested, DropReason> {
    let up = ups.get_mut(usize::from(stream.up)).ok_or(DropReason::UnknownStream)?;
    let accepted = up.up.ingest(now, stream, buf, len, ext)?;
    let repair_time = if stream.is_rtx { up.up.take_repair_time() } else { None };
    Ok(Ingested {
        up: stream.up,
        track: up.track,
        id: up.up.track(),
        has_lead: accepted.has_lead,
        first: accepted.first_of_track,
        level: accepted.level,
        repair_time,
    })
}

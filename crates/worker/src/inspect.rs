//! Measurements of one session for a monitoring API, read by the worker that owns the session when the API asks.
//!
//! A question is a notice, so it waits behind the session's orders and takes no lock. Nothing is measured for it: the
//! counters exist anyway.

use std::time::Instant;

use model::{DownSection, SessionId, SessionStats, StatsReply, UpSection};

use crate::core::Worker;

impl Worker {
    /// Answers a question about a session. A session that this worker does not own, or one without a peer (a local
    /// source), gets no answer.
    pub(crate) fn take_question(&mut self, now: Instant, session: SessionId, reply: StatsReply) {
        if let Some(stats) = self.stats_of(now, session) {
            reply(stats);
        }
    }

    fn stats_of(&mut self, now: Instant, session: SessionId) -> Option<SessionStats> {
        let at = self.sessions.by_id(session)?;
        self.current = Some(at);
        let session = self.sessions.at(at)?;
        let plan = session.orders.plan.clone();
        let up = session.ups.iter().filter_map(|up| {
            let track = up.up.track();
            let media = plan.up.iter().find(|media| media.track == track)?;
            Some(UpSection {
                mid: media.mid,
                track,
                kind: media.kind,
                rids: media.rids.clone(),
                stats: up.up.stats(now),
            })
        });
        let down = session.downs.iter().filter_map(|down| {
            let mid = down.mid?;
            let media = plan.down.iter().find(|media| media.mid == mid)?;
            Some(DownSection {
                mid,
                kind: media.kind,
                ssrc: down.ssrc,
                stats: down.down.stats(now),
            })
        });
        Some(SessionStats {
            session: session.id,
            path: session.peer.selected(),
            srtp_profile: session.crypto.as_ref().map(|c| c.sender.profile().as_str()),
            round_trip: session.round_trip.as_ref().and_then(|trip| trip.smoothed()),
            up: up.collect(),
            down: down.collect(),
        })
    }
}

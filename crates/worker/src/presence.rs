//! Whether a connected peer is still heard. A peer that lost its network says nothing about it, so its silence is compared with
//! what it did before: consent of RFC 7675 ends after 30 s only, and the members of a room want to know sooner that somebody is
//! frozen.

use std::time::{Duration, Instant};

use model::Event;

use crate::{core::Worker, sessions::SessionRef};

/// A peer whose media or reports were flowing is lost after this silence. A change of the network takes a second or two; three lost
/// reports in a row are none.
const FLOWING_LOST_AFTER: Duration = Duration::from_secs(4);
/// A peer that sends checks only is lost after this silence. RFC 7675 section 5.1 has checks 4 to 6 s apart, and they are not
/// repeated when they are lost.
const IDLE_LOST_AFTER: Duration = Duration::from_secs(8);
/// Something flows while authentic datagrams come at least this often. Video receivers report each second, sound comes each 400 ms
/// even in silence.
const FLOWING_WITHIN: Duration = Duration::from_secs(2);
/// The last looks that must have found it so; a bit each.
const FLOWING_LOOKS: u8 = 0b111;

/// A look is taken at most this often. It is shorter than any silence of a lost peer.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of a peer's presence.
#[derive(Debug)]
pub(crate) struct Presence {
    /// When the last authentic datagram came: a check, SRTP or SRTCP.
    heard: Instant,
    /// When the last look was taken, and whether datagrams were flowing at the last eight.
    looked: Instant,
    flowing: u8,
    lost: bool,
    /// When the silence has to be measured next. `None` before the session is connected, and while the peer is lost.
    due: Option<Instant>,
}

impl Presence {
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, looked: now, flowing: 0, lost: false, due: None }
    }

    /// The session is connected: from now on the peer may be lost.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.heard = now;
        self.due = Some(now + IDLE_LOST_AFTER);
    }

    /// An authentic datagram came.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// An authentic check came. `true`: the peer was lost and is back.
    pub(crate) fn checked(&mut self, now: Instant) -> bool {
        self.heard = now;
        let recent = now.saturating_duration_since(self.looked) < LOOK_EVERY;
        !recent && self.look(now)
    }

    /// To be called with the first SRTP or SRTCP packet after [`LOOK_EVERY`], at least with the first one of a lost peer.
    /// `true`: the peer was lost and is back.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let flows = now.saturating_duration_since(self.looked) < FLOWING_WITHIN;
        self.flowing = self.flowing << 1 | u8::from(flows);
        self.looked = now;
        let back = std::mem::take(&mut self.lost);
        if back {
            self.due = Some(now + IDLE_LOST_AFTER);
        }
        back
    }

    /// When [`Presence::is_lost`] has to be called.
    #[inline]
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the peer is lost now, and was not before.
    fn is_lost(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let limit = match self.flowing & FLOWING_LOOKS {
            FLOWING_LOOKS => FLOWING_LOST_AFTER,
            _ => IDLE_LOST_AFTER,
        };
        if now.saturating_duration_since(self.heard) < limit {
            self.due = Some(self.heard + limit);
            return false;
        }
        (self.due, self.lost, self.flowing) = (None, true, 0);
        true
    }
}

impl Worker {
    /// Reports a peer from which nothing comes any more. Called with the session's deadlines.
    pub(crate) fn look_for_loss(&mut self, now: Instant, at: SessionRef) {
        let Worker { sessions, config, .. } = self;
        let Some(session) = sessions.at(at) else { return };
        if session.presence.is_lost(now) {
            (config.events)(Event::Lost { session: session.id });
        }
    }

    /// Reports that the peer's connection became better or worse. Called with the session's deadlines, and with its reports.
    pub(crate) fn report_quality(&mut self, now: Instant, at: SessionRef) {
        let Worker { sessions, config, .. } = self;
        let Some(session) = sessions.at(at) else { return };
        if let Some(quality) = session.quality.poll(now) {
            (config.events)(Event::Quality { session: session.id, quality });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Datagrams every `every` ms for `span` ms, then silence: after how many ms the peer is lost.
    fn lost_after(every: u64, span: u64) -> u64 {
        let start = Instant::now();
        let mut presence = Presence::new(start);
        presence.connected(start);
        let (mut looked, mut last) = (0, 0);
        for at in (0..span).step_by(every as usize) {
            let now = start + ms(at);
            assert!(!presence.is_lost(now), "{at}");
            presence.heard(now);
            last = at;
            if at >= looked + 1_000 {
                looked = at;
                assert!(!presence.look(now));
            }
        }
        let silent = (last..).step_by(5).find(|at| presence.is_lost(start + ms(*at)));
        silent.map_or(0, |at| at - last)
    }

    #[test]
    fn who_was_sending_is_lost_after_four_seconds_and_who_only_checks_after_eight() {
        for every in [20, 400, 1_000, 1_500] {
            assert_eq!(lost_after(every, 60_000), 4_000, "every {every} ms");
        }
        for every in [2_500, 5_000, 6_000] {
            assert_eq!(lost_after(every, 60_000), 8_000, "every {every} ms");
        }
        assert_eq!(lost_after(100, 200), 8_000, "that nothing flows yet says nothing");
    }

    #[test]
    fn a_lost_peer_is_back_once_and_may_be_lost_again() {
        let start = Instant::now();
        let mut presence = Presence::new(start);
        presence.connected(start);
        assert!(presence.is_lost(start + ms(8_000)));
        assert!(!presence.is_lost(start + ms(80_000)) && presence.due().is_none());
        presence.heard(start + ms(90_000));
        assert!(presence.look(start + ms(90_000)) && !presence.look(start + ms(91_000)));
        assert!(presence.is_lost(start + ms(98_000)));
    }
}

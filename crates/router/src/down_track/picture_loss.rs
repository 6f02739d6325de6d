//! Limits how often the picture losses that one subscriber reports (PLI, FIR: RFC 4585 section 6.3.1, RFC 5104 section
//! 4.3.1) request a key frame of the publisher. A key frame goes to all viewers of a track, and is several times as
//! large as other pictures: a viewer on a bad line, or a hostile one, must not set the key frame rate of a room. So
//! the first report is answered at once, and each further one later than the one before; after a while without reports
//! the next one is answered at once again.

use std::time::{Duration, Instant};

/// Least time after the first answer. It doubles with each answer,
const FIRST: Duration = Duration::from_secs(1);
/// at most this many times: in the end one answer every 8 s.
const LEVEL_MAX: u32 = 3;
/// The level is lowered by one for each such time without an answer.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// The loss reports of one slot.
#[derive(Debug, Default)]
pub(crate) struct PictureLoss {
    /// A report waits for its answer.
    reported: bool,
    level: u32,
    /// When the last report was answered.
    answered: Option<Instant>,
}

impl PictureLoss {
    /// The subscriber reports that it lost a picture.
    pub(crate) fn report(&mut self) {
        self.reported = true;
    }

    /// Clears the report: a key frame began, or the report is void.
    pub(crate) fn mend(&mut self) {
        self.reported = false;
    }

    /// Whether a report waits and may be answered now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let wait = FIRST * 2u32.pow(self.level_at(now).saturating_sub(1));
        self.reported && self.answered.is_none_or(|at| now.saturating_duration_since(at) >= wait)
    }

    /// Whether a report waits and may not be answered yet.
    pub(crate) fn is_deferred(&self, now: Instant) -> bool {
        self.reported && !self.is_due(now)
    }

    /// A key frame is requested. The up-track repeats the request until it arrives.
    pub(crate) fn answer(&mut self, now: Instant) {
        self.level = (self.level_at(now) + 1).min(LEVEL_MAX + 1);
        self.answered = Some(now);
        self.reported = false;
    }

    fn level_at(&self, now: Instant) -> u32 {
        let quiet = self.answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgiven = quiet.as_secs() / FORGIVEN_AFTER.as_secs();
        self.level.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports a loss every 100 ms from `from` to `to`. Returns the seconds of the answers.
    fn flood(loss: &mut PictureLoss, start: Instant, from: u64, to: u64) -> Vec<u64> {
        let mut answers = Vec::new();
        for tick in from * 10..to * 10 {
            let now = start + Duration::from_millis(100) * tick as u32;
            loss.report();
            if loss.is_due(now) {
                loss.answer(now);
                answers.push(tick / 10);
            }
        }
        answers
    }

    #[test]
    fn reports_without_end_get_slower_and_slower_answers() {
        let (mut loss, start) = (PictureLoss::default(), crate::fixtures::start());
        assert_eq!(flood(&mut loss, start, 0, 40), [0, 1, 3, 7, 15, 23, 31, 39]);
    }

    #[test]
    fn after_a_quiet_while_a_report_is_answered_at_once() {
        let (mut loss, start) = (PictureLoss::default(), crate::fixtures::start());
        flood(&mut loss, start, 0, 20);
        loss.mend();
        let later = start + Duration::from_secs(60);
        assert!(!loss.is_due(later), "nothing is reported");
        assert_eq!(flood(&mut loss, start, 60, 64), [60, 61, 63]);
    }

    #[test]
    fn a_report_that_has_to_wait_is_answered_when_its_time_comes() {
        let (mut loss, start) = (PictureLoss::default(), crate::fixtures::start());
        loss.report();
        loss.answer(start);
        loss.report();
        let soon = start + Duration::from_millis(999);
        assert!(loss.is_deferred(soon) && !loss.is_due(soon));
        assert!(loss.is_due(start + FIRST));
        loss.mend();
        assert!(!loss.is_due(start + FIRST), "a key frame came meanwhile");
    }
}

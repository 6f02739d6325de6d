//! The deadlines of sessions: two heaps, in which stale entries are skipped.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use model::SessionId;

/// How much later than its time a patient deadline may be kept. Waking up costs more than writing most reports. Where
/// media flows the worker wakes up earlier anyway, and the report is sent then.
pub(crate) const PATIENT_DELAY_MAX: Duration = Duration::from_millis(20);

/// How exactly a deadline has to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// To the millisecond: lost packets have to be requested again.
    Prompt,
    /// Within [`PATIENT_DELAY_MAX`]: reports.
    Patient,
}

type Heap = BinaryHeap<Reverse<(Instant, SessionId)>>;

/// Deadlines of the sessions of one worker. A session has only a few entries, because it adds one only when it wants
/// to be called earlier than what is armed.
#[derive(Default)]
pub(crate) struct Timers {
    prompt: Heap,
    patient: Heap,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Instant, session: SessionId, urgency: Urgency) {
        let heap = match urgency {
            Urgency::Prompt => &mut self.prompt,
            Urgency::Patient => &mut self.patient,
        };
        heap.push(Reverse((at, session)));
    }

    /// The latest time at which the worker has to wake up for a deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        let patient = self.patient.peek().map(|Reverse((at, _))| *at + PATIENT_DELAY_MAX);
        let prompt = self.prompt.peek().map(|Reverse((at, _))| *at);
        [prompt, patient].into_iter().flatten().min()
    }

    /// Takes the next session whose deadline has passed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(SessionId, Urgency)> {
        let pop = |heap: &mut Heap| {
            heap.peek().filter(|Reverse((at, _))| *at <= now)?;
            heap.pop().map(|Reverse((_, session))| session)
        };
        if let Some(session) = pop(&mut self.prompt) {
            return Some((session, Urgency::Prompt));
        }
        pop(&mut self.patient).map(|session| (session, Urgency::Patient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn deadlines_come_in_order_and_not_before_their_time() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(after(start, 20), SessionId(2), Urgency::Prompt);
        timers.arm(after(start, 10), SessionId(1), Urgency::Prompt);
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(timers.pop_due(after(start, 30)), Some((SessionId(1), Urgency::Prompt)));
        assert_eq!(timers.next(), Some(after(start, 20)));
        assert_eq!(timers.pop_due(after(start, 20)), Some((SessionId(2), Urgency::Prompt)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_patient_deadline_wakes_a_sleeping_worker_late_and_is_kept_on_time_by_one_that_is_awake() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(after(start, 10), SessionId(1), Urgency::Patient);
        assert_eq!(timers.next(), Some(after(start, 10) + PATIENT_DELAY_MAX));
        timers.arm(after(start, 15), SessionId(2), Urgency::Prompt);
        assert_eq!(timers.next(), Some(after(start, 15)));
        assert_eq!(timers.pop_due(after(start, 9)), None);
        assert_eq!(timers.pop_due(after(start, 12)), Some((SessionId(1), Urgency::Patient)));
        assert_eq!(timers.pop_due(after(start, 12)), None);
    }
}

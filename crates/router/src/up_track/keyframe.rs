//! Coalesces requests for key frames of one layer (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1): however many
//! subscribers ask and however often, the publisher hears of it once a second at most (threats row 34).

use std::time::{Duration, Instant};

/// Least time between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// Requests without an answer after which no more are sent until a subscriber asks again: the publisher cannot or will not.
const MAX_TRIES: u8 = 10;

/// The key frame requests of one layer.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    /// Since when.
    wanted: Option<Instant>,
    last: Option<Instant>,
    tries: u8,
    /// Command sequence number of FIR: counts requests, not repetitions.
    fir_sequence: u8,
}

impl KeyframeRequests {
    /// Somebody needs a key frame.
    pub(crate) fn want(&mut self, now: Instant) {
        if self.wanted.is_none() {
            self.wanted = Some(now);
            // RFC 5104 section 4.3.1.2: a new command has a new number, a repetition has the same.
            self.fir_sequence = self.fir_sequence.wrapping_add(1);
        }
        self.tries = 0;
    }

    /// A key frame begins.
    pub(crate) fn arrived(&mut self) {
        self.wanted = None;
        self.tries = 0;
    }

    /// When a request is to be sent; `None` when there is nothing to ask for.
    pub(crate) fn due(&self) -> Option<Instant> {
        let since = self.wanted?;
        Some(self.last.map_or(since, |last| since.max(last + INTERVAL)))
    }

    /// A request was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last = Some(now);
        self.tries += 1;
        if self.tries == MAX_TRIES {
            self.wanted = None;
        }
    }

    /// The number for FIR.
    pub(crate) fn fir_sequence(&self) -> u8 {
        self.fir_sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_requests_reaches_the_publisher_once_a_second() {
        let t = crate::fixtures::start();
        let mut k = KeyframeRequests::default();
        let mut sent = Vec::new();
        for ms in 0..3_500u64 {
            let now = t + Duration::from_millis(ms);
            k.want(now);
            if k.due().is_some_and(|at| at <= now) {
                k.sent(now);
                sent.push(ms);
            }
            if ms % 7 == 0 {
                k.arrived();
            }
        }
        assert_eq!(sent, [0, 1_000, 2_000, 3_000]);
    }

    #[test]
    fn a_request_is_repeated_until_the_key_frame_comes() {
        let t = crate::fixtures::start();
        let mut k = KeyframeRequests::default();
        k.want(t);
        let number = k.fir_sequence();
        k.sent(t);
        assert_eq!(k.due(), Some(t + INTERVAL));
        k.sent(t + INTERVAL);
        assert_eq!(k.fir_sequence(), number);
        k.arrived();
        assert_eq!(k.due(), None);
        k.want(t + INTERVAL);
        assert_eq!(k.due(), Some(t + 2 * INTERVAL));
        assert_ne!(k.fir_sequence(), number);
    }

    #[test]
    fn a_publisher_that_never_answers_is_not_asked_for_ever() {
        let t = crate::fixtures::start();
        let mut k = KeyframeRequests::default();
        k.want(t);
        for _ in 0..MAX_TRIES {
            let due = k.due().expect("asks on");
            k.sent(due);
        }
        assert_eq!(k.due(), None);
    }
}

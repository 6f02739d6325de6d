//! Coalesces requests for key frames of one layer (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1): however many
//! subscribers ask and however often, the publisher gets at most one request a second (threats row 34).

use std::time::{Duration, Instant};

/// Least time between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// Requests in a row without a key frame, after which no more are sent until a subscriber asks again: the publisher
/// cannot or will not send one.
const MAX_TRIES: u8 = 10;

/// The key frame requests of one layer.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    /// Since when a key frame is wanted; `None` if none is.
    wanted: Option<Instant>,
    last: Option<Instant>,
    tries: u8,
    /// Command sequence number of FIR: it counts requests, not repetitions.
    fir_sequence: u8,
}

impl KeyframeRequests {
    /// A subscriber needs a key frame.
    pub(crate) fn want(&mut self, now: Instant) {
        if self.wanted.is_none() {
            self.wanted = Some(now);
            // RFC 5104 section 4.3.1.2: a new command has a new number, a repetition keeps it.
            self.fir_sequence = self.fir_sequence.wrapping_add(1);
        }
        self.tries = 0;
    }

    /// A key frame arrived.
    pub(crate) fn arrived(&mut self) {
        self.wanted = None;
        self.tries = 0;
    }

    /// When the next request is to be sent; `None` if none is wanted.
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

    /// The command sequence number for FIR.
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
    fn requests_to_a_publisher_that_never_answers_end() {
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

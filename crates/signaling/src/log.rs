//! Lines of the log that those who connect can cause, each kind with a limit ([`LogLimit`]). Never written with a room's
//! lock held: a log that is slow to be written would hold up the room.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::LogLimit;

/// The limit of one kind of line.
pub(crate) struct Lines(Mutex<LogLimit>);

impl Lines {
    /// `lines` in each `interval`.
    pub(crate) const fn new(lines: u32, interval: Duration) -> Self {
        Self(Mutex::new(LogLimit::new(lines, interval)))
    }

    /// As [`LogLimit::pass`], now.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now())
    }
}

/// A trusted proxy that does not speak as it should, which is one line for each of its connections.
pub(crate) static PROXY_LINES: Lines = Lines::new(1, Duration::from_secs(10));

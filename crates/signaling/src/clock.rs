//! The wall clock of signaling. It is read here and nowhere else, so that tests can replace it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells the time of day, with which the times in tokens are compared.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The clock of the system. It is asked each time, because it may be set, and because the monotonic clock stands still while a
    /// virtual machine does: a time that is derived from that one would accept expired tokens afterwards.
    pub(crate) fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock of a test.
    #[cfg(test)]
    pub(crate) fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that reads `start` now and follows tokio's clock, which tests can pause and move.
    #[cfg(test)]
    pub(crate) fn following_tokio(start: SystemTime) -> Self {
        let begin = tokio::time::Instant::now();
        Self::from_fn(move || start + begin.elapsed())
    }

    /// The time of day.
    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

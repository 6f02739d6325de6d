//! Waiting and being woken: an eventfd, and a wait over it and the sockets.
//!
//! When to wake is not decided here: crate `ring` has the protocol that saves the system call when nobody sleeps.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// An eventfd that wakes a thread out of [`wait`].
#[derive(Debug)]
pub struct WakeFd {
    fd: OwnedFd,
}

impl WakeFd {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// What the kernel says, such as `EMFILE`.
    pub fn new() -> io::Result<WakeFd> {
        todo!()
    }

    /// Signals it: a [`wait`] that has it among its descriptors returns, now or the next time. From any thread.
    pub fn wake(&self) {
        todo!()
    }

    /// Takes the signal back, however many times it was given.
    pub fn drain(&self) {
        todo!()
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Waits until one of `fds` (at most 32) can be read, or `timeout` is over (`None`: for ever).
///
/// Returns a bit mask, bit `i` for `fds[i]`; 0 after the timeout or a signal. The timeout is kept to the
/// nanosecond as far as the kernel's timers go (ppoll).
///
/// # Errors
/// `InvalidInput` for more than 32 descriptors or one that is not open; else what the kernel says.
pub fn wait(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<u32> {
    let _ = (fds, timeout);
    todo!()
}

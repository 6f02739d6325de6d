//! Waiting and waking: an eventfd, and a wait over it and the sockets.
//!
//! When to wake is decided elsewhere: crate `ring` has the protocol that saves the system call when the thread does
//! not sleep.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

/// How many descriptors [`wait`] and [`wait_both`] take: the bits of their results.
const MAX_FDS: usize = 32;

/// An eventfd that wakes a thread from [`wait`].
#[derive(Debug)]
pub struct WakeFd {
    fd: OwnedFd,
}

impl WakeFd {
    /// Makes an eventfd that is not signalled.
    ///
    /// # Errors
    /// The kernel's, such as `EMFILE`.
    pub fn new() -> io::Result<WakeFd> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        Ok(WakeFd { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Signals the eventfd: a [`wait`] that has it among its descriptors returns, now or the next time. From any
    /// thread.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes from eight valid bytes. The only failure of an open eventfd is a counter at its maximum
        // (EAGAIN), and then it is signalled already.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Clears the signal, however many times it was given.
    pub fn drain(&self) {
        let mut count = [0u8; 8];
        // SAFETY: reads into eight valid bytes. The only failure of an open eventfd is that it was not signalled (EAGAIN).
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Waits until one of `fds` (at most 32) can be read, or `timeout` is over (`None`: for ever).
///
/// Returns a bit mask, bit `i` for `fds[i]`; 0 after the timeout or a signal. A descriptor with an error counts as
/// readable, because reading returns the error. The timeout is kept to the nanosecond as far as the kernel's timers
/// allow (ppoll).
///
/// # Errors
/// `InvalidInput` for more than 32 descriptors or one that is not open; else the kernel's.
pub fn wait(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<u32> {
    wait_both(fds, &[], timeout).map(|ready| ready.readable)
}

/// The result of [`wait_both`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// Bit `i` for the descriptor `i` of those to read from.
    pub readable: u32,
    /// Bit `i` for the descriptor `i` of those to write to.
    pub writable: u32,
}

/// As [`wait`], but also until one of `writable` can be written. A descriptor may be in both lists; together they have
/// at most 32. A UDP socket that was full counts as writable when half of its buffer is free again.
///
/// # Errors
/// As for [`wait`].
pub fn wait_both(
    readable: &[RawFd],
    writable: &[RawFd],
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let count = readable.len() + writable.len();
    if count > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{count} descriptors to wait for, at most {MAX_FDS} are allowed"),
        ));
    }
    let mut polled = [libc::pollfd { fd: -1, events: 0, revents: 0 }; MAX_FDS];
    let wanted = readable.iter().map(|fd| (*fd, libc::POLLIN));
    let wanted = wanted.chain(writable.iter().map(|fd| (*fd, libc::POLLOUT)));
    for (polled, (fd, events)) in polled.iter_mut().zip(wanted) {
        *polled = libc::pollfd { fd, events, revents: 0 };
    }
    if !poll(&mut polled[..count], timeout)? {
        return Ok(Ready::default());
    }
    let (to_read, to_write) = polled[..count].split_at(readable.len());
    Ok(Ready { readable: mask(to_read)?, writable: mask(to_write)? })
}

/// One ppoll. `false` after a signal: `polled` has no results then.
fn poll(polled: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `polled` is a slice of valid entries of the length given, `timeout` is null or a valid timespec, no signal mask.
    let ready = unsafe {
        libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout, ptr::null())
    };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(true)
}

/// A bit for each descriptor with a result.
fn mask(polled: &[libc::pollfd]) -> io::Result<u32> {
    let mut mask = 0;
    for (bit, polled) in polled.iter().enumerate() {
        if polled.revents & libc::POLLNVAL != 0 {
            // If it counted as ready, the caller would loop without end.
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("descriptor {} is not open", polled.fd),
            ));
        }
        if polled.revents != 0 {
            mask |= 1 << bit;
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;

    #[test]
    fn a_wake_up_is_kept_until_drained() {
        let (a, b) = (WakeFd::new().unwrap(), WakeFd::new().unwrap());
        let fds = [a.as_raw_fd(), b.as_raw_fd()];
        assert_eq!(wait(&fds, Some(Duration::ZERO)).unwrap(), 0);
        b.wake();
        b.wake();
        assert_eq!(wait(&fds, None).unwrap(), 0b10);
        a.wake();
        assert_eq!(wait(&fds, None).unwrap(), 0b11);
        b.drain();
        b.drain();
        assert_eq!(wait(&fds, Some(Duration::ZERO)).unwrap(), 0b01);
    }

    #[test]
    fn reading_and_writing_are_told_apart() {
        let (a, b) = (WakeFd::new().unwrap(), WakeFd::new().unwrap());
        let (a_fd, b_fd) = (a.as_raw_fd(), b.as_raw_fd());
        // An eventfd can always be written, until its counter is at its maximum.
        let most = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: writes from eight valid bytes.
        assert_eq!(unsafe { libc::write(b_fd, most.as_ptr().cast(), most.len()) }, 8);
        let both = || wait_both(&[a_fd, b_fd], &[b_fd, a_fd], Some(Duration::ZERO)).unwrap();
        assert_eq!(both(), Ready { readable: 0b10, writable: 0b10 });
        b.drain();
        assert_eq!(both(), Ready { readable: 0, writable: 0b11 });
        a.wake();
        assert_eq!(both(), Ready { readable: 0b01, writable: 0b11 });
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let event = Arc::new(WakeFd::new().unwrap());
        let waker = event.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            waker.wake();
        });
        assert_eq!(wait(&[event.as_raw_fd()], Some(Duration::from_secs(10))).unwrap(), 1);
        thread.join().unwrap();
    }

    #[test]
    fn the_timeout_holds_below_a_millisecond() {
        let event = WakeFd::new().unwrap();
        let start = Instant::now();
        assert_eq!(wait(&[event.as_raw_fd()], Some(Duration::from_micros(300))).unwrap(), 0);
        assert!(start.elapsed() >= Duration::from_micros(300));
        assert_eq!(wait(&[], Some(Duration::from_nanos(1))).unwrap(), 0);
    }

    #[test]
    fn misuse_is_an_error_and_not_a_spin() {
        let kind = |fds: &[RawFd]| wait(fds, Some(Duration::ZERO)).unwrap_err().kind();
        assert_eq!(kind(&[1_000_000]), io::ErrorKind::InvalidInput);
        assert_eq!(kind(&[0; 33]), io::ErrorKind::InvalidInput);
        let event = WakeFd::new().unwrap();
        let both = |writable: &[RawFd]| {
            wait_both(&[event.as_raw_fd()], writable, Some(Duration::ZERO)).map_err(|e| e.kind())
        };
        assert_eq!(both(&[1_000_000]), Err(io::ErrorKind::InvalidInput));
        assert_eq!(both(&[0; 32]), Err(io::ErrorKind::InvalidInput));
    }
}

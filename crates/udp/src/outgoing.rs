//! From trains to system calls: sendmmsg in chunks, and what each of its errors means for the datagrams.
//!
//! Every turn of the loops here takes at least one datagram off the batch, splits a train (once each), turns GSO off (once)
//! or waits (once), so a flush ends whatever the kernel answers.

use std::{fmt, iter, os::fd::AsRawFd, ptr, time::Duration};

use model::Path;

use crate::{
    FlushStats, UdpSocket, address::Name, control::Control, recv::empty_header, wake::wait_writable,
};

/// Messages per system call. More save nothing: the walk down the stack costs per message.
const CHUNK: usize = 64;
/// UDP_MAX_SEGMENTS of Linux before 6.9; later kernels take 128.
const MAX_SEGMENTS: usize = 64;
/// The most bytes in a train: an IP packet with its headers has at most 65,535, and some devices take a bit less.
const MAX_TRAIN: usize = 65_000;
/// How long to wait for a full socket buffer, once per flush and socket.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// A signal in the middle of a call is no reason to lose datagrams; signals without end are.
const MAX_INTERRUPTS: u32 = 16;

/// Adjacent datagrams of one path: all of one size, but the last may be shorter. One message, where GSO works.
#[derive(Debug)]
pub(crate) struct Train {
    path: Path,
    /// Where it stands in the arena.
    start: usize,
    len: usize,
    /// The size of all segments but the last.
    segment: usize,
    segments: usize,
    /// The last segment is shorter than the others, so nothing can follow.
    closed: bool,
    /// The kernel refused it as one message: it goes segment by segment.
    split: bool,
}

impl Train {
    pub(crate) fn new(path: Path, start: usize, len: usize) -> Train {
        Train { path, start, len, segment: len, segments: 1, closed: false, split: false }
    }

    /// Appends a datagram of `len` bytes that stands right behind; `false` when it does not fit in.
    #[inline]
    pub(crate) fn join(&mut self, len: usize) -> bool {
        let fits = !self.closed
            && len <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.len + len <= MAX_TRAIN;
        if fits {
            self.len += len;
            self.segments += 1;
            self.closed = len < self.segment;
        }
        fits
    }
}

/// A place in the trains: all before it is done with.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    train: usize,
    segment: usize,
}

/// What stands in one header of a chunk: some segments of a train.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    at: Cursor,
    segments: usize,
    bytes: usize,
    /// Segments of the train from this slot on, those in later slots too.
    left: usize,
}

/// What goes on after a chunk.
enum Next {
    /// Fill the next chunk from here.
    From(Cursor),
    /// The socket stays full: give up what is left from here.
    GiveUp(Cursor),
}

/// The arrays of one sendmmsg, filled anew for each.
pub(crate) struct Outgoing {
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    slots: Box<[Slot]>,
}

impl Outgoing {
    pub(crate) fn new() -> Outgoing {
        let no_vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Outgoing {
            names: vec![Name::new(); CHUNK].into(),
            controls: vec![Control::new(); CHUNK].into(),
            vectors: vec![no_vector; CHUNK].into(),
            headers: iter::repeat_with(empty_header).take(CHUNK).collect(),
            slots: vec![Slot::default(); CHUNK].into(),
        }
    }

    /// Sends the trains of one family, and adds to `stats` what became of every datagram of them.
    pub(crate) fn send(
        &mut self,
        socket: Option<&UdpSocket>,
        arena: &[u8],
        trains: &mut [Train],
        v4: bool,
        stats: &mut FlushStats,
    ) {
        let mut cursor = Cursor::default();
        let Some(socket) = socket else {
            stats.dropped_refused += left(trains, cursor, v4);
            return;
        };
        let mut may_wait = true;
        loop {
            let (filled, behind) = self.fill(socket.gso(), arena, trains, v4, cursor);
            if filled == 0 {
                return;
            }
            match self.send_chunk(socket, filled, behind, trains, &mut may_wait, stats) {
                Next::From(next) => cursor = next,
                Next::GiveUp(from) => {
                    stats.dropped_full += left(trains, from, v4);
                    return;
                }
            }
        }
    }

    /// Fills headers with what comes from `cursor` on. Returns how many, and the cursor behind them.
    fn fill(
        &mut self,
        gso: bool,
        arena: &[u8],
        trains: &[Train],
        v4: bool,
        mut cursor: Cursor,
    ) -> (usize, Cursor) {
        let mut filled = 0;
        while let (true, Some(train)) = (filled < CHUNK, trains.get(cursor.train)) {
            if train.path.remote.is_ipv4() != v4 {
                cursor = Cursor { train: cursor.train + 1, segment: 0 };
                continue;
            }
            let left = train.segments - cursor.segment;
            let segments = if gso && !train.split { left } else { 1 };
            let start = cursor.segment * train.segment;
            let end = (start + segments * train.segment).min(train.len);
            let data = &arena[train.start + start..train.start + end];
            self.set(filled, train, data, segments);
            self.slots[filled] = Slot { at: cursor, segments, bytes: data.len(), left };
            filled += 1;
            cursor = if segments == left {
                Cursor { train: cursor.train + 1, segment: 0 }
            } else {
                Cursor { train: cursor.train, segment: cursor.segment + segments }
            };
        }
        (filled, cursor)
    }

    /// Makes header `index` carry `data`.
    fn set(&mut self, index: usize, train: &Train, data: &[u8], segments: usize) {
        let Path { remote, local } = train.path;
        let segment = if segments > 1 { u16::try_from(train.segment).ok() } else { None };
        let vector = &mut self.vectors[index];
        // The kernel only reads from there.
        vector.iov_base = data.as_ptr().cast_mut().cast();
        vector.iov_len = data.len();
        let (name, control) = (&mut self.names[index], &mut self.controls[index]);
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = name.set(remote);
        header.msg_name = name.as_mut_ptr();
        header.msg_controllen = control.set(&remote, local, segment) as _;
        header.msg_control =
            if header.msg_controllen == 0 { ptr::null_mut() } else { control.as_mut_ptr() };
        header.msg_iov = vector;
        header.msg_iovlen = 1;
    }

    /// Sends the first `filled` headers. `behind` is the cursor behind them.
    fn send_chunk(
        &mut self,
        socket: &UdpSocket,
        filled: usize,
        behind: Cursor,
        trains: &mut [Train],
        may_wait: &mut bool,
        stats: &mut FlushStats,
    ) -> Next {
        let (mut done, mut interrupts) = (0, 0);
        while done < filled {
            stats.syscalls += 1;
            let errno = match send_headers(socket, &mut self.headers[done..filled]) {
                Ok(sent) => {
                    for slot in &self.slots[done..done + sent] {
                        stats.messages += 1;
                        stats.sent_datagrams += slot.segments as u64;
                        stats.sent_bytes += slot.bytes as u64;
                    }
                    done += sent;
                    continue;
                }
                Err(errno) => errno,
            };
            let slot = self.slots[done];
            match judge(errno, slot.segments > 1) {
                Verdict::Full if *may_wait => {
                    *may_wait = false;
                    wait_writable(socket.as_raw_fd(), FULL_WAIT);
                }
                Verdict::Interrupted if interrupts < MAX_INTERRUPTS => interrupts += 1,
                Verdict::Full | Verdict::Interrupted => return Next::GiveUp(slot.at),
                Verdict::NoGso => {
                    socket.turn_gso_off();
                    return Next::From(slot.at);
                }
                Verdict::Split => {
                    trains[slot.at.train].split = true;
                    return Next::From(slot.at);
                }
                Verdict::NoBuffers => {
                    stats.dropped_full += slot.segments as u64;
                    done += 1;
                }
                Verdict::TooLong => {
                    stats.dropped_refused += slot.segments as u64;
                    done += 1;
                }
                Verdict::Refused if slot.left > slot.segments => {
                    // The rest of the train goes the same way: asking again would cost a call each.
                    stats.dropped_refused += slot.left as u64;
                    return Next::From(Cursor { train: slot.at.train + 1, segment: 0 });
                }
                Verdict::Refused => {
                    stats.dropped_refused += slot.segments as u64;
                    done += 1;
                }
            }
        }
        Next::From(behind)
    }
}

// SAFETY: the raw pointers in the headers and vectors are written anew before each use, and nothing follows them in between.
unsafe impl Send for Outgoing {}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

/// The datagrams of one family from `cursor` on.
fn left(trains: &[Train], cursor: Cursor, v4: bool) -> u64 {
    let mut rest = trains.iter().skip(cursor.train).peekable();
    let done = match rest.peek() {
        Some(train) if train.path.remote.is_ipv4() == v4 => cursor.segment,
        _ => 0,
    };
    let all: usize =
        rest.filter(|train| train.path.remote.is_ipv4() == v4).map(|train| train.segments).sum();
    (all - done) as u64
}

/// What an error says about the first message of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The socket's buffer is full: the message may go later.
    Full,
    /// A signal came first.
    Interrupted,
    /// The machine has no memory for this message.
    NoBuffers,
    /// The device cannot segment, nor can the kernel for it.
    NoGso,
    /// As one message it does not go; its segments may.
    Split,
    /// This datagram is too long for the way; a shorter one may go.
    TooLong,
    /// This way nothing goes: no route, forbidden, a source address that is no longer ours.
    Refused,
}

fn judge(errno: libc::c_int, train: bool) -> Verdict {
    match errno {
        // EWOULDBLOCK is the same number on Linux.
        libc::EAGAIN => Verdict::Full,
        libc::EINTR => Verdict::Interrupted,
        libc::ENOBUFS | libc::ENOMEM => Verdict::NoBuffers,
        libc::EIO if train => Verdict::NoGso,
        // Segments over the MTU of the way (EINVAL, in later kernels EMSGSIZE), which the kernel would send in fragments one by
        // one. Not a reason to turn GSO off for everybody: a forged "fragmentation needed" can lower the MTU of one way.
        libc::EINVAL | libc::EMSGSIZE if train => Verdict::Split,
        libc::EMSGSIZE => Verdict::TooLong,
        _ => Verdict::Refused,
    }
}

/// One sendmmsg: how many of the headers went, at least one, or why the first did not.
fn send_headers(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> Result<usize, libc::c_int> {
    #[cfg(test)]
    if let Some(errno) = tests::pretended() {
        return Err(errno);
    }
    // SAFETY: every header was filled by `set` from borrows that live until this returns: the data from the arena, names and
    // controls from this struct, with the lengths written there. The kernel writes only the headers' msg_len.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    match usize::try_from(sent) {
        // "None, and no error" does not happen; as a full socket it could not make us turn in circles.
        Ok(0) => Err(libc::EAGAIN),
        Ok(sent) => Ok(sent),
        Err(_) => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, net::Ipv4Addr};

    use super::*;
    use crate::{RecvBatch, SendBatch, UdpConfig, socket::set_option, wait};

    thread_local! {
        /// The errors that the next calls meet before they reach the kernel; `None` lets one through.
        static PRETENDED: RefCell<VecDeque<Option<libc::c_int>>> = const { RefCell::new(VecDeque::new()) };
    }

    pub(super) fn pretended() -> Option<libc::c_int> {
        PRETENDED.with_borrow_mut(|errors| errors.pop_front().flatten())
    }

    fn pretend(errors: impl IntoIterator<Item = Option<libc::c_int>>) {
        PRETENDED.with_borrow_mut(|queue| *queue = errors.into_iter().collect());
    }

    fn loopback(gso: bool) -> UdpSocket {
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        UdpSocket::bind(&UdpConfig { gso, ..UdpConfig::new(addr) }).unwrap()
    }

    /// A batch of `trains` trains of ten datagrams of 100 bytes to `to`, each to another local source so that they do not join.
    fn loaded(to: &UdpSocket, trains: u8) -> SendBatch {
        let mut batch = SendBatch::with_capacity(1 << 20, 1024);
        for train in 0..trains {
            let local = Ipv4Addr::new(127, 0, 0, train + 1).into();
            batch.begin(Path { remote: to.local_addr(), local });
            for number in 0..10 {
                batch.space().unwrap()[..100].fill(number);
                batch.commit(100);
            }
        }
        batch
    }

    /// The next `count` datagrams; the kernel may deliver a little later than the sender's call returns.
    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut batch = RecvBatch::new(32, 65_535);
        let mut all = Vec::new();
        while all.len() < count {
            let ready = wait(&[socket.as_raw_fd()], Some(Duration::from_secs(5))).unwrap();
            assert_ne!(ready, 0, "{} of {count} came", all.len());
            batch.recv(socket).unwrap();
            all.extend(batch.datagrams().map(|datagram| datagram.data.to_vec()));
        }
        all
    }

    #[test]
    fn a_device_that_cannot_segment_turns_gso_off_and_nothing_is_lost() {
        let (from, to) = (loopback(true), loopback(true));
        assert!(from.gso(), "the kernel of this machine has GSO");
        let mut batch = loaded(&to, 2);
        pretend([None, Some(libc::EIO)]);
        // The first call is let through: both trains go at once, whole.
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (2, 20, 1));
        assert!(from.gso());

        let mut batch = loaded(&to, 2);
        let stats = batch.flush(Some(&from), None);
        assert!(!from.gso(), "off for good");
        assert_eq!((stats.messages, stats.sent_datagrams, stats.sent_bytes), (20, 20, 2000));
        assert_eq!((stats.dropped_full, stats.dropped_refused, stats.syscalls), (0, 0, 2));
        assert_eq!(received(&to, 40).len(), 40);
    }

    #[test]
    fn a_socket_without_gso_sends_trains_segment_by_segment() {
        let (from, to) = (loopback(false), loopback(true));
        let stats = loaded(&to, 10).flush(Some(&from), None);
        assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (100, 100, 2));
        let expected: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i % 10; 100]).collect();
        assert_eq!(received(&to, expected.len()), expected);
    }

    #[test]
    fn a_refused_train_is_split_and_gso_stays_on_for_the_others() {
        let (from, to) = (loopback(true), loopback(true));
        for errno in [libc::EINVAL, libc::EMSGSIZE] {
            let mut batch = loaded(&to, 3);
            pretend([Some(errno)]);
            let stats = batch.flush(Some(&from), None);
            assert!(from.gso());
            assert_eq!((stats.messages, stats.sent_datagrams, stats.syscalls), (12, 30, 2));
            assert_eq!(received(&to, 30).len(), 30);
        }
    }

    #[test]
    fn a_train_that_the_kernel_itself_refuses_goes_in_pieces() {
        let (from, to) = (loopback(true), loopback(true));
        // Without checksums the kernel does not segment, and says EINVAL.
        set_option(&from, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let stats = loaded(&to, 1).flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.messages, stats.syscalls), (10, 10, 2));
        let expected: Vec<Vec<u8>> = (0..10).map(|i| vec![i; 100]).collect();
        assert_eq!(received(&to, expected.len()), expected);
    }

    #[test]
    fn a_train_that_is_refused_in_pieces_too_costs_two_calls_only() {
        let (from, to) = (loopback(true), loopback(true));
        let mut batch = loaded(&to, 3);
        pretend([Some(libc::EINVAL), Some(libc::EINVAL)]);
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.dropped_refused, stats.syscalls), (20, 10, 3));
        assert_eq!(received(&to, 20).len(), 20);
    }

    #[test]
    fn a_full_socket_is_waited_for_once() {
        let (from, to) = (loopback(true), loopback(true));
        let mut batch = loaded(&to, 3);
        pretend([Some(libc::EAGAIN)]);
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.dropped_full, stats.syscalls), (30, 0, 2));

        let mut batch = loaded(&to, 3);
        pretend([Some(libc::EAGAIN), Some(libc::EAGAIN)]);
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.dropped_full, stats.syscalls), (0, 30, 2));
        assert!(batch.is_empty(), "what was dropped is not sent later");
    }

    #[test]
    fn what_went_before_the_socket_was_full_is_counted_as_sent() {
        let (from, to) = (loopback(false), loopback(true));
        let mut batch = loaded(&to, 10);
        pretend([None, Some(libc::EAGAIN), Some(libc::EAGAIN)]);
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.dropped_full), (64, 36));
        assert_eq!(received(&to, 64).len(), 64);
    }

    #[test]
    fn signals_without_end_do_not_hold_a_flush() {
        let (from, to) = (loopback(true), loopback(true));
        let mut batch = loaded(&to, 1);
        pretend([Some(libc::EINTR)]);
        assert_eq!(batch.flush(Some(&from), None).sent_datagrams, 10);
        let mut batch = loaded(&to, 1);
        pretend([Some(libc::EINTR); 1000]);
        let stats = batch.flush(Some(&from), None);
        pretend([]);
        assert_eq!((stats.dropped_full, stats.syscalls), (10, u64::from(MAX_INTERRUPTS) + 1));
    }

    #[test]
    fn no_error_number_makes_a_flush_turn_in_circles_or_lose_count() {
        let to = loopback(true);
        for errno in 1..=133 {
            let from = loopback(true);
            let mut batch = loaded(&to, 4);
            pretend([Some(errno); 1000]);
            let stats = batch.flush(Some(&from), None);
            pretend([]);
            assert_eq!(stats.dropped_full + stats.dropped_refused, 40, "errno {errno}");
            assert_eq!(stats.sent_datagrams, 0);
            assert!(stats.syscalls <= 60, "errno {errno}: {} calls", stats.syscalls);
        }
    }

    #[test]
    fn memory_shortage_costs_its_own_message_only() {
        let (from, to) = (loopback(true), loopback(true));
        let mut batch = loaded(&to, 3);
        pretend([Some(libc::ENOBUFS)]);
        let stats = batch.flush(Some(&from), None);
        assert_eq!((stats.sent_datagrams, stats.dropped_full), (20, 10));
    }

    #[test]
    fn trains_take_what_one_message_can_carry() {
        let path =
            Path { remote: (Ipv4Addr::LOCALHOST, 9).into(), local: Ipv4Addr::UNSPECIFIED.into() };
        let mut train = Train::new(path, 0, 1000);
        assert!(!train.join(1001), "longer than the first");
        for _ in 1..MAX_SEGMENTS {
            assert!(train.join(1000));
        }
        assert!(!train.join(1000), "too many");
        let mut train = Train::new(path, 0, 40_000);
        assert!(!train.join(40_000), "too long");
        assert!(train.join(10));
        assert!(!train.join(10), "behind a shorter one nothing follows");
        assert_eq!((train.len, train.segments), (40_010, 2));
    }
}

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

//! Sends trains: sendmmsg in chunks, and what each of its errors means for the datagrams.
//!
//! Every turn of the loops here removes at least one datagram from the batch, splits a train (each train once), or
//! turns GSO off (once), so a flush ends whatever the kernel answers. It never waits: a full socket ends it at once.

use std::{fmt, iter, os::fd::AsRawFd, ptr};

use model::Path;

use crate::{
    FlushStats, UdpSocket,
    address::Name,
    control::Control,
    recv::empty_header,
    train::{Cursor, Train},
};

/// Messages per system call. More would save nothing, because the path through the network stack costs per message.
const CHUNK: usize = 64;
/// A signal during a call is no reason to lose datagrams. The bound ends the retries if signals do not stop.
const MAX_INTERRUPTS: u32 = 16;

/// The content of one header of a chunk: some segments of a train.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    at: Cursor,
    segments: usize,
    bytes: usize,
    /// Segments of the train from this slot on, including those in later slots.
    left: usize,
}

/// What to do after a chunk.
enum Next {
    /// Fill the next chunk from here.
    From(Cursor),
    /// The socket is full: everything from here on is kept.
    Keep(Cursor),
}

/// The arrays of one sendmmsg, filled anew for each call.
pub(crate) struct Outgoing {
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    slots: Box<[Slot]>,
    /// Whether the last flush ended because the machine had no memory for the next message: for IPv4, for IPv6.
    starved: [bool; 2],
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
            starved: [false; 2],
        }
    }

    /// To be called when the kept messages are gone: other messages come first from now on.
    pub(crate) fn forget_kept(&mut self) {
        self.starved = [false; 2];
    }

    /// Sends the trains of one family, and adds the outcome of each of their datagrams to `stats`. Returns where to go
    /// on if the socket is full.
    pub(crate) fn send(
        &mut self,
        socket: Option<&UdpSocket>,
        arena: &[u8],
        trains: &mut [Train],
        v4: bool,
        stats: &mut FlushStats,
    ) -> Option<Cursor> {
        let Some(socket) = socket else {
            let of_family = trains.iter().filter(|train| train.is_ipv4() == v4);
            stats.dropped_refused += of_family.map(|train| train.segments as u64).sum::<u64>();
            return None;
        };
        let mut cursor = Cursor::default();
        loop {
            let (filled, behind) = self.fill(socket.gso(), arena, trains, v4, cursor);
            if filled == 0 {
                return None;
            }
            match self.send_chunk(socket, filled, behind, trains, stats) {
                Next::From(next) => cursor = next,
                Next::Keep(from) => return Some(from),
            }
        }
    }

    /// Fills headers from `cursor` on. Returns how many, and the cursor behind them.
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
            if train.is_ipv4() != v4 {
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
        // The kernel only reads this memory.
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
        stats: &mut FlushStats,
    ) -> Next {
        let (mut done, mut interrupts) = (0, 0);
        let starved = usize::from(socket.local_addr().is_ipv6());
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
                    self.starved[starved] = false;
                    continue;
                }
                Err(errno) => errno,
            };
            let slot = self.slots[done];
            match judge(errno, slot.segments > 1) {
                Verdict::Interrupted if interrupts < MAX_INTERRUPTS => interrupts += 1,
                Verdict::Full | Verdict::Interrupted => return Next::Keep(slot.at),
                Verdict::NoGso => {
                    socket.turn_gso_off();
                    return Next::From(slot.at);
                }
                Verdict::Split => {
                    trains[slot.at.train].split = true;
                    return Next::From(slot.at);
                }
                Verdict::NoBuffers if !self.starved[starved] => {
                    self.starved[starved] = true;
                    return Next::Keep(slot.at);
                }
                Verdict::NoBuffers => {
                    // The second time the message is dropped: no poll tells when there is memory again, so a caller
                    // that waits for it could loop for ever with the same message.
                    self.starved[starved] = false;
                    stats.dropped_full += slot.segments as u64;
                    done += 1;
                }
                Verdict::TooLong => {
                    stats.dropped_refused += slot.segments as u64;
                    done += 1;
                }
                Verdict::Refused if slot.left > slot.segments => {
                    // The rest of the train has the same path and would be refused too; trying would cost a call for
                    // each segment.
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

// SAFETY: the raw pointers in the headers and vectors are written anew before each use, and are not used in between.
unsafe impl Send for Outgoing {}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

/// What an error means for the first message of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The socket's buffer is full: the message may be sent later.
    Full,
    /// A signal interrupted the call.
    Interrupted,
    /// The machine has no memory for this message.
    NoBuffers,
    /// The device cannot segment, and the kernel cannot do it in its place.
    NoGso,
    /// The train cannot be sent as one message, but perhaps its segments can.
    Split,
    /// This datagram is too long for the path; a shorter one may be sent.
    TooLong,
    /// Nothing can be sent on this path: no route, forbidden, or a source address that the machine no longer has.
    Refused,
}

fn judge(errno: libc::c_int, train: bool) -> Verdict {
    match errno {
        // EWOULDBLOCK is the same number on Linux.
        libc::EAGAIN => Verdict::Full,
        libc::EINTR => Verdict::Interrupted,
        libc::ENOBUFS | libc::ENOMEM => Verdict::NoBuffers,
        libc::EIO if train => Verdict::NoGso,
        // The segments exceed the MTU of the path (EINVAL, in later kernels EMSGSIZE). Sent one by one, IPv6 datagrams
        // are fragmented by the kernel, and IPv4 datagrams are `TooLong` (`UdpSocket::bind` forbids fragments). This is
        // no reason to turn GSO off for all paths: a forged ICMP message can lower the MTU of one path.
        libc::EINVAL | libc::EMSGSIZE if train => Verdict::Split,
        libc::EMSGSIZE => Verdict::TooLong,
        _ => Verdict::Refused,
    }
}

/// One sendmmsg: how many of the headers were sent, at least one, or the error of the first.
fn send_headers(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> Result<usize, libc::c_int> {
    #[cfg(test)]
    let headers = tests::pretended(headers)?;
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
        // "None, and no error" does not happen. It is taken as a full socket, so that the loop ends.
        Ok(0) => Err(libc::EAGAIN),
        Ok(sent) => Ok(sent),
        Err(_) => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
    }
}

#[cfg(test)]
mod tests;

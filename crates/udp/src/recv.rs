//! Receives in batches: one recvmmsg fills several buffers, and each may hold a train of segments that GRO joined.

use std::{
    fmt, io, iter, mem,
    ops::AddAssign,
    os::fd::AsRawFd,
    ptr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::Path;

use crate::{
    UdpSocket,
    address::{Name, unspecified},
    control::Control,
};

const MAX_MESSAGES: usize = 1024;
/// The longest datagram or train: lengths have 16 bits.
const MAX_BUFFER: usize = 65_535;

/// What was received since the batch was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecvStats {
    /// Calls of recvmmsg, including those that received nothing.
    pub syscalls: u64,
    /// Messages: trains or single datagrams.
    pub messages: u64,
    /// Datagrams, after trains were split.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Messages that did not fit into their buffer.
    pub truncated: u64,
}

impl AddAssign for RecvStats {
    fn add_assign(&mut self, other: RecvStats) {
        self.syscalls += other.syscalls;
        self.messages += other.messages;
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.truncated += other.truncated;
    }
}

/// One datagram of a [`RecvBatch`].
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The remote address that it came from, and the local address that it was sent to.
    pub path: Path,
    /// The payload, which may be changed in place. Empty for an empty datagram.
    pub data: &'a mut [u8],
    /// The buffer was too small: the end is missing, so the datagram has to be dropped.
    pub truncated: bool,
    /// How long it waited in the kernel until it was read; zero unless the socket asked for
    /// [`timestamps`](crate::UdpConfig::timestamps). All datagrams of a train have the age of the first.
    pub age: Duration,
}

/// One received message: datagrams of one path that arrived in a row, all of one size except the last.
#[derive(Debug)]
pub struct Message<'a> {
    path: Path,
    data: &'a mut [u8],
    segment: usize,
    truncated: bool,
    age: Duration,
}

impl<'a> Message<'a> {
    /// The remote address that its datagrams came from, and the local address that they were sent to.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The datagrams, in order.
    pub fn datagrams(self) -> Datagrams<'a> {
        Datagrams { message: Some(self) }
    }
}

/// The datagrams of a [`Message`].
#[derive(Debug)]
pub struct Datagrams<'a> {
    /// The rest of the message; `None` after the last datagram.
    message: Option<Message<'a>>,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let Message { path, data, segment, truncated, age } = self.message.take()?;
        if data.len() <= segment {
            return Some(Datagram { path, data, truncated, age });
        }
        let (data, rest) = data.split_at_mut(segment);
        self.message = Some(Message { path, data: rest, segment, truncated, age });
        // Only the end of a message can be cut off.
        Some(Datagram { path, data, truncated: false, age })
    }
}

/// Preallocated room for the messages of one recvmmsg.
pub struct RecvBatch {
    /// One buffer behind the other, `buffer_bytes` each.
    buffers: Vec<u8>,
    buffer_bytes: usize,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// The messages of the last call, one for each filled buffer.
    received: Vec<Received>,
    /// When the last call was made, since 1970; only set if the kernel gave timestamps.
    read_at: Duration,
    stats: RecvStats,
}

/// The content of one buffer.
#[derive(Debug, Clone, Copy)]
struct Received {
    path: Path,
    len: usize,
    segment: usize,
    truncated: bool,
    stamp: Option<Duration>,
}

impl RecvBatch {
    /// Room for `messages` (1 to 1,024) messages of up to `buffer_bytes` (1 to 65,535) each; other values are clamped.
    /// With GRO a message may have 65,535 bytes, and bytes that do not fit are lost, so give less only to sockets
    /// without GRO. 32 and 65,535 are good for a worker (2 MiB of address space, touched as used).
    pub fn new(messages: usize, buffer_bytes: usize) -> RecvBatch {
        let messages = messages.clamp(1, MAX_MESSAGES);
        let buffer_bytes = buffer_bytes.clamp(1, MAX_BUFFER);
        let no_vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        RecvBatch {
            buffers: vec![0; messages * buffer_bytes],
            buffer_bytes,
            names: vec![Name::new(); messages].into(),
            controls: vec![Control::new(); messages].into(),
            vectors: vec![no_vector; messages].into(),
            headers: iter::repeat_with(empty_header).take(messages).collect(),
            received: Vec::with_capacity(messages),
            read_at: Duration::ZERO,
            stats: RecvStats::default(),
        }
    }

    /// Receives the waiting messages into the batch, and drops its former content. Returns the number of messages, 0
    /// if there are none; a full batch (see [`RecvBatch::capacity`]) means that there may be more.
    ///
    /// # Errors
    /// The kernel's, except `WouldBlock` and `Interrupted`: those are `Ok(0)`. The batch is empty then.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received.clear();
        self.point_headers();
        self.stats.syscalls += 1;
        // SAFETY: `point_headers` has just made every header point to memory of this batch, with the lengths that this
        // memory has, and nothing else borrows it now. No timeout.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        };
        for ((header, name), control) in
            self.headers.iter().zip(&self.names).zip(&self.controls).take(count)
        {
            let received = read_header(header, name, control, self.buffer_bytes);
            self.stats.messages += 1;
            self.stats.datagrams += received.len.div_ceil(received.segment).max(1) as u64;
            self.stats.bytes += received.len as u64;
            self.stats.truncated += u64::from(received.truncated);
            self.received.push(received);
        }
        // The kernel's timestamps are of the wall clock, so the age of each is taken by the wall clock too.
        self.read_at = if self.received.iter().any(|r| r.stamp.is_some()) {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
        } else {
            Duration::ZERO
        };
        Ok(count)
    }

    /// Makes each header point to its buffer, name and control messages, with their full lengths. Needed before each
    /// call, because the kernel overwrites the lengths and the buffers were lent out in between.
    fn point_headers(&mut self) {
        let slots = self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.names);
        let buffers = self.buffers.chunks_exact_mut(self.buffer_bytes);
        for ((((header, vector), name), control), buffer) in
            slots.zip(&mut self.controls).zip(buffers)
        {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            let header = &mut header.msg_hdr;
            header.msg_name = name.as_mut_ptr();
            header.msg_namelen = Name::LEN;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr();
            header.msg_controllen = Control::LEN as _;
            header.msg_flags = 0;
        }
    }

    /// How many messages one call can receive.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// The messages of the last [`RecvBatch::recv`], in order of arrival.
    pub fn messages(&mut self) -> impl Iterator<Item = Message<'_>> {
        let buffers = self.buffers.chunks_exact_mut(self.buffer_bytes);
        let read_at = self.read_at;
        self.received.iter().zip(buffers).map(move |(received, buffer)| Message {
            age: received.stamp.map_or(Duration::ZERO, |stamp| read_at.saturating_sub(stamp)),
            path: received.path,
            data: &mut buffer[..received.len],
            segment: received.segment,
            truncated: received.truncated,
        })
    }

    /// The datagrams of all messages of the last [`RecvBatch::recv`], in order of arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        self.messages().flat_map(Message::datagrams)
    }

    /// What was received since the batch was made.
    pub fn stats(&self) -> RecvStats {
        self.stats
    }
}

// SAFETY: the raw pointers in the headers and vectors point into this batch only, and are written anew before each use.
unsafe impl Send for RecvBatch {}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("capacity", &self.capacity())
            .field("buffer_bytes", &self.buffer_bytes)
            .field("received", &self.received.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

pub(crate) fn empty_header() -> libc::mmsghdr {
    // SAFETY: integers and pointers, for which all zero is a value. Some platforms have private padding, hence no
    // literal.
    unsafe { mem::zeroed() }
}

#[inline]
fn read_header(
    header: &libc::mmsghdr,
    name: &Name,
    control: &Control,
    buffer_bytes: usize,
) -> Received {
    let flags = header.msg_hdr.msg_flags;
    let arrived = control.get(header.msg_hdr.msg_controllen as _);
    // A socket of an IP family always gives an address of that family. If it did not, the datagram gets the
    // unspecified address, which belongs to no session.
    let remote = name
        .get(header.msg_hdr.msg_namelen)
        .unwrap_or_else(|| (std::net::Ipv4Addr::UNSPECIFIED, 0).into());
    Received {
        path: Path { remote, local: arrived.local.unwrap_or_else(|| unspecified(&remote)) },
        // The kernel never returns more than fits, unless MSG_TRUNC is given.
        len: (header.msg_len as usize).min(buffer_bytes),
        segment: arrived.segment.unwrap_or(usize::MAX),
        // If control messages are missing, the segment size may be missing, and the datagrams cannot be separated.
        truncated: flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        stamp: arrived.stamp,
    }
}

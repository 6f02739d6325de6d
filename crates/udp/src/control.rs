//! Control messages (cmsg) of a datagram: its local address, the size of its segments, and its timestamp. Written and
//! read as bytes.
//!
//! The layout is the kernel's: length as a machine word, level, type, data, each message aligned to a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const WORD: usize = size_of::<usize>();
const HEADER: usize = size_of::<libc::cmsghdr>();
/// in6_pktinfo (20 bytes), a segment size (4 bytes) and a timespec (16 bytes), each with header and padding, take 96.
/// The rest is spare room for options that may be turned on for the whole machine.
const ROOM: usize = 128;

/// Room for the control messages of one datagram.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control([u8; ROOM]);

/// The control messages of a received message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// The local address that it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// The size of each segment except the last, if GRO joined several.
    pub(crate) segment: Option<usize>,
    /// When the kernel received it, since 1970.
    pub(crate) stamp: Option<Duration>,
}

impl Control {
    pub(crate) const LEN: usize = ROOM;

    pub(crate) fn new() -> Control {
        Control([0; ROOM])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Writes the control messages of a message to `remote`: its source address unless that is unspecified (or of the
    /// other family), and the size of its segments. Returns the length.
    #[inline]
    pub(crate) fn set(
        &mut self,
        remote: &SocketAddr,
        local: IpAddr,
        segment: Option<u16>,
    ) -> usize {
        let mut len = 0;
        match (remote, local) {
            (_, local) if local.is_unspecified() => {}
            (SocketAddr::V4(_), IpAddr::V4(local)) => {
                // in_pktinfo: interface (0: any), ipi_spec_dst (the source address when sending), ipi_addr (unused
                // when sending).
                let mut info = [0u8; 12];
                info[4..8].copy_from_slice(&local.octets());
                len = self.put(len, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (SocketAddr::V6(remote), IpAddr::V6(local)) => {
                // in6_pktinfo: address, interface. A link-local source needs its interface, which is that of the
                // remote.
                let mut info = [0u8; 20];
                info[..16].copy_from_slice(&local.octets());
                if local.is_unicast_link_local() {
                    info[16..].copy_from_slice(&remote.scope_id().to_ne_bytes());
                }
                len = self.put(len, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
        if let Some(segment) = segment {
            len = self.put(len, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        len
    }

    /// Writes one control message at `at`; returns where the next one begins.
    fn put(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        let end = at + HEADER + data.len();
        let next = aligned(end);
        self.0[at..at + WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        self.0[at + WORD..at + WORD + 4].copy_from_slice(&level.to_ne_bytes());
        self.0[at + WORD + 4..at + HEADER].copy_from_slice(&kind.to_ne_bytes());
        self.0[at + HEADER..end].copy_from_slice(data);
        self.0[end..next].fill(0);
        next
    }

    /// Reads the first `len` bytes, as the kernel wrote them.
    #[inline]
    pub(crate) fn get(&self, len: usize) -> Arrived {
        let mut arrived = Arrived::default();
        let mut rest = &self.0[..len.min(ROOM)];
        while let Some((level, kind, data, behind)) = split(rest) {
            match (level, kind) {
                // ipi_spec_dst and not ipi_addr: the latter may be a broadcast address, from which nothing can be
                // sent.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let ip = data.get(4..8).and_then(|ip| <[u8; 4]>::try_from(ip).ok());
                    arrived.local = ip.map(|ip| Ipv4Addr::from(ip).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let ip = data.get(..16).and_then(|ip| <[u8; 16]>::try_from(ip).ok());
                    arrived.local = ip.map(|ip| Ipv6Addr::from(ip).into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.get(..4).and_then(|size| <[u8; 4]>::try_from(size).ok());
                    arrived.segment = size
                        .and_then(|size| usize::try_from(libc::c_int::from_ne_bytes(size)).ok())
                        .filter(|size| *size > 0);
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => arrived.stamp = timespec(data),
                _ => {}
            }
            rest = behind;
        }
        arrived
    }
}

/// Two machine words: seconds and nanoseconds.
fn timespec(data: &[u8]) -> Option<Duration> {
    let word = |bytes: &[u8]| Some(u64::from_ne_bytes(bytes.try_into().ok()?));
    let (seconds, nanos) = (word(data.get(..8)?)?, word(data.get(8..16)?)?);
    Some(Duration::new(seconds, u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?))
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Level, type and data of the first control message, and the bytes behind it. `None` at the end, and for a wrong
/// length.
fn split(bytes: &[u8]) -> Option<(libc::c_int, libc::c_int, &[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<WORD>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    let len = usize::from_ne_bytes(*len);
    let data = bytes.get(HEADER..len)?;
    let behind = bytes.get(aligned(len)..).unwrap_or_default();
    Some((libc::c_int::from_ne_bytes(*level), libc::c_int::from_ne_bytes(*kind), data, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernels_macros() {
        assert_eq!(HEADER, WORD + 8);
        // SAFETY: pure arithmetic.
        let (space, len) = unsafe { (libc::CMSG_SPACE(20) as usize, libc::CMSG_LEN(20) as usize) };
        assert_eq!((aligned(HEADER + 20), HEADER + 20), (space, len));
        let mut control = Control::new();
        let used = control.set(&"[::1]:1".parse().unwrap(), "::1".parse().unwrap(), Some(1200));
        assert!(used <= ROOM / 2 && used.is_multiple_of(WORD));
    }

    #[test]
    fn a_source_address_is_read_as_it_was_written() {
        let mut control = Control::new();
        for (remote, local) in [("192.0.2.1:1", "127.0.0.2"), ("[2001:db8::1]:1", "2001:db8::2")] {
            let local: IpAddr = local.parse().unwrap();
            let len = control.set(&remote.parse().unwrap(), local, None);
            assert_eq!(control.get(len), Arrived { local: Some(local), ..Arrived::default() });
        }
    }

    #[test]
    fn no_source_address_where_none_is_known_or_it_is_of_the_other_family() {
        let mut control = Control::new();
        let remote: SocketAddr = "192.0.2.1:1".parse().unwrap();
        assert_eq!(control.set(&remote, "0.0.0.0".parse().unwrap(), None), 0);
        assert_eq!(control.set(&remote, "::".parse().unwrap(), None), 0);
        assert_eq!(control.set(&remote, "::1".parse().unwrap(), None), 0);
    }

    #[test]
    fn segment_sizes_of_gro_are_read_and_nonsense_is_not() {
        let mut control = Control::new();
        for (size, expected) in [(1200i32, Some(1200)), (0, None), (-5, None)] {
            let len = control.put(0, libc::SOL_UDP, libc::UDP_GRO, &size.to_ne_bytes());
            assert_eq!(control.get(len).segment, expected);
        }
    }

    #[test]
    fn lying_lengths_end_the_reading() {
        for lie in [0usize, 1, HEADER - 1, ROOM + 1, usize::MAX, usize::MAX - 3] {
            let mut control = Control::new();
            let len = control.put(0, libc::IPPROTO_IP, libc::IP_PKTINFO, &[1; 12]);
            control.0[..WORD].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(control.get(len), Arrived::default());
            assert_eq!(control.get(usize::MAX), Arrived::default());
        }
    }
}

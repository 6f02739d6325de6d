//! A UDP socket for a worker: non-blocking, with a shared port, and with the local address of each datagram.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use socket2::{Domain, Protocol, Socket, Type};

/// How to open a [`UdpSocket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpConfig {
    /// The address to bind; port 0 lets the kernel choose. An IPv6 socket takes IPv6 only (IPV6_V6ONLY), so that
    /// IPv4-mapped addresses never appear: open one socket per family.
    pub addr: SocketAddr,
    /// Share the port with other sockets of this user that do so too (SO_REUSEPORT); the kernel spreads the flows.
    pub reuse_port: bool,
    /// Bytes of the kernel's send buffer; `None` leaves the system's default. The kernel limits it to
    /// `net.core.wmem_max` unless the process may exceed that.
    pub send_buffer: Option<usize>,
    /// Bytes of the kernel's receive buffer; `None` leaves the system's default. Limited by `net.core.rmem_max` in the
    /// same way.
    pub recv_buffer: Option<usize>,
    /// Let the kernel join datagrams of one flow and size into one message (UDP_GRO).
    pub gro: bool,
    /// Let the kernel timestamp each message ([`Datagram::age`](crate::Datagram::age)). Without it a receiver that
    /// reads late would take its own delay for the network's.
    pub timestamps: bool,
    /// Send trains as one message that the kernel or the device splits (UDP_SEGMENT), if the kernel can.
    pub gso: bool,
}

impl UdpConfig {
    /// `addr` with GRO and GSO, a shared port, and the system's buffer sizes.
    pub fn new(addr: SocketAddr) -> UdpConfig {
        UdpConfig {
            addr,
            reuse_port: true,
            send_buffer: None,
            recv_buffer: None,
            gro: true,
            timestamps: false,
            gso: true,
        }
    }
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    gro: bool,
    gso: AtomicBool,
}

impl UdpSocket {
    /// Opens and binds a socket.
    ///
    /// # Errors
    /// `InvalidInput` for an IPv4-mapped IPv6 address; else the kernel's, such as `AddrInUse`. A kernel without GRO or
    /// GSO is no error: see [`UdpSocket::gro`] and [`UdpSocket::gso`].
    pub fn bind(config: &UdpConfig) -> io::Result<UdpSocket> {
        if let SocketAddr::V6(addr) = config.addr
            && addr.ip().to_ipv4_mapped().is_some()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{addr} is IPv4 in IPv6 form: bind the IPv4 address itself"),
            ));
        }
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(config.addr), kind, Some(Protocol::UDP))?;
        if config.addr.is_ipv6() {
            socket.set_only_v6(true)?;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            // Datagrams are never fragmented, and the path MTU is not lowered by ICMP ("fragmentation needed"), which
            // may be forged: the packetizer of the media chooses the size. A packet that may not be fragmented needs
            // no identification (RFC 6864 section 4.1), which costs the kernel a tenth of a single send.
            let probe = libc::IP_PMTUDISC_PROBE;
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        }
        if config.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let Some(bytes) = config.send_buffer {
            set_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes)?;
        }
        if let Some(bytes) = config.recv_buffer {
            set_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)?;
        }
        if config.timestamps {
            set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        }
        let gro = config.gro && set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        // Segment size 0 means "none", the default: setting it only tests whether the kernel knows the option.
        let gso = config.gso && set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        socket.bind(&config.addr.into())?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the kernel bound no IP address"))?;
        Ok(UdpSocket { socket, local, gro, gso: AtomicBool::new(gso) })
    }

    /// The bound address, with the port that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether received datagrams may be joined into trains.
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Whether trains are sent as one message. Off if the configuration turns it off or the kernel lacks it, and
    /// permanently off after a device refused one with `EIO`.
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// From now on trains are sent segment by segment.
    pub(crate) fn turn_gso_off(&self) {
        self.gso.store(false, Ordering::Relaxed);
    }

    /// Bytes of the kernel's send buffer, as granted. Linux includes its own bookkeeping: the value is twice what was
    /// asked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_buffer(&self) -> io::Result<usize> {
        self.socket.send_buffer_size()
    }

    /// Bytes of the kernel's receive buffer, as granted; see [`UdpSocket::send_buffer`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn recv_buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

pub(crate) fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option's value is an int, whose address and size are given; it is only read.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets a buffer's size, beyond the system's limit if the process may do that (CAP_NET_ADMIN).
fn set_buffer(
    socket: &Socket,
    force: libc::c_int,
    name: libc::c_int,
    bytes: usize,
) -> io::Result<()> {
    // The kernel doubles the value in an int.
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2);
    set_option(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, name, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> UdpConfig {
        UdpConfig::new(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn the_port_is_shared_only_among_sockets_with_reuse_port() {
        let first = UdpSocket::bind(&local(0)).unwrap();
        let port = first.local_addr().port();
        assert_ne!(port, 0);
        let second = UdpSocket::bind(&local(port)).unwrap();
        assert_eq!(second.local_addr(), first.local_addr());
        let alone = UdpConfig { reuse_port: false, ..local(port) };
        assert_eq!(UdpSocket::bind(&alone).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn buffers_are_as_large_as_asked() {
        let config =
            UdpConfig { send_buffer: Some(65_536), recv_buffer: Some(131_072), ..local(0) };
        let socket = UdpSocket::bind(&config).unwrap();
        assert!(socket.send_buffer().unwrap() >= 65_536);
        assert!(socket.recv_buffer().unwrap() >= 131_072);
    }

    #[test]
    fn offload_is_off_where_the_configuration_says_so() {
        let socket = UdpSocket::bind(&UdpConfig { gro: false, gso: false, ..local(0) }).unwrap();
        assert_eq!((socket.gro(), socket.gso()), (false, false));
    }

    #[test]
    fn mapped_addresses_are_refused() {
        let mapped = UdpConfig::new("[::ffff:127.0.0.1]:0".parse().unwrap());
        assert_eq!(UdpSocket::bind(&mapped).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn both_families_hold_the_same_port() {
        let Ok(v6) = UdpSocket::bind(&UdpConfig::new("[::]:0".parse().unwrap())) else {
            eprintln!("no IPv6 on this machine");
            return;
        };
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.local_addr().port()));
        assert!(UdpSocket::bind(&UdpConfig { reuse_port: false, ..UdpConfig::new(v4) }).is_ok());
    }
}

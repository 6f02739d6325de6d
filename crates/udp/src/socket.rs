//! A UDP socket as a worker needs it: non-blocking, sharing its port, telling which local address was reached.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// How to open a [`UdpSocket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpConfig {
    /// Where to listen; port 0 lets the kernel choose. An IPv6 socket takes IPv6 only (IPV6_V6ONLY), so that
    /// IPv4-mapped addresses never appear: open one socket per family.
    pub addr: SocketAddr,
    /// Share the port with other sockets of this user that say so too (SO_REUSEPORT); the kernel spreads the flows.
    pub reuse_port: bool,
    /// Bytes of the kernel's send buffer; `None` leaves the system's default. The kernel caps it at
    /// `net.core.wmem_max` unless the process may exceed that.
    pub send_buffer: Option<usize>,
    /// Bytes of the kernel's receive buffer; `None` leaves the system's default. Capped by `net.core.rmem_max` likewise.
    pub recv_buffer: Option<usize>,
    /// Let the kernel join datagrams of one flow and size into one message (UDP_GRO).
    pub gro: bool,
    /// Send trains as one message that the kernel or the device splits (UDP_SEGMENT), where the kernel can.
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
            gso: true,
        }
    }
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: socket2::Socket,
    local: SocketAddr,
    gro: bool,
    gso: AtomicBool,
}

impl UdpSocket {
    /// Opens and binds a socket.
    ///
    /// # Errors
    /// `InvalidInput` for an IPv4-mapped IPv6 address; else what the kernel says, such as `AddrInUse`. A kernel
    /// without GRO or GSO is no error: see [`UdpSocket::gro`] and [`UdpSocket::gso`].
    pub fn bind(config: &UdpConfig) -> io::Result<UdpSocket> {
        let _ = config;
        todo!()
    }

    /// Where the socket is bound, with the port that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether received datagrams may come joined.
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Whether trains leave as one message. Off when the configuration or the kernel says so, and for good after a
    /// device refused one with `EIO`.
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// Bytes of the kernel's send buffer, as granted (Linux counts its own bookkeeping in: twice what was asked).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_buffer(&self) -> io::Result<usize> {
        self.socket.send_buffer_size()
    }

    /// Bytes of the kernel's receive buffer, as granted; see [`UdpSocket::send_buffer`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn recv_buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

//! Receivers that nobody reads: their sockets are full at once and drop what comes. So packets go the whole way
//! through the kernel, and the receiver costs nothing more.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use model::Path;
use udp::{UdpConfig, UdpSocket};

/// This many sockets.
pub(crate) struct Sinks {
    sockets: Vec<UdpSocket>,
}

impl Sinks {
    /// Opens them in the namespace of the calling thread.
    ///
    /// # Errors
    /// The system refuses a socket; each one is an open file.
    pub(crate) fn open(count: usize, address: IpAddr) -> io::Result<Self> {
        let config = UdpConfig {
            reuse_port: false,
            // The kernel raises this to its smallest buffer.
            recv_buffer: Some(1),
            ..UdpConfig::new(SocketAddr::new(address, 0))
        };
        let sockets = (0..count).map(|_| UdpSocket::bind(&config)).collect::<io::Result<_>>()?;
        Ok(Self { sockets })
    }

    /// The paths from this address to them.
    pub(crate) fn paths(&self, local: IpAddr) -> Vec<Path> {
        self.sockets.iter().map(|sink| Path { remote: sink.local_addr(), local }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_sink_is_an_address_of_its_own() {
        let sinks = Sinks::open(3, Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut paths = sinks.paths(Ipv4Addr::LOCALHOST.into());
        paths.dedup_by_key(|path| path.remote);
        assert_eq!(paths.len(), 3);
    }
}

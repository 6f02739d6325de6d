//! Receivers that nobody reads: their sockets take what comes as viewers' sockets do, are full at once, and drop it. So the
//! way through the kernel is walked to its end, and nothing else is paid.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use model::Path;
use udp::{UdpConfig, UdpSocket};

/// So many sockets.
pub(crate) struct Sinks {
    sockets: Vec<UdpSocket>,
}

impl Sinks {
    /// Opens them where the calling thread is.
    ///
    /// # Errors
    /// What the system says to sockets: each is an open file.
    pub(crate) fn open(count: usize, address: IpAddr) -> io::Result<Self> {
        let config = UdpConfig {
            reuse_port: false,
            // The least that there is.
            recv_buffer: Some(1),
            ..UdpConfig::new(SocketAddr::new(address, 0))
        };
        let sockets = (0..count).map(|_| UdpSocket::bind(&config)).collect::<io::Result<_>>()?;
        Ok(Self { sockets })
    }

    /// The ways from this address to them.
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

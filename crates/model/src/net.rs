//! Network paths.

use std::net::{IpAddr, SocketAddr};

/// The path between a peer and the node: the peer's address, and the local address that it reached.
///
/// The local port is always the node's media port. Packets to the peer leave from the address that it reached, so a
/// node with several interfaces stays on the path that the peer checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address as the node sees it. IPv4 addresses are never in their IPv6-mapped form.
    pub remote: SocketAddr,
    /// The local address that the peer reached, as the kernel reports it; unspecified when the kernel does not.
    pub local: IpAddr,
}

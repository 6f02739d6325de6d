//! Network paths.

use std::net::{IpAddr, SocketAddr};

/// The way between a peer and the node: where the peer is, and which of our addresses it reached.
///
/// The local port is the node's one media port. Answers leave from the address that was reached, so a node with
/// several interfaces stays on the path that the peer checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address, as seen by us. IPv4 addresses are never in their IPv6-mapped form.
    pub remote: SocketAddr,
    /// Our own address that the peer reached, as the kernel sees it; unspecified when the kernel did not say.
    pub local: IpAddr,
}

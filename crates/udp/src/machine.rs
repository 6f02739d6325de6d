//! What the machine has: cores to pin threads to, and interface addresses to offer as ICE candidates.

use std::{io, net::IpAddr};

/// The cores that this process may use, ascending. Never empty: core 0 when the kernel does not say.
pub fn cores() -> Vec<usize> {
    todo!()
}

/// Binds the calling thread to one core.
///
/// # Errors
/// `InvalidInput` for a core number that no machine has, else what the kernel says (`EINVAL` for a core that is not
/// there or not allowed).
pub fn pin_to_core(core: usize) -> io::Result<()> {
    let _ = core;
    todo!()
}

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// The address; an IPv6 link-local one comes without its scope.
    pub address: IpAddr,
    /// The interface is up (IFF_UP).
    pub up: bool,
    /// The interface is a loopback (IFF_LOOPBACK).
    pub loopback: bool,
}

/// All IPv4 and IPv6 addresses of all interfaces, in the kernel's order.
///
/// # Errors
/// What getifaddrs says.
pub fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    todo!()
}

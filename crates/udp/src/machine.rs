//! The machine's cores, to pin threads to, and its interface addresses, to offer as ICE candidates.

use std::{
    ffi::CStr,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

/// The cores that this process may use, ascending. Never empty: core 0 if the kernel does not tell.
pub fn cores() -> Vec<usize> {
    let mut set = empty_set();
    // SAFETY: `set` is a valid cpu_set_t of the size given, and the kernel fills it. 0 is the calling thread.
    let done = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if done != 0 {
        return vec![0];
    }
    (0..libc::CPU_SETSIZE as usize)
        .filter(|&core| {
            // SAFETY: `core` is below CPU_SETSIZE, the number of bits of the set.
            unsafe { libc::CPU_ISSET(core, &set) }
        })
        .collect()
}

/// Binds the calling thread to one core.
///
/// # Errors
/// `InvalidInput` for a core number beyond those that Linux supports, else the kernel's (`EINVAL` for a core that does
/// not exist or is not allowed).
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no core {core}")));
    }
    let mut set = empty_set();
    // SAFETY: `core` is below CPU_SETSIZE, the number of bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a valid cpu_set_t of the size given, and is only read. 0 is the calling thread.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers; all zero is the empty set.
    unsafe { mem::zeroed() }
}

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// The address; an IPv6 link-local address has no scope here.
    pub address: IpAddr,
    /// Whether the interface is up (IFF_UP).
    pub up: bool,
    /// Whether the interface is a loopback (IFF_LOOPBACK).
    pub loopback: bool,
}

/// All IPv4 and IPv6 addresses of all interfaces, in the kernel's order.
///
/// # Errors
/// That of getifaddrs.
pub fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: getifaddrs writes the head of a list that it allocates.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next: *const libc::ifaddrs = first;
    // SAFETY: every pointer of the list is null or valid until freeifaddrs below.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: ifa_addr is null or a socket address of the length that its family has.
        if let Some(address) = unsafe { address_of(entry.ifa_addr) } {
            // SAFETY: ifa_name is a C string that lives as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            found.push(InterfaceAddress {
                name: name.to_string_lossy().into_owned(),
                address,
                up: entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0,
                loopback: entry.ifa_flags & libc::IFF_LOOPBACK as libc::c_uint != 0,
            });
        }
        next = entry.ifa_next;
    }
    // SAFETY: `first` came from getifaddrs, is freed once, and nothing borrowed from the list is left.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// # Safety
/// `address` is null, or points to a family and, for the families of IP, to a complete address of it.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so at least the family is there. Read unaligned, because no alignment is promised.
    match libc::c_int::from(unsafe { ptr::read_unaligned(&raw const (*address).sa_family) }) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in.
            let v4 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6.
            let v6 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_one_of_its_cores() {
        let all = cores();
        assert!(!all.is_empty() && all.is_sorted());
        let last = *all.last().unwrap();
        std::thread::spawn(move || {
            pin_to_core(last).unwrap();
            assert_eq!(cores(), [last]);
        })
        .join()
        .unwrap();
        assert_eq!(cores(), all, "other threads are left alone");
    }

    #[test]
    fn cores_that_are_not_there_are_refused() {
        assert_eq!(pin_to_core(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(pin_to_core(libc::CPU_SETSIZE as usize - 1).is_err());
    }

    #[test]
    fn the_loopback_is_found() {
        let all = interface_addresses().unwrap();
        let lo = all.iter().find(|a| a.address == IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap();
        assert_eq!((lo.name.as_str(), lo.up, lo.loopback), ("lo", true, true));
    }
}

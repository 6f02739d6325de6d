//! Socket addresses in the kernel's layout: `sockaddr_in` and `sockaddr_in6`, written and read as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The length of a `sockaddr_in6`, the longer of the two.
const LEN: usize = size_of::<libc::sockaddr_in6>();
const LEN_V4: usize = size_of::<libc::sockaddr_in>();

/// Room for one address.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Name([u8; LEN]);

impl Name {
    pub(crate) const LEN: libc::socklen_t = LEN as libc::socklen_t;

    pub(crate) fn new() -> Name {
        Name([0; LEN])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Writes `address`; returns the length that it takes.
    #[inline]
    pub(crate) fn set(&mut self, address: SocketAddr) -> libc::socklen_t {
        self.0 = [0; LEN];
        self.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                self.set_family(libc::AF_INET);
                self.0[4..8].copy_from_slice(&v4.ip().octets());
                LEN_V4 as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                self.set_family(libc::AF_INET6);
                self.0[8..24].copy_from_slice(&v6.ip().octets());
                self.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                Name::LEN
            }
        }
    }

    fn set_family(&mut self, family: libc::c_int) {
        self.0[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    }

    /// Reads the address that the kernel wrote; `None` for another family or if the length is too short.
    ///
    /// The flow label is ignored, so that one peer has one address whatever labels its packets carry.
    #[inline]
    pub(crate) fn get(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        let len = len as usize;
        let family = libc::c_int::from(libc::sa_family_t::from_ne_bytes([self.0[0], self.0[1]]));
        let port = u16::from_be_bytes([self.0[2], self.0[3]]);
        if family == libc::AF_INET && len >= LEN_V4 {
            let ip: [u8; 4] = self.0[4..8].try_into().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
        } else if family == libc::AF_INET6 && len >= LEN {
            let ip: [u8; 16] = self.0[8..24].try_into().ok()?;
            let scope = u32::from_ne_bytes(self.0[24..28].try_into().ok()?);
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope)))
        } else {
            None
        }
    }
}

/// The unspecified address of the family of `remote`.
pub(crate) fn unspecified(remote: &SocketAddr) -> IpAddr {
    match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.7:65535", "0.0.0.0:0", "[2001:db8::1]:443", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::new();
            let len = name.set(address);
            assert_eq!(name.get(len), Some(address), "{text}");
        }
    }

    #[test]
    fn a_reused_name_keeps_nothing_of_the_former_address() {
        let mut name = Name::new();
        name.set("[fe80::ffff%7]:1".parse().unwrap());
        let plain: SocketAddr = "[2001:db8::]:2".parse().unwrap();
        let len = name.set(plain);
        assert_eq!(name.get(len), Some(plain));
    }

    #[test]
    fn foreign_families_and_short_names_are_nothing() {
        let mut name = Name::new();
        assert_eq!(name.get(0), None);
        let len = name.set("192.0.2.7:1".parse().unwrap());
        assert_eq!(name.get(len - 1), None);
        name.set_family(libc::AF_UNIX);
        assert_eq!(name.get(len), None);
    }
}

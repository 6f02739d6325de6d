//! The kernel's table of numbers by remote address, which the program on a port reads.

use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use crate::bpf;

/// An address of 16 bytes, a port of 2 in network byte order, 2 of padding.
const KEY: usize = 20;
/// Offset of the 4 bytes of an IPv4 address in a key: at the end of an IPv4-mapped IPv6 address (RFC 4291 section
/// 2.5.5.2).
pub(super) const KEY_IPV4: usize = 12;
/// Offset of the port in a key.
pub(super) const KEY_PORT: usize = 16;

/// Numbers of remote addresses, of both families. The table is a map in the kernel, with a limited number of entries.
/// When it is full, or nearly so, the entries that were used least recently are forgotten, and their datagrams go
/// where they would go without a table.
///
/// Clones are the same table, and any thread may change it. A change takes effect with the next datagram.
#[derive(Debug, Clone)]
pub struct Table {
    map: Arc<OwnedFd>,
}

impl Table {
    /// An empty table. The kernel takes the memory at once: some 100 bytes for each of `entries` (at least 1).
    ///
    /// # Errors
    /// The kernel's: `EPERM` without CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN), also if the memory is over
    /// RLIMIT_MEMLOCK (before 5.11); `ENOSYS` if bpf(2) is missing or hidden; `EINVAL` for 0 entries; `ENOMEM`.
    pub fn new(entries: u32) -> io::Result<Table> {
        let map = bpf::lru_map(KEY as u32, size_of::<u32>() as u32, entries)?;
        Ok(Table { map: Arc::new(map) })
    }

    /// Sets the number of datagrams from `remote`. The scope of a link-local address is ignored.
    ///
    /// # Errors
    /// The kernel's: `ENOMEM` if all entries are in use by other processors at this moment.
    pub fn set(&self, remote: SocketAddr, number: u32) -> io::Result<()> {
        bpf::update(&self.map, &key(remote), &number.to_ne_bytes())
    }

    /// The number of `remote`; `None` if it has none, or the table has forgotten it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get(&self, remote: SocketAddr) -> io::Result<Option<u32>> {
        match bpf::lookup(&self.map, &key(remote)) {
            Ok(number) => Ok(Some(u32::from_ne_bytes(number))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the number of `remote`, if it has one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, remote: SocketAddr) -> io::Result<()> {
        match bpf::delete(&self.map, &key(remote)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn map(&self) -> &OwnedFd {
        &self.map
    }
}

fn key(remote: SocketAddr) -> [u8; KEY] {
    let address = match remote {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped(),
        SocketAddr::V6(v6) => *v6.ip(),
    };
    let mut key = [0; KEY];
    key[..KEY_PORT].copy_from_slice(&address.octets());
    key[KEY_PORT..KEY_PORT + 2].copy_from_slice(&remote.port().to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::table_or_skip;

    fn remote(number: u32) -> SocketAddr {
        let port = number as u16 | 1;
        if number.is_multiple_of(2) {
            (std::net::Ipv4Addr::from(number), port).into()
        } else {
            (std::net::Ipv6Addr::from(u128::from(number) << 64), port).into()
        }
    }

    #[test]
    fn numbers_are_kept_until_they_are_changed_or_removed() {
        let Some(table) = table_or_skip(1_024) else { return };
        for number in 0..100 {
            assert_eq!(table.get(remote(number)).unwrap(), None);
            table.set(remote(number), number).unwrap();
        }
        let other = table.clone();
        other.set(remote(7), 700).unwrap();
        table.remove(remote(8)).unwrap();
        table.remove(remote(8)).unwrap();
        for number in 0..100 {
            let expected = match number {
                7 => Some(700),
                8 => None,
                number => Some(number),
            };
            assert_eq!(other.get(remote(number)).unwrap(), expected);
        }
    }

    #[test]
    fn one_address_has_a_number_for_each_of_its_ports() {
        let Some(table) = table_or_skip(64) else { return };
        table.set("192.0.2.1:1000".parse().unwrap(), 1).unwrap();
        table.set("192.0.2.1:1001".parse().unwrap(), 2).unwrap();
        assert_eq!(table.get("192.0.2.1:1000".parse().unwrap()).unwrap(), Some(1));
        assert_eq!(table.get("192.0.2.1:1001".parse().unwrap()).unwrap(), Some(2));
        assert_eq!(table.get("192.0.2.1:1002".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_full_table_forgets_and_takes_in() {
        let Some(table) = table_or_skip(1_024) else { return };
        for number in 0..10_000 {
            table.set(remote(number), number).unwrap();
            assert_eq!(table.get(remote(number)).unwrap(), Some(number));
        }
        let known = (0..10_000).filter(|n| table.get(remote(*n)).unwrap() == Some(*n)).count();
        assert!((256..=1_024).contains(&known), "{known} of 1,024");
    }

    #[test]
    fn a_table_without_entries_is_refused() {
        assert!(Table::new(0).is_err());
    }
}

//! Which addresses the node connects to on its own account. An address that leads into a private network, to this machine or to the
//! metadata service of a cloud is refused unless the operator named its range: the name in a URL may be pointed anywhere by whoever owns
//! the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::client::Network;

/// Special-purpose IPv4 ranges (RFC 6890 and the registry of IANA): this network, private use, shared (carrier NAT), loopback, link-local,
/// protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved, broadcast.
const FORBIDDEN_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// The same for IPv6: unspecified, loopback and IPv4-compatible, IPv4-mapped, NAT64, discard-only, protocol assignments with Teredo,
/// documentation, 6to4, segment routing, unique local, link-local, site-local, multicast.
const FORBIDDEN_V6: [([u16; 8], u8); 14] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Metadata services of clouds: they give credentials to whoever can reach them. A range that the operator allows does not hold them; each
/// has to be named by itself.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether the node may connect to this address. `allowed`: the ranges that the operator named.
pub(crate) fn is_allowed(address: IpAddr, allowed: &[Network]) -> bool {
    let is_named = |address| allowed.iter().any(|network| network.holds(address));
    let open = match METADATA.contains(&address) {
        true => allowed.iter().any(|network| network.is_only(address)),
        false => !is_forbidden(address) || is_named(address),
    };
    // An IPv4 address inside of an IPv6 one is where the packets end up, so it is checked as well, even in a range that was named.
    open && embedded(address).is_none_or(|inner| is_allowed(IpAddr::V4(inner), allowed))
}

fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => FORBIDDEN_V4.iter().any(|(range, len)| {
            let shift = 32 - u32::from(*len);
            v4.to_bits() >> shift == Ipv4Addr::from(*range).to_bits() >> shift
        }),
        IpAddr::V6(v6) => FORBIDDEN_V6.iter().any(|(range, len)| {
            let shift = 128 - u32::from(*len);
            v6.to_bits() >> shift == Ipv6Addr::from(*range).to_bits() >> shift
        }),
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (RFC 6052 section 2.2), 6to4 (RFC 3056 section 2),
/// Teredo (RFC 4380 section 4).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        // The unspecified address and loopback are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        // NAT64 with a prefix of 48 bits: the address stands around an octet of zeros.
        [0x64, 0xff9b, 1, high, low, last, ..] => Some(join(high, (low << 8) | (last >> 8))),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(address: &str, ranges: &[&str]) -> bool {
        let ranges: Vec<Network> = ranges.iter().map(|text| text.parse().unwrap()).collect();
        is_allowed(address.parse().unwrap(), &ranges)
    }

    // Threats, rows 1 to 3 and 46.
    #[test]
    fn special_addresses_are_refused_in_every_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::a00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allowed(address, &[]), "{address}");
        }
        for address in [
            "8.8.8.8",
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:200::1",
            "2003::1",
            "4000::1",
        ] {
            assert!(allowed(address, &[]), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_ranges_by_name() {
        assert!(allowed("10.1.2.3", &["10.0.0.0/8"]) && !allowed("172.16.0.1", &["10.0.0.0/8"]));
        assert!(allowed("127.0.0.1", &["127.0.0.1"]) && !allowed("127.0.0.2", &["127.0.0.1"]));
        assert!(allowed("fd12::1", &["fd00::/8"]) && allowed("::1", &["::1"]));
        // What stands inside of an address is checked again, whatever the range outside.
        assert!(allowed("64:ff9b::808:808", &["64:ff9b::/96"]));
        for inner in ["64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"] {
            assert!(!allowed(inner, &["64:ff9b::/96"]), "{inner}");
        }
        assert!(allowed("64:ff9b::a00:1", &["64:ff9b::/96", "10.0.0.0/8"]));
        assert!(!allowed("64:ff9b:1:a00:0:100::", &["64:ff9b:1::/48"]));
        assert!(allowed("64:ff9b:1:808:8:800::", &["64:ff9b:1::/48"]));
        assert!(
            !allowed("2002:a00:1::1", &["2002::/16"]) && allowed("2002:808:808::1", &["2002::/16"])
        );
        assert!(!allowed("2001::f5ff:fffe", &["2001::/32"]), "Teredo of 10.0.0.1");
        assert!(allowed("2001::f7f7:f7f7", &["2001::/32"]), "Teredo of 8.8.8.8");
    }

    #[test]
    fn metadata_services_are_opened_one_by_one_only() {
        for (address, range) in [
            ("169.254.169.254", "169.254.0.0/16"),
            ("100.100.100.200", "100.64.0.0/10"),
            ("168.63.129.16", "0.0.0.0/0"),
            ("192.0.0.192", "192.0.0.0/24"),
            ("fd00:ec2::254", "fd00::/8"),
        ] {
            assert!(!allowed(address, &[range]), "{address}");
            assert!(allowed(address, &[address]), "{address}");
        }
    }
}

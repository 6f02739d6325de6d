//! The addresses of the media port that clients are told: chosen from those of the machine and those of the
//! configuration.

use std::net::IpAddr;

use udp::InterfaceAddress;

use crate::config::MediaSettings;

/// More candidates only make the checks slower.
const MAX_ADDRESSES: usize = 16;

/// The addresses for the candidates of every answer, the preferred one first.
///
/// Those of the configuration, if it has any; otherwise those of the interfaces that are up, IPv4 before IPv6, without
/// link-local ones. `local` adds loopback: browsers on this machine may gather only loopback candidates, or only those
/// of real interfaces.
pub(crate) fn addresses(
    settings: &MediaSettings,
    interfaces: &[InterfaceAddress],
    local: bool,
) -> Vec<IpAddr> {
    if !settings.advertise.is_empty() {
        return settings.advertise.clone();
    }
    let bound = |ip: IpAddr| {
        settings.bind.is_empty()
            || settings.bind.iter().any(|&bind| {
                bind == ip || (bind.is_unspecified() && bind.is_ipv4() == ip.is_ipv4())
            })
    };
    let named = |name: &str| {
        settings.interfaces.is_empty() || settings.interfaces.iter().any(|wanted| wanted == name)
    };
    let mut found: Vec<(u8, IpAddr)> = interfaces
        .iter()
        .filter(|i| i.up && bound(i.address))
        .filter(|i| if i.address.is_loopback() { local } else { named(&i.name) })
        .filter(|i| !is_useless(i.address))
        .map(|i| (rank(i.address), i.address))
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    let mut addresses = Vec::new();
    for (_, address) in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

fn rank(ip: IpAddr) -> u8 {
    match (ip.is_loopback(), ip) {
        (false, IpAddr::V4(_)) => 0,
        (false, IpAddr::V6(_)) => 1,
        (true, IpAddr::V4(_)) => 2,
        (true, IpAddr::V6(_)) => 3,
    }
}

/// Whether clients cannot use the address: it is link-local, which needs a scope, or does not belong to one machine.
fn is_useless(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.to_ipv4_mapped().is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<InterfaceAddress> {
        [
            ("lo", "127.0.0.1", true),
            ("lo", "::1", true),
            ("eth0", "2001:db8::5", true),
            ("eth0", "192.0.2.5", true),
            ("eth0", "fe80::1", true),
            ("eth1", "198.51.100.7", true),
            ("eth1", "198.51.100.7", true),
            ("eth2", "203.0.113.1", false),
            ("eth3", "169.254.3.4", true),
        ]
        .into_iter()
        .map(|(name, address, up)| InterfaceAddress {
            name: name.into(),
            address: address.parse().unwrap(),
            up,
            loopback: name == "lo",
        })
        .collect()
    }

    fn settings(advertise: &[&str], bind: &[&str], interfaces: &[&str]) -> MediaSettings {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        MediaSettings {
            port: 0,
            bind: parse(bind),
            advertise: parse(advertise),
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            workers: None,
            bounds: crate::config::MediaBounds::default(),
            pin: false,
            consent: transport::Consent::default(),
        }
    }

    fn found(settings: &MediaSettings, local: bool) -> Vec<String> {
        addresses(settings, &machine(), local).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn interfaces_are_told_once_each_and_loopback_to_this_machine_alone() {
        let all = settings(&[], &[], &[]);
        assert_eq!(found(&all, false), ["192.0.2.5", "198.51.100.7", "2001:db8::5"]);
        assert_eq!(
            found(&all, true),
            ["192.0.2.5", "198.51.100.7", "2001:db8::5", "127.0.0.1", "::1"]
        );
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        assert_eq!(found(&settings(&["203.0.113.9"], &[], &[]), true), ["203.0.113.9"]);
        assert_eq!(found(&settings(&[], &[], &["eth1"]), false), ["198.51.100.7"]);
        assert_eq!(found(&settings(&[], &["0.0.0.0"], &["eth0"]), false), ["192.0.2.5"]);
        assert_eq!(found(&settings(&[], &["127.0.0.1"], &[]), true), ["127.0.0.1"]);
        assert!(found(&settings(&[], &["127.0.0.1"], &[]), false).is_empty());
    }
}

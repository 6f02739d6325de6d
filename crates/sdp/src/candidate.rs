//! ICE candidates (RFC 8839 section 5.1): the peer's, which are parsed leniently, and ours, which are host candidates
//! only.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

/// The number of candidates that are kept of one description; further ones are ignored.
pub const MAX_CANDIDATES: usize = 64;

/// Parses the value of an `a=candidate` line. Only UDP candidates with a literal address can be used. All others, and
/// those that do not parse, give `None` and are dropped silently (RFC 9725 section 4.3.2). Names (`.local` and others)
/// are never resolved.
pub fn parse(value: &str) -> Option<SocketAddr> {
    // RFC 8839 section 5.1: foundation component transport priority address port "typ" type ...
    let mut fields = value.split_ascii_whitespace();
    let _foundation = fields.next()?;
    let component: u16 = fields.next()?.parse().ok()?;
    let transport = fields.next()?;
    let _priority: u32 = fields.next()?.parse().ok()?;
    let address: IpAddr = fields.next()?.parse().ok()?;
    let port: u16 = fields.next()?.parse().ok()?;
    if component != 1 || port == 0 || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    (fields.next()? == "typ").then_some(SocketAddr::new(address, port))
}

/// Writes our addresses as `a=candidate` lines, the preferred one first, and `a=end-of-candidates` after them.
pub fn write_hosts(out: &mut String, addresses: &[SocketAddr]) -> fmt::Result {
    for (at, address) in addresses.iter().enumerate() {
        write!(out, "a=candidate:{} 1 udp {} ", foundation(addresses, at), host_priority(at))?;
        write!(out, "{} {} typ host\r\n", address.ip(), address.port())?;
    }
    out.write_str("a=end-of-candidates\r\n")
}

/// RFC 8445 section 5.1.2.1: 2^24 * type preference + 2^8 * local preference + 256 - component. The type preference of
/// host candidates is 126 (section 5.1.2.2); the local preference decreases with the position in the list.
fn host_priority(at: usize) -> u32 {
    let local = 65_535 - u32::try_from(at).unwrap_or(u32::MAX).min(65_535);
    (126 << 24) | (local << 8) | (256 - 1)
}

/// RFC 8445 section 5.1.1.3: candidates of the same type and base address share a foundation.
fn foundation(addresses: &[SocketAddr], at: usize) -> usize {
    1 + addresses.iter().take(at).position(|a| a.ip() == addresses[at].ip()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_udp_candidates_with_literal_addresses_only() {
        let ok = "842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0";
        assert_eq!(parse(ok), Some("203.0.113.7:46154".parse().unwrap()));
        assert_eq!(
            parse("1 1 UDP 2122 2001:db8::7 9000 typ host"),
            Some("[2001:db8::7]:9000".parse().unwrap())
        );
        for useless in [
            "1 1 udp 2122 3f1c9e3e-1111-4a2b-8a71-5f1f7d3cbb4e.local 5000 typ host",
            "1 2 udp 2122 192.0.2.1 5000 typ host",
            "1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "1 1 udp 2122 192.0.2.1 0 typ host",
            "1 1 udp 99999999999 192.0.2.1 5000 typ host",
            "1 1 udp 2122 192.0.2.1 5000",
            "",
        ] {
            assert_eq!(parse(useless), None, "{useless}");
        }
    }

    #[test]
    fn our_candidates_are_numbered_and_ranked() {
        let list: Vec<SocketAddr> =
            ["198.51.100.1:7000", "[2001:db8::1]:7000", "198.51.100.1:7001"]
                .map(|a| a.parse().unwrap())
                .into();
        let mut out = String::new();
        write_hosts(&mut out, &list).unwrap();
        assert_eq!(
            out,
            "a=candidate:1 1 udp 2130706431 198.51.100.1 7000 typ host\r\n\
             a=candidate:2 1 udp 2130706175 2001:db8::1 7000 typ host\r\n\
             a=candidate:1 1 udp 2130705919 198.51.100.1 7001 typ host\r\n\
             a=end-of-candidates\r\n"
        );
    }
}

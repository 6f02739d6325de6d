//! The client's address of a request that came through proxies: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Any client can write these fields. So they are read only if the connection comes from a proxy that the operator
//! trusts, and only as far as trusted proxies wrote them: from the right, up to the first address that is not one of
//! theirs. The scheme that the client used (`proto`, `X-Forwarded-Proto`) is not read: no answer contains an absolute
//! URL of the node, `Location` is a path.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// A network as in `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address is in the network. An IPv4-mapped address is an IPv6 address here.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the network is this address and no other.
    pub(crate) fn is_only(&self, address: IpAddr) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len() && self.0.addr() == address
    }
}

/// A text that is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkError;

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network is an IP address, with or without a prefix length, as in 10.0.0.0/8")
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self).map_err(|_| NetworkError)
    }
}

/// Whether the address is in one of the networks.
pub(crate) fn is_in(networks: &[Network], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.0.contains(&address))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Hops that are read of a header. Real deployments have fewer proxies; the bound limits the work for a hostile
/// header.
const MAX_HOPS: usize = 32;

/// The address that a request comes from: the rightmost one that does not belong to a trusted proxy. `peer`: the other
/// end of the connection.
pub(crate) fn address(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_in(trusted, peer) {
        return peer;
    }
    let forwarded = walk(trusted, peer, &hops(headers, &FORWARDED, forwarded_for));
    let x_forwarded_for = walk(trusted, peer, &hops(headers, &X_FORWARDED_FOR, bare));
    match (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR)) {
        (true, true) if forwarded == x_forwarded_for => forwarded,
        // Most proxies write one of the two fields and pass the other one on as the client sent it, and it cannot be
        // seen which is which. If the client's were believed, the client could choose its address and escape its rate
        // limit. So the request counts as the proxy's own.
        (true, true) => peer,
        (true, false) => forwarded,
        (false, true) => x_forwarded_for,
        (false, false) => peer,
    }
}

/// The hops from right to left; `None` for a hop without an address.
fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    // Several fields of a name are one list (RFC 9110 section 5.3).
    let fields = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let fields: Vec<&str> = fields.collect();
    let from_right = fields.iter().rev().flat_map(|field| field.rsplit(','));
    from_right.take(MAX_HOPS).map(|hop| read(hop.trim())).collect()
}

/// Walks from hop to hop as long as the writer of the hop is trusted.
fn walk(trusted: &[Network], peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
    let mut at = peer;
    for hop in hops {
        match hop {
            Some(address) if is_in(trusted, at) => at = *address,
            _ => break,
        }
    }
    at
}

/// The `for` of a forwarded-element (RFC 7239 section 4). "unknown" and obfuscated names have no address (section 6).
/// A comma inside of quotes would cut an element in two; no address has one.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut fors = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = fors.next()?;
    let value = value.trim();
    bare(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
}

/// An address, alone or with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn bare(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _port)) => v6.parse().ok(),
        None => text.parse().ok().or_else(|| text.split_once(':')?.0.parse().ok()),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let trusted =
            ["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        address(&trusted, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        const X: &str = "x-forwarded-for";
        for (peer, fields, client) in [
            ("10.0.0.1", &[(X, "192.0.2.1")][..], "192.0.2.1"),
            ("::ffff:10.0.0.1", &[(X, "192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", &[(X, "6.6.6.6, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
            ("10.0.0.1", &[(X, "6.6.6.6"), (X, "192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", &[(X, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(X, "192.0.2.1:4711")], "192.0.2.1"),
            ("10.0.0.1", &[(X, "2001:db8::7")], "2001:db8::7"),
            ("2001:db8:1::1", &[(X, "[2001:db8::7]:4711")], "2001:db8::7"),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1;proto=https;by=10.0.0.1")], "192.0.2.1"),
            ("10.0.0.1", &[("forwarded", "For=\"[2001:db8::7]:4711\"")], "2001:db8::7"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6, for=192.0.2.1, for=10.0.0.2")], "192.0.2.1"),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1"), (X, "192.0.2.1")], "192.0.2.1"),
        ] {
            assert_eq!(from(peer, fields), client, "{peer} {fields:?}");
        }
    }

    #[test]
    fn hops_that_no_trusted_proxy_wrote_are_not_believed() {
        const X: &str = "x-forwarded-for";
        for (peer, fields, client) in [
            ("192.0.2.9", &[(X, "192.0.2.1")][..], "192.0.2.9"),
            ("192.0.2.9", &[("forwarded", "for=192.0.2.1")], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // When the two fields disagree, one of them may be the client's own.
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6"), (X, "192.0.2.1")], "10.0.0.1"),
            // A hop without an address ends the walk: nothing further left can be trusted.
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1, for=unknown")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1, for=_hidden, for=10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[(X, "nonsense")], "10.0.0.1"),
            ("10.0.0.1", &[(X, "")], "10.0.0.1"),
        ] {
            assert_eq!(from(peer, fields), client, "{peer} {fields:?}");
        }
        let many = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(from("10.0.0.1", &[(X, &format!("6.6.6.6,{many}"))]), "10.0.0.2");
    }

    #[test]
    fn networks_are_addresses_with_or_without_a_length() {
        for text in ["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "::1"] {
            assert!(text.parse::<Network>().is_ok(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }
}

//! Checks the host name of requests, against DNS rebinding: a page of any site can let a name of its own resolve to
//! this machine. For the browser the node then has that page's origin, and no CORS rule keeps the page from reading
//! answers. A node that requires no tokens because only this machine can reach it has to check the name.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::IntoResponse;

use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// Refuses requests to foreign host names, if so configured.
pub(crate) async fn known_names(
    State(signaling): State<Signaling>,
    request: Request,
    next: Next,
) -> Response<axum::body::Body> {
    if signaling.config().local_names_only && !names_this_machine(&request) {
        // RFC 9110 section 15.5.20.
        return Problem::new(ProblemKind::MISDIRECTED_REQUEST,
            "Without authentication the node answers to localhost and to IP addresses only. For other names set \
             auth.keys, or auth.insecure_no_auth = true.",
        )
        .into_response();
    }
    next.run(request).await
}

/// Whether the request is for `localhost` or an IP address. A rebound name is neither. A request without a host name
/// does not come from a browser.
fn names_this_machine(request: &Request) -> bool {
    // An absolute target takes precedence over the field (RFC 9112 section 3.2.2); here both have to be local.
    let target = request.uri().host();
    let fields = request.headers().get_all(HOST).iter();
    target.is_none_or(is_local)
        && fields.map(|value| value.to_str().ok()).all(|value| value.is_some_and(is_local))
}

/// `host` or `host:port`, IPv6 addresses in brackets (RFC 3986 section 3.2.2).
fn is_local(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _port)) => v6,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // RFC 6761 section 6.3: browsers resolve all these names to loopback without DNS.
    name == "localhost" || name.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_and_addresses_are_local() {
        for host in
            ["localhost", "LocalHost:8080", "a.localhost", "127.0.0.1:1", "[::1]:8080", "192.0.2.1"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "[evil.example]",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}

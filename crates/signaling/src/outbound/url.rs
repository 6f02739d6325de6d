//! URLs that the node sends requests to.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderValue, Uri};

/// Most bytes of a URL.
const URL_MAX: usize = 2_048;

/// An absolute `https` URL, or an `http` URL, which is only good for addresses of this machine. `Debug` and `Display` show the origin
/// alone: path and query of such URLs are secrets more often than not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OutboundUrl {
    https: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

/// A text that is no [`OutboundUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundUrlError;

impl fmt::Display for OutboundUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an https URL, as in https://app.example/path (http for this machine only)")
    }
}

impl std::error::Error for OutboundUrlError {}

impl FromStr for OutboundUrl {
    type Err = OutboundUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > URL_MAX {
            return Err(OutboundUrlError);
        }
        let uri: Uri = text.parse().map_err(|_| OutboundUrlError)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(OutboundUrlError),
        };
        let authority = uri.authority().ok_or(OutboundUrlError)?;
        // A password in a URL is not sent, so it would only be kept.
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(OutboundUrlError);
        }
        let port = match (authority.port_u16(), https) {
            (Some(port), _) => port,
            // There is a port, and it is none.
            (None, _) if authority.as_str() != authority.host() => return Err(OutboundUrlError),
            (None, true) => 443,
            (None, false) => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            https,
            // RFC 3986 section 3.2.2: an IPv6 address stands in brackets.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.as_str().parse().map_err(|_| OutboundUrlError)?,
            path: path.parse().map_err(|_| OutboundUrlError)?,
        })
    }
}

impl OutboundUrl {
    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Host name or IP address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The whole URL, which may be a secret.
    pub(crate) fn whole(&self) -> String {
        format!("{self}{}", self.path)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Host` (RFC 9110 section 7.2).
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Path and query (RFC 9112 section 3.2.1).
    pub(super) fn path(&self) -> &Uri {
        &self.path
    }
}

impl fmt::Display for OutboundUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority.to_str().unwrap_or_default())
    }
}

impl fmt::Debug for OutboundUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/..")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_absolute_and_without_a_password() {
        let url: OutboundUrl = "https://app.example:8443/a/b?c=secret#d".parse().unwrap();
        assert!(url.is_https());
        assert_eq!((url.host(), url.port()), ("app.example", 8443));
        assert_eq!(url.path().to_string(), "/a/b?c=secret");
        assert_eq!(format!("{url:?}"), "https://app.example:8443/..");
        let url: OutboundUrl = "http://[::1]".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path().to_string()), ("::1", 80, "/".to_owned()));
        let long = format!("https://a.example/{}", "x".repeat(URL_MAX));
        for bad in [
            "",
            "app.example",
            "/path",
            "ftp://a.example/",
            "https://",
            "https://u:p@a.example/",
            "https://a.example:99999/",
            "https://a b/",
            "file:///etc/passwd",
            &long,
        ] {
            assert_eq!(bad.parse::<OutboundUrl>(), Err(OutboundUrlError), "{bad}");
        }
    }
}

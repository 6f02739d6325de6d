//! Cross-origin requests by an allow list (the Fetch standard's CORS protocol). Answers to other origins carry no
//! permission, so the browser does not show them to the page.

use std::fmt;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method};

/// An entry of the allow list: `https://app.example`, `http://localhost:*` (any port), or `*` (any origin).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule(Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Any,
    Exact(String),
    AnyPort(String),
}

/// A text that is no origin rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRuleError;

impl fmt::Display for OriginRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an origin is scheme://host or scheme://host:port without a path, the port may be '*'; \
             a lone '*' allows every origin",
        )
    }
}

impl std::error::Error for OriginRuleError {}

impl OriginRule {
    /// Parses an entry.
    ///
    /// # Errors
    /// The text is not an origin.
    pub fn parse(text: &str) -> Result<Self, OriginRuleError> {
        if text == "*" {
            return Ok(Self(Rule::Any));
        }
        let (scheme, host) = text.split_once("://").ok_or(OriginRuleError)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]_*".contains(c);
        if !matches!(scheme, "http" | "https") || host.is_empty() || !host.chars().all(plain) {
            return Err(OriginRuleError);
        }
        let text = text.to_ascii_lowercase();
        match text.strip_suffix(":*") {
            Some(prefix) if !prefix.contains('*') => Ok(Self(Rule::AnyPort(prefix.to_owned()))),
            None if !text.contains('*') => Ok(Self(Rule::Exact(text))),
            _ => Err(OriginRuleError),
        }
    }

    /// All origins.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Pages served from this machine, on any port. The demo configuration allows them.
    pub fn localhost() -> Vec<Self> {
        ["http://localhost", "http://127.0.0.1", "http://[::1]"]
            .into_iter()
            .map(|prefix| Self(Rule::AnyPort(prefix.to_owned())))
            .collect()
    }

    fn allows(&self, origin: &str) -> bool {
        match &self.0 {
            Rule::Any => true,
            Rule::Exact(text) => origin == text,
            Rule::AnyPort(prefix) => origin.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
            }),
        }
    }
}

/// Header fields that a page may read from an answer.
const EXPOSED: &str = "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After";
/// Header fields that a page may send.
const ALLOWED: &str = "Authorization, Content-Type, If-Match, Accept, Link, Last-Event-ID";
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
/// How long a browser may cache the answer to a preflight; browsers reduce it to their own maximum.
const MAX_AGE_SECONDS: u32 = 7200;

/// Whether a request is a CORS preflight (Fetch standard, section 3.3.2).
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the permission to an answer. Requests of the node's own origin and of origins that are not on the list get
/// none.
pub(crate) fn decorate(
    rules: &[OriginRule],
    origin: Option<&HeaderValue>,
    preflight: bool,
    answer: &mut HeaderMap,
) {
    // The answer differs by origin, which shared caches have to know (Fetch standard, section 3.3.5).
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    let Ok(text) = origin.to_str() else { return };
    if !rules.iter().any(|rule| rule.allows(text)) {
        return;
    }
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if preflight {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_SECONDS));
    }
}

/// Whether a browser page of this origin may open a connection of events: it is on the list, or it is the node's own. Browsers do
/// not apply CORS to WebSockets (RFC 6455 section 10.2), so the node has to. A request without an origin is not of a page.
pub(crate) fn may_connect(rules: &[OriginRule], headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    // A proxy may have done TLS, so the scheme of the node's own origin is not known here.
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let is_own = own.zip(authority).is_some_and(|(own, it)| own.eq_ignore_ascii_case(it));
    is_own || rules.iter().any(|rule| rule.allows(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, origin: &str) -> bool {
        OriginRule::parse(rule).unwrap().allows(origin)
    }

    #[test]
    fn rules_match_whole_origins_only() {
        assert!(allows("https://app.example", "https://app.example"));
        assert!(allows("https://APP.example", "https://app.example"));
        assert!(!allows("https://app.example", "https://app.example.evil"));
        assert!(!allows("https://app.example", "http://app.example"));
        assert!(!allows("https://app.example", "https://app.example:8443"));
        assert!(allows("http://localhost:*", "http://localhost:5173"));
        assert!(allows("http://localhost:*", "http://localhost"));
        assert!(!allows("http://localhost:*", "http://localhost.evil"));
        assert!(!allows("http://localhost:*", "http://localhost:1.evil"));
        assert!(allows("*", "https://anything.example"));
        assert!(OriginRule::localhost().iter().any(|rule| rule.allows("http://[::1]:8080")));
    }

    #[test]
    fn pages_of_other_sites_may_not_connect() {
        let rules = [OriginRule::parse("https://app.example").unwrap()];
        let may = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("node.example:8443"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            may_connect(&rules, &headers)
        };
        assert!(may(None));
        assert!(may(Some("https://app.example")));
        assert!(may(Some("https://node.example:8443")));
        assert!(!may(Some("https://node.example")));
        assert!(!may(Some("https://evil.example")));
        assert!(!may(Some("null")));
    }

    #[test]
    fn rules_that_are_no_origin_are_refused() {
        for text in ["", "app.example", "https://", "https://a/b", "ftp://a", "https://*.example"] {
            assert_eq!(OriginRule::parse(text), Err(OriginRuleError), "{text}");
        }
    }
}

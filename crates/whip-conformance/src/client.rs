//! The HTTP client: requests with full control of the header fields, and exchanges that a report can show. It waits
//! when the server asks for it (429 and 503 with Retry-After), and follows redirects 307 and 308 only.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use ureq::{
    Agent,
    http::{self, HeaderMap},
    tls::TlsConfig,
};
use url::Url;

use crate::requirement::{Face, Outcome, Stop};

/// The options of a run.
#[derive(Clone)]
pub struct Options {
    /// The WHIP endpoint.
    pub whip: Url,
    /// The WHEP endpoint that plays what the WHIP endpoint receives.
    pub whep: Option<Url>,
    /// Bearer token of all requests.
    pub token: Option<String>,
    /// Another token for WHEP requests.
    pub whep_token: Option<String>,
    /// The origin of the page in whose name cross-origin requests are sent.
    pub origin: String,
    /// Only requirements whose id contains this text.
    pub only: Option<String>,
    /// An unmet SHOULD is a failure.
    pub strict: bool,
    /// Certificates of https servers are not checked.
    pub insecure: bool,
}

/// The `Authorization` field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// The token of the options, if there is one.
    Own,
    None,
    /// This value.
    Value(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) auth: Auth,
}

impl Request {
    pub(crate) fn new(method: &'static str, url: &Url) -> Self {
        Self { method, url: url.clone(), headers: Vec::new(), body: None, auth: Auth::Own }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// The request as a report shows it: without the token, and with the beginning of the body.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("{} {}", self.method, self.url);
        for (name, value) in &self.headers {
            _ = write!(text, "\n{name}: {value}");
        }
        match &self.auth {
            Auth::Own | Auth::None => {}
            Auth::Value(_) => text += "\nAuthorization: (another)",
        }
        show_body(&mut text, self.body.as_deref().unwrap_or_default());
        text
    }
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Request,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The values of a list field.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).map(|v| v.trim().to_ascii_lowercase()).collect()
    }

    /// The media type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn client_error(&self) -> bool {
        (400..500).contains(&self.status)
    }

    /// The answer as a report shows it.
    pub(crate) fn show(&self) -> String {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let mut text = format!("{} {reason}", self.status);
        for (name, value) in &self.headers {
            _ = write!(text, "\n{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        show_body(&mut text, &self.body);
        text
    }

    pub(crate) fn fail(&self, expected: impl Into<String>) -> Stop {
        Stop::fail(self.request.show(), self.show(), expected)
    }

    /// Passes when `met`.
    pub(crate) fn require(&self, met: bool, expected: impl Into<String>) -> Result<Outcome, Stop> {
        if met { Ok(Outcome::Pass) } else { Err(self.fail(expected)) }
    }

    pub(crate) fn require_status(&self, allowed: &[u16]) -> Result<Outcome, Stop> {
        let names: Vec<String> = allowed.iter().map(u16::to_string).collect();
        self.require(allowed.contains(&self.status), format!("status {}", names.join(" or ")))
    }

    /// Any 4xx is a valid refusal; the usual ones pass, others are noted.
    pub(crate) fn require_refusal(&self, usual: &[u16]) -> Result<Outcome, Stop> {
        let names: Vec<String> = usual.iter().map(u16::to_string).collect();
        let names = names.join(" or ");
        if !self.client_error() {
            return Err(self.fail(format!("a 4xx error response, such as {names}")));
        }
        if usual.contains(&self.status) {
            return Ok(Outcome::Pass);
        }
        Ok(Outcome::Note(format!("refused with {}; usual would be {names}", self.status)))
    }
}

fn show_body(text: &mut String, body: &[u8]) {
    const LINES: usize = 12;
    if body.is_empty() {
        return;
    }
    let shown: String = String::from_utf8_lossy(&body[..body.len().min(1_000)]).into_owned();
    let lines: Vec<&str> = shown.lines().collect();
    _ = write!(text, "\n({} bytes)", body.len());
    for line in lines.iter().take(LINES) {
        _ = write!(text, "\n  {line}");
    }
    if lines.len() > LINES || body.len() > 1_000 {
        *text += "\n  ...";
    }
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    token: Option<String>,
    redirects: Arc<Mutex<Vec<(String, u16)>>>,
}

const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 5;
const MAX_RETRY_WAIT: Duration = Duration::from_secs(15);
const MAX_RETRIES: usize = 5;
const MAX_BODY: u64 = 1024 * 1024;

impl Client {
    pub(crate) fn new(options: &Options) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .disable_verification(options.insecure)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(TIMEOUT))
            .accept("")
            .proxy(None)
            .user_agent(concat!("whip-conformance/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = config.new_agent();
        Self { agent, token: options.token.clone(), redirects: Arc::default() }
    }

    /// The same client with the token for this protocol.
    pub(crate) fn speaking(&self, face: Face, options: &Options) -> Self {
        let whep = options.whep_token.as_ref().filter(|_| face == Face::Whep);
        Self { token: whep.or(options.token.as_ref()).cloned(), ..self.clone() }
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// All redirects so far: the request, and the status.
    pub(crate) fn redirects(&self) -> Vec<(String, u16)> {
        self.redirects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request; waits and repeats it, or follows a redirect, if the server says so.
    ///
    /// # Errors
    /// A failure when no answer came.
    pub(crate) fn send(&self, request: Request) -> Result<Exchange, Stop> {
        let (mut request, mut retries, mut redirects) = (request, 0, 0);
        loop {
            let exchange = self.send_once(&request).map_err(|error| {
                Stop::fail(request.show(), format!("no answer: {error}"), "an HTTP response")
            })?;
            if (300..400).contains(&exchange.status) {
                let asked = format!("{} {}", exchange.request.method, exchange.request.url);
                let mut seen = self.redirects.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push((asked, exchange.status));
            }
            if let (307 | 308, Some(target)) = (exchange.status, exchange.header("location"))
                && redirects < MAX_REDIRECTS
                && let Ok(url) = exchange.request.url.join(target)
            {
                redirects += 1;
                request = Request { url, ..exchange.request };
                continue;
            }
            let told = exchange.header("retry-after").and_then(|v| v.parse().ok());
            if let (429 | 503, Some(wait)) = (exchange.status, told.map(Duration::from_secs))
                && retries < MAX_RETRIES
                && wait <= MAX_RETRY_WAIT
            {
                retries += 1;
                thread::sleep(wait);
                request = exchange.request;
                continue;
            }
            return Ok(exchange);
        }
    }

    /// Sends a request exactly once.
    ///
    /// # Errors
    /// What failed below HTTP.
    pub(crate) fn send_once(&self, request: &Request) -> Result<Exchange, String> {
        let (status, headers, body) = self.try_send(request)?;
        Ok(Exchange { request: request.clone(), status, headers, body })
    }

    fn try_send(&self, request: &Request) -> Result<(u16, HeaderMap, Vec<u8>), String> {
        let mut builder = http::Request::builder().method(request.method).uri(request.url.as_str());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let authorization = match &request.auth {
            Auth::Own => self.token.as_ref().map(|token| format!("Bearer {token}")),
            Auth::None => None,
            Auth::Value(value) => Some(value.clone()),
        };
        if let Some(value) = authorization {
            builder = builder.header("Authorization", value);
        }
        let response = match &request.body {
            Some(body) => {
                let built = builder.body(body.as_slice()).map_err(|e| e.to_string())?;
                self.agent.run(built)
            }
            None => self.agent.run(builder.body(()).map_err(|e| e.to_string())?),
        };
        let (parts, mut body) = response.map_err(|e| e.to_string())?.into_parts();
        let body = body.with_config().limit(MAX_BODY).read_to_vec().map_err(|e| e.to_string())?;
        Ok((parts.status.as_u16(), parts.headers, body))
    }
}

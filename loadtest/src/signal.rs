//! The HTTP side of all bots: a few threads that send requests to the server, one after the other, and put the answers
//! into the mailboxes of the bots' threads. WHIP (RFC 9725) and WHEP: POST an offer, DELETE the session. Room sessions:
//! the same with JSON, PATCH for a later offer, and the opening of the events.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use udp::WakeFd;
use ureq::{
    Agent,
    http::{HeaderMap, Response},
    tls::TlsConfig,
};
use url::Url;

use crate::{
    bot::{BotId, events::Events},
    thread::Order,
};

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";

/// Longest answer that is read.
const MAX_BODY: u64 = 1 << 20;
const MAX_REDIRECTS: usize = 5;
/// Waiting time when a server answers "later" without Retry-After.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
/// Most time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
const STACK: usize = 512 << 10;

/// Where a bots' thread gets its orders.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub(crate) orders: Sender<Order>,
    pub(crate) wake: Arc<WakeFd>,
}

impl Mailbox {
    /// Puts an order in; a thread that has ended needs none.
    pub(crate) fn send(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.wake.wake();
        }
    }
}

/// A request to the server.
pub(crate) enum Request {
    /// A new session. The answer goes to the mailbox.
    /// `json`: the body and the answer are JSON around the descriptions.
    Post { bot: BotId, offer: String, json: bool, deadline: Instant, mailbox: Mailbox },
    /// A later offer in JSON. The answer goes to the mailbox.
    Patch { bot: BotId, body: String, deadline: Instant, mailbox: Mailbox },
    /// The events of a session. They go to the mailbox when they are open.
    Events { bot: BotId, deadline: Instant, mailbox: Mailbox },
    /// The end of a session.
    Delete,
}

/// One request.
pub(crate) struct Job {
    pub(crate) url: Url,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) request: Request,
}

/// The server's answer to an offer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) sdp: String,
    /// The URL of the session.
    pub(crate) resource: Option<Url>,
    /// The token of the request, which is needed to end the session.
    pub(crate) token: Option<Arc<str>>,
}

/// Counts of all requests.
#[derive(Debug, Default)]
pub(crate) struct SignalStats {
    /// Requests that are queued or on their way.
    pub(crate) pending: AtomicUsize,
    /// The server answered "later" (429, or 503 and 409 with Retry-After), and the request was repeated.
    pub(crate) deferred: AtomicU64,
    /// Sessions that could not be deleted.
    pub(crate) undeleted: AtomicU64,
}

/// The queue of the pool. Clones share one queue; the pool ends with the last clone.
#[derive(Clone)]
pub(crate) struct Signaler {
    jobs: Sender<Job>,
    pub(crate) stats: Arc<SignalStats>,
}

impl Signaler {
    /// Starts a pool.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(crate) fn start(threads: usize, insecure: bool) -> io::Result<Signaler> {
        let (jobs, queue) = channel();
        let queue: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(queue));
        let stats = Arc::new(SignalStats::default());
        let agent = agent(threads, insecure);
        for number in 0..threads.max(1) {
            let (queue, stats, agent) = (Arc::clone(&queue), Arc::clone(&stats), agent.clone());
            let client = Client { agent, stats };
            thread::Builder::new().name(format!("http-{number}")).stack_size(STACK).spawn(
                move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(job) = job else { return };
                        client.run(job);
                        client.stats.pending.fetch_sub(1, Ordering::Relaxed);
                    }
                },
            )?;
        }
        Ok(Signaler { jobs, stats })
    }

    /// Queues a request.
    pub(crate) fn send(&self, job: Job) {
        self.stats.pending.fetch_add(1, Ordering::Relaxed);
        if self.jobs.send(job).is_err() {
            self.stats.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn agent(threads: usize, insecure: bool) -> Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(insecure)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(threads.max(1))
        .max_idle_connections_per_host(threads.max(1))
        .proxy(None)
        .user_agent(concat!("sfumato-loadtest/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

struct Client {
    agent: Agent,
    stats: Arc<SignalStats>,
}

impl Client {
    fn run(&self, job: Job) {
        let Job { url, token, request } = job;
        match request {
            Request::Post { bot, offer, json, deadline, mailbox } => {
                let kind = if json { JSON } else { SDP };
                let result = self.post(url, token.as_deref(), &offer, kind, deadline);
                let result = result.map(|answered| Answered { token, ..answered });
                mailbox.send(Order::Answer { bot, result });
            }
            Request::Patch { bot, body, deadline, mailbox } => {
                let result = self.patch(&url, token.as_deref(), &body, deadline);
                mailbox.send(Order::LaterAnswer { bot, result });
            }
            Request::Events { bot, deadline, mailbox } => {
                let result = Events::open(&url, token.as_deref(), deadline).map(Box::new);
                mailbox.send(Order::Events { bot, result });
            }
            Request::Delete => {
                let mut request = self.agent.delete(url.as_str());
                if let Some(token) = &token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let response = request.config().timeout_global(Some(GOODBYE)).build().call();
                // A session that the server has already ended counts as deleted.
                let gone = response.is_ok_and(|r| {
                    r.status().is_success() || [404, 410].contains(&r.status().as_u16())
                });
                if !gone {
                    self.stats.undeleted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn post(
        &self,
        mut url: Url,
        token: Option<&str>,
        offer: &str,
        kind: &'static str,
        deadline: Instant,
    ) -> Result<Answered, String> {
        let mut redirects = 0;
        // Ends at the deadline, or with one redirect too many.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("http: no answer in time".to_owned());
            }
            let mut request = self.agent.post(url.as_str()).content_type(kind);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.header("accept", kind);
            let response = request.config().timeout_global(Some(left)).build().send(offer);
            let mut response = response.map_err(|error| transport_error(&error))?;
            let status = response.status().as_u16();
            match (status, retry_after(response.headers())) {
                (201, _) => return answered(&mut response, &url, kind),
                // RFC 9725 section 4.6: 307 and 308 keep the method.
                (307 | 308, _) if redirects < MAX_REDIRECTS => {
                    redirects += 1;
                    url = location(response.headers(), &url).ok_or("http: redirect to nowhere")?;
                }
                (307 | 308, _) => return Err("http: redirected too often".to_owned()),
                (429, wait) | (409 | 503, wait @ Some(_)) => {
                    self.stats.deferred.fetch_add(1, Ordering::Relaxed);
                    let wait = wait.unwrap_or(DEFAULT_RETRY);
                    if wait >= deadline.saturating_duration_since(Instant::now()) {
                        return Err(reason(status, &mut response));
                    }
                    // Read to the end, so that the connection can be used again.
                    let _rest = response.body_mut().with_config().limit(MAX_BODY).read_to_vec();
                    thread::sleep(wait);
                }
                _ => return Err(reason(status, &mut response)),
            }
        }
    }
}

impl Client {
    /// A later offer of a room session.
    fn patch(
        &self,
        url: &Url,
        token: Option<&str>,
        body: &str,
        deadline: Instant,
    ) -> Result<String, String> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // Whichever the present ICE session is: this bot never restarts it.
        let mut request = self.agent.patch(url.as_str()).header("if-match", "*");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.content_type(JSON).header("accept", JSON);
        let response = request.config().timeout_global(Some(left)).build().send(body);
        let mut response = response.map_err(|error| transport_error(&error))?;
        match response.status().as_u16() {
            200 => description(&mut response, JSON),
            status => Err(reason(status, &mut response)),
        }
    }
}

fn answered(
    response: &mut Response<ureq::Body>,
    url: &Url,
    kind: &'static str,
) -> Result<Answered, String> {
    let resource = location(response.headers(), url);
    let sdp = description(response, kind)?;
    match resource {
        // RFC 9725 section 4.2 requires it: without it the session cannot be ended.
        None => Err("http 201 without a Location".to_owned()),
        resource => Ok(Answered { sdp, resource, token: None }),
    }
}

/// The description in an answer: the body, or a member of its JSON.
fn description(response: &mut Response<ureq::Body>, kind: &str) -> Result<String, String> {
    let body = response.body_mut().with_config().limit(MAX_BODY).read_to_string();
    let body = body.map_err(|error| transport_error(&error))?;
    if kind != JSON {
        return Ok(body);
    }
    let answer: Description =
        serde_json::from_str(&body).map_err(|_| "http: the answer is not the JSON asked for")?;
    Ok(answer.sdp)
}

#[derive(serde::Deserialize)]
struct Description {
    sdp: String,
}

fn location(headers: &HeaderMap, base: &Url) -> Option<Url> {
    let text = headers.get("location")?.to_str().ok()?;
    base.join(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// Seconds only; the form with a date is not used here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

/// The status, and the title of a problem document (RFC 9457). A title that only repeats the status (section 4.2.1)
/// says nothing; then the detail is used.
fn reason(status: u16, response: &mut Response<ureq::Body>) -> String {
    let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec().unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let member = |name: &str| problem.as_ref().and_then(|problem| problem[name].as_str());
    let phrase = response.status().canonical_reason();
    let title =
        member("title").filter(|title| phrase.is_none_or(|p| !p.eq_ignore_ascii_case(title)));
    match title.or_else(|| member("detail")).or_else(|| member("title")) {
        Some(title) => format!("http {status}: {title}"),
        None => format!("http {status}"),
    }
}

/// The same text for the same fault: no addresses and no changing numbers.
fn transport_error(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref()) {
            Some(tls) => tls_error(tls),
            None => format!("http: {}", error.kind()),
        },
        ureq::Error::BodyExceedsLimit(_) => "http: the answer is longer than 1 MiB".to_owned(),
        ureq::Error::Rustls(error) => tls_error(error),
        ureq::Error::Timeout(_) => "http: no answer in time".to_owned(),
        ureq::Error::HostNotFound => "http: host not found".to_owned(),
        ureq::Error::ConnectionFailed => "http: connection failed".to_owned(),
        other => format!("http: {other}"),
    }
}

fn tls_error(error: &rustls::Error) -> String {
    match error {
        // The details of a certificate error name hosts and times.
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "http: tls: nobody we trust vouches for the certificate".to_owned()
        }
        rustls::Error::InvalidCertificate(_) => "http: tls: the certificate is not good".to_owned(),
        other => format!("http: tls: {other}"),
    }
}

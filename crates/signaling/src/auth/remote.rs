//! Keys from a URL: a set (JWKS) that an identity provider publishes. It is fetched at the start, then every ten minutes, and when a token
//! names a key that is not known yet, but then at most once in thirty seconds: anybody can send such tokens. While fetches fail the keys
//! stay, so that an outage of the provider is none of the node.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::http::header::ACCEPT;
use axum::http::{HeaderValue, Method, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::jwks::{self, Keys, Origin, SET_MAX};
use crate::outbound::{Outbound, OutboundUrl, Outgoing};

/// Time between two fetches.
const FETCH_INTERVAL: Duration = Duration::from_secs(600);
/// Least time between a fetch and another one that an unknown key causes; also between fetches as long as there was no good one.
const FETCH_PAUSE: Duration = Duration::from_secs(30);
/// Time for a fetch. Requests with tokens of unknown keys wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A URL with a set of keys.
#[derive(Debug)]
pub struct KeysUrl {
    url: OutboundUrl,
    outbound: Outbound,
    pause: Duration,
    pub(super) keys: ArcSwap<Keys>,
    /// When the last fetch began. Locked while a fetch is under way.
    last: Mutex<Option<Instant>>,
}

impl KeysUrl {
    /// No keys yet; [`KeysUrl::keep_fresh`] fetches them.
    pub fn new(url: OutboundUrl, outbound: Outbound) -> Self {
        let pause = FETCH_PAUSE;
        Self { url, outbound, pause, keys: ArcSwap::default(), last: Mutex::default() }
    }

    /// Another least time between fetches that unknown keys cause; 30 s by default.
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Fetches the set again and again; never returns.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut ever = false;
        loop {
            let mut last = self.last.lock().await;
            *last = Some(Instant::now());
            ever |= self.fetch().await;
            drop(last);
            tokio::time::sleep(if ever { FETCH_INTERVAL } else { FETCH_PAUSE }).await;
        }
    }

    /// Fetches the set if it does not hold this key, unless that was done a moment ago.
    pub(super) async fn learn(&self, kid: &str) {
        if self.keys.load().contains_key(kid) {
            return;
        }
        // Who waited here for another fetch finds its keys afterwards.
        let mut last = self.last.lock().await;
        let rests = last.is_some_and(|last| last.elapsed() < self.pause);
        if rests || self.keys.load().contains_key(kid) {
            return;
        }
        *last = Some(Instant::now());
        self.fetch().await;
    }

    /// `false`: it failed, and the keys are those of before.
    async fn fetch(&self) -> bool {
        let outgoing = Outgoing {
            method: Method::GET,
            url: &self.url,
            headers: vec![(
                ACCEPT,
                HeaderValue::from_static("application/jwk-set+json, application/json"),
            )],
            body: Bytes::new(),
            timeout: FETCH_TIMEOUT,
            answer_max: SET_MAX,
        };
        let set = match self.outbound.send(outgoing).await {
            Ok(answer) if answer.status == StatusCode::OK => jwks::parse(&answer.body, Origin::Url),
            Ok(answer) => Err(format!("the answer is {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        let set = match set {
            Ok(set) => set,
            Err(why) => {
                tracing::error!(url = %self.url, why, "the token keys cannot be fetched, the old ones stay");
                return false;
            }
        };
        for (number, why) in &set.left_out {
            tracing::warn!(url = %self.url, number, why, "a key of the set is not used");
        }
        self.keys.store(Arc::new(set.keys));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::auth::testing::{ED25519, RSA_2048};

    /// A server of sets: the answer can be exchanged, and fetches are counted.
    struct Provider {
        url: OutboundUrl,
        answer: Arc<StdMutex<String>>,
        fetches: Arc<AtomicUsize>,
    }

    impl Provider {
        async fn start(keys: Value) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
            let answer = Arc::new(StdMutex::new(String::new()));
            let fetches = Arc::new(AtomicUsize::new(0));
            let (answers, counted) = (answer.clone(), fetches.clone());
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    let _head = stream.read(&mut [0; 4_096]).await.unwrap();
                    let text = answers.lock().unwrap().clone();
                    // Large answers are not read to their end.
                    let _may_fail = stream.write_all(text.as_bytes()).await;
                }
            });
            let provider = Self { url, answer, fetches };
            provider.serves("200 OK", &json!({ "keys": keys }).to_string());
            provider
        }

        fn serves(&self, status: &str, body: &str) {
            *self.answer.lock().unwrap() =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Ordering::Relaxed)
        }
    }

    fn of(provider: &Provider) -> Arc<KeysUrl> {
        Arc::new(KeysUrl::new(provider.url.clone(), Outbound::to_loopback()))
    }

    fn has(url: &KeysUrl, kid: &str) -> bool {
        url.keys.load().contains_key(kid)
    }

    #[tokio::test]
    async fn what_fails_changes_nothing() {
        let provider = Provider::start(json!([ED25519.jwk("one")])).await;
        let url = of(&provider);
        assert!(url.fetch().await && has(&url, "one"));
        let moved = "302 Found\r\nLocation: /other";
        let good = json!({ "keys": [RSA_2048.jwk("two")] }).to_string();
        let large = format!("{}{good}", " ".repeat(SET_MAX));
        let secret = r#"{"keys":[{"kty":"oct","kid":"s","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        for (status, body) in [
            ("500 Oops", &*good),
            (moved, &*good),
            ("200 OK", "no set"),
            ("200 OK", &*large),
            ("200 OK", secret),
        ] {
            provider.serves(status, body);
            assert!(!url.fetch().await, "{status}");
            assert!(has(&url, "one") && !has(&url, "two"), "{status}");
        }
        provider.serves("200 OK", &good);
        assert!(url.fetch().await && has(&url, "two") && !has(&url, "one"));
        provider.serves("200 OK", r#"{"keys":[]}"#);
        assert!(url.fetch().await && !has(&url, "two"), "all keys were withdrawn");

        let strict = KeysUrl::new(provider.url.clone(), Outbound::new(Vec::new(), None).unwrap());
        let before = provider.fetches();
        assert!(!strict.fetch().await, "loopback is not named by the operator");
        assert_eq!(provider.fetches(), before);
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_once_in_thirty_seconds() {
        let provider = Provider::start(json!([ED25519.jwk("one")])).await;
        let url = of(&provider);
        let many = (0..20).map(|n| {
            let url = url.clone();
            async move { url.learn(&format!("stranger-{n}")).await }
        });
        let mut waiting: tokio::task::JoinSet<()> = many.collect();
        while waiting.join_next().await.is_some() {}
        assert_eq!(provider.fetches(), 1, "all of them wait for one fetch");
        assert!(has(&url, "one"));
        url.learn("one").await;
        url.learn("stranger").await;
        assert_eq!(provider.fetches(), 1);

        provider.serves("200 OK", &json!({ "keys": [RSA_2048.jwk("two")] }).to_string());
        *url.last.lock().await = Instant::now().checked_sub(FETCH_PAUSE);
        url.learn("two").await;
        assert_eq!(provider.fetches(), 2);
        assert!(has(&url, "two"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fetched_at_the_start_and_every_ten_minutes() {
        let provider = Provider::start(json!([ED25519.jwk("one")])).await;
        provider.serves("503 Later", "");
        let url = of(&provider);
        let keeper = tokio::spawn(url.clone().keep_fresh());
        let reaches = async |wanted: usize| {
            let begin = Instant::now();
            while provider.fetches() < wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            begin.elapsed()
        };
        reaches(1).await;
        let soon = reaches(2).await;
        assert!(soon < Duration::from_secs(40), "nothing was fetched yet: {soon:?}");
        provider.serves("200 OK", &json!({ "keys": [ED25519.jwk("one")] }).to_string());
        reaches(3).await;
        let later = reaches(4).await;
        assert!(later > Duration::from_secs(590) && later < Duration::from_secs(620), "{later:?}");
        assert!(has(&url, "one"));
        keeper.abort();
    }
}

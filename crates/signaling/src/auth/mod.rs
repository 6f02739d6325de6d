//! Bearer tokens: JWTs with grants (RFC 7519, RFC 6750). Decides which identity and which grants the caller of a request has.
//! Tokens are never logged and never repeated in an answer.
//!
//! `keyring` has the keys by their ids ([`keys`], [`jwks`]); the one that a token names checks its signature; `claims` reads what it says
//! into [`grants`]; [`caller`] answers what its bearer may do. [`mod@mint`] makes tokens for operators and tests.

mod caller;
mod claims;
mod grants;
mod jwks;
mod keyring;
mod keys;
mod mint;
mod remote;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};

pub(crate) use caller::{Caller, Claim, Owner};
pub(crate) use grants::Action;
pub use keyring::{FixedKeys, KeysFile};
pub use mint::{NewKeys, NewToken, SigningKey, mint, new_keys};
pub use remote::KeysUrl;

use caller::Bearer;
use claims::Refusal;
use keyring::Keyring;

use crate::clock::Clock;
use crate::config::AuthConfig;
use crate::http::problem::{Problem, ProblemKind};

/// Checks bearer tokens; without a verifier authentication is off.
pub(crate) struct Authenticator(Option<Verifier>);

struct Verifier {
    keys: Keyring,
    audience: Option<String>,
    clock: Clock,
    /// Makes owners of tokens without a subject. It is new with each start, as are all sessions.
    owners: hmac::Key,
}

/// A longer token is refused without a look into it. The longest metadata that is allowed fits in, as base64url of JSON.
const MAX_TOKEN_LEN: usize = 16_384;

impl Authenticator {
    /// Prepares the keys.
    pub(crate) fn new(config: &AuthConfig, clock: Clock) -> Self {
        let AuthConfig::Tokens(tokens) = config else { return Self(None) };
        let mut secret = [0; 32];
        // Without random numbers the owners of tokens without a subject could be computed, but not used: they never leave the node.
        aws_lc_rs::rand::fill(&mut secret).unwrap_or_default();
        Self(Some(Verifier {
            keys: Keyring {
                fixed: tokens.keys.clone(),
                file: tokens.file.clone(),
                url: tokens.url.clone(),
            },
            audience: tokens.audience.clone(),
            clock,
            owners: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        }))
    }

    /// Reads the file of keys again when it changed, and fetches those of the URL; never returns.
    pub(crate) async fn keep_fresh(&self) {
        let keys = self.0.as_ref().map(|verifier| &verifier.keys);
        let file = async {
            if let Some(file) = keys.and_then(|keys| keys.file.clone()) {
                file.keep_fresh().await;
            }
        };
        let url = async {
            if let Some(url) = keys.and_then(|keys| keys.url.clone()) {
                url.keep_fresh().await;
            }
        };
        tokio::join!(file, url, std::future::pending::<()>());
    }

    /// Fetches the key that a token names, if it is not known and there is a URL for keys. It comes before [`Authenticator::caller`] and
    /// [`Authenticator::of_token`], which do not wait for anything.
    pub(crate) async fn learn(&self, token: &str) {
        let Some(Verifier { keys, .. }) = &self.0 else { return };
        let Some(url) = &keys.url else { return };
        if token.len() > MAX_TOKEN_LEN {
            return;
        }
        let named = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
        match named {
            Some(kid) if keys.find(Some(&kid)).is_none() => url.learn(&kid).await,
            _ => {}
        }
    }

    /// Whether tokens are required.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// 401 when tokens are required and the request has no valid one.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if !self.is_on() {
            return Ok(Caller::Anyone);
        }
        match bearer(headers) {
            Some(token) => self.of_token(token),
            None => Err(unauthorized("Bearer realm=\"sfumato\"", "A bearer token is needed.")),
        }
    }

    /// The bearer of a token that did not come in a header field.
    ///
    /// # Errors
    /// 401 when tokens are required and this one is not valid.
    pub(crate) fn of_token(&self, token: &str) -> Result<Caller, Problem> {
        let Some(verifier) = &self.0 else { return Ok(Caller::Anyone) };
        verifier
            .verify(token)
            .map(|bearer| Caller::Bearer(Arc::new(bearer)))
            .map_err(|why| unauthorized("Bearer realm=\"sfumato\", error=\"invalid_token\"", why))
    }
}

impl Verifier {
    fn verify(&self, token: &str) -> Result<Bearer, Refusal> {
        const BAD: &str = "The token is malformed or its signature is wrong.";
        if token.len() > MAX_TOKEN_LEN {
            return Err(BAD.into());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BAD)?;
        // A header extension that is marked critical must be understood (RFC 7515 section 4.1.11), and no such
        // extension is known here.
        if header.crit.is_some() {
            return Err(BAD.into());
        }
        let found = self.keys.find(header.kid.as_deref());
        let (id, key) = found.ok_or("The token names no key that is known here.")?;
        if header.alg != key.algorithm() {
            return Err("The token is signed with another algorithm than its key is for.".into());
        }
        let claims = key.verify(token).ok_or(BAD)?;
        let grants = claims::read(&claims, self.audience.as_deref(), self.clock.now())?;
        let owner = match (&grants.identity, &grants.jti) {
            (Some(subject), _) => Owner::Subject(subject.clone()),
            (None, Some(jti)) => self.owner(&[b"jti", id.as_bytes(), jti.as_bytes()]),
            (None, None) => self.owner(&[b"token", token.as_bytes()]),
        };
        Ok(Bearer { grants, owner })
    }

    /// A keyed hash of the parts: each with its length before it, so that no other parts give the same text.
    fn owner(&self, parts: &[&[u8]]) -> Owner {
        let mut hash = hmac::Context::with_key(&self.owners);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut owner = [0; 32];
        owner.copy_from_slice(hash.sign().as_ref());
        Owner::Token(owner)
    }
}

/// Checks a token as a node with these settings would: signature, times, claims. For tools, and for the fuzzer.
///
/// # Errors
/// Why a node would refuse it.
pub fn check_token(config: &AuthConfig, token: &str) -> Result<(), String> {
    match Authenticator::new(config, Clock::system()).0 {
        Some(verifier) => verifier.verify(token).map(|_| ()),
        None => Ok(()),
    }
}

/// Checks a set of keys (JWKS) as a node would that fetched it. Returns the number of keys that it would use. For tools, and for the
/// fuzzer.
///
/// # Errors
/// Why a node would refuse the whole set.
pub fn check_key_set(text: &[u8]) -> Result<usize, String> {
    jwks::parse(text, jwks::Origin::Url).map(|set| set.keys.len())
}

/// The token of an `Authorization: Bearer` field (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN_LEN)
        .then_some(token)
}

fn unauthorized(challenge: &'static str, why: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::UNAUTHORIZED, why)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

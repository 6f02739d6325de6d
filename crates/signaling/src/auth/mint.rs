//! Makes tokens and keys, for `sfumato token` and for tests. The node itself signs nothing.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::{ParticipantId, Sources, TrackSource};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::Secret;

/// The contents of a new token. The default grants nothing, for no room, and is expired.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// A room, or `*` for all rooms.
    pub room: String,
    /// The bearer's identity; `None` makes a token for guests without a name.
    pub identity: Option<ParticipantId>,
    /// What the bearer may publish.
    pub publish: Sources,
    /// The bearer may receive media.
    pub subscribe: bool,
    /// The bearer may send data messages; `None`: it may if it may publish or receive something.
    pub data: Option<bool>,
    /// The bearer may not change its name and metadata.
    pub fixed_profile: bool,
    /// The others are not told of the bearer.
    pub hidden: bool,
    /// The bearer may do everything in the room, and with room `*` also read metrics.
    pub admin: bool,
    /// A name for people; empty when there is none.
    pub name: String,
    /// Text of the application; empty when there is none.
    pub metadata: String,
    /// How long the token is valid, from now.
    pub ttl: Duration,
    /// The `aud` claim.
    pub audience: Option<String>,
}

impl NewToken {
    fn claims(&self, now: SystemTime) -> Map<String, Value> {
        let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sources = || self.publish.iter().map(TrackSource::as_str).collect::<Vec<_>>();
        let publish = match self.publish {
            Sources::ALL => json!(true),
            Sources::NONE => json!(false),
            _ => json!(sources()),
        };
        let all = [
            ("sub", self.identity.as_ref().map(|id| json!(id.as_str()))),
            ("room", Some(json!(self.room))),
            ("name", Some(json!(self.name)).filter(|_| !self.name.is_empty())),
            ("metadata", Some(json!(self.metadata)).filter(|_| !self.metadata.is_empty())),
            ("publish", Some(publish)),
            ("subscribe", Some(json!(self.subscribe))),
            ("data", self.data.map(|data| json!(data))),
            ("update_self", self.fixed_profile.then_some(json!(false))),
            ("hidden", self.hidden.then_some(json!(true))),
            ("admin", self.admin.then_some(json!(true))),
            ("iat", Some(json!(iat))),
            ("exp", Some(json!(iat.saturating_add(self.ttl.as_secs())))),
            ("aud", self.audience.as_ref().map(|audience| json!(audience))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// A key that signs tokens.
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A secret for HS256, by the id that tokens name.
    pub fn secret(id: &str, secret: &Secret) -> Self {
        let key = EncodingKey::from_secret(secret.reveal().as_bytes());
        Self { id: id.to_owned(), algorithm: Algorithm::HS256, key }
    }

    /// An Ed25519 private key in PEM (`BEGIN PRIVATE KEY`), as `sfumato keys` or `openssl genpkey -algorithm ed25519` makes it. Its id is
    /// `id`, or by default its thumbprint, which is its `kid` in the set that `sfumato keys` prints.
    ///
    /// # Errors
    /// It is no such key; the text repeats nothing of it.
    pub fn ed25519(id: Option<&str>, pem: &Secret) -> Result<Self, &'static str> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.reveal().as_bytes())
            .map_err(|_| "no PEM text with a private key (BEGIN PRIVATE KEY)")?;
        let der = der.secret_pkcs8_der();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|_| "the private key is no Ed25519 key")?;
        let id = id.map_or_else(|| thumbprint(pair.public_key().as_ref()), str::to_owned);
        Ok(Self { id, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(der) })
    }
}

/// Signs a token.
///
/// # Errors
/// The cryptographic library failed.
pub fn mint(
    key: &SigningKey,
    token: &NewToken,
    now: SystemTime,
) -> Result<String, jsonwebtoken::errors::Error> {
    let header = Header { kid: Some(key.id.clone()), ..Header::new(key.algorithm) };
    jsonwebtoken::encode(&header, &token.claims(now), &key.key)
}

/// A new pair of keys for signing and checking tokens.
#[derive(Debug)]
pub struct NewKeys {
    /// The private key as PEM, for whoever makes tokens.
    pub private: Secret,
    /// The set with the public key (JWKS), for the node.
    pub set: String,
}

/// Makes an Ed25519 pair. The `kid` is the thumbprint of the public key, so two pairs never have the same.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_keys() -> Result<NewKeys, &'static str> {
    const FAILED: &str = "the system gives no random numbers";
    let pair = Ed25519KeyPair::generate().map_err(|_| FAILED)?;
    // RFC 8410 section 7, version 1: the form that other libraries read.
    let der = pair.to_pkcs8v1().map_err(|_| FAILED)?;
    let pem = pem("PRIVATE KEY", der.as_ref());
    let public = pair.public_key().as_ref();
    let set = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": thumbprint(public), "x": URL_SAFE_NO_PAD.encode(public),
    }] });
    Ok(NewKeys { private: Secret::new(pem), set: format!("{set:#}") })
}

/// RFC 7638 section 3, with the members that RFC 8037 section 2 requires.
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

/// RFC 7468 section 2: lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

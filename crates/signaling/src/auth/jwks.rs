//! A set of keys as JSON (RFC 7517): what an identity provider publishes. Keys that are not for checking signatures, or that are weak,
//! are left out; the others of the set are used (RFC 7517 section 5).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError};

/// Most bytes of a set.
pub(super) const SET_MAX: usize = 256 * 1_024;
/// Most keys of a set.
const KEYS_MAX: usize = 64;
/// Most bytes of a key id.
const ID_MAX: usize = 256;

/// Keys by their id.
pub(super) type Keys = HashMap<String, Arc<Key>>;

/// Where a set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file, which may hold secrets.
    File,
    /// A URL. A secret that a server hands out to whoever asks is none.
    Url,
}

/// The keys of a set, and why others of it were left out.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) keys: Keys,
    /// The place in the set, from 0, and the reason.
    pub(super) left_out: Vec<(usize, KeyError)>,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

/// RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2. Members that are not named here are ignored (RFC 7517 section 4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// Reads a set.
///
/// # Errors
/// It is no set, too large, or none of its keys can be used. A set with no key at all is good: its maker withdrew them.
pub(super) fn parse(text: &[u8], origin: Origin) -> Result<Set, String> {
    if text.len() > SET_MAX {
        return Err(format!("the set has more than {SET_MAX} bytes"));
    }
    let RawSet { keys: raw } =
        serde_json::from_slice(text).map_err(|_| "no JSON object with a list named keys")?;
    if raw.len() > KEYS_MAX {
        return Err(format!("the set has more than {KEYS_MAX} keys"));
    }
    let (empty, mut set) = (raw.is_empty(), Set { keys: Keys::new(), left_out: Vec::new() });
    for (at, value) in raw.into_iter().enumerate() {
        let jwk = serde_json::from_value(value).map_err(|_| "a member is missing or is no text");
        match jwk.and_then(|jwk: Jwk| Ok((jwk.id()?, jwk.key(origin)?))) {
            // Which of the two would count is not said anywhere, so the second one is refused.
            Ok((id, _)) if set.keys.contains_key(&id) => {
                set.left_out.push((at, "another key has the same kid"));
            }
            Ok((id, key)) => {
                set.keys.insert(id, Arc::new(key));
            }
            Err(why) => set.left_out.push((at, why)),
        }
    }
    match set.left_out.first() {
        Some((at, why)) if set.keys.is_empty() && !empty => {
            Err(format!("no key of the set can be used (number {at}: {why})"))
        }
        _ => Ok(set),
    }
}

impl Jwk {
    fn id(&self) -> Result<String, KeyError> {
        match &self.kid {
            Some(kid) if !kid.is_empty() && kid.len() <= ID_MAX => Ok(kid.clone()),
            Some(_) => Err("its kid is empty or too long"),
            None => Err("it has no kid"),
        }
    }

    fn key(&self, origin: Origin) -> Result<Key, KeyError> {
        // RFC 7517 section 4.2 and 4.3.
        if self.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err("its use is not sig");
        }
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("its key_ops do not hold verify");
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&bytes(&self.n)?, &bytes(&self.e)?)?,
            ("EC", Some("P-256")) => Key::p256(&bytes(&self.x)?, &bytes(&self.y)?)?,
            ("OKP", Some("Ed25519")) => Key::ed25519(&bytes(&self.x)?)?,
            ("oct", _) if origin == Origin::Url => return Err("a secret (oct) from a URL"),
            ("oct", _) => Key::secret(&bytes(&self.k)?)?,
            ("EC" | "OKP", _) => return Err("its curve is neither P-256 nor Ed25519"),
            _ => return Err("its kty is none of RSA, EC, OKP and oct"),
        };
        // RFC 7517 section 4.4. A key that is made for PS256, say, is not used for RS256.
        let is_for = |alg: &str| match key.algorithm() {
            Algorithm::RS256 => alg == "RS256",
            Algorithm::ES256 => alg == "ES256",
            Algorithm::HS256 => alg == "HS256",
            // RFC 9864 section 2.2 gives EdDSA with this curve a second name.
            _ => alg == "EdDSA" || alg == "Ed25519",
        };
        match &self.alg {
            Some(alg) if !is_for(alg) => Err("its alg is not RS256, ES256, EdDSA or HS256"),
            _ => Ok(key),
        }
    }
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = member.as_ref().ok_or("a member of the key is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member of the key is no base64url")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing::{ED25519, P256, RSA_1024, RSA_2048};

    fn read(keys: Value, origin: Origin) -> Result<Set, String> {
        parse(json!({ "keys": keys }).to_string().as_bytes(), origin)
    }

    fn why(key: Value) -> String {
        let good = json!({ "kid": "good", "kty": "OKP", "crv": "Ed25519", "x": ED25519.x });
        let set = read(json!([good, key]), Origin::Url).unwrap();
        assert_eq!(set.keys.len(), 1, "the good one stays");
        set.left_out[0].1.to_owned()
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    #[test]
    fn each_kind_of_key_has_its_algorithm() {
        let set =
            read(json!([ED25519.jwk("a"), RSA_2048.jwk("b"), P256.jwk("c")]), Origin::Url).unwrap();
        assert!(set.left_out.is_empty(), "{:?}", set.left_out);
        let of = |kid: &str| set.keys[kid].algorithm();
        assert_eq!(of("a"), Algorithm::EdDSA);
        assert_eq!(of("b"), Algorithm::RS256);
        assert_eq!(of("c"), Algorithm::ES256);
    }

    #[test]
    fn weak_keys_and_keys_for_other_purposes_are_left_out() {
        assert!(why(RSA_1024.jwk("b")).contains("fewer than 2048 bits"));
        let ed = |member: &str, value| why(with(ED25519.jwk("b"), member, value));
        assert!(ed("use", json!("enc")).contains("use"));
        assert!(ed("key_ops", json!(["sign"])).contains("key_ops"));
        assert!(ed("alg", json!("RS256")).contains("alg"));
        assert!(ed("crv", json!("X25519")).contains("curve"));
        assert!(ed("x", json!("AAAA")).contains("Ed25519"));
        assert!(ed("x", json!("=")).contains("base64url"));
        assert!(ed("kid", json!("")).contains("kid"));
        assert!(ed("kid", json!("good")).contains("same kid"));
        assert!(ed("kid", json!(null)).contains("kid"));
        assert!(ed("kty", json!("new")).contains("kty"));
        assert!(ed("kty", json!(5)).contains("member"));
        assert!(why(with(RSA_2048.jwk("b"), "alg", json!("PS256"))).contains("alg"));
        assert!(why(with(RSA_2048.jwk("b"), "n", json!(null))).contains("missing"));
        assert!(why(with(P256.jwk("b"), "y", json!(ED25519.x))).contains("P-256"));
    }

    #[test]
    fn a_secret_comes_from_a_file_only_and_is_long_enough() {
        let oct = |len: usize| json!([{ "kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(vec![7; len]) }]);
        assert_eq!(read(oct(32), Origin::File).unwrap().keys["s"].algorithm(), Algorithm::HS256);
        assert!(read(oct(31), Origin::File).unwrap_err().contains("32 bytes"));
        assert!(read(oct(32), Origin::Url).unwrap_err().contains("secret (oct) from a URL"));
    }

    #[test]
    fn what_is_no_set_is_refused_whole() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "\u{0}"] {
            assert!(parse(bad.as_bytes(), Origin::Url).is_err(), "{bad}");
        }
        assert!(read(json!([]), Origin::Url).unwrap().keys.is_empty(), "all keys withdrawn");
        assert!(read(json!([{ "kty": "new", "kid": "x" }]), Origin::Url).is_err());
        assert!(read(json!(vec![ED25519.jwk("a"); 65]), Origin::Url).is_err());
        assert!(parse(&vec![b' '; SET_MAX + 1], Origin::Url).unwrap_err().contains("bytes"));
    }
}

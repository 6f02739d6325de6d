//! Bearer tokens and sets of keys.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signaling::{AuthConfig, FixedKeys, Secret, TokenConfig};

const SECRET: &str = "a secret of the fuzzer, 32 bytes.";
const HEADER: &str = r#"{"alg":"HS256","kid":"k"}"#;

static AUTH: LazyLock<AuthConfig> = LazyLock::new(|| {
    let mut keys = FixedKeys::default();
    if let Err(why) = keys.add_secret("k", &Secret::new(SECRET)) {
        panic!("the key is refused: {why}");
    }
    AuthConfig::Tokens(TokenConfig { keys, ..TokenConfig::default() })
});

/// The first byte chooses what the rest is: a token, claims that are signed here, or a set of keys.
pub fn jwt(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => token(rest),
        1 => claims(rest),
        _ => {
            // It is read or it is refused.
            let _keys = signaling::check_key_set(rest);
        }
    }
}

fn sign(text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, text).as_ref())
}

/// A token is accepted only with the signature of the one key.
fn token(bytes: &[u8]) {
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    if signaling::check_token(&AUTH, token).is_ok() {
        let signed = token.rsplit_once('.');
        assert!(
            signed.is_some_and(|(text, signature)| sign(text.as_bytes()) == signature),
            "a token without our signature was accepted"
        );
    }
}

/// Claims are accepted only with a room, and with a time in the future at which they expire.
fn claims(bytes: &[u8]) {
    let (header, claims) = (URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(bytes));
    let text = format!("{header}.{claims}");
    let token = format!("{text}.{}", sign(text.as_bytes()));
    if signaling::check_token(&AUTH, &token).is_ok() {
        let read: serde_json::Value = match serde_json::from_slice(bytes) {
            Ok(read) => read,
            Err(error) => panic!("claims that are no JSON were accepted: {error}"),
        };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // The clock may have gone on by a moment since the check.
        let now = since.map_or(0.0, |since| since.as_secs_f64()) - 60.0;
        assert!(read["exp"].as_f64().is_some_and(|exp| exp > now), "{read}");
        assert!(read["room"].is_string(), "{read}");
        let size = |name: &str| read[name].as_str().map_or(0, str::len);
        assert!(size("name") <= 256 && size("metadata") <= 4_096, "{read}");
    }
}

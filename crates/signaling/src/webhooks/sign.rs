//! Signatures of webhooks, by the scheme of Standard Webhooks (version 1): HMAC-SHA256 over id, time and body, so that none of them can be
//! exchanged, and a request that was overheard is of no use later.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Secret;

/// Least bytes of a secret: what the scheme asks for.
const SECRET_MIN: usize = 24;

/// A key of signatures: `whsec_` and base64, as libraries for the scheme take it, or any other text as it is.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

/// A text that is no [`WebhookSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookSecretError;

impl fmt::Display for WebhookSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_ and base64 of 24 bytes or more, or a text of 24 bytes or more")
    }
}

impl std::error::Error for WebhookSecretError {}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Secret::new(""))
    }
}

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = match text.strip_prefix("whsec_") {
            Some(base64) => STANDARD.decode(base64).map_err(|_| WebhookSecretError)?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < SECRET_MIN {
            return Err(WebhookSecretError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }
}

/// The value of `webhook-signature`: one signature for each secret.
pub(super) fn signatures(secrets: &[WebhookSecret], id: &str, seconds: u64, body: &str) -> String {
    let text = format!("{id}.{seconds}.{body}");
    let sign = |secret: &WebhookSecret| {
        format!("v1,{}", STANDARD.encode(hmac::sign(&secret.0, text.as_bytes())))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the scheme's own documentation.
    #[test]
    fn signatures_are_those_of_the_scheme() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let sign = |secrets: &[WebhookSecret]| {
            let body = r#"{"test": 2432232314}"#;
            signatures(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&secret)), expected);
        let other: WebhookSecret = "a text of twenty-four by".parse().unwrap();
        let both = sign(&[other, secret]);
        assert!(both.ends_with(&format!(" {expected}")) && both.matches("v1,").count() == 2);
    }

    #[test]
    fn short_secrets_are_refused_and_none_is_printed() {
        for bad in ["", "short", "whsec_c2hvcnQ=", "whsec_!", "twenty-three bytes long"] {
            assert!(bad.parse::<WebhookSecret>().is_err(), "{bad}");
        }
        let secret: WebhookSecret = "a text of twenty-four by".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }
}

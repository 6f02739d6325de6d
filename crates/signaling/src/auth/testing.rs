//! Keys for tests, made when the tests run, and tokens that an attacker could make with them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::mint::pem;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// A pair of keys.
pub(crate) struct TestKey {
    /// The public key in PEM.
    pub(crate) pem: String,
    /// The first public member of its JWK.
    pub(crate) x: String,
    members: Value,
    sign: Sign,
}

impl TestKey {
    /// Its JWK.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.members.clone();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// A token with any header and claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let signature = (self.sign)(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A token with any header and claims under HMAC-SHA256, as anybody could make it who knows `secret`.
pub(crate) fn hmac_token(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = unsigned(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) static ED25519: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = text(pair.public_key().as_ref());
    TestKey {
        pem: pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()),
        members: json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
        x,
        sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    }
});

pub(crate) static P256: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (text(&point[1..33]), text(&point[33..]));
    TestKey {
        pem: pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()),
        members: json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        x,
        sign: Box::new(move |message| {
            pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        }),
    }
});

pub(crate) static RSA_2048: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let n = text(public.modulus().big_endian_without_leading_zero());
    let e = text(public.exponent().big_endian_without_leading_zero());
    TestKey {
        pem: pem("PUBLIC KEY", public.as_der().unwrap().as_ref()),
        members: json!({ "kty": "RSA", "n": n, "e": e }),
        x: n,
        sign: Box::new(move |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }),
    }
});

/// A key that is too small. It signs nothing: it is refused before.
pub(crate) static RSA_1024: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pem: "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC/JtFt/KSpg/9eWXCjvjrDqRLq
BEy6D7ubE1i/50oJsm0srrxHn9c4y08NdbNjQTN1I2kVhZXoQiAOhdkK+rglikiX
9doAN6i38MgxL4HrGRJwJaogaaTysulIHM6N09yPKeKF3rApDPpnm1uFlE1HfHhI
/RsnNv82+4UibKwMfwIDAQAB
-----END PUBLIC KEY-----
"
    .to_owned(),
    x: text(&[0xc5; 128]),
    members: json!({ "kty": "RSA", "n": text(&[0xc5; 128]), "e": "AQAB" }),
    sign: Box::new(|_| Vec::new()),
});

/// A public key on another curve.
pub(crate) const P384_PEM: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAENo634AqoyvZQIfDVr3KbXaosMPeaULWN
SkalbDN9uoucKFB9OOxX9Yn9A27dNzV2udJayDKBqyDLZDdTY39l24ohO9dg1LIL
DLXqUX+bSRSaeGp256ErP9dVFRAmzaWo
-----END PUBLIC KEY-----
";

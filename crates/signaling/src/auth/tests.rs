//! Tokens from the outside: which are accepted, which are not, and whose sessions are whose.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use model::{ParticipantId, RoomId, Sources};
use serde_json::{Value, json};

use super::testing::{ED25519, P256, P384_PEM, RSA_1024, RSA_2048, TestKey, hmac_token};
use super::*;
use crate::Secret;
use crate::config::TokenConfig;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn fixed() -> FixedKeys {
    let mut keys = FixedKeys::default();
    keys.add_secret("a", &Secret::new(KEY)).unwrap();
    keys.add_secret("b", &Secret::new(OTHER)).unwrap();
    keys
}

fn of_keys(keys: FixedKeys, audience: Option<&str>) -> Authenticator {
    let audience = audience.map(str::to_owned);
    let config = AuthConfig::Tokens(TokenConfig { keys, audience, ..TokenConfig::default() });
    Authenticator::new(&config, Clock::system())
}

fn authenticator(audience: Option<&str>) -> Authenticator {
    of_keys(fixed(), audience)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "sub": "ann", "room": "r", "publish": true, "exp": now() + 60 })
}

fn forge(header: &Value, claims: &Value, key: &str) -> String {
    hmac_token(header, claims, key.as_bytes())
}

fn check(auth: &Authenticator, token: &str) -> Result<Caller, StatusCode> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    auth.caller(&headers).map_err(|p| p.status())
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn room(text: &str) -> RoomId {
    RoomId::parse(text).unwrap()
}

#[test]
fn minted_tokens_are_accepted_by_the_key_that_kid_names() {
    let token = NewToken {
        room: "r".into(),
        identity: Some(ParticipantId::parse("ann").unwrap()),
        publish: Sources::ALL,
        ttl: Duration::from_secs(60),
        audience: Some("here".into()),
        ..NewToken::default()
    };
    let sign = |id: &str| {
        mint(&SigningKey::secret(id, &Secret::new(OTHER)), &token, SystemTime::now()).unwrap()
    };
    let caller = check(&authenticator(Some("here")), &sign("b")).unwrap();
    assert!(caller.may(Action::Publish, &room("r")).is_ok());
    assert_eq!(
        caller.may(Action::Subscribe, &room("r")).unwrap_err().status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        caller.may(Action::Publish, &room("s")).unwrap_err().status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(caller.identity(None).unwrap().unwrap().as_str(), "ann");
    assert_eq!(caller.identity(Some("bob")).unwrap_err().status(), StatusCode::FORBIDDEN);
    assert!(caller.may_administer().is_err());

    let wrong = check(&authenticator(Some("here")), &sign("a"));
    assert_eq!(wrong.unwrap_err(), StatusCode::UNAUTHORIZED);
}

#[test]
fn all_that_a_new_token_holds_arrives() {
    let made = new_keys().unwrap();
    let set: Value = serde_json::from_str(&made.set).unwrap();
    let kid = set["keys"][0]["kid"].as_str().unwrap();
    let keys = jwks::parse(made.set.as_bytes(), jwks::Origin::Url).unwrap().keys;
    assert!(keys.contains_key(kid));
    let path = std::env::temp_dir().join(format!("sfumato-new-keys-{}", std::process::id()));
    std::fs::write(&path, &made.set).unwrap();
    let file = Some(Arc::new(KeysFile::load(path.clone()).unwrap()));
    std::fs::remove_file(&path).unwrap();
    let config = AuthConfig::Tokens(TokenConfig { file, ..TokenConfig::default() });
    let auth = Authenticator::new(&config, Clock::system());

    let publish = Sources::NONE.with(model::TrackSource::Microphone);
    let token = NewToken {
        room: "*".into(),
        publish,
        data: Some(false),
        fixed_profile: true,
        hidden: true,
        name: "Ann".into(),
        metadata: "{\"team\":7}".into(),
        ttl: Duration::from_secs(60),
        ..NewToken::default()
    };
    let key = SigningKey::ed25519(None, &made.private).unwrap();
    let caller = check(&auth, &mint(&key, &token, SystemTime::now()).unwrap()).unwrap();
    let permissions = caller.permissions(&room("any")).unwrap();
    assert_eq!(permissions.publish, publish);
    assert!(permissions.hidden && !permissions.data && !permissions.update_self);
    assert!(!permissions.subscribe && !permissions.admin);
    let profile = caller.profile();
    assert_eq!((&*profile.name, &*profile.metadata), ("Ann", "{\"team\":7}"));
    let left = caller.expires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
    assert!(SigningKey::ed25519(None, &Secret::new("no PEM")).is_err());
}

// Threats, row 43.
#[test]
fn forged_and_malformed_tokens_are_refused() {
    let auth = authenticator(None);
    let hs256 = json!({ "alg": "HS256", "kid": "a" });
    assert!(check(&auth, &forge(&hs256, &claims(), KEY)).is_ok(), "the good one");
    let none = json!({ "alg": "none", "kid": "a" });
    let unsigned = forge(&none, &claims(), KEY);
    let refused = [
        // No signature at all (RFC 8725 section 2.1).
        unsigned[..=unsigned.rfind('.').unwrap()].to_owned(),
        unsigned,
        // Another algorithm named over the same HMAC, as in RS256/HS256 confusion.
        forge(&json!({ "alg": "RS256", "kid": "a" }), &claims(), KEY),
        forge(&json!({ "alg": "HS512", "kid": "a" }), &claims(), KEY),
        // A wrong key, or a wrong key id.
        forge(&hs256, &claims(), OTHER),
        forge(&json!({ "alg": "HS256", "kid": "c" }), &claims(), KEY),
        forge(&json!({ "alg": "HS256" }), &claims(), KEY),
        forge(&json!({ "alg": "HS256", "kid": "a", "crit": ["x"] }), &claims(), KEY),
        // Times as strings, in the past, in the future, missing.
        forge(&hs256, &with(claims(), "exp", json!((now() + 60).to_string())), KEY),
        forge(&hs256, &with(claims(), "exp", json!(now() - 1)), KEY),
        forge(&hs256, &with(claims(), "exp", json!(-1)), KEY),
        forge(&hs256, &with(claims(), "exp", json!(3)), KEY),
        forge(&hs256, &with(claims(), "exp", Value::Null), KEY),
        forge(&hs256, &with(claims(), "nbf", json!("0")), KEY),
        forge(&hs256, &with(claims(), "nbf", json!(now() + 60)), KEY),
        // An audience where none is configured.
        forge(&hs256, &with(claims(), "aud", json!("elsewhere")), KEY),
        // Claims of other types.
        forge(&hs256, &with(claims(), "publish", json!("true")), KEY),
        forge(&hs256, &with(claims(), "room", json!("a/b")), KEY),
        forge(&hs256, &with(claims(), "room", Value::Null), KEY),
        forge(&hs256, &with(claims(), "sub", json!("")), KEY),
        forge(&hs256, &json!([]), KEY),
        "a.b.c".into(),
        "x".repeat(20_000),
    ];
    for (at, token) in refused.iter().enumerate() {
        assert_eq!(check(&auth, token).unwrap_err(), StatusCode::UNAUTHORIZED, "case {at}");
        assert_eq!(auth.of_token(token).unwrap_err().status(), StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn public_keys_accept_tokens_of_their_own_algorithm() {
    for (key, alg) in [(&*ED25519, "EdDSA"), (&*RSA_2048, "RS256"), (&*P256, "ES256")] {
        let mut keys = fixed();
        keys.add_public("p", &key.pem).unwrap();
        let auth = of_keys(keys, None);
        let header = json!({ "alg": alg, "kid": "p" });
        let good = key.token(&header, &claims());
        assert!(check(&auth, &good).is_ok(), "{alg}");
        let mut changed = good.clone();
        changed.replace_range(good.len() - 8..good.len() - 4, "AAAA");
        assert!(check(&auth, &changed).is_err(), "{alg} with another signature");
        assert!(check(&auth, &good[..=good.rfind('.').unwrap()]).is_err(), "{alg} without one");
        let of_secret = forge(&json!({ "alg": "HS256", "kid": "a" }), &claims(), KEY);
        assert!(check(&auth, &of_secret).is_ok(), "secrets go on to work beside {alg}");
    }
}

// Threats, row 43: who knows a public key, as everybody does, must not be able to sign with it as if it were a secret.
#[test]
fn each_key_has_one_algorithm_and_no_token_chooses_another() {
    let all: [(&str, &TestKey, &str); 3] =
        [("ed", &ED25519, "EdDSA"), ("rsa", &RSA_2048, "RS256"), ("ec", &P256, "ES256")];
    let mut keys = fixed();
    for (kid, key, _) in all {
        keys.add_public(kid, &key.pem).unwrap();
    }
    let auth = of_keys(keys, None);
    for (kid, key, alg) in all {
        let public = [key.pem.as_bytes(), key.pem.trim().as_bytes(), key.x.as_bytes()];
        for secret in public {
            for alg in ["HS256", "HS384", "none", "EdDSA", "RS256", "ES256"] {
                let token = hmac_token(&json!({ "alg": alg, "kid": kid }), &claims(), secret);
                assert!(check(&auth, &token).is_err(), "{alg} under {kid}");
            }
        }
        // A token of one key under the id of another, or under another algorithm's name.
        for (other, _, other_alg) in all.iter().filter(|(other, ..)| *other != kid) {
            for (kid, alg) in [(*other, alg), (*other, *other_alg), (kid, *other_alg), ("a", alg)] {
                let token = key.token(&json!({ "alg": alg, "kid": kid }), &claims());
                assert!(check(&auth, &token).is_err(), "{alg} under {kid}");
            }
        }
        for alg in ["PS256", "RS384", "RS512", "ES384", "HS256"] {
            let token = key.token(&json!({ "alg": alg, "kid": kid }), &claims());
            assert!(check(&auth, &token).is_err(), "{alg} under {kid}");
        }
        // Keys that the token itself brings along are not read.
        let own = json!({ "alg": alg, "jwk": key.jwk(kid), "jku": "https://evil.example/" });
        assert!(check(&auth, &key.token(&own, &claims())).is_err());
    }
}

#[test]
fn weak_and_strange_keys_are_refused() {
    let mut keys = FixedKeys::default();
    assert!(keys.add_secret("s", &Secret::new("x".repeat(31))).unwrap_err().contains("32 bytes"));
    assert!(keys.add_public("p", &RSA_1024.pem).unwrap_err().contains("2048"));
    assert!(keys.add_public("p", P384_PEM).unwrap_err().contains("neither"));
    assert!(keys.add_public("p", "text").unwrap_err().contains("BEGIN PUBLIC KEY"));
    keys.add_public("p", &ED25519.pem).unwrap();
    assert!(keys.add_public("p", &RSA_2048.pem).unwrap_err().contains("same id"));
    assert!(keys.add_secret("p", &Secret::new(KEY)).unwrap_err().contains("same id"));
}

#[test]
fn a_file_of_keys_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let path = std::env::temp_dir().join(format!("sfumato-jwks-{}.json", std::process::id()));
    let write = |keys: Value| {
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    };
    assert!(KeysFile::load(path.clone()).unwrap_err().to_string().contains("sfumato-jwks"));
    write(json!([ED25519.jwk("one")]));
    let file = Arc::new(KeysFile::load(path.clone()).unwrap());
    let config = TokenConfig { keys: fixed(), file: Some(file.clone()), ..TokenConfig::default() };
    let auth = Authenticator::new(&AuthConfig::Tokens(config), Clock::system());
    let accepts = |kid: &str, key: &TestKey, alg: &str| {
        check(&auth, &key.token(&json!({ "alg": alg, "kid": kid }), &claims())).is_ok()
    };
    assert!(accepts("one", &ED25519, "EdDSA") && !accepts("two", &RSA_2048, "RS256"));
    assert!(!file.refresh().unwrap(), "nothing changed");

    write(json!([RSA_2048.jwk("two"), ED25519.jwk("a")]));
    assert!(file.refresh().unwrap());
    assert!(accepts("two", &RSA_2048, "RS256") && !accepts("one", &ED25519, "EdDSA"));
    assert!(!accepts("a", &ED25519, "EdDSA"), "the configuration's key of that id stays");

    for bad in ["", "{", "{\"keys\":[{}]}"] {
        std::fs::write(&path, bad).unwrap();
        assert!(file.refresh().is_err(), "{bad}");
        assert!(accepts("two", &RSA_2048, "RS256"));
        assert!(!file.refresh().unwrap(), "said once");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(file.refresh().is_err());
    assert!(accepts("two", &RSA_2048, "RS256"));
}

#[test]
fn the_audience_is_asked_for_when_configured() {
    let auth = authenticator(Some("here"));
    let hs256 = json!({ "alg": "HS256", "kid": "a" });
    assert!(check(&auth, &forge(&hs256, &claims(), KEY)).is_err());
    let there = with(claims(), "aud", json!(["there"]));
    assert!(check(&auth, &forge(&hs256, &there, KEY)).is_err());
    let both = with(claims(), "aud", json!(["there", "here"]));
    assert!(check(&auth, &forge(&hs256, &both, KEY)).is_ok());
}

#[test]
fn sessions_belong_to_the_identity_that_opened_them() {
    let auth = authenticator(None);
    let hs256 = json!({ "alg": "HS256", "kid": "a" });
    let caller = |claims: Value| check(&auth, &forge(&hs256, &claims, KEY)).unwrap();
    let room = room("r");
    let ann = caller(claims()).owner();
    assert!(caller(claims()).owns(&room, &ann));
    let bob = with(claims(), "sub", json!("bob"));
    assert!(!caller(bob.clone()).owns(&room, &ann));
    assert!(!caller(bob.clone()).owns(&room, &Owner::Anyone));
    assert!(caller(with(bob, "admin", json!(true))).owns(&room, &ann));
    assert!(!caller(with(claims(), "room", json!("s"))).owns(&room, &ann));
    assert!(caller(with(claims(), "room", json!("*"))).owns(&room, &ann));
}

#[test]
fn sessions_of_tokens_without_a_subject_are_not_each_others() {
    let auth = authenticator(None);
    let hs256 = |kid: &str| json!({ "alg": "HS256", "kid": kid });
    let guest = |more: Value| {
        let mut claims = json!({ "room": "r", "subscribe": true, "exp": now() + 60 });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let token = |kid: &str, key, more| forge(&hs256(kid), &guest(more), key);
    let caller = |token: &str| check(&auth, token).unwrap();
    let room = room("r");
    let (one, two) = (token("a", KEY, json!({ "n": 1 })), token("a", KEY, json!({ "n": 2 })));
    let owner = caller(&one).owner();
    assert_eq!(owner.subject(), None);
    assert!(caller(&one).owns(&room, &owner), "the same token again");
    assert!(!caller(&two).owns(&room, &owner));
    assert!(caller(&token("a", KEY, json!({ "admin": true }))).owns(&room, &owner));
    let ann = caller(&token("a", KEY, json!({ "sub": "ann" })));
    assert!(!ann.owns(&room, &owner));

    // Tokens of one key with the same jti are one; the same jti of another key is another.
    let jti = |n: u8| json!({ "jti": "x", "n": n });
    let owner = caller(&token("a", KEY, jti(1))).owner();
    assert!(caller(&token("a", KEY, jti(2))).owns(&room, &owner));
    assert!(!caller(&token("b", OTHER, jti(1))).owns(&room, &owner));
}

#[test]
fn a_fresh_token_takes_over_for_the_same_bearer_only() {
    let auth = authenticator(None);
    let hs256 = json!({ "alg": "HS256", "kid": "a" });
    let caller = |claims: Value| check(&auth, &forge(&hs256, &claims, KEY)).unwrap();
    let guest = || json!({ "room": "r", "exp": now() + 60 });
    let room = room("r");
    let (ann, nobody) = (caller(claims()), caller(guest()));
    let later = caller(with(claims(), "exp", json!(now() + 600)));
    assert!(later.may_take_over(&room, &ann.owner()).is_ok());
    let refused = [
        (caller(with(claims(), "sub", json!("bob"))), ann.owner()),
        (caller(with(claims(), "room", json!("s"))), ann.owner()),
        (nobody.clone(), ann.owner()),
        (ann, nobody.owner()),
    ];
    for (at, (caller, owner)) in refused.iter().enumerate() {
        let status = caller.may_take_over(&room, owner).unwrap_err().status();
        assert_eq!(status, StatusCode::FORBIDDEN, "case {at}");
    }
    let other_guest = caller(with(guest(), "exp", json!(now() + 600)));
    assert!(other_guest.may_take_over(&room, &nobody.owner()).is_ok());
}

#[test]
fn challenges_say_what_is_missing() {
    let auth = authenticator(None);
    let challenge = |headers: &HeaderMap| {
        let response =
            axum::response::IntoResponse::into_response(auth.caller(headers).unwrap_err());
        response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned()
    };
    let mut headers = HeaderMap::new();
    assert_eq!(challenge(&headers), "Bearer realm=\"sfumato\"");
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    assert_eq!(challenge(&headers), "Bearer realm=\"sfumato\"");
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert!(challenge(&headers).contains("invalid_token"));
}

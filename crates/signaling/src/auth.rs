//! Bearer tokens: JWTs with grants (RFC 7519, RFC 6750). Decides which identity and which grants the caller of a request has.
//! Tokens are never logged and never repeated in an answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use model::{ParticipantId, RoomId};
use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::config::AuthConfig;
use crate::http::problem::Problem;

/// Checks bearer tokens; without a verifier authentication is off.
pub(crate) struct Authenticator(Option<Verifier>);

struct Verifier {
    keys: Vec<(String, DecodingKey)>,
    validation: Validation,
}

/// The clocks of two machines may differ by this much: `nbf` is checked with this leeway.
const CLOCK_SKEW_SECONDS: u64 = 5;

/// An `Authorization` field that is longer is refused without a look into it.
const MAX_TOKEN_LEN: usize = 4096;

/// The claims of a token whose signature and times are valid.
#[derive(Debug, Clone, Deserialize)]
struct Claims {
    sub: Option<String>,
    room: String,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    subscribe: bool,
    #[serde(default)]
    admin: bool,
}

/// The caller of a request.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Authentication is off: every caller may do everything.
    Anyone,
    /// The bearer of a valid token.
    Bearer(Grants),
}

/// What a token allows.
#[derive(Debug, Clone)]
pub(crate) struct Grants {
    identity: Option<ParticipantId>,
    room: RoomGrant,
    publish: bool,
    subscribe: bool,
    admin: bool,
}

#[derive(Debug, Clone)]
enum RoomGrant {
    Every,
    One(RoomId),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send media into a room.
    Publish,
    /// Receive the media of a room, or list its publishers.
    Subscribe,
}

impl Authenticator {
    /// Prepares the keys.
    pub(crate) fn new(config: &AuthConfig) -> Self {
        let AuthConfig::Tokens { keys, audience } = config else { return Self(None) };
        // Only this algorithm is accepted: neither `none`, nor one that would read a key of another kind as an HMAC
        // secret (RFC 8725 section 3.1).
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_nbf = true;
        // The leeway is meant for `nbf` only; the second setting takes it off `exp` again.
        validation.leeway = CLOCK_SKEW_SECONDS;
        validation.reject_tokens_expiring_in_less_than = CLOCK_SKEW_SECONDS;
        validation.set_required_spec_claims(&["exp"]);
        if let Some(audience) = audience {
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "aud"]);
        }
        let keys = keys
            .iter()
            .map(|(id, secret)| (id.clone(), DecodingKey::from_secret(secret.reveal().as_bytes())))
            .collect();
        Self(Some(Verifier { keys, validation }))
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
        let Some(verifier) = &self.0 else { return Ok(Caller::Anyone) };
        let Some(token) = bearer(headers) else {
            return Err(unauthorized("Bearer realm=\"sfumato\"", "A bearer token is needed."));
        };
        verifier
            .verify(token)
            .map(Caller::Bearer)
            .map_err(|why| unauthorized("Bearer realm=\"sfumato\", error=\"invalid_token\"", why))
    }
}

impl Verifier {
    fn verify(&self, token: &str) -> Result<Grants, &'static str> {
        const BAD: &str = "The token is malformed or its signature is wrong.";
        let header = jsonwebtoken::decode_header(token).map_err(|_| BAD)?;
        // A header extension that is marked critical must be understood (RFC 7515 section 4.1.11), and no such
        // extension is known here.
        if header.crit.is_some() {
            return Err(BAD);
        }
        let key = match (&header.kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|(id, _)| id == kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let (_, key) = key.ok_or("The token names no key that is known here.")?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|e| explain(e.kind()))?
            .claims;
        let identity = match &claims.sub {
            Some(sub) => Some(ParticipantId::parse(sub).map_err(|_| "The sub claim is no id.")?),
            None => None,
        };
        let room = match claims.room.as_str() {
            "*" => RoomGrant::Every,
            room => RoomGrant::One(RoomId::parse(room).map_err(|_| "The room claim is no id.")?),
        };
        let Claims { publish, subscribe, admin, .. } = claims;
        Ok(Grants { identity, room, publish, subscribe, admin })
    }
}

fn explain(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "The token has expired.",
        ErrorKind::ImmatureSignature => "The token is not valid yet.",
        ErrorKind::InvalidAudience => "The token is for another audience.",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            "A claim is missing or of the wrong type."
        }
        _ => "The token is malformed or its signature is wrong.",
    }
}

/// The token of an `Authorization: Bearer` field (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN_LEN)
        .then_some(token)
}

fn unauthorized(challenge: &'static str, why: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", why)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn forbidden(why: &'static str) -> Problem {
    let challenge = "Bearer realm=\"sfumato\", error=\"insufficient_scope\"";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", why)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

impl Caller {
    /// Checks that the token grants this action in the room.
    ///
    /// # Errors
    /// 403 when it does not.
    pub(crate) fn may(&self, action: Action, room: &RoomId) -> Result<(), Problem> {
        let Caller::Bearer(grants) = self else { return Ok(()) };
        if !grants.room.holds(room) {
            return Err(forbidden("The token is for another room."));
        }
        let (granted, missing) = match action {
            Action::Publish => (grants.publish, "The token does not grant publish."),
            Action::Subscribe => (grants.subscribe, "The token does not grant subscribe."),
        };
        if granted || grants.admin { Ok(()) } else { Err(forbidden(missing)) }
    }

    /// Checks that the caller may read what concerns the whole node.
    ///
    /// # Errors
    /// 403 without an admin grant for all rooms.
    pub(crate) fn may_administer(&self) -> Result<(), Problem> {
        match self {
            Caller::Anyone => Ok(()),
            Caller::Bearer(Grants { admin: true, room: RoomGrant::Every, .. }) => Ok(()),
            Caller::Bearer(_) => Err(forbidden("The token does not grant admin over all rooms.")),
        }
    }

    /// Checks that the caller may read what concerns the whole room.
    ///
    /// # Errors
    /// 403 without an admin grant for this room.
    pub(crate) fn may_administer_room(&self, room: &RoomId) -> Result<(), Problem> {
        match self {
            Caller::Anyone => Ok(()),
            Caller::Bearer(grants) if grants.admin && grants.room.holds(room) => Ok(()),
            Caller::Bearer(_) => Err(forbidden("The token does not grant admin over this room.")),
        }
    }

    /// The participant's name: the token's `sub`, or the requested name when authentication is off. `None`: the caller
    /// gets a generated name.
    ///
    /// # Errors
    /// 400 when the requested name is no id; 403 when it is not the token's.
    pub(crate) fn identity(&self, wish: Option<&str>) -> Result<Option<ParticipantId>, Problem> {
        let wish = wish.map(ParticipantId::parse).transpose().map_err(|e| {
            Problem::bad_request("bad-participant", format!("The participant: {e}."))
        })?;
        match self {
            Caller::Anyone => Ok(wish),
            Caller::Bearer(grants) if wish.is_none() || grants.identity == wish => {
                Ok(grants.identity.clone())
            }
            Caller::Bearer(_) => Err(forbidden("The token is for another participant.")),
        }
    }

    /// Whether the caller may use a session in `room` that was opened under the identity `owner` (`None`: with a token
    /// without `sub`).
    pub(crate) fn owns(&self, room: &RoomId, owner: Option<&ParticipantId>) -> bool {
        match self {
            Caller::Anyone => true,
            Caller::Bearer(grants) => {
                grants.room.holds(room) && (grants.admin || grants.identity.as_ref() == owner)
            }
        }
    }

    /// The identity under which this caller's sessions are opened.
    pub(crate) fn owner(&self) -> Option<ParticipantId> {
        match self {
            Caller::Anyone => None,
            Caller::Bearer(grants) => grants.identity.clone(),
        }
    }
}

impl RoomGrant {
    fn holds(&self, room: &RoomId) -> bool {
        match self {
            RoomGrant::Every => true,
            RoomGrant::One(one) => one == room,
        }
    }
}

/// The contents of a new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// A room, or `*` for all rooms.
    pub room: String,
    /// The bearer's identity; `None` makes a token for guests without a name.
    pub identity: Option<ParticipantId>,
    /// The bearer may send media.
    pub publish: bool,
    /// The bearer may receive media.
    pub subscribe: bool,
    /// The bearer may do everything in the room, and with room `*` also read metrics.
    pub admin: bool,
    /// How long the token is valid, from now.
    pub ttl: Duration,
    /// The `aud` claim.
    pub audience: Option<String>,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    room: &'a str,
    publish: bool,
    subscribe: bool,
    admin: bool,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Signs a token (HS256) with the key `key_id`.
///
/// # Errors
/// The cryptographic library failed.
pub fn mint(
    key_id: &str,
    secret: &Secret,
    token: &NewToken,
    now: SystemTime,
) -> Result<String, jsonwebtoken::errors::Error> {
    let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = NewClaims {
        sub: token.identity.as_ref().map(ParticipantId::as_str),
        room: &token.room,
        publish: token.publish,
        subscribe: token.subscribe,
        admin: token.admin,
        iat,
        exp: iat.saturating_add(token.ttl.as_secs()),
        aud: token.audience.as_deref(),
    };
    let header = Header { kid: Some(key_id.to_owned()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.reveal().as_bytes()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn authenticator(audience: Option<&str>) -> Authenticator {
        Authenticator::new(&AuthConfig::Tokens {
            keys: vec![("a".into(), Secret::new(KEY)), ("b".into(), Secret::new(OTHER))],
            audience: audience.map(str::to_owned),
        })
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn claims() -> Value {
        json!({ "sub": "ann", "room": "r", "publish": true, "exp": now() + 60 })
    }

    /// Signs any header and claims with HMAC-SHA256, as an attacker who knows `key` could.
    fn forge(header: &Value, claims: &Value, key: &str) -> String {
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let text = format!("{}.{}", encode(header), encode(claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
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

    #[test]
    fn minted_tokens_are_accepted_by_the_key_that_kid_names() {
        let token = NewToken {
            room: "r".into(),
            identity: Some(ParticipantId::parse("ann").unwrap()),
            publish: true,
            subscribe: false,
            admin: false,
            ttl: Duration::from_secs(60),
            audience: Some("here".into()),
        };
        let made = mint("b", &Secret::new(OTHER), &token, SystemTime::now()).unwrap();
        let caller = check(&authenticator(Some("here")), &made).unwrap();
        let (room, elsewhere) = (RoomId::parse("r").unwrap(), RoomId::parse("s").unwrap());
        assert!(caller.may(Action::Publish, &room).is_ok());
        assert_eq!(
            caller.may(Action::Subscribe, &room).unwrap_err().status(),
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            caller.may(Action::Publish, &elsewhere).unwrap_err().status(),
            StatusCode::FORBIDDEN
        );
        assert_eq!(caller.identity(None).unwrap().unwrap().as_str(), "ann");
        assert_eq!(caller.identity(Some("bob")).unwrap_err().status(), StatusCode::FORBIDDEN);
        assert!(caller.may_administer().is_err());

        let wrong = mint("a", &Secret::new(OTHER), &token, SystemTime::now()).unwrap();
        assert_eq!(
            check(&authenticator(Some("here")), &wrong).unwrap_err(),
            StatusCode::UNAUTHORIZED
        );
    }

    #[test]
    fn forged_and_malformed_tokens_are_refused() {
        let auth = authenticator(None);
        let hs256 = json!({ "alg": "HS256", "kid": "a" });
        assert!(check(&auth, &forge(&hs256, &claims(), KEY)).is_ok(), "the good one");
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let none = json!({ "alg": "none", "kid": "a" });
        let refused = [
            // No signature at all (RFC 8725 section 2.1).
            format!("{}.{}.", encode(&none), encode(&claims())),
            forge(&none, &claims(), KEY),
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
            "a.b.c".into(),
            "x".repeat(10_000),
        ];
        for (at, token) in refused.iter().enumerate() {
            assert_eq!(check(&auth, token).unwrap_err(), StatusCode::UNAUTHORIZED, "case {at}");
        }
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
        let room = RoomId::parse("r").unwrap();
        let ann = ParticipantId::parse("ann").unwrap();
        assert!(caller(claims()).owns(&room, Some(&ann)));
        let bob = with(claims(), "sub", json!("bob"));
        assert!(!caller(bob.clone()).owns(&room, Some(&ann)));
        assert!(!caller(bob.clone()).owns(&room, None));
        assert!(caller(with(bob, "admin", json!(true))).owns(&room, Some(&ann)));
        assert!(!caller(with(claims(), "room", json!("s"))).owns(&room, Some(&ann)));
        assert!(caller(with(claims(), "room", json!("*"))).owns(&room, Some(&ann)));
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
}

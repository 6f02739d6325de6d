//! What a token says: its claims, checked one by one (RFC 7519 section 4), so that an error names the claim that is wrong. Times are
//! compared with a time that the caller gives. The signature has been verified before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{ParticipantId, Permissions, Profile, RoomId, Sources, TrackSource};
use serde_json::{Map, Value};

use super::grants::{Grants, RoomGrant};

/// The clocks of two machines may differ by this much: `nbf` is checked with this leeway. `exp` is not, since a node that accepts a
/// token for longer than it was made for surprises its maker.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The latest `exp` and `nbf`: the end of the year 9999. Later ones could overflow the clock's type.
const LATEST_SECONDS: f64 = 253_402_300_799.0;

/// Most bytes of `jti`.
const JTI_MAX: usize = 256;

/// Why claims are refused: a text for the answer, which repeats nothing of the token.
pub(super) type Refusal = String;

/// The claims as JSON.
pub(super) type Claims = Map<String, Value>;

/// Reads the claims of a token whose signature is good.
///
/// # Errors
/// A claim is missing, of the wrong type, out of bounds, or says that the token is not for now or not for this node.
pub(super) fn read(
    claims: &Claims,
    audience: Option<&str>,
    now: SystemTime,
) -> Result<Grants, Refusal> {
    let expires = time(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    // "on or after which the JWT MUST NOT be accepted" (RFC 7519 section 4.1.4).
    if expires <= now {
        return Err("The token has expired.".into());
    }
    if time(claims, "nbf")?.is_some_and(|from| from > now + CLOCK_SKEW) {
        return Err("The token is not valid yet.".into());
    }
    check_audience(claims, audience)?;
    let room = match text(claims, "room")?.ok_or_else(|| missing("room"))? {
        "*" => RoomGrant::Every,
        room => {
            RoomGrant::One(RoomId::parse(room).map_err(|_| "The room claim is no id of a room.")?)
        }
    };
    let identity = text(claims, "sub")?
        .map(|sub| ParticipantId::parse(sub).map_err(|_| "The sub claim is no id."))
        .transpose()?;
    let jti = bounded(claims, "jti", JTI_MAX)?.map(str::to_owned);
    let name = bounded(claims, "name", Profile::NAME_MAX)?.unwrap_or_default();
    let metadata = bounded(claims, "metadata", Profile::METADATA_MAX)?.unwrap_or_default();
    let profile = Profile { name: name.into(), metadata: metadata.into() };
    let permissions = permissions(claims)?;
    Ok(Grants { identity, room, permissions, profile, expires, jti })
}

/// An administrator may do everything in the room; it stays hidden if the token says so.
fn permissions(claims: &Claims) -> Result<Permissions, Refusal> {
    let publish = publish(claims)?;
    let subscribe = flag(claims, "subscribe")?.unwrap_or(false);
    let data = flag(claims, "data")?.unwrap_or(subscribe || !publish.is_empty());
    let update_self = flag(claims, "update_self")?.unwrap_or(true);
    let hidden = flag(claims, "hidden")?.unwrap_or(false);
    if flag(claims, "admin")?.unwrap_or(false) {
        return Ok(Permissions { hidden, ..Permissions::ALL });
    }
    Ok(Permissions { publish, subscribe, data, update_self, hidden, admin: false })
}

fn publish(claims: &Claims) -> Result<Sources, Refusal> {
    match claims.get("publish") {
        None | Some(Value::Bool(false)) => Ok(Sources::NONE),
        Some(Value::Bool(true)) => Ok(Sources::ALL),
        Some(Value::Array(names)) => {
            let source = |name: &Value| name.as_str().and_then(TrackSource::parse);
            names.iter().map(source).collect::<Option<Sources>>().ok_or_else(|| {
                "The publish claim has a name that is no source; there are camera, microphone, screen and screen-audio."
                    .into()
            })
        }
        Some(_) => Err(wrong("publish", "true, false or a list of sources")),
    }
}

/// RFC 7519 section 4.1.3. A token that names an audience is not for a node that has no name.
fn check_audience(claims: &Claims, audience: Option<&str>) -> Result<(), Refusal> {
    let named: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("aud", "a text or a list of texts"))?,
        Some(_) => return Err(wrong("aud", "a text or a list of texts")),
    };
    match audience {
        None if !claims.contains_key("aud") => Ok(()),
        Some(_) if !claims.contains_key("aud") => Err(missing("aud")),
        Some(ours) if named.contains(&ours) => Ok(()),
        _ => Err("The token is for another audience.".into()),
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, possibly with a fraction.
fn time(claims: &Claims, claim: &str) -> Result<Option<SystemTime>, Refusal> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().ok_or_else(|| wrong(claim, "a number of seconds since 1970"))?;
    if !(0.0..=LATEST_SECONDS).contains(&seconds) {
        return Err(wrong(claim, "a number of seconds since 1970, before the year 10000"));
    }
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

fn text<'a>(claims: &'a Claims, claim: &str) -> Result<Option<&'a str>, Refusal> {
    let value = claims.get(claim);
    value.map(|value| value.as_str().ok_or_else(|| wrong(claim, "a text"))).transpose()
}

fn bounded<'a>(claims: &'a Claims, claim: &str, most: usize) -> Result<Option<&'a str>, Refusal> {
    match text(claims, claim)? {
        Some(text) if text.len() > most => {
            Err(format!("The {claim} claim is longer than {most} bytes."))
        }
        text => Ok(text),
    }
}

fn flag(claims: &Claims, claim: &str) -> Result<Option<bool>, Refusal> {
    let value = claims.get(claim);
    value.map(|value| value.as_bool().ok_or_else(|| wrong(claim, "true or false"))).transpose()
}

fn missing(claim: &str) -> Refusal {
    format!("The {claim} claim is missing.")
}

fn wrong(claim: &str, allowed: &str) -> Refusal {
    format!("The {claim} claim is not {allowed}.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn read_at(claims: Value, audience: Option<&str>) -> Result<Grants, Refusal> {
        let Value::Object(mut claims) = claims else { panic!("no object") };
        claims.entry("exp").or_insert(json!(NOW + 60));
        claims.entry("room").or_insert(json!("r"));
        read(&claims, audience, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn grants_have_defaults() {
        let of = |claims| read_at(claims, None).unwrap().permissions;
        let nothing = of(json!({}));
        assert!(nothing.publish.is_empty() && !nothing.subscribe && !nothing.data);
        assert!(nothing.update_self && !nothing.hidden && !nothing.admin);
        assert!(of(json!({ "subscribe": true })).data, "who watches may chat");
        assert!(of(json!({ "publish": ["camera"] })).data, "who speaks may chat");
        assert!(!of(json!({ "subscribe": true, "data": false })).data);
        assert!(!of(json!({ "update_self": false })).update_self);
        assert!(of(json!({ "hidden": true })).hidden);
        assert_eq!(of(json!({ "admin": true })), Permissions::ALL);
        assert!(of(json!({ "admin": true, "hidden": true })).hidden);
    }

    #[test]
    fn publish_is_all_sources_or_a_list_of_them() {
        let of = |value: Value| read_at(json!({ "publish": value }), None);
        assert_eq!(of(json!(true)).unwrap().permissions.publish, Sources::ALL);
        assert_eq!(of(json!([])).unwrap().permissions.publish, Sources::NONE);
        let two = Sources::NONE.with(TrackSource::Screen).with(TrackSource::ScreenAudio);
        let listed = of(json!(["screen-audio", "screen", "screen"])).unwrap();
        assert_eq!(listed.permissions.publish, two);
        for bad in
            [json!("camera"), json!(["webcam"]), json!([1]), json!({}), json!(1), json!(null)]
        {
            let why = of(bad.clone()).unwrap_err();
            assert!(why.contains("publish claim"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_claim_of_the_wrong_type_or_size_is_named() {
        for (claim, bad) in [
            ("exp", json!("1000060")),
            ("exp", json!(-1)),
            ("exp", json!(1e300)),
            ("exp", json!(null)),
            ("nbf", json!("0")),
            ("nbf", json!([])),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!(null)),
            ("room", json!(["r"])),
            ("room", json!("a/b")),
            ("name", json!(["Ann"])),
            ("name", json!("x".repeat(257))),
            ("metadata", json!({ "a": 1 })),
            ("metadata", json!("x".repeat(4_097))),
            ("jti", json!(1)),
            ("jti", json!("x".repeat(257))),
            ("aud", json!(5)),
            ("aud", json!([5])),
            ("subscribe", json!("true")),
            ("data", json!(1)),
            ("update_self", json!("no")),
            ("hidden", json!(null)),
            ("admin", json!("true")),
        ] {
            let why = read_at(json!({ claim: bad.clone() }), None).unwrap_err();
            assert!(why.contains(&format!("{claim} claim")), "{claim} {bad}: {why}");
        }
        for claim in ["exp", "room"] {
            let mut claims = Map::new();
            claims.insert("exp".into(), json!(NOW + 1));
            claims.insert("room".into(), json!("r"));
            claims.remove(claim);
            let why = read(&claims, None, UNIX_EPOCH + Duration::from_secs(NOW)).unwrap_err();
            assert!(why.contains(&format!("{claim} claim is missing")), "{why}");
        }
        let named = read_at(json!({ "name": "Ann Å", "metadata": "{}" }), None).unwrap();
        assert_eq!((&*named.profile.name, &*named.profile.metadata), ("Ann Å", "{}"));
    }

    #[test]
    fn times_are_compared_with_the_given_time() {
        let at = |exp: Value| read_at(json!({ "exp": exp }), None);
        assert!(at(json!(NOW)).unwrap_err().contains("expired"), "not accepted at exp itself");
        assert!(at(json!(NOW as f64 + 0.5)).is_ok());
        assert_eq!(at(json!(NOW + 9)).unwrap().expires, UNIX_EPOCH + Duration::from_secs(NOW + 9));
        assert!(read_at(json!({ "nbf": NOW + 5 }), None).is_ok(), "clocks may differ a little");
        let early = read_at(json!({ "nbf": NOW + 6 }), None).unwrap_err();
        assert!(early.contains("not valid yet"), "{early}");
    }

    #[test]
    fn the_audience_is_asked_for_when_there_is_one_and_refused_when_there_is_none() {
        let of = |aud: Value, ours| read_at(json!({ "aud": aud }), ours).is_ok();
        assert!(of(json!("here"), Some("here")) && of(json!(["there", "here"]), Some("here")));
        assert!(!of(json!("there"), Some("here")) && !of(json!([]), Some("here")));
        assert!(!of(json!("here"), None) && !of(json!([]), None));
        assert!(read_at(json!({}), Some("here")).unwrap_err().contains("aud claim is missing"));
    }
}

//! `[ice]`: STUN and TURN servers that clients are told to use.

use signaling::{IceServer, Secret};
use toml::Value;

use super::raw::{ConfigError, Raw, RawConfig};

const ALLOWED: &str = "a list of { urls = [\"stun:..\" or \"turn:..\" or \"turns:..\"], \
    username = \"..\", credential = \"..\" } (elsewhere a list of stun: URLs)";

pub(super) fn resolve(raw: &mut RawConfig) -> Result<Vec<IceServer>, ConfigError> {
    Ok(raw.take_secret("ice.servers", ALLOWED, servers)?.unwrap_or_default())
}

fn servers(raw: &Raw) -> Option<Vec<IceServer>> {
    match raw {
        Raw::Toml(Value::Array(values)) => values.iter().map(server).collect(),
        Raw::Toml(_) => None,
        Raw::Text(_) => {
            let urls = raw.list()?;
            if urls.is_empty() {
                return Some(Vec::new());
            }
            let server = IceServer { urls, username: None, credential: None };
            complete(server).map(|server| vec![server])
        }
    }
}

fn server(value: &Value) -> Option<IceServer> {
    let table = value.as_table()?;
    if table.keys().any(|key| !matches!(key.as_str(), "urls" | "username" | "credential")) {
        return None;
    }
    let urls = match table.get("urls")? {
        Value::String(url) => vec![url.clone()],
        Value::Array(urls) => {
            urls.iter().map(|url| url.as_str().map(str::to_owned)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let text = |key: &str| match table.get(key) {
        None => Some(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())),
    };
    complete(IceServer {
        urls,
        username: text("username")?,
        credential: text("credential")?.map(Secret::new),
    })
}

/// A TURN server needs user name and password, a STUN server neither (RFC 7064, RFC 7065).
fn complete(server: IceServer) -> Option<IceServer> {
    let plain = |url: &str| url.chars().all(|c| c.is_ascii_graphic() && !"<>\"".contains(c));
    let is = |url: &str, scheme: &str| url.len() > scheme.len() && url.starts_with(scheme);
    let turn = |url: &String| is(url, "turn:") || is(url, "turns:");
    let known = |url: &String| plain(url) && (turn(url) || is(url, "stun:") || is(url, "stuns:"));
    let words = server.username.is_some() && server.credential.is_some();
    (!server.urls.is_empty()
        && server.urls.iter().all(known)
        && (words || !server.urls.iter().any(turn)))
    .then_some(server)
}

//! `sfumato token` makes a bearer token with a configured key or a key file; `sfumato keys` makes such a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use model::{ParticipantId, Profile, RoomId, Sources, TrackSource};
use signaling::{NewToken, Secret, SigningKey};

use crate::cli::{KeysArgs, TokenArgs};
use crate::config::Config;

/// The token as text.
///
/// # Errors
/// What is wrong with the arguments, as a text for the operator.
pub(crate) fn make(args: &TokenArgs, config: &Config) -> Result<String, String> {
    if args.room != "*" {
        RoomId::parse(&args.room).map_err(|e| format!("--room {:?}: {e}", args.room))?;
    }
    let identity = args
        .identity
        .as_deref()
        .map(|text| ParticipantId::parse(text).map_err(|e| format!("--identity {text:?}: {e}")))
        .transpose()?;
    let publish = args.publish.as_deref().map_or(Ok(Sources::NONE), sources)?;
    if publish.is_empty() && !args.subscribe && !args.admin && !args.data {
        return Err(
            "a token that allows nothing: give --publish, --subscribe, --data or --admin".into()
        );
    }
    for (flag, text, most) in [
        ("--name", &args.name, Profile::NAME_MAX),
        ("--metadata", &args.metadata, Profile::METADATA_MAX),
    ] {
        if text.len() > most {
            return Err(format!("{flag} is longer than {most} bytes"));
        }
    }
    let token = NewToken {
        room: args.room.clone(),
        identity,
        publish,
        subscribe: args.subscribe,
        data: match (args.data, args.no_data) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        fixed_profile: args.fixed_profile,
        hidden: args.hidden,
        admin: args.admin,
        name: args.name.clone(),
        metadata: args.metadata.clone(),
        ttl: args.ttl,
        audience: config.auth.audience.clone(),
    };
    let key = signing_key(args, config)?;
    signaling::mint(&key, &token, SystemTime::now()).map_err(|e| e.to_string())
}

/// An empty list means all sources: `--publish` stands alone then.
fn sources(list: &str) -> Result<Sources, String> {
    if list.is_empty() {
        return Ok(Sources::ALL);
    }
    let source = |name: &str| {
        TrackSource::parse(name.trim()).ok_or_else(|| {
            format!("--publish {name:?}: the sources are camera, microphone, screen, screen-audio")
        })
    };
    list.split(',').map(source).collect()
}

fn signing_key(args: &TokenArgs, config: &Config) -> Result<SigningKey, String> {
    if let Some(path) = &args.key_file {
        let explain = |why: &dyn std::fmt::Display| format!("--key-file {}: {why}", path.display());
        let pem = std::fs::read_to_string(path).map_err(|error| explain(&error))?;
        return SigningKey::ed25519(args.key.as_deref(), &Secret::new(pem))
            .map_err(|why| explain(&why));
    }
    let keys = &config.auth.keys;
    let (id, secret) = match &args.key {
        Some(id) => keys.get_key_value(id).ok_or_else(|| format!("auth.keys has no {id:?}"))?,
        None => keys.first_key_value().ok_or(
            "auth.keys is empty, and there is no --key-file: there is nothing to sign with",
        )?,
    };
    Ok(SigningKey::secret(id, secret))
}

/// Makes a pair of keys, writes the private one to a file that only its owner may read, and returns the set with the public one.
///
/// # Errors
/// The file exists or cannot be written, as a text for the operator.
pub(crate) fn new_keys(args: &KeysArgs) -> Result<String, String> {
    let made = signaling::new_keys()?;
    write_new(&args.out, made.private.reveal())
        .map_err(|error| format!("--out {}: {error}", args.out.display()))?;
    Ok(made.set)
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

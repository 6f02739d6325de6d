//! `sfumato token`: makes a bearer token with a configured key.

use std::time::SystemTime;

use model::{ParticipantId, RoomId};
use signaling::NewToken;

use crate::cli::TokenArgs;
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
    if !(args.publish || args.subscribe || args.admin) {
        return Err("a token that allows nothing: give --publish, --subscribe or --admin".into());
    }
    let keys = &config.auth.keys;
    let key = match &args.key {
        Some(id) => keys.get_key_value(id).ok_or_else(|| format!("auth.keys has no {id:?}"))?,
        None => {
            keys.first_key_value().ok_or("auth.keys is empty: there is nothing to sign with")?
        }
    };
    let token = NewToken {
        room: args.room.clone(),
        identity,
        publish: args.publish,
        subscribe: args.subscribe,
        admin: args.admin,
        ttl: args.ttl,
        audience: config.auth.audience.clone(),
    };
    signaling::mint(key.0, key.1, &token, SystemTime::now()).map_err(|e| e.to_string())
}

//! Members of the good peers' room who use its events against it: records of the largest size that change as often as they can,
//! messages to all, subscriptions that change with each command, events that nobody reads, and connections of events that begin
//! again and again with a snapshot (threats 36, 44 and 57).

use std::{iter, time::Duration};

use serde_json::{Value, json};

use super::{Pace, Scene, anybody, repeat, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        http::WebSocket,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

/// Commands per second of one attacker.
const MOST: f64 = 400.0;
/// Commands over one connection: more than the node answers before it ends it.
const OF_ONE_CONNECTION: usize = 300;
/// Connections of one session, each with a snapshot.
const OF_ONE_SESSION: usize = 8;
/// Bytes of a data message, and of metadata; in JSON a control character has six bytes.
const MESSAGE: usize = 48 << 10;
const METADATA: usize = 4_000;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    repeat(scene, random, disturb)
}

fn disturb(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<(), String> {
    let (room, token) = (scene.good_room.as_str(), scene.watch_token(random));
    let (source, sections) = (anybody(random), watching());
    let invitation = Invitation { way: Way::Room, room, token, source, sections: &sections };
    let mut peer = Peer::join(scene, &invitation, random, deeds)?;
    deeds.did("members", 1);
    let mut done = Ok(());
    for number in 0..OF_ONE_SESSION {
        if !scene.goes_on() || done.is_err() {
            break;
        }
        // Every second connection is never read.
        let reads = number % 2 == 0;
        done = peer.events(deeds).map(|socket| flood(scene, &mut peer, socket, reads, deeds));
    }
    peer.leave(deeds);
    done
}

/// Commands as fast as the pace allows, until the node ends the connection.
fn flood(scene: &Scene, peer: &mut Peer, mut socket: WebSocket, reads: bool, deeds: &mut Deeds) {
    let mut pace = Pace::new(MOST);
    let commands = (0..).map(command);
    let all = iter::once(json!({ "type": "hello" })).chain(commands).take(OF_ONE_CONNECTION);
    for text in all.map(|command| command.to_string()) {
        let ended = socket.say(&text).is_err() || (reads && socket.discard().is_err());
        if ended || !scene.goes_on() {
            return;
        }
        deeds.did("commands", 1);
        // Its session stays connected, and takes the media of the room.
        peer.pump(Duration::ZERO, |_, _, _| {});
        pace.did(1);
    }
}

fn command(number: usize) -> Value {
    match number % 4 {
        0 => {
            let text = "\u{1}".repeat(METADATA);
            json!({ "type": "update_me", "metadata": format!("{number}{text}") })
        }
        1 => {
            json!({ "type": "subscribe", "policy": "auto", "pinned": [format!("nobody-{number}")] })
        }
        2 => json!({ "type": "subscribe", "policy": "manual", "slots": [] }),
        _ => json!({ "type": "send_data", "topic": "flood", "text": "x".repeat(MESSAGE) }),
    }
}

//! Offers without a client behind them (threats 40 and 41): hundreds of sessions that never connect. One token is used
//! until it is refused, then the next; and each comes from a new address, so that limits by address do not help.

use super::{Pace, Scene, anybody, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Begun, Invitation, Way},
    },
    random::Random,
};

/// Offers per second of one attacker.
const MOST: f64 = 500.0;
/// Refusals of a token in a row after which another token is used.
const REFUSALS: u32 = 20;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let mut pace = Pace::new(MOST);
    let sections = watching();
    let mut token = scene.watch_token(random);
    let mut refused = 0;
    while scene.goes_on() {
        let (room, source) = (&scene.good_room, anybody(random));
        let invitation = Invitation { way: Way::Whep, room, token, source, sections: &sections };
        deeds.did("offers", 1);
        match Begun::new(scene, &invitation, random, &mut deeds) {
            // The session is never connected and never deleted, so the node has to free it.
            Ok(_) => refused = 0,
            Err(_) if refused >= REFUSALS => {
                (token, refused) = (scene.watch_token(random), 0);
            }
            Err(_) => refused += 1,
        }
        pace.did(1);
    }
    deeds
}

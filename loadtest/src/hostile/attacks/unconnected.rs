//! Offers without a client behind them (threats 40 and 41): hundreds of sessions that never connect, with one token until it is refused, then
//! with others, and from ever new addresses, so that the limits of an address do not help.

use super::{Pace, Scene, anybody, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Begun, Invitation, Way},
    },
    random::Random,
};

/// Offers a second of one attacker.
const MOST: f64 = 500.0;
/// Refusals of a token in a row until another one is taken.
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
            // Never connected and never deleted: the node has to free it by itself.
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

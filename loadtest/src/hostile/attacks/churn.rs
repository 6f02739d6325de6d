//! Sessions that connect and end at once (threat 17): each costs the node a handshake, and commands to the workers
//! when it opens and when it ends.

use super::{Scene, anybody, video, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let (watched, sent) = (watching(), [video(random)]);
    while scene.goes_on() {
        let source = anybody(random);
        let invitation = if random.below(2) == 0 {
            let (room, token) = scene.own_room(random);
            Invitation { way: Way::Whip, room, token, source, sections: &sent }
        } else {
            let (room, token) = (scene.good_room.as_str(), scene.watch_token(random));
            Invitation { way: Way::Whep, room, token, source, sections: &watched }
        };
        match Peer::join(scene, &invitation, random, &mut deeds) {
            Ok(peer) => {
                deeds.did("sessions", 1);
                peer.leave(&mut deeds);
            }
            Err(trouble) => deeds.trouble(&trouble),
        }
    }
    deeds
}

//! GETs of listings (threat 62): of all rooms, of the good peers' room, and of the configuration, over connections
//! that are kept open. If a listing is made under a lock that joins need too, joins become slow.

use super::{Scene, anybody};
use crate::{
    hostile::{deeds::Deeds, http::Client},
    random::Random,
};

/// Requests over one connection, and from one address.
const OF_ONE_ADDRESS: usize = 500;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let mut client = Client::new(anybody(random), scene.http);
    let room = format!("/api/rooms/{}", scene.good_room);
    let paths = ["/api/rooms", room.as_str(), "/api/rooms?limit=1000", "/api/config"];
    while scene.goes_on() {
        for number in 0..OF_ONE_ADDRESS {
            if !scene.goes_on() {
                break;
            }
            let token = scene.watch_token(random);
            let reply = client.get(paths[number % paths.len()], Some(token));
            deeds.did("requests", 1);
            deeds.answered(&reply);
        }
        client.move_to(anybody(random));
    }
    deeds
}

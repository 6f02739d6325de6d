//! Publishers of many tracks that fill the node's packet buffers and fall silent (threat 54): a node that evicts from a
//! track's cache only when the next packet of that track comes has no buffer left for anybody else.

use std::time::Duration;

use super::{AGAIN, Pace, Scene, Stream, anybody, nameless_video, streams, vp8};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

/// Sections that an offer may have.
const TRACKS: usize = 64;
/// Packets of a burst on one track: what a cache may hold, and some.
const BURST: u32 = 1_100;
/// Bytes of a packet: buffers are counted, so small ones do.
const PAYLOAD: usize = 160;
/// Packets a second of one attacker: 64 x 1,100 within one and a half seconds.
const MOST: f64 = 48_000.0;
/// The silence between two bursts. It is short since the run is; what counts is that nothing comes in it.
const SILENCE: Duration = Duration::from_millis(500);

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let sections = vec![nameless_video(); TRACKS];
    while scene.goes_on() {
        let (room, token) = scene.own_room(random);
        let source = anybody(random);
        let invitation = Invitation { way: Way::Whip, room, token, source, sections: &sections };
        let mut peer = match Peer::join(scene, &invitation, random, &mut deeds) {
            Ok(peer) => peer,
            Err(trouble) => {
                deeds.trouble(&trouble);
                scene.sleep(AGAIN);
                continue;
            }
        };
        deeds.did("sessions", 1);
        let mut tracks = streams(&peer, &sections, random);
        while scene.goes_on() {
            burst(scene, &mut peer, &mut tracks, &mut deeds);
            peer.pump(SILENCE, |_, _, _| ());
        }
        peer.leave(&mut deeds);
    }
    deeds
}

/// A burst on every track, one track after the other.
fn burst(scene: &Scene, peer: &mut Peer, tracks: &mut [Stream], deeds: &mut Deeds) {
    let mut pace = Pace::new(MOST);
    let (key, delta) = (vp8(true, PAYLOAD), vp8(false, PAYLOAD));
    for track in tracks {
        for number in 0..BURST {
            let payload = if number == 0 { &key } else { &delta };
            deeds.did("packets", u64::from(track.send(peer, payload)));
            if number % 100 == 99 {
                peer.flush();
                pace.did(100);
                if !scene.goes_on() {
                    return;
                }
            }
        }
        peer.pump(Duration::ZERO, |_, _, _| ());
    }
}

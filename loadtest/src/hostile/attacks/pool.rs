//! Publishers of many tracks that fill the node's packet buffers and fall silent (threat 54), each with a viewer of
//! all its tracks, for which the node keeps the packets. A node that removed packets from a track's cache only when
//! the track's next packet arrives would have no buffers left for other publishers.

use std::time::Duration;

use super::{AGAIN, Pace, Scene, Stream, anybody, nameless_video, streams, vp8, watched_video};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

/// Sections that an offer may have.
const TRACKS: usize = 64;
/// Sessions of one attacker at a time.
const SESSIONS: usize = 2;
/// Packets of a burst on one track: somewhat more than a cache may hold.
const BURST: u32 = 1_100;
/// Bytes of a packet: too many for the small buffers, which are for audio. Buffers are counted, so larger packets
/// would not use more of them.
const PAYLOAD: usize = 300;
/// Packets per second of one attacker.
const MOST: f64 = 48_000.0;
/// The silence between two bursts. It is short because the run is; what matters is that no packet arrives meanwhile.
const SILENCE: Duration = Duration::from_millis(500);

/// A publisher with its tracks, and a viewer of them.
struct Source {
    peer: Peer,
    viewer: Peer,
    tracks: Vec<Stream>,
}

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let mut sources: Vec<Source> = Vec::new();
    while scene.goes_on() {
        if sources.len() < SESSIONS {
            match open(scene, random, &mut deeds) {
                Ok(source) => sources.push(source),
                Err(trouble) => {
                    deeds.trouble(&trouble);
                    scene.sleep(AGAIN);
                }
            }
            continue;
        }
        burst(scene, &mut sources, &mut deeds);
        for source in &mut sources {
            source.peer.pump(SILENCE / SESSIONS as u32, |_, _, _| ());
            source.hear(&mut deeds);
        }
    }
    for Source { peer, viewer, .. } in sources {
        peer.leave(&mut deeds);
        viewer.leave(&mut deeds);
    }
    deeds
}

fn open(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<Source, String> {
    let (room, token) = scene.own_room(random);
    let (source, sections) = (anybody(random), vec![nameless_video(); TRACKS]);
    let invitation = Invitation { way: Way::Whip, room, token, source, sections: &sections };
    let peer = Peer::join(scene, &invitation, random, deeds)?;
    deeds.did("sessions", 1);
    let tracks = streams(&peer, &sections, random);
    let sections = vec![watched_video(); TRACKS];
    let (way, source) = (Way::Whep, anybody(random));
    let invitation = Invitation { way, source, sections: &sections, ..invitation };
    let viewer = Peer::join(scene, &invitation, random, deeds)?;
    Ok(Source { peer, viewer, tracks })
}

impl Source {
    /// Keeps the viewer's session alive: it receives packets and sends checks.
    fn hear(&mut self, deeds: &mut Deeds) {
        let mut seen = 0;
        self.viewer.pump(Duration::ZERO, |_, _, _| seen += 1);
        deeds.did("received", seen);
    }
}

/// A burst on every track of all sources, one track after the other.
fn burst(scene: &Scene, sources: &mut [Source], deeds: &mut Deeds) {
    let mut pace = Pace::new(MOST);
    let (key, delta) = (vp8(true, PAYLOAD), vp8(false, PAYLOAD));
    for at in 0..TRACKS {
        for source in &mut *sources {
            source.hear(deeds);
            let Source { peer, tracks, .. } = source;
            let Some(track) = tracks.get_mut(at) else { continue };
            for number in 0..BURST {
                let payload = if number == 0 { &key } else { &delta };
                deeds.did("packets", u64::from(track.send(peer, payload)));
                if number % 100 == 99 {
                    peer.flush();
                    pace.did(100);
                }
            }
            peer.pump(Duration::ZERO, |_, _, _| ());
            if !scene.goes_on() {
                return;
            }
        }
    }
}

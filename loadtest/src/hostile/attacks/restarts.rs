//! A publisher that restarts its streams all the time (threats 55 and 58): thousands of SSRCs, and jumps of sequence
//! numbers and timestamps, while a viewer watches. It shows tables that grow with every SSRC ever seen, and counters
//! that wrap.

use std::time::Duration;

use model::Ssrc;

use super::{Pace, Scene, Stream, repeat, vp8, watched_publisher};
use crate::{
    hostile::{deeds::Deeds, peer::Peer},
    random::Random,
};

/// Restarts per second, with three packets each.
const MOST: f64 = 5_000.0;
const PAYLOAD: usize = 400;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    repeat(scene, random, play)
}

fn play(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<(), String> {
    let (mut publisher, mut viewer, steady) = watched_publisher(scene, random, deeds)?;
    restart(scene, random, deeds, &mut publisher, &mut viewer, steady);
    publisher.leave(deeds);
    viewer.leave(deeds);
    Ok(())
}

/// Half of the restarts keep their SSRC and jump ahead, as SRTP requires; the others have a new SSRC.
fn restart(
    scene: &Scene,
    random: &mut Random,
    deeds: &mut Deeds,
    publisher: &mut Peer,
    viewer: &mut Peer,
    mut steady: Stream,
) {
    let (key, delta) = (vp8(true, PAYLOAD), vp8(false, PAYLOAD));
    let mut pace = Pace::new(MOST);
    let mut turn = 0_u64;
    while scene.goes_on() {
        turn += 1;
        let mut stream = if turn.is_multiple_of(2) {
            steady.sequence += 1 + random.below(30_000) as u64;
            steady.timestamp = random.next() as u32;
            steady.clone()
        } else {
            // Low sequence numbers: a receiver guesses the rollover counter wrongly if a stream begins just before it
            // wraps.
            let (ssrc, sequence) = (Ssrc(random.ssrc()), random.next() & 0x7fff);
            let mut fresh = steady.clone();
            (fresh.ssrc, fresh.sequence) = (ssrc, sequence);
            fresh.timestamp = random.next() as u32;
            fresh
        };
        // Some restarts begin with a key frame, others have none.
        let first = if turn.is_multiple_of(3) { &key } else { &delta };
        let sent = stream.send(publisher, first)
            & stream.send(publisher, &delta)
            & stream.send(publisher, &delta);
        deeds.did("restarts", u64::from(sent));
        if stream.ssrc == steady.ssrc {
            steady = stream;
        }
        if turn.is_multiple_of(20) {
            publisher.flush();
            publisher.pump(Duration::ZERO, |_, _, _| ());
            let mut seen = 0;
            viewer.pump(Duration::ZERO, |_, _, _| seen += 1);
            deeds.did("received", seen);
            pace.did(20);
        }
    }
}

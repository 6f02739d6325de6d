//! Publishers that send authentic packets as fast as the machine can (threat 57), each with a viewer, so that packets
//! over the rate would cost the node decryption, forwarding and encryption if it did not drop them.

use std::time::Duration;

use super::{Pace, Scene, repeat, vp8, watched_publisher};
use crate::{hostile::deeds::Deeds, random::Random};

/// Packets per second of one attacker, far beyond any real publisher: 500 Mbit/s.
const MOST: f64 = 60_000.0;
const PAYLOAD: usize = 1_050;
/// Packets between two checks of the rate.
const TRAIN: u64 = 50;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    repeat(scene, random, flood)
}

fn flood(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<(), String> {
    let (mut publisher, mut viewer, mut stream) = watched_publisher(scene, random, deeds)?;
    let (key, delta) = (vp8(true, PAYLOAD), vp8(false, PAYLOAD));
    let mut pace = Pace::new(MOST);
    while scene.goes_on() {
        for number in 0..TRAIN {
            let is_key = number == 0 && stream.sequence % 2_000 < TRAIN;
            let payload = if is_key { &key } else { &delta };
            deeds.did("packets", u64::from(stream.send(&mut publisher, payload)));
        }
        publisher.flush();
        publisher.pump(Duration::ZERO, |_, _, _| ());
        let mut seen = 0;
        viewer.pump(Duration::ZERO, |_, _, _| seen += 1);
        deeds.did("received", seen);
        pace.did(TRAIN);
    }
    publisher.leave(deeds);
    viewer.leave(deeds);
    Ok(())
}

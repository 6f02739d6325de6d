//! Taking over the address of another session (threats 26 and 61): authentic checks of session B from the address of
//! session A. An attacker that can forge source addresses could do this from afar; here both sessions use one socket,
//! which looks the same to the node. A publishes, and its media must still reach its viewer.

use std::time::{Duration, Instant};

use super::{Scene, anybody, repeat, streams, video, vp8, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

/// The interval between two forged checks, and between two pictures of the victim.
const EVERY: Duration = Duration::from_millis(10);
/// Pictures between two key frames of the victim, so that its viewer need not request any.
const KEY_EVERY: u64 = 20;
const PAYLOAD: usize = 300;
/// How long the victim sends before the first forged check.
const USUAL: Duration = Duration::from_millis(300);

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    repeat(scene, random, take_over)
}

fn take_over(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<(), String> {
    let (room, token) = scene.own_room(random);
    let (sent, watched) = ([video(random)], watching());
    let (way, source) = (Way::Whip, anybody(random));
    let invitation = Invitation { way, room, token, source, sections: &sent };
    let mut victim = Peer::join(scene, &invitation, random, deeds)?;
    let (way, source) = (Way::Whep, anybody(random));
    let invitation = Invitation { way, room, token, source, sections: &watched };
    let mut viewer = Peer::join(scene, &invitation, random, deeds)?;
    // The attacker's own session is connected at an address of its own, like a participant's.
    let invitation = Invitation { source: anybody(random), ..invitation };
    let mut attacker = Peer::join(scene, &invitation, random, deeds)?;
    let all = streams(&victim, &sent, random);
    let mut stream = all.into_iter().next().ok_or("answer: no section of ours")?;
    let (key, delta) = (vp8(true, PAYLOAD), vp8(false, PAYLOAD));
    let mut gap = Gap::default();
    let usual = Instant::now() + USUAL;
    while scene.goes_on() {
        let is_key = stream.sequence % KEY_EVERY == 1;
        stream.send(&mut victim, if is_key { &key } else { &delta });
        if Instant::now() > usual {
            victim.raw(&attacker.check(random));
            deeds.did("checks", 1);
        }
        victim.pump(EVERY, |_, _, _| ());
        attacker.pump(Duration::ZERO, |_, _, _| ());
        viewer.pump(Duration::ZERO, |_, _, at| gap.came(at));
    }
    deeds.did("received", gap.count);
    // Counts the gap up to the end, for a viewer that gets nothing until then.
    gap.came(Instant::now());
    deeds.victim_waited(gap.longest);
    for peer in [attacker, victim, viewer] {
        peer.leave(deeds);
    }
    Ok(())
}

/// The longest time without a packet.
#[derive(Debug, Default)]
struct Gap {
    last: Option<Instant>,
    longest: Duration,
    count: u64,
}

impl Gap {
    fn came(&mut self, at: Instant) {
        let gap = self.last.map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
        self.longest = self.longest.max(gap);
        self.last = Some(at);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_kept() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut gap = Gap::default();
        for at in [0, 10, 400, 410] {
            gap.came(now + ms(at));
        }
        assert_eq!((gap.longest, gap.count), (ms(390), 4));
    }
}

//! Taking over another one's address (threats 26 and 61): authentic checks of session B from the address of session A. Whoever can
//! forge source addresses could do that from afar; here both sessions use one socket, which looks the same to the node. A watches the
//! good ones and must go on watching.

use std::time::{Duration, Instant};

use super::{AGAIN, Scene, anybody, watching};
use crate::{
    bot::stun::{self, Check},
    hostile::{
        deeds::Deeds,
        peer::{Begun, Invitation, Peer, Way},
    },
    random::Random,
};

/// From one forged check to the next.
const EVERY: Duration = Duration::from_millis(10);
/// The victim sees the usual for so long first.
const USUAL: Duration = Duration::from_millis(300);

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    while scene.goes_on() {
        if let Err(trouble) = take_over(scene, random, &mut deeds) {
            deeds.trouble(&trouble);
            scene.sleep(AGAIN);
        }
    }
    deeds
}

fn take_over(scene: &Scene, random: &mut Random, deeds: &mut Deeds) -> Result<(), String> {
    let (room, sections) = (&scene.good_room, watching());
    let (token, source) = (scene.watch_token(random), anybody(random));
    let invitation = Invitation { way: Way::Whep, room, token, source, sections: &sections };
    let mut victim = Peer::join(scene, &invitation, random, deeds)?;
    let mut last = None;
    // The victim's media begins at the next key frame; what is measured begins with it.
    victim.pump(USUAL, |_, _, at| last = Some(at));
    let token = scene.watch_token(random);
    let invitation = Invitation { token, source: anybody(random), ..invitation };
    let attacker = Begun::new(scene, &invitation, random, deeds)?;
    let (username, password) = attacker.check_as();
    let key = stun::key(password);
    while scene.goes_on() {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&random.next().to_be_bytes());
        let tie_breaker = random.next();
        let (username, key) = (username.as_str(), &key);
        let check = Check { transaction, username, tie_breaker, nominate: true, key }.to_bytes();
        victim.raw(&check);
        victim.flush();
        deeds.did("checks", 1);
        victim.pump(EVERY, |_, _, at| {
            deeds.did("received", 1);
            deeds.victim_waited(
                last.map_or(Duration::ZERO, |last| at.saturating_duration_since(last)),
            );
            last = Some(at);
        });
    }
    // What did not come any more is a gap, too.
    if let Some(last) = last {
        deeds.victim_waited(Instant::now().saturating_duration_since(last));
    }
    attacker.leave(deeds);
    victim.leave(deeds);
    Ok(())
}

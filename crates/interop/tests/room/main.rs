//! A room of fifty members on another WebRTC stack (str0m), for ten minutes of a virtual clock: they come and go, speak in turns, mute,
//! offer again, send data messages, vanish and return. DTLS, SRTP, SCTP, workers, rooms and numbered events are real; only sockets and
//! time are not.
//!
//! The seed says who does what and when. `SFUMATO_ROOM_SEEDS=1,2,3` runs with other seeds, `SFUMATO_ROOM_SECONDS` for another time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says its seed"
)]

mod act;
mod cast;
mod check;
mod member;
mod rng;
mod view;
mod world;

use std::time::Duration;

use room::RoomSettings;

use crate::{cast::CAST, world::World};

/// Tracks that everybody hears.
const AUDIBLE: usize = 3;
/// The clock's steps in a second.
const STEPS: usize = 50;

fn numbers(name: &str, default: &str) -> Vec<u64> {
    let text = std::env::var(name).unwrap_or_else(|_| default.into());
    text.split(',')
        .map(|n| n.trim().parse().unwrap_or_else(|e| panic!("{name}: {n}: {e}")))
        .collect()
}

/// Members that there should be: everybody at first, then many and few by turns.
fn wanted(second: u64) -> usize {
    match second {
        0..60 => usize::from(CAST),
        _ => [20, 12, 35, 8][(second / 60) as usize % 4],
    }
}

fn run(seed: u64, seconds: u64) {
    let settings = RoomSettings {
        audible: AUDIBLE,
        lost_timeout: Duration::from_secs(20),
        empty_timeout: Duration::from_secs(60),
        ..RoomSettings::default()
    };
    let mut world = World::new(seed, settings);
    for second in 0..seconds {
        let absent = world.absent();
        let there = world.members.len();
        if there < wanted(second) {
            (0..2)
                .filter_map(|_| world.rng.pick(&absent))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .for_each(|index| world.join(index));
        } else if there > wanted(second) {
            let all: Vec<u16> = world.members.keys().copied().collect();
            let goodbye = world.rng.below(2) == 0;
            world.rng.pick(&all).into_iter().for_each(|index| world.go(index, goodbye));
        }
        world.act();
        world.take_turns();
        (0..STEPS).for_each(|_| world.step());
        let all = second % 20 == 19;
        world.check_views(|index| all || u64::from(index) % 10 == second % 10);
        world.check_flows();
        world.check_voices();
        world.check_messages();
    }
    let tally = &world.tally;
    println!("{tally:?}");
    if seconds >= 600 {
        assert!(tally.most >= 40 && tally.returns >= 10 && tally.vanished >= 10, "{tally:?}");
        assert!(tally.leaves >= 10 && tally.offers >= 10 && tally.mutes >= 10, "{tally:?}");
        assert!(tally.received_messages > 500 && tally.resumed > 0, "{tally:?}");
        assert!(tally.flowing > 1_000 && tally.voices > 1_000, "{tally:?}");
    }
}

#[test]
fn members_of_another_stack_see_and_hear_what_their_events_say() {
    let seconds = numbers("SFUMATO_ROOM_SECONDS", "600")[0];
    for seed in numbers("SFUMATO_ROOM_SEEDS", "1") {
        println!("seed {seed}: SFUMATO_ROOM_SEEDS={seed} SFUMATO_ROOM_SECONDS={seconds}");
        run(seed, seconds);
    }
}

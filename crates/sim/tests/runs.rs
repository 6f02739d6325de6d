//! The slice of runs that is part of every test, and proof that runs replay and that their checks can fail.

use std::collections::BTreeSet;

use sfumato_sim::{Fault, Options, Outcome, Weather, run};

/// Seeds of the slice. `cargo xtask sim` runs more.
const SLICE: std::ops::RangeInclusive<u64> = 1..=80;

fn outcomes(seeds: impl Iterator<Item = u64>, fault: Option<Fault>) -> Vec<Outcome> {
    let options = Options { fault, ..Options::default() };
    seeds.map(|seed| run(seed, &options)).collect()
}

fn failures(outcomes: &[Outcome]) -> Vec<String> {
    let failed = outcomes.iter().filter_map(|o| Some((o, o.failure.as_ref()?)));
    let told = failed.map(|(o, why)| {
        let events = o.events.join("\n");
        format!("{events}\nseed {}: {why}\nagain: cargo xtask sim --seed {}", o.seed, o.seed)
    });
    told.collect()
}

#[test]
fn a_slice_of_seeds_runs_without_a_complaint() {
    let outcomes = outcomes(SLICE, None);
    let failures = failures(&outcomes);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    // The slice would prove little if these did not happen in it.
    let any = |what: fn(&Outcome) -> bool| outcomes.iter().any(what);
    assert!(any(|o| o.workers > 1 && o.handed_over > 0), "datagrams change workers");
    assert!(any(|o| o.retransmitted > 0), "packets are lost and sent again");
    assert!(outcomes.iter().all(|o| o.peers > 1 && o.datagrams > 0));
    for weather in [Weather::Calm, Weather::Breezy, Weather::Stormy] {
        assert!(outcomes.iter().any(|o| o.weather == weather && o.seen > 100), "{weather:?}");
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 1..=12 {
        let [one, two] = [(); 2].map(|()| run(seed, &Options::default()));
        assert_eq!((one.digest, one.datagrams), (two.digest, two.datagrams), "seed {seed}");
        assert_eq!(one.events, two.events, "seed {seed}");
    }
}

#[test]
fn the_seed_reaches_the_network() {
    let digests: BTreeSet<u64> = outcomes(1..=12, None).iter().map(|o| o.digest).collect();
    assert_eq!(digests.len(), 12);
}

#[test]
fn publishers_that_never_answer_with_a_key_frame_are_found() {
    let failures = failures(&outcomes(1..=12, Some(Fault::NoKeyFrames)));
    assert!(failures.iter().any(|why| why.contains("has not had Video")), "{failures:?}");
}

#[test]
fn a_byte_that_is_changed_on_the_way_is_found() {
    let failures = failures(&outcomes(SLICE, Some(Fault::ForgedRetransmissions)));
    assert!(failures.iter().any(|why| why.contains("is not what was sent")), "{failures:?}");
}

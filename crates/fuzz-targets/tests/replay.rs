//! Runs every fuzz target on its seeds and on seeded mutations of them: a second of fuzzing that is the same in every
//! run. A failing input is printed as hex.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use sfumato_fuzz_targets::{TARGETS, Target};

/// The longest mutated input in bytes.
const MAX_LEN: usize = 4096;

/// The seeds of a target by file name, in a fixed order.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "fuzz", "seeds", target].iter().collect();
    let mut seeds: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

fn run(target: Target, origin: &str, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
        panic!("target {} broke on {origin}: {hex}", target.name);
    }
}

/// xorshift64*: the same sequence in every run, on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound.max(1)
    }
}

fn mutate(numbers: &mut Numbers, input: &mut Vec<u8>, other: &[u8]) {
    const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xbe, 0xfe, 0xff];
    let at = numbers.below(input.len());
    match numbers.below(8) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
        2 if !input.is_empty() => input[at] = EDGES[numbers.below(EDGES.len())],
        3 if !input.is_empty() => {
            let step = numbers.below(9) as u8;
            input[at] = input[at].wrapping_add(step).wrapping_sub(4);
        }
        4 => input.truncate(at),
        5 if !input.is_empty() => {
            let end = (at + 1 + numbers.below(8)).min(input.len());
            input.drain(at..end);
        }
        6 => {
            let end = (at + 1 + numbers.below(16)).min(input.len());
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        _ => {
            let from = numbers.below(other.len());
            input.truncate(at);
            input.extend(&other[from.min(other.len())..]);
        }
    }
    input.truncate(MAX_LEN);
}

#[test]
fn seeds_and_their_mutations_break_no_promise() {
    for &target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (file, seed) in &seeds {
            run(target, file, seed);
        }
        let mut numbers = Numbers(0x5f0_4a70);
        for round in 0..target.mutations {
            let (file, seed) = &seeds[numbers.below(seeds.len())];
            let other = seeds[numbers.below(seeds.len())].1.clone();
            let mut input = seed.clone();
            for _ in 0..=numbers.below(6) {
                mutate(&mut numbers, &mut input, &other);
            }
            run(target, &format!("mutation {round} of {file}"), &input);
        }
    }
}

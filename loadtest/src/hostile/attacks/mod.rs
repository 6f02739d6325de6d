//! The attacks: what each does, and what the node must show for it. Each is a file; they share a scene and a pace.
//!
//! An attack ends when the scene's time is over. It then ends its sessions with DELETE: sessions that are left would
//! use the node during the next attack, and their harm would be attributed to that one. The highest rate of an attack
//! is a constant in its file. Good peers and attackers share a machine, so without that bound the run would measure
//! how little of the machine the good peers get.

mod churn;
mod feedback;
mod listings;
mod media;
mod members;
mod offers;
mod pool;
mod restarts;
mod roaming;
mod strangers;
mod streams;
mod unconnected;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use transport::dtls::Certificate;

use self::streams::{Stream, nameless_video, streams, video, vp8, watched_video, watching};
use super::{
    deeds::Deeds,
    peer::{Invitation, Peer, Way},
};
use crate::random::Random;

/// The pause after a failed attempt to join.
const AGAIN: Duration = Duration::from_millis(100);

/// One attack.
#[derive(Debug)]
pub(super) struct Attack {
    /// Its name in tables and flags.
    pub(super) name: &'static str,
    /// Rows of docs/threats.md.
    pub(super) threats: &'static str,
    /// What it does, in one line.
    pub(super) what: &'static str,
    /// What the node must show.
    pub(super) expects: Expects,
    /// The number of threads that run it.
    threads: usize,
    run: fn(&Scene, &mut Random) -> Deeds,
}

/// What the node must show for an attack. An empty list expects nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expects {
    /// An action, and how often it has to be done per second. With fewer there was no attack, and the run proves
    /// nothing.
    pub(super) least: (&'static str, f64),
    /// Deeds a second from which `rises` holds: a limit of the node shows only to those who reach it, and on a busy machine attackers may
    /// be too slow for that.
    pub(super) counted_from: f64,
    /// Drops rise under one of these reasons, or the workers' counter of that name does; or one that begins so.
    pub(super) rises: &'static [&'static str],
    /// The attackers must get at least one of these answers.
    pub(super) answers: &'static [u16],
    /// The attackers must get none of these answers.
    pub(super) never: &'static [u16],
}

/// A server error, or no answer (0): the node could not handle the requests.
const BROKEN: &[u16] = &[0, 500, 502, 504];

/// All attacks, in the order in which they run.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "strangers",
        threats: "14, 15",
        what: "checks for unknown ufrags and with bad integrity, ClientHellos without a check, random bytes",
        expects: Expects {
            least: ("datagrams", 500.0),
            counted_from: 500.0,
            rises: &["stun_", "unknown_path", "not_classified"],
            answers: &[],
            never: &[],
        },
        threads: 1,
        run: strangers::run,
    },
    Attack {
        name: "listings",
        threats: "62",
        what: "GETs of rooms over kept connections, as fast as they are answered",
        expects: Expects {
            least: ("requests", 5.0),
            counted_from: 0.0,
            rises: &[],
            answers: &[200],
            never: BROKEN,
        },
        threads: 4,
        run: listings::run,
    },
    Attack {
        name: "unconnected",
        threats: "40, 41",
        what: "POSTs that never connect, from ever new addresses, hundreds with one token",
        expects: Expects {
            least: ("offers", 5.0),
            counted_from: 0.0,
            rises: &[],
            answers: &[403, 429, 503],
            never: BROKEN,
        },
        threads: 4,
        run: unconnected::run,
    },
    Attack {
        name: "churn",
        threats: "17",
        what: "sessions that connect and end at once, from ever new addresses",
        expects: Expects {
            least: ("sessions", 0.3),
            counted_from: 0.0,
            rises: &[],
            answers: &[201],
            never: BROKEN,
        },
        threads: 4,
        run: churn::run,
    },
    Attack {
        name: "offers",
        threats: "38, 70",
        what: "offers of 96 codecs in 64 sections, within all limits, to watch and to publish",
        expects: Expects {
            least: ("offers", 0.3),
            counted_from: 0.0,
            rises: &[],
            answers: &[],
            never: BROKEN,
        },
        threads: 3,
        run: offers::run,
    },
    Attack {
        name: "feedback",
        threats: "33, 34, 57",
        what: "a viewer's NACKs, PLIs, FIRs and reports, about the good peers' streams",
        expects: Expects {
            least: ("requests", 500.0),
            counted_from: 500.0,
            rises: &["rtx_", "rtcp_rate", "nack_rate"],
            answers: &[],
            never: &[],
        },
        threads: 2,
        run: feedback::run,
    },
    Attack {
        name: "media",
        threats: "57",
        what: "publishers that send authentic packets at the highest rate, with a viewer each",
        expects: Expects {
            least: ("packets", 2_000.0),
            counted_from: 60_000.0,
            rises: &["media_rate"],
            answers: &[],
            never: &[],
        },
        threads: 2,
        run: media::run,
    },
    Attack {
        name: "restarts",
        threats: "55, 58",
        what: "a publisher whose SSRC, numbers and timestamps begin anew all the time, with a viewer",
        expects: Expects {
            least: ("restarts", 200.0),
            counted_from: 200.0,
            rises: &["too_many_streams", "unknown_stream", "media_rate"],
            answers: &[],
            never: &[],
        },
        threads: 1,
        run: restarts::run,
    },
    Attack {
        name: "pool",
        threats: "54",
        what: "publishers of 64 tracks that send a burst on each and fall silent, with a viewer each",
        expects: Expects {
            least: ("packets", 2_000.0),
            counted_from: 20_000.0,
            rises: &["packets_let_go", "session_memory", "media_rate"],
            answers: &[],
            never: &[],
        },
        threads: 4,
        run: pool::run,
    },
    Attack {
        name: "members",
        threats: "36, 44, 57",
        what: "members of the good peers' room that flood metadata, messages and subscriptions, and do not read their events",
        expects: Expects {
            least: ("commands", 30.0),
            counted_from: 0.0,
            rises: &[],
            answers: &[101],
            never: BROKEN,
        },
        threads: 3,
        run: members::run,
    },
    Attack {
        name: "roaming",
        threats: "26, 61",
        what: "authentic checks of one session from the address of another, whose media must go on",
        expects: Expects {
            least: ("checks", 20.0),
            counted_from: 20.0,
            rises: &["path_in_use"],
            answers: &[],
            never: &[],
        },
        threads: 1,
        run: roaming::run,
    },
];

/// The attack with this name.
pub(super) fn by_name(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}

/// What all attackers share.
#[derive(Debug)]
pub(super) struct Scene {
    /// The node's HTTP listener.
    pub(super) http: SocketAddr,
    /// The certificate of all attackers.
    pub(super) certificate: Arc<Certificate>,
    /// A room of the good peers, and tokens that may watch there.
    pub(super) good_room: String,
    pub(super) watch: Vec<String>,
    /// The attackers' own rooms, with tokens that grant everything there: (room, token).
    pub(super) own: Vec<(String, String)>,
    /// When the attack ends.
    pub(super) until: Instant,
}

impl Scene {
    /// Whether the attack's time is not over.
    pub(super) fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// One of the attackers' own rooms, with its token.
    pub(super) fn own_room(&self, random: &mut Random) -> (&str, &str) {
        let (room, token) = &self.own[random.below(self.own.len())];
        (room, token)
    }

    /// A token that may watch the good peers.
    pub(super) fn watch_token(&self, random: &mut Random) -> &str {
        &self.watch[random.below(self.watch.len())]
    }

    /// Sleeps, but at most until the attack ends.
    pub(super) fn sleep(&self, time: Duration) {
        thread::sleep(time.min(self.until.saturating_duration_since(Instant::now())));
    }
}

impl Attack {
    /// Runs the attack in its threads until the scene's time is over. Returns what was done.
    pub(super) fn perform(&self, scene: &Scene, seed: u64) -> Deeds {
        let mut all = Deeds::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads as u64)
                .map(|number| {
                    let mut random = Random::new(seed ^ number << 32);
                    scope.spawn(move || (self.run)(scene, &mut random))
                })
                .collect();
            for thread in threads {
                match thread.join() {
                    Ok(deeds) => all.add(&deeds),
                    Err(_) => all.trouble("an attacker met a defect of its own"),
                }
            }
        });
        all
    }
}

/// Repeats an attack until its time is over. One that fails, because a join did, is tried again after [`AGAIN`].
fn repeat(
    scene: &Scene,
    random: &mut Random,
    attack: impl Fn(&Scene, &mut Random, &mut Deeds) -> Result<(), String>,
) -> Deeds {
    let mut deeds = Deeds::default();
    while scene.goes_on() {
        if let Err(trouble) = attack(scene, random, &mut deeds) {
            deeds.trouble(&trouble);
            scene.sleep(AGAIN);
        }
    }
    deeds
}

/// A publisher of one video in one of the attackers' own rooms, a viewer of it, and the stream to send.
fn watched_publisher(
    scene: &Scene,
    random: &mut Random,
    deeds: &mut Deeds,
) -> Result<(Peer, Peer, Stream), String> {
    let (room, token) = scene.own_room(random);
    let (sections, source) = ([video(random)], anybody(random));
    let invitation = Invitation { way: Way::Whip, room, token, source, sections: &sections };
    let publisher = Peer::join(scene, &invitation, random, deeds)?;
    let source = anybody(random);
    let wanted = watching();
    let invitation = Invitation { way: Way::Whep, room, token, source, sections: &wanted };
    let viewer = Peer::join(scene, &invitation, random, deeds)?;
    let stream = streams(&publisher, &sections, random).into_iter().next();
    Ok((publisher, viewer, stream.ok_or("answer: no section of ours")?))
}

/// A random address of 127.66.0.0/16. The good peers come from 127.0.0.1, so they share no rate limit by address with
/// the attackers.
fn anybody(random: &mut Random) -> Ipv4Addr {
    let [a, b, ..] = random.next().to_be_bytes();
    Ipv4Addr::new(127, 66, a, b.clamp(1, 254))
}

/// Limits an attack to a number of actions per second.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    per_second: f64,
    done: u64,
}

impl Pace {
    fn new(per_second: f64) -> Pace {
        Pace { begun: Instant::now(), per_second, done: 0 }
    }

    /// Counts `count` actions, and sleeps when they were faster than the rate. An attacker that is more than 100 ms
    /// late starts counting again; otherwise it would catch up at more than its rate.
    fn did(&mut self, count: u64) {
        self.done += count;
        let due = Duration::from_secs_f64(self.done as f64 / self.per_second);
        let passed = self.begun.elapsed();
        if due > passed {
            thread::sleep(due - passed);
        } else if passed > due + Duration::from_millis(100) {
            *self = Pace::new(self.per_second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_attacks_apart() {
        for (at, attack) in ATTACKS.iter().enumerate() {
            assert_eq!(by_name(attack.name).map(|found| found.threats), Some(attack.threats));
            assert!(ATTACKS[at + 1..].iter().all(|other| other.name != attack.name));
            assert!(attack.threads > 0 && attack.expects.least.1 > 0.0);
        }
        assert!(by_name("kindness").is_none());
    }

    #[test]
    fn a_pace_is_kept_and_not_made_up_for() {
        let mut pace = Pace::new(1_000.0);
        let begun = Instant::now();
        (0..5).for_each(|_| pace.did(10));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        thread::sleep(Duration::from_millis(200));
        pace.did(1);
        assert_eq!(pace.done, 0, "begun anew");
    }
}

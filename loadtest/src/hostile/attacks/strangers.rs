//! Datagrams without a valid session (threats 14 and 15): checks for unknown ufrags, checks for known ufrags under
//! another password, ClientHellos without a check, media without a session, and random bytes.

use std::time::Instant;

use model::DtlsRole;
use transport::dtls::Endpoint;
use udp::{SendBatch, UdpSocket};

use super::{AGAIN, Pace, Scene, anybody, watching};
use crate::{
    bot::stun::{self, Check},
    hostile::{
        deeds::Deeds,
        peer::{Begun, Invitation, Way, queue, socket},
    },
    random::Random,
};

/// Datagrams per second.
const MOST: f64 = 60_000.0;
/// Datagrams from one address, and between two checks of the rate.
const OF_ONE_ADDRESS: u64 = 200;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    while scene.goes_on() {
        let (room, token) = (&scene.good_room, scene.watch_token(random));
        let (source, sections) = (anybody(random), watching());
        let invitation = Invitation { way: Way::Whep, room, token, source, sections: &sections };
        // A session of the attacker's own: its ufrag is in the forged checks, and its answer names the node's media
        // port.
        match Begun::new(scene, &invitation, random, &mut deeds) {
            Ok(begun) => {
                if let Err(trouble) = flood(scene, random, &mut deeds, &begun) {
                    deeds.trouble(&trouble);
                }
                begun.leave(&mut deeds);
            }
            Err(trouble) => {
                deeds.trouble(&trouble);
                scene.sleep(AGAIN);
            }
        }
    }
    deeds
}

fn flood(
    scene: &Scene,
    random: &mut Random,
    deeds: &mut Deeds,
    begun: &Begun,
) -> Result<(), String> {
    let (known, _) = begun.check_as();
    let mut hello = Vec::new();
    let now = Instant::now();
    let certificate = scene.certificate.clone();
    Endpoint::new(now, DtlsRole::Active, certificate, Vec::new()).poll_transmit(&mut hello);
    let mut batch = SendBatch::with_capacity(256 << 10, 256);
    let mut pace = Pace::new(MOST);
    while scene.goes_on() {
        let from = socket(anybody(random))?;
        for number in 0..OF_ONE_ADDRESS {
            let bytes = match number % 5 {
                0 => check(random, &known),
                1 => {
                    let nobody = format!("{}:{}", random.ice_text(8), random.ice_text(8));
                    check(random, &nobody)
                }
                2 => hello.clone(),
                3 => noise(random, 0x80),
                _ => {
                    let first = random.next() as u8;
                    noise(random, first)
                }
            };
            send(&mut batch, &from, begun, &bytes);
            deeds.did("datagrams", 1);
        }
        batch.flush(Some(&from), None);
        batch.drop_kept();
        pace.did(OF_ONE_ADDRESS);
    }
    Ok(())
}

/// A check that is signed with a password of no session.
fn check(random: &mut Random, username: &str) -> Vec<u8> {
    let key = stun::key("a password of no session");
    let mut transaction = [0; 12];
    transaction[..8].copy_from_slice(&random.next().to_be_bytes());
    let tie_breaker = random.next();
    Check { transaction, username, tie_breaker, nominate: true, key: &key }.to_bytes()
}

/// Up to 512 random bytes after a given first one: 0x80 makes the datagram look like RTP.
fn noise(random: &mut Random, first: u8) -> Vec<u8> {
    let words = 2 + random.below(62);
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| random.next().to_be_bytes()).collect();
    bytes[0] = first;
    bytes
}

fn send(batch: &mut SendBatch, from: &UdpSocket, begun: &Begun, bytes: &[u8]) {
    queue(batch, from, begun.to, |out| {
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    });
}

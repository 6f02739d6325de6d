//! A viewer in the good peers' room that sends feedback without end (threats 33, 34 and 57): NACKs of hundreds of
//! packets, PLIs, FIRs, and reports with as many blocks as a packet can hold.

use std::{collections::BTreeMap, time::Duration};

use model::Ssrc;
use rtp::rtcp::{FirEntry, ReportBlock};

use super::{AGAIN, Pace, Scene, anybody, watching};
use crate::{
    hostile::{
        deeds::Deeds,
        peer::{Invitation, Peer, Way},
    },
    random::Random,
};

/// Compound packets per second of one attacker.
const MOST: f64 = 15_000.0;
/// Sequence numbers in one NACK.
const NUMBERS: u16 = 400;
/// Report blocks in one packet (RFC 3550 section 6.4.1: five bits).
const BLOCKS: usize = 31;
/// Compound packets between two reads of the socket.
const TRAIN: u64 = 30;
/// Streams that the feedback is about.
const MAX_STREAMS: usize = 16;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    while scene.goes_on() {
        let token = scene.watch_token(random);
        let (room, source, sections) = (&scene.good_room, anybody(random), watching());
        let invitation = Invitation { way: Way::Whep, room, token, source, sections: &sections };
        match Peer::join(scene, &invitation, random, &mut deeds) {
            Ok(mut peer) => {
                ask(scene, random, &mut deeds, &mut peer);
                peer.leave(&mut deeds);
            }
            Err(trouble) => {
                deeds.trouble(&trouble);
                scene.sleep(AGAIN);
            }
        }
    }
    deeds
}

fn ask(scene: &Scene, random: &mut Random, deeds: &mut Deeds, peer: &mut Peer) {
    // The highest sequence number received of each stream.
    let mut streams: BTreeMap<u32, u16> = BTreeMap::new();
    let own = Ssrc(random.ssrc());
    let mut pace = Pace::new(MOST);
    let mut turn = 0_u8;
    peer.pump(Duration::from_millis(200), |header, _, _| note(&mut streams, header));
    while scene.goes_on() {
        for _ in 0..TRAIN {
            turn = turn.wrapping_add(1);
            for (&ssrc, &highest) in &streams {
                let ssrc = Ssrc(ssrc);
                let asked = match turn % 3 {
                    0 => peer.rtcp(|writer| {
                        let first = highest.wrapping_sub(NUMBERS);
                        let mut lost = (0..NUMBERS).map(|number| first.wrapping_add(number));
                        writer.rr(own, &[]).ok()?;
                        writer.nack(own, ssrc, &mut lost).ok()
                    }),
                    1 => peer.rtcp(|writer| {
                        writer.rr(own, &[]).ok()?;
                        writer.pli(own, ssrc).ok()?;
                        writer.fir(own, &[FirEntry { ssrc, sequence: turn }]).ok()
                    }),
                    _ => peer.rtcp(|writer| {
                        let block = ReportBlock {
                            ssrc: ssrc.0,
                            fraction_lost: 255,
                            cumulative_lost: 0x7f_ffff,
                            highest_sequence: u32::from(highest),
                            jitter: u32::MAX,
                            last_sr: u32::from(turn),
                            delay_since_last_sr: 0,
                        };
                        writer.rr(own, &[block; BLOCKS]).ok()
                    }),
                };
                deeds.did("requests", u64::from(asked));
            }
        }
        peer.flush();
        let mut seen = 0;
        peer.pump(Duration::ZERO, |header, _, _| {
            seen += 1;
            note(&mut streams, header);
        });
        deeds.did("received", seen);
        pace.did(TRAIN * streams.len().max(1) as u64);
    }
}

fn note(streams: &mut BTreeMap<u32, u16>, header: &rtp::RtpHeader<'_>) {
    if streams.len() < MAX_STREAMS || streams.contains_key(&header.ssrc().0) {
        streams.insert(header.ssrc().0, header.sequence());
    }
}

//! The most expensive offers within all limits (threats 38 and 70): 64 sections of 96 codecs, most of which the node
//! knows, and as many different ones as the limits allow. A node that matched each codec of each section with each of
//! the other side, under a lock, would be busy for seconds.

use std::{collections::VecDeque, fmt::Write};

use super::{AGAIN, Scene, anybody};
use crate::{
    hostile::{deeds::Deeds, http::Client, peer::Way},
    random::Random,
};

const SECTIONS: usize = 64;
/// Sessions of one attacker at a time: each publisher among them is matched with each viewer.
const LIVE: usize = 8;
/// All payload types that can be used with RTP and RTCP on one port (RFC 5761 section 4): 0 to 63 and 96 to 127.
const CODECS: u8 = 96;
/// Bytes and lines of an offer (threat 38).
const MAX_BYTES: usize = 256 << 10;
const MAX_LINES: usize = 8_192;

pub(super) fn run(scene: &Scene, random: &mut Random) -> Deeds {
    let mut deeds = Deeds::default();
    let mut client = Client::new(anybody(random), scene.http);
    let fingerprint = scene.certificate.fingerprint_text();
    let mut turn = random.below(2);
    // All sessions in one room, so that viewers and publishers are matched.
    let own = scene.own_room(random);
    let mut live = VecDeque::new();
    while scene.goes_on() {
        turn += 1;
        let way = if turn.is_multiple_of(2) { Way::Whep } else { Way::Whip };
        let offer = worst(way, &fingerprint, random);
        let (room, token) = match (way, turn % 4) {
            // Half of the viewers watch in the good peers' room.
            (Way::Whep, 0) => (scene.good_room.as_str(), scene.watch_token(random)),
            _ => own,
        };
        let reply = client.post(&way.path(room), token, &offer);
        deeds.did("offers", 1);
        deeds.answered(&reply);
        match reply {
            Ok(reply) if reply.status == 201 => {
                deeds.did("accepted", 1);
                live.extend(reply.location.map(|resource| (resource, token)));
                if live.len() > LIVE {
                    end(&mut client, &mut deeds, live.pop_front());
                }
            }
            Ok(reply) if reply.status == 429 => {
                client.move_to(anybody(random));
                scene.sleep(AGAIN);
            }
            _ => {}
        }
    }
    live.into_iter().for_each(|session| end(&mut client, &mut deeds, Some(session)));
    deeds
}

fn end(client: &mut Client, deeds: &mut Deeds, session: Option<(String, &str)>) {
    if let Some((resource, token)) = session {
        deeds.answered(&client.delete(&resource, token));
    }
}

/// An offer of that many sections and codecs, to send or to receive. No two sections have the same list of codecs, and
/// no two offers the same lists: no table that was computed for one pair of lists can be used for another.
fn worst(way: Way, fingerprint: &str, random: &mut Random) -> String {
    let mut sdp = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let mids: Vec<String> = (0..SECTIONS).map(|mid| mid.to_string()).collect();
    _ = write!(sdp, "a=group:BUNDLE {}\r\n", mids.join(" "));
    let (ufrag, pwd) = (random.ice_text(4), random.ice_text(22));
    _ = write!(sdp, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    _ = write!(sdp, "a=fingerprint:{fingerprint}\r\na=setup:actpass\r\n");
    let direction = if way == Way::Whip { "sendonly" } else { "recvonly" };
    // Space that is left for formats when every section has its codecs.
    let formats = formats_of_a_section(&sdp);
    let first = random.below(1_000);
    for mid in 0..SECTIONS {
        section(&mut sdp, mid, direction, formats, first + mid);
    }
    sdp
}

/// All payload types that can be used.
fn payload_types() -> impl Iterator<Item = u8> {
    (0..64).chain(96..128).take(usize::from(CODECS))
}

/// The number of `a=fmtp` lines in each section that keeps the offer within the limits of bytes and lines.
fn formats_of_a_section(head: &str) -> usize {
    let mut bare = String::new();
    section(&mut bare, SECTIONS, "sendonly", 0, 0);
    let mut full = String::new();
    section(&mut full, SECTIONS, "sendonly", usize::from(CODECS), 0);
    let lines = |text: &str| text.lines().count();
    let of_a_format = (full.len() - bare.len()).div_ceil(usize::from(CODECS)) + 2;
    let bytes = (MAX_BYTES - head.len()) / SECTIONS - bare.len();
    let lines = (MAX_LINES - lines(head)) / SECTIONS - lines(&bare);
    (bytes / of_a_format).min(lines).min(usize::from(CODECS))
}

/// `first` says with which of all codecs the list begins.
fn section(sdp: &mut String, mid: usize, direction: &str, formats: usize, first: usize) {
    let list: String = payload_types().map(|pt| format!(" {pt}")).collect();
    _ = write!(sdp, "m=video 9 UDP/TLS/RTP/SAVPF{list}\r\nc=IN IP4 0.0.0.0\r\n");
    _ = write!(sdp, "a=mid:{mid}\r\na=rtcp-mux\r\na={direction}\r\n");
    for (place, pt) in payload_types().enumerate() {
        let number = place + first;
        // With a format line these count as different codecs (RFC 6184 section 8.2.2: profile and level; RFC 9628
        // section 7: profile).
        let name = if number.is_multiple_of(2) { "H264" } else { "VP9" };
        _ = write!(sdp, "a=rtpmap:{pt} {name}/90000\r\n");
        if place >= formats {
            continue;
        }
        if number.is_multiple_of(2) {
            let profile = ["42e0", "4d00", "6400", "640c", "4200"][number / 2 % 5];
            let level = 10 + number % 42;
            _ = write!(sdp, "a=fmtp:{pt} profile-level-id={profile}{level:02x}\r\n");
        } else {
            _ = write!(sdp, "a=fmtp:{pt} profile-id={}\r\n", number / 2 % 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_offer_is_within_all_limits_and_full_of_codecs() {
        for way in [Way::Whip, Way::Whep] {
            let fingerprint = format!("sha-256 AA{}", ":AA".repeat(31));
            let offer = worst(way, &fingerprint, &mut Random::new(1));
            assert!(offer.len() <= MAX_BYTES && offer.lines().count() <= MAX_LINES);
            assert!(offer.len() > MAX_BYTES / 2, "{}", offer.len());
            let parsed = sdp::Offer::parse(&offer).unwrap();
            assert_eq!(parsed.sections.len(), SECTIONS);
            assert!(parsed.sections.iter().all(|s| s.payloads.len() == usize::from(CODECS)));
        }
    }
}

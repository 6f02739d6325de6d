//! Whether the answers work: a real WebRTC stack connects, restarts ICE, plays, and has its session ended.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    client::Request,
    context::{Context, FRAGMENT, Live},
    offers::{Template, fragment_of},
    peer::{Peer, Seen},
    requirement::{Face, Level, Outcome, Requirement, Stop},
    sdp::Sdp,
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "conn.connects",
        level: Level::Must,
        whip: "3",
        whep: "3",
        title: "ICE and DTLS connect within 5 s",
        check: connects,
    },
    Requirement {
        id: "conn.no-candidates",
        level: Level::Must,
        whip: "4.3.2",
        whep: "4.5.2",
        title: "an offer without candidates connects, once they are trickled",
        check: no_candidates,
    },
    Requirement {
        id: "conn.setup-active",
        level: Level::Must,
        whip: "4.4.4",
        whep: "RFC 8842 5.3",
        title: "a client that offers setup:active connects, if it was answered",
        check: setup_active,
    },
    Requirement {
        id: "conn.setup-passive",
        level: Level::Must,
        whip: "RFC 4145 4.1",
        whep: "RFC 4145 4.1",
        title: "a client that offers setup:passive connects, if it was answered",
        check: setup_passive,
    },
    Requirement {
        id: "conn.media",
        level: Level::Must,
        whip: "",
        whep: "3",
        title: "what is published arrives within 5 s",
        check: media,
    },
    Requirement {
        id: "conn.wrong-certificate",
        level: Level::Must,
        whip: "",
        whep: "RFC 8122 6.2",
        title: "no media go to a peer whose certificate is not the one in the offer",
        check: wrong_certificate,
    },
    Requirement {
        id: "conn.restart",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "after an ICE restart the new credentials connect, and media go on",
        check: restart,
    },
    Requirement {
        id: "conn.failed-restart",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "after a restart that failed the connection goes on",
        check: failed_restart,
    },
    Requirement {
        id: "conn.delete-closes",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "after DELETE the server closes DTLS (close_notify)",
        check: delete_closes,
    },
    Requirement {
        id: "conn.delete-silences",
        level: Level::Must,
        whip: "",
        whep: "4.4",
        title: "a second after DELETE no media come any more",
        check: delete_silences,
    },
    Requirement {
        id: "conn.peer-closes",
        level: Level::Should,
        whip: "4.2",
        whep: "4.3.8",
        title: "after the client has closed DTLS the session is gone within 10 s",
        check: peer_closes,
    },
];

const CONNECT: Duration = Duration::from_secs(5);

/// What a peer saw after a DELETE during media.
pub(crate) struct Ending {
    closed_after: Option<Duration>,
    late_media: u64,
    played: bool,
}

struct Attempt {
    peer: Peer,
    live: Live,
    offer: String,
    /// Candidates that were found after the offer was made.
    late_candidates: Vec<String>,
}

/// A session with a real peer; `edit` may change its offer before it is sent.
fn attempt(
    context: &mut Context,
    face: Face,
    early: bool,
    edit: impl FnOnce(String) -> String,
) -> Result<Attempt, Stop> {
    let own_fault = |e: String| Stop::skip(format!("the suite's own peer: {e}"));
    let mut peer = Peer::new(&context.endpoint(face), early).map_err(own_fault)?;
    let offer = edit(peer.offer(face).map_err(own_fault)?);
    let live = context.open_with(face, Template::new(face), &offer)?;
    let answer = live.exchange.text();
    let late_candidates = peer
        .accept(&answer)
        .map_err(|e| Stop::fail(&offer, &answer, format!("an answer that can be taken ({e})")))?;
    Ok(Attempt { peer, live, offer, late_candidates })
}

impl Attempt {
    fn connect(&mut self) -> Result<Outcome, Stop> {
        let start = Instant::now();
        if self.peer.run(CONNECT, |seen| seen.connected) {
            return Ok(Outcome::Note(format!("after {} ms", start.elapsed().as_millis())));
        }
        let Seen { datagrams, ice_connected, .. } = &self.peer.seen;
        let ice = if ice_connected.is_some() { "ICE connected, DTLS did not" } else { "no ICE" };
        Err(Stop::fail(
            &self.offer,
            format!("{}\n({ice}; {datagrams} datagrams came)", self.live.exchange.text()),
            "a connection within 5 s",
        ))
    }

    /// Waits until the peer is connected, and for a player also until it gets media.
    fn flowing(&mut self, face: Face) -> Result<(), Stop> {
        self.connect().map_err(|_| Stop::skip("there is no connection"))?;
        if face == Face::Whep && !self.peer.run(CONNECT, |seen| seen.packets > 0) {
            return Err(Stop::skip("no media came"));
        }
        Ok(())
    }
}

fn unchanged(offer: String) -> String {
    offer
}

fn connects(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let refused = |stop| match stop {
        Stop::Skip(why) if !why.contains("counter-offer") => {
            Stop::fail("the offer of a WebRTC stack (str0m)", why, "201 with an answer")
        }
        stop => stop,
    };
    attempt(context, face, true, unchanged).map_err(refused)?.connect()
}

fn no_candidates(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let mut attempt = attempt(context, face, false, unchanged)?;
    let mut lines: Vec<&str> = attempt.late_candidates.iter().map(String::as_str).collect();
    lines.push("a=end-of-candidates");
    let fragment = fragment_of(&attempt.offer, &lines);
    let live = &attempt.live;
    let exchange = context.client.send(live.patch(live.etag.as_deref(), &fragment))?;
    let trickled = if exchange.success() { "" } else { " (trickle is not supported)" };
    match attempt.connect()? {
        Outcome::Note(text) => Ok(Outcome::Note(text + trickled)),
        Outcome::Pass => Ok(Outcome::Pass),
    }
}

fn setup_active(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    connects_as(context, face, "active")
}

fn setup_passive(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    connects_as(context, face, "passive")
}

fn connects_as(context: &mut Context, face: Face, setup: &str) -> Result<Outcome, Stop> {
    let setup = format!("a=setup:{setup}");
    attempt(context, face, true, |offer| offer.replace("a=setup:actpass", &setup))?.connect()
}

fn media(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    if !context.has_publisher() {
        return Err(Stop::skip("nothing could be published"));
    }
    let mut attempt = attempt(context, face, true, unchanged)?;
    attempt.connect().map_err(|_| Stop::skip("there is no connection"))?;
    let start = Instant::now();
    // More than a single packet that arrived by accident.
    if attempt.peer.run(CONNECT, |seen| seen.packets >= 20) {
        let ms = start.elapsed().as_millis();
        return Ok(Outcome::Note(format!("20 packets within {ms} ms of the connection")));
    }
    let Seen { packets, media_datagrams, .. } = &attempt.peer.seen;
    Err(Stop::fail(
        &attempt.offer,
        format!(
            "{}\n({packets} packets, {media_datagrams} datagrams of media)",
            attempt.live.exchange.text()
        ),
        "20 packets within 5 s",
    ))
}

fn wrong_certificate(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    if !context.has_publisher() {
        return Err(Stop::skip("nothing could be published"));
    }
    if !ending(context, face)?.played {
        return Err(Stop::skip("no media come to the right peer either"));
    }
    let lie = |offer: String| {
        let lines = offer.lines().map(|line| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(_) => format!("a=fingerprint:sha-256 {}\r\n", ["A5"; 32].join(":")),
            None => format!("{line}\r\n"),
        });
        lines.collect()
    };
    let mut attempt = attempt(context, face, true, lie)?;
    attempt.peer.run(Duration::from_secs(4), |_| false);
    match attempt.peer.seen.media_datagrams {
        0 => Ok(Outcome::Pass),
        n => Err(Stop::fail(
            attempt.offer,
            format!("{n} datagrams of media"),
            "no media: the certificate has another fingerprint",
        )),
    }
}

fn restart(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let mut attempt = attempt(context, face, true, unchanged)?;
    attempt.flowing(face)?;
    let offer = attempt.peer.restart().map_err(Stop::skip)?;
    let sdp = Sdp::parse(&offer).map_err(Stop::skip)?;
    let candidates: Vec<String> =
        sdp.candidates().iter().map(|candidate| format!("a=candidate:{candidate}")).collect();
    let lines: Vec<&str> = candidates.iter().map(String::as_str).collect();
    let fragment = fragment_of(&offer, &lines);
    let exchange = context.client.send(attempt.live.patch(Some("*"), &fragment))?;
    if exchange.status != 200 {
        return Err(Stop::skip("ICE restarts are not supported"));
    }
    let answer = restarted_answer(&attempt.live.exchange.text(), &exchange.text());
    let start = Instant::now();
    attempt
        .peer
        .accept(&answer)
        .map_err(|e| exchange.fail(format!("a fragment that makes a sound answer ({e})")))?;
    let since = |at: Option<Instant>, settle| at.is_some_and(|at| at >= start + settle);
    // Packets sent before may still arrive; those that arrive half a second later were sent after.
    let settle = Duration::from_millis(500);
    let went_on = attempt.peer.run(CONNECT, |seen| {
        let media = face == Face::Whip || since(seen.last_packet, settle);
        since(seen.ice_connected, Duration::ZERO) && media && seen.closed.is_none()
    });
    if went_on {
        return Ok(Outcome::Note(format!("after {} ms", start.elapsed().as_millis())));
    }
    let ice = since(attempt.peer.seen.ice_connected, Duration::ZERO);
    let media = since(attempt.peer.seen.last_packet, settle);
    Err(Stop::fail(
        exchange.request.show(),
        format!("{}\n(ICE connected: {ice}, media went on: {media})", exchange.show()),
        "a connection with the new credentials within 5 s",
    ))
}

/// The session's answer with the values of a fragment. A fragment without candidates keeps the old ones (RFC 9725
/// section 4.3.3).
fn restarted_answer(answer: &str, fragment: &str) -> String {
    let value =
        |name: &str| fragment.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let candidates: Vec<&str> =
        fragment.lines().filter(|l| l.starts_with("a=candidate:")).collect();
    let mut text = String::new();
    let mut inserted = false;
    for line in answer.lines() {
        if line.starts_with("a=candidate:") && !candidates.is_empty() {
            continue;
        }
        if line.starts_with("a=ice-ufrag:") {
            text += &format!("a=ice-ufrag:{}\r\n", value("a=ice-ufrag:"));
            continue;
        }
        if line.starts_with("a=ice-pwd:") {
            text += &format!("a=ice-pwd:{}\r\n", value("a=ice-pwd:"));
            continue;
        }
        text += line;
        text += "\r\n";
        if line.starts_with("a=mid:") && !inserted {
            inserted = true;
            candidates.iter().for_each(|candidate| text += &format!("{candidate}\r\n"));
        }
    }
    text
}

fn failed_restart(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let mut attempt = attempt(context, face, true, unchanged)?;
    attempt.flowing(face)?;
    let request = Request::new("PATCH", &attempt.live.url)
        .header("Content-Type", FRAGMENT)
        .header("If-Match", "*")
        .body("a=ice-ufrag:abcdefgh\r\na=ice-pwd:short\r\nthis is no line of SDP\r\n");
    let exchange = context.client.send(request)?;
    if !exchange.client_error() {
        return Err(Stop::skip(format!("the restart was answered {}", exchange.status)));
    }
    let start = Instant::now();
    let broke = attempt.peer.run(Duration::from_secs(3), |seen| seen.closed.is_some());
    exchange.require(!broke, "a connection that goes on")?;
    let late = start + Duration::from_secs(2);
    let playing = attempt.peer.seen.last_packet.is_some_and(|at| at > late);
    exchange.require(face == Face::Whip || playing, "media that go on")
}

fn ending(context: &mut Context, face: Face) -> Result<Rc<Ending>, Stop> {
    if let Some(known) = context.endings.get(&face) {
        return Ok(Rc::clone(known));
    }
    let mut attempt = attempt(context, face, true, unchanged)?;
    attempt.connect().map_err(|_| Stop::skip("there is no connection"))?;
    let played = face == Face::Whep && attempt.peer.run(CONNECT, |seen| seen.packets > 0);
    // The publisher sends for a while, so that there is media to stop.
    attempt.peer.run(Duration::from_millis(300), |_| false);
    let exchange = attempt.live.delete()?;
    if !exchange.success() {
        return Err(Stop::skip("DELETE did not succeed"));
    }
    let start = Instant::now();
    attempt.peer.run(Duration::from_secs(1), |_| false);
    let before = attempt.peer.seen.media_datagrams;
    attempt.peer.run(Duration::from_secs(2), |_| false);
    let seen = &attempt.peer.seen;
    let closed_after = seen.closed.map(|at| at.saturating_duration_since(start));
    let late_media = seen.media_datagrams - before;
    let ending = Rc::new(Ending { closed_after, late_media, played });
    context.endings.insert(face, Rc::clone(&ending));
    Ok(ending)
}

fn delete_closes(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    match ending(context, face)?.closed_after {
        Some(after) => Ok(Outcome::Note(format!("after {} ms", after.as_millis()))),
        None => Err(Stop::fail(
            "DELETE of a connected session",
            "DTLS was open 3 s later",
            "a DTLS close_notify",
        )),
    }
}

fn delete_silences(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let ending = ending(context, face)?;
    if !ending.played {
        return Err(Stop::skip("no media came before either"));
    }
    match ending.late_media {
        0 => Ok(Outcome::Pass),
        n => Err(Stop::fail(
            "DELETE of a session that played",
            format!("{n} datagrams of media between the first and the third second after it"),
            "none",
        )),
    }
}

fn peer_closes(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let mut attempt = attempt(context, face, true, unchanged)?;
    attempt.connect().map_err(|_| Stop::skip("there is no connection"))?;
    attempt.peer.close();
    let start = Instant::now();
    loop {
        attempt.peer.run(Duration::from_millis(500), |_| false);
        let exchange = attempt.live.get()?;
        if exchange.client_error() {
            return Ok(Outcome::Note(format!("after {} ms", start.elapsed().as_millis())));
        }
        if start.elapsed() > Duration::from_secs(10) {
            return Err(exchange.fail("404, for the client has closed DTLS 10 s ago"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_changes_credentials_and_candidates_only() {
        let answer = "v=0\r\nm=audio 9 X 1\r\na=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:oldoldold\r\n\
            a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\nm=video 9 X 2\r\na=mid:1\r\na=ice-ufrag:old\r\n";
        let fragment = "a=ice-lite\r\na=mid:0\r\na=ice-ufrag:new\r\na=ice-pwd:newnewnew\r\n\
            a=candidate:2 1 udp 1 192.0.2.2 2 typ host\r\n";
        let expected = "v=0\r\nm=audio 9 X 1\r\na=mid:0\r\na=candidate:2 1 udp 1 192.0.2.2 2 typ host\r\n\
            a=ice-ufrag:new\r\na=ice-pwd:newnewnew\r\nm=video 9 X 2\r\na=mid:1\r\na=ice-ufrag:new\r\n";
        assert_eq!(restarted_answer(answer, fragment), expected);
        let bare = restarted_answer(answer, "a=ice-ufrag:new\r\na=ice-pwd:newnewnew\r\n");
        assert!(bare.contains("192.0.2.1"));
    }
}

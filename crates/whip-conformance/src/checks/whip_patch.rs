//! PATCH: trickled candidates, ICE restarts, and the entity tags that tell ICE sessions apart.

use std::rc::Rc;

use crate::{
    checks::whip_post::is_strong_tag,
    client::{Exchange, Request},
    context::{Context, FRAGMENT, Live, SDP},
    offers::{CANDIDATE, fragment, hex, ice_text},
    requirement::{Face, Level, Outcome, Requirement, Stop},
    sdp::Sdp,
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "patch.trickle",
        level: Level::Should,
        whip: "4.3",
        whep: "4.5",
        title: "trickled candidates are taken (recommended)",
        check: trickle,
    },
    Requirement {
        id: "patch.trickle-answer",
        level: Level::Must,
        whip: "4.3.2",
        whep: "4.5.2",
        title: "trickled candidates are answered 204, without a body and without an ETag",
        check: trickle_answer,
    },
    Requirement {
        id: "patch.unusable-candidates",
        level: Level::Must,
        whip: "4.3.2",
        whep: "4.5.2",
        title: "candidates that are of no use are dropped in silence, and the others taken",
        check: unusable_candidates,
    },
    Requirement {
        id: "patch.missing",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a PATCH without If-Match is answered 428",
        check: missing,
    },
    Requirement {
        id: "patch.stale",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a PATCH with an entity-tag that does not match is answered 412",
        check: stale,
    },
    Requirement {
        id: "patch.weak",
        level: Level::Should,
        whip: "RFC 9110 13.1.1",
        whep: "RFC 9110 13.1.1",
        title: "If-Match is compared strongly: a weak tag never matches",
        check: weak,
    },
    Requirement {
        id: "patch.list",
        level: Level::Should,
        whip: "RFC 9110 13.1.1",
        whep: "RFC 9110 13.1.1",
        title: "If-Match may list several entity-tags",
        check: list,
    },
    Requirement {
        id: "patch.wrong-type",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a PATCH of another type is refused with a 4xx",
        check: wrong_type,
    },
    Requirement {
        id: "patch.renegotiation",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a PATCH with a whole offer of another peer is refused with a 4xx",
        check: renegotiation,
    },
    Requirement {
        id: "patch.malformed",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a fragment that is no SDP is refused with a 4xx",
        check: malformed,
    },
    Requirement {
        id: "patch.unsupported",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "a server that supports only one of trickle and restart answers 422 to the other",
        check: unsupported,
    },
    Requirement {
        id: "patch.restart",
        level: Level::Should,
        whip: "4.3",
        whep: "4.5",
        title: "ICE restarts are answered 200 (recommended)",
        check: restart,
    },
    Requirement {
        id: "patch.restart-body",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a restart is answered with an ICE fragment with new credentials",
        check: restart_body,
    },
    Requirement {
        id: "patch.restart-etag",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a restart is answered with a new strong entity-tag",
        check: restart_etag,
    },
    Requirement {
        id: "patch.restart-options",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a restart is answered with the ice-lite and ice-options of the answer",
        check: restart_options,
    },
    Requirement {
        id: "patch.restart-old-etag",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "after a restart the old entity-tag is answered 412",
        check: restart_old_etag,
    },
    Requirement {
        id: "patch.restart-trickle",
        level: Level::Must,
        whip: "4.3.2",
        whep: "4.5.2",
        title: "after a restart candidates can be trickled with the new entity-tag",
        check: restart_trickle,
    },
    Requirement {
        id: "patch.restart-twice",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a second restart has credentials and an entity-tag of its own",
        check: restart_twice,
    },
    Requirement {
        id: "patch.quoted-star",
        level: Level::May,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a restart with If-Match: \"*\" in quotes, as the example has it, is taken too",
        check: quoted_star,
    },
    Requirement {
        id: "patch.failed-restart",
        level: Level::Must,
        whip: "4.3.3",
        whep: "4.5.3",
        title: "a restart that fails leaves the session as it was",
        check: failed_restart,
    },
];

/// Which kinds of PATCH the server supports; checked once.
pub(crate) struct Support {
    trickle: Exchange,
    restart: Exchange,
    /// The answer to the offer of the session in which ICE was restarted.
    answer: String,
    etag: Option<String>,
    /// A PATCH with the tag from before the restart, and one with the tag from after it.
    old_tag: Option<Exchange>,
    new_tag: Option<Exchange>,
    second_restart: Option<Exchange>,
}

impl Support {
    fn trickles(&self) -> bool {
        self.trickle.success()
    }

    fn restarts(&self) -> bool {
        self.restart.status == 200
    }

    /// If the server refuses its own tag, nothing can be said about trickling.
    fn has_tag(&self) -> Result<(), Stop> {
        let strong = self.etag.as_deref().is_some_and(is_strong_tag);
        if !strong && matches!(self.trickle.status, 412 | 428) {
            return Err(Stop::skip("the 201 had no usable ETag"));
        }
        Ok(())
    }
}

fn support(context: &mut Context, face: Face) -> Result<Rc<Support>, Stop> {
    if let Some(known) = context.patches.get(&face) {
        return Ok(Rc::clone(known));
    }
    let live = context.open(face)?;
    let tag = live.etag.clone();
    let trickled = candidates(&live, &[CANDIDATE]);
    let trickle = context.client.send(live.patch(tag.as_deref(), &trickled))?;
    let (ufrag, pwd) = (ice_text(8), ice_text(24));
    let body = fragment(&ufrag, &pwd, "0", &[CANDIDATE]);
    let restart = context.client.send(live.patch(Some("*"), &body))?;
    let (mut old_tag, mut new_tag, mut second_restart) = (None, None, None);
    if restart.status == 200 {
        if let Some(tag) = &tag {
            old_tag = Some(context.client.send(live.patch(Some(tag), &body))?);
        }
        let tag = restart.header("etag").map(str::to_owned);
        new_tag = Some(context.client.send(live.patch(tag.as_deref(), &body))?);
        let body = fragment(&ice_text(8), &ice_text(24), "0", &[CANDIDATE]);
        second_restart = Some(context.client.send(live.patch(Some("*"), &body))?);
    }
    let answer = live.exchange.text();
    let etag = tag;
    let found = Support { trickle, restart, answer, etag, old_tag, new_tag, second_restart };
    let found = Rc::new(found);
    context.patches.insert(face, Rc::clone(&found));
    Ok(found)
}

/// A fragment with the session's present ICE credentials.
fn candidates(live: &Live, lines: &[&str]) -> String {
    fragment(&live.template.ufrag, &live.template.pwd, "0", lines)
}

fn trickling(context: &mut Context, face: Face) -> Result<Rc<Support>, Stop> {
    let support = support(context, face)?;
    if support.trickles() { Ok(support) } else { Err(Stop::skip("trickle ICE is not supported")) }
}

fn restarting(context: &mut Context, face: Face) -> Result<Rc<Support>, Stop> {
    let support = support(context, face)?;
    if support.restarts() { Ok(support) } else { Err(Stop::skip("ICE restarts are not supported")) }
}

fn trickle(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = support(context, face)?;
    support.has_tag()?;
    support.trickle.require(support.trickles(), "204 No Content")
}

fn trickle_answer(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = &trickling(context, face)?.trickle;
    let bare = exchange.body.is_empty() && exchange.header("etag").is_none();
    exchange.require(exchange.status == 204 && bare, "204 No Content, no body, no ETag")
}

fn unusable_candidates(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    trickling(context, face)?;
    let live = context.open(face)?;
    let mdns = format!(
        "a=candidate:1 1 udp 2113937151 {}-0000-4000-8000-{}.local 50000 typ host",
        hex(8),
        hex(12)
    );
    let body = candidates(
        &live,
        &[
            &mdns,
            "a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "a=candidate:3 1 x-unknown 1 192.0.2.1 9 typ host",
            "a=candidate:4 1 udp 2122260223 no-such-host.invalid 9 typ host",
            CANDIDATE,
            "a=end-of-candidates",
        ],
    );
    let exchange = context.client.send(live.patch(live.etag.as_deref(), &body))?;
    exchange.require(exchange.success(), "204 No Content")
}

fn missing(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    tagged(context, face)?;
    let live = context.open(face)?;
    let body = candidates(&live, &[CANDIDATE]);
    context.client.send(live.patch(None, &body))?.require_status(&[428])
}

/// What the server supports; skips the check if it supports neither kind of PATCH.
fn tagged(context: &mut Context, face: Face) -> Result<Rc<Support>, Stop> {
    let support = support(context, face)?;
    if support.trickles() || support.restarts() {
        return Ok(support);
    }
    Err(Stop::skip("PATCH is not supported"))
}

fn stale(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    tagged(context, face)?;
    let live = context.open(face)?;
    let body = candidates(&live, &[CANDIDATE]);
    let tag = format!("\"{}\"", hex(12));
    context.client.send(live.patch(Some(&tag), &body))?.require_status(&[412])
}

fn weak(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    tagged(context, face)?;
    let live = context.open(face)?;
    let Some(tag) = live.etag.clone().filter(|tag| is_strong_tag(tag)) else {
        return Err(Stop::skip("there is no strong ETag"));
    };
    let body = candidates(&live, &[CANDIDATE]);
    context.client.send(live.patch(Some(&format!("W/{tag}")), &body))?.require_status(&[412])
}

fn list(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    trickling(context, face)?;
    let live = context.open(face)?;
    let Some(tag) = live.etag.clone().filter(|tag| is_strong_tag(tag)) else {
        return Err(Stop::skip("there is no strong ETag"));
    };
    let body = candidates(&live, &[CANDIDATE]);
    let tags = format!("\"{}\", {tag}", hex(12));
    let exchange = context.client.send(live.patch(Some(&tags), &body))?;
    exchange.require(exchange.success(), "204 No Content")
}

fn patch_with(
    context: &mut Context,
    face: Face,
    media_type: &str,
    body: impl FnOnce(&Live) -> String,
) -> Result<Exchange, Stop> {
    let live = context.open(face)?;
    let mut request =
        Request::new("PATCH", &live.url).header("Content-Type", media_type).body(body(&live));
    if let Some(tag) = &live.etag {
        request = request.header("If-Match", tag.clone());
    }
    context.client.send(request)
}

fn wrong_type(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = patch_with(context, face, "text/plain", |live| candidates(live, &[CANDIDATE]))?;
    exchange.require_refusal(&[415])
}

/// A server may allow renegotiation by an offer. The offer here has another certificate, and belongs to no session.
fn renegotiation(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = patch_with(context, face, SDP, |live| live.template.build())?;
    exchange.require_refusal(&[415, 400, 422])
}

fn malformed(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = patch_with(context, face, FRAGMENT, |_| "no fragment at all".to_owned())?;
    exchange.require_refusal(&[400, 422])
}

fn unsupported(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = support(context, face)?;
    support.has_tag()?;
    match (support.trickles(), support.restarts()) {
        (true, true) => Err(Stop::skip("both are supported")),
        (false, false) => Err(Stop::skip("neither is supported")),
        (true, false) => support.restart.require_status(&[422]),
        (false, true) => support.trickle.require_status(&[422]),
    }
}

fn restart(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    support(context, face)?.restart.require_status(&[200])
}

fn restart_body(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = restarting(context, face)?;
    let exchange = &support.restart;
    exchange.require(exchange.media_type() == FRAGMENT, format!("Content-Type: {FRAGMENT}"))?;
    let (ufrag, pwd) = credentials(exchange)?;
    let old = Sdp::parse(&support.answer).map_err(Stop::skip)?;
    let is_new = Some(ufrag.as_str()) != old.anywhere("ice-ufrag")
        && Some(pwd.as_str()) != old.anywhere("ice-pwd");
    exchange.require(is_new, "an ice-ufrag and an ice-pwd that differ from those of the answer")
}

fn credentials(exchange: &Exchange) -> Result<(String, String), Stop> {
    let fragment = Sdp::parse_fragment(&exchange.text())
        .map_err(|e| exchange.fail(format!("an ICE fragment that parses ({e})")))?;
    match (fragment.anywhere("ice-ufrag"), fragment.anywhere("ice-pwd")) {
        (Some(ufrag), Some(pwd)) => Ok((ufrag.to_owned(), pwd.to_owned())),
        _ => Err(exchange.fail("an ICE fragment with a=ice-ufrag and a=ice-pwd")),
    }
}

fn restart_etag(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = restarting(context, face)?;
    let tag = support.restart.header("etag");
    let good = tag.is_some_and(is_strong_tag) && tag != support.etag.as_deref();
    let old = support.etag.as_deref().unwrap_or("none");
    support.restart.require(good, format!("a strong ETag that differs from the old one, {old}"))
}

fn restart_options(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = restarting(context, face)?;
    let old = Sdp::parse(&support.answer).map_err(Stop::skip)?;
    let exchange = &support.restart;
    let new = Sdp::parse_fragment(&exchange.text())
        .map_err(|e| exchange.fail(format!("an ICE fragment that parses ({e})")))?;
    for name in ["ice-lite", "ice-options", "ice-pacing"] {
        let (was, is) = (old.anywhere(name), new.anywhere(name));
        exchange.require(was == is, format!("a={name} as in the answer: {was:?}"))?;
    }
    Ok(Outcome::Pass)
}

fn restart_old_etag(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    match &restarting(context, face)?.old_tag {
        Some(exchange) => exchange.require_status(&[412]),
        None => Err(Stop::skip("the 201 had no ETag")),
    }
}

fn restart_trickle(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = restarting(context, face)?;
    trickling(context, face)?;
    match &support.new_tag {
        Some(exchange) => exchange.require(exchange.success(), "204 No Content"),
        None => Err(Stop::skip("there was no restart")),
    }
}

fn restart_twice(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let support = restarting(context, face)?;
    let Some(second) = &support.second_restart else {
        return Err(Stop::skip("there was no second restart"));
    };
    second.require_status(&[200])?;
    let differs = credentials(second)? != credentials(&support.restart)?
        && second.header("etag") != support.restart.header("etag");
    second.require(differs, "other credentials and another ETag than after the first restart")
}

fn quoted_star(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    restarting(context, face)?;
    let live = context.open(face)?;
    let body = fragment(&ice_text(8), &ice_text(24), "0", &[CANDIDATE]);
    context.client.send(live.patch(Some("\"*\""), &body))?.require_status(&[200])
}

fn failed_restart(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    tagged(context, face)?;
    let live = context.open(face)?;
    // New credentials with a password that is too short (RFC 8839 section 5.4).
    let body = fragment(&ice_text(8), "short", "0", &[]);
    let failed = context.client.send(live.patch(Some("*"), &body))?;
    failed.require_refusal(&[400, 422])?;
    let exchange = live.get()?;
    exchange.require(
        exchange.status != 404 && exchange.status != 410,
        "a session that is still there",
    )?;
    if trickling(context, face).is_ok() {
        let body = candidates(&live, &[CANDIDATE]);
        let exchange = context.client.send(live.patch(live.etag.as_deref(), &body))?;
        exchange.require(exchange.success(), "204 No Content, as before")?;
    }
    Ok(Outcome::Pass)
}

//! The POST that creates a session: the answers to valid and to invalid offers. The SDP of the answer is checked in
//! `whip_answer`.

use url::Url;

use crate::{
    client::{Exchange, Request},
    context::{Context, FRAGMENT, SDP},
    offers::{Template, fragment, ice_text},
    requirement::{Face, Level, Outcome, Requirement, Stop},
    sdp::Sdp,
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "post.created",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.1",
        title: "an offer is answered 201 Created",
        check: created,
    },
    Requirement {
        id: "post.content-type",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.1",
        title: "the answer has the type application/sdp",
        check: content_type,
    },
    Requirement {
        id: "post.location",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.1",
        title: "Location leads to the session, absolute or relative to the endpoint",
        check: location,
    },
    Requirement {
        id: "post.etag",
        level: Level::Must,
        whip: "4.3.1",
        whep: "4.5.1",
        title: "the 201 has a strong entity-tag in quotes (optional where ICE restarts are not supported)",
        check: etag,
    },
    Requirement {
        id: "post.accept-patch",
        level: Level::May,
        whip: "RFC 5789 3.1",
        whep: "RFC 5789 3.1",
        title: "the 201 names application/trickle-ice-sdpfrag in Accept-Patch",
        check: accept_patch,
    },
    Requirement {
        id: "post.ice-servers",
        level: Level::Must,
        whip: "4.6",
        whep: "4.8",
        title: "Link fields with rel=\"ice-server\" hold STUN or TURN URIs, TURN ones with credentials",
        check: ice_servers,
    },
    Requirement {
        id: "post.content-length",
        level: Level::May,
        whip: "RFC 9112 6.3",
        whep: "RFC 9112 6.3",
        title: "the 201 has a Content-Length: some clients cannot read chunks",
        check: content_length,
    },
    Requirement {
        id: "post.media-type-syntax",
        level: Level::Must,
        whip: "RFC 9110 8.3.1",
        whep: "RFC 9110 8.3.1",
        title: "the media type is compared without its case and parameters",
        check: media_type_syntax,
    },
    Requirement {
        id: "post.wrong-type",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.4",
        title: "a body of another type is refused with a 4xx",
        check: wrong_type,
    },
    Requirement {
        id: "post.no-type",
        level: Level::Should,
        whip: "4.2",
        whep: "4.3.4",
        title: "a body without a type is refused with a 4xx",
        check: no_type,
    },
    Requirement {
        id: "post.not-sdp",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.4",
        title: "a body that is no SDP is refused with a 4xx",
        check: not_sdp,
    },
    Requirement {
        id: "post.broken-sdp",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.4",
        title: "an offer with a broken m= line is refused with a 4xx",
        check: broken_sdp,
    },
    Requirement {
        id: "post.empty",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.4",
        title: "an empty body is refused with a 4xx",
        check: empty,
    },
    Requirement {
        id: "post.no-media",
        level: Level::Must,
        whip: "4.4.2",
        whep: "4.6.2",
        title: "an offer without any media section is refused with a 4xx",
        check: no_media,
    },
    Requirement {
        id: "post.fragment",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.4",
        title: "an ICE fragment is no offer, and is refused with a 4xx",
        check: fragment_is_no_offer,
    },
    Requirement {
        id: "post.oversized",
        level: Level::Should,
        whip: "RFC 9110 15.5.14",
        whep: "RFC 9110 15.5.14",
        title: "an offer of a million bytes is refused with a 4xx",
        check: oversized,
    },
    Requirement {
        id: "post.no-credentials",
        level: Level::Should,
        whip: "RFC 8839 5.4",
        whep: "RFC 8839 5.4",
        title: "an offer without ICE credentials is refused with a 4xx",
        check: no_credentials,
    },
    Requirement {
        id: "post.no-fingerprint",
        level: Level::Should,
        whip: "RFC 8827 6.5",
        whep: "RFC 8827 6.5",
        title: "an offer without a certificate fingerprint is refused with a 4xx",
        check: no_fingerprint,
    },
    Requirement {
        id: "post.wrong-direction",
        level: Level::Should,
        whip: "4.2",
        whep: "4.3.5",
        title: "an offer in the wrong direction is refused with a 4xx",
        check: wrong_direction,
    },
    Requirement {
        id: "post.partial",
        level: Level::Should,
        whip: "4.4.3",
        whep: "RFC 9429 5.3.1",
        title: "an offer of which one section cannot be taken is refused as a whole",
        check: partial,
    },
    Requirement {
        id: "post.two-videos",
        level: Level::Must,
        whip: "4.4.2",
        whep: "",
        title: "two video tracks are taken, or refused with 422 or 400",
        check: two_videos,
    },
    Requirement {
        id: "post.problem-details",
        level: Level::May,
        whip: "4.1",
        whep: "4.1",
        title: "a refusal says why, in problem details (RFC 9457)",
        check: problem_details,
    },
    Requirement {
        id: "get.endpoint",
        level: Level::Must,
        whip: "4.1",
        whep: "4.1",
        title: "GET of the endpoint is answered 2xx without content",
        check: get_endpoint,
    },
    Requirement {
        id: "head.endpoint",
        level: Level::Should,
        whip: "RFC 9110 9.1",
        whep: "4.2",
        title: "HEAD of the endpoint is answered 2xx",
        check: head_endpoint,
    },
    Requirement {
        id: "get.session",
        level: Level::Must,
        whip: "4.1",
        whep: "4.1",
        title: "GET of a session is answered 2xx without content",
        check: get_session,
    },
];

/// The usual statuses for a description that a server cannot use.
const UNUSABLE: &[u16] = &[400, 422];

fn created(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let first = context.first(face)?;
    if face == Face::Whep && first.exchange.status == 406 {
        return Ok(Outcome::Note("the server makes a counter-offer (406)".to_owned()));
    }
    first.exchange.require_status(&[201])
}

/// The exchange that created a session (201).
fn answered(context: &mut Context, face: Face) -> Result<Exchange, Stop> {
    let first = context.first(face).map_err(|_| Stop::skip("the endpoint gave no answer"))?;
    if first.exchange.status == 201 {
        return Ok(first.exchange.clone());
    }
    Err(Stop::skip(format!("the offer was answered {}", first.exchange.status)))
}

fn content_type(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    exchange.require(exchange.media_type() == SDP, "Content-Type: application/sdp")
}

fn location(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    let resolved = exchange.header("location").map(|l| exchange.request.url.join(l));
    let usable =
        |url: &Url| matches!(url.scheme(), "http" | "https") && *url != exchange.request.url;
    let good = matches!(&resolved, Some(Ok(url)) if usable(url));
    exchange.require(good, "a Location with the URL of the session")
}

fn etag(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    let Some(tag) = exchange.header("etag") else {
        // The tag is optional without ICE restarts (RFC 9725 section 4.3.1).
        let live = context.open(face)?;
        let body = fragment(&ice_text(8), &ice_text(24), "0", &[]);
        let restart = context.client.send(live.patch(Some("*"), &body))?;
        if restart.status == 200 {
            return Err(exchange.fail("an ETag, for ICE restarts are supported"));
        }
        return Ok(Outcome::Note("there is no ETag; ICE restarts are not supported".to_owned()));
    };
    exchange.require(is_strong_tag(tag), "a strong entity-tag in quotes, such as ETag: \"xyzzy\"")
}

/// RFC 9110 section 8.8.3.
pub(crate) fn is_strong_tag(tag: &str) -> bool {
    let inner = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    inner
        .is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b == 0x21 || (0x23..0x7f).contains(&b)))
}

fn accept_patch(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    let named = exchange.list("accept-patch").iter().any(|t| t == FRAGMENT);
    exchange.require(named, format!("Accept-Patch: {FRAGMENT}"))
}

fn ice_servers(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    let values = exchange.headers.get_all("link").into_iter().filter_map(|v| v.to_str().ok());
    let links: Vec<&str> =
        values.flat_map(split_links).filter(|l| l.contains("ice-server")).collect();
    if links.is_empty() {
        return Err(Stop::skip("the server names no ICE servers"));
    }
    for link in links {
        let uri = link.trim_start().strip_prefix('<').and_then(|l| l.split('>').next());
        let stun = uri.is_some_and(|u| u.starts_with("stun:") || u.starts_with("stuns:"));
        let turn = uri.is_some_and(|u| u.starts_with("turn:") || u.starts_with("turns:"));
        let credentials = link.contains("username=") && link.contains("credential=");
        let good = stun || (turn && credentials);
        exchange
            .require(good, "Link: <stun:..> or <turn:..>; username=\"..\"; credential=\"..\"")?;
    }
    Ok(Outcome::Pass)
}

/// The links of one field: a comma ends a link if another `<` follows (RFC 8288 section 3).
fn split_links(value: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in value.match_indices(',') {
        if value[at + 1..].trim_start().starts_with('<') {
            parts.push(&value[start..at]);
            start = at + 1;
        }
    }
    parts.push(&value[start..]);
    parts
}

fn content_length(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = answered(context, face)?;
    let length = exchange.header("content-length").and_then(|v| v.parse::<usize>().ok());
    exchange.require(length == Some(exchange.body.len()), "a Content-Length, and no chunks")
}

fn media_type_syntax(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    answered(context, face)?;
    let request = Request::new("POST", &context.endpoint(face))
        .header("Content-Type", "Application/SDP; charset=utf-8")
        .body(Template::new(face).build());
    context.try_offer(face, request)?.require_status(&[201, 406])
}

fn wrong_type(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    takes_offers(context, face)?;
    for wrong in ["text/plain", "application/json"] {
        let request = Request::new("POST", &context.endpoint(face))
            .header("Content-Type", wrong)
            .body(Template::new(face).build());
        match context.try_offer(face, request)?.require_refusal(&[415])? {
            Outcome::Pass => {}
            note @ Outcome::Note(_) => return Ok(note),
        }
    }
    Ok(Outcome::Pass)
}

fn no_type(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    takes_offers(context, face)?;
    let request = Request::new("POST", &context.endpoint(face)).body(Template::new(face).build());
    context.try_offer(face, request)?.require_refusal(&[400, 415])
}

/// Skips the check if the server refuses valid offers too: a refused invalid offer then proves nothing.
fn takes_offers(context: &mut Context, face: Face) -> Result<(), Stop> {
    match context.first(face) {
        Ok(first) if matches!(first.exchange.status, 201 | 406) => Ok(()),
        _ => Err(Stop::skip("a good offer is not taken either")),
    }
}

fn refused(context: &mut Context, face: Face, offer: &str) -> Result<Outcome, Stop> {
    takes_offers(context, face)?;
    let request = context.post(face, offer);
    context.try_offer(face, request)?.require_refusal(UNUSABLE)
}

fn not_sdp(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    refused(context, face, "{\"sdp\": \"this is not the format\"}")
}

fn broken_sdp(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let offer = Template::new(face).build().replace("m=video 9 UDP/TLS/RTP/SAVPF", "m=video x");
    refused(context, face, &offer)
}

fn empty(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    refused(context, face, "")
}

fn no_media(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    refused(context, face, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n")
}

fn fragment_is_no_offer(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    refused(context, face, &fragment(&ice_text(8), &ice_text(24), "0", &[]))
}

fn oversized(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    takes_offers(context, face)?;
    let mut offer = Template::new(face).build();
    while offer.len() < 1_000_000 {
        offer += "a=x-filling:";
        offer += &"0123456789".repeat(100);
        offer += "\r\n";
    }
    context.prepare(face);
    let request = context.post(face, &offer);
    match context.client.send_once(&request) {
        Ok(exchange) => {
            // If the server created a session all the same, it is ended.
            if let Some(url) = context.session_url(face, &exchange) {
                _ = context.client.send(Request::new("DELETE", &url));
            }
            exchange.require_refusal(&[413])
        }
        Err(error) => Err(Stop::fail(
            request.show(),
            format!("no answer: {error}"),
            "413 Content Too Large, read as well as sent",
        )),
    }
}

fn no_credentials(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let offer = Template { credentials: false, ..Template::new(face) }.build();
    refused(context, face, &offer)
}

fn no_fingerprint(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let offer = Template { fingerprint: false, ..Template::new(face) }.build();
    refused(context, face, &offer)
}

fn wrong_direction(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let offer = Template { direction: face.answered(), ..Template::new(face) }.build();
    refused(context, face, &offer)
}

fn partial(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    takes_offers(context, face)?;
    let offer = Template { unknown_codec: true, ..Template::new(face) }.build();
    let request = context.post(face, &offer);
    let exchange = context.try_offer(face, request)?;
    if face == Face::Whip || exchange.client_error() {
        return exchange.require_refusal(UNUSABLE);
    }
    // WHEP has no such rule: a player without a video codec may still want audio, so the section may be rejected.
    exchange.require_status(&[201])?;
    let answer = Sdp::parse(&exchange.text()).map_err(|e| exchange.fail(format!("SDP: {e}")))?;
    let rejected = answer.media.get(1).is_some_and(|media| media.is_rejected());
    exchange.require(rejected, "a 4xx, or the section of the unknown codec with port 0")?;
    Ok(Outcome::Note("the section is rejected, the rest is taken".to_owned()))
}

fn two_videos(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    answered(context, face)?;
    let offer = Template { videos: 2, ..Template::new(face) }.build();
    let request = context.post(face, &offer);
    let exchange = context.try_offer(face, request)?;
    if exchange.status == 201 {
        return Ok(Outcome::Note("two video tracks are taken".to_owned()));
    }
    exchange.require_status(&[422, 400])
}

fn problem_details(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let request = context.post(face, "not SDP");
    let exchange = context.try_offer(face, request)?;
    if !exchange.client_error() {
        return Err(Stop::skip("the server refused nothing"));
    }
    let wanted = "application/problem+json with the status in it";
    exchange.require(exchange.media_type() == "application/problem+json", wanted)?;
    let json: serde_json::Value =
        serde_json::from_slice(&exchange.body).map_err(|e| exchange.fail(format!("JSON: {e}")))?;
    let status = json.get("status").and_then(serde_json::Value::as_u64);
    exchange.require(status.is_none_or(|s| s == u64::from(exchange.status)), wanted)
}

fn get_endpoint(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = context.client.send(Request::new("GET", &context.endpoint(face)))?;
    exchange.require(exchange.success() && exchange.body.is_empty(), "a 2xx without content")
}

fn head_endpoint(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = context.client.send(Request::new("HEAD", &context.endpoint(face)))?;
    exchange.require(exchange.success(), "a 2xx")
}

fn get_session(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let live = context.open(face)?;
    let exchange = live.get()?;
    exchange.require(exchange.success() && exchange.body.is_empty(), "a 2xx without content")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strong_tags_have_quotes_and_no_w() {
        assert!(is_strong_tag("\"xyzzy\""));
        assert!(!is_strong_tag("xyzzy"));
        assert!(!is_strong_tag("W/\"xyzzy\""));
        assert!(!is_strong_tag("\"\""));
        assert!(!is_strong_tag("\"a\"b\""));
        assert!(!is_strong_tag("*"));
    }

    #[test]
    fn links_in_one_field_come_apart_at_the_right_commas() {
        let links = split_links("<stun:a>; rel=\"ice-server\", <turn:b>; username=\"x,y\"");
        assert_eq!(links, ["<stun:a>; rel=\"ice-server\"", " <turn:b>; username=\"x,y\""]);
    }
}

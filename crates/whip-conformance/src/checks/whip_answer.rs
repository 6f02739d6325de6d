//! Requirements on the SDP of an answer. Where possible they are checked on the answer to one plain offer.

use std::collections::BTreeSet;

use crate::{
    context::{Answered, Context},
    offers::{RIDS, Template},
    requirement::{Face, Level, Outcome, Requirement, Stop},
    sdp::Sdp,
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "answer.shape",
        level: Level::Must,
        whip: "RFC 3264 6",
        whep: "RFC 3264 6",
        title: "the answer is SDP with the media sections of the offer, in their order",
        check: shape,
    },
    Requirement {
        id: "answer.complete",
        level: Level::Should,
        whip: "4.4.3",
        whep: "RFC 9429 5.3.1",
        title: "no section of a good offer is rejected",
        check: complete,
    },
    Requirement {
        id: "answer.direction",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.5",
        title: "every section is recvonly (WHIP) or sendonly (WHEP)",
        check: direction,
    },
    Requirement {
        id: "answer.sendrecv",
        level: Level::Must,
        whip: "4.2",
        whep: "4.3.5",
        title: "a sendrecv offer gets a recvonly (WHIP) or sendonly (WHEP) answer",
        check: sendrecv,
    },
    Requirement {
        id: "answer.mids",
        level: Level::Must,
        whip: "RFC 9143 7.3",
        whep: "RFC 9143 7.3",
        title: "every section has the mid of the offer",
        check: mids,
    },
    Requirement {
        id: "answer.bundle",
        level: Level::Must,
        whip: "4.4.1",
        whep: "4.6.1",
        title: "all sections are in one BUNDLE group",
        check: bundle,
    },
    Requirement {
        id: "answer.one-transport",
        level: Level::Must,
        whip: "4.4.1",
        whep: "4.6.1",
        title: "all sections share one transport: credentials, fingerprints and candidates agree",
        check: one_transport,
    },
    Requirement {
        id: "answer.rtcp-mux",
        level: Level::Must,
        whip: "4.4.1",
        whep: "4.6.1",
        title: "RTP and RTCP are multiplexed",
        check: rtcp_mux,
    },
    Requirement {
        id: "answer.rtcp-mux-only",
        level: Level::Should,
        whip: "4.4.1",
        whep: "4.6.1",
        title: "rtcp-mux-only stands in the sections (a MUST here, a MUST NOT in RFC 8858 section 4.3)",
        check: rtcp_mux_only,
    },
    Requirement {
        id: "answer.credentials",
        level: Level::Must,
        whip: "RFC 8839 5.4",
        whep: "RFC 8839 5.4",
        title: "there are an ice-ufrag of 4 and an ice-pwd of 22 or more characters",
        check: credentials,
    },
    Requirement {
        id: "answer.candidates",
        level: Level::Must,
        whip: "4.3.2",
        whep: "4.5.2",
        title: "the answer holds the server's candidates, for none can follow",
        check: candidates,
    },
    Requirement {
        id: "answer.ice-kind",
        level: Level::May,
        whip: "4.4.5",
        whep: "4.6.3",
        title: "the server is a full ICE agent, or a lite one that is reachable",
        check: ice_kind,
    },
    Requirement {
        id: "answer.fingerprint",
        level: Level::Must,
        whip: "RFC 8122 5",
        whep: "RFC 8122 5",
        title: "there is a certificate fingerprint by a sound hash",
        check: fingerprint,
    },
    Requirement {
        id: "answer.setup",
        level: Level::Must,
        whip: "RFC 8842 5.3",
        whep: "RFC 8842 5.3",
        title: "setup:actpass is answered active or passive",
        check: setup,
    },
    Requirement {
        id: "answer.setup-active",
        level: Level::Must,
        whip: "4.4.4",
        whep: "RFC 8842 5.3",
        title: "setup:active is answered passive, or refused",
        check: setup_active,
    },
    Requirement {
        id: "answer.setup-passive",
        level: Level::Must,
        whip: "RFC 4145 4.1",
        whep: "RFC 4145 4.1",
        title: "setup:passive is answered active, or refused",
        check: setup_passive,
    },
    Requirement {
        id: "answer.codecs",
        level: Level::Must,
        whip: "RFC 3264 6.1",
        whep: "RFC 3264 6.1",
        title: "every payload type was offered, and means the same codec",
        check: codecs,
    },
    Requirement {
        id: "answer.extensions",
        level: Level::Must,
        whip: "RFC 8285 7",
        whep: "RFC 8285 7",
        title: "every header extension was offered, under the same id",
        check: extensions,
    },
    Requirement {
        id: "answer.simulcast",
        level: Level::Must,
        whip: "4.8",
        whep: "",
        title: "a simulcast offer is answered with layers to receive, or with plain video",
        check: simulcast,
    },
    Requirement {
        id: "answer.single-stream",
        level: Level::Must,
        whip: "",
        whep: "4.6.2",
        title: "every section has an msid, and all of one MediaStream",
        check: single_stream,
    },
];

impl Answered {
    fn require(&self, met: bool, expected: &str) -> Result<Outcome, Stop> {
        if met { Ok(Outcome::Pass) } else { Err(self.fail(expected)) }
    }

    /// A failure whose report shows the whole answer; an exchange shows only the beginning.
    fn fail(&self, expected: &str) -> Stop {
        fail(&self.first.exchange, expected)
    }
}

fn fail(exchange: &crate::client::Exchange, expected: &str) -> Stop {
    Stop::fail(exchange.request.show(), exchange.text(), expected)
}

fn shape(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let first = context.first(face).map_err(|_| Stop::skip("the endpoint gave no answer"))?;
    if first.exchange.status != 201 {
        return Err(Stop::skip(format!("the offer was answered {}", first.exchange.status)));
    }
    let answer = Sdp::parse(&first.exchange.text())
        .map_err(|e| fail(&first.exchange, &format!("an answer that parses ({e})")))?;
    let kinds = |sdp: &Sdp| -> Vec<String> { sdp.media.iter().map(|m| m.kind.clone()).collect() };
    if kinds(&answer) != kinds(&first.offer) {
        return Err(fail(&first.exchange, "the m= lines of the offer, as many and in their order"));
    }
    Ok(Outcome::Pass)
}

fn complete(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let complete = answered.answer.media.iter().all(|media| !media.is_rejected());
    answered.require(complete, "no m= line with port 0")
}

fn direction(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    require_direction(face, &answered.answer)
        .map_err(|direction| answered.fail(&format!("a={} and not {direction}", face.answered())))
}

fn require_direction(face: Face, answer: &Sdp) -> Result<Outcome, String> {
    match answer.accepted().find(|media| media.direction() != face.answered()) {
        Some(media) => Err(media.direction().to_owned()),
        None => Ok(Outcome::Pass),
    }
}

fn sendrecv(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    context.answer(face)?;
    let offer = Template { direction: "sendrecv", ..Template::new(face) }.build();
    let request = context.post(face, &offer);
    let exchange = context.try_offer(face, request)?;
    if exchange.status == 406 {
        return Err(Stop::skip("the server makes a counter-offer"));
    }
    exchange.require_status(&[201])?;
    let answer = Sdp::parse(&exchange.text()).map_err(|e| fail(&exchange, &format!("SDP: {e}")))?;
    require_direction(face, &answer)
        .map_err(|direction| fail(&exchange, &format!("a={} and not {direction}", face.answered())))
}

fn mids(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let pairs = answered.answer.media.iter().zip(&answered.first.offer.media);
    let same = pairs.into_iter().all(|(a, o)| a.is_rejected() || a.mid() == o.mid());
    answered.require(same, "the a=mid of each section as in the offer")
}

fn bundle(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let group: BTreeSet<&str> = answered.answer.bundle().into_iter().collect();
    let mids: BTreeSet<&str> = answered.answer.accepted().map(|media| media.mid()).collect();
    answered.require(group == mids, "a=group:BUNDLE with the mids of all sections")
}

fn one_transport(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let answer = &answered.answer;
    for name in ["ice-ufrag", "ice-pwd", "fingerprint", "setup"] {
        let values: BTreeSet<&str> = answer.accepted().filter_map(|m| answer.of(m, name)).collect();
        answered.require(values.len() <= 1, &format!("one and the same {name} in all sections"))?;
    }
    // Only the tagged section has to carry the transport (RFC 9143 section 7.1.3); repetitions are allowed.
    let sets: BTreeSet<Vec<&str>> = answer
        .accepted()
        .map(|m| m.all("candidate").collect())
        .filter(|c: &Vec<_>| !c.is_empty())
        .collect();
    answered.require(sets.len() <= 1, "one and the same set of candidates")
}

fn rtcp_mux(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let tagged = answered.answer.accepted().next();
    let muxed = tagged.is_some_and(|media| media.attribute("rtcp-mux").is_some());
    answered.require(muxed, "a=rtcp-mux in the section that carries the transport")
}

fn rtcp_mux_only(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let tagged = answered.answer.accepted().next();
    let only = tagged.is_some_and(|media| media.attribute("rtcp-mux-only").is_some());
    answered.require(only, "a=rtcp-mux-only, as the offer has it")
}

fn credentials(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let answer = &answered.answer;
    let Some(tagged) = answer.accepted().next() else {
        return Err(Stop::skip("every section was rejected"));
    };
    let sound = |name: &str, least: usize| {
        let ice = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        let value = answer.of(tagged, name).unwrap_or_default();
        (least..=256).contains(&value.len()) && value.bytes().all(ice)
    };
    answered.require(
        sound("ice-ufrag", 4) && sound("ice-pwd", 22),
        "a=ice-ufrag of 4 to 256 and a=ice-pwd of 22 to 256 ICE characters (letters, digits, + and /)",
    )
}

fn candidates(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    answered.require(!answered.answer.candidates().is_empty(), "a=candidate lines")
}

fn ice_kind(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let kind = match answered.answer.attribute("ice-lite") {
        Some(_) => "an ICE-lite agent",
        None => "a full ICE agent",
    };
    let options = answered.answer.anywhere("ice-options").unwrap_or("none");
    Ok(Outcome::Note(format!("{kind}; ice-options: {options}")))
}

fn fingerprint(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let value = answered.answer.anywhere("fingerprint").unwrap_or_default();
    let (hash, digits) = value.split_once(' ').unwrap_or_default();
    let len = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => 0,
    };
    let bytes: Vec<&str> = digits.trim().split(':').collect();
    let sound = bytes.len() == len
        && bytes.iter().all(|b| b.len() == 2 && u8::from_str_radix(b, 16).is_ok());
    answered.require(sound, "a=fingerprint:sha-256 (or 384, 512) and the bytes in hexadecimal")
}

fn setup(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let setup = answered.answer.anywhere("setup").unwrap_or_default();
    answered.require(matches!(setup, "active" | "passive"), "a=setup:active or a=setup:passive")
}

fn setup_active(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    answer_to_setup(context, face, "active", "passive")
}

fn setup_passive(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    answer_to_setup(context, face, "passive", "active")
}

fn answer_to_setup(
    context: &mut Context,
    face: Face,
    offered: &'static str,
    wanted: &str,
) -> Result<Outcome, Stop> {
    context.answer(face)?;
    let offer = Template { setup: offered, ..Template::new(face) }.build();
    let request = context.post(face, &offer);
    let exchange = context.try_offer(face, request)?;
    if exchange.status == 406 {
        return Err(Stop::skip("the server makes a counter-offer"));
    }
    if exchange.client_error() {
        exchange.require_status(&[422, 400])?;
        return Ok(Outcome::Note(format!("refused with {}", exchange.status)));
    }
    let answer = Sdp::parse(&exchange.text()).map_err(|e| fail(&exchange, &format!("SDP: {e}")))?;
    if answer.anywhere("setup") == Some(wanted) {
        return Ok(Outcome::Pass);
    }
    Err(fail(&exchange, &format!("a=setup:{wanted}, or 422 or 400")))
}

fn codecs(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    for (media, offered) in answered.answer.media.iter().zip(&answered.first.offer.media) {
        if media.is_rejected() {
            continue;
        }
        answered.require(!media.formats.is_empty(), "a payload type in each m= line")?;
        for format in &media.formats {
            let same =
                offered.formats.contains(format) && media.codec(format) == offered.codec(format);
            answered.require(
                same,
                &format!("payload type {format} as it was offered, or not at all"),
            )?;
        }
    }
    Ok(Outcome::Pass)
}

fn extensions(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    // The id may have a direction; only the id and the URI have to agree.
    let read = |value: &str| -> Option<(String, String)> {
        let mut words = value.split_whitespace();
        let id = words.next()?.split('/').next()?.to_owned();
        Some((id, words.next()?.to_owned()))
    };
    for (media, offered) in answered.answer.media.iter().zip(&answered.first.offer.media) {
        let known: BTreeSet<_> = offered.all("extmap").filter_map(read).collect();
        let foreign =
            media.all("extmap").find(|value| !read(value).is_some_and(|e| known.contains(&e)));
        if let Some(foreign) = foreign {
            return Err(answered.fail(&format!("no a=extmap:{foreign}, for it was not offered")));
        }
    }
    Ok(Outcome::Pass)
}

fn simulcast(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    context.answer(face)?;
    let offer = Template { simulcast: true, ..Template::new(face) }.build();
    let request = context.post(face, &offer);
    let exchange = context.try_offer(face, request)?;
    if exchange.client_error() {
        return Ok(Outcome::Note(format!("simulcast is refused with {}", exchange.status)));
    }
    exchange.require_status(&[201])?;
    let answer = Sdp::parse(&exchange.text()).map_err(|e| fail(&exchange, &format!("SDP: {e}")))?;
    let Some(video) = answer.media.iter().find(|media| media.kind == "video") else {
        return Err(fail(&exchange, "a video section"));
    };
    let Some(simulcast) = video.attribute("simulcast") else {
        return Ok(Outcome::Note("simulcast is not supported; one layer is taken".to_owned()));
    };
    // RFC 8853 section 5.3.2: the layers that were offered to be sent are received, and each has an a=rid line.
    let layers = simulcast.strip_prefix("recv ").unwrap_or_default();
    let names: Vec<&str> = layers.split([';', ',']).map(|l| l.trim_start_matches('~')).collect();
    let sound = !layers.is_empty() && names.iter().all(|name| RIDS.contains(name));
    let described = names
        .iter()
        .all(|name| video.all("rid").any(|rid| rid.split_whitespace().take(2).eq([*name, "recv"])));
    if sound && described {
        return Ok(Outcome::Note(format!("layers taken: {layers}")));
    }
    Err(fail(&exchange, "a=simulcast:recv with offered layers, and a=rid:.. recv for each"))
}

fn single_stream(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let streams: Vec<Option<&str>> = answered
        .answer
        .accepted()
        .map(|media| media.attribute("msid").and_then(|msid| msid.split_whitespace().next()))
        .collect();
    let distinct: BTreeSet<_> = streams.iter().collect();
    let one = streams.iter().all(Option::is_some) && distinct.len() == 1;
    answered.require(one, "a=msid in every section, with one and the same stream id")
}

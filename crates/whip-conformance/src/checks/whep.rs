//! Requirements that only WHEP has. Checked before the suite publishes.

use crate::{
    client::Request,
    context::{Context, SDP},
    offers::Template,
    requirement::{Face, Level, Outcome, Requirement, Stop},
    sdp::Sdp,
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "empty",
        level: Level::Must,
        whip: "",
        whep: "4.3.8",
        title: "without a publisher an offer is accepted, or refused with 409 and Retry-After",
        check: no_publisher,
    },
    Requirement {
        id: "head.discovery",
        level: Level::Should,
        whip: "",
        whep: "4.2",
        title: "HEAD of the endpoint is answered 200 with Content-Type: application/sdp",
        check: discovery,
    },
    Requirement {
        id: "counter-offer",
        level: Level::Must,
        whip: "",
        whep: "4.3.2",
        title: "a counter-offer (406) is a sound offer with a Location",
        check: counter_offer,
    },
];

fn no_publisher(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    // Not sent through the context, which would publish first.
    let request = context.post(face, &Template::new(face).build());
    let exchange = context.client.send(request)?;
    if let Some(url) = context.session_url(face, &exchange) {
        _ = context.client.send(Request::new("DELETE", &url));
    }
    match exchange.status {
        201 => Ok(Outcome::Note("the player is taken, and waits".to_owned())),
        406 => Ok(Outcome::Note("the player gets a counter-offer".to_owned())),
        409 => exchange.require(
            exchange.header("retry-after").is_some(),
            "Retry-After, for the player does not know when to come back",
        ),
        _ => Err(exchange.fail("201, 406, or 409 with Retry-After")),
    }
}

fn discovery(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = context.client.send(Request::new("HEAD", &context.endpoint(face)))?;
    let found = exchange.status == 200 && exchange.media_type() == SDP;
    exchange.require(found, "200 with Content-Type: application/sdp")
}

fn counter_offer(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let first = context.first(face).map_err(|_| Stop::skip("the endpoint gave no answer"))?;
    let exchange = &first.exchange;
    if exchange.status != 406 {
        return Err(Stop::skip("the server makes none"));
    }
    exchange.require(exchange.media_type() == SDP, "Content-Type: application/sdp")?;
    exchange.require(exchange.header("location").is_some(), "a Location")?;
    let offer = Sdp::parse(&exchange.text()).map_err(|e| exchange.fail(format!("SDP: {e}")))?;
    let sends = |media: &crate::sdp::Media| matches!(media.direction(), "sendonly" | "sendrecv");
    exchange.require(offer.media.iter().all(sends), "every section sendonly or sendrecv")?;
    let actpass = offer.media.iter().all(|media| offer.of(media, "setup") == Some("actpass"));
    exchange.require(actpass, "a=setup:actpass in every section")
}

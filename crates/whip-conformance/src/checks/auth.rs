//! Bearer tokens. Checked only with `--token`, since a server need not require tokens.

use crate::{
    client::{Auth, Exchange, Request},
    context::Context,
    offers::Template,
    requirement::{Face, Level, Outcome, Requirement, Stop},
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "auth.missing",
        level: Level::Must,
        whip: "4.7",
        whep: "4.9",
        title: "a POST without a token is answered 401",
        check: missing,
    },
    Requirement {
        id: "auth.challenge",
        level: Level::Must,
        whip: "RFC 9110 15.5.2",
        whep: "RFC 9110 15.5.2",
        title: "the 401 has WWW-Authenticate with the Bearer scheme",
        check: challenge,
    },
    Requirement {
        id: "auth.wrong",
        level: Level::Must,
        whip: "4.7.1",
        whep: "4.9.1",
        title: "a POST with a wrong token is answered 401 or 403",
        check: wrong,
    },
    Requirement {
        id: "auth.scheme-case",
        level: Level::Should,
        whip: "RFC 9110 11.1",
        whep: "RFC 9110 11.1",
        title: "the name of the scheme is compared without its case",
        check: scheme_case,
    },
    Requirement {
        id: "auth.other-scheme",
        level: Level::Should,
        whip: "RFC 6750 2.1",
        whep: "RFC 6750 2.1",
        title: "the token under another scheme is answered 401",
        check: other_scheme,
    },
    Requirement {
        id: "auth.session",
        level: Level::Should,
        whip: "4.7.1",
        whep: "4.9.1",
        title: "a session is not ended without its token",
        check: session,
    },
];

fn token(context: &Context) -> Result<String, Stop> {
    context.client.token().map(str::to_owned).ok_or_else(|| Stop::skip("no --token"))
}

fn post(context: &mut Context, face: Face, auth: Auth) -> Result<Exchange, Stop> {
    let request = context.post(face, &Template::new(face).build()).auth(auth);
    context.try_offer(face, request)
}

fn missing(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    token(context)?;
    post(context, face, Auth::None)?.require_status(&[401])
}

fn challenge(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    token(context)?;
    let exchange = post(context, face, Auth::None)?;
    if exchange.status != 401 {
        return Err(Stop::skip(format!("the POST was answered {}", exchange.status)));
    }
    let challenges = exchange.list("www-authenticate");
    let bearer = challenges.iter().any(|c| c == "bearer" || c.starts_with("bearer "));
    exchange.require(bearer, "WWW-Authenticate: Bearer")
}

fn wrong(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    token(context)?;
    let auth = Auth::Value("Bearer not-the-token".to_owned());
    post(context, face, auth)?.require_status(&[401, 403])
}

fn scheme_case(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let token = token(context)?;
    post(context, face, Auth::Value(format!("bEARER {token}")))?.require_status(&[201, 406])
}

fn other_scheme(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let token = token(context)?;
    post(context, face, Auth::Value(format!("Basic {token}")))?.require_status(&[401, 403, 400])
}

fn session(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    token(context)?;
    let live = context.open(face)?;
    let request = Request::new("DELETE", &live.url).auth(Auth::None);
    let exchange = context.client.send(request)?;
    exchange.require(!exchange.success(), "a refusal such as 401")?;
    let exchange = live.get()?;
    exchange.require(exchange.success(), "a session that is still there")
}

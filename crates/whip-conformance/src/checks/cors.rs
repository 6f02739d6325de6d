//! OPTIONS and cross-origin requests (the Fetch standard), which browsers need.

use crate::{
    client::{Auth, Exchange, Request},
    context::{Context, SDP},
    requirement::{Face, Level, Outcome, Requirement, Stop},
};

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        id: "cors.options",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "OPTIONS of the endpoint is answered 200 or 204",
        check: options,
    },
    Requirement {
        id: "cors.accept-post",
        level: Level::Should,
        whip: "4.2",
        whep: "4.4",
        title: "the answer to OPTIONS has Accept-Post: application/sdp",
        check: accept_post,
    },
    Requirement {
        id: "cors.preflight",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "a preflight allows a page to POST with Content-Type and Authorization",
        check: preflight,
    },
    Requirement {
        id: "cors.preflight-patch",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "a preflight allows a page to PATCH a session with If-Match",
        check: preflight_patch,
    },
    Requirement {
        id: "cors.preflight-delete",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "a preflight allows a page to DELETE a session",
        check: preflight_delete,
    },
    Requirement {
        id: "cors.preflight-anonymous",
        level: Level::Must,
        whip: "4.7.1",
        whep: "4.9.1",
        title: "a preflight needs no token",
        check: preflight_anonymous,
    },
    Requirement {
        id: "cors.preflight-no-link",
        level: Level::Should,
        whip: "4.6",
        whep: "RFC 9725 4.6",
        title: "a preflight carries no ICE servers and no credentials",
        check: preflight_no_link,
    },
    Requirement {
        id: "cors.allowed",
        level: Level::Must,
        whip: "4.2",
        whep: "4.4",
        title: "the 201 allows the page to read it",
        check: allowed,
    },
    Requirement {
        id: "cors.exposed",
        level: Level::Should,
        whip: "4.2",
        whep: "4.4",
        title: "the 201 exposes Location and ETag to the page",
        check: exposed,
    },
];

fn options(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let request = Request::new("OPTIONS", &context.endpoint(face));
    context.client.send(request)?.require_status(&[200, 204])
}

fn accept_post(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = context.client.send(Request::new("OPTIONS", &context.endpoint(face)))?;
    if !exchange.success() {
        return Err(Stop::skip("OPTIONS is not answered"));
    }
    let named = exchange.list("accept-post").iter().any(|t| t == SDP);
    exchange.require(named, "Accept-Post: application/sdp")
}

/// Sends the preflight that a browser sends before a page's request. It never has a token.
fn ask(context: &Context, url: &url::Url, method: &str, headers: &str) -> Result<Exchange, Stop> {
    let request = Request::new("OPTIONS", url)
        .header("Origin", context.options.origin.clone())
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers)
        .auth(Auth::None);
    context.client.send(request)
}

fn require_permission(
    context: &Context,
    exchange: &Exchange,
    method: &str,
    headers: &[&str],
) -> Result<Outcome, Stop> {
    exchange.require(exchange.success(), "a 2xx: otherwise the browser stops here")?;
    require_origin(context, exchange)?;
    // The Fetch standard, "CORS-preflight fetch": POST is safelisted and need not be listed.
    let methods = exchange.list("access-control-allow-methods");
    let known = |list: &[String], name: &str| list.iter().any(|m| m == name || m == "*");
    let method_allowed = method == "POST" || known(&methods, &method.to_ascii_lowercase());
    exchange.require(method_allowed, format!("Access-Control-Allow-Methods with {method}"))?;
    let allowed = exchange.list("access-control-allow-headers");
    for header in headers {
        // The star never covers Authorization (the Fetch standard, "CORS-preflight fetch").
        let covered = known(&allowed, header);
        let named = allowed.iter().any(|h| h == header);
        let good = if *header == "authorization" { named } else { covered };
        exchange.require(good, format!("Access-Control-Allow-Headers with {header}"))?;
    }
    Ok(Outcome::Pass)
}

fn require_origin(context: &Context, exchange: &Exchange) -> Result<Outcome, Stop> {
    let origin = &context.options.origin;
    let allowed = exchange.header("access-control-allow-origin");
    exchange.require(
        allowed.is_some_and(|value| value == "*" || value == origin),
        format!(
            "Access-Control-Allow-Origin: {origin} or * (choose an origin that the server allows with --origin)"
        ),
    )
}

fn preflight(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = ask(context, &context.endpoint(face), "POST", "authorization,content-type")?;
    require_permission(context, &exchange, "POST", &["content-type", "authorization"])
}

fn preflight_patch(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let live = context.open(face)?;
    let exchange = ask(context, &live.url, "PATCH", "authorization,content-type,if-match")?;
    require_permission(context, &exchange, "PATCH", &["content-type", "if-match", "authorization"])
}

fn preflight_delete(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let live = context.open(face)?;
    let exchange = ask(context, &live.url, "DELETE", "authorization")?;
    require_permission(context, &exchange, "DELETE", &["authorization"])
}

fn preflight_anonymous(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    if !context.client.has_token() {
        return Err(Stop::skip("no --token"));
    }
    let exchange = ask(context, &context.endpoint(face), "POST", "authorization,content-type")?;
    exchange.require(exchange.success(), "a 2xx without a token")
}

fn preflight_no_link(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let exchange = ask(context, &context.endpoint(face), "POST", "authorization,content-type")?;
    let links = exchange.headers.get_all("link").into_iter();
    let told = links.filter_map(|v| v.to_str().ok()).any(|link| link.contains("ice-server"));
    exchange.require(!told, "no Link with rel=\"ice-server\"")
}

fn allowed(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    require_origin(context, &answered.first.exchange)
}

fn exposed(context: &mut Context, face: Face) -> Result<Outcome, Stop> {
    let answered = context.answer(face)?;
    let exchange = &answered.first.exchange;
    let exposed = exchange.list("access-control-expose-headers");
    for name in ["location", "etag", "link"] {
        let there = exchange.header(name).is_some();
        let readable = exposed.iter().any(|e| e == name || e == "*");
        exchange
            .require(!there || readable, format!("Access-Control-Expose-Headers with {name}"))?;
    }
    Ok(Outcome::Pass)
}

//! All routes.

use axum::routing::{get, options, post};
use axum::{Extension, Router, middleware};

use crate::http::{
    api, events, gate, host, offer, openapi, ops, page, path, resource, session, stats, v1, whep,
    whip,
};
use crate::resources::Face;
use crate::state::Signaling;

/// What is served to the world.
///
/// | Path | Methods |
/// |---|---|
/// | `/whip/{room}` | POST, GET, HEAD, OPTIONS |
/// | `/whep/{room}`, `/whep/{room}/{participant}` | POST, GET, HEAD, OPTIONS |
/// | `/whip/{room}/sessions/{token}`, `/whep/{room}/sessions/{token}` | PATCH, DELETE, GET, HEAD, OPTIONS |
/// | `/v1/rooms/{room}/sessions` | POST, GET, HEAD, OPTIONS |
/// | `/v1/rooms/{room}/sessions/{token}` | PATCH, DELETE, GET, HEAD, OPTIONS |
/// | `/v1/rooms/{room}/sessions/{token}/events` | GET, HEAD, OPTIONS |
/// | `/v1/rooms/{room}/sessions/{token}/commands` | POST, OPTIONS |
/// | `/v1/rooms`, `/v1/rooms/{room}` and below: the admin API | see [`v1`] |
/// | `/v1/openapi.json` | GET, HEAD, OPTIONS |
/// | `/api/config`, `/api/rooms`, `/api/rooms/{room}`, `/api/rooms/{room}/stats` | GET, HEAD, OPTIONS |
/// | `/metrics`, `/healthz`, `/readyz` | GET, HEAD, OPTIONS |
/// | everything else | the files of the page |
pub(crate) fn public(signaling: Signaling) -> Router {
    let routes = table()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(page::serve)
        .layer(middleware::from_fn_with_state(signaling.clone(), host::known_names))
        .layer(middleware::from_fn_with_state(signaling.clone(), gate::gate))
        .with_state(signaling);
    // The layers of a router run after its routes were matched. The path has to be changed before that, so this layer
    // is on a second router around the routes.
    Router::new().fallback_service(routes).layer(middleware::from_fn(path::plain))
}

/// All paths but those of the page. The OpenAPI document has the same ones, which a test checks.
pub(crate) fn table() -> Vec<Route> {
    let mut table = vec![
        ("/whip/{room}", endpoint(post(whip::publish))),
        ("/whep/{room}", endpoint(post(whep::watch_room))),
        ("/whep/{room}/{participant}", endpoint(post(whep::watch_participant))),
        ("/whip/{room}/sessions/{token}", resource_of(Face::Whip)),
        ("/whep/{room}/sessions/{token}", resource_of(Face::Whep)),
        (
            "/v1/rooms/{room}/sessions",
            post(session::join)
                .get(session::found)
                .options(session::options)
                .fallback(offer::refuse),
        ),
        ("/v1/rooms/{room}/sessions/{token}", resource_of(Face::Session)),
        (
            "/v1/rooms/{room}/sessions/{token}/events",
            get(events::get).options(events::options).fallback(events::refuse),
        ),
        (
            "/v1/rooms/{room}/sessions/{token}/commands",
            post(events::post).options(events::command_options).fallback(events::refuse_command),
        ),
        ("/v1/openapi.json", readable(get(openapi::serve))),
        ("/api/config", readable(get(api::config))),
        ("/api/rooms", readable(get(api::rooms))),
        ("/api/rooms/{room}", readable(get(api::room))),
        ("/api/rooms/{room}/stats", readable(get(stats::stats))),
        ("/metrics", readable(get(ops::guarded_metrics))),
        ("/healthz", readable(get(ops::health))),
        ("/readyz", readable(get(ops::ready))),
    ];
    table.extend(v1::routes());
    table
}

/// The routes of the operators' listener, without authentication.
pub(crate) fn operations(signaling: Signaling) -> Router {
    Router::new()
        .route("/metrics", readable(get(ops::metrics)))
        .route("/healthz", readable(get(ops::health)))
        .route("/readyz", readable(get(ops::ready)))
        .layer(middleware::from_fn_with_state(signaling.clone(), gate::gate))
        .with_state(signaling)
}

type Methods = axum::routing::MethodRouter<Signaling>;

/// A path and its methods.
pub(crate) type Route = (&'static str, Methods);

fn endpoint(methods: Methods) -> Methods {
    methods.get(offer::found).options(offer::options).fallback(offer::refuse)
}

fn resource_of(face: Face) -> Methods {
    options(resource::options)
        .get(resource::get)
        .patch(resource::patch)
        .delete(resource::delete)
        .fallback(resource::refuse)
        .layer(Extension(face))
}

fn readable(methods: Methods) -> Methods {
    methods.options(offer::readable_options).fallback(offer::refuse_readable)
}

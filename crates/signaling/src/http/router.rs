//! All routes.

use axum::routing::{get, options, post};
use axum::{Extension, Router, middleware};

use crate::http::{
    api, events, gate, host, offer, ops, page, path, resource, session, stats, v1, whep, whip,
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
/// | `/api/config`, `/api/rooms`, `/api/rooms/{room}`, `/api/rooms/{room}/stats` | GET, HEAD, OPTIONS |
/// | `/metrics`, `/healthz`, `/readyz` | GET, HEAD, OPTIONS |
/// | everything else | the files of the page |
pub(crate) fn public(signaling: Signaling) -> Router {
    let routes = Router::new()
        .route("/whip/{room}", endpoint(post(whip::publish)))
        .route("/whep/{room}", endpoint(post(whep::watch_room)))
        .route("/whep/{room}/{participant}", endpoint(post(whep::watch_participant)))
        .route("/whip/{room}/sessions/{token}", resource_of(Face::Whip))
        .route("/whep/{room}/sessions/{token}", resource_of(Face::Whep))
        .merge(sessions())
        .merge(v1::routes())
        .route("/api/config", readable(get(api::config)))
        .route("/api/rooms", readable(get(api::rooms)))
        .route("/api/rooms/{room}", readable(get(api::room)))
        .route("/api/rooms/{room}/stats", readable(get(stats::stats)))
        .route("/metrics", readable(get(ops::guarded_metrics)))
        .route("/healthz", readable(get(ops::health)))
        .route("/readyz", readable(get(ops::ready)))
        .fallback(page::serve)
        .layer(middleware::from_fn_with_state(signaling.clone(), host::known_names))
        .layer(middleware::from_fn_with_state(signaling.clone(), gate::gate))
        .with_state(signaling);
    // The layers of a router run after its routes were matched. The path has to be changed before that, so this layer
    // is on a second router around the routes.
    Router::new().fallback_service(routes).layer(middleware::from_fn(path::plain))
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

fn endpoint(methods: Methods) -> Methods {
    methods.get(offer::found).options(offer::options).fallback(offer::refuse)
}

/// The session API.
fn sessions() -> Router<Signaling> {
    Router::new()
        .route(
            "/v1/rooms/{room}/sessions",
            post(session::join)
                .get(session::found)
                .options(session::options)
                .fallback(offer::refuse),
        )
        .route("/v1/rooms/{room}/sessions/{token}", resource_of(Face::Session))
        .route(
            "/v1/rooms/{room}/sessions/{token}/events",
            get(events::get).options(events::options).fallback(events::refuse),
        )
        .route(
            "/v1/rooms/{room}/sessions/{token}/commands",
            post(events::post).options(events::command_options).fallback(events::refuse_command),
        )
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

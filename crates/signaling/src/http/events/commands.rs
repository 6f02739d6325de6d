//! Commands as POSTs, for clients that read their events as a stream.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response};

use super::conversation::reply;
use crate::events::messages::{Command, Message};
use crate::events::read_command;
use crate::http::body::BodySlot;
use crate::http::gate::too_many;
use crate::http::offer::{JSON, require_type};
use crate::http::problem::Problem;
use crate::http::resource::locate;
use crate::resources::Face;
use crate::state::Signaling;

/// `POST /v1/rooms/{room}/sessions/{token}/commands`: one command; the answer is the reply to it.
pub(crate) async fn post(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path((room, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (caller, key) = locate(&signaling, Face::Session, &room, &token, &headers)?;
    let resource = signaling.0.resources.find(&key, &caller)?;
    require_type(&headers, &[JSON], "A command")?;
    let text = body.text(&signaling.config().limits).await?;
    let feed = signaling.hub().feed(resource.session).ok_or_else(Problem::not_found)?;
    feed.take_command(Instant::now()).map_err(too_many)?;
    let message = read_command(&text)?;
    let answer = match message.command {
        Command::Ping => Message::Pong,
        command => {
            signaling.obey(&resource, command).await?;
            reply(message.id, Ok(()))
        }
    };
    let text = serde_json::to_string(&answer).map_err(|_| Problem::internal())?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

//! Data messages from the application to members of a room.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use room::AdminCommand;

use super::bodies::SendData;
use super::read;
use super::rooms::administered;
use crate::events;
use crate::http::body::BodySlot;
use crate::http::problem::Problem;
use crate::state::Signaling;

/// `POST /v1/rooms/{room}/data`: the message is on its way to those who are there.
pub(super) async fn send(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let message: SendData = read::posted(&signaling, &headers, &body).await?;
    let command = AdminCommand::SendData(events::data(message.into())?);
    signaling.administer(&room, |_| Ok(vec![command])).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

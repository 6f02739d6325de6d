//! Rooms: list, create, read, change, close.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::RoomId;
use room::{AdminCommand, RoomInfo, RoomSettings, SettingsChange};

use super::bodies::{ChangeRoom, CreateRoom, RoomList, RoomView, settings_change};
use super::{read, refused_to_admin};
use crate::core::Core;
use crate::events::convert;
use crate::events::messages::Room;
use crate::http::api::{Page, PageQuery, fresh};
use crate::http::body::BodySlot;
use crate::http::offer;
use crate::http::problem::{Problem, ProblemKind};
use crate::state::Signaling;

/// Random bytes in the id of a room that the node names: 96 bits, so that who knows one room cannot guess another.
const ID_BYTES: usize = 12;
/// How often a room is created anew that ends between two calls.
const ATTEMPTS: usize = 3;

/// What there is of a room to show.
type Shown = (RoomInfo, Arc<RoomSettings>);

fn shown(room: &room::Room) -> Shown {
    (room.info(), room.settings().clone())
}

fn view((info, settings): Shown) -> RoomView {
    let Room { id, metadata, settings } = convert::room(&info.id, &settings);
    RoomView { id, metadata, settings, members: info.participants, viewers: info.viewers }
}

/// The answer for a room that is not there.
pub(super) fn no_room(room: &RoomId) -> Problem {
    let text = format!("There is no room {room}.");
    Problem::new(ProblemKind::NOT_FOUND, text)
}

/// `GET /v1/rooms?limit=&after=`: the rooms by name, for administrators of all rooms.
pub(super) async fn list(
    State(signaling): State<Signaling>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.auth().caller(&headers)?.may_administer()?;
    let page = Page::read(query)?;
    let after = page.after.as_deref().map(offer::room).transpose()?;
    let most = page.wanted();
    let read = move |core: &Core| {
        let rooms = core.rooms_after(after.as_ref(), most);
        // A room that ended meanwhile is kept as a place without a view, so that the pages stay as they are.
        let views = rooms.into_iter().map(|info| (core.look(&info.id, shown), info.id));
        views.collect::<Vec<_>>()
    };
    let mut rooms = signaling.listing(read).await?;
    let next = page.cut(&mut rooms).map(|(_, last)| page.path("/v1/rooms", last.as_str()));
    let rooms = rooms.into_iter().filter_map(|(state, _)| state.map(view)).collect();
    let link = next.as_deref().map(Page::link);
    Ok(fresh(Json(RoomList { rooms, next }).into_response(), link))
}

/// `POST /v1/rooms`: 201 for a new room, 200 for one that is there and has all settings that the body names.
pub(super) async fn create(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    signaling.welcome()?;
    let caller = signaling.auth().caller(&headers)?;
    let CreateRoom { id, metadata, settings } = read::posted(&signaling, &headers, &body).await?;
    let room = match id {
        Some(id) => {
            let room = RoomId::parse(&id).map_err(|e| Problem::bad_field(format!("id: {e}.")))?;
            caller.may_administer_room(&room)?;
            room
        }
        None => {
            caller.may_administer()?;
            new_id()?
        }
    };
    let change = settings_change(metadata, settings)?;
    let (asked, id) = (signaling.clone(), room.clone());
    let call = move || create_now(&asked, &id, &change);
    let (status, state) = signaling.in_room(&room, call).await??;
    let mut response = fresh((status, Json(view(state))).into_response(), None);
    if let Ok(value) = HeaderValue::try_from(format!("/v1/rooms/{room}")) {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(response)
}

fn create_now(
    signaling: &Signaling,
    id: &RoomId,
    change: &SettingsChange,
) -> Result<(StatusCode, Shown), Problem> {
    let core = signaling.core();
    let settings = core.default_settings().changed(change.clone());
    for _ in 0..ATTEMPTS {
        let is_new = core
            .create_room(Instant::now(), id, settings.clone())
            .map_err(|error| refused_to_admin(&error))?;
        let Some((info, is)) = core.look(id, shown) else { continue };
        if is_new {
            return Ok((StatusCode::CREATED, (info, is)));
        }
        if is.changed(change.clone()) != *is {
            let text = format!(
                "Room {id} exists with other settings than the body names; PATCH changes them."
            );
            return Err(Problem::new(ProblemKind::ROOM_EXISTS, text));
        }
        return Ok((StatusCode::OK, (info, is)));
    }
    let text = format!("Room {id} ended each time that it was to be created.");
    Err(Problem::new(ProblemKind::CONFLICT, text))
}

fn new_id() -> Result<RoomId, Problem> {
    let mut bytes = [0; ID_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Problem::internal())?;
    let id = format!("room-{}", URL_SAFE_NO_PAD.encode(bytes));
    RoomId::parse(&id).map_err(|_| Problem::internal())
}

/// `GET /v1/rooms/{room}`
pub(super) async fn read(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let state = signaling.look(&room, shown).await?;
    Ok(fresh(Json(view(state)).into_response(), None))
}

/// `PATCH /v1/rooms/{room}`: changes what the body names. 204 when the room ended by it, since its lifetime is over.
pub(super) async fn change(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let ChangeRoom { metadata, settings } = read::patched(&signaling, &headers, &body).await?;
    let command = AdminCommand::ChangeRoom(settings_change(metadata, settings)?);
    signaling.administer(&room, move |_| Ok(vec![command])).await?;
    Ok(changed(signaling.look(&room, shown).await.ok().map(view)))
}

/// `DELETE /v1/rooms/{room}`: everybody is removed, and the room ends.
pub(super) async fn close(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    signaling.administer(&room, |_| Ok(vec![AdminCommand::Close])).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The room of the path, which the caller administers.
///
/// # Errors
/// 401, 403; 400 when the text is no room id.
pub(super) fn administered(
    signaling: &Signaling,
    headers: &HeaderMap,
    room: &str,
) -> Result<RoomId, Problem> {
    let caller = signaling.auth().caller(headers)?;
    let room = offer::room(room)?;
    caller.may_administer_room(&room)?;
    Ok(room)
}

/// What a resource is after a change; 204 when it is not there any more.
pub(super) fn changed<T: serde::Serialize>(view: Option<T>) -> Response {
    match view {
        Some(view) => fresh(Json(view).into_response(), None),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

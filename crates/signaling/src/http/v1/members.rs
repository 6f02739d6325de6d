//! Members of a room and their tracks: list, read, change, mute, remove.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use model::{ParticipantId, Permissions, Quality, RoomId};
use room::{AdminCommand, ErrorKind, ParticipantRecord, ProfileChange, Room, RoomError};

use super::bodies::{ChangeMember, ChangeTrack, MemberList, MemberView, PermissionsBody};
use super::read;
use super::rooms::{administered, changed};
use crate::events::{convert, track_id};
use crate::http::api::{Page, PageQuery, fresh, gone};
use crate::http::body::BodySlot;
use crate::http::problem::Problem;
use crate::state::Signaling;

/// What there is of a member to show; made into JSON when the room is not locked any more.
struct Shown {
    record: Arc<ParticipantRecord>,
    permissions: Option<Permissions>,
    quality: Option<Quality>,
}

impl Shown {
    fn of(room: &Room, record: Arc<ParticipantRecord>) -> Self {
        let permissions = room.permissions_of(&record.id);
        let quality = room.quality_of(&record.id);
        Self { record, permissions, quality }
    }

    fn view(&self) -> MemberView {
        MemberView {
            member: convert::member(&self.record),
            hidden: self.record.hidden,
            quality: self.quality.map(convert::quality),
            permissions: self.permissions.as_ref().map(convert::permissions),
            session: self.record.session.to_string(),
        }
    }
}

fn find(room: &Room, identity: &ParticipantId) -> Option<Shown> {
    let record = room.records().into_iter().find(|record| record.id == *identity)?;
    Some(Shown::of(room, record))
}

fn no_member(room: &RoomId, identity: &str) -> RoomError {
    RoomError::new(ErrorKind::NotFound, format!("room {room} has no member {identity}"))
}

/// `GET /v1/rooms/{room}/members?limit=&after=`: all members in order of arrival, hidden and lost ones too.
pub(super) async fn list(
    State(signaling): State<Signaling>,
    Path(room): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let page = Page::read(query)?;
    let (after, most) = (page.after.clone(), page.wanted());
    let read = move |room: &Room| {
        let records = room.records();
        let from = match &after {
            Some(after) => records.iter().position(|record| record.id.as_str() == after)? + 1,
            None => 0,
        };
        let shown = records.into_iter().skip(from).take(most);
        Some(shown.map(|record| Shown::of(room, record)).collect::<Vec<_>>())
    };
    let mut members = signaling.look(&room, read).await?.ok_or_else(gone)?;
    let path = format!("/v1/rooms/{room}/members");
    let next = page.cut(&mut members).map(|last| page.path(&path, last.record.id.as_str()));
    let members = members.iter().map(Shown::view).collect();
    let link = next.as_deref().map(Page::link);
    Ok(fresh(Json(MemberList { members, next }).into_response(), link))
}

/// `GET /v1/rooms/{room}/members/{identity}`
pub(super) async fn read(
    State(signaling): State<Signaling>,
    Path((room, identity)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let member = named(&room, &identity)?;
    let shown = signaling.look(&room, move |room| find(room, &member)).await?;
    let shown = shown.ok_or_else(|| super::refused_to_admin(&no_member(&room, &identity)))?;
    Ok(fresh(Json(shown.view()).into_response(), None))
}

/// `PATCH /v1/rooms/{room}/members/{identity}`: changes what the body names.
pub(super) async fn change(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path((room, identity)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let member = named(&room, &identity)?;
    let mut body: ChangeMember = read::patched(&signaling, &headers, &body).await?;
    let (profile, permissions) = (body.profile()?, body.permissions);
    let who = member.clone();
    let decide = move |room: &Room| commands(room, &who, profile, permissions.as_ref());
    signaling.administer(&room, decide).await?;
    let shown = signaling.look(&room, move |room| find(room, &member)).await.ok().flatten();
    Ok(changed(shown.map(|shown| shown.view())))
}

/// The commands of a change. Those that may be refused come first, so that nothing is changed then.
fn commands(
    room: &Room,
    member: &ParticipantId,
    profile: ProfileChange,
    permissions: Option<&PermissionsBody>,
) -> Result<Vec<AdminCommand>, RoomError> {
    let shown = find(room, member).ok_or_else(|| no_member(room.id(), member.as_str()))?;
    let mut commands = Vec::new();
    if let Some(permissions) = permissions {
        if shown.record.local {
            let text =
                format!("member {member} is a publisher inside the node, without permissions");
            return Err(RoomError::new(ErrorKind::Conflict, text));
        }
        // The room refuses the change for a member without a session, whose permissions nobody knows.
        let before = shown.permissions.unwrap_or(Permissions::ALL);
        commands.push(AdminCommand::ChangePermissions(member.clone(), permissions.over(before)));
    }
    if profile != ProfileChange::default() {
        commands.push(AdminCommand::ChangeProfile(member.clone(), profile));
    }
    Ok(commands)
}

/// `DELETE /v1/rooms/{room}/members/{identity}`: its session ends, and it is told why.
pub(super) async fn remove(
    State(signaling): State<Signaling>,
    Path((room, identity)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let command = AdminCommand::Remove(named(&room, &identity)?);
    signaling.administer(&room, |_| Ok(vec![command])).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PATCH /v1/rooms/{room}/members/{identity}/tracks/{track}`: mutes the track, or lets it be heard again.
pub(super) async fn mute(
    State(signaling): State<Signaling>,
    Extension(body): Extension<BodySlot>,
    Path((room, identity, track)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = administered(&signaling, &headers, &room)?;
    let member = named(&room, &identity)?;
    let ChangeTrack { muted } = read::patched(&signaling, &headers, &body).await?;
    let unknown = || {
        let text = format!("member {member} publishes no track {track}");
        super::refused_to_admin(&RoomError::new(ErrorKind::NotFound, text))
    };
    let track = track_id(&track).map_err(|_| unknown())?;
    let command = AdminCommand::Mute { member: member.clone(), track, muted };
    signaling.administer(&room, |_| Ok(vec![command])).await?;
    let shown = signaling.look(&room, move |room| find(room, &member)).await.ok().flatten();
    let is = shown.as_ref().and_then(|shown| shown.record.tracks.iter().find(|t| t.id == track));
    Ok(changed(is.map(convert::track)))
}

/// A text that is no identity names a member that is not there.
fn named(room: &RoomId, identity: &str) -> Result<ParticipantId, Problem> {
    ParticipantId::parse(identity).map_err(|_| super::refused_to_admin(&no_member(room, identity)))
}

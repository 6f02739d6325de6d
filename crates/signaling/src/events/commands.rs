//! Reads what a client asks, and does it.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::data::{MESSAGE_MAX, TOPIC_MAX};
use model::{Delivery, Mid, ParticipantId, Payload, Profile, TrackId};
use room::{DataRequest, MemberCommand, ProfileChange, SlotWish, Subscription, TrackDescription};

use super::convert;
use super::messages::{
    ClientMessage, Command, DataMessage, DeliveryName, SectionDescription, SlotChoice,
    SubscribePolicy,
};
use crate::http::problem::{Problem, ProblemKind};
use crate::resources::Resource;
use crate::sessions::refused;
use crate::state::Signaling;

/// Names, slots or sections that one command may list.
const LIST_MAX: usize = 100;
/// Bytes of a command's id.
const ID_MAX: usize = 64;

/// Reads a message of a client.
///
/// # Errors
/// 400 when the text is no such message.
pub(crate) fn read_command(text: &str) -> Result<ClientMessage, Problem> {
    let message = ClientMessage::read(text).map_err(|error| bad_json(&error))?;
    if message.id.as_ref().is_some_and(|id| id.len() > ID_MAX) {
        return Err(Problem::new(
            ProblemKind::BAD_COMMAND,
            format!("The id is over {ID_MAX} bytes."),
        ));
    }
    Ok(message)
}

/// A text that is not the JSON that is expected. The reason names a field or a place, and no value of the text.
pub(crate) fn bad_json(error: &serde_json::Error) -> Problem {
    let detail = format!("The text is not the JSON that is expected here: {error}.");
    Problem::new(ProblemKind::BAD_COMMAND, detail)
}

/// How slots are to be filled.
///
/// # Errors
/// 422 when a name, a slot or a track cannot be one, or when there are too many.
pub(crate) fn subscription(policy: SubscribePolicy) -> Result<Subscription, Problem> {
    match policy {
        SubscribePolicy::Auto { pinned } => {
            Ok(Subscription::Auto { pinned: identities("pinned", &pinned)? })
        }
        SubscribePolicy::Manual { slots } => {
            few("slots", slots.len())?;
            let slots = slots.into_iter().map(wish).collect::<Result<_, _>>()?;
            Ok(Subscription::Manual { slots })
        }
    }
}

fn wish(slot: SlotChoice) -> Result<SlotWish, Problem> {
    let SlotChoice { mid, track, width, height, priority, paused } = slot;
    let size = match (width, height) {
        (Some(width), Some(height)) => Some((width, height)),
        (None, None) => None,
        _ => return Err(Problem::bad_field("A slot has both width and height, or neither.")),
    };
    let track = track.as_deref().map(track_id).transpose()?;
    Ok(SlotWish { mid: section(&mid)?, track, size, priority, paused })
}

/// What the sending sections of an offer are.
///
/// # Errors
/// 422 when a section cannot be one, a name is too long, or there are too many.
pub(crate) fn section_descriptions(
    tracks: Vec<SectionDescription>,
) -> Result<Vec<TrackDescription>, Problem> {
    few("tracks", tracks.len())?;
    let describe = |track: SectionDescription| {
        let name = limited("name", track.name.unwrap_or_default(), Profile::NAME_MAX)?;
        let (mid, source) = (section(&track.mid)?, convert::source_of(track.source));
        Ok(TrackDescription { mid, source, name, muted: track.muted })
    };
    tracks.into_iter().map(describe).collect()
}

/// A text of limited length.
///
/// # Errors
/// 422 when it is too long.
pub(crate) fn limited(what: &str, text: String, most: usize) -> Result<Arc<str>, Problem> {
    if text.len() > most {
        return Err(Problem::bad_field(format!("{what} is over {most} bytes.")));
    }
    Ok(text.into())
}

fn few(what: &str, count: usize) -> Result<(), Problem> {
    match count > LIST_MAX {
        true => Err(Problem::bad_field(format!(
            "{what} has {count} entries; at most {LIST_MAX} are allowed."
        ))),
        false => Ok(()),
    }
}

fn identities(what: &str, texts: &[String]) -> Result<Vec<ParticipantId>, Problem> {
    few(what, texts.len())?;
    let parse = |text: &String| {
        ParticipantId::parse(text).map_err(|error| Problem::bad_field(format!("{what}: {error}.")))
    };
    texts.iter().map(parse).collect()
}

fn section(text: &str) -> Result<Mid, Problem> {
    Mid::parse(text).map_err(|error| Problem::bad_field(format!("mid: {error}.")))
}

/// The track with this id.
///
/// # Errors
/// 422 when the text is no id.
pub(crate) fn track_id(text: &str) -> Result<TrackId, Problem> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.map(TrackId).ok_or_else(|| Problem::bad_field("A track's id is a number in digits."))
}

/// A data message that is to be sent.
///
/// # Errors
/// 422 when it has not exactly one payload, or when a part of it is too long.
pub(crate) fn data(message: DataMessage) -> Result<DataRequest, Problem> {
    let payload = match (message.text, message.base64) {
        (Some(text), None) => Payload::Text(text.into()),
        (None, Some(bytes)) => {
            let bytes =
                STANDARD.decode(bytes).map_err(|_| Problem::bad_field("base64 does not parse."))?;
            Payload::Binary(bytes.into())
        }
        _ => return Err(Problem::bad_field("A data message has either text or base64.")),
    };
    if payload.as_bytes().len() > MESSAGE_MAX {
        return Err(Problem::bad_field(format!("The data message is over {MESSAGE_MAX} bytes.")));
    }
    let request = DataRequest {
        topic: message.topic.into(),
        to: message.to.map(|to| identities("to", &to)).transpose()?,
        delivery: match message.delivery {
            DeliveryName::Reliable => Delivery::Reliable,
            DeliveryName::Lossy => Delivery::Lossy,
        },
        payload,
    };
    if !request.has_valid_topic() {
        return Err(Problem::bad_field(format!("A topic has 1 to {TOPIC_MAX} bytes.")));
    }
    Ok(request)
}

/// What the room is asked; `None` for what concerns the session alone.
fn member_command(command: Command) -> Result<Option<MemberCommand>, Problem> {
    Ok(Some(match command {
        Command::Subscribe(policy) => MemberCommand::Subscribe(subscription(policy)?),
        Command::UpdateTrack { track, muted, name } => {
            let name = name.map(|name| limited("name", name, Profile::NAME_MAX)).transpose()?;
            MemberCommand::UpdateTrack { track: track_id(&track)?, muted, name }
        }
        Command::UpdateMe { name, metadata } => MemberCommand::UpdateProfile(ProfileChange {
            name: name.map(|name| limited("name", name, Profile::NAME_MAX)).transpose()?,
            metadata: metadata
                .map(|data| limited("metadata", data, Profile::METADATA_MAX))
                .transpose()?,
        }),
        Command::SendData(message) => MemberCommand::SendData(data(message)?),
        Command::Hello { .. } | Command::Ping | Command::Leave | Command::RefreshToken { .. } => {
            return Ok(None);
        }
    }))
}

/// What a message of a client asks of its room, within the bounds of a command; `None` when it is no such message, or when it
/// concerns the session alone.
pub fn asked_of_room(text: &str) -> Option<MemberCommand> {
    member_command(read_command(text).ok()?.command).ok()?
}

impl Signaling {
    /// Does what a client asks of its session.
    ///
    /// # Errors
    /// What is wrong with the command; what the room refuses.
    pub(crate) async fn obey(
        &self,
        resource: &Arc<Resource>,
        command: Command,
    ) -> Result<(), Problem> {
        let (signaling, session) = (self.clone(), resource.session);
        match command {
            Command::Hello { .. } => Err(Problem::new(
                ProblemKind::BAD_COMMAND,
                "hello is the first message of a WebSocket and of nothing else.",
            )),
            Command::Ping => Ok(()),
            Command::Leave => self.end(resource).await,
            Command::RefreshToken { token } => self.refresh(resource, &token).await,
            command => {
                let Some(command) = member_command(command)? else { return Ok(()) };
                let call = move || {
                    let done = signaling.core().command(Instant::now(), session, command);
                    signaling.0.changed.notify_one();
                    done.map_err(|error| refused(&error))
                };
                self.0.calls.run(&resource.room, call).await?
            }
        }
    }

    /// Goes on with a newer token, which has to be one of the session's owner. From then on the session belongs to that token, and ends
    /// when that one expires.
    async fn refresh(&self, resource: &Arc<Resource>, token: &str) -> Result<(), Problem> {
        self.auth().learn(token).await;
        let caller = self.auth().of_token(token)?;
        caller.may_take_over(&resource.room, &resource.owner())?;
        let permissions = caller.permissions(&resource.room)?;
        let (signaling, session) = (self.clone(), resource.session);
        let call = move || {
            let now = Instant::now();
            let done = signaling.core().change_permissions_of(now, session, permissions);
            signaling.0.changed.notify_one();
            done.map_err(|error| refused(&error))
        };
        self.0.calls.run(&resource.room, call).await??;
        *resource.owner() = caller.owner();
        if let Some(expires) = caller.expires() {
            self.0.expiry.set(session, expires);
        }
        if !self.core().contains(session) {
            // It ended meanwhile, and the notice of its end came before the entry was made.
            self.0.expiry.remove(session);
        }
        Ok(())
    }
}

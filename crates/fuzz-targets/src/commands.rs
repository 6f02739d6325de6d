//! Messages of the session API's clients.

use model::data::MESSAGE_MAX;
use model::{ParticipantId, Profile};
use room::{MemberCommand, Subscription};
use signaling::asked_of_room;
use signaling::messages::ClientMessage;

/// Most names or slots that one command may list.
const LIST_MAX: usize = 100;

/// A client's message. What is read is written and read again without a change; what reaches the room is within the bounds
/// of a command.
pub fn commands(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(message) = ClientMessage::read(text) else {
        assert!(asked_of_room(text).is_none(), "a command of a message that does not parse");
        return;
    };
    let written = serde_json::to_string(&message).unwrap_or_else(|e| panic!("written: {e}"));
    let again = ClientMessage::read(&written).unwrap_or_else(|e| panic!("read again: {e}"));
    assert_eq!(again, message, "{written}");
    match asked_of_room(text) {
        Some(MemberCommand::Subscribe(Subscription::Auto { pinned })) => few(pinned.len()),
        Some(MemberCommand::Subscribe(Subscription::Manual { slots })) => few(slots.len()),
        Some(MemberCommand::UpdateTrack { name, .. }) => {
            short(name.as_deref(), Profile::NAME_MAX);
        }
        Some(MemberCommand::UpdateProfile(change)) => {
            short(change.name.as_deref(), Profile::NAME_MAX);
            short(change.metadata.as_deref(), Profile::METADATA_MAX);
        }
        Some(MemberCommand::SendData(request)) => {
            assert!(request.has_valid_topic());
            assert!(request.payload.as_bytes().len() <= MESSAGE_MAX);
            few(request.to.as_ref().map_or(0, Vec::len));
            for name in request.to.iter().flatten() {
                assert_eq!(ParticipantId::parse(name.as_str()).as_ref(), Ok(name));
            }
        }
        None => {}
    }
}

fn few(count: usize) {
    assert!(count <= LIST_MAX, "{count} entries");
}

fn short(text: Option<&str>, most: usize) {
    assert!(text.is_none_or(|text| text.len() <= most));
}

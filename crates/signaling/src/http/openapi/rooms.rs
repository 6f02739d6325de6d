//! Operations of the admin API.

use super::parts::{Answer, Content, NOTHING, Operation, PAGE, empty, json};
use crate::events::messages::Track;
use crate::http::kinds::ProblemKind as P;
use crate::http::v1::bodies::{
    ChangeMember, ChangeRoom, ChangeTrack, CreateRoom, MemberList, MemberView, RoomList, RoomView,
    SendData,
};

const ROOM: &str = r#"{"id":"standup","metadata":"","settings":{"members_max":20,"audible":4,"codecs":[],"empty_timeout_seconds":300,"lost_timeout_seconds":30,"lifetime_seconds":null,"newer_wins":true},"members":2,"viewers":0}"#;
const ROOMS: &str = r#"{"rooms":[],"next":null}"#;
const MEMBER: &str = r#"{"identity":"ann","name":"Ann","metadata":"","kind":"session","presence":"connected","tracks":[{"id":"12","kind":"audio","source":"microphone","name":"","muted":false,"active":true,"codecs":["opus"],"layers":[]}],"hidden":false,"quality":"good","permissions":{"publish":["camera","microphone"],"subscribe":true,"data":true,"update_self":true,"hidden":false,"admin":false},"session":"7"}"#;
const TRACK: &str = r#"{"id":"12","kind":"audio","source":"microphone","name":"","muted":true,"active":true,"codecs":["opus"],"layers":[]}"#;

const JSON_OF_ROOM: &[Content] = &[json::<RoomView>(ROOM)];
const JSON_OF_MEMBER: &[Content] = &[json::<MemberView>(MEMBER)];
const CHANGED: Answer = empty(204, "It was done; what was changed is not there any more.");
const NO_CONTENT: Answer = empty(204, "It was done.");
const ADMIN: Operation = Operation { tag: "Rooms", ..NOTHING };

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/v1/rooms",
        id: "listRooms",
        summary: "List the rooms by name, page by page (admin for all rooms)",
        query: PAGE,
        answers: &[Answer {
            status: 200,
            meaning: "A page of rooms.",
            content: &[json::<RoomList>(ROOMS)],
        }],
        ..ADMIN
    },
    Operation {
        method: "POST",
        path: "/v1/rooms",
        id: "createRoom",
        summary: "Create a room (admin for it; for all rooms when the body has no id)",
        request: &[json::<CreateRoom>(
            r#"{"id":"standup","settings":{"members_max":20,"empty_timeout_seconds":300}}"#,
        )],
        answers: &[
            Answer {
                status: 201,
                meaning: "The room is new; Location is its path. It waits for its first member for empty_timeout_seconds, and at least a minute.",
                content: JSON_OF_ROOM,
            },
            Answer {
                status: 200,
                meaning: "The room was there, with all settings that the body names.",
                content: JSON_OF_ROOM,
            },
        ],
        problems: &[P::BAD_FIELD, P::ROOM_EXISTS, P::CONFLICT, P::BUSY, P::UNAVAILABLE],
        ..ADMIN
    },
    Operation {
        path: "/v1/rooms/{room}",
        id: "readRoom",
        summary: "Read a room",
        answers: &[Answer { status: 200, meaning: "The room.", content: JSON_OF_ROOM }],
        problems: &[P::NOT_FOUND],
        ..ADMIN
    },
    Operation {
        method: "PATCH",
        path: "/v1/rooms/{room}",
        id: "changeRoom",
        summary: "Change what the body names (RFC 7396); lifetime_seconds null takes the end away",
        request: &[json::<ChangeRoom>(r#"{"settings":{"audible":6,"lifetime_seconds":null}}"#)],
        answers: &[
            Answer { status: 200, meaning: "The room as it is now.", content: JSON_OF_ROOM },
            CHANGED,
        ],
        problems: &[P::NOT_FOUND, P::BAD_FIELD],
        ..ADMIN
    },
    Operation {
        method: "DELETE",
        path: "/v1/rooms/{room}",
        id: "closeRoom",
        summary: "Remove everybody and end the room",
        answers: &[NO_CONTENT],
        problems: &[P::NOT_FOUND],
        ..ADMIN
    },
    Operation {
        path: "/v1/rooms/{room}/members",
        id: "listMembers",
        summary: "List the members in order of arrival, page by page; hidden and lost ones too",
        query: PAGE,
        answers: &[Answer {
            status: 200,
            meaning: "A page of members.",
            content: &[json::<MemberList>(r#"{"members":[],"next":null}"#)],
        }],
        problems: &[P::NOT_FOUND, P::PAGE_GONE],
        ..ADMIN
    },
    Operation {
        path: "/v1/rooms/{room}/members/{identity}",
        id: "readMember",
        summary: "Read a member",
        answers: &[Answer { status: 200, meaning: "The member.", content: JSON_OF_MEMBER }],
        problems: &[P::NOT_FOUND],
        ..ADMIN
    },
    Operation {
        method: "PATCH",
        path: "/v1/rooms/{room}/members/{identity}",
        id: "changeMember",
        summary: "Change name, metadata and permissions, as far as the body names them",
        request: &[json::<ChangeMember>(
            r#"{"name":"Ann","permissions":{"publish":["microphone"],"data":false}}"#,
        )],
        answers: &[
            Answer { status: 200, meaning: "The member as it is now.", content: JSON_OF_MEMBER },
            CHANGED,
        ],
        problems: &[P::NOT_FOUND, P::BAD_FIELD, P::CONFLICT],
        ..ADMIN
    },
    Operation {
        method: "DELETE",
        path: "/v1/rooms/{room}/members/{identity}",
        id: "removeMember",
        summary: "Remove a member: its session ends and it is told why. Its token stays valid",
        answers: &[NO_CONTENT],
        problems: &[P::NOT_FOUND, P::CONFLICT],
        ..ADMIN
    },
    Operation {
        method: "PATCH",
        path: "/v1/rooms/{room}/members/{identity}/tracks/{track}",
        id: "muteTrack",
        summary: "Mute a track, or let it be heard again. Its member is told, and may unmute it",
        request: &[json::<ChangeTrack>(r#"{"muted":true}"#)],
        answers: &[
            Answer {
                status: 200,
                meaning: "The track as it is now.",
                content: &[json::<Track>(TRACK)],
            },
            CHANGED,
        ],
        problems: &[P::NOT_FOUND, P::BAD_FIELD],
        ..ADMIN
    },
    Operation {
        method: "POST",
        path: "/v1/rooms/{room}/data",
        id: "sendData",
        summary: "Send a message to all members, or to those that are named",
        request: &[json::<SendData>(r#"{"topic":"chat","text":"The meeting ends in a minute."}"#)],
        answers: &[empty(204, "The message is on its way.")],
        problems: &[P::NOT_FOUND, P::BAD_FIELD],
        ..ADMIN
    },
];

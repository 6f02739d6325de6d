//! Operations of sessions: those of rooms, WHIP and WHEP.

use super::parts::{
    Access, Answer, Content, NOTHING, Operation, Parameter, TEXT, empty, json, optional, text,
    written,
};
use crate::events::messages::{
    ClientMessage, JoinRequest, Joined, Message, Renegotiate, Renegotiated,
};
use crate::http::kinds::ProblemKind as P;
use crate::http::offer::{SDP, SDP_FRAGMENT};

const ID: &str = r#"{"type":"string","pattern":"^[A-Za-z0-9._~-]{1,64}$"}"#;
const PARTICIPANT: Parameter = optional(
    "participant",
    "The caller's identity; with a token it has to be the token's. Without both the node makes one.",
    ID,
);
const KIND: Parameter =
    optional("kind", "Only tracks of this kind.", r#"{"type":"string","enum":["audio","video"]}"#);
const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    meaning: "The session's ETag to trickle or to renegotiate; * to restart ICE.",
    schema: TEXT,
    required: true,
};

/// A session description.
const DESCRIPTION: Content = text(SDP, "v=0\r\n...");
/// A fragment for trickle ICE and restarts (RFC 8840).
const FRAGMENT: Content =
    text(SDP_FRAGMENT, "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n...");

const OFFER: &[Content] = &[DESCRIPTION];
const FOUND: &[Answer] = &[empty(200, "The path takes offers, by POST.")];
const OPENED: Answer = Answer {
    status: 201,
    meaning: "The session, with the answer. Location is its URL, a secret; ETag is its ICE session; Link names ICE servers.",
    content: &[DESCRIPTION],
};
const PATCHED: &[Answer] = &[
    Answer {
        status: 200,
        meaning: "ICE was restarted (a fragment), or the session was renegotiated (a description). ETag may be a new one.",
        content: &[DESCRIPTION, FRAGMENT],
    },
    empty(204, "The candidates were taken."),
];
const THERE: &[Answer] = &[empty(200, "The session is there; ETag is its ICE session.")];
const ENDED: &[Answer] = &[empty(200, "The session ended.")];
const GONE: &[P] = &[P::NOT_FOUND];
const OFFER_PROBLEMS: &[P] = &[
    P::BAD_SDP,
    P::UNSUPPORTED_OFFER,
    P::NOT_ACCEPTABLE,
    P::BAD_PARTICIPANT,
    P::CONFLICT,
    P::TOO_MANY_SESSIONS,
    P::UNAVAILABLE,
];
const PATCH_PROBLEMS: &[P] = &[
    P::NOT_FOUND,
    P::BAD_SDP,
    P::UNSUPPORTED_OFFER,
    P::CONFLICT,
    P::STALE_ETAG,
    P::PRECONDITION_REQUIRED,
];
const SESSIONS: Operation = Operation { tag: "Sessions", ..NOTHING };

/// `GET` of the path of a session.
const fn session(tag: &'static str, path: &'static str, id: &'static str) -> Operation {
    let (answers, problems) = (THERE, GONE);
    Operation { tag, path, id, summary: "Look for a session", answers, problems, ..NOTHING }
}

const fn patch(tag: &'static str, path: &'static str, id: &'static str) -> Operation {
    Operation {
        method: "PATCH",
        tag,
        path,
        id,
        summary: "Trickle candidates, restart ICE, or renegotiate",
        headers: &[IF_MATCH],
        request: &[FRAGMENT, DESCRIPTION],
        answers: PATCHED,
        problems: PATCH_PROBLEMS,
        ..NOTHING
    }
}

const fn delete(tag: &'static str, path: &'static str, id: &'static str) -> Operation {
    Operation {
        method: "DELETE",
        tag,
        path,
        id,
        summary: "End a session",
        answers: ENDED,
        problems: GONE,
        ..NOTHING
    }
}

const fn endpoint(tag: &'static str, path: &'static str, id: &'static str) -> Operation {
    let summary = "Look for the endpoint";
    let access = Access::Public;
    Operation { tag, path, id, summary, access, answers: FOUND, ..NOTHING }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    endpoint("Sessions", "/v1/rooms/{room}/sessions", "findSessions"),
    Operation {
        method: "POST",
        path: "/v1/rooms/{room}/sessions",
        id: "join",
        summary: "Join a room with an offer",
        query: &[
            optional("identity", "As in the JSON body, for an offer that comes as SDP.", ID),
            optional("name", "As in the JSON body, for an offer that comes as SDP.", TEXT),
        ],
        request: &[
            json::<JoinRequest>(
                r#"{"sdp":"v=0\r\n...","identity":"ann","name":"Ann","tracks":[{"mid":"0","source":"microphone"}],"subscribe":{"policy":"auto"}}"#,
            ),
            DESCRIPTION,
        ],
        answers: &[Answer {
            status: 201,
            meaning: "The session. Location is its URL, a secret; ETag is its ICE session; Link names ICE servers.",
            content: &[
                json::<Joined>(r#"{"sdp":"v=0\r\n...","identity":"ann","session":"7"}"#),
                DESCRIPTION,
            ],
        }],
        problems: &[
            P::BAD_SDP,
            P::BAD_COMMAND,
            P::BAD_FIELD,
            P::UNSUPPORTED_OFFER,
            P::NOT_ACCEPTABLE,
            P::BAD_PARTICIPANT,
            P::CONFLICT,
            P::TOO_MANY_SESSIONS,
            P::UNAVAILABLE,
        ],
        ..SESSIONS
    },
    session("Sessions", "/v1/rooms/{room}/sessions/{token}", "findSession"),
    Operation {
        method: "PATCH",
        path: "/v1/rooms/{room}/sessions/{token}",
        id: "changeSession",
        summary: "Trickle candidates, restart ICE, or renegotiate",
        headers: &[IF_MATCH],
        request: &[FRAGMENT, DESCRIPTION, json::<Renegotiate>(r#"{"sdp":"v=0\r\n..."}"#)],
        answers: &[
            Answer {
                status: 200,
                meaning: "ICE was restarted (a fragment), or the session was renegotiated. ETag may be a new one.",
                content: &[FRAGMENT, DESCRIPTION, json::<Renegotiated>(r#"{"sdp":"v=0\r\n..."}"#)],
            },
            empty(204, "The candidates were taken."),
        ],
        problems: &[
            P::NOT_FOUND,
            P::BAD_SDP,
            P::BAD_COMMAND,
            P::BAD_FIELD,
            P::UNSUPPORTED_OFFER,
            P::CONFLICT,
            P::STALE_ETAG,
            P::PRECONDITION_REQUIRED,
        ],
        ..SESSIONS
    },
    delete("Sessions", "/v1/rooms/{room}/sessions/{token}", "leave"),
    Operation {
        path: "/v1/rooms/{room}/sessions/{token}/events",
        id: "events",
        summary: "Events as a WebSocket (Upgrade: websocket), or as text/event-stream",
        query: &[optional(
            "after",
            "The number of the last event that the client has, for text/event-stream.",
            r#"{"type":"integer","minimum":0}"#,
        )],
        headers: &[optional(
            "Last-Event-ID",
            "As after; it goes before after.",
            r#"{"type":"integer","minimum":0}"#,
        )],
        answers: &[
            empty(101, "A WebSocket; hello is its first message. Both sides send JSON texts."),
            Answer {
                status: 200,
                meaning: "A stream of events; data of each is one message of the node.",
                content: &[Content {
                    media_type: "text/event-stream",
                    example: Some("id: 42\ndata: {\"seq\":42,\"type\":\"pong\"}\n\n"),
                    check: None,
                    ..written::<Message>()
                }],
            },
        ],
        problems: &[
            P::NOT_FOUND,
            P::BAD_UPGRADE,
            P::UPGRADE_REQUIRED,
            P::FOREIGN_ORIGIN,
            P::NOT_ACCEPTABLE,
            P::TOO_MANY_REQUESTS,
        ],
        ..SESSIONS
    },
    Operation {
        method: "POST",
        path: "/v1/rooms/{room}/sessions/{token}/commands",
        id: "command",
        summary: "One command, for who reads events as text/event-stream",
        request: &[json::<ClientMessage>(r#"{"type":"update_me","name":"Ann"}"#)],
        answers: &[Answer {
            status: 200,
            meaning: "The command was done.",
            content: &[written::<Message>()],
        }],
        problems: &[P::NOT_FOUND, P::BAD_COMMAND, P::BAD_FIELD, P::TOO_MANY_SESSIONS],
        ..SESSIONS
    },
    endpoint("WHIP", "/whip/{room}", "findWhip"),
    Operation {
        method: "POST",
        path: "/whip/{room}",
        id: "publish",
        tag: "WHIP",
        summary: "Publish with an offer",
        query: &[PARTICIPANT],
        request: OFFER,
        answers: &[OPENED],
        problems: OFFER_PROBLEMS,
        ..NOTHING
    },
    session("WHIP", "/whip/{room}/sessions/{token}", "findWhipSession"),
    patch("WHIP", "/whip/{room}/sessions/{token}", "changeWhipSession"),
    delete("WHIP", "/whip/{room}/sessions/{token}", "endWhipSession"),
    endpoint("WHEP", "/whep/{room}", "findWhep"),
    Operation {
        method: "POST",
        path: "/whep/{room}",
        id: "watchRoom",
        tag: "WHEP",
        summary: "Watch a room, with as many media sections as the offer has",
        query: &[PARTICIPANT, KIND],
        request: OFFER,
        answers: &[OPENED],
        problems: OFFER_PROBLEMS,
        ..NOTHING
    },
    endpoint("WHEP", "/whep/{room}/{participant}", "findWhepOfParticipant"),
    Operation {
        method: "POST",
        path: "/whep/{room}/{participant}",
        id: "watchParticipant",
        tag: "WHEP",
        summary: "Watch one participant",
        query: &[PARTICIPANT, KIND],
        request: OFFER,
        answers: &[OPENED],
        problems: OFFER_PROBLEMS,
        ..NOTHING
    },
    session("WHEP", "/whep/{room}/sessions/{token}", "findWhepSession"),
    patch("WHEP", "/whep/{room}/sessions/{token}", "changeWhepSession"),
    delete("WHEP", "/whep/{room}/sessions/{token}", "endWhepSession"),
];

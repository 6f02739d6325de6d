//! Operations of the node itself, and the listings of earlier versions.

use super::parts::{Access, Answer, NOTHING, Operation, PAGE, empty, text, written};
use crate::http::api::{ConfigView, RoomSummary, RoomView};
use crate::http::kinds::ProblemKind as P;
use crate::http::stats::RoomStats;

const BEFORE: Operation = Operation { tag: "Before v1", ..NOTHING };
const NODE: Operation = Operation { tag: "Node", access: Access::Public, ..NOTHING };

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/api/config",
        id: "config",
        access: Access::Public,
        summary: "What a page has to know of the node; ICE servers with a password only with a token",
        answers: &[Answer {
            status: 200,
            meaning: "The configuration.",
            content: &[written::<ConfigView<'static>>()],
        }],
        ..BEFORE
    },
    Operation {
        path: "/api/rooms",
        id: "listRoomsBefore",
        summary: "List the rooms by name (admin for all rooms)",
        query: PAGE,
        answers: &[Answer {
            status: 200,
            meaning: "A page of rooms; Link leads to the next one.",
            content: &[written::<Vec<RoomSummary>>()],
        }],
        ..BEFORE
    },
    Operation {
        path: "/api/rooms/{room}",
        id: "listParticipants",
        summary: "List the publishers of a room (subscribe); a room that is not there is empty",
        query: PAGE,
        answers: &[Answer {
            status: 200,
            meaning: "A page of publishers; Link leads to the next one.",
            content: &[written::<RoomView<'static>>()],
        }],
        problems: &[P::PAGE_GONE],
        ..BEFORE
    },
    Operation {
        path: "/api/rooms/{room}/stats",
        id: "measurements",
        summary: "What was measured of each session of a room (admin for it)",
        query: PAGE,
        answers: &[Answer {
            status: 200,
            meaning: "A page of sessions; Link leads to the next one.",
            content: &[written::<RoomStats<'static>>()],
        }],
        ..BEFORE
    },
    Operation {
        path: "/v1/openapi.json",
        id: "document",
        summary: "This document",
        answers: &[
            Answer {
                status: 200,
                meaning: "The document; ETag names its state.",
                content: &[written::<serde_json::Value>()],
            },
            empty(304, "It is as If-None-Match says."),
        ],
        ..NODE
    },
    Operation {
        path: "/healthz",
        id: "health",
        summary: "Whether the process answers",
        answers: &[Answer {
            status: 200,
            meaning: "It does.",
            content: &[text("text/plain", "ok\n")],
        }],
        ..NODE
    },
    Operation {
        path: "/readyz",
        id: "ready",
        summary: "Whether the node accepts sessions",
        answers: &[Answer {
            status: 200,
            meaning: "It does; the text names the limits that are reached.",
            content: &[text("text/plain", "ready\n")],
        }],
        problems: &[P::NOT_READY],
        ..NODE
    },
    Operation {
        path: "/metrics",
        id: "metrics",
        access: Access::Token,
        summary: "Metrics for Prometheus (admin for all rooms)",
        answers: &[Answer {
            status: 200,
            meaning: "The metrics.",
            content: &[text("text/plain", "sfumato_rooms 0\n")],
        }],
        ..NODE
    },
];

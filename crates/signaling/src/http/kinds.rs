//! All kinds of problems that an answer or a reply can have. `docs/problems.md` lists them, and a test holds it against this table.

use axum::http::StatusCode;

/// A kind of problem. Its slug ends the `type` of a problem detail (RFC 9457 section 3.1.1): a program decides by it, so it never
/// changes its meaning, nor its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProblemKind {
    /// What `type` ends with, after `urn:sfumato:problem:`.
    pub slug: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// `title`: the kind in words.
    pub title: &'static str,
    /// When there is such a problem, and what helps.
    pub meaning: &'static str,
}

impl ProblemKind {
    /// `type` of a problem detail.
    pub fn uri(&self) -> String {
        format!("urn:sfumato:problem:{}", self.slug)
    }
}

macro_rules! kinds {
    ($($name:ident $slug:literal $status:ident $title:literal $meaning:literal)*) => {
        impl ProblemKind {
            $(
                #[doc = $meaning]
                pub const $name: ProblemKind = ProblemKind {
                    slug: $slug,
                    status: StatusCode::$status,
                    title: $title,
                    meaning: $meaning,
                };
            )*

            /// All kinds, by status.
            pub const ALL: &[ProblemKind] = &[$(ProblemKind::$name),*];
        }
    };
}

kinds! {
    BAD_BODY "bad-body" BAD_REQUEST "Bad request"
        "The body broke off, is not UTF-8, or is no JSON where JSON is expected."
    BAD_COMMAND "bad-command" BAD_REQUEST "Bad request"
        "A body or message of the session API is not the JSON that is expected there."
    BAD_PARTICIPANT "bad-participant" BAD_REQUEST "Bad request"
        "The text is no identity: it has 1 to 64 of the characters A-Z a-z 0-9 - . _ ~."
    BAD_QUERY "bad-query" BAD_REQUEST "Bad request"
        "A parameter of the query stands twice, or has a value that is not allowed."
    BAD_ROOM "bad-room" BAD_REQUEST "Bad request"
        "The text is no room: it has 1 to 64 of the characters A-Z a-z 0-9 - . _ ~."
    BAD_SDP "bad-sdp" BAD_REQUEST "Bad request"
        "The offer or the ICE fragment breaks the rules of its format."
    BAD_UPGRADE "bad-upgrade" BAD_REQUEST "Bad request"
        "The opening handshake of a WebSocket breaks the rules of RFC 6455."
    UNAUTHORIZED "unauthorized" UNAUTHORIZED "Unauthorized"
        "There is no token, or it is not valid (any more)."
    FORBIDDEN "forbidden" FORBIDDEN "Forbidden"
        "The token, or what the member may do, does not allow this."
    FOREIGN_ORIGIN "foreign-origin" FORBIDDEN "Forbidden"
        "A browser page of an origin that http.cors_origins does not name wants to read events."
    NOT_FOUND "not-found" NOT_FOUND "Not found"
        "There is no such path, room, session, member or track, or it is another's."
    METHOD_NOT_ALLOWED "method-not-allowed" METHOD_NOT_ALLOWED "Method not allowed"
        "The path does not have this method; Allow names those that it has."
    NOT_ACCEPTABLE "not-acceptable" NOT_ACCEPTABLE "Not acceptable"
        "Accept excludes the media type of the answer."
    BODY_TOO_SLOW "body-too-slow" REQUEST_TIMEOUT "Request timeout"
        "The body did not come in time."
    CONFLICT "conflict" CONFLICT "Conflict"
        "The request does not fit the present state: the identity is taken, the session changed meanwhile, or the member has no session."
    ROOM_EXISTS "room-exists" CONFLICT "Conflict"
        "The room exists with other settings than those that the request names; PATCH changes them."
    PAGE_GONE "page-gone" GONE "Gone"
        "The entry after which the page should begin is not there any more: begin with the first page."
    STALE_ETAG "stale-etag" PRECONDITION_FAILED "Precondition failed"
        "If-Match names an earlier ICE session; the newest ETag is in the answer to the last restart, or in that to a GET."
    BODY_TOO_LARGE "body-too-large" PAYLOAD_TOO_LARGE "Content too large"
        "The body is larger than the node allows (256 KiB, if it is not set otherwise)."
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type"
        "The path does not take bodies of this Content-Type; Accept-Post or Accept-Patch names those that it takes."
    MISDIRECTED_REQUEST "misdirected-request" MISDIRECTED_REQUEST "Misdirected request"
        "The host name is none under which a node without authentication answers."
    BAD_FIELD "bad-field" UNPROCESSABLE_ENTITY "Unprocessable content"
        "A field of the body or message is not known, is missing, or has a value that is not allowed; detail names it."
    UNSUPPORTED_OFFER "unsupported-offer" UNPROCESSABLE_ENTITY "Unprocessable content"
        "The offer is well-formed, but the node cannot serve it; detail says what is in the way."
    UPGRADE_REQUIRED "upgrade-required" UPGRADE_REQUIRED "Upgrade required"
        "The WebSocket asks for another version of the protocol than 13."
    PRECONDITION_REQUIRED "precondition-required" PRECONDITION_REQUIRED "Precondition required"
        "A PATCH of a session has no If-Match."
    TOO_MANY_REQUESTS "too-many-requests" TOO_MANY_REQUESTS "Too many requests"
        "The address or the token has made too many requests; come back after Retry-After."
    TOO_MANY_SESSIONS "too-many-sessions" TOO_MANY_REQUESTS "Too many requests"
        "The subject of the token has as many sessions, or sends as many data messages, as it may; come back after Retry-After."
    INTERNAL "internal" INTERNAL_SERVER_ERROR "Internal error"
        "A defect of the node; its log has the cause."
    BUSY "busy" SERVICE_UNAVAILABLE "Service unavailable"
        "The room is busy; come back after Retry-After."
    NOT_READY "not-ready" SERVICE_UNAVAILABLE "Service unavailable"
        "Only from /readyz: the node does not serve now."
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE "Service unavailable"
        "The node or the room is full, or the node is leaving; come back after Retry-After."
    HTTP "http" BAD_REQUEST "Error"
        "An error of HTTP itself; status and title say which, and may differ from those here."
}

//! Why a request to a room was refused, with all that an HTTP answer needs.

use std::fmt;

use sdp::{Fault, SdpError};

/// The kind of a refusal, as an HTTP status tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The description or fragment breaks the rules of its format: 400.
    BadSdp,
    /// Well-formed, but not something this node serves: 422.
    Unsupported,
    /// The permissions of the member or token do not allow it: 403.
    Forbidden,
    /// No such room or session: 404.
    NotFound,
    /// The request does not fit the state of the session: 409.
    Conflict,
    /// A limit of the node is reached; a later attempt may succeed: 503.
    Full,
    /// A limit of this client is reached; it has to close a session or try later: 429.
    Quota,
    /// A defect of this node: 500.
    Internal,
}

impl ErrorKind {
    /// The HTTP status of this kind.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::BadSdp => 400,
            ErrorKind::Unsupported => 422,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::Full => 503,
            ErrorKind::Quota => 429,
            ErrorKind::Internal => 500,
        }
    }

    /// Label in metrics and problem details.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadSdp => "bad_sdp",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Full => "full",
            ErrorKind::Quota => "quota",
            ErrorKind::Internal => "internal",
        }
    }
}

/// A refused request: its kind and a text. The text names the room, session or media section, what was wrong and what
/// is allowed; it never contains a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomError {
    kind: ErrorKind,
    text: String,
}

impl RoomError {
    /// A refusal of this kind, with this text.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The kind of refusal.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, short for `kind().status()`.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }
}

impl From<SdpError> for RoomError {
    fn from(error: SdpError) -> Self {
        let kind = match error.fault() {
            Fault::Malformed => ErrorKind::BadSdp,
            Fault::Unsupported => ErrorKind::Unsupported,
        };
        RoomError::new(kind, error.to_string())
    }
}

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RoomError {}

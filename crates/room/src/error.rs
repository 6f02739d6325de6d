//! Why a request to the rooms was refused, with enough in it for an HTTP answer.

use std::fmt;

use sdp::{Fault, SdpError};

/// Who is at fault, in terms of an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The description or fragment breaks the rules of its format: 400.
    BadSdp,
    /// Well-formed, but not something this node serves: 422.
    Unsupported,
    /// No such room or session: 404.
    NotFound,
    /// The request does not fit the state of the session: 409.
    Conflict,
    /// A limit of the node is reached; later may work: 503.
    Full,
    /// The client has as much as it may have; less of it, or later, may work: 429.
    Quota,
    /// A defect of ours: 500.
    Internal,
}

impl ErrorKind {
    /// The HTTP status that says the same.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::BadSdp => 400,
            ErrorKind::Unsupported => 422,
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
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Full => "full",
            ErrorKind::Quota => "quota",
            ErrorKind::Internal => "internal",
        }
    }
}

/// A refused request: what kind, and a text for people. The text names the room, session or media section, what was
/// wrong and what is allowed; it never holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomError {
    kind: ErrorKind,
    text: String,
}

impl RoomError {
    /// A refusal of this kind, with a text for people.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What kind of refusal.
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

//! Why a description or fragment was refused.

use std::fmt;

/// Whether the text breaks the rules of its format, or asks for something that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The text breaks the rules of its format (HTTP 400).
    Malformed,
    /// Well-formed, but not served here (HTTP 422).
    Unsupported,
}

/// A refused description: the kind of fault, the place, and what is allowed instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError {
    fault: Fault,
    place: String,
    reason: String,
}

impl SdpError {
    /// The text breaks the rules of its format: `place` is a line or media section, `reason` says what is wrong and
    /// what is allowed.
    pub fn malformed(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { fault: Fault::Malformed, place: place.into(), reason: reason.into() }
    }

    /// The text asks for something that is not served.
    pub fn unsupported(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { fault: Fault::Unsupported, place: place.into(), reason: reason.into() }
    }

    /// The kind of fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The line or media section that is wrong.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for SdpError {}

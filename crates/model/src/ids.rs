//! Ids of rooms, participants, sessions, tracks and streams. Text ids are parsed once, where they enter the node, and
//! contain only safe characters.

use std::fmt;
use std::sync::Arc;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdError {
    /// The text is empty.
    Empty,
    /// The text has more characters than allowed (the limit).
    TooLong(usize),
    /// A character outside the allowed set.
    BadCharacter(char),
    /// `.` or `..`: clients resolve these away as path segments (RFC 3986 section 5.2.4).
    DotSegment,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdError::Empty => write!(f, "it is empty"),
            IdError::TooLong(max) => write!(f, "it is longer than {max} characters"),
            IdError::BadCharacter(c) => {
                write!(f, "it holds {c:?}; letters, digits, '-', '_', '.' and '~' are allowed")
            }
            IdError::DotSegment => write!(f, "'.' and '..' cannot stand alone in a URL"),
        }
    }
}

impl std::error::Error for IdError {}

const MAX_TEXT_ID: usize = 64;

fn parse_text_id(text: &str) -> Result<Arc<str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if let Some(bad) =
        text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~')))
    {
        return Err(IdError::BadCharacter(bad));
    }
    if text.len() > MAX_TEXT_ID {
        return Err(IdError::TooLong(MAX_TEXT_ID));
    }
    if matches!(text, "." | "..") {
        return Err(IdError::DotSegment);
    }
    Ok(text.into())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses 1 to 64 characters of the URL's unreserved set (RFC 3986 section 2.3), other than `.` and `..`.
            ///
            /// # Errors
            /// [`IdError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                parse_text_id(text).map(Self)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A room, as in the URL.
    RoomId
);
text_id!(
    /// A participant of a room, unique in it.
    ParticipantId
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A node of a cluster.
    NodeId(u64)
);
number_id!(
    /// One peer connection on this node. Never reused while the node runs. It is no secret (the token in the URL is).
    SessionId(u64)
);
number_id!(
    /// One media source that a peer publishes (all its simulcast layers). Never reused while the node runs.
    TrackId(u64)
);
number_id!(
    /// RTP synchronization source (RFC 3550 section 3).
    Ssrc(u32)
);
number_id!(
    /// RTP payload type, 0 to 127.
    Pt(u8)
);

/// Up to 16 bytes of text, stored inline: `mid` and `rid` values fit, and need no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortText {
    len: u8,
    bytes: [u8; 16],
}

impl ShortText {
    /// The longest text that fits. RFC 9143 and RFC 8852 ask for short values, since they are sent in a header
    /// extension.
    pub const MAX: usize = 16;

    /// Parses 1 to 16 bytes of token characters (letters, digits, `-`, `_`, `.`, `~`, `+`, and the like: RFC 8866 section 9).
    ///
    /// # Errors
    /// [`IdError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if let Some(c) = text.chars().find(|c| {
            !(c.is_ascii_alphanumeric()
                || matches!(
                    c,
                    '!' | '#'
                        | '$'
                        | '%'
                        | '&'
                        | '\''
                        | '*'
                        | '+'
                        | '-'
                        | '.'
                        | '^'
                        | '_'
                        | '`'
                        | '{'
                        | '|'
                        | '}'
                        | '~'
                ))
        }) {
            return Err(IdError::BadCharacter(c));
        }
        if text.len() > Self::MAX {
            return Err(IdError::TooLong(Self::MAX));
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { len: text.len() as u8, bytes })
    }

    /// The text's bytes, as in a header extension.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(ShortText);

        impl $name {
            /// Parses 1 to 16 bytes of token characters.
            ///
            /// # Errors
            /// [`IdError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                ShortText::parse(text).map(Self)
            }

            /// The id's bytes, as in a header extension.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

short_id!(
    /// Media section id (RFC 9143).
    Mid
);
short_id!(
    /// Restriction id of a simulcast layer (RFC 8851, RFC 8852).
    Rid
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ids_hold_only_what_a_url_carries_unescaped() {
        assert_eq!(RoomId::parse("stand-up_1.a~").unwrap().as_str(), "stand-up_1.a~");
        assert_eq!(RoomId::parse(""), Err(IdError::Empty));
        assert_eq!(RoomId::parse("a/b"), Err(IdError::BadCharacter('/')));
        assert_eq!(RoomId::parse(&"x".repeat(65)), Err(IdError::TooLong(64)));
    }

    #[test]
    fn ids_that_urls_resolve_away_are_refused() {
        for text in [".", ".."] {
            assert_eq!(RoomId::parse(text), Err(IdError::DotSegment));
            assert_eq!(ParticipantId::parse(text), Err(IdError::DotSegment));
        }
        assert!(RoomId::parse("...").is_ok() && RoomId::parse("a.b").is_ok());
    }

    #[test]
    fn mids_keep_their_text() {
        assert_eq!(Mid::parse("0").unwrap().as_bytes(), b"0");
        assert_eq!(Mid::parse("video-1234567890"), Mid::parse("video-1234567890"));
        assert_eq!(Mid::parse("12345678901234567"), Err(IdError::TooLong(16)));
        assert_eq!(Mid::parse("a b"), Err(IdError::BadCharacter(' ')));
    }
}

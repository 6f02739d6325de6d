//! What a requirement is, and the possible results of its check. The requirements themselves are in `checks`.

use serde::Serialize;

use crate::context::Context;

/// The level of a requirement (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// An absolute requirement: a failure fails the run.
    Must,
    /// There may be reasons to ignore it: a failure is a warning.
    Should,
    /// Truly optional: a failure is a note.
    May,
}

/// One of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// Ingestion: the suite publishes.
    Whip,
    /// Egress: the suite plays.
    Whep,
}

impl Face {
    /// The direction of the suite's offers.
    pub(crate) fn offered(self) -> &'static str {
        match self {
            Face::Whip => "sendonly",
            Face::Whep => "recvonly",
        }
    }

    /// The direction that the server has to answer.
    pub(crate) fn answered(self) -> &'static str {
        match self {
            Face::Whip => "recvonly",
            Face::Whep => "sendonly",
        }
    }
}

/// One requirement of the suite. It applies to a protocol when its section for that protocol is not empty.
pub(crate) struct Requirement {
    /// The id without the protocol's name in front.
    pub(crate) id: &'static str,
    pub(crate) level: Level,
    /// A section of RFC 9725, or another document with its section; empty: not a requirement of WHIP.
    pub(crate) whip: &'static str,
    /// A section of draft-ietf-wish-whep, or another document with its section; empty: not a requirement of WHEP.
    pub(crate) whep: &'static str,
    pub(crate) title: &'static str,
    pub(crate) check: fn(&mut Context, Face) -> Result<Outcome, Stop>,
}

impl Requirement {
    pub(crate) fn full_id(&self, face: Face) -> String {
        match face {
            Face::Whip => format!("whip.{}", self.id),
            Face::Whep => format!("whep.{}", self.id),
        }
    }

    pub(crate) fn section(&self, face: Face) -> String {
        let (document, section) = match face {
            Face::Whip => ("RFC 9725", self.whip),
            Face::Whep => ("WHEP", self.whep),
        };
        if section.starts_with(|c: char| c.is_ascii_digit()) {
            format!("{document} {section}")
        } else {
            section.to_owned()
        }
    }

    pub(crate) fn applies(&self, face: Face) -> bool {
        match face {
            Face::Whip => !self.whip.is_empty(),
            Face::Whep => !self.whep.is_empty(),
        }
    }
}

/// A requirement that is met.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Pass,
    /// Met, with a remark.
    Note(String),
}

/// A requirement that is not met, or could not be checked.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    Skip(String),
    Fail(Failure),
}

impl Stop {
    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self::Skip(why.into())
    }

    pub(crate) fn fail(
        sent: impl Into<String>,
        got: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Fail(Failure { sent: sent.into(), got: got.into(), expected: expected.into() })
    }
}

/// The request, the answer, and the expected answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    pub(crate) sent: String,
    pub(crate) got: String,
    pub(crate) expected: String,
}

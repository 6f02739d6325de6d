//! The report: one line per requirement, or JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::requirement::{Face, Failure, Level, Outcome, Requirement, Stop};

/// The verdict on a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The requirement is met.
    Pass,
    /// A MUST is not met (in a strict run also a SHOULD).
    Fail,
    /// A SHOULD is not met.
    Warn,
    /// Met with a remark, or a MAY that is not used.
    Note,
    /// It could not be checked.
    Skip,
}

/// A requirement and its verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The requirement's id.
    pub id: String,
    /// The level of the requirement.
    pub level: Level,
    /// The document and section.
    pub section: String,
    /// What is required.
    pub title: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The remark, or why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
}

/// The number of lines with each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requirements met.
    pub pass: usize,
    /// Failures.
    pub fail: usize,
    /// Warnings.
    pub warn: usize,
    /// Notes.
    pub note: usize,
    /// Requirements that could not be checked.
    pub skip: usize,
}

/// All lines of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The WHIP endpoint.
    pub whip: String,
    /// The WHEP endpoint, if there is one.
    pub whep: Option<String>,
    /// In the order of the checks.
    pub lines: Vec<Line>,
}

impl Line {
    pub(crate) fn new(
        id: String,
        requirement: &Requirement,
        face: Face,
        outcome: Result<Outcome, Stop>,
        strict: bool,
    ) -> Self {
        let (verdict, detail, failure) = match outcome {
            Ok(Outcome::Pass) => (Verdict::Pass, None, None),
            Ok(Outcome::Note(text)) => (Verdict::Note, Some(text), None),
            Err(Stop::Skip(why)) => (Verdict::Skip, Some(why), None),
            Err(Stop::Fail(failure)) => {
                let verdict = match requirement.level {
                    Level::Must => Verdict::Fail,
                    Level::Should if strict => Verdict::Fail,
                    Level::Should => Verdict::Warn,
                    Level::May => Verdict::Note,
                };
                (verdict, None, Some(failure))
            }
        };
        let (level, title) = (requirement.level, requirement.title);
        Self { id, level, section: requirement.section(face), title, verdict, detail, failure }
    }
}

impl Report {
    /// Counts the lines by verdict.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for line in &self.lines {
            *match line.verdict {
                Verdict::Pass => &mut counts.pass,
                Verdict::Fail => &mut counts.fail,
                Verdict::Warn => &mut counts.warn,
                Verdict::Note => &mut counts.note,
                Verdict::Skip => &mut counts.skip,
            } += 1;
        }
        counts
    }

    /// Whether the exit code is 1.
    pub fn failed(&self) -> bool {
        self.counts().fail > 0
    }

    /// The report as one JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "report": self, "counts": self.counts() })
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Warn => "warn",
            Verdict::Note => "note",
            Verdict::Skip => "skip",
        };
        let level = match self.level {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::May => "MAY",
        };
        let (id, section, title) = (&self.id, &self.section, self.title);
        write!(f, "{verdict}  {level:<6}  {id:<30}  {section:<16}  {title}")?;
        if let Some(detail) = &self.detail {
            write!(f, "\n{}", Block { name: "", text: detail })?;
        }
        if let Some(failure) = &self.failure {
            let Failure { sent, got, expected } = failure;
            for (name, text) in [("sent", sent), ("got", got), ("expected", expected)] {
                write!(f, "\n{}", Block { name, text })?;
            }
        }
        Ok(())
    }
}

/// A text below a line, indented and shortened.
struct Block<'a> {
    name: &'a str,
    text: &'a str,
}

impl Display for Block<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const LINES: usize = 16;
        let mut name = self.name;
        for (index, line) in self.text.lines().take(LINES).enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}      {name:<9} {line}")?;
            name = "";
        }
        match self.text.lines().count().saturating_sub(LINES) {
            0 => Ok(()),
            more => write!(f, "\n                ({more} lines more, which --json shows)"),
        }
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { pass, fail, warn, note, skip } = self;
        write!(f, "{pass} passed, {fail} failed, {warn} warnings, {note} notes, {skip} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(level: Level) -> Requirement {
        Requirement {
            id: "post.created",
            level,
            whip: "4.2",
            whep: "RFC 9110 15.3.2",
            title: "an offer is answered 201",
            check: |_, _| Ok(Outcome::Pass),
        }
    }

    fn line(level: Level, strict: bool, outcome: Result<Outcome, Stop>) -> Line {
        let requirement = requirement(level);
        Line::new(requirement.full_id(Face::Whip), &requirement, Face::Whip, outcome, strict)
    }

    fn failure() -> Result<Outcome, Stop> {
        Err(Stop::fail("POST /whip\nContent-Type: application/sdp", "200 OK", "201 Created"))
    }

    #[test]
    fn the_level_decides_what_a_failure_is() {
        assert_eq!(line(Level::Must, false, failure()).verdict, Verdict::Fail);
        assert_eq!(line(Level::Should, false, failure()).verdict, Verdict::Warn);
        assert_eq!(line(Level::Should, true, failure()).verdict, Verdict::Fail);
        assert_eq!(line(Level::May, true, failure()).verdict, Verdict::Note);
        assert_eq!(line(Level::Must, true, Err(Stop::skip("x"))).verdict, Verdict::Skip);
    }

    #[test]
    fn a_failure_says_what_was_sent_what_came_and_what_was_expected() {
        let text = line(Level::Must, false, failure()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("FAIL  MUST    whip.post.created "), "{text}");
        assert!(lines[0].ends_with(" RFC 9725 4.2      an offer is answered 201"), "{text}");
        assert_eq!(lines[1], "      sent      POST /whip");
        assert_eq!(lines[2], "                Content-Type: application/sdp");
        assert_eq!(lines[3], "      got       200 OK");
        assert_eq!(lines[4], "      expected  201 Created");
    }

    #[test]
    fn long_texts_are_cut_short() {
        let long = Stop::fail("POST", "line\n".repeat(100), "201");
        let text = line(Level::Must, false, Err(long)).to_string();
        assert!(text.contains("(84 lines more, which --json shows)"), "{text}");
        assert!(text.lines().count() < 25);
    }

    #[test]
    fn sections_of_other_documents_stand_as_they_are() {
        assert_eq!(requirement(Level::Must).section(Face::Whep), "RFC 9110 15.3.2");
    }

    #[test]
    fn the_json_has_every_line_and_the_counts() {
        let lines = vec![
            line(Level::Must, false, failure()),
            line(Level::Must, false, Ok(Outcome::Note("so".into()))),
        ];
        let report = Report { whip: "http://x/".into(), whep: None, lines };
        assert!(report.failed());
        let json = report.json();
        assert_eq!(json["counts"]["fail"], 1);
        assert_eq!(json["counts"]["note"], 1);
        let first = &json["report"]["lines"][0];
        assert_eq!(first["id"], "whip.post.created");
        assert_eq!(first["level"], "MUST");
        assert_eq!(first["verdict"], "fail");
        assert_eq!(first["expected"], "201 Created");
        assert_eq!(json["report"]["lines"][1]["detail"], "so");
        assert_eq!(
            report.counts().to_string(),
            "0 passed, 1 failed, 0 warnings, 1 notes, 0 skipped"
        );
    }
}
